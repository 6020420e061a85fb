"""What was counted every five minutes: added up over processes, kept for seven days."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.api.admin.plots import Resets
from gateway.events import Left, ProofRead
from gateway.observe.series import KEPT, SECONDS, Series
from gateway.quota.buckets import Bucket, window_end
from gateway.quota.ledger import Ledger
from gateway.quota.nouns import Cost, Offer
from gateway.quota.sqlite import EmbeddedStore
from gateway.state.sqlite import SqliteState
from gateway.state.store import StateStore
from tests.clock import FakeClock
from tests.deployments import catalog, deployment
from tests.unit.test_recent import ended

NOW = 1_795_440_000.0
DAY_BUCKETS = frozenset({"google/a/requests/day", "google/*/requests/day"})


@pytest.fixture
def clock():
    return FakeClock(NOW)


@pytest.fixture
def process(tmp_path, clock):
    """A process on the state file, started anew with each call."""

    def begin(name: str) -> tuple[Series, StateStore]:
        state = StateStore(SqliteState(tmp_path / "state.sqlite", clock), clock)
        return Series(state, clock, name, lambda: DAY_BUCKETS), state

    return begin


def left(debits: dict[str, float], at: float, **more: Any) -> Left:
    return Left(request="r", deployment="google/a", at=at, proof=ProofRead("plan", "", "", 0), debits=debits, **more)


async def test_a_point_tells_what_was_served_refused_retried_waited_and_used(process):
    series, state = process("a")
    series(ended("1", at=NOW, waited=2.0, attempts=3))
    series(ended("2", at=NOW + 1, waited=0.0))
    series(ended("3", at=NOW + 2, outcome="no_capacity", status=429, deployment=None, usage=None, waited=4.0))
    series(ended("4", at=NOW + 3, outcome="bad_request", status=400, deployment=None, usage=None))
    series(ended("5", at=NOW + 4, outcome="left", status=499, usage=None))
    series(left({"google/a/requests/day": 1.0, "google/*/requests/day": 1.0, "google/a/prompt/minute": 900.0}, NOW))
    series(left({"google/a/requests/day": 1.0}, NOW, sent=False))
    series(left({"google/a/requests/minute": 1.0}, NOW))
    (point,) = series.points(NOW, SECONDS)

    assert (point.at, point.served, point.refused, point.retried) == (NOW, {"groq": 2}, 1, 2)
    assert (point.waited, point.waiters) == (6.0, 2)
    assert (point.prompt_tokens, point.output_tokens) == (2 * 812, 2 * 96)
    assert point.used == {"google": 1.0}
    await state.aclose()


async def test_points_are_told_without_gaps_and_of_longer_times_are_added_up(process, clock):
    series, state = process("a")
    for n in range(12):
        series(ended(str(n), at=NOW + n * SECONDS))
    clock.advance(11 * SECONDS)
    short, long = series.points(NOW - SECONDS, SECONDS), series.points(NOW, 4 * SECONDS)

    assert [point.at for point in short] == [NOW + n * SECONDS for n in range(-1, 12)]
    assert [point.served for point in short] == [{}] + [{"groq": 1}] * 12
    assert [point.served["groq"] for point in long] == [4, 4, 4]
    await state.aclose()


async def test_what_was_counted_outlives_the_process_and_is_added_up_over_replicas(process, clock):
    series, state = process("a")
    series(ended("1", at=NOW))
    series.lost(NOW + 5, {"google": 30.0})
    series.write()
    await state.aclose()
    (series, state), (beside, other) = process("b"), process("c")
    await state.exchange()
    series(ended("2", at=NOW + 1))
    beside(ended("3", at=NOW + 2))
    beside.lost(NOW + 5, {"google": 40.0, "cohere": 2.0})
    beside.write()
    await other.exchange()
    await state.exchange()
    (point,) = series.points(NOW, SECONDS)

    assert point.served == {"groq": 3}
    assert point.lost == {"google": 40.0, "cohere": 2.0}  # all replicas share the quota: what it lost counts once
    await state.aclose()
    await other.aclose()


async def test_after_seven_days_it_is_forgotten_by_who_counted_and_by_who_comes_later(process, clock):
    (series, state), (gone, other) = process("a"), process("b")
    for one, store in ((series, state), (gone, other)):
        one(ended("1", at=NOW))
        one.write()
        await store.exchange()
    await other.aclose()
    clock.advance(KEPT + 2 * 86_400)
    await state.exchange()
    assert len(state._known["series"]) == 2
    series(ended("2", at=clock.now()))
    series.write()

    assert list(state._known["series"]) == [f"{clock.now() // 86_400:.0f}|a"]
    assert len(series._mine) == 1
    await state.aclose()


async def test_what_quotas_have_left_when_they_are_reset_is_lost(process, clock):
    """Shared quotas count once, and those that flow back or count something else not at all."""
    series, state = process("a")
    day: dict[str, Any] = {"window": "calendar", "calendar": "day", "window_name": "day"}
    shared = Bucket(key="google/*/requests/day", account="google", unit="requests", limit=50, **day)
    own = [Bucket(key=f"google/{n}/requests/day", account="google", unit="requests", limit=20, **day) for n in "ab"]
    flows = Bucket(key="groq/a/requests/day", unit="requests", limit=9, window="refill", period=86_400.0)
    made = [
        *(replace(deployment(f"google/{n}"), buckets=(shared, one)) for n, one in zip("ab", own, strict=True)),
        replace(deployment("groq/a"), buckets=(flows,)),
    ]
    ledger = Ledger(EmbeddedStore(None), clock, buckets=lambda: [shared, *own, flows])
    engine: Any = SimpleNamespace(clock=clock, ledger=ledger, view=SimpleNamespace(catalog=catalog(*made)))
    await ledger.reserve([Offer("google/a", made[0].buckets, Cost(requests=5.0))])
    watching = asyncio.create_task(Resets(engine, series).watch_forever())
    midnight = window_end(shared, NOW)
    while clock.now() < midnight + 10:
        await settled(clock)
        clock.advance(min(590.0, max(1.0, midnight - clock.now() - 1)))
    watching.cancel()
    lost = [(point.at, point.lost) for point in series.points(NOW, SECONDS) if point.lost]

    assert lost == [
        (midnight - SECONDS, {"google": 35.0})
    ]  # 15 of one model, 20 of the other: less than all of them share
    await ledger.aclose()
    await state.aclose()


async def settled(clock: FakeClock) -> None:
    """Return once all that can run has run."""
    for _ in range(20):
        await asyncio.sleep(0)
