"""
Attacks on gateways that share a Redis, in a table: ``python -m tests.outage [ATTACK …]``.

Six ledgers take from one bucket what they can get, on a real Redis, while something happens to it. A witness that knows
nothing of ledgers counts what was let through, as the provider would. Where Redis answers, nothing is over; where it does
not, no more than its bound: what was taken in the second before, which not all had seen, and, where one gateway alone is
cut off, its part. Afterwards the ledger has counted what the witness saw, no less and no more. Only where the memory was
lost before a call was answered, nobody can know any more whether it was done: another gateway may have seen its debit.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import click
from msgspec import Struct
from redis.asyncio import Redis

from gateway.clock import WallClock
from gateway.quota import redis as shared
from gateway.quota.buckets import Bucket
from gateway.quota.degraded import HEARTBEAT, LEAST_PART
from gateway.quota.exchange import Ask, ExchangeResult, StoreFailure, StoreForgot
from gateway.quota.ledger import Ledger
from gateway.quota.nouns import Cost, Offer, Reservation
from gateway.quota.operations import Entry
from gateway.quota.redis_levels import FORMAT
from gateway.quota.redis_script import Script
from tests import containers
from tests.delay import delayed

GATEWAYS, LIMIT = 6, 300
DAY = Bucket(key="a/day", account="a", unit="requests", limit=LIMIT, window="rolling", period=86_400)
CLOCK = Bucket(key="a/day", account="a", unit="requests", limit=LIMIT, window="clock", period=86_400)

_PAUSE = 0.04
"""Seconds that a gateway takes for a request, about."""

_QUIET = 3.5
"""Seconds in which nothing was let through: all that there was has been taken. Memory that is lost takes two of them."""


class Finding(Struct, frozen=True):
    """
    What came of an attack: *taken* of *limit*, by a *bound* for what is over, and what the ledger *counted* (None: the bucket is
    closed instead, since its value could not be read). It may have counted *unknown* more, whose calls were lost with the memory.
    """

    name: str
    taken: int
    limit: int
    bound: int
    unknown: int
    counted: float | None
    seconds: float

    @property
    def over(self) -> int:
        return max(0, self.taken - self.limit)

    @property
    def held(self) -> bool:
        """Within the bound; and the ledger has counted what the witness saw."""
        counted = self.counted is None or self.taken <= self.counted <= self.taken + self.unknown
        return self.over <= self.bound and counted


class World:
    """Gateways on the Redis at *url*, and the *witness*: the moments at which something was let through."""

    def __init__(self, server: containers.Server, url: str, nodes: Sequence[containers.Local] = ()) -> None:
        self.server, self.url, self.nodes = server, url, nodes
        self.witness: list[float] = []
        self.bound = self.unanswered = 0
        self.forgets = False
        self.ledgers: dict[Ledger, asyncio.Task[None]] = {}

    async def start(
        self, bucket: Bucket = DAY, url: str = "", key: str = "key", version: int = 0, **more: str
    ) -> Ledger:
        store = shared.open_store(url or self.url, {"a": key}, **more)
        if version:  # of another, that writes levels of another format
            store._exchange = Script(
                store._exchange.text.replace(f"= {FORMAT}, 2 * 86400,", f"= {version}, 2 * 86400,")
            )
        store.exchange = self._watched(store.exchange)  # type: ignore[method-assign]
        ledger = Ledger(store, WallClock(), buckets=lambda: [bucket], replicas=1)
        await ledger.serve()
        self.ledgers[ledger] = asyncio.create_task(self._take(ledger, bucket))
        return ledger

    def _watched(self, exchange: Callable[..., Awaitable[ExchangeResult]]) -> Any:
        """*exchange*, whose calls without an answer are counted by what they ask for."""

        async def watched(entries: Sequence[Entry], asks: Sequence[Ask], *more: Any) -> ExchangeResult:
            try:
                return await exchange(entries, asks, *more)
            except StoreForgot:  # it says that nothing was done
                raise
            except StoreFailure:
                self.unanswered += len(asks)
                raise

        return watched

    async def end(self, ledger: Ledger) -> None:
        task = self.ledgers.pop(ledger)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await ledger.aclose()

    async def _take(self, ledger: Ledger, bucket: Bucket) -> None:
        while True:
            held = await ledger.reserve([Offer("d", (bucket,), Cost(1.0))])
            if isinstance(held, Reservation):
                self.witness.append(time.monotonic())
                ledger.settle(held, Cost(1.0))
            await asyncio.sleep(random.uniform(0.5, 1.5) * _PAUSE)

    def lose(self, *, forgets: bool = False) -> None:
        """Redis is away from now on, and may have lost memory: what was taken lately may be over, for not all have seen it."""
        self.forgets |= forgets
        since = time.monotonic() - HEARTBEAT - shared.PATIENCE
        self.bound = sum(at > since for at in self.witness)

    async def settled(self) -> None:
        """Return once the store is there for all, and nothing is let through any more."""
        since = time.monotonic()
        async with asyncio.timeout(40):
            while any(ledger.condition().lost for ledger in self.ledgers) or not self._quiet(since):  # noqa: ASYNC110 - many
                await asyncio.sleep(0.05)

    def _quiet(self, since: float) -> bool:
        return bool(self.witness) and time.monotonic() - max(self.witness[-1], since) > _QUIET


Attack = Callable[[World], Awaitable[None]]


async def nothing(world: World) -> None:
    """Six at once."""


async def killed(world: World) -> None:
    """SIGKILL, and started again with nothing in it."""
    world.lose(forgets=True)
    world.server.signal("KILL")
    await asyncio.sleep(1.0)
    world.server.start_again()
    await asyncio.sleep(2.0)  # until all are back; then nothing is given for two seconds


async def paused(world: World) -> None:
    """SIGSTOP for a second."""
    world.lose()
    world.server.signal("STOP")
    await asyncio.sleep(1.0)
    world.server.signal("CONT")


async def full(world: World) -> None:
    """No memory to write to."""
    world.lose()
    async with Redis.from_url(world.server.url) as client:
        await client.config_set("maxmemory", "1")
        await asyncio.sleep(1.0)
        await client.config_set("maxmemory", "0")


async def snapshot(world: World) -> None:
    """Started again from an older snapshot."""
    async with Redis.from_url(world.server.url) as client:
        await client.save()
    await asyncio.sleep(0.7)
    world.lose(forgets=True)
    world.server.signal("KILL")
    world.server.start_again()


async def emptied(world: World) -> None:
    """All keys are gone, while it goes on answering: all gateways together know what there was."""
    async with Redis.from_url(world.server.url) as client:
        await client.flushall()


async def odd(world: World) -> None:
    """Garbage at every key."""
    async with Redis.from_url(world.server.url) as client:
        for key in [key async for key in client.scan_iter("freeway:*")]:
            await client.set(key, b"x")


async def empty_shard(world: World) -> None:
    """All nodes of a cluster come back without what they had."""
    for node in world.nodes:
        node.cli("flushall")


async def failover(world: World) -> None:
    """The master is killed, and a replica takes its place: what had not come there yet is forgotten."""
    world.lose(forgets=True)
    world.server.signal("KILL")


async def rotated(world: World) -> None:
    """One gateway after another gets a new key, which is of another account."""
    for ledger in list(world.ledgers):
        await world.end(ledger)
        await world.start(key="new key")
        await asyncio.sleep(0.1)


async def scaled(world: World) -> None:
    """From six to one, to six, to one."""
    for ledger in list(world.ledgers)[1:]:
        await world.end(ledger)
    await asyncio.sleep(0.3)
    more = [await world.start() for _ in range(GATEWAYS - 1)]
    await asyncio.sleep(0.3)
    for ledger in more:
        await world.end(ledger)


async def cut_off(world: World) -> None:
    """One gateway alone loses it, for three seconds."""
    port = containers.free_port()
    async with delayed(world.server.port, 0.0, port):
        alone = await world.start(url=f"redis://127.0.0.1:{port}")
        await asyncio.sleep(1.5 * HEARTBEAT)
        world.lose()
    world.bound += int(LIMIT * LEAST_PART)
    await asyncio.sleep(3.0)
    async with delayed(world.server.port, 0.0, port):
        while alone.condition().lost is not None:  # noqa: ASYNC110 - it finds out by itself
            await asyncio.sleep(0.05)
        await world.end(alone)


ATTACKS: dict[str, Attack] = {
    "none": nothing,
    "killed, and empty": killed,
    "paused": paused,
    "full": full,
    "older snapshot": snapshot,
    "emptied": emptied,
    "odd values": odd,
    "one cut off": cut_off,
    "six, one, six, one": scaled,
    "empty shards": empty_shard,
    "failover": failover,
    "rotated keys": rotated,
    "two versions": nothing,
    "100 ms away": nothing,
    "two environments": nothing,
    "two kinds of window": nothing,
}


async def _world(name: str, stack: AsyncExitStack) -> World:
    """What the attack *name* is made on."""
    if name == "empty shards":
        nodes = stack.enter_context(containers.cluster())
        return World(nodes[0], f"redis+cluster://127.0.0.1:{nodes[0].port}", nodes)
    if name == "failover":
        servers = stack.enter_context(containers.sentinels())
        return World(servers.master, f"redis+sentinel://127.0.0.1:{servers.port}/ours")
    server = stack.enter_context(containers.redis())
    port = server.port
    if name == "100 ms away":
        port = await stack.enter_async_context(delayed(server.port, 0.1))
    return World(server, f"redis://127.0.0.1:{port}")


async def attack(name: str) -> Finding:
    """What comes of the attack *name*."""
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        world = await _world(name, stack)
        for number in range(GATEWAYS):
            bucket = CLOCK if name == "two kinds of window" and number % 2 else DAY
            namespace = "freeway:other" if name == "two environments" and number % 2 else "freeway"
            version = FORMAT + 1 if name == "two versions" and number % 2 else 0
            await world.start(bucket, namespace=namespace, version=version)
        await asyncio.sleep(1.2 * HEARTBEAT)
        await ATTACKS[name](world)
        await world.settled()
        taken, counted = len(world.witness), await _counted(world, rotated=name == "rotated keys")
        for ledger in list(world.ledgers):
            await world.end(ledger)
    limit = 2 * LIMIT if name == "rotated keys" else LIMIT  # each account has its own
    unknown = world.unanswered if world.forgets else 0
    return Finding(name, taken, limit, world.bound, unknown, counted, time.monotonic() - began)


async def _counted(world: World, *, rotated: bool) -> float | None:
    """What the ledger has counted, by both keys if they were *rotated*; None: some gateway could not read it."""
    if any(ledger.condition().set_aside for ledger in world.ledgers):
        return None
    counted = (await next(iter(world.ledgers)).levels([DAY]))[DAY.key].used
    if rotated:
        before = Ledger(shared.open_store(world.url, {"a": "key"}), WallClock())
        counted += (await before.levels([DAY]))[DAY.key].used
        await before.aclose()
    return counted


async def main(names: list[str]) -> int:
    click.echo(f"{'attack':<22}{'taken':>7}{'of':>5}{'over':>6}{'bound':>7}{'counted':>9}{'seconds':>9}")
    failed = 0
    for name in names or ATTACKS:
        found = await attack(name)
        failed += not found.held
        counted = "closed" if found.counted is None else f"{found.counted:g}"
        click.echo(
            f"{name:<22}{found.taken:>7}{found.limit:>5}{found.over:>6}{found.bound:>7}{counted:>9}{found.seconds:>9.1f}"
            f"{'' if found.held else '  FAILED'}"
        )
    return failed


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
