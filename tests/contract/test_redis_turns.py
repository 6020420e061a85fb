"""Whose turn it is at a bucket that clients of several gateways wait for, on a real Redis."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from redis.asyncio import Redis

from gateway.clock import WallClock
from gateway.quota.buckets import Bucket
from gateway.quota.exchange import nothing_withheld
from gateway.quota.ledger import Ledger
from gateway.quota.nouns import Cost, NoRoom, Offer, Reservation, Turn
from gateway.quota.redis import SharedStore, open_store
from gateway.request.plan import Retry
from gateway.request.queue import Queue
from tests.clock import FakeClock
from tests.contract.replicas import NOON
from tests.delay import delayed

pytestmark = pytest.mark.engine

HELD_FOR, COMES_IN = 0.03, 0.25
"""As in redis.lua: for how long a client is held at a time, and how long one that waits may take to come."""


@pytest.fixture
async def client(redis_server):
    async with Redis.from_url(redis_server.url) as client:
        await client.flushall()
        yield client


MINUTES = Bucket(key="a/two", account="a", unit="requests", limit=10, window="clock", period=2.0)


class Gateway:
    """A ledger on the Redis at *url* with a queue before it, and calls of clients that want what there is."""

    def __init__(self, url: str, bucket: Bucket = MINUTES) -> None:
        self.clock, self.bucket = WallClock(), bucket
        self.queue = Queue(self.clock, 1000)
        self.ledger = Ledger(open_store(url), self.clock, buckets=lambda: [bucket], freed=self.queue.freed)
        self.served: list[tuple[str, float]] = []

    async def call(self, client: str) -> None:
        with self.queue.enter(client, 0, self.clock.now() + 60) as ticket:
            await ticket.turn()
            while True:
                offer, cache = Offer("d", (self.bucket,), Cost(1.0)), self.ledger.cache
                full = cache.refuses(
                    offer, self.clock.now() + cache.ahead, nothing_withheld
                )  # as a plan goes by prices
                found = (
                    await self.ledger.reserve([offer], Turn(client, ticket.wanting))
                    if full is None
                    else NoRoom((full,))
                )
                if isinstance(found, Reservation):
                    ticket.through()
                    self.served.append((client, self.clock.now()))
                    self.ledger.settle(found, Cost(1.0))
                    return
                await ticket.sleep(Retry(found.opens_at, found.when_freed), "line", 1.0)


async def test_a_client_is_not_starved_by_one_that_floods_another_gateway(redis_server, client):
    """The flood's gateway is near and the other's far, so that it would be first at each window's opening, always."""
    async with delayed(redis_server.port, 0.02) as far:
        near, other = Gateway(redis_server.url), Gateway(f"redis://127.0.0.1:{far}")
        await near.ledger.serve()
        await other.ledger.serve()
        flood = [asyncio.create_task(near.call("flood")) for _ in range(100)]
        await asyncio.sleep(0.1)
        few = [asyncio.create_task(other.call("few")) for _ in range(8)]
        await asyncio.wait(few, timeout=9)
        windows = Counter(at // MINUTES.period for _, at in other.served)
        all_served = Counter(at // MINUTES.period for _, at in [*near.served, *other.served])
        for task in (*flood, *few):
            task.cancel()
        await asyncio.gather(*flood, *few, return_exceptions=True)
        await near.ledger.aclose()
        await other.ledger.aclose()

    assert len(other.served) == 8
    assert len(windows) <= 4  # half of each of two windows would be enough
    assert max(all_served.values()) <= MINUTES.limit
    assert sorted(all_served.values())[1:-1] == [MINUTES.limit] * (len(all_served) - 2)  # nothing is left unused


async def _take(ledger: Ledger, client: str, waiting: int, priority: int = 0) -> Reservation | NoRoom:
    return await ledger.reserve([Offer("d", (MINUTES,), Cost(1.0))], Turn(client, waiting, priority))


async def test_a_client_that_does_not_come_is_waited_for_a_moment_and_one_that_cannot_wait_is_not_held(
    redis_server, client
):
    clock = FakeClock(NOON)
    ledger = Ledger(SharedStore(Redis.from_url(redis_server.url), own_time=False), clock)
    for _ in range(10):
        assert isinstance(await _take(ledger, "flood", 9), Reservation)
    assert isinstance(await _take(ledger, "gone", 1), NoRoom)
    clock.advance(MINUTES.period)
    assert isinstance(await _take(ledger, "flood", 9), Reservation)  # both had the same right to it

    held = await _take(ledger, "flood", 9)

    assert isinstance(held, NoRoom)
    assert held.opens_at - clock() == pytest.approx(HELD_FOR)
    assert isinstance(await _take(ledger, "hurried", 0), Reservation)
    clock.advance(COMES_IN)
    assert isinstance(await _take(ledger, "flood", 9), Reservation)
    await ledger.aclose()


async def test_one_whose_turn_it_is_is_called_once_and_not_by_each_that_is_held(redis_server, client):
    """Else the waiters of two gateways that are held wake each other, as fast as Redis answers, until it comes."""
    clock = FakeClock(NOON)
    ledger = Ledger(SharedStore(Redis.from_url(redis_server.url), own_time=False), clock)
    for _ in range(10):
        await _take(ledger, "flood", 9)
    assert isinstance(await _take(ledger, "waits", 1), NoRoom)
    clock.advance(MINUTES.period)
    assert isinstance(await _take(ledger, "flood", 9), Reservation)

    async with client.pubsub() as heard:
        await heard.subscribe("freeway:freed")
        await heard.get_message(timeout=1.0)  # that it listens
        held = [await _take(ledger, "flood", 9) for _ in range(5)]
        told = [await heard.get_message(ignore_subscribe_messages=True, timeout=0.05) for _ in range(5)]

    assert all(isinstance(one, NoRoom) for one in held)
    assert sum(one is not None for one in told) == 1
    await ledger.aclose()


async def test_clients_that_all_wait_are_served_in_turn_whatever_they_came_with(redis_server, client):
    clock = FakeClock(NOON)
    ledger = Ledger(SharedStore(Redis.from_url(redis_server.url), own_time=False), clock)
    for _ in range(10):
        await _take(ledger, "a", 0)
    for name in "abc":
        assert isinstance(await _take(ledger, name, 20), NoRoom)
    served: Counter[str] = Counter()
    for _ in range(6):
        clock.advance(MINUTES.period)
        for name in "aaaaaaabc" * 10:
            served[name] += isinstance(await _take(ledger, name, 20), Reservation)

    assert served.total() == 6 * MINUTES.limit
    assert max(served.values()) - min(served.values()) <= 1
    assert 0 < await client.pttl("freeway:{*}:turns") <= 17_000
    await ledger.aclose()


async def test_clients_of_a_higher_priority_go_first_at_whatever_gateway_and_take_turns_among_themselves(
    redis_server, client
):
    """One that is beyond its share of a day is below all others. One that comes later is not served more for that."""
    clock = FakeClock(NOON)
    near, other = (Ledger(SharedStore(Redis.from_url(redis_server.url), own_time=False), clock) for _ in range(2))
    for _ in range(10):
        await _take(near, "first", 0)
    waiting = Counter({"beyond": 20, "early": 9, "late": 9})
    priorities = {"beyond": -1, "early": 0, "late": 0}
    served: list[str] = []

    async def ask(ledger: Ledger, name: str) -> None:
        if waiting[name] and isinstance(await _take(ledger, name, waiting[name], priorities[name]), Reservation):
            waiting[name] -= 1
            served.append(name)

    await ask(near, "beyond")
    await ask(other, "early")
    for window in range(4):
        clock.advance(MINUTES.period)
        for _ in range(20):
            await ask(near, "beyond")
            await ask(other, "early")
            if window or len(served) >= 5:
                await ask(other, "late")

    assert served[:5] == ["early"] * 5
    assert "beyond" not in served[:18]
    assert abs(served[5:13].count("early") - served[5:13].count("late")) <= 2
    assert served[18:] == ["beyond"] * 20
    await near.aclose()
    await other.aclose()


async def test_when_a_window_opens_the_waiters_of_all_gateways_do_not_stampede(redis_server, client):
    edge = Bucket(key="a/edge", account="a", unit="requests", limit=60, window="clock", period=3.0)
    gateways = [Gateway(redis_server.url, edge) for _ in range(6)]
    for gateway in gateways:
        await gateway.ledger.serve()
    waiting = [asyncio.create_task(gateway.call("one")) for gateway in gateways for _ in range(50)]
    first = WallClock().now() // edge.period
    while WallClock().now() // edge.period < first + 2:  # noqa: ASYNC110 - a window of the clock
        await asyncio.sleep(0.01)
    before = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
    await asyncio.sleep(1.5)
    asked = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"] - before

    taken = Counter(at // edge.period for gateway in gateways for _, at in gateway.served)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    for gateway in gateways:
        await gateway.ledger.aclose()
    assert taken[first + 2] == edge.limit
    assert max(taken.values()) == edge.limit
    assert asked < 60 + 6 * 20  # each of 240 that go on waiting would have made it 300
