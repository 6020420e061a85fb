"""
``python -m tests.bench.ledger``: what one reservation costs, its settlement and its receipt, on both stores, beside the same limits
with the ``limits`` package alone and beside a bare script that does nothing in Redis. See README.md.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import uvloop
from docker.errors import DockerException
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from rich.console import Console
from rich.table import Table

from gateway.clock import WallClock
from gateway.events import Leaving, Left, ProofRead
from gateway.observe.receipts import Receipts
from gateway.quota.buckets import Bucket, Window
from gateway.quota.exchange import Store
from gateway.quota.ledger import Ledger
from gateway.quota.nouns import Cost, Offer, Reservation
from gateway.quota.redis import open_store
from gateway.quota.sqlite import EmbeddedStore
from gateway.state.sqlite import SqliteState
from gateway.state.store import StateStore
from tests import containers

ROUNDS, CALLS = 7, 1500
SIZES = (1, 4, 16)
TOGETHER = 8
"""Requests that come at the same time: what they ask of the store goes in one exchange."""
WINDOWS: tuple[Window, ...] = ("refill", "clock", "rolling", "refill")
NOTHING = "return 1"

Work = Callable[[], Awaitable[object]]


def buckets(count: int) -> tuple[Bucket, ...]:
    """So many buckets of one account, with limits that refuse nothing."""
    return tuple(
        Bucket(
            key=f"groq/bench-{count}/{number}",
            account="groq",
            unit="tokens" if number % 2 else "requests",
            limit=1e12,
            window=WINDOWS[number % len(WINDOWS)],
            period=60.0,
            window_name="minute",
        )
        for number in range(count)
    )


async def cost(work: Work, calls: int = CALLS) -> tuple[float, float]:
    """Microseconds of CPU time and of waiting for one call of *work*: those of the best round, and the median's wait."""
    spent, waits = [], []
    for _ in range(ROUNDS):
        cpu, began = time.process_time(), time.perf_counter()
        for _ in range(calls):
            await work()
        spent.append((time.process_time() - cpu) / calls * 1e6)
        waits.append((time.perf_counter() - began) / calls * 1e6)
    return min(spent), median(waits)


async def of_ledger(store: Store, count: int) -> list[tuple[str, float, float]]:
    ledger = Ledger(store, WallClock())
    offers = [Offer("d", buckets(count), Cost(20, 100))]

    async def reserved() -> Reservation:
        held = await ledger.reserve(offers)
        assert isinstance(held, Reservation)
        return held

    async def gathered() -> None:
        ledger.settle(await reserved(), Cost(22, 80))

    async def apart() -> None:
        await gathered()
        await ledger.flush()

    async def together() -> None:
        await asyncio.gather(*(gathered() for _ in range(TOGETHER)))

    each, among = await cost(together, CALLS // TOGETHER)
    found = [
        ("reserve and settle, gathered", *await cost(gathered)),
        (f"the same, {TOGETHER} at a time", each / TOGETHER, among / TOGETHER),
        ("reserve and settle, apart", *await cost(apart)),
    ]
    await ledger.aclose()
    return found


async def of_limits(storage: Any, count: int) -> tuple[float, float]:
    """The same number of limits with the package alone: nothing is atomic over them, and nothing can be settled."""
    limiter = MovingWindowRateLimiter(storage)
    rows = [RateLimitItemPerMinute(10**9) for _ in range(count)]

    async def hits() -> None:
        for number, row in enumerate(rows):
            assert await limiter.hit(row, "groq", str(number))

    return await cost(hits, CALLS // 5)


async def of_bare_trip(url: str, keys: int) -> tuple[float, float]:
    async with Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=None, protocol=2) as client:
        sha = await client.script_load(NOTHING)
        names, body = [f"k{number}" for number in range(keys)], b"x" * 40 * keys

        async def trip() -> None:
            await client.evalsha(sha, keys, *names, body)

        return await cost(trip)


async def of_history(make: Callable[[], Store]) -> list[tuple[str, float, float]]:
    """The same reservation at first, and after many others: it must cost the same."""
    ledger = Ledger(make(), WallClock())
    offers = [Offer("d", buckets(4), Cost(20, 100))]

    async def once() -> None:
        held = await ledger.reserve(offers)
        assert isinstance(held, Reservation)
        ledger.settle(held, Cost(22, 80))

    first = await cost(once, 300)
    for _ in range(20_000):
        await once()
    later = await cost(once, 300)
    await ledger.aclose()
    return [("4 buckets, at first", *first), ("4 buckets, after 20 000 more", *later)]


async def of_receipt(folder: Path) -> list[tuple[str, float, float]]:
    """What a request waits for, and what is written beside requests, for each call that left."""
    clock = WallClock()
    receipts = Receipts(folder, clock, StateStore(SqliteState(None, clock), clock), "bench", lambda: 0)
    proof, debits = ProofRead("prices", "every price is zero", "its list", clock.now()), {"a/day": 1.0, "a/minute": 1.0}

    async def noted() -> None:
        receipts(Leaving("groq/m", "req"))
        receipts(Left(request="req", deployment="groq/m", at=1.0, proof=proof, debits=debits, told=0.0))

    async def written() -> None:
        for _ in range(CALLS):
            await noted()
        await receipts.write()

    all_cpu, all_takes = await cost(written, 1)  # first: from then on what leaves is counted in the mapped page, too
    cpu, takes = await cost(noted)
    return [("noted while it waits", cpu, takes), ("and written", all_cpu / CALLS, all_takes / CALLS)]


@contextmanager
def redis() -> Iterator[str | None]:
    """The address of a Redis, if a container engine is there."""
    try:
        with containers.redis() as server:
            yield server.url
    except DockerException:
        yield None


async def measure(folder: Path, url: str | None) -> Iterator[tuple[str, str, float, float]]:
    rows: list[tuple[str, str, float, float]] = []
    for count in SIZES:
        what = f"{count} bucket{'s' if count > 1 else ''}"
        for title, cpu, waits in await of_ledger(EmbeddedStore(folder / f"{count}.sqlite"), count):
            rows.append((f"embedded, {what}", title, cpu, waits))
        rows.append((f"limits in memory, {what}", "one hit each", *await of_limits(MemoryStorage(), count)))
        if url:
            for title, cpu, waits in await of_ledger(open_store(url), count):
                rows.append((f"Redis, {what}", title, cpu, waits))
            storage = RedisStorage(f"async+{url}", implementation="redispy")
            rows.append((f"limits in Redis, {what}", "one hit each", *await of_limits(storage, count)))
            rows.append((f"Redis, {what}", "a bare round trip, as many keys", *await of_bare_trip(url, count)))
    rows += [("a receipt", *row) for row in await of_receipt(folder / "receipts")]
    for title, cpu, waits in await of_history(lambda: EmbeddedStore(folder / "history.sqlite")):
        rows.append(("embedded", title, cpu, waits))
    if url:
        for title, cpu, waits in await of_history(lambda: open_store(url)):
            rows.append(("Redis", title, cpu, waits))
    return iter(rows)


def main() -> None:
    table = Table(title="Microseconds each, in one process", title_justify="left")
    for heading in ("", "what", "CPU", "takes"):
        table.add_column(heading, justify="right" if heading in ("CPU", "takes") else "left")
    with (
        TemporaryDirectory(prefix="freeway-ledger-", dir=".") as folder,
        redis() as url,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        for where, what, cpu, takes in runner.run(measure(Path(folder), url)):
            table.add_row(where, what, f"{cpu:.3g}", f"{takes:.3g}")
    console = Console(highlight=False)
    console.print(table)
    if url is None:
        console.print("left out: Redis: no container engine is here")


if __name__ == "__main__":
    main()
