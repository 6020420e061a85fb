"""What holds of a gateway's memory, whoever keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gateway.routing.health import FORGET_AFTER, LONGEST, MOST_REPLICAS, PACE_FOR, Health
from gateway.routing.latency import Point
from gateway.state.redis import SharedKeeper
from gateway.state.sqlite import EmbeddedKeeper
from gateway.state.store import EVERY, GATHER_EVERY, Keeper, KeeperFailure, Memory
from gateway.words import Exclusion
from tests.clock import FakeClock


def cooling(until: float, because: str) -> Exclusion:
    return Exclusion("groq/a", "cooling", f"cooling: {because}", until)


@pytest.fixture(params=["embedded", pytest.param("redis", marks=pytest.mark.engine)])
async def keepers(request, tmp_path, clock) -> AsyncIterator[tuple[Keeper, Keeper]]:
    """Two ways to the same memory."""
    if request.param == "embedded":
        made: list[Keeper] = [EmbeddedKeeper(tmp_path / "memory.sqlite", clock) for _ in range(2)]
    else:
        url = request.getfixturevalue("redis_server").url
        made = [SharedKeeper(Redis.from_url(url)) for _ in range(2)]
        client = Redis.from_url(url)
        await client.flushall()
        await client.aclose()
    yield made[0], made[1]
    for keeper in made:
        await keeper.aclose()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class Broken:
    """A keeper that can be taken away."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper, self.away = keeper, False

    def __getattr__(self, name: str):
        return self._refuse if self.away else getattr(self.keeper, name)

    async def _refuse(self, *_: object) -> None:
        raise KeeperFailure("away")


async def test_one_tells_and_the_other_hears(keepers, clock):
    one, other = (Memory(keeper, clock) for keeper in keepers)
    heard: list[dict[str, bytes]] = []
    other.watch("topic", lambda notes: heard.append(dict(notes)))
    await other.exchange()

    one.note("topic", "a", b"1")
    one.note("topic", "b", b"2")
    await one.exchange()
    await other.exchange()
    one.note("topic", "a", None)
    await one.exchange()
    await other.exchange()

    assert heard[-2:] == [{"a": b"1", "b": b"2"}, {"b": b"2"}]
    assert other.notes("topic") == {"b": b"2"}


async def test_who_has_nothing_to_hear_is_not_disturbed(keepers, clock):
    one, other = (Memory(keeper, clock) for keeper in keepers)
    heard: list[object] = []
    other.watch("topic", heard.append)
    one.note("topic", "a", b"1")
    await one.exchange()
    await other.exchange()
    before = len(heard)

    await other.exchange()
    one.note("elsewhere", "a", b"1")
    await one.exchange()
    await other.exchange()

    assert len(heard) == before


async def test_only_what_changed_is_read_again(keepers, clock):
    read: list[str] = []

    class Watched(Broken):
        async def notes(self, topic: str) -> dict[str, bytes]:
            read.append(topic)
            return await self.keeper.notes(topic)

    one, other = Memory(keepers[0], clock), Memory(Watched(keepers[1]), clock)
    other.watch("long", lambda _: None)
    other.watch("busy", lambda _: None)
    one.note("long", "a", b"1")
    await one.exchange()
    await other.exchange()
    read.clear()

    one.note("busy", "a", b"1")
    await one.exchange()
    await other.exchange()

    assert read == ["busy"]


async def test_what_changes_with_every_request_is_gathered_for_a_while_and_told_in_the_end(keepers, clock):
    memory, other = (Memory(keeper, clock) for keeper in keepers)
    other.watch("learned", lambda _: None)
    memory.gather(lambda now: memory.note("learned", "me", str(now).encode()))
    began = clock.now()
    for _ in range(8):  # as many looks as there are in so many seconds
        clock.advance(EVERY)
        await memory.exchange()
    await other.exchange()
    assert other.notes("learned") == {"me": str(began + GATHER_EVERY).encode()}

    await memory.aclose()
    await other.exchange()
    assert other.notes("learned") == {"me": str(began + 8 * EVERY).encode()}


async def test_what_is_noted_is_known_here_at_once(keepers, clock):
    memory = Memory(keepers[0], clock)
    memory.watch("topic", lambda _: None)
    memory.note("topic", "a", b"1")

    assert memory.notes("topic") == {"a": b"1"}


async def test_counters_are_of_everybody(keepers, clock):
    one, other = (Memory(keeper, clock) for keeper in keepers)
    for _ in range(10):
        one.count("spent", 0.1)
        other.count("spent", 0.2)
    await one.exchange()

    assert await other.counters() == {"spent": pytest.approx(3.0)}


async def test_a_claim_is_one_callers_until_it_ends(keepers, clock):
    one, other = keepers
    claims = await asyncio.gather(*(keeper.claim("probe", 0.05) for keeper in (one, other) * 5))
    assert sum(claims) == 1
    assert await one.claim("another", 60)

    clock.advance(1)
    await asyncio.sleep(0.06)  # Redis has its own clock
    assert await other.claim("probe", 60)
    assert not await one.claim("probe", 60)


async def test_what_was_noted_while_the_keeper_was_away_is_told_later(keepers, clock):
    broken = Broken(keepers[0])
    one, other = Memory(broken, clock), Memory(keepers[1], clock)
    broken.away = True
    one.note("topic", "a", b"1")
    one.note("topic", "c", b"4")
    one.count("spent", 1.0)
    with pytest.raises(KeeperFailure):
        await one.exchange()
    one.note("topic", "a", b"2")
    one.note("topic", "b", b"3")
    assert await one.claim("anything", 60)

    broken.away = False
    await one.exchange()

    other.watch("topic", lambda _: None)
    await other.exchange()
    assert other.notes("topic") == {"a": b"2", "b": b"3", "c": b"4"}
    assert await other.counters() == {"spent": 1.0}


@pytest.mark.engine
async def test_a_redis_that_has_forgotten_is_told_again(redis_server, clock):
    one, other = (Memory(SharedKeeper(Redis.from_url(redis_server.url)), clock) for _ in range(2))
    one.watch("forgotten", lambda _: None)
    other.watch("forgotten", lambda _: None)
    one.note("forgotten", "a", b"1")
    await one.exchange()

    client = Redis.from_url(redis_server.url)
    await client.flushall()
    await one.exchange()
    await other.exchange()

    assert other.notes("forgotten") == {"a": b"1"}
    for closing in (one, other, client):
        await closing.aclose()


async def test_a_keeper_that_hangs_is_given_up_soon(clock):
    callers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: callers.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    keeper = SharedKeeper(Redis(port=port))
    with pytest.raises(KeeperFailure, match="no answer within"):
        await keeper.editions()
    await keeper.aclose()
    for caller in callers:
        caller.close()
        await caller.wait_closed()
    server.close()
    await server.wait_closed()


# ── what replicas learn of providers ──


async def met(*memories: Memory) -> None:
    for memory in (*memories, *memories):
        await memory.exchange()


async def test_an_outage_that_one_met_and_its_end_are_known_to_the_other(keepers, clock):
    memories = [Memory(keeper, clock) for keeper in keepers]
    one, other = (Health(memory, name) for memory, name in zip(memories, "ab", strict=True))
    now = clock.now()
    one.failed("groq/a", "down", 10, now)
    await met(*memories)
    assert other.blocked("groq/a", now) == cooling(now + 10, "down")

    other.failed("groq/a", "still down", 10, now + 10)
    await met(*memories)
    assert one.blocked("groq/a", now + 10) == cooling(now + 30, "still down")

    one.served("groq/a", now + 30)
    await met(*memories)
    assert other.blocked("groq/a", now + 11) is None


async def test_one_replica_probes_and_goes_on_if_its_caller_leaves(keepers, clock):
    memories = [Memory(keeper, clock) for keeper in keepers]
    one, other = (Health(memory, name) for memory, name in zip(memories, "ab", strict=True))
    one.failed("groq/a", "down", 10, clock.now())
    await met(*memories)
    clock.advance(10)
    now = clock.now()

    assert one.trying("groq/a", now)
    assert await one.claim("groq/a", now)
    assert other.trying("groq/a", now)
    assert not await other.claim("groq/a", now)
    assert other.blocked("groq/a", now) is not None
    one.left("groq/a")
    assert one.blocked("groq/a", now) is None
    assert not one.trying("groq/a", now)  # it is ours already: the store is not asked again

    one.failed("groq/a", "down", 10, now)
    await met(*memories)
    clock.advance(20)
    assert other.trying("groq/a", clock.now())
    assert await other.claim("groq/a", clock.now())


async def test_a_pace_is_what_all_learned_whoever_told_first(keepers, clock):
    memories = [Memory(keeper, clock) for keeper in keepers]
    one, other = (Health(memory, name) for memory, name in zip(memories, "ab", strict=True))
    for health, seconds in ((one, 1.0), (other, 3.0)):
        health.served("groq/a", clock.now())
        health.timed("groq/a", [Point(100, seconds)], clock.now())
    clock.advance(GATHER_EVERY)
    await met(*memories)

    assert one.expected("groq/a") == pytest.approx(2.0)
    assert other.expected("groq/a") == pytest.approx(2.0)


async def test_what_is_old_or_comes_of_a_wrong_clock_is_forgotten_by_all(keepers, clock):
    memories = [Memory(keeper, clock) for keeper in keepers]
    one, other = (Health(memory, name) for memory, name in zip(memories, "ab", strict=True))
    now = clock.now()
    for number in range(2 * MOST_REPLICAS):
        memories[0].note("paces", f"restarted-{number}", b'{"groq/a":[%f,1,100,10000,1,100,1,1]}' % (now - number))
    memories[0].note("paces", "wrong", b'{"groq/a":[%f,1,100,10000,1,100,1,1]}' % (now + 2 * LONGEST))
    one.failed("groq/old", "down", 10, now - FORGET_AFTER - 11)
    memories[0].note("outages", "groq/wrong", b'{"until":%f,"because":"","failures":1}' % (now + 2 * LONGEST))
    one.failed("groq/a", "down", 10, now)
    await met(*memories)
    clock.advance(GATHER_EVERY)
    await met(*memories)

    assert set(memories[0].notes("outages")) == set(memories[1].notes("outages")) == {"groq/a"}
    kept = memories[0].notes("paces").keys()
    assert kept == memories[1].notes("paces").keys() >= {"a", "restarted-0"}
    assert "wrong" not in kept
    assert len(kept) <= MOST_REPLICAS
    clock.advance(PACE_FOR)
    await met(*memories)
    assert not memories[1].notes("paces")
    assert other.blocked("groq/wrong", clock.now()) is None


async def test_it_survives_a_restart(tmp_path, clock):
    path = tmp_path / "memory.sqlite"
    before = Memory(EmbeddedKeeper(path, clock), clock)
    before.note("topic", "a", b"1")
    await before.aclose()

    after = Memory(EmbeddedKeeper(path, clock), clock)
    heard: list[object] = []
    after.watch("topic", heard.append)
    await after.exchange()
    assert heard == [{"a": b"1"}]
    await after.aclose()


def test_a_file_that_cannot_be_used_is_told(tmp_path, clock):
    (tmp_path / "memory.sqlite").mkdir()
    with pytest.raises(KeeperFailure):
        EmbeddedKeeper(tmp_path / "memory.sqlite", clock)
