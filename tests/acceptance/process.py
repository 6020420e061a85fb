"""The real program in a process of its own."""

from __future__ import annotations

import atexit
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
FREEWAY = str(Path(sys.executable).with_name("freeway"))


def environment(home: Path, **variables: str) -> dict[str, str]:
    """Nothing of this machine but the way to its programs, and to the tree that these tests are of; no Ollama."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HOME": str(home),
        "OLLAMA_HOST": "http://127.0.0.1:9",
        "MODELS_DEV_URL": "",
        **variables,
    }


class Process:
    """The program, started by a nursery and known by its process's *pid*."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery, self.pid = nursery, pid
        self._status: int | None = None

    def poll(self) -> int | None:
        """The status with which it has ended; None if it has not."""
        if self._status is None:
            self._status = self._nursery.order(poll=self.pid)
        return self._status

    def wait(self, timeout: float) -> int:
        """Its status, which it ends with within *timeout* seconds."""
        deadline = time.monotonic() + timeout
        while (status := self.poll()) is None:
            assert time.monotonic() < deadline, f"it goes on after {timeout:g} s"
            time.sleep(0.005)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Nursery:
    """See ``nursery.py``."""

    def __init__(self) -> None:
        self._mother = subprocess.Popen(
            [sys.executable, "-P", Path(__file__).with_name("nursery.py")],
            env=environment(Path("/nonexistent")),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def order(self, **order: Any) -> Any:
        assert self._mother.stdin is not None
        assert self._mother.stdout is not None
        self._mother.stdin.write(json.dumps(order).encode() + b"\n")
        self._mother.stdin.flush()
        return json.loads(self._mother.stdout.readline())

    def start(self, *arguments: str, home: Path, out: Path, err: Path, **variables: str) -> Process:
        """``freeway`` with *arguments*; it appends what it says to the files *out* and *err*."""
        for said in (out, err):
            said.touch()
        files = [os.devnull, str(out), str(err)]
        environ = environment(home, **variables)
        return Process(self, self.order(argv=[FREEWAY, *arguments], environ=environ, cwd=str(home), files=files))

    def close(self) -> None:
        self._mother.communicate(timeout=10)


Running = Process | subprocess.Popen[bytes]
Start = Callable[..., Running]


@cache
def nursery() -> Nursery:
    """The one of this process, for as long as it runs."""
    made = Nursery()
    atexit.register(made.close)
    return made


def born(*arguments: str, **how: Any) -> Process:
    """``freeway`` with *arguments*, from the nursery."""
    return nursery().start(*arguments, **how)


def typed(*arguments: str, home: Path, out: Path, err: Path, **variables: str) -> subprocess.Popen[bytes]:
    """The same as people start it, which takes a second longer."""
    with out.open("ab") as said, err.open("ab") as complained:
        return subprocess.Popen(
            [FREEWAY, *arguments],
            env=environment(home, **variables),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=complained,
        )


def run(
    *arguments: str, home: Path, timeout: float = 60, start: Start = born, **variables: Any
) -> subprocess.CompletedProcess[str]:
    """``freeway`` with *arguments*, to its end."""
    with TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        process = start(*arguments, home=home, out=out, err=err, **variables)
        try:
            status = process.wait(timeout)
        finally:
            process.kill()
        return subprocess.CompletedProcess([FREEWAY, *arguments], status, out.read_text(), err.read_text())


@contextmanager
def serving(home: Path, start: Start = born, **variables: Any) -> Iterator[tuple[str, Running, Path]]:
    """``freeway serve`` on a free port: its origin, its process, and the file with all that it says."""
    log = home / "serve.log"
    log.unlink(missing_ok=True)
    process = start("serve", home=home, out=log, err=log, PORT="0", **variables)
    try:
        yield _origin(process, log), process, log
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _origin(process: Running, log: Path) -> str:
    """Where the gateway says that it is, once it answers there."""
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if greeting := re.search(r"Freeway on (http://127\.0\.0\.1:\d+)/v1", log.read_text()):
            with suppress(httpx.TransportError):
                if httpx.get(f"{greeting[1]}/health/liveness", timeout=5).status_code == 200:
                    return greeting[1]
        time.sleep(0.02)
    raise AssertionError(f"the gateway did not start:\n{log.read_text()}")
