"""What the machine does to the real program: no one to read its log, few files, a terminal that goes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.acceptance.process import FREEWAY, environment
from tests.conftest import ROOT

if sys.platform == "win32":
    pytest.skip("signals and descriptors of POSIX", allow_module_level=True)

ASK = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def running(tmp_path: Path, stderr: int | None, prepare: Callable[[], None] | None = None) -> Iterator[tuple[str, int]]:
    """The program's address and process."""
    port = free_port()
    environ = environment(tmp_path, GROQ_API_KEY="x", GROQ_BASE_URL="http://127.0.0.1:9", PORT=str(port))
    environ |= {"FREEWAY_STATE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([FREEWAY, "serve"], env=environ, stderr=stderr, preexec_fn=prepare)  # noqa: PLW1509
    try:
        base_url = f"http://127.0.0.1:{port}"
        for _ in range(400):
            assert process.poll() is None, "it ended"
            try:
                httpx.get(f"{base_url}/health/liveness")
                break
            except httpx.TransportError:
                time.sleep(0.05)
        yield base_url, process.pid
    finally:
        process.kill()
        process.wait()


def answers(base_url: str, times: int = 1) -> None:
    """Each request is answered, if only to say that there is no source."""
    with httpx.Client(base_url=base_url, timeout=20) as client:
        for _ in range(times):
            assert client.post("/v1/chat/completions", json=ASK).status_code in (404, 429, 503)


def test_a_log_that_nobody_reads_stops_neither_the_start_nor_a_request(tmp_path):
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writing, True)
    with running(tmp_path, writing) as (base_url, _):
        answers(base_url, 50)
    os.close(reading)
    os.close(writing)


def test_a_log_that_is_closed_stops_nothing_and_is_written_into_no_other_file(tmp_path):
    with running(tmp_path, None, lambda: os.close(2)) as (base_url, _):
        answers(base_url, 5)
    for path in tmp_path.glob("*.sqlite"):
        assert b"request" not in path.read_bytes()[:100]
        assert path.read_bytes()[:15] in (b"SQLite format 3", b"")


def test_a_terminal_that_goes_ends_nothing(tmp_path):
    with running(tmp_path, subprocess.DEVNULL) as (base_url, pid):
        os.kill(pid, signal.SIGHUP)
        time.sleep(0.1)
        answers(base_url)


def test_few_files_lock_nobody_out(tmp_path):
    def few() -> None:
        import resource  # noqa: PLC0415 - POSIX

        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    with running(tmp_path, subprocess.DEVNULL, few) as (base_url, _):
        host, _, port = base_url.removeprefix("http://").rpartition(":")
        held = [socket.create_connection((host, int(port))) for _ in range(200)]
        answers(base_url, 3)
        for one in held:
            one.close()
        answers(base_url, 3)


def test_a_short_key_is_refused_where_others_can_reach_it(tmp_path):
    environ = environment(
        tmp_path, GROQ_API_KEY="x", HOST="0.0.0.0", FREEWAY_API_KEY=" short ", PORT="0", PYTHONPATH=str(ROOT)
    )
    ended = subprocess.run([FREEWAY, "serve"], env=environ, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 1
    assert "FREEWAY_API_KEY: has only 5 characters" in ended.stderr
