"""
Both stores against one simple model, and against each other, over histories that nobody would think of.

The model remembers every debit and works out from first principles what is used; it knows nothing of levels.
"""

from __future__ import annotations

import asyncio
import math
from datetime import datetime
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import asdict
from redis.asyncio import Redis

from gateway.quota.buckets import LEARNED_FOR, LEASE, REFILL_LAG, SLOTS, Bucket
from gateway.quota.ledger import Ledger
from gateway.quota.nouns import Cost, LevelView, NoRoom, Offer, Reservation
from gateway.quota.redis import SharedStore
from gateway.quota.sqlite import EmbeddedStore
from providers.observations import Observation
from tests.clock import FakeClock

ZONE = "America/Los_Angeles"
BUCKETS = (
    Bucket(key="a/clock", account="a", unit="requests", limit=4, window="clock", period=60, window_name="minute"),
    Bucket(
        key="a/day", account="a", unit="requests", limit=9, window="calendar", calendar="day", zone=ZONE,
        window_name="day", counts_refused=True,
    ),
    Bucket(
        key="a/edge", account="a", unit="tokens", limit=120, window="clock", period=60, window_name="other minute", edge=10,
    ),
    Bucket(
        key="b/edge", account="b", unit="tokens", limit=400, window="calendar", calendar="day", zone=ZONE,
        window_name="day", edge=7200,
    ),
    Bucket(key="b/refill", account="b", unit="tokens", limit=100, window="refill", period=60, window_name="minute"),
    Bucket(key="b/rolling", account="b", unit="requests", limit=5, window="rolling", period=60, window_name="minute"),
    Bucket(
        key="b/kept", account="b", unit="tokens", limit=300, window="rolling", period=3600, window_name="hour",
        keeps_output=True, counts_failed=True,
    ),
    Bucket(key="c/flight", account="c", unit="in-flight", limit=2, window="in-flight", window_name="in-flight"),
)  # fmt: skip
START = datetime(2026, 10, 31, 22, 0, 13, tzinfo=ZoneInfo(ZONE)).timestamp()
"""Two hours before the day of 25 hours."""

close_to = pytest.approx
FREED = 1.0
"""A moment long ago, for what only a freed slot opens."""


class Model:
    """One bucket, told as history."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.amounts: dict[float, float] = {}  # by where they count: a window's number, a slot's number
        self.now = START
        self.flow, self.flow_at = 0.0, START
        self.flights: dict[str, float] = {}
        self.open: set[str] = set()
        self.last = self.said_at = 0.0
        self.closed = 0.0
        self.learned: tuple[float, float] | None = None

    def limit(self, now: float) -> float:
        return self.learned[0] if self.learned and now < self.learned[1] else self.bucket.limit

    def place(self, at: float) -> float:
        """Where a debit at that moment counts."""
        match self.bucket.window:
            case "clock":
                return at // self.bucket.period
            case "calendar":
                return float(datetime.fromtimestamp(at, ZoneInfo(self.bucket.zone)).toordinal())
            case _:
                return math.floor(at / (self.bucket.period / SLOTS))

    def places(self, at: float) -> list[float]:
        """Where a debit at that moment counts, and may count, too, as it arrives a little later."""
        if self.bucket.window in ("refill", "in-flight"):
            return [0.0]  # there is one place alone
        place = self.place(at)
        may_be_next = self.bucket.edge and at >= self.end(place) - self.bucket.edge
        return [place, place + 1] if may_be_next else [place]

    def counts(self, place: float, now: float) -> bool:
        """Whether what counts there counts then."""
        has_begun = self.bucket.window not in ("clock", "calendar") or place <= self.place(now)
        return has_begun and self.end(place) > now

    def end(self, place: float) -> float:
        """When what counts there counts no more."""
        match self.bucket.window:
            case "clock":
                return (place + 1) * self.bucket.period
            case "calendar":
                return datetime.fromordinal(int(place) + 1).replace(tzinfo=ZoneInfo(self.bucket.zone)).timestamp()
            case _:
                return (place + 1) * (self.bucket.period / SLOTS) + self.bucket.period + REFILL_LAG

    def pass_time(self, now: float) -> None:
        self.now = now
        self.amounts = {place: amount for place, amount in self.amounts.items() if self.end(place) > now}
        self.flights = {lease: until for lease, until in self.flights.items() if until > now}
        if self.bucket.window == "refill" and now > self.flow_at:
            self.flow = max(0.0, self.flow - (now - self.flow_at) * self.limit(now) / self.bucket.period)
            self.flow_at = now

    def used(self) -> float:
        match self.bucket.window:
            case "refill":
                return self.flow
            case "in-flight":
                return len(self.flights)
            case _:
                return math.fsum(amount for place, amount in self.amounts.items() if self.counts(place, self.now))

    def opens(self, amount: float, now: float) -> float:
        limit = self.limit(now)
        if amount > limit:
            return math.inf
        moments = {now}
        if self.bucket.window == "refill":
            moments.add(
                max(now, self.flow_at) + max(0.0, self.flow + amount - limit) * self.bucket.period / max(limit, 1e-9)
            )
        if self.bucket.window == "in-flight" and len(self.flights) >= limit:
            return self.closed if self.closed > now else FREED
        moments |= {self.end(place) for place in self.amounts}
        return max(self.closed, next(m for m in sorted(moments) if self._used_at(m) + amount <= limit + 1e-5))

    def _used_at(self, moment: float) -> float:
        match self.bucket.window:
            case "refill":
                return max(
                    0.0, self.flow - max(0.0, moment - self.flow_at) * self.limit(self.flow_at) / self.bucket.period
                )
            case "in-flight":
                return sum(until > moment for until in self.flights.values())
            case _:
                return math.fsum(amount for place, amount in self.amounts.items() if self.counts(place, moment))

    def debit(self, amount: float, now: float, lease: str) -> None:
        if self.flow <= 0:
            self.flow_at = now + REFILL_LAG
        for counted in self.places(now):
            self.add(amount, counted)
        self.flights[lease] = now + LEASE
        if now > self.last + LEASE:
            self.open.clear()
        self.open.add(lease)
        self.last = now

    def add(self, amount: float, place: float) -> None:
        match self.bucket.window:
            case "refill":
                self.flow = max(0.0, self.flow + amount)
            case "in-flight":
                pass
            case _:
                if amount > 0 or place in self.amounts:
                    self.amounts[place] = max(0.0, self.amounts.get(place, 0.0) + amount)

    def settle(self, change: float, at: float, lease: str, now: float) -> None:
        timeless = self.bucket.window in ("refill", "in-flight")
        for place in self.places(at):
            if timeless or self.end(place) > now:
                self.add(change, place)
        self.flights.pop(lease, None)
        if at >= self.last - LEASE:
            self.open.discard(lease)

    def learn(self, limit: float | None, remaining: float | None, asked_at: float, now: float) -> None:
        since, self.said_at = max(self.last, self.said_at), now
        if limit is not None:
            self.learned = None if limit == self.bucket.limit else (limit, now + LEARNED_FOR)
        if remaining is None or self.bucket.window == "in-flight":
            return
        if self.bucket.window in ("clock", "calendar") and self.place(asked_at) != self.place(now):
            return
        theirs = max(0.0, self.limit(now) - remaining)
        quiet = (not self.open or now > self.last + LEASE) and since <= asked_at
        if theirs > self.used():
            self.add(theirs - self.used(), self.places(now)[0])
        elif theirs < self.used() and quiet:
            self.flow = theirs
            surplus = self.used() - theirs if self.bucket.window != "refill" else 0.0
            for place in sorted(place for place in self.amounts if self.counts(place, now)):
                off = min(surplus, self.amounts[place])
                self.amounts[place] -= off
                surplus -= off

    def fill(self, amount: float, seconds: float, now: float) -> None:
        """It was refused, and has room for *amount* in so many *seconds*."""
        self.said_at, period = now, self.bucket.period
        opens, limit = now + seconds, self.limit(now)
        match self.bucket.window:
            case "refill":
                ahead = opens - max(now, self.flow_at)
                self.flow = max(self.flow, limit - amount + ahead * limit / period)
            case "rolling" if seconds < period:
                full, slot = max(limit, self.used()), period / SLOTS
                leaving = [self.end(place) for place in sorted(self.amounts) if self.amounts[place] > 0]
                soon = [end for end in leaving if full - self._used_at_end(end, full) >= amount]
                if soon and soon[0] <= opens + slot:
                    self.add(full - self.used(), self.place(now))
                    self.closed = max(self.closed, opens)
                else:  # as even as it can be told in slots
                    more = limit - self.used()
                    if more < amount:
                        self.amounts, more = {}, full
                    first = math.ceil((opens - period - REFILL_LAG) / slot) - 1
                    self.amounts[first] = self.amounts.get(first, 0.0) + amount
                    rest, each = more - amount, limit / SLOTS
                    for number in range(1, math.ceil(rest / each) + 1):
                        place = first + number
                        self.amounts[place] = self.amounts.get(place, 0.0) + min(each, rest - (number - 1) * each)
            case _:
                self.closed = max(self.closed, opens)

    def _used_at_end(self, end: float, full: float) -> float:
        """What is used of one that is *full* now once all has left that leaves until *end*."""
        return full - math.fsum(amount for place, amount in self.amounts.items() if self.end(place) <= end)


buckets = st.sampled_from(BUCKETS)
tokens = st.integers(0, 60)
offers = st.lists(st.lists(buckets, min_size=1, max_size=4, unique_by=lambda u: u.key), min_size=1, max_size=3)


def told(view: LevelView) -> dict[str, Any]:
    """What the stores must agree on to the last digit, but for how floating point rounds."""
    return {name: value for name, value in asdict(view).items() if value is not None}


class Histories(RuleBasedStateMachine):
    """Ledgers over all *stores*, on one clock, and the model beside them."""

    url: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = FakeClock(START)
        stores: list[Any] = [EmbeddedStore(None)]
        if self.url:
            client = Redis.from_url(self.url)
            self.run(client.flushall())
            stores.append(SharedStore(client, own_time=False))
        self.ledgers = [Ledger(store, self.clock) for store in stores]
        self.models = {bucket.key: Model(bucket) for bucket in BUCKETS}
        self.held: list[list[Reservation]] = []
        self.numbers = count()

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    def teardown(self) -> None:
        for ledger in self.ledgers:
            self.run(ledger.aclose())
        self.runner.close()

    def note(self, *calls: Any) -> None:
        """Have every ledger take note of something, now."""

        async def noting(ledger: Ledger, call: Any) -> None:
            call(ledger)
            await ledger.flush()

        for ledger, call in zip(self.ledgers, calls if len(calls) > 1 else calls * len(self.ledgers), strict=True):
            self.run(noting(ledger, call))

    @rule(seconds=st.sampled_from([0.05, 1.0, 7.3, 30.0, 60.0, 901.0, 3599.9, 20_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for model in self.models.values():
            model.pass_time(self.clock())

    @rule(rows=offers, prompt=tokens, output=tokens)
    def reserve(self, rows: list[list[Bucket]], prompt: int, output: int) -> None:
        cost, now = Cost(prompt, output), self.clock()
        asked = [Offer(str(place), tuple(row), cost) for place, row in enumerate(rows)]
        found = [self.run(ledger.reserve(asked)) for ledger in self.ledgers]

        opens_of = [{u.key: self.models[u.key].opens(cost.of(u.unit), now) for u in row} for row in rows]
        fits = [set(opens.values()) == {now} for opens in opens_of]
        place = fits.index(True) if any(fits) else -1
        for one in found:
            if place >= 0:
                assert isinstance(one, Reservation)
                assert one.place == place
            else:
                assert isinstance(one, NoRoom)
                for refusal, opens in zip(one.refusals, opens_of, strict=True):
                    last = max(opens.values()) if max(opens.values()) > now else FREED
                    assert opens[refusal.bucket.key] == close_to(last, abs=1e-3)
                    assert refusal.when_freed == (last == FREED)
                    late = (
                        REFILL_LAG if refusal.bucket.window == "refill" else 0.0
                    )  # of an emptied level one store forgets when it was used
                    assert refusal.opens_at == (math.inf if last == FREED else close_to(last, abs=1e-3 + late))
        if place >= 0:
            for bucket in rows[place]:
                self.models[bucket.key].debit(cost.of(bucket.unit), now, str(len(self.held)))
            self.held.append(found)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), prompt=tokens, output=tokens)
    def settle(self, data: Any, prompt: int, output: int) -> None:
        number = data.draw(st.integers(0, len(self.held) - 1))
        held, true = self.held[number], Cost(prompt, output)
        if held[0].ended:
            return
        reserved = held[0].offer.cost
        for bucket in held[0].offer.buckets:
            really = Cost(prompt, max(output, reserved.output)) if bucket.keeps_output else true
            change = really.of(bucket.unit) - reserved.of(bucket.unit)
            self.models[bucket.key].settle(change, held[0].at, str(number), self.clock())
        self.note(*[lambda ledger, one=one: ledger.settle(one, true) for one in held])

    @precondition(lambda self: self.held)
    @rule(data=st.data(), because=st.sampled_from(["unsent", "refused", "failed"]))
    def refund(self, data: Any, because: Any) -> None:
        number = data.draw(st.integers(0, len(self.held) - 1))
        held = self.held[number]
        if held[0].ended:
            return
        for bucket in held[0].offer.buckets:
            stays = {"unsent": False, "refused": bucket.counts_refused, "failed": bucket.counts_failed}[because]
            change = 0.0 if stays else -held[0].offer.cost.of(bucket.unit)
            self.models[bucket.key].settle(change, held[0].at, str(number), self.clock())
        self.note(*[lambda ledger, one=one: ledger.refund(one, because) for one in held])

    @rule(
        bucket=buckets,
        limit=st.none() | st.sampled_from([2, 4, 5, 9, 100, 300, 1000]),
        remaining=st.none() | st.integers(0, 12),
        ago=st.sampled_from([0.0, 2.0, 4000.0]),
    )
    def observe(self, bucket: Bucket, limit: int | None, remaining: int | None, ago: float) -> None:
        said = Observation(bucket.unit, bucket.window_name, limit, remaining)
        asked_at = self.clock() - ago
        self.models[bucket.key].learn(limit, remaining, asked_at, self.clock())
        self.note(lambda ledger: ledger.observe([bucket], [said], asked_at))

    @rule(bucket=buckets, seconds=st.sampled_from([0.5, 40.0, 5000.0]))
    def close(self, bucket: Bucket, seconds: float) -> None:
        model = self.models[bucket.key]
        model.closed = max(model.closed, self.clock() + seconds)
        self.note(lambda ledger: ledger.close(bucket, seconds, "closed"))

    @rule(bucket=buckets, amount=st.sampled_from([1, 2]), seconds=st.sampled_from([0.5, 12.9, 40.0, 5000.0]))
    def refused(self, bucket: Bucket, amount: int, seconds: float) -> None:
        self.models[bucket.key].fill(amount, seconds, self.clock())
        self.note(lambda ledger: ledger.refused(bucket, amount, seconds, "it said so"))

    @rule(bucket=buckets)
    def open(self, bucket: Bucket) -> None:
        self.models[bucket.key].closed = 0.0
        self.note(lambda ledger: ledger.open(bucket))

    @invariant()
    def all_agree(self) -> None:
        now = self.clock()
        first, *others = [self.run(ledger.levels(BUCKETS)) for ledger in self.ledgers]
        for bucket in BUCKETS:
            model, view = self.models[bucket.key], first[bucket.key]
            assert view.used == close_to(model.used(), abs=1e-4), bucket.key
            assert view.limit == model.limit(now), bucket.key
            assert (view.closed_until or now) == close_to(max(model.closed, now)), bucket.key
            for other in others:
                assert told(other[bucket.key]) == close_to(told(view)), bucket.key


def run(machine: type[Histories]) -> None:
    case = machine.TestCase
    case.settings = settings(
        max_examples=60,
        stateful_step_count=40,
        deadline=None,
        report_multiple_bugs=False,
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    case("runTest").runTest()


def test_the_embedded_store_keeps_the_laws():
    run(Histories)


@pytest.mark.engine
def test_both_stores_keep_the_laws_and_say_the_same(redis_server):
    class Both(Histories):
        url = redis_server.url

    run(Both)
