"""Ledgers of several replicas on one real Redis and one clock, each with a connection that can be cut."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from math import inf
from typing import Any, Self, cast

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as NoConnection

from gateway.quota.buckets import Bucket
from gateway.quota.degraded import HEARTBEAT
from gateway.quota.ledger import Condition, Ledger
from gateway.quota.nouns import Cost, NoRoom, Offer, Reservation
from gateway.quota.redis import SharedStore
from tests.clock import FakeClock

NOON = 1_795_435_200.0
QUIET = 2.0
"""Seconds for which nothing is given by a store that has lost its memory."""

CLOCK = Bucket(key="a/clock", account="a", unit="requests", limit=20, window="clock", period=60, window_name="minute")
ROLLING = Bucket(key="a/rolling", account="a", unit="requests", limit=20, window="rolling", period=60)
REFILL = Bucket(key="a/refill", account="a", unit="requests", limit=20, window="refill", period=60)
DAY = Bucket(key="a/day", account="a", unit="requests", limit=20, window="calendar", calendar="day", window_name="day")
TOKENS = Bucket(key="a/tokens", account="a", unit="tokens", limit=1000, window="clock", period=60)
FLIGHT = Bucket(key="a/flight", account="a", unit="in-flight", limit=4, window="in-flight")
BUCKETS = [CLOCK, ROLLING, REFILL, DAY, TOKENS, FLIGHT]


class Line:
    """A client of Redis that can be *cut*, or *deaf*: what it asks is done, but it does not hear so."""

    def __init__(self, url: str) -> None:
        self._client = Redis.from_url(url)
        self.cut = self.deaf = False
        self.calls_left: float = inf  # then it is cut

    async def evalsha(self, *args: Any) -> Any:
        return await self._through(self._client.evalsha, *args)

    async def eval(self, *args: Any) -> Any:
        return await self._through(self._client.eval, *args)

    async def _through(self, call: Any, *args: Any) -> Any:
        self.calls_left -= 1
        if self.cut or self.calls_left < 0:
            raise NoConnection("cut")
        answer = await call(*args)
        if self.deaf:
            raise NoConnection("the answer was lost")
        return answer

    async def aclose(self) -> None:
        await self._client.aclose()


class Witness:
    """What each bucket's provider would have counted: a plain list of moments and amounts."""

    def __init__(self) -> None:
        self.taken: dict[str, list[tuple[float, float]]] = {}

    def saw(self, buckets: Iterable[Bucket], amount: float, at: float) -> None:
        for bucket in buckets:
            self.taken.setdefault(bucket.key, []).append((at, amount))

    def used(self, bucket: Bucket, now: float) -> float:
        """By the definition of the window."""
        taken = self.taken.get(bucket.key, [])
        match bucket.window:
            case "clock":
                return sum(amount for at, amount in taken if at // bucket.period == now // bucket.period)
            case "calendar":
                return sum(amount for at, amount in taken if at // 86_400 == now // 86_400)
            case "rolling":
                return sum(amount for at, amount in taken if now - bucket.period < at <= now)
            case _:
                used, since = 0.0, 0.0
                for at, amount in [*taken, (now, 0.0)]:
                    used = max(0.0, used - (at - since) * bucket.limit / bucket.period) + amount
                    since = at
                return used

    def most(self, bucket: Bucket) -> float:
        """The most that was ever used."""
        return max((self.used(bucket, at) for at, _ in self.taken.get(bucket.key, [])), default=0.0)


class Replicas:
    """*count* ledgers on the Redis at *url*, that look at it when ``look`` says so."""

    def __init__(self, url: str, count: int, least: int = 1) -> None:
        self.clock, self.witness = FakeClock(NOON), Witness()
        self.told: list[Condition] = []
        self.freed = [0] * count
        self.lines = [Line(url) for _ in range(count)]
        self.stores = [SharedStore(cast(Any, line), own_time=False) for line in self.lines]
        self.ledgers = [
            Ledger(
                store,
                self.clock,
                buckets=lambda: BUCKETS,
                tell=self.told.append,
                replicas=least,
                freed=partial(self._count_freed, number),
            )
            for number, store in enumerate(self.stores)
        ]

    def _count_freed(self, number: int) -> None:
        self.freed[number] += 1

    async def __aenter__(self) -> Self:
        await self.look()
        await self.look()
        return self

    async def __aexit__(self, *_: object) -> None:
        for ledger in self.ledgers:
            await ledger.aclose()

    async def look(self, *numbers: int) -> None:
        """Let the replicas have their look at the store."""
        self.clock.advance(HEARTBEAT)
        for number in numbers or range(len(self.ledgers)):
            await self.ledgers[number]._journal.look()

    async def take(self, replica: int, *buckets: Bucket, output: float = 0.0) -> Reservation | NoRoom:
        found = await self.ledgers[replica].reserve([Offer("d", buckets, Cost(1.0, output))])
        if isinstance(found, Reservation):
            for bucket in buckets:
                self.witness.saw([bucket], found.offer.cost.of(bucket.unit), self.clock())
        return found

    async def take_all(self, replica: int, *buckets: Bucket) -> list[Reservation]:
        """Reserve until there is no more."""
        held: list[Reservation] = []
        while isinstance(found := await self.take(replica, *buckets), Reservation):
            held.append(found)
        return held

    async def used(self, bucket: Bucket, replica: int = 0) -> float:
        """What the store has written down."""
        assert self.ledgers[replica].condition().lost is None
        return (await self.ledgers[replica].levels([bucket]))[bucket.key].used
