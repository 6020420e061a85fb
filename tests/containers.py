"""Real servers in containers, each ended by whoever started it."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from msgspec import Struct
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

REDIS = "redis:7"


class Server(Struct, frozen=True):
    """A server at *port* of this machine, which stays the same when its container is started again."""

    container: DockerContainer
    port: int

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def signal(self, name: str) -> None:
        """Send signal *name* to the server."""
        self.container.get_wrapped_container().kill(signal=name)

    def start_again(self) -> None:
        """Start the server again after it was killed."""
        self.container.get_wrapped_container().start()


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
    command = ["redis-server", "--protected-mode", "no", "--bind", "*", "--save", "", *options]
    container = DockerContainer(REDIS).with_command(command).with_bind_ports(6379, port)
    container.waiting_for(LogMessageWaitStrategy("Ready to accept connections"))
    try:
        with container:
            yield Server(container, port)
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
