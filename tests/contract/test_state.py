"""What holds of a gateway's state, whichever backend keeps it."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from typing import Any, cast

import msgspec
import pytest
from redis.asyncio import Redis

from gateway.background import Background
from gateway.catalog.learned import Learned, Withdrawal
from gateway.events import EntriesUnreadable, Event, StateChanged, StateSetAside
from gateway.routing.health import FORGET_AFTER, LONGEST, MOST_REPLICAS, PACE_FOR, Health
from gateway.routing.latency import Point
from gateway.state.moving import move
from gateway.state.redis import RedisState
from gateway.state.sqlite import MIGRATIONS, SqliteState
from gateway.state.store import EVERY, GATHER_EVERY, StateBackend, StateFailure, StateStore
from gateway.words import Exclusion
from tests.clock import FakeClock, eventually


def cooling(until: float, because: str) -> Exclusion:
    return Exclusion("groq/a", "cooling", f"cooling: {because}", until)


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
    heard: list[dict[str, Any]] = []
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

    assert await other.counters("") == [{"spent": pytest.approx(3.0)}]


async def test_groups_of_counters_are_told_apart_and_forgotten_as_a_whole(backends, clock):
    one, other = (StateStore(backend, clock) for backend in backends)
    one.count("a", 1.0)
    for day in ("use 2026-11-26", "use 2026-11-27", "use 2026-11-28"):
        one.count("a", 2.0, day)
        other.count("a", 3.0, day)
    await one.exchange()
    assert await other.counters("", "use 2026-11-27", "use none") == [{"a": 1.0}, {"a": 5.0}, {}]
    assert sorted(await backends[1].counter_groups()) == ["", "use 2026-11-26", "use 2026-11-27", "use 2026-11-28"]

    await other.forget_counters("use ", "use 2026-11-28")

    found = await one.counters("", "use 2026-11-26", "use 2026-11-27", "use 2026-11-28")
    assert found == [{"a": 1.0}, {}, {}, {"a": 5.0}]


async def test_what_is_moved_has_every_group_of_counters_once_however_often_it_is_moved(backends, clock):
    moved = SqliteState(None, clock)
    await backends[0].count({"a": 1.0})
    await backends[0].count({"a": 2.0, "b": 3.0}, "use 2026-11-27")
    for _ in range(2):
        assert (await move(backends[0], moved)).counters == 3

    assert await moved.counters() == {"a": 1.0}
    assert await moved.counters("use 2026-11-27") == {"a": 2.0, "b": 3.0}


async def test_a_claim_is_one_callers_until_it_ends(backends, clock):
    one, other = backends
    claims = await asyncio.gather(*(backend.claim("probe", 0.05) for backend in (one, other) * 5))
    assert sum(claims) == 1
    assert await one.claim("another", 60)

    clock.advance(1)
    await asyncio.sleep(0.06)  # Redis has its own clock
    assert await other.claim("probe", 60)
    assert not await one.claim("probe", 60)


async def test_what_was_noted_while_the_backend_was_away_is_told_later(backends, clock):
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
    assert await other.counters("") == [{"spent": 1.0}]


async def test_a_backend_that_is_lost_is_told_once_and_so_is_its_return(backends, clock):
    told: list[Event] = []
    broken = Broken(backends[0])
    state = StateStore(broken, clock, told.append)
    for away in (False, True, True, False, False):
        broken.away = away
        with suppress(StateFailure):
            await state.exchange()
        assert (state.lost is not None) == away

    assert [isinstance(event, StateChanged) and event.lost is None for event in told] == [False, True]


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
    for part in (one, other, client):
        await part.aclose()


@pytest.mark.engine
async def test_a_redis_that_has_forgotten_is_told_again_also_if_another_wrote_to_it_before_we_looked(
    redis_server, clock
):
    one, other = (StateStore(RedisState(Redis.from_url(redis_server.url)), clock) for _ in range(2))
    for store in (one, other):
        store.watch("forgotten", Any, lambda _: None)
    one.set("forgotten", "a", 1)
    await one.exchange()
    client = Redis.from_url(redis_server.url)
    await client.flushall()
    other.set("forgotten", "b", 2)
    await other.exchange()
    await one.exchange()
    await other.exchange()

    assert one.entries("forgotten", Any) == other.entries("forgotten", Any) == {"a": 1, "b": 2}
    for part in (one, other, client):
        await part.aclose()


async def test_a_backend_that_hangs_is_given_up_soon(clock):
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
    assert other.blocked("groq/a", now) == cooling(now + 10, "down")

    other.failed("groq/a", "still down", 10, now + 10)
    await met(*stores)
    assert one.blocked("groq/a", now + 10) == cooling(now + 30, "still down")

    one.served("groq/a", now + 30)
    await met(*stores)
    assert other.blocked("groq/a", now + 11) is None


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
    assert other.blocked("groq/a", now) is not None
    one.left("groq/a")
    assert one.blocked("groq/a", now) is None
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
    assert other.blocked("groq/wrong", clock.now()) is None


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


# ── what cannot be read, and what has a bug ──


class Read(msgspec.Struct):
    number: int


async def test_what_another_version_wrote_is_left_out_named_once_and_left_as_it_is(backends, clock):
    told: list[Event] = []
    one, other = StateStore(backends[0], clock), StateStore(backends[1], clock, told.append)
    heard: list[dict[str, Read]] = []
    other.watch("topic", Read, heard.append)
    odd = {"newer": b'{"number":"one"}', "damaged": b"\xff\x00", "deep": b"[" * 100_000}
    await backends[0].write("topic", odd)
    one.set("topic", "a", Read(1))
    await one.exchange()
    await other.exchange()
    one.set("topic", "b", Read(2))
    await one.exchange()
    await other.exchange()

    assert heard[-1] == {"a": Read(1), "b": Read(2)}
    assert other.unreadable == 3
    (event,) = told
    assert isinstance(event, EntriesUnreadable)
    assert (event.topic, set(event.keys)) == ("topic", set(odd))
    kept = await backends[0].read("topic")
    assert {key: kept[key] for key in odd} == odd


async def test_what_can_be_read_again_is_no_longer_counted(backends, clock):
    store = StateStore(backends[0], clock)
    store.set("topic", "a", "text")
    assert store.entries("topic", Read) == {}
    assert store.unreadable == 1

    store.set("topic", "a", Read(1))
    assert store.entries("topic", Read) == {"a": Read(1)}
    assert store.unreadable == 0


async def test_a_watcher_that_raises_ends_no_exchange_and_keeps_nobody_else_from_hearing(backends, clock):
    told: list[Event] = []
    background = Background(clock, told.append)
    one, other = (StateStore(backend, clock) for backend in backends)
    heard: list[dict[str, int]] = []

    def raises(entries: dict[str, int]) -> None:
        if entries:
            raise KeyError("a watcher's bug")

    other.watch("first", int, raises)
    other.watch("second", int, heard.append)
    background.run("state exchange", other.exchange_forever)
    await eventually(other.tried.is_set)

    for number in (1, 2, 3):
        one.set("first", "a", number)
        one.set("second", "a", number)
        await one.exchange()
        await passes(clock, lambda number=number: heard[-1] == {"a": number} and len(told) == number)  # type: ignore[misc]
    other.set("third", "a", 1)
    await passes(clock, lambda: not other._unsent["third"])

    assert "a watcher's bug" in cast(Any, told[0]).error
    await background.stop()


async def test_a_gatherer_that_raises_keeps_nothing_from_being_sent(backends, clock):
    one, other = (StateStore(backend, clock) for backend in backends)
    one.gather(lambda _: [].pop())
    one.gather(lambda now: one.set("topic", "gathered", now))
    clock.advance(GATHER_EVERY)
    one.set("topic", "a", 1)
    with pytest.raises(IndexError):
        await one.exchange()

    other.watch("topic", Any, lambda _: None)
    await other.exchange()
    assert other.entries("topic", Any) == {"a": 1, "gathered": clock()}


async def test_what_is_set_is_sent_soon_and_not_only_when_the_next_look_is_due(backends, clock):
    background = Background(clock, lambda _: None)
    one, other = (StateStore(backend, clock) for backend in backends)
    background.run("state exchange", one.exchange_forever)
    await eventually(one.tried.is_set)
    other.watch("topic", int, lambda _: None)
    await eventually(lambda: clock.timers)

    one.set("topic", "a", 1)
    one.set("topic", "b", 2)
    clock.advance(EVERY / 10)
    await eventually(lambda: not one._unsent["topic"])
    await background.stop()
    await other.exchange()
    assert other.entries("topic", int) == {"a": 1, "b": 2}
    assert not clock.timers


async def test_a_clock_that_is_set_back_stops_neither_gathering_nor_claims(backends, clock):
    store = StateStore(backends[0], clock)
    store.gather(lambda now: store.set("topic", "at", now))
    assert await backends[0].claim("daily", 0.05)
    clock.set_by(-86_400)
    await asyncio.sleep(0.06)  # Redis has its own clock
    await store.exchange()

    assert store.entries("topic", float) == {"at": clock()}
    assert await backends[1].claim("daily", 60)


async def passes(clock: FakeClock, holds: Callable[[], object]) -> None:
    """Let time pass until *holds*: pauses after failures grow."""
    async with asyncio.timeout(5):
        while not holds():
            clock.advance(EVERY)
            await asyncio.sleep(0.005)


# ── the file ──


def test_a_file_that_cannot_be_used_is_told(tmp_path, clock):
    (tmp_path / "memory.sqlite").mkdir()
    with pytest.raises(StateFailure):
        SqliteState(tmp_path / "memory.sqlite", clock)


async def test_the_event_loop_goes_on_while_the_disk_or_another_process_keeps_a_write_waiting(tmp_path, clock):
    backend = SqliteState(tmp_path / "memory.sqlite", clock)
    other = sqlite3.connect(tmp_path / "memory.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.ensure_future(backend.write("topic", {"a": b"1"}))
    ticks = 0
    while not writing.done() and ticks < 20:
        await asyncio.sleep(0.005)
        ticks += 1
    assert ticks == 20  # on the loop, the write would have been over before the first
    other.execute("COMMIT")
    other.close()
    await writing

    assert await backend.read("topic") == {"a": b"1"}
    await backend.aclose()


async def test_operations_happen_in_the_order_in_which_they_were_asked_for(tmp_path, clock):
    backend = SqliteState(tmp_path / "memory.sqlite", clock)
    await asyncio.gather(*(backend.write("topic", {"last": b"%d" % number}) for number in range(50)))

    assert await backend.read("topic") == {"last": b"49"}
    assert (await backend.revisions())["topic"] == "50"
    await backend.aclose()


async def test_a_write_is_whole_or_nothing(tmp_path, clock):
    backend = SqliteState(tmp_path / "memory.sqlite", clock)
    with pytest.raises(StateFailure):
        await backend.write("topic", {"a": b"1", "b": object()})  # type: ignore[dict-item]

    assert await backend.read("topic") == {}
    await backend.aclose()


async def test_state_is_for_its_owner_only(tmp_path, clock):
    path = tmp_path / "state" / "memory.sqlite"
    backend = SqliteState(path, clock)
    await backend.write("topic", {"a": b"1"})

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    await backend.aclose()
    path.chmod(0o644)
    await SqliteState(path, clock).aclose()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


FIRST_VERSION = """
CREATE TABLE note (topic TEXT, key TEXT, value BLOB NOT NULL, PRIMARY KEY (topic, key)) WITHOUT ROWID;
CREATE TABLE counter (name TEXT PRIMARY KEY, amount REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE claim (what TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE topic (name TEXT PRIMARY KEY, edition INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO note VALUES ('withdrawn', 'groq/a', '{"until":1e12,"because":"gone","gone":true}');
INSERT INTO counter VALUES ('2026-11|groq|a|requests', 3.0);
INSERT INTO claim VALUES ('probe groq 0', 1e9);
INSERT INTO topic VALUES ('withdrawn', 7);
"""


async def test_a_file_of_the_first_version_is_read_and_what_it_knew_is_known(tmp_path, clock):
    path = tmp_path / "memory.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(FIRST_VERSION)
    for _ in range(2):  # the second time it has been migrated
        store = StateStore(SqliteState(path, clock), clock)
        learned = Learned(store)
        await store.exchange()
        assert learned.out(clock()) == {"groq/a": Withdrawal(1e12, "gone", gone=True)}
        assert await store.counters("") == [{"2026-11|groq|a|requests": 3.0}]
        await store.aclose()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


def test_two_processes_may_migrate_at_the_same_time(tmp_path, clock):
    path = tmp_path / "memory.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(FIRST_VERSION)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: SqliteState(path, clock), range(4)))
    for backend in made:
        asyncio.run(backend.aclose())


def test_a_file_of_a_later_version_is_left_alone_and_told(tmp_path, clock):
    path = tmp_path / "memory.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = path.read_bytes()

    with pytest.raises(StateFailure, match="later version"):
        SqliteState(path, clock)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "damage", [b"this is no database, and was never one " * 200, b"SQLite format 3\0" + b"\xff" * 9000]
)
async def test_a_damaged_file_is_set_aside_told_and_replaced_when_we_start(tmp_path, clock, damage):
    path, told = tmp_path / "memory.sqlite", list[Any]()
    path.write_bytes(damage)
    backend = SqliteState(path, clock, told.append)
    await backend.write("topic", {"a": b"1"})

    (event,) = told
    assert isinstance(event, StateSetAside)
    assert (tmp_path / event.kept_as).read_bytes() == damage
    assert "2026-11-23" in event.kept_as
    assert await backend.read("topic") == {"a": b"1"}
    await backend.aclose()


async def test_a_file_that_is_damaged_while_we_run_is_replaced_and_told_again_what_we_know(tmp_path, clock):
    path, told = tmp_path / "memory.sqlite", list[Any]()
    store = StateStore(SqliteState(path, clock, told.append), clock)
    store.watch("topic", int, lambda _: None)
    for number in range(300):
        store.set("topic", f"a long name of an entry {number}", number)
    await store.exchange()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    with closing(sqlite3.connect(path, isolation_level=None)) as db, suppress(sqlite3.Error):
        db.execute("PRAGMA user_version = 2")  # so that pages that are held in memory are read anew

    for _ in range(3):
        store.set("topic", "another", 1)
        with suppress(StateFailure):
            await store.exchange()

    assert [type(event) for event in told] == [StateSetAside]
    other = StateStore(SqliteState(path, clock), clock)
    other.watch("topic", int, lambda _: None)
    await other.exchange()
    assert len(other.entries("topic", int)) == 301
    for one in (store, other):
        await one.aclose()


async def test_of_two_processes_that_find_the_damage_one_sets_the_file_aside(tmp_path, clock):
    path, told = tmp_path / "memory.sqlite", list[Any]()
    one, other = (SqliteState(path, clock, told.append) for _ in range(2))
    for backend in (one, other):
        await backend._in_turn(partial(backend._start_anew, sqlite3.DatabaseError("damaged")))
    await one.write("topic", {"a": b"1"})

    assert await other.read("topic") == {"a": b"1"}
    assert len(list(tmp_path.glob("memory.sqlite.damaged-*[0-9]"))) == 1
    for backend in (one, other):
        await backend.aclose()
