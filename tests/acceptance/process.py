"""The real program in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

FREEWAY = str(Path(sys.executable).with_name("freeway"))


def environment(home: Path, **variables: str) -> dict[str, str]:
    """Nothing of this machine but the way to its programs; no Ollama."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "OLLAMA_HOST": "http://127.0.0.1:9", **variables}


def run(*arguments: str, home: Path, timeout: float = 60, **variables: str) -> subprocess.CompletedProcess[str]:
    """``freeway`` with *arguments*, to its end."""
    return subprocess.run(
        [FREEWAY, *arguments],
        env=environment(home, **variables),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@contextmanager
def serving(home: Path, **variables: str) -> Iterator[tuple[str, subprocess.Popen[bytes], Path]]:
    """``freeway serve`` on a free port: its origin, its process, and the file with all that it says."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    log = home / "serve.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [FREEWAY, "serve"],
            env=environment(home, PORT=str(port), **variables),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
        try:
            origin = f"http://127.0.0.1:{port}"
            _until_alive(origin, process, log)
            yield origin, process, log
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(20)


def _until_alive(origin: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{origin}/health/liveness", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            if process.poll() is not None:
                break
            time.sleep(0.05)
    raise AssertionError(f"the gateway did not start:\n{log.read_text()}")
