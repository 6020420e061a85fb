"""
``python -m tests.bench.harvest``: how much of the free capacity is used. See README.md.

The real router, ledger and waiting room, before simulated providers, on a clock that jumps from event to event: two days
take seconds. Beside them simple policies in the router's place, and the most that anybody could have served who knew
everything beforehand: a linear program over minutes, whose optimum no schedule exceeds.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
from msgspec import Struct, field
from rich.console import Console
from rich.table import Table
from scipy.optimize import linprog
from scipy.sparse import coo_array

from gateway.ledger.buckets import Bucket
from gateway.router import Ranking, rank
from gateway.words import Deployment, GatewayError
from providers.simulator.world import World
from tests.clock import FakeClock
from tests.simulation.inside import Inside

START = 1_795_478_400.0  # 08:00 of a day in Los Angeles minus a little: no day of any zone ends at once
DAYS = 2
DAY, HOUR, MINUTE = 86_400.0, 3600.0, 60.0
WAIT = 60.0  # seconds that a request may wait
SOURCES = ("openrouter", "google", "groq", "cerebras")
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SCARCE = 100.0
"""Requests a day up to which a model counts as scarce."""


class Kind(Struct, frozen=True):
    """A kind of request. *text* is its prompt, *model* what it asks for."""

    name: str
    text: str
    model: str = "auto"
    max_tokens: int = 150
    image: bool = False
    tools: bool = False

    def fields(self) -> dict[str, Any]:
        content: Any = self.text
        if self.image:
            content = [{"type": "text", "text": self.text}, {"type": "image_url", "image_url": {"url": PIXEL}}]
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        more: dict[str, Any] = {"tools": [tool]} if self.tools else {}
        return {"messages": [{"role": "user", "content": content}], "max_tokens": self.max_tokens, **more}


CHAT = Kind("chat", "Tell me something about counting. " * 6)
TOOLS = Kind("tools", "Which tool would you call? " * 6, tools=True)
VISION = Kind("vision", "What do you see? ", image=True)
STRONG = Kind("strong", "Prove it. " * 12, model="gemini-3.8-flash")
LONG = Kind("long", "Once upon a time there was a long prompt. " * 380, max_tokens=400)


class Trace(Struct, frozen=True):
    """How much of each kind there is, and *rate*: requests a minute at a moment (seconds from the start)."""

    name: str
    mix: dict[Kind, float]
    rate: Callable[[float], float]

    def arrivals(self, chance: random.Random) -> Iterator[tuple[float, Kind]]:
        """Poisson, thinned."""
        highest = max(self.rate(at) for at in range(0, int(DAYS * DAY), 60))
        at, kinds, weights = 0.0, list(self.mix), list(self.mix.values())
        while (at := at + chance.expovariate(highest / MINUTE)) < DAYS * DAY - WAIT:
            if chance.random() < self.rate(at) / highest:
                yield at, chance.choices(kinds, weights)[0]


def _day_and_night(at: float) -> float:
    return 8.5 * (1 + 0.9 * math.sin(2 * math.pi * at / DAY))


def _bursts(at: float) -> float:
    return 110.0 if at % (3 * HOUR) < 6 * MINUTE else 0.6


# What these sources can serve in the two days, by the optimum below when everybody asks without end: 27,000 short
# requests, or 9,800 long ones, or 7,700 with an image, or 60 of the strong model.
TRACES = (
    Trace("steady", {CHAT: 0.8, TOOLS: 0.2}, lambda _: 9.3),
    Trace("bursts", {CHAT: 0.8, TOOLS: 0.2}, _bursts),
    Trace("day and night", {CHAT: 0.7, TOOLS: 0.3}, _day_and_night),
    Trace("capability mix", {CHAT: 0.6, TOOLS: 0.15, VISION: 0.24, STRONG: 0.01}, lambda _: 8.5),
    Trace("long prompts", {CHAT: 0.5, LONG: 0.5}, lambda _: 5.8),
    Trace("overload", {CHAT: 0.8, TOOLS: 0.2}, lambda _: 14.1),
)


# ── policies ──

Policy = Callable[..., Ranking]


def _ordered(key: Callable[[Deployment, Mapping[str, Any]], Any]) -> Policy:
    def policy(
        candidates: Iterable[Any],
        shares: Mapping[str, Any],
        health: Any,
        now: float,
        prefer: str = "",
        tokens: float = 0.0,
    ) -> Ranking:
        rested = [c.deployment for c in candidates if health.blocked_until(c.deployment.name, now) is None]
        return Ranking(sorted(rested, key=lambda d: key(d, shares)), [])

    return policy


def _policies() -> dict[str, Policy]:
    chance, turns = random.Random(1), itertools.count()

    def around(
        candidates: Iterable[Any], shares: Any, health: Any, now: float, prefer: str = "", tokens: float = 0.0
    ) -> Ranking:
        rested = [c.deployment for c in candidates if health.blocked_until(c.deployment.name, now) is None]
        rested.sort(key=lambda d: d.name)
        turn = next(turns) % max(len(rested), 1)
        return Ranking(rested[turn:] + rested[:turn], [])

    def used(d: Deployment, shares: Mapping[str, Any]) -> float:
        return max((shares[b.key].used for b in d.buckets if b.key in shares), default=0.0)

    return {
        "freeway": rank,
        "random": _ordered(lambda d, _: chance.random()),
        "round robin": around,
        "fixed priority": _ordered(lambda d, _: (SOURCES.index(d.provider.name), -d.quality, d.name)),
        "least used": _ordered(used),
    }


# ── one run ──


class Result(Struct):
    """What became of the requests of one trace under one policy. *served_at* are minutes from the start."""

    served: int = 0
    asked: int = 0
    refused: int = 0
    waits: list[float] = field(default_factory=list)
    scarce: int = 0
    served_at: Counter[int] = field(default_factory=Counter)
    by_kind: Counter[str] = field(default_factory=Counter)


async def of_policy(trace: Trace, policy: Policy, folder: Path) -> tuple[Result, Inside]:
    """Two days of *trace* under *policy*."""
    clock = FakeClock(START)
    world = World(clock, names=SOURCES)
    gateway = Inside(world, clock, folder)
    await gateway.look(*SOURCES)
    result, tasks = Result(), set[asyncio.Task[None]]()
    scarce = _scarce(gateway)

    async def ask(kind: Kind) -> None:
        began = clock()
        result.asked += 1
        try:
            found = await gateway.answer(kind.model, wait=WAIT, **kind.fields())
        except GatewayError:
            return
        result.served += 1
        result.by_kind[kind.name] += 1
        result.waits.append(clock() - began)
        result.served_at[int((clock() - START) // MINUTE)] += 1
        result.scarce += found.deployment.name in scarce and kind.model == "auto" and not kind.image

    async def settle() -> None:
        while len(tasks) > gateway.engine.waiting_room.waiting:  # noqa: ASYNC110 - whoever does not wait comes to an end
            await asyncio.sleep(0)

    looked = START
    with patch("gateway.pipeline.rank", policy):
        for at, kind in trace.arrivals(random.Random(42)):
            await _until(START + at, clock, settle)
            if clock() - looked > 1800:
                looked = clock()
                await gateway.look(*SOURCES)
            task = asyncio.create_task(ask(kind))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            await settle()
        await _until(START + DAYS * DAY + WAIT, clock, settle)
    result.refused = sum(provider.refused for provider in world.providers.values())
    return result, gateway


async def _until(moment: float, clock: FakeClock, settle: Callable[[], Any]) -> None:
    """Jump to *moment*, and on the way to every moment at which somebody who sleeps wakes up."""
    while (due := min((at for at, woken in clock._sleepers if not woken.is_set()), default=math.inf)) < moment:
        clock.advance(max(0.0, due - clock()))
        for _ in range(3):
            await asyncio.sleep(0)
        await settle()
    clock.advance(max(0.0, moment - clock()))
    await settle()


def _scarce(gateway: Inside) -> set[str]:
    return {
        d.name
        for d in gateway.engine.catalog.deployments()
        if any(
            b.unit == "requests" and b.window_name == "day" and b.limit <= SCARCE and b.scope == "model"
            for b in d.buckets
        )
    }


# ── what could have been ──


async def optimum(trace: Trace, folder: Path) -> float:
    """The most requests of *trace* that could be served by somebody who knew all of them beforehand."""
    clock = FakeClock(START)
    gateway = Inside(World(clock, names=SOURCES), clock, folder)
    await gateway.look(*SOURCES)
    demand: Counter[tuple[Kind, int]] = Counter()
    for at, kind in trace.arrivals(random.Random(42)):
        demand[kind, int(at // MINUTE)] += 1
    able = {kind: await _able(gateway, kind) for kind in trace.mix}
    return _solve(demand, able)


async def _able(gateway: Inside, kind: Kind) -> dict[str, tuple[tuple[Bucket, float], ...]]:
    """Who can serve *kind*, and what one such request takes there, by the provider's own count."""
    found: dict[str, tuple[tuple[Bucket, float], ...]] = {}
    for d in gateway.engine.catalog.deployments():
        if kind.model not in ("auto", d.model):
            continue
        gateway.clock.advance(4 * DAY)
        await gateway.look(*SOURCES)
        try:
            answer = await gateway.answer(d.name, **kind.fields())
        except GatewayError:
            continue
        whole = answer.reply.whole
        assert whole is not None
        usage = whole.completion.usage
        assert usage is not None
        found[d.name] = tuple((b, _amount(b, usage, kind)) for b in d.buckets if b.unit != "in-flight")
    return found


def _amount(bucket: Bucket, usage: Any, kind: Kind) -> float:
    output = max(usage.completion_tokens, kind.max_tokens) if bucket.keeps_output else usage.completion_tokens
    return {"requests": 1.0, "prompt": usage.prompt_tokens, "tokens": usage.prompt_tokens + output}[bucket.unit]


def _solve(demand: Mapping[tuple[Kind, int], int], able: Mapping[Kind, Mapping[str, Any]]) -> float:
    """
    Maximize what is served. A variable for each kind, minute of arrival, minute of service and deployment. A clock or
    rolling window holds no more than its limit in any aligned minute (hour, day); a bucket that refills no more than it
    was full at the start and what flowed in since, and no more than full in one go.
    """
    columns: list[tuple[Kind, int, int, str]] = [
        (kind, minute, minute + later, name)
        for kind, minute in demand
        for later in range(int(WAIT // MINUTE) + 1)
        for name in able[kind]
    ]
    rows: dict[Any, int] = {}
    limits: list[float] = []
    data: list[tuple[int, int, float]] = []

    def row(key: Any, limit: float) -> int:
        if key not in rows:
            rows[key] = len(limits)
            limits.append(limit)
        return rows[key]

    refills: dict[str, Bucket] = {}
    for column, (kind, arrived, minute, name) in enumerate(columns):
        data.append((row((kind, arrived), demand[kind, arrived]), column, 1.0))
        for bucket, amount in able[kind][name]:
            if bucket.window == "refill":
                refills[bucket.key] = bucket
                data.append((row((bucket.key, minute), 0.0), column, amount))
            else:
                data.append((row((bucket.key, _window(bucket, minute)), bucket.limit), column, amount))
    # What is in a bucket that refills at the end of each minute is a variable of its own: no more than before it and
    # what flowed in, less what was taken, and never more than full.
    minutes = int(DAYS * DAY // MINUTE) + 2
    size = len(columns)
    bounds: list[tuple[float, float | None]] = [(0.0, None)] * size
    for bucket in refills.values():
        flow = bucket.limit * MINUTE / bucket.period
        for minute in range(minutes):
            here = row((bucket.key, minute), 0.0)
            limits[here] = flow + (bucket.limit if minute == 0 else 0.0)
            data.append((here, size + minute, 1.0))
            if minute:
                data.append((here, size + minute - 1, -1.0))
        size += minutes
        bounds += [(0.0, bucket.limit)] * minutes
    row_of, column_of, values = (np.array(part) for part in zip(*data, strict=True))
    matrix = coo_array((values, (row_of, column_of)), shape=(len(limits), size)).tocsr()
    gain = np.zeros(size)
    gain[: len(columns)] = -1.0
    found = linprog(gain, A_ub=matrix, b_ub=np.array(limits), bounds=bounds, method="highs-ipm")
    if not found.success:
        raise RuntimeError(found.message)
    return float(-found.fun)


def _window(bucket: Bucket, minute: int) -> Any:
    """Which of its windows a minute belongs to."""
    at = START + minute * MINUTE
    if bucket.calendar is not None:
        from gateway.ledger.buckets import calendar_window  # noqa: PLC0415 - only here

        return calendar_window(bucket.calendar, bucket.zone, at)
    return int(at // bucket.period)


# ── the report ──


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", nargs="*", help="names; none: all")
    parser.add_argument("--plots", type=Path, default=Path("bench-results/harvest"))
    parser.add_argument("--only", help="one policy")
    given = parser.parse_args()
    console, shares = Console(width=130), []
    for trace in TRACES:
        if given.traces and trace.name not in given.traces:
            continue
        with TemporaryDirectory() as folder:
            best = await optimum(trace, Path(folder))
        results = {}
        for name, policy in _policies().items():
            if given.only in (None, name):
                with TemporaryDirectory() as folder:
                    results[name], _ = await of_policy(trace, policy, Path(folder))
        console.print(_table(trace, best, results))
        shares.append(results[given.only or "freeway"].served / best)
        _plot(trace, best, results, given.plots)
    console.print(f"served / optimum: at least {min(shares):.2%}, on average {sum(shares) / len(shares):.2%}")


def _table(trace: Trace, best: float, results: Mapping[str, Result]) -> Table:
    asked = next(iter(results.values())).asked
    table = Table(title=f"{trace.name}: {asked:,} requests in {DAYS} days, of which {best:,.0f} could be served")
    for heading in ("policy", "served", "of the optimum", "refused upstream", "wait p50, s", "p95, s", "scarce wasted"):
        table.add_column(heading, justify="left" if heading == "policy" else "right")
    for name, found in results.items():
        cuts = quantiles(found.waits, n=100) if len(found.waits) > 1 else [0.0] * 99
        figures = (f"{found.served:,}", f"{found.served / best:.2%}", str(found.refused))
        table.add_row(name, *figures, f"{cuts[49]:.1f}", f"{cuts[94]:.1f}", str(found.scarce))
    return table


def _plot(trace: Trace, best: float, results: Mapping[str, Result], folder: Path) -> None:
    """Served so far, by policy, against the optimum of the whole."""
    import matplotlib as mpl  # noqa: PLC0415 - half a second, for those who want plots

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(9, 4.5))
    hours = np.arange(0, DAYS * 24 * 60) / 60
    for name, found in results.items():
        total = np.cumsum([found.served_at[minute] for minute in range(len(hours))])
        axes.plot(hours, total, label=f"{name}: {found.served:,}", linewidth=2.2 if name == "freeway" else 1.1)
    axes.axhline(best, color="grey", linestyle="--", linewidth=1, label=f"optimum: {best:,.0f}")
    axes.set(xlabel="hours", ylabel="requests served", title=trace.name)
    axes.legend(loc="upper left", frameon=False)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{trace.name.replace(' ', '-')}.png", dpi=110, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    asyncio.run(main())
