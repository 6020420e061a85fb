"""
Buckets: what a request debits, and when there is room again. Pure arithmetic on a bucket, its level and a moment.

A *bucket* is the rule (frozen, from configuration), a *level* is its state (small, stored). No function here asks for
the time or touches a store; moments are unix seconds. ``redis.lua`` is the same arithmetic where Redis keeps the levels:
whatever changes here changes there, and tests/contract/test_ledger_laws.py holds them to each other.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from operator import itemgetter
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.quota.calendars import Calendar, calendar_window

Unit = Literal["requests", "prompt", "tokens", "dollars", "neurons", "audio-seconds", "in-flight"]
Window = Literal["rolling", "clock", "refill", "calendar", "in-flight"]

SLOTS = 300
"""A rolling window is kept in this many slots. A debit leaves the window when its whole slot has: up to 1/300 late."""

LEASE = 900.0
"""Seconds after which an unfinished request no longer counts as in flight: its process must have died."""

LEARNED_FOR = 86_400.0
"""Seconds for which a limit that a provider stated overrides the configured one, unless it is stated again."""

REFILL_LAG = 0.1
"""
Seconds by which a refill begins later here than at the provider, and a debit leaves a rolling window later: it hears of a
request only when it arrives. An untouched bucket gives its whole limit; a busy one holds so much of its refill back.
"""

STRETCHES = 24
"""Stretches of time in which a refilling bucket was empty, and its refill was lost, that are remembered."""

WHEN_FREED = -1.0
"""In place of a moment: only what is given back makes room. A lease's end is a safety net and no opening."""

_EPSILON = 1e-6
_LENGTH = {"day": 86_400.0, "month": 30 * 86_400.0}  # about
_number = itemgetter(0)


class Bucket(Struct, frozen=True, kw_only=True):
    """
    One counter that requests debit.

    *key* is its identity in the store, *account* whose it is, *scope* who shares it there: all
    of the ``account`` or one ``model``. *period* is in seconds; calendar windows have *calendar*
    (``day`` or ``month``) in *zone* instead. *window_name* is the provider's word for the period. *assumed*: its limit is
    not known of this model, so a higher one proves nothing. What is sent within *edge* seconds before such a window ends may
    arrive in the next: it is counted in both.
    """

    key: str
    unit: Unit
    limit: float
    window: Window
    account: str = ""
    scope: str = "account"
    period: float = 0.0
    window_name: str = ""
    calendar: Calendar | None = None
    zone: str = "UTC"
    counts_refused: bool = False
    counts_failed: bool = False
    keeps_output: bool = False
    assumed: bool = False
    edge: float = 0.0
    source: str = "configured"


class Level(Struct, array_like=True):
    """
    The state of a bucket. Its fields in this order are what the stores keep.

    *used* and *since* belong to clock and calendar windows (*since* is where the window began) and to refilling ones
    (*since* is when *used* was last true, or when the refill begins). *slots* are ``[number, amount]`` of a rolling
    window; of a clock or calendar window ``[end, amount]``: how much of it counts in the next one, too; and of a refilling
    one ``[from, to]``: when it was empty, so that a debit which is told late meets the refill that it would have met. *leases* are ``[reservation, expires_at]`` of what is in flight. *open* counts reservations that have not ended, *last* is when
    the newest was made. A learned *limit* (negative: none) overrides the configured one until *limit_until*;
    *said_by* and *said_at* tell who corrected the level last, and when.
    """

    used: float = 0.0
    since: float = 0.0
    slots: list[tuple[float, float]] = []
    leases: list[tuple[str, float]] = []
    open: int = 0
    last: float = 0.0
    closed_until: float = 0.0
    closed_because: str = ""
    limit: float = -1.0
    limit_until: float = 0.0
    limit_by: str = ""
    said_by: str = ""
    said_at: float = 0.0


def copy_of(level: Level) -> Level:
    """*level*, to be changed apart from it."""
    return msgspec.structs.replace(level, slots=list(level.slots), leases=list(level.leases))


def limit_of(bucket: Bucket, level: Level, now: float) -> float:
    """The limit in force: what was learned while it is fresh, else what is configured."""
    return level.limit if level.limit >= 0 and now < level.limit_until else bucket.limit


def roll(bucket: Bucket, level: Level, now: float) -> None:
    """Let time pass: forget what has left the window."""
    match bucket.window:
        case "clock" | "calendar":
            start = window_start(bucket, now)
            if level.since < start:
                level.used, level.since, level.slots = _carried(level, start), start, []
        case "refill":
            gone = now - level.since
            if gone > 0:
                rate = limit_of(bucket, level, now) / bucket.period
                left = level.used - gone * rate
                if left < 0:
                    _remember_empty(bucket, level, now + left / rate, now)
                    left = 0.0
                level.used, level.since = left, now
        case "rolling":
            if level.slots and leaves_at(bucket, level.slots[0][0]) <= now:
                level.slots = [slot for slot in level.slots if leaves_at(bucket, slot[0]) > now]
        case "in-flight":
            if level.leases:
                level.leases = [lease for lease in level.leases if lease[1] > now]


def used(bucket: Bucket, level: Level) -> float:
    """What is debited in the current window, as of the last roll."""
    match bucket.window:
        case "rolling":
            return sum([amount for _, amount in level.slots])
        case "in-flight":
            return float(len(level.leases))
        case _:
            return level.used


def opens_at(bucket: Bucket, level: Level, amount: float, now: float, withheld: float = 0.0) -> float:
    """
    The earliest moment at which *amount* fits beside what is *withheld*: *now* if it fits already, infinity if it never
    will, WHEN_FREED if only what is given back can make room.

    The level must have been rolled to *now*.
    """
    limit = limit_of(bucket, level, now)
    if amount > limit + _EPSILON:
        return math.inf
    earliest = max(now, level.closed_until)
    excess = used(bucket, level) + amount + withheld - limit
    if excess <= _EPSILON:
        return earliest
    match bucket.window:
        case "clock" | "calendar":
            end = window_end(bucket, now)
            if _carried(level, end) + amount + withheld - limit > _EPSILON:
                end = window_end(bucket, end)
            return max(earliest, end)
        case "refill":
            return max(earliest, max(now, level.since) + excess * bucket.period / limit)
        case "rolling":
            for number, debited in level.slots:
                excess -= debited
                if excess <= _EPSILON:
                    return max(earliest, leaves_at(bucket, number))
            return max(earliest, now + bucket.period)
        case "in-flight":
            return earliest if earliest > now else WHEN_FREED


def debit(bucket: Bucket, level: Level, amount: float, now: float, lease: str) -> None:
    """Take *amount* for the reservation *lease*."""
    match bucket.window:
        case "rolling":
            correct(
                bucket, level, amount, now
            )  # where a provider's word lies in later slots it is found again by its own
        case "in-flight":
            level.leases = [*level.leases, (lease, now + LEASE)]
        case "refill":
            if level.used <= 0:
                level.since = now + REFILL_LAG
            level.used += amount
        case _:
            correct(bucket, level, amount, now)
    _count_open(level, now)


def debit_late(bucket: Bucket, level: Level, amount: float, at: float, now: float, lease: str) -> None:
    """Take *amount* for the reservation *lease*, which was made *at* that moment, before *now*."""
    if bucket.window != "in-flight":
        correct(bucket, level, amount, at)
    elif at + LEASE > now:
        level.leases = [*level.leases, (lease, at + LEASE)]
    _count_open(level, at)


def _count_open(level: Level, now: float) -> None:
    if now > level.last + LEASE:
        level.open = 0  # the processes that held those are gone
    level.open += 1
    level.last = max(level.last, now)


def correct(bucket: Bucket, level: Level, amount: float, at: float) -> None:
    """
    Change by *amount* (usually negative) a debit that was made *at* that moment, if it is still in the window. More of a
    refilling bucket meets first what has flowed into it since, and was lost because it was empty.
    """
    match bucket.window:
        case "rolling":
            number = math.floor(at / _slot(bucket))
            place = bisect_left(level.slots, number, key=_number)
            if place < len(level.slots) and level.slots[place][0] == number:
                left = level.slots[place][1] + amount
                changed = [(number, left)] if left > 0 else []
                level.slots = [*level.slots[:place], *changed, *level.slots[place + 1 :]]
            elif amount > 0:
                level.slots = [*level.slots[:place], (number, amount), *level.slots[place:]]
        case "in-flight":
            pass
        case "refill":
            if amount > 0:
                amount = _after_refill(bucket, level, amount, at + REFILL_LAG)
            level.used = max(0.0, level.used + amount)
        case _:
            if level.since - bucket.edge <= at:
                level.used = max(0.0, level.used + amount)
                _carry(bucket, level, amount, at)


def _carry(bucket: Bucket, level: Level, amount: float, at: float) -> None:
    """Of what was taken *at* that moment, *amount* more counts in the next window, too, if it may have arrived there."""
    end = window_end(bucket, at)
    if end - bucket.edge <= at and level.since < end:
        carried = _carried(level, end) + amount
        level.slots = [(end, carried)] if carried > 0 else []


def _carried(level: Level, start: float) -> float:
    """How much of the window before counts in the clock or calendar window that begins at *start*."""
    return sum([amount for end, amount in level.slots if end == start])


def set_used(bucket: Bucket, level: Level, amount: float, now: float) -> None:
    """Make *amount* used *now*. What is added to a rolling window is as new as can be; what is taken off is the oldest."""
    match bucket.window:
        case "rolling":
            more = amount - used(bucket, level)
            if more > 0:
                correct(bucket, level, more, now)
            else:
                level.slots = _newest(level.slots, amount)
        case "in-flight":
            pass
        case _:
            level.used = amount


def refill(bucket: Bucket, level: Level, since: float, now: float) -> float:
    """What has flowed into a refilling bucket from *since* to *now*; 0 for windows of another kind."""
    if bucket.window != "refill":
        return 0.0
    return max(0.0, now - since) * limit_of(bucket, level, now) / bucket.period


def refilled_at(bucket: Bucket, level: Level, now: float) -> float:
    """When all of the bucket is there again, if nothing more is taken."""
    match bucket.window:
        case "clock" | "calendar":
            return window_end(bucket, now)
        case "refill":
            return max(now, level.since) + level.used * bucket.period / (limit_of(bucket, level, now) or _EPSILON)
        case "rolling":
            return leaves_at(bucket, level.slots[-1][0]) if level.slots else now
        case "in-flight":
            return max([until for _, until in level.leases], default=now)


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


def shortest(buckets: Iterable[Bucket]) -> Bucket | None:
    """The one of *buckets* with the shortest window: what a refusal means that names no window. None: all in flight."""
    timed = [bucket for bucket in buckets if bucket.window != "in-flight"]
    return min(timed, key=window_length, default=None)


def window_length(bucket: Bucket) -> float:
    """The seconds of its window: of a calendar day or month about, of an in-flight bucket 0."""
    return _LENGTH[bucket.calendar] if bucket.calendar else bucket.period


def fades_at(bucket: Bucket, level: Level, now: float) -> float:
    """When the level is no different from one that was never touched, so that a store may forget it."""
    moments = [now, level.closed_until]
    if used(bucket, level) > 0:
        moments.append(refilled_at(bucket, level, now))
    if level.slots and bucket.window in ("clock", "calendar"):
        moments.append(window_end(bucket, level.slots[0][0]))
    if level.open:
        moments.append(level.last + LEASE)
    if level.limit >= 0:
        moments.append(level.limit_until)
    if level.said_by:
        moments.append(level.said_at + LEARNED_FOR)
    return max(moments)


def window_start(bucket: Bucket, now: float) -> float:
    """Where the clock or calendar window that holds *now* began."""
    if bucket.calendar is None:
        return math.floor(now / bucket.period) * bucket.period
    return calendar_window(bucket.calendar, bucket.zone, now)[0]


def window_end(bucket: Bucket, now: float) -> float:
    """Where the next clock or calendar window begins. Days of 23 and 25 hours are as long as they are."""
    if bucket.calendar is None:
        return window_start(bucket, now) + bucket.period
    return calendar_window(bucket.calendar, bucket.zone, now)[1]


def _slot(bucket: Bucket) -> float:
    return bucket.period / SLOTS


def leaves_at(bucket: Bucket, number: float) -> float:
    """When slot *number* of a rolling window has left it."""
    return (number + 1) * _slot(bucket) + bucket.period + REFILL_LAG


def _remember_empty(bucket: Bucket, level: Level, start: float, end: float) -> None:
    """It was empty from *start* to *end*. Of too many stretches the oldest two become one, the time between them left out."""
    start = max(start, end - bucket.period)
    slots = [slot for slot in level.slots if slot[1] > end - bucket.period]
    if slots and slots[-1][1] >= start - _EPSILON:
        start = slots.pop()[0]
    elif len(slots) == STRETCHES:
        (first, until), (after, finish) = slots[:2]
        slots[:2] = [(first, until + finish - after)]
    level.slots = [*slots, (start, end)]


def empty_for(bucket: Bucket, level: Level, now: float) -> float:
    """The seconds of the period before *now* for which a refilling bucket is remembered to have been empty."""
    return sum(max(0.0, end - max(start, now - bucket.period)) for start, end in level.slots)


def _after_refill(bucket: Bucket, level: Level, amount: float, at: float) -> float:
    """What is left of *amount*, taken *at* that moment, after the refill since then that nothing else needed."""
    rate = limit_of(bucket, level, level.since) / bucket.period
    left: list[tuple[float, float]] = []
    for start, end in level.slots:
        begin = max(start, at)
        if rate > 0 and amount > 0 and begin < end:
            needed = min(end, begin + amount / rate)
            amount = max(0.0, amount - (needed - begin) * rate)
            left += [piece for piece in ((start, begin), (needed, end)) if piece[0] < piece[1]]
        else:
            left.append((start, end))
    level.slots = left[-STRETCHES:]
    return amount


def _newest(slots: list[tuple[float, float]], amount: float) -> list[tuple[float, float]]:
    """The newest slots that together hold *amount*: what leaves the window first is what was counted too much."""
    kept: list[tuple[float, float]] = []
    for number, debited in reversed(slots):
        if amount <= _EPSILON:
            break
        kept.insert(0, (number, min(debited, amount)))
        amount -= debited
    return kept
