"""
The most requests that could have been answered rightly, had everything been known beforehand: a linear program whose
optimum no schedule exceeds.

A variable for each request, deployment and span of time in which its answer could have begun: late enough to have been
asked, early enough for its caller still to be there, and not while the deployment was in trouble. Limits hold in each
window that is aligned to the spans, which is never more than what the provider itself holds; answers in flight take no more
time than there was.

How long each answer will be is told to no gateway. What one could reach that knows all the rest is the same program with
answers that all take as long as their kind does in the mean: by Wald's equation no policy has more of them, on average, than
there is time for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import mean

import numpy as np
from msgspec import Struct
from scipy.optimize import linprog
from scipy.sparse import coo_array, csc_array

from tests.world import truth
from tests.world.callers import Asking
from tests.world.machine import Machine
from tests.world.models import Draw, Model, draw
from tests.world.quotas import Limit, window_of
from tests.world.scenarios import Scenario
from tests.world.sources import Source
from tests.world.subjects import asked_of

SPAN = 30.0
"""Seconds of a span."""

_WINDOWS = (2, 10, 40)
"""Over how many spans what is in flight is looked at."""


class _Way(Struct, frozen=True):
    """One way to answer a request: begin with *model* in *span*, and take it for *seconds*."""

    asking: int
    source: Source
    model: Model
    span: int
    seconds: float
    output: int
    prompt: int


def optimum(scenario: Scenario, seed: int, minutes: float | None = None, *, foreseen: bool = True) -> float:
    """
    The most that could have been answered in *scenario* with *seed*. *foreseen*: it is known beforehand how long each answer
    takes.
    """
    seconds = (minutes or scenario.minutes) * 60.0
    sources = scenario.sources()
    for source in sources:
        source.open(seed, scenario.begin)
    asked = list(scenario.load.requests(seed, seconds))
    ways = [
        way for number, asking in enumerate(asked) for way in _ways(number, asking, sources, seed, foreseen=foreseen)
    ]
    return _solve(ways, scenario.begin, seconds)


def _takes(model: Model, asking: Asking, seed: int, *, foreseen: bool) -> Draw:
    """How long *model* takes for *asking*; not *foreseen*: for the like of it, in the mean."""
    short = asking.kind.tools or asking.kind.schema
    if foreseen:
        return draw(seed, model, asking.tag, 5 if short else asking.words)
    first = model.first * math.exp(model.spread**2 / 2)
    visible = first + model.thinks / model.pace
    words = 5 if short else round(mean(asking.kind.words))
    return Draw(first, visible, visible + truth.output_tokens(words) / model.pace)


def _ways(number: int, asking: Asking, sources: list[Source], seed: int, *, foreseen: bool) -> Iterator[_Way]:
    kind = asking.kind
    prompt = asked_of(asking.body()).prompt_tokens
    for source in sources:
        for model in source.models.values():
            if not kind.needs <= model.can or model.gone or (kind.no_train and model.trains) or prompt > model.context:
                continue
            drawn = _takes(model, asking, seed, foreseen=foreseen)
            latest = asking.at + asking.patience - (drawn.visible if asking.stream else drawn.whole)
            output = model.thinks + int((drawn.whole - drawn.visible) * model.pace)
            for span in range(int(asking.at // SPAN), int(latest // SPAN) + 1):
                begin, end = max(asking.at, span * SPAN), min(latest, (span + 1) * SPAN)
                if begin <= end and _works(source, model, begin, end):
                    yield _Way(number, source, model, span, drawn.whole, output, prompt)


def _works(source: Source, model: Model, begin: float, end: float) -> bool:
    """Whether there was a moment in between at which *model* was in no trouble."""
    troubles = [fault for fault in source.faults if fault.kind != "breaks" and fault.holds(fault.begin, model.id)]
    moments = [begin, end, *(min(max(fault.end, begin), end) for fault in troubles)]
    return any(not any(fault.holds(at, model.id) for fault in troubles) for at in moments)


class _Program:
    """Rows of the linear program, by what they bound, and its columns: *ways* of which no two take the same of all rows."""

    def __init__(self) -> None:
        self.rows: dict[object, int] = {}
        self.bounds: list[float] = []
        self.ways: list[_Way] = []
        self.entries: list[tuple[int, int, float]] = []
        self._seen = set[tuple[tuple[int, float], ...]]()

    def row(self, key: object, bound: float) -> int:
        if key not in self.rows:
            self.rows[key] = len(self.bounds)
            self.bounds.append(bound)
        return self.rows[key]

    def add(self, way: _Way, takes: tuple[tuple[int, float], ...]) -> None:
        """*way* takes of each row so much; another of the same request that takes the same is no other choice."""
        if takes in self._seen:
            return
        self._seen.add(takes)
        self.entries += [(row, len(self.ways), amount) for row, amount in takes]
        self.ways.append(way)


def _program(ways: list[_Way], begin: float, seconds: float) -> _Program:
    """What bounds *ways*: a row for each request, window and span of what is in flight."""
    program = _Program()
    longest: dict[str, float] = {}
    for way in ways:
        for name, _ in _slots(way.source, way.model):
            longest[name] = max(longest.get(name, 0.0), way.seconds)
    for way in ways:
        takes = _takes_of(way, longest, begin, seconds)
        program.add(way, tuple((program.row(key, bound), amount) for key, bound, amount in takes))
    return program


def _takes_of(
    way: _Way, longest: dict[str, float], begin: float, seconds: float
) -> Iterator[tuple[object, float, float]]:
    """Of which rows *way* takes how much: a key, the row's bound, and the amount."""
    yield way.asking, 1.0, 1.0
    for counter in way.source.counters[way.model.id]:
        cost = _cost(counter.limit, way)
        for key, bound in _windows(counter.limit, way.span, begin, seconds):
            yield (counter.key, counter.limit, key), bound, cost
    for name, at_once in _slots(way.source, way.model):
        for spans in _WINDOWS:
            bound = at_once * (spans * SPAN + longest[name])
            yield (name, "in flight", spans, way.span // spans), bound, way.seconds


def _solve(ways: list[_Way], begin: float, seconds: float) -> float:
    if not ways:
        return 0.0
    program = _program(ways, begin, seconds)
    row, column_of, value = (np.array(part) for part in zip(*program.entries, strict=True))
    columns = len(program.ways)
    matrix = coo_array((value, (row, column_of)), shape=(len(program.bounds), columns)).tocsr()
    bounds = np.array(program.bounds)
    most = len({way.asking for way in program.ways})
    if _in_turn(program.ways, matrix.tocsc(), bounds) == most:
        return float(most)
    # None exceeds the row of its request, which is 1.
    found = linprog(-np.ones(columns), A_ub=matrix, b_ub=bounds, method="highs-ipm")
    if not found.success:
        raise RuntimeError(found.message)
    return float(-found.fun)


def _in_turn(ways: list[_Way], matrix: csc_array, bounds: np.ndarray) -> int:
    """
    How many find room within the rows if each in turn takes the way that leaves most. Where all do, that is the optimum.
    """
    left, served, at = bounds.copy(), 0, 0
    while at < len(ways):
        end = at
        while end < len(ways) and ways[end].asking == ways[at].asking:
            end += 1
        best, best_left = -1, -1.0
        for column in range(at, end):
            span = slice(matrix.indptr[column], matrix.indptr[column + 1])
            rows, amounts = matrix.indices[span], matrix.data[span]
            after = float(
                np.min((left[rows] - amounts) / (bounds[rows] + (amounts == 1.0) * (bounds[rows] == 1.0) * 1e9))
            )
            if np.all(left[rows] >= amounts) and after > best_left:
                best, best_left = column, after
        if best < 0:
            return served
        span = slice(matrix.indptr[best], matrix.indptr[best + 1])
        left[matrix.indices[span]] -= matrix.data[span]
        served, at = served + 1, end
    return served


def _slots(source: Source, model: Model) -> Iterator[tuple[str, int]]:
    if isinstance(source, Machine):
        yield source.name, source.parallel
    elif source.at_once is not None:
        yield source.name, source.at_once
    if model.slots is not None:
        yield f"{source.name}/{model.id}", model.slots


def _cost(limit: Limit, way: _Way) -> float:
    match limit.unit:
        case "requests":
            return 1.0
        case "prompt":
            return float(way.prompt)
        case "tokens":
            return float(way.prompt + way.output)
        case _:
            return (way.prompt * way.model.price[0] + way.output * way.model.price[1]) / 1e6


def _windows(limit: Limit, span: int, begin: float, seconds: float) -> Iterator[tuple[object, float]]:
    """The windows of *limit* that *span* lies in, and what each holds."""
    at = begin + span * SPAN
    match limit.window:
        case "rolling":
            yield int(at // limit.seconds), limit.amount
        case "refill":
            flow = limit.amount / limit.seconds
            for length in (60.0, 600.0, 3600.0):
                yield ("within", length, int(span * SPAN // length)), limit.amount + flow * length
            for end in range(600, math.ceil(seconds) + 700, 600):
                if span * SPAN < end:
                    yield ("until", end), limit.amount - limit.used + flow * end
        case _:
            first, _ = window_of(limit, at)
            yield first, limit.amount - (limit.used if first <= begin else 0.0)
