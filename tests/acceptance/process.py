"""The real program in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

FREEWAY = str(Path(sys.executable).with_name("freeway"))


def environment(home: Path, **variables: str) -> dict[str, str]:
    """Nothing of this machine but the way to its programs; no Ollama."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "OLLAMA_HOST": "http://127.0.0.1:9",
        "MODELS_DEV_URL": "",
        **variables,
    }


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
    log = home / "serve.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [FREEWAY, "serve"],
            env=environment(home, PORT="0", **variables),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
        try:
            yield _origin(process, log), process, log
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(20)


def _origin(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where the gateway says that it is, once it answers there."""
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if greeting := re.search(r"Freeway on (http://127\.0\.0\.1:\d+)/v1", log.read_text()):
            with suppress(httpx.TransportError):
                if httpx.get(f"{greeting[1]}/health/liveness", timeout=5).status_code == 200:
                    return greeting[1]
        time.sleep(0.05)
    raise AssertionError(f"the gateway did not start:\n{log.read_text()}")
