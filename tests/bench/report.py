"""The tables on the terminal, and the file with everything that was found."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from tests.bench.bars import TITLES, Summary, Verdict, percentile
from tests.bench.contenders import DIRECT
from tests.bench.measure import Figures, Plan

_HEADINGS = (
    "CPU\nms", "35 KB\nms", "1000\nchunks", "p50\n+ms", "p99\n+ms", "token\n+ms", "peak\nMB", "start\ns", "empty\ns",
)  # fmt: skip
"""Short for bars.TITLES, in their order."""


class Report(Struct):
    """One run. *titles* say what exactly each contender was, *left_out* and *failed* why others have no figures."""

    at: str
    machine: str
    quick: bool
    plan: Plan
    titles: dict[str, str]
    summaries: dict[str, Summary]
    verdicts: list[Verdict]
    left_out: dict[str, str]
    failed: dict[str, str]
    figures: dict[str, Figures]


def machine(load_before: float) -> str:
    """What it ran on; how busy that was before tells how far to trust it."""
    return f"{platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}, load before {load_before:.2f}"


def save(report: Report, folder: Path) -> Path:
    """Write *report* to a file of its own in *folder*."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{datetime.fromisoformat(report.at):%Y-%m-%d-%H%M%S}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    return path


def show(report: Report, console: Console) -> None:
    """Print *report*."""
    console.print()
    console.print(_figures_table(report))
    console.print(f"CPU of the whole process tree, user and system. {report.machine}.")
    direct = report.figures.get(DIRECT)
    if direct is not None and direct.latency:
        console.print(
            f"Added: to direct calls, which took (ms) p50 {percentile(direct.latency, 50):.2f}, "
            f"p99 {percentile(direct.latency, 99):.2f}, first token {percentile(direct.first_token, 50):.2f}."
        )
    for name, title in report.titles.items():
        console.print(f"  {name}: {title}{_remark(report.figures.get(name))}")
    if report.verdicts:
        console.print()
        console.print(_verdict_table(report.verdicts))
    for name, why in report.left_out.items():
        console.print(f"[yellow]left out[/]: {name}: {why}", highlight=False)
    for name, why in report.failed.items():
        console.print(f"[red]failed[/]: {name}: {why}", highlight=False)
    if report.quick:
        console.print("A quick run: few requests, one round. Figures are rough, peak memory is after fewer requests.")


def _figures_table(report: Report) -> Table:
    table = Table(title="One worker each, on one core", title_justify="left", padding=(0, 0, 0, 1))
    table.add_column("", no_wrap=True)
    for title in _HEADINGS:
        table.add_column(title, justify="right")
    for name, summary in report.summaries.items():
        table.add_row(name, *(_number(getattr(summary, measure)) for measure in TITLES))
    return table


def _verdict_table(verdicts: list[Verdict]) -> Table:
    """A row for each bar, a column for each way of asking freeway."""
    names = list(dict.fromkeys(verdict.contender for verdict in verdicts))
    table = Table(title="Bars", title_justify="left", padding=(0, 0, 0, 1))
    for title in ("at most", ""):
        table.add_column(title)
    for title in ("that is", *names):
        table.add_column(title, justify="right")
    for bar in dict.fromkeys(verdict.bar for verdict in verdicts):
        row = [verdict for verdict in verdicts if verdict.bar == bar]
        at_most = f"{bar}{', our aim' if bar.aim else ''}"
        table.add_row(TITLES[bar.measure], at_most, _number(row[0].bound), *map(_found, row))
    return table


def _found(verdict: Verdict) -> str:
    mark = {True: "[green]yes[/]", False: "[red]no[/]", None: "[yellow]not measured[/]"}[verdict.reached]
    return f"{_number(verdict.value)} {mark}"


def _remark(figures: Figures | None) -> str:
    """What a reader must know of *figures*: answers that took more than one call upstream were repaired ones."""
    if figures is None or not figures.asked_upstream or max(figures.asked_upstream) == 1.0:
        return ""
    return f" ({max(figures.asked_upstream):.3f} upstream calls a request)"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}"


def progress(console: Console, name: str, figures: Mapping[str, Figures]) -> None:
    """One line on what the last visit found."""
    found = figures[name]
    parts = [
        f"{title} {_number(values[-1])}"
        for title, values in (
            ("start s", found.start),
            ("CPU ms a request", found.cpu_small),
            ("35 KB", found.cpu_large),
            ("1000 chunks", found.cpu_chunks),
            ("peak MB", found.peak_memory),
        )
        if values
    ]
    parts.append(f"p50 ms {_number(percentile(found.latency, 50))}")
    console.print("    " + ", ".join(parts))
