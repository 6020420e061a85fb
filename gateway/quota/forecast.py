"""
How many more answers are left before quotas open again: by the levels of the buckets, each shared one counted once. Pure.

The forecast ends when the first calendar quota that counts is reset, and no later than a day from now. Of a deployment with a window
of a day or longer only such windows count; of one with shorter windows alone those do, with what they give until then. Calls in
flight bound nothing here.

The answers are given out to one deployment after the other, the cheapest first where money or neurons are counted. So as many are
told as can really be had; and no more could be, where buckets lie in each other (those of a model within those of its account) and
no more than one of them counts what differs from model to model. That holds for every provider in ``config/``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from gateway.quota import buckets as b
from gateway.quota.buckets import Bucket, Level
from gateway.quota.nouns import Cost

DAY = 86_400.0

_EPSILON = 1e-9


class Supply(Struct, frozen=True):
    """A deployment of *account* that could answer: its *buckets*, and what an answer of typical size takes of them."""

    account: str
    buckets: tuple[Bucket, ...]
    cost: Cost


class Forecast(Struct, frozen=True):
    """
    So many *answers* are left until that moment, or, if it is None, for a day. The accounts *beyond* have deployments that nothing
    known bounds: their answers come on top.
    """

    answers: int
    until: float | None
    beyond: tuple[str, ...] = ()


def forecast(supplies: Sequence[Supply], levels: Mapping[str, Level], now: float) -> Forecast:
    """What *supplies* can still give, by the *levels* of their buckets, by key; one that is missing was never touched."""
    counted, beyond = [], set()
    for supply in supplies:
        buckets = decisive(supply.buckets)
        if any(supply.cost.of(bucket.unit) > 0 for bucket in buckets):
            counted.append((supply, buckets))
        else:
            beyond.add(supply.account)
    known = {bucket.key: bucket for _, buckets in counted for bucket in buckets}
    until = min((b.window_end(one, now) for one in known.values() if one.calendar is not None), default=math.inf)
    end = min(now + DAY, until)
    left = {key: available(bucket, levels.get(key) or Level(), now, end) for key, bucket in known.items()}
    return Forecast(_given_out(counted, left), until if end == until else None, tuple(sorted(beyond)))


def decisive(buckets: Iterable[Bucket]) -> tuple[Bucket, ...]:
    """Those of *buckets* that bound how many answers a day brings."""
    timed = [bucket for bucket in buckets if bucket.window != "in-flight"]
    long = [bucket for bucket in timed if b.window_length(bucket) >= DAY]
    return tuple(long or timed)


def available(bucket: Bucket, level: Level, now: float, end: float) -> float:
    """What can be taken of *bucket* from *now* to *end*, which is no later than its calendar's reset, if it is taken as it comes."""
    limit, begins = b.limit_of(bucket, level, now), max(now, level.closed_until)
    if begins >= end:
        return 0.0
    level = b.copy_of(level)
    b.roll(bucket, level, begins)
    free = max(0.0, limit - b.used(bucket, level))
    match bucket.window:
        case "refill":
            return free + (end - begins) * limit / bucket.period
        case "rolling":
            whole, rest = divmod(end - begins, bucket.period)
            back = sum(amount for number, amount in level.slots if b.leaves_at(bucket, number) < begins + rest)
            return whole * limit + (min(limit, free + back) if rest else 0.0)
        case "clock":
            windows = math.ceil(end / bucket.period) - math.floor(begins / bucket.period)
            return free + (windows - 1) * limit
        case "calendar":
            return free
        case "in-flight":
            return math.inf


def _given_out(counted: Iterable[tuple[Supply, tuple[Bucket, ...]]], left: dict[str, float]) -> int:
    """As many answers as there is room for: whole ones, for each deployment as many as what the others left it holds."""
    total = 0
    for supply, buckets in sorted(counted, key=lambda one: (one[0].cost.dollars, one[0].cost.neurons)):
        takes = [(bucket.key, amount) for bucket in buckets if (amount := supply.cost.of(bucket.unit)) > 0]
        answers = math.floor(min(left[key] / amount for key, amount in takes) + _EPSILON)
        for key, amount in takes:
            left[key] -= answers * amount
        total += answers
    return total
