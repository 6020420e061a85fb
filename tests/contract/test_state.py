"""What holds of a gateway's state, whichever backend keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from gateway.routing.health import FORGET_AFTER, LONGEST, MOST_REPLICAS, PACE_FOR, Health
from gateway.routing.latency import Point
from gateway.state.redis import RedisState
from gateway.state.sqlite import SqliteState
from gateway.state.store import EVERY, GATHER_EVERY, StateBackend, StateFailure, StateStore
from tests.clock import FakeClock


@pytest.fixture(params=["embedded", pytest.param("redis", marks=pytest.mark.engine)])
async def backends(request, tmp_path, clock) -> AsyncIterator[tuple[StateBackend, StateBackend]]:
    """Two ways to the same state."""
    if request.param == "embedded":
        made: list[StateBackend] = [SqliteState(tmp_path / "memory.sqlite", clock) for _ in range(2)]
    else:
        url = request.getfixturevalue("redis_server").url
        made = [RedisState(Redis.from_url(url)) for _ in range(2)]
        client = Redis.from_url(url)
        await client.flushall()
        await client.aclose()
    yield made[0], made[1]
    for backend in made:
        await backend.aclose()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class Broken:
    """A backend that can be taken away."""

    def __init__(self, backend: StateBackend) -> None:
        self.backend, self.away = backend, False

    def __getattr__(self, name: str):
        return self._refuse if self.away else getattr(self.backend, name)

    async def _refuse(self, *_: object) -> None:
        raise StateFailure("away")


async def test_one_tells_and_the_other_hears(backends, clock):
    one, other = (StateStore(backend, clock) for backend in backends)
    heard: list[dict[str, bytes]] = []
    other.watch("topic", Any, heard.append)
    await other.exchange()

    one.set("topic", "a", 1)
    one.set("topic", "b", 2)
    await one.exchange()
    await other.exchange()
    one.set("topic", "a", None)
    await one.exchange()
    await other.exchange()

    assert heard[-2:] == [{"a": 1, "b": 2}, {"b": 2}]
    assert other.entries("topic", Any) == {"b": 2}


async def test_who_has_nothing_to_hear_is_not_disturbed(backends, clock):
    one, other = (StateStore(backend, clock) for backend in backends)
    heard: list[object] = []
    other.watch("topic", Any, heard.append)
    one.set("topic", "a", 1)
    await one.exchange()
    await other.exchange()
    before = len(heard)

    await other.exchange()
    one.set("elsewhere", "a", 1)
    await one.exchange()
    await other.exchange()

    assert len(heard) == before


async def test_only_what_changed_is_read_again(backends, clock):
    read: list[str] = []

    class Watched(Broken):
        async def read(self, topic: str) -> dict[str, bytes]:
            read.append(topic)
            return await self.backend.read(topic)

    one, other = StateStore(backends[0], clock), StateStore(Watched(backends[1]), clock)
    other.watch("long", Any, lambda _: None)
    other.watch("busy", Any, lambda _: None)
    one.set("long", "a", 1)
    await one.exchange()
    await other.exchange()
    read.clear()

    one.set("busy", "a", 1)
    await one.exchange()
    await other.exchange()

    assert read == ["busy"]


async def test_what_changes_with_every_request_is_gathered_for_a_while_and_told_in_the_end(backends, clock):
    state, other = (StateStore(backend, clock) for backend in backends)
    other.watch("learned", Any, lambda _: None)
    state.gather(lambda now: state.set("learned", "me", now))
    began = clock.now()
    for _ in range(8):  # as many looks as there are in so many seconds
        clock.advance(EVERY)
        await state.exchange()
    await other.exchange()
    assert other.entries("learned", Any) == {"me": began + GATHER_EVERY}

    await state.aclose()
    await other.exchange()
    assert other.entries("learned", Any) == {"me": began + 8 * EVERY}


async def test_what_is_noted_is_known_here_at_once(backends, clock):
    state = StateStore(backends[0], clock)
    state.watch("topic", Any, lambda _: None)
    state.set("topic", "a", 1)

    assert state.entries("topic", Any) == {"a": 1}


async def test_counters_are_of_everybody(backends, clock):
    one, other = (StateStore(backend, clock) for backend in backends)
    for _ in range(10):
        one.count("spent", 0.1)
        other.count("spent", 0.2)
    await one.exchange()

    assert await other.counters() == {"spent": pytest.approx(3.0)}


async def test_a_claim_is_one_callers_until_it_ends(backends, clock):
    one, other = backends
    claims = await asyncio.gather(*(backend.claim("probe", 0.05) for backend in (one, other) * 5))
    assert sum(claims) == 1
    assert await one.claim("another", 60)

    clock.advance(1)
    await asyncio.sleep(0.06)  # Redis has its own clock
    assert await other.claim("probe", 60)
    assert not await one.claim("probe", 60)


async def test_what_was_noted_while_the_keeper_was_away_is_told_later(backends, clock):
    broken = Broken(backends[0])
    one, other = StateStore(broken, clock), StateStore(backends[1], clock)
    broken.away = True
    one.set("topic", "a", 1)
    one.set("topic", "c", 4)
    one.count("spent", 1.0)
    with pytest.raises(StateFailure):
        await one.exchange()
    one.set("topic", "a", 2)
    one.set("topic", "b", 3)
    assert await one.claim("anything", 60)

    broken.away = False
    await one.exchange()

    other.watch("topic", Any, lambda _: None)
    await other.exchange()
    assert other.entries("topic", Any) == {"a": 2, "b": 3, "c": 4}
    assert await other.counters() == {"spent": 1.0}


@pytest.mark.engine
async def test_a_redis_that_has_forgotten_is_told_again(redis_server, clock):
    one, other = (StateStore(RedisState(Redis.from_url(redis_server.url)), clock) for _ in range(2))
    one.watch("forgotten", Any, lambda _: None)
    other.watch("forgotten", Any, lambda _: None)
    one.set("forgotten", "a", 1)
    await one.exchange()

    client = Redis.from_url(redis_server.url)
    await client.flushall()
    await one.exchange()
    await other.exchange()

    assert other.entries("forgotten", Any) == {"a": 1}
    for closing in (one, other, client):
        await closing.aclose()


async def test_a_keeper_that_hangs_is_given_up_soon(clock):
    callers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: callers.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    backend = RedisState(Redis(port=port))
    with pytest.raises(StateFailure, match="no answer within"):
        await backend.revisions()
    await backend.aclose()
    for caller in callers:
        caller.close()
        await caller.wait_closed()
    server.close()
    await server.wait_closed()


# ── what replicas learn of providers ──


async def met(*stores: StateStore) -> None:
    for state in (*stores, *stores):
        await state.exchange()


async def test_an_outage_that_one_met_and_its_end_are_known_to_the_other(backends, clock):
    stores = [StateStore(backend, clock) for backend in backends]
    one, other = (Health(state, name) for state, name in zip(stores, "ab", strict=True))
    now = clock.now()
    one.failed("groq/a", "down", 10, now)
    await met(*stores)
    assert other.blocked_until("groq/a", now) == (now + 10, "down")

    other.failed("groq/a", "still down", 10, now + 10)
    await met(*stores)
    assert one.blocked_until("groq/a", now + 10) == (now + 30, "still down")

    one.served("groq/a", now + 30)
    await met(*stores)
    assert other.blocked_until("groq/a", now + 11) is None


async def test_one_replica_probes_and_goes_on_if_its_caller_leaves(backends, clock):
    stores = [StateStore(backend, clock) for backend in backends]
    one, other = (Health(state, name) for state, name in zip(stores, "ab", strict=True))
    one.failed("groq/a", "down", 10, clock.now())
    await met(*stores)
    clock.advance(10)
    now = clock.now()

    assert one.trying("groq/a", now)
    assert await one.claim("groq/a", now)
    assert other.trying("groq/a", now)
    assert not await other.claim("groq/a", now)
    assert other.blocked_until("groq/a", now) is not None
    one.left("groq/a")
    assert one.blocked_until("groq/a", now) is None
    assert not one.trying("groq/a", now)  # it is ours already: the store is not asked again

    one.failed("groq/a", "down", 10, now)
    await met(*stores)
    clock.advance(20)
    assert other.trying("groq/a", clock.now())
    assert await other.claim("groq/a", clock.now())


async def test_a_pace_is_what_all_learned_whoever_told_first(backends, clock):
    stores = [StateStore(backend, clock) for backend in backends]
    one, other = (Health(state, name) for state, name in zip(stores, "ab", strict=True))
    for health, seconds in ((one, 1.0), (other, 3.0)):
        health.served("groq/a", clock.now())
        health.timed("groq/a", [Point(100, seconds)], clock.now())
    clock.advance(GATHER_EVERY)
    await met(*stores)

    assert one.expected("groq/a") == pytest.approx(2.0)
    assert other.expected("groq/a") == pytest.approx(2.0)


async def test_what_is_old_or_comes_of_a_wrong_clock_is_forgotten_by_all(backends, clock):
    stores = [StateStore(backend, clock) for backend in backends]
    one, other = (Health(state, name) for state, name in zip(stores, "ab", strict=True))
    now = clock.now()
    for number in range(2 * MOST_REPLICAS):
        stores[0].set(
            "paces", f"restarted-{number}", msgspec.Raw(b'{"groq/a":[%f,1,100,10000,1,100,1,1]}' % (now - number))
        )
    stores[0].set("paces", "wrong", msgspec.Raw(b'{"groq/a":[%f,1,100,10000,1,100,1,1]}' % (now + 2 * LONGEST)))
    one.failed("groq/old", "down", 10, now - FORGET_AFTER - 11)
    stores[0].set("outages", "groq/wrong", msgspec.Raw(b'{"until":%f,"because":"","failures":1}' % (now + 2 * LONGEST)))
    one.failed("groq/a", "down", 10, now)
    await met(*stores)
    clock.advance(GATHER_EVERY)
    await met(*stores)

    assert set(stores[0].entries("outages", Any)) == set(stores[1].entries("outages", Any)) == {"groq/a"}
    kept = stores[0].entries("paces", Any).keys()
    assert kept == stores[1].entries("paces", Any).keys() >= {"a", "restarted-0"}
    assert "wrong" not in kept
    assert len(kept) <= MOST_REPLICAS
    clock.advance(PACE_FOR)
    await met(*stores)
    assert not stores[1].entries("paces", Any)
    assert other.blocked_until("groq/wrong", clock.now()) is None


async def test_it_survives_a_restart(tmp_path, clock):
    path = tmp_path / "memory.sqlite"
    before = StateStore(SqliteState(path, clock), clock)
    before.set("topic", "a", 1)
    await before.aclose()

    after = StateStore(SqliteState(path, clock), clock)
    heard: list[object] = []
    after.watch("topic", Any, heard.append)
    await after.exchange()
    assert heard == [{"a": 1}]
    await after.aclose()


def test_a_file_that_cannot_be_used_is_told(tmp_path, clock):
    (tmp_path / "memory.sqlite").mkdir()
    with pytest.raises(StateFailure):
        SqliteState(tmp_path / "memory.sqlite", clock)
