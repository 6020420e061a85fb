"""What replicas do while their store is away: no more than there is, and nothing is forgotten when it comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.quota import buckets as b
from gateway.quota.buckets import Bucket
from gateway.quota.degraded import HEARTBEAT, part_of
from gateway.quota.exchange import Beat, StoreFailure
from gateway.quota.ledger import Condition, Ledger
from gateway.quota.nouns import Cost, NoRoom, Offer, Reservation
from gateway.quota.sqlite import EmbeddedStore
from providers.observations import Observation
from tests.clock import FakeClock, eventually

CLOCK = Bucket(key="a/clock", account="a", unit="requests", limit=20, window="clock", period=60, window_name="minute")
ROLLING = Bucket(key="a/rolling", account="a", unit="requests", limit=20, window="rolling", period=60)
REFILL = Bucket(key="a/refill", account="a", unit="requests", limit=20, window="refill", period=60)
DAY = Bucket(key="a/day", account="a", unit="requests", limit=20, window="calendar", calendar="day", window_name="day")
TOKENS = Bucket(key="a/tokens", account="a", unit="tokens", limit=1000, window="clock", period=60)
FLIGHT = Bucket(key="a/flight", account="a", unit="in-flight", limit=4, window="in-flight")
BUCKETS = [CLOCK, ROLLING, REFILL, DAY, TOKENS, FLIGHT]
NOON = 1_795_435_200.0


class Server:
    """One store that several replicas share, and that can be away, forget, or lose its answers."""

    def __init__(self) -> None:
        self.store = EmbeddedStore(None)
        self.away = self.deaf = False
        self.meanwhile: list[Callable[[], Awaitable[None]]] = []  # what happens between an exchange and its answer
        self.names: list[str] = []

    def forget(self) -> None:
        self.store = EmbeddedStore(None)


class Connection:
    """A replica's store: the server's, while that is there."""

    title, name, shared = "server", "one", True

    def __init__(self, server: Server) -> None:
        self._server, self.name = server, ""

    async def exchange(self, *args: Any) -> Any:
        if self._server.away:
            raise StoreFailure("away")
        outcome = await self._server.store.exchange(*args)
        if self._server.meanwhile:
            await self._server.meanwhile.pop(0)()
        if self._server.deaf:
            raise StoreFailure("the answer was lost")
        return outcome

    async def beat(self, name: str) -> Beat:
        if self._server.away or self._server.deaf:
            raise StoreFailure("away")
        self.name = name
        self._server.names = sorted({*self._server.names, name})
        return Beat(self._server.names.index(name), len(self._server.names), str(id(self._server.store)))

    async def aclose(self) -> None: ...


class Replicas:
    """Ledgers on one server and one clock."""

    def __init__(self, count: int) -> None:
        self.clock, self.server = FakeClock(NOON), Server()
        self.told: list[Condition] = []
        self.connections = [Connection(self.server) for _ in range(count)]
        self.ledgers = [
            Ledger(one, self.clock, buckets=lambda: BUCKETS, tell=self.told.append) for one in self.connections
        ]

    async def __aenter__(self) -> Self:
        for ledger in self.ledgers:
            await ledger.serve()
        await self.look()
        return self

    async def __aexit__(self, *_: object) -> None:
        for ledger in self.ledgers:
            await ledger.aclose()

    async def look(self) -> None:
        """Let every replica have its look at the store."""
        await eventually(lambda: self.clock.sleeping == len(self.ledgers))
        self.clock.advance(HEARTBEAT)
        await eventually(lambda: self.clock.sleeping == len(self.ledgers))

    async def take(self, replica: int, *buckets: Bucket, output: float = 0.0) -> Reservation | NoRoom:
        return await self.ledgers[replica].reserve([Offer("d", buckets, Cost(1.0, output))])

    async def take_all(self, replica: int, *buckets: Bucket) -> list[Reservation]:
        """Reserve until there is no more."""
        held: list[Reservation] = []
        while isinstance(found := await self.take(replica, *buckets), Reservation):
            held.append(found)
        return held

    async def used(self, bucket: Bucket) -> float:
        """What the server has written down."""
        outcome = await self.server.store.exchange((), (), "", self.clock(), [bucket])
        return b.used(bucket, outcome.levels[0][1])


@given(st.integers(0, 5000), st.integers(1, 9), st.booleans())
def test_parts_are_the_whole_and_grow_with_it(amount, count, whole):
    parts = [part_of(amount, rank, count, whole=whole) for rank in range(count)]

    assert sum(parts) == pytest.approx(amount)
    assert all(part_of(amount + 1, rank, count, whole=whole) >= part for rank, part in enumerate(parts))


@pytest.mark.parametrize("bucket", [CLOCK, ROLLING, REFILL, DAY], ids=lambda u: u.window)
@pytest.mark.parametrize("count", [1, 3, 8])
async def test_what_is_left_is_divided_and_none_of_it_is_lost(bucket, count):
    async with Replicas(count) as replicas:
        for number in range(9):
            await replicas.take(number % count, bucket)
        await replicas.look()
        replicas.server.away = True

        taken = [len(await replicas.take_all(number, bucket)) for number in range(count)]

        assert sum(taken) == 11
        assert max(taken) - min(taken) <= 1


@pytest.mark.parametrize("bucket", [CLOCK, DAY], ids=lambda u: u.window)
async def test_every_window_of_an_outage_is_divided_anew(bucket):
    async with Replicas(3) as replicas:
        await replicas.take_all(0, bucket)
        await replicas.look()
        replicas.server.away = True
        assert [await replicas.take_all(number, bucket) for number in range(3)] == [[], [], []]

        replicas.clock.advance(86_400)

        assert sum([len(await replicas.take_all(number, bucket)) for number in range(3)]) == 20


async def test_what_was_taken_meanwhile_is_in_the_store_afterwards():
    async with Replicas(2) as replicas:
        buckets = (CLOCK, ROLLING, DAY)
        for _ in range(4):
            await replicas.take(0, *buckets)
        await replicas.look()
        replicas.server.away = True
        meanwhile = [len(await replicas.take_all(number, *buckets)) for number in range(2)]
        assert meanwhile == [8, 8]

        replicas.server.away = False
        await replicas.look()

        assert [await replicas.used(bucket) for bucket in buckets] == [20, 20, 20]
        assert [ledger.condition().lost for ledger in replicas.ledgers] == [None, None]
        assert isinstance(await replicas.take(0, CLOCK), NoRoom)


async def test_a_store_that_comes_back_without_its_memory_is_told():
    async with Replicas(2) as replicas:
        for number in (0, 1, 1, 0, 1):
            await replicas.take(number, CLOCK, FLIGHT) if number else await replicas.take(number, CLOCK)
        replicas.ledgers[0].close(DAY, 600, "said so")
        await replicas.ledgers[0].flush()
        await replicas.look()
        replicas.server.away = True
        await replicas.take(0, CLOCK)
        replicas.server.forget()

        replicas.server.away = False
        await replicas.look()

        assert await replicas.used(CLOCK) == 6
        assert await replicas.used(FLIGHT) == 3
        assert isinstance(await replicas.take(1, DAY), NoRoom)


async def test_a_store_that_forgot_everything_between_two_looks_is_told():
    async with Replicas(1) as replicas:
        await replicas.take(0, CLOCK, FLIGHT)
        await replicas.look()
        replicas.server.forget()

        await replicas.look()

        assert (await replicas.used(CLOCK), await replicas.used(FLIGHT)) == (1, 1)
        assert [condition.lost for condition in replicas.told] == ["it has lost its memory", None]


async def test_what_began_before_and_ends_during_or_after_is_settled():
    async with Replicas(1) as replicas:
        first = await replicas.take(0, TOKENS, FLIGHT, output=500)
        second = await replicas.take(0, TOKENS, FLIGHT, output=300)
        await replicas.look()
        replicas.server.away = True
        ledger = replicas.ledgers[0]
        await replicas.take(0, CLOCK)
        ledger.settle(first, Cost(1, 100))
        third = await replicas.take(0, TOKENS, FLIGHT, output=50)
        fourth = await replicas.take(0, TOKENS, FLIGHT, output=40)
        ledger.refund(fourth)
        replicas.server.away = False
        await replicas.look()
        await ledger.flush()
        assert await replicas.used(TOKENS) == 101 + 301 + 51
        ledger.settle(second, Cost(1, 1))
        ledger.settle(third, Cost(1, 2))
        await ledger.flush()

        assert await replicas.used(TOKENS) == 101 + 2 + 3
        assert await replicas.used(FLIGHT) == 0


async def test_what_providers_say_meanwhile_counts_here_and_is_told_later():
    async with Replicas(2) as replicas:
        await replicas.look()
        replicas.server.away = True
        asked_at = replicas.clock()
        replicas.ledgers[0].observe([DAY], [Observation("requests", "day", limit=30, remaining=4)], asked_at)
        replicas.ledgers[1].close(CLOCK, 300, "said so")

        assert len(await replicas.take_all(0, DAY)) == 2
        assert isinstance(await replicas.take(1, CLOCK), NoRoom)
        replicas.server.away = False
        await replicas.look()

        level = (await replicas.ledgers[1].levels([DAY, CLOCK]))[DAY.key]
        assert (level.used, level.limit) == (28, 30)
        assert isinstance(await replicas.take(0, CLOCK), NoRoom)


async def test_a_lost_answer_never_makes_room_that_is_not_there():
    async with Replicas(1) as replicas:
        ledger = replicas.ledgers[0]
        held = [await replicas.take(0, CLOCK, TOKENS, output=100) for _ in range(4)]
        await replicas.look()
        for one in held:
            ledger.settle(one, Cost(1, 10))
        replicas.server.deaf = True
        await ledger.flush()
        replicas.server.deaf = False
        await replicas.look()

        assert await replicas.used(CLOCK) == 4
        assert await replicas.used(TOKENS) >= 44


async def test_a_reservation_whose_answer_was_lost_does_not_fly_for_ever():
    async with Replicas(5) as replicas:
        names = replicas.server.names
        last = next(n for n, one in enumerate(replicas.connections) if names.index(one.name) == 4)
        replicas.server.deaf = True
        assert isinstance(await replicas.take(last, FLIGHT), NoRoom)  # there are four flights for five replicas
        assert await replicas.used(FLIGHT) == 1
        replicas.server.deaf = False
        await replicas.look()

        assert await replicas.used(FLIGHT) == 0


@pytest.mark.parametrize("heard", [True, False], ids=["heard", "told again"])
async def test_what_ends_while_the_store_is_being_told_of_it_does_not_fly_for_ever(heard):
    async with Replicas(1) as replicas:
        replicas.server.away = True
        held = [await replicas.take(0, TOKENS, FLIGHT, output=50) for _ in range(3)]

        async def end_one() -> None:
            replicas.ledgers[0].settle(held.pop(), Cost(1, 2))
            await replicas.ledgers[0].flush()
            replicas.server.deaf = not heard

        replicas.server.away, replicas.server.meanwhile = False, [end_one, end_one, end_one]
        for _ in range(4):
            await replicas.look()
            replicas.server.deaf = False

        assert replicas.ledgers[0].condition().lost is None
        assert await replicas.used(FLIGHT) == 0
        assert await replicas.used(TOKENS) >= 9


async def test_what_a_provider_counted_meanwhile_is_not_counted_twice():
    async with Replicas(1) as replicas:
        replicas.server.away = True
        for _ in range(3):
            await replicas.take(0, DAY)
        counted = Observation("requests", "day", remaining=15)
        replicas.ledgers[0].observe([DAY], [counted], replicas.clock())
        await replicas.take(0, CLOCK)
        replicas.server.away = False
        await replicas.look()

        assert await replicas.used(DAY) == 5


async def test_it_is_said_when_the_store_is_lost_and_when_it_is_back():
    async with Replicas(2) as replicas:
        replicas.server.away = True
        await replicas.take(0, CLOCK)

        assert replicas.ledgers[0].condition() == Condition("server", 2, "away", replicas.clock())
        assert [condition.lost for condition in replicas.told] == ["away"]
        replicas.server.away = False
        await replicas.look()
        assert [condition.lost for condition in replicas.told] == ["away", None]


async def test_one_that_starts_while_the_store_is_away_goes_by_the_replicas_it_was_told_of():
    clock, server = FakeClock(NOON), Server()
    server.away = True
    ledger = Ledger(Connection(server), clock, buckets=lambda: BUCKETS, replicas=4)
    await ledger.serve()

    held = 0
    while isinstance(await ledger.reserve([Offer("d", (CLOCK,), Cost(1))]), Reservation):
        held += 1

    assert held == 5
    await ledger.aclose()


COUNTED = (CLOCK, ROLLING, DAY)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(0, 2), st.sampled_from(COUNTED)),
        st.tuples(st.just("pass"), st.sampled_from([0.5, 20.0, 61.0])),
        st.tuples(st.just("away")),
        st.tuples(st.just("back")),
    ),
    max_size=60,
)


@given(steps)
@settings(deadline=None, max_examples=50)
def test_three_replicas_never_overshoot_by_more_than_what_was_taken_since_the_last_look(steps):
    asyncio.run(_history(steps))


class History:
    """What three replicas admitted, and how much of it not all of them had seen when the store was lost."""

    def __init__(self, replicas: Replicas) -> None:
        self.replicas = replicas
        self.admitted: dict[str, list[float]] = {bucket.key: [] for bucket in COUNTED}
        self.unseen = dict.fromkeys(self.admitted, 0)
        self.allowed = dict.fromkeys(self.admitted, 0)

    async def step(self, what: str, *rest: Any) -> None:
        match what:
            case "take":
                await self._take(*rest)
            case "pass":
                self.replicas.clock.advance(rest[0])
                await self._look()
            case "away":
                if not self.replicas.server.away:
                    self.allowed = {key: count + self.unseen[key] for key, count in self.allowed.items()}
                self.replicas.server.away = True
            case "back":
                self.replicas.server.away = False
                await self._look()

    async def _take(self, number: int, bucket: Bucket) -> None:
        found = await self.replicas.take(number, bucket)
        if isinstance(found, Reservation):
            self.admitted[bucket.key].append(self.replicas.clock())
            self.unseen[bucket.key] += not self.replicas.server.away
            self.replicas.ledgers[number].settle(found, Cost(1))

    async def _look(self) -> None:
        await self.replicas.look()
        self.unseen = dict.fromkeys(self.unseen, 0)

    def most_in_a_window(self, bucket: Bucket) -> int:
        moments = self.admitted[bucket.key]
        match bucket.window:
            case "clock":
                inside = [sum(at // 60 == start // 60 for at in moments) for start in moments]
            case "rolling":
                inside = [sum(start <= at < start + 60 for at in moments) for start in moments]
            case _:
                inside = [sum(at // 86_400 == start // 86_400 for at in moments) for start in moments]
        return max(inside, default=0)


async def _history(steps: list[tuple[Any, ...]]) -> None:
    async with Replicas(3) as replicas:
        history = History(replicas)
        for step in steps:
            await history.step(*step)
        for bucket in COUNTED:
            assert history.most_in_a_window(bucket) <= bucket.limit + history.allowed[bucket.key], bucket.window
