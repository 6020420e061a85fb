"""
The most requests of a trace that could have been served, had all of them been known beforehand: a linear program over
minutes, whose optimum no schedule exceeds.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_array

from gateway.quota.buckets import Bucket
from gateway.quota.calendars import calendar_window
from gateway.words import GatewayError
from providers.chat import Whole
from providers.simulator.world import World
from tests.bench.harvest_traces import before
from tests.bench.traces import DAY, DAYS, MINUTE, START, WAIT, Kind, Trace
from tests.clock import FakeClock
from tests.simulation.inside import Inside


async def optimum(trace: Trace, folder: Path, days: float = DAYS) -> float:
    """The most requests of the first *days* of *trace* that could be served, were all of them known beforehand."""
    clock = FakeClock(START)
    gateway = await before(World(clock, names=trace.sources), clock, trace, folder)
    demand: Counter[tuple[Kind, int]] = Counter()
    for at, kind in trace.arrivals(random.Random(42), days):
        demand[kind, int(at // MINUTE)] += 1
    able = {kind: await _able(gateway, kind, trace) for kind in trace.mix}
    return _solve(demand, able, trace)


async def _able(gateway: Inside, kind: Kind, trace: Trace) -> dict[str, tuple[tuple[Bucket, float], ...]]:
    """Who can serve *kind*, and what one such request takes there, by the provider's own count."""
    found: dict[str, tuple[tuple[Bucket, float], ...]] = {}
    for d in gateway.engine.view.catalog.deployments():
        if kind.model not in ("auto", d.model):
            continue
        gateway.clock.advance(4 * DAY)
        await gateway.look(*trace.sources)
        try:
            answer = await gateway.answer(d.name, **kind.fields())
        except GatewayError:
            continue
        whole = answer.reply.whole
        assert isinstance(whole, Whole)
        usage = whole.completion.usage
        assert usage is not None
        slow = d.provider.name in trace.seconds
        counted = [b for b in d.buckets if slow or b.unit != "in-flight"]
        found[d.name] = tuple((b, _amount(b, usage, kind)) for b in counted)
    return found


def _amount(bucket: Bucket, usage: Any, kind: Kind) -> float:
    output = max(usage.completion_tokens, kind.max_tokens) if bucket.keeps_output else usage.completion_tokens
    return {"requests": 1.0, "in-flight": 1.0, "prompt": usage.prompt_tokens, "tokens": usage.prompt_tokens + output}[
        bucket.unit
    ]


def _solve(demand: Mapping[tuple[Kind, int], int], able: Mapping[Kind, Mapping[str, Any]], trace: Trace) -> float:
    """
    Maximize what is served. A variable for each kind, minute of arrival, minute of service and deployment, but for the
    minutes in which its source fails. Slots begin no more in a minute than there is time for. A clock or
    rolling window holds no more than its limit in any aligned minute (hour, day); a bucket that refills no more than it
    was full at the start and what flowed in since, and no more than full in one go.
    """
    columns: list[tuple[Kind, int, int, str]] = [
        (kind, minute, minute + later, name)
        for kind, minute in demand
        for later in range(int(WAIT // MINUTE) + 1)
        for name in able[kind]
        if not trace.down(name.partition("/")[0], (minute + later) * MINUTE)
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
                data.append((row((bucket.key, _window(bucket, minute)), _limit(bucket, trace)), column, amount))
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


def _limit(bucket: Bucket, trace: Trace) -> float:
    """What a window holds; of slots, how often an answer may begin in a minute."""
    if bucket.unit != "in-flight":
        return bucket.limit
    return trace.slots[bucket.account] * math.ceil(MINUTE / trace.seconds[bucket.account])


def _window(bucket: Bucket, minute: int) -> Any:
    """Which of its windows a minute belongs to."""
    if bucket.unit == "in-flight":
        return minute
    at = START + minute * MINUTE
    if bucket.calendar is not None:
        return calendar_window(bucket.calendar, bucket.zone, at)
    return int(at // bucket.period)
