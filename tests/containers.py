"""Real servers, each ended by whoever started it: a Redis of this machine where it has one, else one in a container."""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from msgspec import Struct
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

REDIS = "redis:7"


class Server(Protocol):
    """A Redis at *port* of this machine, which stays the same when it is started again."""

    @property
    def port(self) -> int: ...

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

    def cli(self, *words: object) -> str:
        """What ``redis-cli`` prints."""
        return _cli(self.port, *words)

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
        with _local(*options) as local:
            yield local
        return
    command = ["redis-server", "--protected-mode", "no", "--bind", "*", "--save", "", *options]
    container = DockerContainer(REDIS).with_command(command).with_bind_ports(6379, port)
    container.waiting_for(LogMessageWaitStrategy("Ready to accept connections"))
    try:
        with container:
            yield Contained(container, port)
    finally:
        container.get_docker_client().client.close()


class Sentinels(Struct, frozen=True):
    """A *master* called ``ours``, its *replica*, and one sentinel at *port* that watches them."""

    master: Local
    replica: Local
    port: int


@contextmanager
def sentinels(watch: Sequence[str] = (), *options: str) -> Iterator[Sentinels]:
    """A master and a replica, both with *options*, and a sentinel whose configuration has the lines *watch*, too."""
    with ExitStack() as stack:
        master = stack.enter_context(_local(*options))
        replica = stack.enter_context(_local("--replicaof", f"127.0.0.1 {master.port}", *options))
        port, folder = free_port(), stack.enter_context(TemporaryDirectory(prefix="freeway-sentinel-"))
        lines = [
            f"port {port}",
            f"dir {folder}",
            f"sentinel monitor ours 127.0.0.1 {master.port} 1",
            "sentinel down-after-milliseconds ours 500",
            "sentinel failover-timeout ours 2000",
            *watch,
        ]
        Path(folder, "sentinel.conf").write_text("\n".join(lines))
        argv = ["redis-server", f"{folder}/sentinel.conf", "--sentinel"]
        sentinel = stack.enter_context(subprocess.Popen(argv, stdout=subprocess.DEVNULL))
        stack.callback(sentinel.kill)
        until(lambda: "master_link_status:up" in replica.cli("info", "replication") or watch)
        until(lambda: str(replica.port) in _cli(port, "sentinel", "replicas", "ours") or watch)
        yield Sentinels(master, replica, port)


@contextmanager
def cluster(count: int = 3, each: Callable[[], Sequence[str]] = tuple) -> Iterator[list[Local]]:
    """The nodes of a cluster without replicas, *each* with options of its own."""
    with ExitStack() as stack:
        nodes = []
        for _ in range(count):
            bus = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
            nodes.append(stack.enter_context(_local(*bus, "--cluster-node-timeout", "2000", *each())))
        members = [f"127.0.0.1:{node.port}" for node in nodes]
        argv = ["redis-cli", "--cluster", "create", *members, "--cluster-yes"]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, timeout=30)
        for node in nodes:
            until(partial(_is_whole, node))
        yield nodes


def _is_whole(node: Local) -> bool:
    return "cluster_state:ok" in node.cli("cluster", "info")


@contextmanager
def _local(*options: str) -> Iterator[Local]:
    with TemporaryDirectory(prefix="freeway-redis-") as folder:
        local = Local(free_port(), folder, options)
        try:
            yield local
        finally:
            local.end()


def _cli(port: int, *words: object) -> str:
    argv = ["redis-cli", "-p", str(port), *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False).stdout.strip()


def until(holds: Callable[[], object], within: float = 30.0) -> None:
    """Return once *holds* is true: what is waited for is another process."""
    deadline = time.monotonic() + within
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError("a server did not become what it was to be")
        time.sleep(0.02)
