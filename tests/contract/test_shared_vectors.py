"""Vectors that gateways share through Redis: made once for all of them, within a bound, and never missed where Redis is away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.settings.reading import load
from gateway.settings.values import BadSettings
from gateway.state.redis_client import connect, disconnect
from gateway.state.shared_vectors import KEPT_FOR, SharedVectors
from gateway.state.vectors import NoVectors, SqliteVectors, key_of
from gateway.stores import make_vectors
from tests import containers
from tests.conftest import CONFIG

SIZE = 2**20
ACL = (
    "+eval +mget +set +del +expire +zadd +zrem +zrange +hget +hincrby +ping +hello +auth +select "
    "+cluster|slots +cluster|shards +cluster|nodes +command +readonly"
)


def some(*numbers: int) -> dict[bytes, bytes]:
    return {key_of("space", f"{number}"): number.to_bytes(2, "little") * 512 for number in numbers}


@asynccontextmanager
async def gateway(url: str, *, size: int = SIZE, namespace: str = "freeway") -> AsyncIterator[SharedVectors]:
    found = SharedVectors(NoVectors(), connect(url)[0], namespace, size)
    try:
        yield found
    finally:
        await found.aclose()


async def test_what_one_gateway_made_the_others_have(redis_server):
    made = some(*range(250))
    async with gateway(redis_server.url) as one, gateway(redis_server.url) as other:
        await one.put(made)

        assert await other.get(some(*range(300))) == made


async def test_gateways_of_another_namespace_do_not(redis_server):
    async with gateway(redis_server.url) as one, gateway(redis_server.url, namespace="tests") as other:
        await one.put(some(400))

        assert await other.get(some(400)) == {}


async def test_there_is_never_more_than_the_bound_and_what_was_made_first_goes():
    with containers.redis() as server:
        async with gateway(server.url, size=10 * 1024) as one:
            for first in range(0, 60, 4):
                await one.put(some(*range(first, first + 4)))
                await one.put(some(first))  # what is there already is not counted twice

            assert await one.get(some(*range(60))) == some(*range(50, 60))
        client, _ = connect(server.url)
        keys = await client.keys("*")
        assert len(keys) == 12
        assert all([0 < await client.ttl(key) <= KEPT_FOR for key in keys])
        await disconnect(client)


async def test_a_cluster_keeps_them_together_and_a_few_commands_suffice():
    with containers.cluster() as nodes:
        for node in nodes:
            client, _ = connect(f"redis://127.0.0.1:{node.port}")
            await client.execute_command("ACL", "SETUSER", "app", "on", ">x", "~freeway:*", "-@all", *ACL.split())
            await disconnect(client)
        async with gateway(f"redis+cluster://app:x@127.0.0.1:{nodes[0].port}") as one:
            await one.put(some(1, 2, 3))

            assert await one.get(some(1, 2, 3, 4)) == some(1, 2, 3)


async def test_what_is_kept_here_is_asked_first_and_redis_may_be_away(tmp_path: Path):
    own = SqliteVectors(tmp_path / "vectors.sqlite", SIZE)
    shared = SharedVectors(own, connect(f"redis://127.0.0.1:{containers.free_port()}")[0], "freeway", SIZE)
    await shared.put(some(1))

    assert await shared.get(some(1, 2)) == some(1)
    await shared.aclose()


def test_to_share_without_a_redis_is_a_mistake_that_is_told(tmp_path: Path):
    own = tmp_path / "own.toml"
    own.write_text('[cache]\nshared = "1MiB"\n')
    settings = load(CONFIG, {"FREEWAY_CONFIG": str(own), "FREEWAY_STATE_DIR": str(tmp_path)}, tmp_path)

    with pytest.raises(BadSettings, match=r"cache\.shared: there is no Redis.*FREEWAY_REDIS_URL"):
        make_vectors(settings)
