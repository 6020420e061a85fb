"""Ledgers over every store, and providers before their other halves. A new store is tested by being here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.quota.exchange import Store
from gateway.quota.ledger import Ledger
from gateway.quota.redis import SharedStore
from gateway.quota.sqlite import EmbeddedStore
from tests import containers
from tests.clock import FakeClock
from tests.contract.stage import SIMULATED, Stage, on_stage

KEPT = ["file", pytest.param("redis", marks=pytest.mark.engine)]
"""Stores that others can open, at the same time or later."""

STORES = ["memory", *KEPT]


@pytest.fixture(scope="module")
def redis_server() -> Iterator[containers.Server]:
    """A Redis for a module's tests."""
    with containers.redis() as server:
        yield server


@pytest.fixture(autouse=True)
def _patient(request: pytest.FixtureRequest) -> None:
    """Who is to find Redis lost brings one of their own."""
    if {"redis_server", "ledger", "make_store"} & set(request.fixturenames):
        request.getfixturevalue("patient")


@pytest.fixture(params=KEPT)
async def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Awaitable[Store]]:
    """Each call opens the same levels once more."""
    if request.param == "file":

        async def embedded() -> Store:
            return EmbeddedStore(tmp_path / "ledger.sqlite")

        return embedded

    url = request.getfixturevalue("redis_server").url
    await (await emptied(url)).aclose()

    async def in_redis() -> Store:
        return SharedStore(Redis.from_url(url), own_time=False)

    return in_redis


async def emptied(url: str) -> SharedStore:
    """A store on the Redis at *url*, with nothing in it."""
    client = Redis.from_url(url)
    await client.flushall()
    return SharedStore(client, own_time=False)


@pytest.fixture(params=STORES)
async def ledger(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Ledger]:
    match request.param:
        case "memory":
            store: Store = EmbeddedStore(None)
        case "file":
            store = EmbeddedStore(tmp_path / "ledger.sqlite")
        case _:
            store = await emptied(request.getfixturevalue("redis_server").url)
    made = Ledger(store, clock, freed=lambda: getattr(request.module, "FREED", []).append(1))
    yield made
    await made.aclose()


@pytest.fixture(params=SIMULATED)
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with on_stage(request.param) as found:
        yield found
