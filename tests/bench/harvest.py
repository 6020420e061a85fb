"""
``python -m tests.bench.harvest``: what the gateway makes of a world that shares none of its assumptions. See
docs/harvest.md.

The whole application before the providers and callers of ``tests/world``, on a clock that jumps from event to event;
beside it simple policies, and the most that could have been answered. Ends with status 1 where an answer was wrong or a
refusal could have been avoided by counting.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from statistics import mean

import msgspec
from msgspec import structs
from rich.console import Console
from rich.table import Table

from tests.bench import harvest_traces
from tests.bench.harvest_gateway import Gateway
from tests.bench.harvest_replicas import Replicas
from tests.world.report import Summary, summary
from tests.world.run import run
from tests.world.scenarios import SCENARIOS, Scenario
from tests.world.subjects import SIMPLE, Subject

OURS = "freeway"
SEEDS = (1, 2, 3)
RESULTS = Path("bench-results/harvest")

SHORT_MINUTES = 7.0
SHORT = ("calm", "outage", "machine")
"""What the short form runs, with the first seed: less than a minute."""


def _made(subject: str, scenario: Scenario) -> Callable[[], Subject]:
    if subject == OURS:
        kind = Replicas if scenario.replicas > 1 else Gateway
        return lambda: kind(resumes=scenario.resumes, replicas=scenario.replicas)
    return SIMPLE[subject]


def one(name: str, subject: str, seed: int, minutes: float | None, plots: Path | None) -> Summary:
    """One scenario with one subject and seed."""
    scenario = SCENARIOS[name]
    random.seed(seed)  # by which lists are looked at a little sooner or later
    began = time.monotonic()
    ran = run(scenario, _made(subject, scenario), subject, seed, minutes)
    found = summary(ran, 0.0)
    seconds, right = time.monotonic() - began, found.verdicts["right"]
    said = f"{name}, {subject}, seed {seed}: {right:,} of {found.asked:,} right, in {seconds:.0f} s"
    Console(stderr=True).print(said, highlight=False)
    if plots is not None and subject == OURS:
        from tests.world.plots import plot  # noqa: PLC0415 - matplotlib is there for the bench alone

        plot(ran, found, plots / f"{name.replace(' ', '-')}-{seed}.png")
    return found


def best(name: str, seed: int, minutes: float | None) -> tuple[float, float]:
    """The optimum of one scenario and seed, and that without knowing how long answers will be, where that matters."""
    from tests.world.optimum import optimum  # noqa: PLC0415 - scipy is there for the bench alone

    scenario = SCENARIOS[name]
    blind = optimum(scenario, seed, minutes, foreseen=False) if scenario.unforeseen else 0.0
    return optimum(scenario, seed, minutes), blind


def measured(given: argparse.Namespace) -> list[Summary]:
    """All that was asked for, on all cores."""
    plots = None if given.short else given.results
    with ProcessPoolExecutor(given.jobs) as pool:
        optima, ran = {}, []
        for name, seed in product(given.scenarios, given.seeds):
            optima[name, seed] = pool.submit(best, name, seed, given.minutes)
            ran += [pool.submit(one, name, subject, seed, given.minutes, plots) for subject in given.subjects]
        found = [running.result() for running in ran]
        most = {key: running.result() for key, running in optima.items()}
        return [_beside(one, *most[one.scenario, one.seed]) for one in found]


def _beside(one: Summary, optimum: float, unforeseen: float) -> Summary:
    return structs.replace(one, optimum=optimum, unforeseen=unforeseen)


# ── what is printed ──


def _table(found: list[Summary]) -> Table:
    table = Table(title="answered rightly, of what could have been (the mean of all seeds; each seed)")
    for heading in ("scenario", "subject"):
        table.add_column(heading)
    for heading in ("share", "bar", "unforeseen", "seeds", "asked", "best", "late", "refused", "cut", "wrong"):
        table.add_column(heading, justify="right")
    for heading in ("avoidable 429s", "wasted/answer", "p50 s", "p95 s"):
        table.add_column(heading, justify="right")
    for name in dict.fromkeys(one.scenario for one in found):
        for subject in dict.fromkeys(one.subject for one in found):
            own = [one for one in found if (one.scenario, one.subject) == (name, subject)]
            if own:
                table.add_row(name, subject, *_figures(name, subject, own))
        table.add_section()
    return table


def _figures(name: str, subject: str, own: list[Summary]) -> list[str]:
    bar = SCENARIOS[name].bar
    share = mean(one.share for one in own)
    mark = "" if subject != OURS else ("[green]" if share >= bar else "[red]")
    lost = (f"{mean(one.verdicts[verdict] for one in own):.0f}" for verdict in ("late", "refused", "cut"))
    return [
        f"{mark}{share:.3f}",
        f"{bar:.2f}" if subject == OURS else "",
        f"{mean(one.share_unforeseen for one in own):.3f}" if SCENARIOS[name].unforeseen else "",
        " ".join(f"{one.share:.3f}" for one in own),
        f"{mean(one.asked for one in own):.0f}",
        f"{mean(one.optimum for one in own):.0f}",
        *lost,
        f"{sum(one.wrong for one in own)}",
        f"{sum(sum(one.avoidable.values()) for one in own)}",
        f"{mean(one.wasted for one in own):.3f}",
        f"{mean(one.p50 for one in own):.1f}",
        f"{mean(one.p95 for one in own):.1f}",
    ]


def causes(found: list[Summary]) -> Table:
    """Where ours lost, by scenario and cause, and what it was refused needlessly."""
    table = Table(title=f"what {OURS} lost, by cause (all seeds)")
    for heading in ("scenario", "lost", "cause"):
        table.add_column(heading, justify="right" if heading == "lost" else "left")
    for name in dict.fromkeys(one.scenario for one in found):
        own = [one for one in found if (one.scenario, one.subject) == (name, OURS)]
        for cause, lost in _total(one.causes for one in own).most_common(8):
            table.add_row(name, str(lost), cause)
        for cause, times in _total(one.avoidable for one in own).most_common():
            table.add_row(name, str(times), f"refused needlessly by {cause}")
        for idle, times in _total(one.idle for one in own).most_common(3):
            table.add_row(name, str(times), f"meanwhile {idle} had room")
        table.add_section()
    return table


def _total(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total = Counter[str]()
    for count in counts:
        total.update(count)
    return total


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", help=f"of {', '.join(SCENARIOS)}; none: all")
    parser.add_argument("--traces", action="store_true", help="the traces of two days in our own simulators, instead")
    parser.add_argument("--short", action="store_true", help="a few minutes of some scenarios, one seed, ours alone")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--subjects", nargs="+", default=[OURS, *SIMPLE], help=f"of {', '.join([OURS, *SIMPLE])}")
    parser.add_argument("--minutes", type=float, help="of each scenario; none: as long as it is")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where plots and figures go")
    return parser


def main(arguments: list[str]) -> int:
    """The command; returns its status."""
    if "--traces" in arguments:
        asyncio.run(harvest_traces.main([one for one in arguments if one != "--traces"]))
        return 0
    given = _options().parse_args(arguments)
    if given.short:
        given.seeds, given.subjects, given.minutes = [SEEDS[0]], [OURS], SHORT_MINUTES
    given.scenarios = given.scenarios or list(SHORT if given.short else SCENARIOS)
    found = measured(given)
    console = Console(width=170)
    console.print(_table(found), causes(found))
    given.results.mkdir(parents=True, exist_ok=True)
    (given.results / "summaries.json").write_bytes(msgspec.json.encode(found))
    ours = [one for one in found if one.subject == OURS]
    wrong, avoidable = sum(one.wrong for one in ours), sum(sum(one.avoidable.values()) for one in ours)
    if wrong or avoidable:
        console.print(f"[red]{wrong} wrong answers and {avoidable} avoidable refusals; neither may be")
    return int(bool(wrong or avoidable))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
