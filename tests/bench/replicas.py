"""
``python -m tests.bench.replicas``: what gateways that share a Redis cost it, and what sharing costs them. See README.md.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import uvloop
from redis.asyncio import Redis
from rich.console import Console
from rich.table import Table

from gateway.clock import WallClock
from gateway.quota.buckets import Bucket
from gateway.quota.ledger import Ledger
from gateway.quota.nouns import Cost, NoRoom, Offer, Reservation
from gateway.quota.redis import SharedStore, open_store
from tests import containers
from tests.clock import FakeClock

FULL, REFUSED = 300, 200
"""Deployments that are full, and requests that all of them refuse."""

SEEN, LOOKS, TOUCHED = 10_000, 20, 500
"""Buckets in use, looks at them, and how many of them another gateway changes between two looks."""

GATEWAYS, RATE, FOR = 6, 40, 8.0
"""Gateways, requests a second of each, and for how many seconds."""

Row = tuple[str, str, str]


def deployment(number: int, limit: float = 1e9) -> Offer:
    """One with a rolling minute and a day of its own, at one of thirty accounts."""
    account = f"a{number % 30}"
    minute = Bucket(
        key=f"{account}/m{number}/minute",
        account=account,
        unit="requests",
        limit=limit,
        window="rolling",
        period=60.0,
        window_name="minute",
    )
    day = Bucket(
        key=f"{account}/m{number}/day",
        account=account,
        unit="requests",
        limit=1e9,
        window="calendar",
        calendar="day",
        window_name="day",
    )
    return Offer(f"d{number}", (minute, day), Cost(20, 100))


class RedisCost:
    """What Redis spends on scripts, by its own account."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def spent(self) -> tuple[float, float]:
        """Milliseconds in scripts, and of CPU in all, since it started."""
        async with Redis.from_url(self._url) as client:
            stats, cpu = await client.info("commandstats"), await client.info("cpu")
        scripts = sum(stats.get(f"cmdstat_{name}", {}).get("usec", 0) for name in ("evalsha", "eval", "evalsha_ro"))
        return scripts / 1e3, 1e3 * (cpu["used_cpu_user"] + cpu["used_cpu_sys"])

    async def of(self, work: Callable[[], Awaitable[object]]) -> tuple[float, float, float]:
        """What *work* takes of both, and milliseconds of this process's own CPU."""
        scripts, cpu = await self.spent()
        began = time.process_time()
        await work()
        own = (time.process_time() - began) * 1e3
        after = await self.spent()
        return after[0] - scripts, after[1] - cpu, own


async def of_full(url: str) -> list[Row]:
    """Requests that find all of many deployments full: each is refused, and asks when to come back."""
    offers = [deployment(number, limit=3) for number in range(FULL)]
    buckets = [bucket for offer in offers for bucket in offer.buckets]
    ledger = Ledger(open_store(url), WallClock(), buckets=lambda: buckets)
    await ledger.serve()
    for offer in offers:
        while isinstance(await ledger.reserve([offer]), Reservation):
            pass
    looks = [bucket for bucket in buckets if bucket.window == "rolling"]
    await ledger.levels(looks)

    async def refused() -> None:
        for _ in range(REFUSED):
            assert isinstance(await ledger.reserve(offers), NoRoom)
            await ledger.openings(offers)

    scripts, cpu, own = await RedisCost(url).of(refused)
    await ledger.aclose()
    return [
        (f"{FULL} full deployments", "Redis, of scripts, a refused request", f"{scripts / REFUSED:.3f} ms"),
        (f"{FULL} full deployments", "Redis, CPU in all, a refused request", f"{cpu / REFUSED:.3f} ms"),
        (f"{FULL} full deployments", "the gateway's CPU, a refused request", f"{own / REFUSED:.3f} ms"),
    ]


async def of_looks(url: str, touched: int) -> list[Row]:
    """A gateway that looks, once a second, at many buckets, of which another gateway changes some."""
    offers = [deployment(number) for number in range(SEEN // 2)]
    buckets = [bucket for offer in offers for bucket in offer.buckets]
    ledger = Ledger(open_store(url), WallClock(), buckets=lambda: buckets)
    other = Ledger(open_store(url), WallClock())
    for start in range(0, len(offers), 50):
        await asyncio.gather(*(other.reserve([offer]) for offer in offers[start : start + 50]))
    look = ledger._journal.look
    for _ in range(12):
        await look()
    costs = []
    for number in range(LOOKS):
        first = number * touched // 2
        changed = [offers[place % len(offers)] for place in range(first, first + touched // 2)]
        for start in range(0, len(changed), 50):
            await asyncio.gather(*(other.reserve([offer]) for offer in changed[start : start + 50]))
        costs.append(await RedisCost(url).of(look))
    await ledger.aclose()
    await other.aclose()
    what = f"{SEEN} buckets, {touched} changed"
    return [
        (what, "Redis, of scripts, a look", f"{sum(cost[0] for cost in costs) / LOOKS:.2f} ms"),
        (what, "the gateway's CPU, a look", f"{sum(cost[2] for cost in costs) / LOOKS:.2f} ms"),
    ]


async def of_busy(url: str) -> list[Row]:
    """Requests that are all served, by a bucket whose 300 slots are all in use."""
    clock, offers = FakeClock(), [deployment(0)]
    ledger = Ledger(SharedStore(Redis.from_url(url), own_time=False), clock)

    async def served(count: int) -> None:
        for _ in range(count):
            clock.advance(60 / 300)
            held = await ledger.reserve(offers)
            assert isinstance(held, Reservation)
            ledger.settle(held, held.offer.cost)

    await served(400)
    scripts, cpu, _ = await RedisCost(url).of(lambda: served(1000))
    await ledger.aclose()
    what = "a request served"
    return [
        (what, "Redis, of scripts, with 300 slots in use", f"{scripts / 1000:.3f} ms"),
        (what, "Redis, CPU in all, with 300 slots in use", f"{cpu / 1000:.3f} ms"),
    ]


def gateway(url: str, seconds: float, told: Any) -> None:
    """A process that serves RATE requests a second, one after another came; tells how many, and its CPU seconds."""

    async def serve() -> tuple[int, float]:
        offers = [deployment(number) for number in range(450)]
        buckets = [bucket for offer in offers for bucket in offer.buckets]
        ledger = Ledger(open_store(url), WallClock(), buckets=lambda: buckets)
        await ledger.serve()
        served, began, cpu = 0, time.monotonic(), time.process_time()

        async def one(number: int) -> None:
            held = await ledger.reserve([offers[(number + place) % len(offers)] for place in range(4)])
            assert isinstance(held, Reservation)
            await asyncio.sleep(0.05)
            ledger.settle(held, Cost(20, 80))

        async with asyncio.TaskGroup() as tasks:
            while (passed := time.monotonic() - began) < seconds:
                while served < passed * RATE:
                    tasks.create_task(one(served))
                    served += 1
                await asyncio.sleep(max(0.0, (served + 1) / RATE - passed))
        spent = time.process_time() - cpu
        await ledger.aclose()
        return served, spent

    told.put(uvloop.run(serve()))


async def of_many(url: str, count: int) -> tuple[float, float]:
    """Milliseconds for a request: a gateway's CPU, and Redis', with *count* gateways."""
    context = get_context("spawn")
    told: Any = context.Queue()

    async def run() -> None:
        processes = [context.Process(target=gateway, args=(url, FOR, told)) for _ in range(count)]
        for process in processes:
            process.start()
        for process in processes:
            await asyncio.to_thread(process.join)

    _, cpu, _ = await RedisCost(url).of(run)
    found = [told.get() for _ in range(count)]
    served, spent = sum(one[0] for one in found), sum(one[1] for one in found)
    return spent * 1e3 / served, cpu / served


async def of_one_and_six(url: str) -> list[Row]:
    one, six = [await of_many(url, count) for count in (1, GATEWAYS)]
    return [
        (f"{RATE} requests a second each", "the gateway's CPU, one gateway", f"{one[0]:.3f} ms"),
        (f"{RATE} requests a second each", f"the gateway's CPU, {GATEWAYS} gateways", f"{six[0]:.3f} ms"),
        (f"{RATE} requests a second each", "six by one", f"{six[0] / one[0]:.2f}"),
        (f"{RATE} requests a second each", "Redis, CPU in all, one gateway", f"{one[1]:.3f} ms"),
        (f"{RATE} requests a second each", f"Redis, CPU in all, {GATEWAYS} gateways", f"{six[1]:.3f} ms"),
    ]


MEASURES: dict[str, Callable[[str], Coroutine[Any, Any, Sequence[Row]]]] = {
    "full": of_full,
    "quiet looks": lambda url: of_looks(url, 0),
    "busy looks": lambda url: of_looks(url, TOUCHED),
    "served": of_busy,
    "one and six": of_one_and_six,
}


@contextmanager
def table() -> Iterator[Table]:
    """A table that is printed in the end."""
    made = Table(title="What sharing costs", title_justify="left")
    for heading in ("with", "what", "takes"):
        made.add_column(heading, justify="right" if heading == "takes" else "left")
    yield made
    Console(highlight=False).print(made)


def main(names: list[str]) -> None:
    with table() as made:
        for name in names or MEASURES:
            with containers.redis() as server:
                for row in uvloop.run(MEASURES[name](server.url)):
                    made.add_row(*row)


if __name__ == "__main__":
    main(sys.argv[1:])
