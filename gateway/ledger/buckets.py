"""
Buckets: what a request debits, and when there is room again. Pure arithmetic on a bucket, its level and a moment.

A *bucket* is the rule (frozen, from configuration), a *level* is its state (small, stored). No function here asks for
the time or touches a store; moments are unix seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

Unit = Literal["requests", "prompt", "tokens", "dollars", "neurons", "in-flight"]
Window = Literal["rolling", "clock", "refill", "calendar", "in-flight"]

_SLOTS = 100
"""A rolling window is kept in this many slots. A debit leaves the window when its whole slot has: up to 1 % late."""

_EPSILON = 1e-9


class Bucket(Struct, frozen=True, kw_only=True):
    """
    One counter that requests debit.

    *key* is its identity in the store. *period* is in seconds; calendar windows have *calendar* (``day`` or ``month``)
    in *zone* instead. *window_name* is the provider's word for the period.
    """

    key: str
    unit: Unit
    limit: float
    window: Window
    period: float = 0.0
    window_name: str = ""
    calendar: Literal["day", "month"] | None = None
    zone: str = "UTC"
    counts_refused: bool = False
    keeps_output: bool = False
    source: str = "configured"


class Level(Struct, kw_only=True, omit_defaults=True):
    """
    The state of a bucket.

    *used* and *since* belong to clock and calendar windows (*since* is where the window began) and to refilling ones
    (*since* is when *used* was last true). *slots* are ``[start, amount]`` of a rolling window. *leases* are
    ``{reservation: expires_at}`` of what is in flight. *limit* overrides the configured one until *limit_until*.
    """

    used: float = 0.0
    since: float = 0.0
    slots: list[tuple[float, float]] = []
    leases: dict[str, float] = {}
    closed_until: float = 0.0
    closed_because: str = ""
    limit: float | None = None
    limit_until: float = 0.0
    limit_source: str = ""


def limit_of(bucket: Bucket, level: Level, now: float) -> float:
    """The limit in force: what was learned while it is fresh, else what is configured."""
    return level.limit if level.limit is not None and now < level.limit_until else bucket.limit


def roll(bucket: Bucket, level: Level, now: float) -> None:
    """Let time pass: forget what has left the window."""
    match bucket.window:
        case "clock" | "calendar":
            start = window_start(bucket, now)
            if level.since < start:
                level.used, level.since = 0.0, start
        case "refill":
            gone = max(0.0, now - level.since)
            level.used = max(0.0, level.used - gone * limit_of(bucket, level, now) / bucket.period)
            level.since = max(level.since, now)
        case "rolling":
            if level.slots and level.slots[0][0] + _slot(bucket) + bucket.period <= now:
                level.slots = [s for s in level.slots if s[0] + _slot(bucket) + bucket.period > now]
        case "in-flight":
            if level.leases:
                level.leases = {lease: until for lease, until in level.leases.items() if until > now}


def used(bucket: Bucket, level: Level) -> float:
    """What is debited in the current window, as of the last roll."""
    match bucket.window:
        case "rolling":
            return math.fsum(amount for _, amount in level.slots)
        case "in-flight":
            return float(len(level.leases))
        case _:
            return level.used


def opens_at(bucket: Bucket, level: Level, amount: float, now: float) -> float:
    """
    The earliest moment at which *amount* fits: *now* if it fits already, infinity if it never will.

    The level must have been rolled to *now*.
    """
    limit = limit_of(bucket, level, now)
    if amount > limit + _EPSILON:
        return math.inf
    earliest = max(now, level.closed_until)
    excess = used(bucket, level) + amount - limit
    if excess <= _EPSILON:
        return earliest
    match bucket.window:
        case "clock" | "calendar":
            return max(earliest, window_end(bucket, now))
        case "refill":
            return max(earliest, now + excess * bucket.period / limit)
        case "rolling":
            for start, debited in level.slots:
                excess -= debited
                if excess <= _EPSILON:
                    return max(earliest, start + _slot(bucket) + bucket.period)
            return max(earliest, now + bucket.period)
        case "in-flight":
            return max(earliest, min(level.leases.values(), default=now))


def debit(bucket: Bucket, level: Level, amount: float, now: float, lease: tuple[str, float]) -> None:
    """Take *amount*. *lease* is the reservation and when it expires, for what counts in flight."""
    match bucket.window:
        case "rolling":
            start = math.floor(now / _slot(bucket)) * _slot(bucket)
            if level.slots and level.slots[-1][0] >= start:
                last, before = level.slots[-1]
                level.slots = [*level.slots[:-1], (last, before + amount)]
            else:
                level.slots = [*level.slots, (start, amount)]
        case "in-flight":
            level.leases = {**level.leases, lease[0]: lease[1]}
        case _:
            level.used += amount


def correct(bucket: Bucket, level: Level, amount: float, at: float, lease: str) -> None:
    """
    Change by *amount* (usually negative) a debit that was made *at* that moment, if it is still in the window.

    For what counts in flight, the lease ends, whatever the amount.
    """
    match bucket.window:
        case "rolling":
            start = math.floor(at / _slot(bucket)) * _slot(bucket)
            for place in range(len(level.slots) - 1, -1, -1):
                began, debited = level.slots[place]
                if began <= start:
                    level.slots = [*level.slots[:place], (began, max(0.0, debited + amount)), *level.slots[place + 1 :]]
                    return
        case "in-flight":
            level.leases = {other: until for other, until in level.leases.items() if other != lease}
        case "refill":
            level.used = max(0.0, level.used + amount)
        case _:
            if level.since <= at:
                level.used = max(0.0, level.used + amount)


def set_used(bucket: Bucket, level: Level, amount: float, now: float) -> None:
    """Make the level say what the provider says; *amount* is used now. Rolled to *now* beforehand."""
    match bucket.window:
        case "rolling":
            if amount > used(bucket, level):
                debit(bucket, level, amount - used(bucket, level), now, ("", 0.0))
            elif amount < used(bucket, level):
                level.slots = _newest(level.slots, amount)
        case "in-flight":
            pass
        case _:
            level.used = amount


def refilled_at(bucket: Bucket, level: Level, now: float) -> float:
    """When all of the bucket is there again: the end of its window, for people."""
    match bucket.window:
        case "clock" | "calendar":
            return window_end(bucket, now)
        case "refill":
            return now + level.used * bucket.period / max(limit_of(bucket, level, now), _EPSILON)
        case "rolling":
            return level.slots[-1][0] + _slot(bucket) + bucket.period if level.slots else now
        case "in-flight":
            return max(level.leases.values(), default=now)


def reopens_at(bucket: Bucket, now: float) -> float:
    """When a bucket that turned out to be used up has room again, as far as its kind of window tells."""
    match bucket.window:
        case "clock" | "calendar":
            return window_end(bucket, now)
        case "refill":
            return now + bucket.period / bucket.limit
        case "rolling":
            return now + bucket.period
        case "in-flight":
            return now + 1.0


def window_start(bucket: Bucket, now: float) -> float:
    """Where the clock or calendar window that holds *now* began."""
    if bucket.calendar is None:
        return math.floor(now / bucket.period) * bucket.period
    return _calendar_start(bucket, now).timestamp()


def window_end(bucket: Bucket, now: float) -> float:
    """Where the next clock or calendar window begins. Days of 23 and 25 hours are as long as they are."""
    if bucket.calendar is None:
        return window_start(bucket, now) + bucket.period
    start = _calendar_start(bucket, now)
    if bucket.calendar == "month":
        return (start + timedelta(days=32)).replace(day=1).timestamp()
    return (start + timedelta(days=1)).timestamp()  # wall-clock arithmetic: zoneinfo keeps the local midnight


def _calendar_start(bucket: Bucket, now: float) -> datetime:
    start = datetime.fromtimestamp(now, ZoneInfo(bucket.zone)).replace(
        hour=0, minute=0, second=0, microsecond=0, fold=0
    )
    return start.replace(day=1) if bucket.calendar == "month" else start


def _slot(bucket: Bucket) -> float:
    return bucket.period / _SLOTS


def _newest(slots: Iterable[tuple[float, float]], amount: float) -> list[tuple[float, float]]:
    """The newest slots that together hold *amount*: what leaves the window first is what was counted too much."""
    kept: list[tuple[float, float]] = []
    for start, debited in reversed(list(slots)):
        if amount <= _EPSILON:
            break
        kept.insert(0, (start, min(debited, amount)))
        amount -= debited
    return kept
