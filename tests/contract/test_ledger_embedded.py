"""The embedded store on a real file: other processes, kill -9, and a file that cannot be written."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from gateway.clock import WallClock
from gateway.quota import sqlite as embedded
from gateway.quota.buckets import Bucket
from gateway.quota.degraded import HEARTBEAT
from gateway.quota.exchange import ExchangeResult, StoreFailure, nothing_withheld
from gateway.quota.ledger import Ledger
from gateway.quota.nouns import Cost, NoRoom, Offer, Reservation
from gateway.quota.sqlite import PATIENCE, EmbeddedStore
from tests.clock import FakeClock, eventually

ROOT = Path(__file__).parents[2]
MANY = Bucket(key="a/many", account="a", unit="requests", limit=3000, window="rolling", period=86_400)
MINUTE = Bucket(key="a/minute", account="a", unit="requests", limit=10, window="clock", period=60)

RACER = """
import asyncio, sys
from pathlib import Path
from tests.contract.test_ledger_embedded import taken
print(asyncio.run(taken(Path(sys.argv[1]), int(sys.argv[2]))))
"""


def opened(path: Path, clock=None) -> Ledger:
    return Ledger(EmbeddedStore(path), clock or WallClock())


async def taken(path: Path, times: int) -> int:
    """How many of so many reservations were made, each settled before the next, by one who waits as long as it takes."""
    embedded.PATIENCE = 120.0
    ledger = opened(path)
    made = 0
    for _ in range(times):
        held = await ledger.reserve([Offer("d", (MANY,), Cost(1))])
        if isinstance(held, Reservation):
            made += 1
            ledger.settle(held, Cost(1))
    await ledger.aclose()
    return made


async def used(path: Path, bucket: Bucket) -> float:
    ledger = opened(path)
    level = (await ledger.levels([bucket]))[bucket.key].used
    await ledger.aclose()
    return level


def test_processes_on_one_file_take_neither_one_too_many_nor_one_too_few(tmp_path):
    path = tmp_path / "ledger.sqlite"
    argv = [sys.executable, "-c", RACER, str(path), "1500"]
    racers = [subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(4)]

    assert sum(int(racer.communicate(timeout=120)[0]) for racer in racers) == MANY.limit
    assert asyncio.run(used(path, MANY)) == MANY.limit


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.contract.test_ledger_embedded import MANY, opened
from gateway.quota.nouns import Cost, Offer
async def main():
    ledger = opened(Path(sys.argv[1]))
    await ledger.reserve([Offer("d", (MANY,), Cost(1))])
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""


def test_what_a_killed_process_debited_stays_debited(tmp_path):
    path = tmp_path / "ledger.sqlite"

    died = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=ROOT, check=False)

    assert died.returncode == -signal.SIGKILL
    assert asyncio.run(used(path, MANY)) == 1


async def test_what_has_faded_leaves_the_file(tmp_path, clock):
    path = tmp_path / "ledger.sqlite"
    ledger = opened(path, clock)
    for number in range(50):
        bucket = Bucket(key=f"a/{number}", account="a", unit="requests", limit=1, window="clock", period=60)
        held = await ledger.reserve([Offer("d", (bucket,), Cost(1))])
        assert isinstance(held, Reservation)
        ledger.settle(held, Cost(1))
    await ledger.flush()
    clock.advance(7200)
    await ledger.reserve([Offer("d", (MANY,), Cost(1))])
    await ledger.aclose()

    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT bucket, length(state) FROM level").fetchall()
    db.close()
    assert [key for key, _ in rows] == [MANY.key]
    assert rows[0][1] < 100


async def test_a_file_that_another_process_holds_is_done_without_until_it_is_free(tmp_path):
    path, clock = tmp_path / "ledger.sqlite", FakeClock()
    ledger = opened(path, clock)
    await ledger.reserve([Offer("d", (MINUTE,), Cost(1))])
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    began = time.monotonic()

    held = [await ledger.reserve([Offer("d", (MINUTE,), Cost(1))]) for _ in range(20)]

    assert time.monotonic() - began < 5 * PATIENCE
    assert sum(isinstance(one, Reservation) for one in held) == 9
    assert ledger.condition().lost == "database is locked"
    holder.execute("ROLLBACK")
    holder.close()
    await eventually(lambda: clock.sleeping)
    clock.advance(HEARTBEAT)
    await eventually(lambda: ledger.condition().lost is None)
    assert isinstance(await ledger.reserve([Offer("d", (MINUTE,), Cost(1))]), NoRoom)
    assert (await ledger.levels([MINUTE]))[MINUTE.key].used == 10
    await ledger.aclose()


async def test_those_who_find_the_file_held_take_no_more_than_there_is_together(tmp_path):
    path, clock = tmp_path / "ledger.sqlite", FakeClock()
    ledgers = [opened(path, clock) for _ in range(3)]
    for ledger in ledgers:
        await ledger.levels([MINUTE])
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")

    held = [await ledger.reserve([Offer("d", (MINUTE,), Cost(1))]) for _ in range(10) for ledger in ledgers]

    holder.execute("ROLLBACK")
    holder.close()
    assert sum(isinstance(one, Reservation) for one in held) == MINUTE.limit
    for ledger in ledgers:
        await ledger.aclose()


async def test_who_leaves_while_others_write_loses_nothing_that_happened(tmp_path):
    path, clock = tmp_path / "ledger.sqlite", FakeClock()
    ledger = opened(path, clock)
    held = await ledger.reserve([Offer("d", (MINUTE,), Cost(1))])
    assert isinstance(held, Reservation)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    ledger.refund(held)
    leaver = asyncio.create_task(ledger.reserve([Offer("d", (MINUTE,), Cost(1))]))
    await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.wait([leaver])
    holder.execute("ROLLBACK")
    holder.close()
    await ledger.aclose()

    again = opened(path, clock)
    assert (await again.levels([MINUTE]))[MINUTE.key].used == 0
    await again.aclose()


HOLDER = """
import asyncio, sys, time
from pathlib import Path
from tests.contract.test_ledger_embedded import FLYING, opened, Cost, Offer
asyncio.run(opened(Path(sys.argv[1])).reserve([Offer("d", (FLYING,), Cost(1))]))
print("held", flush=True)
time.sleep(60)
"""
FLYING = Bucket(key="a/flying", account="a", unit="in-flight", limit=2, window="in-flight", period=0)


def test_what_a_killed_process_had_in_flight_is_given_back_by_the_next_that_starts(tmp_path):
    path = tmp_path / "ledger.sqlite"
    holders = [
        subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], cwd=ROOT, stdout=subprocess.PIPE) for _ in range(2)
    ]
    try:
        for holder in holders:
            assert holder.stdout
            assert holder.stdout.readline() == b"held\n"
        while_they_live = asyncio.run(used(path, FLYING))
        holders[0].kill()
        holders[0].wait()
        after_one_died = asyncio.run(used(path, FLYING))
    finally:
        for holder in holders:
            holder.kill()
            holder.communicate()

    assert (while_they_live, after_one_died) == (2.0, 1.0)
    assert asyncio.run(used(path, FLYING)) == 0.0
    assert not list(path.with_suffix(".processes").iterdir())


# ── a disk that is slow, or full ──


class Slow:
    """A connection whose COMMIT takes *seconds*, or fails with *failure*."""

    def __init__(self, db: sqlite3.Connection, seconds: float = 0.0) -> None:
        self._db, self.seconds, self.failure = db, seconds, ""

    def __getattr__(self, name: str):
        return getattr(self._db, name)

    def execute(self, sql: str, *args):
        if sql == "COMMIT":
            time.sleep(self.seconds)
            if self.failure:
                raise sqlite3.OperationalError(self.failure)
        return self._db.execute(sql, *args)


async def longest_pause(work) -> float:
    """The longest time for which a timer on the loop was not called while *work* went on."""
    loop, longest = asyncio.get_running_loop(), 0.0
    task = asyncio.ensure_future(work)
    while not task.done():
        before = loop.time()
        await asyncio.sleep(0.001)
        longest = max(longest, loop.time() - before)
    await task
    return longest


async def test_a_slow_disk_makes_reservations_wait_and_nothing_else(tmp_path):
    ledger = opened(tmp_path / "ledger.sqlite")
    store: Any = ledger._journal._store
    store._db = Slow(store._db, 0.3)

    async def many() -> None:
        held = await asyncio.gather(*(ledger.reserve([Offer("d", (MANY,), Cost(1))]) for _ in range(100)))
        for one in held:
            assert isinstance(one, Reservation)
            ledger.settle(one, Cost(1))
        await ledger.flush()

    assert await longest_pause(many()) < 0.15  # of this busy machine; a commit takes twice as long
    await ledger.aclose()


async def test_a_file_that_another_process_holds_stalls_nothing_either(tmp_path):
    path = tmp_path / "ledger.sqlite"
    ledger = opened(path)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")

    assert await longest_pause(ledger.reserve([Offer("d", (MANY,), Cost(1))])) < 0.15
    holder.execute("ROLLBACK")
    holder.close()
    await ledger.aclose()


async def test_a_commit_that_failed_leaves_no_debit_in_what_is_known(tmp_path):
    ledger = opened(tmp_path / "ledger.sqlite", FakeClock())
    await ledger.reserve([Offer("d", (MINUTE,), Cost(1))])
    store: Any = ledger._journal._store
    slow = store._db = Slow(store._db)
    slow.failure = "disk is full"

    held = [await ledger.reserve([Offer("d", (MINUTE,), Cost(1))]) for _ in range(12)]

    assert ledger.condition().lost == "disk is full"
    assert sum(isinstance(one, Reservation) for one in held) == 9
    assert ledger.cache.levels[MINUTE.key][1].used == 1
    slow.failure = ""
    await ledger._journal.look()
    assert (await ledger.levels([MINUTE]))[MINUTE.key].used == 10
    await ledger.aclose()


async def test_what_is_known_is_never_the_stores_own(tmp_path):
    ledger = opened(tmp_path / "ledger.sqlite", FakeClock())
    for _ in range(2):
        await ledger.reserve([Offer("d", (MINUTE,), Cost(1))])

    assert ledger.cache.levels[MINUTE.key][1] is not cast(Any, ledger._journal._store)._levels[MINUTE.key]
    await ledger.aclose()


async def test_requests_that_come_together_are_debited_in_one_transaction(tmp_path):
    ledger = opened(tmp_path / "ledger.sqlite", FakeClock())
    store: Any = ledger._journal._store
    commits, exchange = 0, store.exchange

    async def counted(*args):
        nonlocal commits
        commits += 1
        return await exchange(*args)

    store.exchange = counted
    await asyncio.gather(*(ledger.reserve([Offer("d", (MANY,), Cost(1))]) for _ in range(50)))

    assert commits <= 2
    assert (await ledger.levels([MANY]))[MANY.key].used == 50
    await ledger.aclose()


# ── files of older versions ──


async def test_the_file_of_an_older_version_keeps_the_counts_of_the_day(tmp_path, clock):
    path = tmp_path / "ledger.sqlite"
    day = Bucket(key="a/day", account="a", unit="requests", limit=50, window="calendar", calendar="day")
    with sqlite3.connect(path) as old:
        old.executescript(
            "CREATE TABLE level (bucket TEXT PRIMARY KEY, state BLOB NOT NULL, fades_at REAL NOT NULL) WITHOUT ROWID;"
        )
        since = clock() - clock() % 86_400
        state = [41.0, since, [], [], 0, since, 0.0, "", -1.0, 0.0, "", "", 0.0]
        old.execute("INSERT INTO level VALUES (?, ?, ?)", (day.key, msgspec.msgpack.encode(state), since + 86_400))
    old.close()

    ledger = opened(path, clock)

    assert (await ledger.levels([day]))[day.key].used == 41
    await ledger.aclose()
    with sqlite3.connect(path) as new:
        assert new.execute("PRAGMA user_version").fetchone() == (2,)
    new.close()


async def test_a_row_that_cannot_be_read_is_set_aside_and_counts_as_used_up(tmp_path, clock):
    path = tmp_path / "ledger.sqlite"
    ledger = opened(path, clock)
    await ledger.reserve([Offer("d", (MINUTE,), Cost(1))])
    await ledger.aclose()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE level SET state = ?", (b"nonsense",))
    db.close()

    again = opened(path, clock)

    assert (await again.levels([MINUTE]))[MINUTE.key].used == MINUTE.limit
    assert isinstance(await again.reserve([Offer("d", (MINUTE,), Cost(1))]), NoRoom)
    await again.aclose()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT bucket, state FROM unreadable").fetchall() == [(MINUTE.key, b"nonsense")]
    db.close()


def test_a_file_of_a_newer_version_is_left_alone(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()

    with pytest.raises(StoreFailure, match="newer version"):
        EmbeddedStore(path)


async def test_what_is_asked_while_it_closes_fails_and_what_was_asked_before_is_done(tmp_path: Path):
    """SQLite crashes the process where a connection is closed in one thread and used in another."""
    store = EmbeddedStore(tmp_path / "ledger.sqlite")

    async def ask() -> ExchangeResult:
        return await store.exchange((), (), [MANY], 1_795_440_000.0, nothing_withheld)

    async with asyncio.timeout(20):
        before = [asyncio.create_task(ask()) for _ in range(50)]
        closing = asyncio.create_task(store.aclose())
        later = [asyncio.create_task(ask()) for _ in range(50)]
        done, failed = await asyncio.gather(*before), await asyncio.gather(*later, return_exceptions=True)
        await closing
        await store.aclose()

    assert len(done) == 50
    assert all(isinstance(one, StoreFailure) for one in failed)


def test_those_who_begin_a_file_at_once_all_have_it(tmp_path: Path):
    """SQLite refuses who wants to write ahead while another begins to, and does not wait then."""
    at_once = threading.Barrier(8)

    def begin(path: Path) -> EmbeddedStore:
        at_once.wait(20)
        return EmbeddedStore(path)

    with ThreadPoolExecutor(8) as threads:
        for number in range(20):
            stores = [*threads.map(begin, [tmp_path / f"{number}.sqlite"] * 8)]
            for store in stores:
                asyncio.run(store.aclose())
