"""
``python -m tests.bench.harvest --traces``: how much of the free capacity is used. See README.md.

The real router, ledger and queue, before simulated providers, on a clock that jumps from event to event: two days
take seconds. Beside them simple policies in the router's place, and the most that could have been served, had
everything been known beforehand: a linear program over minutes, whose optimum no schedule exceeds.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any
from unittest.mock import patch

from msgspec import Struct, field, structs
from rich.console import Console
from rich.table import Table

from gateway.request.plan import Plan, View, plan
from gateway.request.tried import Tried
from gateway.words import Call, Deployment, GatewayError
from providers.dialect import HttpRequest
from providers.simulator.world import World
from providers.spec import Timeouts
from providers.wire import Wire
from tests.bench.traces import DAY, DAYS, MINUTE, SOURCES, START, TRACES, WAIT, Kind, Trace
from tests.clock import FakeClock
from tests.simulation.inside import ORIGIN, InProcess, Inside

SHORT = 1 / 6
"""Days of the short form."""

SCARCE = 100.0
"""Requests a day up to which a model counts as scarce."""


# ── policies ──

Policy = Callable[[Call, Tried, View, float], Plan]


def _able(call: Call, tried: Tried, view: View, now: float) -> tuple[Plan, list[Deployment]]:
    """Our own plan, and all that may be asked, whether they have room or not."""
    ours = plan(call, tried, view, now)
    able = [
        one.deployment
        for one in view.catalog.fitting(ours.wants, now)
        if one.deployment.name not in tried.over | tried.full.keys()
        and view.catalog.unusable(one.deployment, call, now) is None
        and view.health.blocked(one.deployment.name, now) is None
    ]
    return ours, able


def _ordered(key: Callable[[Deployment, Mapping[str, Any]], Any]) -> Policy:
    def policy(call: Call, tried: Tried, view: View, now: float) -> Plan:
        ours, able = _able(call, tried, view, now)
        return structs.replace(ours, ranked=sorted(able, key=lambda d: key(d, view.prices(now))), full=[])

    return policy


def _policies() -> dict[str, Policy]:
    chance, turns = random.Random(1), itertools.count()

    def around(call: Call, tried: Tried, view: View, now: float) -> Plan:
        ours, able = _able(call, tried, view, now)
        able.sort(key=lambda d: d.name)
        turn = next(turns) % max(len(able), 1)
        return structs.replace(ours, ranked=able[turn:] + able[:turn], full=[])

    def used(d: Deployment, shares: Mapping[str, Any]) -> float:
        return max((shares[b.key].used for b in d.buckets if b.key in shares), default=0.0)

    return {
        "freeway": plan,
        "random": _ordered(lambda d, _: chance.random()),
        "round robin": around,
        "fixed priority": _ordered(lambda d, _: (SOURCES.index(d.provider.name), -d.quality, d.name)),
        "least used": _ordered(used),
    }


# ── one run ──


class Down(Struct):
    """The answer of a source that fails."""

    status: int = 503
    headers: Mapping[str, str] = MappingProxyType({"content-type": "application/json"})

    async def pieces(self) -> AsyncIterator[bytes]:
        yield b'{"error": {"message": "the model is overloaded", "code": 503}}'

    def close(self) -> None: ...


class Way(InProcess):
    """The way to the sources of a trace, on which answers take as long as it says, and fail when it says."""

    def __init__(self, world: World, clock: FakeClock, trace: Trace) -> None:
        super().__init__(world)
        self._clock, self._trace = clock, trace
        self._answers_at: list[float] = []

    @property
    def asleep(self) -> int:
        """Calls that nothing happens to until time passes."""
        return sum(at > self._clock() for at in self._answers_at)

    async def send(self, call: HttpRequest, timeouts: Timeouts) -> Any:
        source = call.url.removeprefix(ORIGIN).split("/")[1]
        seconds = self._trace.seconds.get(source, 0.0)
        if call.method == "POST" and self._trace.down(source, self._clock() - START):
            return Down()
        if call.method == "POST" and seconds and "show" not in call.url:
            at = self._clock() + seconds
            self._answers_at.append(at)
            try:
                await self._clock.sleep(seconds)
            finally:
                self._answers_at.remove(at)
        return await super().send(call, timeouts)


class Result(Struct):
    """What became of the requests of one trace under one policy. *served_at* are minutes from the start."""

    served: int = 0
    asked: int = 0
    refused: int = 0
    waits: list[float] = field(default_factory=list)
    scarce: int = 0
    served_at: Counter[int] = field(default_factory=Counter)
    by_kind: Counter[str] = field(default_factory=Counter)


async def before(world: World, clock: FakeClock, trace: Trace, folder: Path, wire: Wire | None = None) -> Inside:
    """A gateway before the sources of *trace*, with its settings."""
    own = folder / "own.toml"
    own.write_text(trace.own)
    gateway = Inside(world, clock, folder, wire=wire, FREEWAY_CONFIG=str(own))
    await gateway.look(*trace.sources)
    return gateway


async def of_policy(trace: Trace, policy: Policy, folder: Path, days: float = DAYS) -> Result:
    """The first *days* of *trace* under *policy*."""
    clock = FakeClock(START)
    world = World(clock, names=trace.sources)
    wire = Way(world, clock, trace)
    gateway = await before(world, clock, trace, folder, wire)
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
        await _quiet(lambda: gateway.writing or len(tasks) > gateway.engine.queue.waiting + wire.asleep)

    looked = START
    with patch("gateway.request.pipeline.plan", policy):
        for at, kind in trace.arrivals(random.Random(42), days):
            await _until(START + at, clock, settle)
            if clock() - looked > 1800:
                looked = clock()
                await gateway.look(*trace.sources)
            task = asyncio.create_task(ask(kind))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            await settle()
        await _until(START + days * DAY + WAIT, clock, settle)
        for task in tasks:
            task.cancel()  # they would wait for the third day
        await asyncio.gather(*tasks, return_exceptions=True)
        await _until(clock() + DAY, clock, settle)
    if max(result.waits, default=0.0) > WAIT + 1 + max(trace.seconds.values(), default=0.0):
        raise RuntimeError(f"a request was served after {max(result.waits):.0f} s: the clock jumped too far")
    result.refused = sum(provider.refused for provider in world.providers.values())
    return result


async def _quiet(busy: Callable[[], bool]) -> None:
    """Return when nothing is *busy* for some turns of the loop: who has just been told to sleep does so first."""
    turns = 0
    while turns < 3:
        await asyncio.sleep(0)
        turns = 0 if busy() else turns + 1


def _next_moment(clock: FakeClock) -> float:
    """The first at which a sleeper wakes up, or something was to be called."""
    sleepers = (at for at, woken in clock._sleepers if not woken.is_set())
    return min((*sleepers, *(timer.at for timer in clock._timers)), default=math.inf)


async def _until(moment: float, clock: FakeClock, settle: Callable[[], Any]) -> None:
    """Jump to *moment*, and on the way to every moment at which a sleeper wakes up."""
    while (due := _next_moment(clock)) < moment:
        clock.advance(max(0.0, due - clock()))
        for _ in range(3):
            await asyncio.sleep(0)
        await settle()
    clock.advance(max(0.0, moment - clock()))
    await settle()


def _scarce(gateway: Inside) -> set[str]:
    return {
        d.name
        for d in gateway.engine.view.catalog.deployments()
        if any(
            b.unit == "requests" and b.window_name == "day" and b.limit <= SCARCE and b.scope == "model"
            for b in d.buckets
        )
    }


# ── the report ──


async def main(arguments: list[str]) -> None:
    from tests.bench.optimum import optimum  # noqa: PLC0415 - scipy is there for the bench alone

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", nargs="*", help="names; none: all")
    parser.add_argument("--plots", type=Path, default=Path("bench-results/harvest"))
    parser.add_argument("--only", help="one policy")
    parser.add_argument(
        "--short", action="store_true", help="the first hours of the traces of waiting, by our own policy"
    )
    given = parser.parse_args(arguments)
    console, shares = Console(width=130), list[float]()
    days, given.only = (SHORT, "freeway") if given.short else (DAYS, given.only)
    for trace in TRACES:
        if (given.traces and trace.name not in given.traces) or (given.short and not trace.waits):
            continue
        with TemporaryDirectory() as folder:
            best = await optimum(trace, Path(folder), days)
        results = {}
        for name, policy in _policies().items():
            if given.only in (None, name):
                with TemporaryDirectory() as folder:
                    results[name] = await of_policy(trace, policy, Path(folder), days)
        console.print(_table(trace, best, results, days))
        if not trace.waits:
            shares.append(results[given.only or "freeway"].served / best)
        if not given.short:
            _plot(trace, best, results, given.plots)
    if shares:
        console.print(f"served / optimum: at least {min(shares):.2%}, on average {sum(shares) / len(shares):.2%}")


def avoidable(best: float, found: Result) -> int:
    """Requests that were refused though, of all that were asked, they could have been served."""
    return max(0, math.floor(best + 1e-6) - found.served)


def _table(trace: Trace, best: float, results: Mapping[str, Result], days: float) -> Table:
    asked = next(iter(results.values())).asked
    table = Table(title=f"{trace.name}: {asked:,} requests in {days:g} days, of which {best:,.0f} could be served")
    last = "avoidable refusals" if trace.waits else "scarce wasted"
    for heading in ("policy", "served", "of the optimum", "refused upstream", "wait p50, s", "p95, s", last):
        table.add_column(heading, justify="left" if heading == "policy" else "right")
    for name, found in results.items():
        cuts = quantiles(found.waits, n=100) if len(found.waits) > 1 else [0.0] * 99
        figures = (f"{found.served:,}", f"{found.served / best:.2%}", str(found.refused))
        last = str(avoidable(best, found) if trace.waits else found.scarce)
        table.add_row(name, *figures, f"{cuts[49]:.1f}", f"{cuts[94]:.1f}", last)
    return table


def _plot(trace: Trace, best: float, results: Mapping[str, Result], folder: Path) -> None:
    """Served so far, by policy, against the optimum of the whole."""
    import matplotlib as mpl  # noqa: PLC0415 - half a second, for those who want plots

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(9, 4.5))
    minutes = range(DAYS * 24 * 60)
    hours = [minute / 60 for minute in minutes]
    for name, found in results.items():
        total = list(itertools.accumulate(found.served_at[minute] for minute in minutes))
        axes.plot(hours, total, label=f"{name}: {found.served:,}", linewidth=2.2 if name == "freeway" else 1.1)
    axes.axhline(best, color="grey", linestyle="--", linewidth=1, label=f"optimum: {best:,.0f}")
    axes.set(xlabel="hours", ylabel="requests served", title=trace.name)
    axes.legend(loc="upper left", frameon=False)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{trace.name.replace(' ', '-')}.png", dpi=110, bbox_inches="tight")
    plt.close(figure)
