"""What replicas do while Redis is away: no more than there is, and nothing is forgotten when it comes back."""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from gateway.quota import buckets as b
from gateway.quota import redis_peers
from gateway.quota.buckets import REFILL_LAG, Bucket, Level
from gateway.quota.degraded import ALIVE, HEARTBEAT, PART_FOR, compacted, part_of
from gateway.quota.exchange import Ask, StoreFailure, StoreForgot, nothing_withheld
from gateway.quota.ledger import Condition, Ledger
from gateway.quota.nouns import Cost, NoRoom, Offer, Reservation
from gateway.quota.operations import Close, Correct, Debit, Entry, Learn, Open, Settle, apply
from gateway.quota.redis import SharedStore
from gateway.quota.sqlite import EmbeddedStore
from providers.observations import Observation
from tests import containers
from tests.clock import FakeClock
from tests.contract.replicas import BUCKETS, CLOCK, DAY, FLIGHT, NOON, QUIET, REFILL, ROLLING, TOKENS, Line, Replicas

COUNTED = (CLOCK, ROLLING, REFILL, DAY)
engine = pytest.mark.engine
by_window = pytest.mark.parametrize("bucket", COUNTED, ids=lambda u: u.window)


@pytest.fixture
async def start(redis_server):
    """``start(count)``: so many replicas on an empty Redis."""

    @asynccontextmanager
    async def begin(count: int, **more: Any):
        async with Redis.from_url(redis_server.url) as client:
            await client.flushall()
        async with Replicas(redis_server.url, count, **more) as replicas:
            yield replicas

    return begin


async def cut(replicas: Replicas, *numbers: int) -> None:
    for number in numbers or range(len(replicas.lines)):
        replicas.lines[number].cut = True


async def mend(replicas: Replicas) -> None:
    for line in replicas.lines:
        line.cut = line.deaf = False
    await replicas.look()


# ── parts ──


@given(st.integers(0, 5000), st.integers(1, 9), st.booleans())
def test_parts_are_the_whole_and_grow_with_it(amount, count, whole):
    parts = [part_of(amount, rank, count, whole=whole) for rank in range(count)]

    assert sum(parts) == pytest.approx(amount)
    assert all(part_of(amount + 1, rank, count, whole=whole) >= part for rank, part in enumerate(parts))


@engine
async def test_replicas_have_ranks_of_their_own_whenever_their_hearts_beat(start):
    async with start(3) as replicas:
        names = sorted(ledger._journal.name for ledger in replicas.ledgers)
        for order in ([2, 0, 1], [1, 2, 0], [0, 1, 2]):
            ranks = {}
            for number in order:
                replicas.clock.advance(0.3)
                beat = await replicas.stores[number].heartbeat(replicas.ledgers[number]._journal.name, replicas.clock())
                ranks[replicas.ledgers[number]._journal.name] = beat.rank
            assert [ranks[name] for name in names] == [0, 1, 2]


@engine
@by_window
@pytest.mark.parametrize("count", [1, 3, 8])
async def test_what_is_left_is_divided_and_none_of_it_is_lost(start, bucket, count):
    async with start(count) as replicas:
        for number in range(9):
            await replicas.take(number % count, bucket)
        await replicas.look()
        replicas.clock.advance(-2.0)  # no time for anything to flow back
        await cut(replicas)

        taken = [len(await replicas.take_all(number, bucket)) for number in range(count)]

        if bucket is DAY and count > 1:
            assert taken == [1] * count  # of a day, a part is 60 s of it, or one request
        else:
            assert sum(taken) == 11
            assert max(taken) - min(taken) <= 1


@engine
async def test_a_part_is_good_for_its_lease_only_where_others_may_go_on(start):
    async with start(3) as replicas:
        await cut(replicas)
        assert sum([len(await replicas.take_all(number, CLOCK)) for number in range(3)]) == 20

        assert isinstance(await replicas.take(0, ROLLING), Reservation)
        replicas.clock.advance(PART_FOR)

        assert isinstance(await replicas.take(1, ROLLING), NoRoom)  # of which it has taken nothing
        refused = await replicas.take(0, CLOCK)
        assert isinstance(refused, NoRoom)
        assert refused.refusals[0].when_freed  # when the store is back: that has no moment


@engine
async def test_a_replica_alone_goes_on_as_long_as_it_takes(start):
    async with start(1) as replicas:
        await cut(replicas)
        for _ in range(3):
            assert len(await replicas.take_all(0, CLOCK)) == 20
            replicas.clock.advance(3600)


@engine
async def test_others_leave_the_part_of_one_that_is_cut_off_alone(start):
    async with start(3) as replicas:
        await cut(replicas, 2)
        for _ in range(int(ALIVE) + 1):
            await replicas.look(0, 1)

        ours = [len(await replicas.take_all(number, ROLLING)) for number in (0, 1)]
        theirs = len(await replicas.take_all(2, ROLLING))

        assert theirs in (6, 7)
        assert sum(ours) == 20 - 7
        await mend(replicas)
        await replicas.look()  # to see that it is there again
        assert await replicas.used(ROLLING) == sum(ours) + theirs
        assert len(await replicas.take_all(0, ROLLING)) == 20 - sum(ours) - theirs


@engine
async def test_nothing_is_left_alone_for_one_that_ended(start):
    async with start(3) as replicas:
        await replicas.ledgers[2].aclose()
        for _ in range(int(ALIVE) + 1):
            await replicas.look(0, 1)

        assert replicas.ledgers[0].condition().replicas == 2
        assert len(await replicas.take_all(0, ROLLING)) == 20


@engine
async def test_one_that_starts_while_the_store_is_away_goes_by_the_replicas_it_was_told_of(redis_server):
    line = Line(redis_server.url)
    line.cut = True
    ledger = Ledger(SharedStore(cast(Any, line), own_time=False), FakeClock(NOON), buckets=lambda: BUCKETS, replicas=4)
    await ledger._journal.look()

    held = 0
    while isinstance(await ledger.reserve([Offer("d", (CLOCK,), Cost(1))]), Reservation):
        held += 1

    assert held == 5
    await ledger.aclose()


# ── the law after an outage: what the store says is what was taken ──


async def _pause(server: containers.Server) -> Any:
    server.signal("STOP")
    return lambda: server.signal("CONT")


async def _kill(server: containers.Server) -> Any:
    server.signal("KILL")
    return server.start_again


async def _fill(server: containers.Server) -> Any:
    async with Redis.from_url(server.url) as client:
        await client.config_set("maxmemory", "1")

    async def empty() -> None:
        async with Redis.from_url(server.url) as client:
            await client.config_set("maxmemory", "0")

    return empty


@engine
@pytest.mark.parametrize("break_it", [_pause, _kill, _fill], ids=["paused", "killed", "full"])
@pytest.mark.parametrize("seconds", [15.0, 45.0])
async def test_after_an_outage_every_window_counts_what_was_taken(monkeypatch, break_it, seconds):
    monkeypatch.setattr(redis_peers, "HEARTBEAT_PATIENCE", 0.25)
    with containers.redis() as server:
        async with Replicas(server.url, 3) as replicas:
            for number in range(15):
                await replicas.take(number % 3, *COUNTED)
            await replicas.look()
            mended = await break_it(server)
            for _ in range(3):
                for number in range(3):
                    await replicas.take(number, ROLLING, REFILL, CLOCK)
                    await replicas.take(number, DAY)
                    await replicas.take(number, REFILL)
                replicas.clock.advance(seconds / 3)
            assert all(ledger.condition().lost for ledger in replicas.ledgers)
            if (coming := mended()) is not None:
                await coming
            await replicas.look()
            await replicas.look()

            await _counts_what_was_taken(replicas)


@engine
@pytest.mark.parametrize("seconds", [15.0, 45.0])
async def test_after_one_replica_was_cut_off_alone_every_window_counts_what_was_taken(start, seconds):
    async with start(3) as replicas:
        for number in range(6):
            await replicas.take(number % 3, *COUNTED)
        await replicas.look()
        await cut(replicas, 1)
        for _ in range(5):
            for number in (0, 1, 2, 1):
                await replicas.take(number, ROLLING, REFILL, CLOCK, DAY)
                await replicas.take(number, REFILL)
            replicas.clock.advance(seconds / 5 - 1)
            await replicas.look()
        await mend(replicas)

        await _counts_what_was_taken(replicas)


async def _counts_what_was_taken(replicas: Replicas) -> None:
    now = replicas.clock()
    assert all(ledger.condition().lost is None for ledger in replicas.ledgers)
    for bucket in COUNTED:
        true, ours = replicas.witness.used(bucket, now), await replicas.used(bucket)
        # We let a refill begin a little later, each time that a bucket has been empty.
        slack = 12 * REFILL_LAG * bucket.limit / bucket.period if bucket.window == "refill" else 0.0
        assert true - 1e-6 <= ours <= true + slack + 1e-6, bucket.window


# ── one call at a time, each once ──


def _asks(*buckets: Bucket) -> list[Ask]:
    return [Ask("lease", [Offer("d", buckets, Cost(1.0))])]


@engine
async def test_a_call_that_is_repeated_changes_nothing_and_hears_the_same(redis_server):
    async with Redis.from_url(redis_server.url) as client:
        await client.flushall()
    store = SharedStore(cast(Any, Line(redis_server.url)), own_time=False)
    entries = [Entry(DAY, Correct(3.0, NOON))]
    first = await store.exchange(entries, _asks(DAY, FLIGHT), (), NOON, nothing_withheld)

    store._number -= 1
    again = await store.exchange(entries, _asks(DAY, FLIGHT), (), NOON, nothing_withheld)

    assert (again.answers, again.levels) == (first.answers, first.levels)
    seen = await store.exchange((), (), [DAY, FLIGHT], NOON, nothing_withheld)
    assert sorted(b.used(bucket, level) for bucket, level in seen.levels if level is not None) == [1, 4]
    await store.aclose()


@engine
async def test_a_call_that_comes_after_it_was_given_up_is_not_done(redis_server):
    """A Redis that was stopped may do what it was told before, after it has been asked what became of it."""
    async with Redis.from_url(redis_server.url) as client:
        await client.flushall()
    line = Line(redis_server.url)
    store = SharedStore(cast(Any, line), own_time=False)
    line.cut = True
    with pytest.raises(StoreFailure):
        await store.exchange((), _asks(DAY), (), NOON, nothing_withheld)
    line.cut = False
    number = store._number
    assert await store.clear_doubt() == []

    store._number = number - 1
    with pytest.raises(StoreFailure, match="after a later one"):
        await store.exchange((), _asks(DAY), (), NOON, nothing_withheld)
    store._number = number + 1
    assert (await store.exchange((), (), [DAY], NOON, nothing_withheld)).levels == []
    await store.aclose()


@engine
async def test_a_debit_whose_answer_was_lost_is_given_back(start):
    async with start(2) as replicas:
        replicas.lines[0].deaf = True
        held = await replicas.take(0, CLOCK, FLIGHT)  # once by Redis, and once by the replica itself
        assert isinstance(held, Reservation)
        await mend(replicas)

        assert (await replicas.used(CLOCK), await replicas.used(FLIGHT)) == (1, 1)
        replicas.ledgers[0].settle(held, Cost(1))
        await replicas.ledgers[0].flush()
        assert await replicas.used(FLIGHT) == 0


@engine
@pytest.mark.parametrize("heard", [True, False], ids=["told again", "not heard"])
async def test_what_ended_in_a_call_whose_answer_was_lost_is_settled_once(start, heard):
    async with start(1) as replicas:
        ledger = replicas.ledgers[0]
        held = [await replicas.take(0, CLOCK, TOKENS, output=100) for _ in range(4)]
        for one in held:
            ledger.settle(one, Cost(1, 10))
        replicas.lines[0].deaf, replicas.lines[0].cut = heard, not heard
        await ledger.flush()
        await mend(replicas)

        assert (await replicas.used(CLOCK), await replicas.used(TOKENS)) == (4, 44)


@engine
async def test_a_recovery_that_is_not_answered_forgets_nothing(start):
    """Most of a day is used; whatever becomes of the report, no more than the rest of it is given."""
    async with start(1) as replicas:
        for _ in range(17):
            await replicas.take(0, DAY)
        await cut(replicas)
        await replicas.take(0, DAY)
        line = replicas.lines[0]
        for calls in (1, 2, 3, 2, 1):
            line.cut, line.deaf = False, True
            await replicas.look()
            line.deaf, line.calls_left = False, calls  # its heart beats, and what it reports gets lost
            await replicas.look()
            line.cut, line.calls_left = True, math.inf
            await replicas.look()
            assert replicas.ledgers[0].condition().lost
        assert len(await replicas.take_all(0, DAY)) == 2
        await mend(replicas)

        assert await replicas.used(DAY) == 20
        assert isinstance(await replicas.take(0, DAY), NoRoom)


@engine
async def test_more_than_one_call_holds_is_told_in_order(start):
    async with start(1) as replicas:
        ledger = replicas.ledgers[0]
        ledger.close(DAY, 600, "at first")
        for _ in range(400):
            ledger.observe([CLOCK], [Observation("requests", "minute", remaining=19)], replicas.clock())
        ledger.open(DAY)

        assert isinstance(await replicas.take(0, DAY), Reservation)


# ── what providers say meanwhile, and what has begun before ──


@engine
async def test_what_began_before_and_ends_during_or_after_is_settled(start):
    async with start(1) as replicas:
        first = await replicas.take(0, TOKENS, FLIGHT, output=500)
        second = await replicas.take(0, TOKENS, FLIGHT, output=300)
        await cut(replicas)
        ledger = replicas.ledgers[0]
        await replicas.take(0, CLOCK)
        ledger.settle(first, Cost(1, 100))
        third = await replicas.take(0, TOKENS, FLIGHT, output=50)
        fourth = await replicas.take(0, TOKENS, FLIGHT, output=40)
        ledger.refund(fourth)
        await mend(replicas)
        assert await replicas.used(TOKENS) == 101 + 301 + 51
        ledger.settle(second, Cost(1, 1))
        ledger.settle(third, Cost(1, 2))
        await ledger.flush()

        assert await replicas.used(TOKENS) == 101 + 2 + 3
        assert await replicas.used(FLIGHT) == 0


@engine
async def test_what_providers_say_meanwhile_counts_here_and_is_told_later(start):
    async with start(2) as replicas:
        await cut(replicas)
        await replicas.take(0, FLIGHT)
        await replicas.take(1, FLIGHT)
        asked_at = replicas.clock()
        replicas.ledgers[0].observe([CLOCK], [Observation("requests", "minute", limit=30, remaining=4)], asked_at)
        replicas.ledgers[1].close(ROLLING, 300, "said so")

        assert len(await replicas.take_all(0, CLOCK)) == 2
        assert isinstance(await replicas.take(1, ROLLING), NoRoom)
        await mend(replicas)

        level = (await replicas.ledgers[1].levels([CLOCK]))[CLOCK.key]
        assert (level.used, level.limit) == (28, 30)
        assert isinstance(await replicas.take(0, ROLLING), NoRoom)


@engine
async def test_what_a_provider_counted_meanwhile_is_not_counted_twice(start):
    async with start(1) as replicas:
        await cut(replicas)
        held = [await replicas.take(0, DAY) for _ in range(3)]
        for one in held:
            replicas.ledgers[0].settle(one, Cost(1))
        counted = Observation("requests", "day", remaining=15)
        replicas.ledgers[0].observe([DAY], [counted], replicas.clock())
        await mend(replicas)

        assert await replicas.used(DAY) == 5


# ── a store that has lost its memory ──


@engine
async def test_a_store_that_lost_its_memory_gives_nothing_before_it_is_told(start, redis_server):
    async with start(2) as replicas:
        for number in (0, 1, 1, 0, 1):
            await replicas.take(number, CLOCK, *([FLIGHT] if number else []))
        replicas.ledgers[0].close(DAY, 600, "said so")
        await replicas.ledgers[0].flush()
        await replicas.look()
        async with Redis.from_url(redis_server.url) as client:
            await client.flushall()

        assert len(await replicas.take_all(0, CLOCK)) == 0  # until all have told what they knew
        await replicas.look(1)
        replicas.clock.advance(QUIET)
        assert len(await replicas.take_all(0, CLOCK)) == 15
        assert await replicas.used(FLIGHT, 1) == 3
        assert isinstance(await replicas.take(1, DAY), NoRoom)


@engine
async def test_a_store_that_forgot_is_noticed_by_the_number_of_the_last_call(redis_server):
    store = SharedStore(cast(Any, Line(redis_server.url)), own_time=False)
    async with Redis.from_url(redis_server.url) as client:
        await client.flushall()
        await store.exchange((), _asks(DAY), (), NOON, nothing_withheld)
        await client.flushall()

    with pytest.raises(StoreForgot):
        await store.exchange((), _asks(DAY), (), NOON, nothing_withheld)
    ((_, opens_at),) = (await store.exchange((), _asks(DAY), (), NOON, nothing_withheld)).answers[0].refusals
    assert opens_at == NOON + QUIET
    assert (await store.exchange((), _asks(DAY), (), NOON + QUIET, nothing_withheld)).answers[0].place == 0
    await store.aclose()


# ── signals ──


@engine
async def test_it_is_said_when_the_store_is_lost_and_when_it_is_back(start):
    async with start(2) as replicas:
        await cut(replicas, 0)
        await replicas.take(0, CLOCK)

        assert replicas.ledgers[0].condition() == Condition("redis", 2, "ConnectionError: cut", replicas.clock())
        assert [condition.lost for condition in replicas.told] == ["ConnectionError: cut"]
        await mend(replicas)
        assert [condition.lost for condition in replicas.told] == ["ConnectionError: cut", None]
        assert replicas.freed[0]


@engine
async def test_what_others_give_back_is_signalled_and_what_time_gives_back_is_not(start):
    async with start(2) as replicas:
        held = await replicas.take(0, FLIGHT, TOKENS, REFILL, output=50)
        await replicas.look()
        before = replicas.freed[1]
        await replicas.look()
        assert replicas.freed[1] == before

        replicas.ledgers[0].settle(held, Cost(1, 10))
        await replicas.ledgers[0].flush()
        await replicas.look()

        assert replicas.freed[1] == before + 1


# ── the overshoot ──

steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(0, 2), st.sampled_from((CLOCK, ROLLING, DAY))),
        st.tuples(st.just("take all"), st.integers(0, 2), st.sampled_from((CLOCK, ROLLING, DAY))),
        st.tuples(st.just("pass"), st.sampled_from([1, 4, 20, 61])),
        st.tuples(st.just("cut"), st.integers(0, 2)),
        st.tuples(st.just("cut all")),
        st.tuples(st.just("mend")),
    ),
    max_size=40,
)


class History:
    """
    What three replicas took, and how much of it those that were cut off could not know of: of the second before they
    were, and of the time until the others missed them.
    """

    def __init__(self, replicas: Replicas) -> None:
        self.replicas = replicas
        self.unseen = {bucket.key: 0 for bucket in BUCKETS}
        self.allowed = dict(self.unseen)
        self.cut_at: dict[int, float] = {}

    async def step(self, what: str, *rest: Any) -> None:
        match what:
            case "take":
                await self._take(*rest)
            case "take all":
                while await self._take(*rest):
                    pass
            case "pass":
                for _ in range(rest[0]):
                    await self._look()
            case "cut":
                self._cut(rest[0])
            case "cut all":
                for number in range(3):
                    self._cut(number)
            case _:
                self.cut_at.clear()
                await mend(self.replicas)
                await self._look()  # those that looked first have not seen what the others told then

    def _cut(self, number: int) -> None:
        if number not in self.cut_at:
            self.cut_at[number] = self.replicas.clock()
            self.allowed = {key: count + self.unseen[key] for key, count in self.allowed.items()}
            self.replicas.lines[number].cut = True

    async def _take(self, number: int, bucket: Bucket) -> bool:
        found = await self.replicas.take(number, bucket)
        if not isinstance(found, Reservation):
            return False
        now = self.replicas.clock()
        self.unseen[bucket.key] += number not in self.cut_at
        if number not in self.cut_at and any(now - at <= ALIVE + HEARTBEAT for at in self.cut_at.values()):
            self.allowed[bucket.key] += 1
        self.replicas.ledgers[number].settle(found, Cost(1))
        return True

    async def _look(self) -> None:
        await self.replicas.look()
        self.unseen = dict.fromkeys(self.unseen, 0)


@engine
@given(steps)
@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
def test_replicas_overshoot_by_no_more_than_what_could_not_be_seen(redis_server, steps):
    async def history() -> None:
        async with Redis.from_url(redis_server.url) as client:
            await client.flushall()
        async with Replicas(redis_server.url, 3) as replicas:
            history = History(replicas)
            for step in steps:
                await history.step(*step)
            for bucket in (CLOCK, ROLLING, DAY):
                assert replicas.witness.most(bucket) <= bucket.limit + history.allowed[bucket.key], bucket.window

    asyncio.run(history())


# ── the journal in fewer words ──

moments = st.floats(NOON, NOON + 1)
happened = st.lists(
    st.one_of(
        st.tuples(st.just("debit"), st.integers(0, 9), moments, st.floats(0.1, 9)),
        st.tuples(st.just("settle"), st.integers(0, 9), moments, st.floats(-5, 5)),
        st.tuples(st.just("close"), st.sampled_from([5.0, 500.0]), moments),
        st.tuples(st.just("open")),
    ),
    max_size=40,
)


_SMALL_THEN_LARGE = [
    ("debit", 0, NOON + 0.01, 0.01),
    ("settle", 0, NOON + 0.01, 0.0),
    ("debit", 1, NOON + 0.19, 3.0),
    ("settle", 1, NOON + 0.19, 0.0),
]


@given(happened, st.sampled_from([*COUNTED, FLIGHT]))
@example(_SMALL_THEN_LARGE, REFILL)
@settings(deadline=None)
def test_a_journal_in_fewer_entries_counts_no_less(happened, bucket):
    journal: list[Entry] = []
    begun: dict[int, Debit] = {}
    for what, *rest in happened:
        if what == "debit" and rest[0] not in begun:
            begun[rest[0]] = Debit(rest[2], rest[1], f"lease {len(journal)}")
            journal.append(Entry(bucket, begun[rest[0]]))
        elif what == "settle" and rest[0] in begun:
            debit = begun.pop(rest[0])
            journal.append(
                Entry(bucket, Settle(max(-debit.amount, rest[2]), debit.at, debit.lease, max(rest[1], debit.at)))
            )
        elif what == "close":
            journal.append(Entry(bucket, Close(rest[0], "said so", rest[1])))
        elif what == "open":
            journal.append(Entry(bucket, Open()))
    levels = Level(), Level()
    now = NOON + 1.5
    for level, entries in zip(levels, (journal, compacted(journal)), strict=True):
        b.roll(bucket, level, now)
        for entry in entries:
            apply(bucket, level, entry.operation, now)
        b.roll(bucket, level, now)

    whole, short = levels
    if bucket.window == "refill":  # one by one, what was refunded had met a refill that the next did not meet any more
        refunded = sum(max(0.0, -e.operation.amount) for e in journal if isinstance(e.operation, Settle))
        assert b.used(bucket, short) >= b.used(bucket, whole) - refunded - 1e-6
    else:
        assert b.used(bucket, short) == pytest.approx(b.used(bucket, whole))
    assert short.closed_until == whole.closed_until
    assert len(compacted(journal)) <= len(journal)


async def test_a_journal_does_not_grow_with_the_requests(monkeypatch):
    monkeypatch.setattr("gateway.quota.journal.MOST_ENTRIES", 100)
    store: Any = EmbeddedStore(None)
    ledger = Ledger(store, FakeClock(NOON))

    async def away(*_: Any) -> Any:
        raise StoreFailure("away")

    exchange, store.exchange = store.exchange, away
    many = Bucket(key="a/many", unit="requests", limit=1e6, window="rolling", period=60)
    ledger._journal._most_entries = 100
    for _ in range(1000):
        held = await ledger.reserve([Offer("d", (many,), Cost(1))])
        assert isinstance(held, Reservation)
        ledger.settle(held, Cost(1))
    assert len(ledger._journal.entries) <= 101

    store.exchange = exchange
    await ledger._journal.look()
    assert (await ledger.levels([many]))[many.key].used == 1000
    await ledger.aclose()


def test_what_a_provider_said_stays_said_in_fewer_entries():
    said = [Entry(DAY, Learn(30.0, -1.0, "one", NOON, NOON)), Entry(DAY, Learn(-1.0, 4.0, "two", NOON, NOON))]

    assert compacted(said) == said
