"""A Redis of one's own for the laws that hold on either store."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from redis.asyncio import Redis

from gateway.quota.redis import SharedStore
from tests import containers


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis that is there for these tests alone: this machine's own server, else one in a container."""
    with ExitStack() as stack:
        if shutil.which("redis-server") is None:
            yield stack.enter_context(containers.redis()).url
            return
        port = containers.free_port()
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        server = stack.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        stack.callback(server.terminate)
        _await(port)
        yield f"redis://127.0.0.1:{port}"


@pytest.fixture(params=["embedded", "redis"])
async def store(request: pytest.FixtureRequest) -> SharedStore | None:
    """Where the ledger keeps its levels: a law with this argument is tried on both; None: in memory."""
    if request.param == "embedded":
        return None
    url = request.getfixturevalue("redis_url")
    request.getfixturevalue("patient")
    client = Redis.from_url(url)
    await client.flushall()
    return SharedStore(client, own_time=False)


def _await(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"the Redis on port {port} does not answer")
