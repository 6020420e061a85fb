"""The embedded store on a real file: other processes, kill -9, and a file that cannot be written."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from gateway.clock import WallClock
from gateway.quota import sqlite as embedded
from gateway.quota.buckets import Bucket
from gateway.quota.degraded import HEARTBEAT
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
            assert holder.stdout.readline() == b"held\n"
        while_they_live = asyncio.run(used(path, FLYING))
        holders[0].kill()
        holders[0].wait()
        after_one_died = asyncio.run(used(path, FLYING))
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()
            holder.stdout.close()

    assert (while_they_live, after_one_died) == (2.0, 1.0)
    assert asyncio.run(used(path, FLYING)) == 0.0
    assert not list(path.with_suffix(".processes").iterdir())
