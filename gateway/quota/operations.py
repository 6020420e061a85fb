"""
Operations: what changes a level besides a debit that a store decides on itself, and what each of them changes. Pure.

An operation takes effect as of its own moment, however late it is told: the journal of an outage is a list of them. The
names of the tags and the order of the fields are what ``redis.lua`` reads.
"""

from __future__ import annotations

import math
from itertools import accumulate

from msgspec import Struct

from gateway.quota import buckets as b
from gateway.quota.buckets import LEARNED_FOR, LEASE, REFILL_LAG, SLOTS, Bucket, Level


class Debit(Struct, frozen=True, array_like=True, tag="debit"):
    """The reservation *lease* took *amount*, *at* that moment, while the store was away."""

    amount: float
    at: float
    lease: str


class Settle(Struct, frozen=True, array_like=True, tag="settle"):
    """A reservation that debited *at* that moment ended at *ended_at*: *amount* more (or, negative, less) was used."""

    amount: float
    at: float
    lease: str
    ended_at: float


class Correct(Struct, frozen=True, array_like=True, tag="correct"):
    """*amount* more was used *at* that moment: several debits and settlements in one."""

    amount: float
    at: float


class Learn(Struct, frozen=True, array_like=True, tag="learn"):
    """
    A provider said, by *by*, what the limit is and what remains; negative: it did not say.

    *asked_at* is when the request was sent that it answered, and *at* when it was said.
    """

    limit: float
    remaining: float
    by: str
    asked_at: float
    at: float


class Close(Struct, frozen=True, array_like=True, tag="close"):
    """
    Nothing may be taken for *seconds* from *at* on; negative: until the window of that moment gives room again.

    An earlier close is never shortened.
    """

    seconds: float
    because: str
    at: float


class Full(Struct, frozen=True, array_like=True, tag="full"):
    """
    A provider refused *amount*, *at* that moment, and said, by *by*, that there is room for it in *seconds*. Until then all is
    used, and then there is room for just as much.
    """

    amount: float
    seconds: float
    by: str
    at: float


class Open(Struct, frozen=True, array_like=True, tag="open"):
    """A close is lifted."""


class Restore(Struct, frozen=True, array_like=True, tag="restore"):
    """The level was *known* once, before the store lost its memory: what it has forgotten of it is taken over."""

    known: Level


class Abandon(Struct, frozen=True, array_like=True, tag="abandon"):
    """The *process* whose reservations begin so is gone: what it held is no longer in flight, and nothing of it comes."""

    process: str


Operation = Debit | Settle | Correct | Learn | Close | Full | Open | Restore | Abandon


class Entry(Struct, eq=False):
    """An operation on *bucket*, in the journal until the store has confirmed it: then it is *done*."""

    bucket: Bucket
    operation: Operation
    done: bool = False


def frees(entry: Entry) -> bool:
    """Whether there may be more room once *entry* is applied, for others who wait."""
    match entry.operation:
        case Settle(amount=amount):
            return amount < 0 or entry.bucket.window == "in-flight"
        case Learn() | Open() | Abandon():
            return True
        case _:
            return False


def apply(bucket: Bucket, level: Level, operation: Operation, now: float) -> None:
    """Change *level*, rolled to *now*, by *operation*."""
    match operation:
        case Debit(amount=amount, at=at, lease=lease):
            b.debit_late(bucket, level, amount, at, now, lease)
        case Settle():
            _settle(bucket, level, operation)
        case Correct(amount=amount, at=at):
            b.correct(bucket, level, amount, at)
            level.last = max(level.last, at)
        case Learn():
            _learn(bucket, level, operation, now)
        case Close(seconds=seconds, because=because, at=at):
            _close(level, at + seconds if seconds >= 0 else b.reopens_at(bucket, at), because)
        case Full():
            _fill(bucket, level, operation, now)
        case Open():
            level.closed_until, level.closed_because = 0.0, ""
        case Abandon(process=process):
            level.leases = [lease for lease in level.leases if not lease[0].startswith(process)]
            level.open = 0
        case Restore(known=known):
            _restore(bucket, level, known, now)


def _close(level: Level, until: float, because: str) -> None:
    if until > level.closed_until:
        level.closed_until, level.closed_because = until, because


def _settle(bucket: Bucket, level: Level, ended: Settle) -> None:
    if ended.amount:
        late = ended.amount > 0 and bucket.window == "refill"
        b.correct(bucket, level, ended.amount, ended.ended_at if late else ended.at)
    if ended.at >= level.last - LEASE:  # else it is one of those that were given up, and counted no more
        level.open = max(0, level.open - 1)
    if level.leases:
        level.leases = [other for other in level.leases if other[0] != ended.lease]


def _learn(bucket: Bucket, level: Level, said: Learn, now: float) -> None:
    """
    Of what is used, the higher count is believed, since our requests on their way are not in the provider's yet; the
    lower one only if none of ours is on its way and nothing was sent or said since it was asked for. An answer to what was asked in an earlier
    clock or calendar window may speak of that one.
    """
    if said.limit >= 0:
        if said.limit == bucket.limit:
            level.limit, level.limit_until, level.limit_by = -1.0, 0.0, ""
        else:
            level.limit, level.limit_until, level.limit_by = said.limit, said.at + LEARNED_FOR, said.by
    if said.remaining >= 0 and not _speaks_of_another_window(bucket, level, said, now):
        theirs = max(0.0, b.limit_of(bucket, level, now) - said.remaining - b.refill(bucket, level, said.at, now))
        ours = b.used(bucket, level)
        quiet = level.open == 0 or now > level.last + LEASE
        newest = said.asked_at >= level.last and said.asked_at >= level.said_at
        if theirs > ours or (theirs < ours and quiet and newest):
            b.set_used(bucket, level, theirs, min(said.at, now))
    level.said_by, level.said_at = said.by, max(level.said_at, said.at)


def _fill(bucket: Bucket, level: Level, said: Full, now: float) -> None:
    """
    Fill *bucket* so that it opens as it was *said* to. A rolling window from which enough leaves by then is as we know it.
    One that opens sooner than what we took ourselves can leave it refills: what others took comes back as evenly as it would
    there, and so does all if we took it alone.
    """
    opens, limit = said.at + said.seconds, b.limit_of(bucket, level, now)
    if bucket.window == "refill":
        rate = limit / bucket.period
        level.used = max(level.used, limit - said.amount + (opens - max(now, level.since)) * rate)
    elif bucket.window == "rolling" and said.seconds < bucket.period:
        slot, used = bucket.period / SLOTS, b.used(bucket, level)
        left = accumulate(amount for _, amount in level.slots)
        first = next((n for (n, _), out in zip(level.slots, left, strict=True) if out >= said.amount), None)
        if first is not None and (first + 1) * slot + bucket.period + REFILL_LAG <= opens + slot:
            b.set_used(bucket, level, max(limit, used), said.at)
            _close(level, opens, said.by)
        else:
            more = limit - used
            if more < said.amount:
                level.slots, more = [], max(limit, used)
            number = math.ceil((opens - bucket.period - REFILL_LAG) / slot) - 1
            for place, amount in _draining(number, said.amount, more - said.amount, limit / SLOTS):
                b.correct(bucket, level, amount, (place + 0.5) * slot)
    else:
        _close(level, opens, said.by)
    level.said_by, level.said_at = said.by, max(level.said_at, said.at)


def _draining(number: int, amount: float, rest: float, each: float) -> list[tuple[float, float]]:
    """Slots of a rolling window from *number* on, of which the first gives back *amount*, and the others *each* of the *rest*."""
    slots: list[tuple[float, float]] = [(number, amount)]
    while rest > 0 < each:
        number += 1
        slots.append((number, min(each, rest)))
        rest -= each
    return slots


def _speaks_of_another_window(bucket: Bucket, level: Level, said: Learn, now: float) -> bool:
    match bucket.window:
        case "clock" | "calendar":
            return said.asked_at < level.since
        case "rolling":
            return said.at <= now - bucket.period
        case "in-flight":
            return True
        case _:
            return False


def _restore(bucket: Bucket, level: Level, known: Level, now: float) -> None:
    b.roll(bucket, known, now)
    theirs, ours = b.used(bucket, known), b.used(bucket, level)
    busier = bucket.window == "refill" and b.empty_for(bucket, known, now) < b.empty_for(bucket, level, now)
    if theirs > ours or (theirs == ours and busier):
        level.used, level.since, level.slots = known.used, known.since, known.slots
    have = {lease for lease, _ in level.leases}
    level.leases = [*level.leases, *(lease for lease in known.leases if lease[0] not in have)]
    if known.closed_until > level.closed_until:
        level.closed_until, level.closed_because = known.closed_until, known.closed_because
    if level.limit < 0 <= known.limit:
        level.limit, level.limit_until, level.limit_by = known.limit, known.limit_until, known.limit_by
    level.open, level.last = max(level.open, known.open), max(level.last, known.last)
