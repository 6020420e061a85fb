"""Eight processes on one Redis, around the same limits: never one over, none lost, whoever is killed meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.clock import WallClock
from gateway.quota import redis as shared
from gateway.quota.buckets import LEASE
from gateway.quota.degraded import HEARTBEAT
from gateway.quota.ledger import Ledger
from gateway.quota.redis import PATIENCE, SharedStore, open_store
from tests import containers
from tests.clock import FakeClock
from tests.contract.racer import BUCKETS, FLIGHT, REQUESTS, TOKENS, TRUE

pytestmark = pytest.mark.engine

PROCESSES, CALLERS = 8, 6


@pytest.fixture
def server() -> Iterator[containers.Server]:
    with containers.redis("--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "PATIENCE", 30.0)  # for our own look at what Redis has


@contextmanager
def racing(server: containers.Server, folder: Path, patience: float = 30.0) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes, at work, which take the store for lost after *patience* seconds."""
    (folder / "replicas").write_text(str(PROCESSES))
    argv = [sys.executable, "-m", "tests.contract.racer", server.url, str(folder), str(CALLERS), str(patience)]
    processes = [subprocess.Popen(argv) for _ in range(PROCESSES)]
    try:
        until(lambda: len(list(folder.glob("ready-*"))) == PROCESSES)
        (folder / "go").touch()
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def until(holds: Callable[[], object], within: float = 60.0) -> None:
    """Return once *holds* is true."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def log(folder: Path) -> list[tuple[float, str, str]]:
    """Everything that was admitted and ended, in order: when, which, what."""
    written = [
        path.read_text().rpartition("\n")[0] for path in folder.glob("admitted-*")
    ]  # the last line may be half there
    lines = [line.split() for text in written for line in text.splitlines()]
    return sorted((float(at), lease, what) for at, lease, what in lines)


def begun(folder: Path) -> int:
    return sum(what == "begun" for _, _, what in log(folder))


def most_in_flight(folder: Path) -> int:
    """At least so many were under way at once, of those that came to an end: what a process held that was killed died, too."""
    now = most = 0
    lines = log(folder)
    ended = {lease for _, lease, what in lines if what == "ended"}
    for _, lease, what in lines:
        if lease not in ended:
            continue
        now += 1 if what == "begun" else -1
        most = max(most, now)
    return most


async def levels(server: containers.Server, later: float = 0.0) -> dict[str, float]:
    """What Redis has, as seen so much *later*."""
    store = SharedStore(Redis.from_url(server.url), own_time=False) if later else open_store(server.url)
    ledger = Ledger(store, FakeClock(time.time() + later) if later else WallClock())
    found = await ledger.levels(BUCKETS)
    await ledger.aclose()
    return {key: view.used for key, view in found.items()}


async def test_processes_never_take_one_too_many_nor_one_too_few(server, tmp_path):
    with racing(server, tmp_path) as processes:
        for process in processes:
            assert process.wait(60) == 0

    assert begun(tmp_path) == REQUESTS.limit
    assert most_in_flight(tmp_path) <= FLIGHT.limit
    expected = {REQUESTS.key: REQUESTS.limit, TOKENS.key: REQUESTS.limit * (TRUE.prompt + TRUE.output), FLIGHT.key: 0}
    assert await levels(server) == expected


def _begun_beyond(folder: Path, count: int) -> bool:
    return begun(folder) > count


async def test_processes_killed_in_mid_flight_leave_nothing_open_for_ever(server, tmp_path):
    with racing(server, tmp_path) as processes:
        for number, process in enumerate(processes[:3]):
            until(partial(_begun_beyond, tmp_path, 100 * (number + 1)))
            os.kill(process.pid, signal.SIGKILL)
        until(lambda: all(process.poll() is not None for process in processes) or begun(tmp_path) >= 450)
        (tmp_path / "stop").touch()
        for process in processes:
            process.wait(60)

    left = await levels(server)
    assert begun(tmp_path) <= left[REQUESTS.key] <= min(REQUESTS.limit, begun(tmp_path) + 3 * CALLERS)
    assert most_in_flight(tmp_path) <= FLIGHT.limit
    assert left[FLIGHT.key] <= 3 * CALLERS
    assert (await levels(server, later=LEASE + 1))[FLIGHT.key] == 0


async def test_a_redis_that_is_killed_and_started_again_loses_nothing(server, tmp_path):
    with racing(server, tmp_path, PATIENCE) as processes:
        until(lambda: begun(tmp_path) > 150)
        server.signal("KILL")
        killed_at = time.time()
        known = begun(tmp_path)
        until(lambda: begun(tmp_path) > known)  # they carry on without it
        server.start_again()
        for process in processes:
            assert process.wait(60) == 0

    unseen = sum(what == "begun" and killed_at - 2 * HEARTBEAT < at < killed_at for at, _, what in log(tmp_path))
    unheard = PROCESSES * CALLERS  # reservations whose answer was lost stay counted
    assert REQUESTS.limit - unheard <= begun(tmp_path) <= REQUESTS.limit + unseen
    left = await levels(server)
    assert left[REQUESTS.key] >= begun(tmp_path)
    assert left[FLIGHT.key] == 0
