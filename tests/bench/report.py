"""From what the visits found to one number for each measure, whether those reach the bars, and how they are shown."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from tests.bench.contenders import AS_MESSAGES, AS_OLLAMA, AS_RESPONSES, BARE, DIRECT, FREEWAY, LITELLM, TENSORZERO
from tests.bench.measure import Figures, Plan


class Measure(Struct, frozen=True):
    """A column of the report. *heading* has two lines; *zero* is what direct calls take is taken off."""

    title: str
    heading: str
    of: Callable[[Figures], float | None]
    added: bool = False


def _percentile(values: Sequence[float], share: float) -> float | None:
    """Of sorted *values*, the smallest that *share* percent do not exceed."""
    return values[min(len(values) - 1, int(len(values) * share / 100))] if values else None


MEASURES = {
    "cpu_small": Measure("CPU ms a request", "CPU\nms", lambda f: f.cpu_small),
    "cpu_large": Measure("CPU ms a request of 35 KB", "35 KB\nms", lambda f: f.cpu_large),
    "cpu_chunks": Measure("CPU ms for 1000 chunks", "1000\nchunks", lambda f: f.cpu_chunks),
    "added_p50": Measure("added latency ms, p50", "p50\n+ms", lambda f: _percentile(f.latency, 50), added=True),
    "added_p99": Measure("added latency ms, p99", "p99\n+ms", lambda f: _percentile(f.latency, 99), added=True),
    "added_first_token": Measure(
        "added ms to first token", "token\n+ms", lambda f: _percentile(f.first_token, 50), added=True
    ),
    "peak_memory": Measure("peak memory MB", "peak\nMB", lambda f: f.peak_memory),
    "start": Measure("start to first answer s", "start\ns", lambda f: f.start),
    "start_empty": Measure("the same, nothing known", "empty\ns", lambda f: f.start_empty),
}

Summary = dict[str, float]
"""One contender in numbers, by measure; what was not measured is not there."""


class Bar(Struct, frozen=True):
    """*measure* is to be at most *factor* times that of *peer*; without a peer, at most *factor*."""

    measure: str
    factor: float
    peer: str | None = None
    aim: bool = False  # where we are heading; else a bar for the first release
    of: str = FREEWAY

    def __str__(self) -> str:
        if self.peer is None:
            bound = f"{self.factor:g}"
        elif self.factor < 1:
            bound = f"1/{1 / self.factor:g} of {self.peer}"
        else:
            bound = self.peer if self.factor == 1 else f"{self.factor:g} times {self.peer}"
        return f"{bound} (aim)" if self.aim else bound

    def bound(self, summaries: Mapping[str, Summary]) -> float | None:
        """In numbers; None if the peer was not measured."""
        if self.peer is None:
            return self.factor
        found = summaries.get(self.peer, {}).get(self.measure)
        return None if found is None else self.factor * found


SPOKEN = (AS_RESPONSES, AS_MESSAGES, AS_OLLAMA)
"""Freeway, asked in other APIs than chat completions."""

BARS = (
    Bar("cpu_small", 1 / 25, LITELLM),
    Bar("cpu_small", 2, TENSORZERO),
    Bar("cpu_small", 1, TENSORZERO, aim=True),
    Bar("cpu_chunks", 1.5, BARE),
    Bar("cpu_chunks", 1, TENSORZERO, aim=True),
    Bar("added_p50", 2, BARE),
    Bar("added_p50", 1, TENSORZERO, aim=True),
    Bar("added_first_token", 2, BARE),
    Bar("added_first_token", 1, TENSORZERO, aim=True),
    Bar("peak_memory", 110),
    Bar("peak_memory", 80, aim=True),
    Bar("start", 1.5),
    Bar("start", 0.6, aim=True),
    *(Bar(measure, 1.15, FREEWAY, of=name) for name in SPOKEN for measure in ("cpu_small", "cpu_large", "cpu_chunks")),
)


class Report(Struct):
    """One run. *titles* say what exactly each contender was, *left_out* why others have no figures."""

    at: str
    machine: str
    plan: Plan
    titles: dict[str, str]
    left_out: dict[str, str]
    remarks: list[str]
    figures: dict[str, list[Figures]]  # of each visit
    summaries: dict[str, Summary] = {}


def summarize(figures: Mapping[str, Iterable[Figures]]) -> dict[str, Summary]:
    """The best visit for each measure: whatever else a machine does adds to a figure and never takes from it."""
    best: dict[str, Summary] = {}
    for name, visits in figures.items():
        found = {key: [value for v in visits if (value := m.of(v)) is not None] for key, m in MEASURES.items()}
        best[name] = {key: min(values) for key, values in found.items() if values}
    direct = best.get(DIRECT, {})
    return {
        name: {
            key: value - direct[key] if MEASURES[key].added else value
            for key, value in summary.items()
            if not MEASURES[key].added or key in direct
        }
        for name, summary in best.items()
        if name != DIRECT
    }


def machine(load_before: float) -> str:
    """What it ran on; how busy that was before tells how far to trust it."""
    return (
        f"{platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}, "
        f"load before {load_before:.2f}"
    )


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
    if direct:
        took = [min(m.of(v) or 0.0 for v in direct) for m in MEASURES.values() if m.added]
        console.print(
            "Added: to direct calls, which took (ms) p50 {:.2f}, p99 {:.2f}, first token {:.2f}.".format(*took)
        )
    for name, title in report.titles.items():
        console.print(f"  {name}: {title}")
    if FREEWAY in report.summaries:
        console.print()
        console.print(_bars_table(report.summaries))
    for name, why in report.left_out.items():
        console.print(f"left out: {name}: {why}", markup=False)
    for remark in report.remarks:
        console.print(f"note: {remark}", markup=False)


def _figures_table(report: Report) -> Table:
    table = Table(title="One worker each, on one core", title_justify="left", padding=(0, 0, 0, 1))
    table.add_column("", no_wrap=True)
    for measure in MEASURES.values():
        table.add_column(measure.heading, justify="right")
    for name, summary in report.summaries.items():
        table.add_row(name, *(_number(summary.get(key)) for key in MEASURES))
    return table


def _bars_table(summaries: Mapping[str, Summary]) -> Table:
    table = Table(title="Bars", title_justify="left", padding=(0, 0, 0, 1))
    for title in ("", "at most"):
        table.add_column(title, no_wrap=True)
    for title in ("that is", "it is", ""):
        table.add_column(title, justify="right")
    for bar in BARS:
        if bar.of not in summaries:
            continue
        value, bound = summaries[bar.of].get(bar.measure), bar.bound(summaries)
        verdict = "[yellow]?[/]" if value is None or bound is None else "yes" if value <= bound else "[red]no[/]"
        title = MEASURES[bar.measure].title
        table.add_row(
            title if bar.of == FREEWAY else f"{bar.of}: {title}", str(bar), _number(bound), _number(value), verdict
        )
    return table


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}"


def line(figures: Figures) -> str:
    """What one visit found, nothing taken off, in one line."""
    found = {m.heading.replace("\n", " ").replace("+", ""): m.of(figures) for m in MEASURES.values()}
    return ", ".join(f"{heading} {_number(value)}" for heading, value in found.items() if value is not None)
