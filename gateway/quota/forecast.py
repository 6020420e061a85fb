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
from collections.abc import Iterable, Mapping
from operator import attrgetter

from msgspec import Struct

from gateway.quota import buckets as b
from gateway.quota.buckets import Bucket, Level
from gateway.quota.calendars import Calendar, calendar_window
from gateway.quota.nouns import Cost

DAY = 86_400.0

_EPSILON = 1e-9


class Supply(Struct, frozen=True):
    """
    A deployment of *account* that could answer. An answer *takes* so much of each bucket that bounds it; none: nothing known does.
    Those of a lower *price* go first. *resets* are the calendars, with their zones, by which its buckets are reset.
    """

    account: str
    takes: tuple[tuple[Bucket, float], ...]
    price: tuple[float, float] = (0.0, 0.0)
    resets: frozenset[tuple[Calendar, str]] = frozenset()


def supply(account: str, buckets: Iterable[Bucket], cost: Cost) -> Supply:
    """A deployment of *account* with these *buckets*, where an answer of typical size has this *cost*."""
    takes = tuple((bucket, amount) for bucket in decisive(buckets) if (amount := cost.of(bucket.unit)) > 0)
    resets = frozenset((bucket.calendar, bucket.zone) for bucket, _ in takes if bucket.calendar is not None)
    return Supply(account, takes, (cost.dollars, cost.neurons), resets)


class Forecast(Struct, frozen=True):
    """
    So many *answers* are left until that moment, or, if it is None, for a day. The accounts *beyond* have deployments that nothing
    known bounds: their answers come on top.
    """

    answers: int
    until: float | None
    beyond: tuple[str, ...] = ()


class Outlook:
    """What can be told at the moment *now* by the *levels* of the buckets, by key; one that is missing was never touched."""

    def __init__(self, levels: Mapping[str, Level], now: float) -> None:
        self._levels, self._now = levels, now
        self._available: dict[tuple[str, float], float] = {}

    def forecast(self, supplies: Iterable[Supply]) -> Forecast:
        """What *supplies* can still give."""
        supplies = tuple(supplies)
        counted = [one for one in supplies if one.takes]
        beyond = {one.account for one in supplies if not one.takes}
        calendars = frozenset[tuple[Calendar, str]]().union(*(one.resets for one in counted))
        until = min((calendar_window(*one, self._now)[1] for one in calendars), default=math.inf)
        end = min(self._now + DAY, until)
        return Forecast(self._given_out(counted, end), until if end == until else None, tuple(sorted(beyond)))

    def _given_out(self, counted: list[Supply], end: float) -> int:
        """As many answers as there is room for: whole ones, for each deployment as many as what the others left it holds."""
        left: dict[str, float] = {}
        total = 0
        for one in sorted(counted, key=_price):
            rooms = []
            for bucket, amount in one.takes:
                room = left.get(bucket.key)
                if room is None:
                    room = left[bucket.key] = self._room(bucket, end)
                rooms.append(room / amount)
            if answers := math.floor(min(rooms) + _EPSILON):
                total += answers
                for bucket, amount in one.takes:
                    left[bucket.key] -= answers * amount
        return total

    def _room(self, bucket: Bucket, end: float) -> float:
        known = (bucket.key, end)
        found = self._available.get(known)
        if found is None:
            level = self._levels.get(bucket.key) or _UNTOUCHED
            found = self._available[known] = available(bucket, level, self._now, end)
        return found


_UNTOUCHED = Level()
_price = attrgetter("price")


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
