"""Real servers, each ended by whoever started it: a Redis of this machine where it has one, else one in a container."""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryDirectory
from typing import Protocol

from msgspec import Struct
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

REDIS = "redis:7"


class Server(Protocol):
    """A Redis at *port* of this machine, which stays the same when it is started again."""

    port: int

    @property
    def url(self) -> str: ...

    def signal(self, name: str) -> None:
        """Send signal *name* to the server."""

    def start_again(self) -> None:
        """Start the server again after it was killed."""


class Contained(Struct, frozen=True):
    """A Redis in a container."""

    container: DockerContainer
    port: int

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def signal(self, name: str) -> None:
        self.container.get_wrapped_container().kill(signal=name)

    def start_again(self) -> None:
        self.container.get_wrapped_container().start()


class Local:
    """A Redis as a process of this machine, in a *folder* of its own."""

    def __init__(self, port: int, folder: str, options: tuple[str, ...]) -> None:
        self.port = port
        self._argv = [
            "redis-server",
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            folder,
            *options,
        ]
        self.start_again()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def signal(self, name: str) -> None:
        self._process.send_signal(signal.Signals[f"SIG{name}"])
        if name in ("KILL", "TERM"):
            self._process.wait()

    def start_again(self) -> None:
        self._process = subprocess.Popen(self._argv, stdout=subprocess.DEVNULL)
        for _ in range(2000):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.005)
        raise TimeoutError("redis-server did not begin to listen")

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to whoever asks for any."""
    while True:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextmanager
def redis(*options: str) -> Iterator[Server]:
    """A Redis of its own, started with *options*."""
    port = free_port()
    if shutil.which("redis-server"):
        with TemporaryDirectory(prefix="freeway-redis-") as folder:
            local = Local(port, folder, options)
            try:
                yield local
            finally:
                local.end()
        return
    command = ["redis-server", "--protected-mode", "no", "--bind", "*", "--save", "", *options]
    container = DockerContainer(REDIS).with_command(command).with_bind_ports(6379, port)
    container.waiting_for(LogMessageWaitStrategy("Ready to accept connections"))
    try:
        with container:
            yield Contained(container, port)
    finally:
        container.get_docker_client().client.close()


@contextmanager
def script(text: str, ready: str, timeout: float = 30.0) -> Iterator[DockerContainer]:
    """A container on this machine's own network that runs the shell script *text*, once it has said *ready*."""
    container = DockerContainer(REDIS).with_command(["sh", "-c", text]).with_kwargs(network_mode="host")
    container.waiting_for(LogMessageWaitStrategy(ready).with_startup_timeout(int(timeout)))
    try:
        with container:
            yield container
    finally:
        container.get_docker_client().client.close()
