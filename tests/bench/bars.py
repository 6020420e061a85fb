"""From what the visits found to one number for each measure, and whether those reach the bars."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from msgspec import Struct

from tests.bench.contenders import BARE, DIRECT, FREEWAY, LITELLM, PINNED, TENSORZERO
from tests.bench.measure import Figures


class Summary(Struct):
    """One contender in numbers; None where it was not measured."""

    cpu_small: float | None = None
    cpu_large: float | None = None
    cpu_chunks: float | None = None
    added_p50: float | None = None
    added_p99: float | None = None
    added_first_token: float | None = None
    peak_memory: float | None = None
    start: float | None = None
    start_empty: float | None = None


TITLES = {
    "cpu_small": "CPU ms a request",
    "cpu_large": "CPU ms a request of 35 KB",
    "cpu_chunks": "CPU ms for 1000 chunks",
    "added_p50": "added latency ms, p50",
    "added_p99": "added latency ms, p99",
    "added_first_token": "added ms to first token",
    "peak_memory": "peak memory MB",
    "start": "start to first answer s",
    "start_empty": "the same, nothing known",
}


class Bar(Struct, frozen=True):
    """*measure* is to be at most *factor* times that of *peer*; without a peer, at most *factor*."""

    measure: str
    factor: float
    peer: str | None = None
    aim: bool = False  # where we are heading; else a bar for the first release

    def __str__(self) -> str:
        if self.peer is None:
            return f"{self.factor:g}"
        if self.factor < 1:
            return f"1/{1 / self.factor:g} of {self.peer}"
        return self.peer if self.factor == 1 else f"{self.factor:g} times {self.peer}"


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
)


class Verdict(Struct):
    """Whether *contender* reaches *bar*; None where it or the peer was not measured."""

    contender: str
    bar: Bar
    value: float | None
    bound: float | None
    reached: bool | None


def summarize(found: Mapping[str, Figures]) -> dict[str, Summary]:
    """One number for each measure: medians over the visits, percentiles over all requests."""
    direct = found.get(DIRECT, Figures())
    return {
        name: Summary(
            cpu_small=_median(figures.cpu_small),
            cpu_large=_median(figures.cpu_large),
            cpu_chunks=_median(figures.cpu_chunks),
            added_p50=_added(figures.latency, direct.latency, 50),
            added_p99=_added(figures.latency, direct.latency, 99),
            added_first_token=_added(figures.first_token, direct.first_token, 50),
            peak_memory=_median(figures.peak_memory),
            start=_median(figures.start),
            start_empty=_median(figures.start_empty),
        )
        for name, figures in found.items()
    }


def judge(summaries: Mapping[str, Summary]) -> list[Verdict]:
    """Every bar for every way of asking freeway."""
    return [_verdict(name, bar, summaries) for name in (FREEWAY, PINNED) if name in summaries for bar in BARS]


def _verdict(name: str, bar: Bar, summaries: Mapping[str, Summary]) -> Verdict:
    value = getattr(summaries[name], bar.measure)
    bound: float | None = bar.factor
    if bar.peer is not None:
        reference = getattr(summaries.get(bar.peer, Summary()), bar.measure)
        bound = None if reference is None else bar.factor * reference
    reached = None if value is None or bound is None else value <= bound
    return Verdict(name, bar, value, bound, reached)


def percentile(values: list[float], share: float) -> float:
    """The smallest of *values* that *share* percent do not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * share / 100))]


def _median(values: list[float]) -> float | None:
    return median(values) if values else None


def _added(values: list[float], direct: list[float], share: float) -> float | None:
    if not values or not direct:
        return None
    return percentile(values, share) - percentile(direct, share)
