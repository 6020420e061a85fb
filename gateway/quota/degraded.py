"""
What a replica does while the store is away: it carries on with its part of what was left, and keeps a journal.

Of every limit and of what was left of it when its heart last beat, each replica has its own part; together they are the
whole. With others beside it, a part is good for PART_FOR seconds from that heartbeat, and in all for no more than
``part_for_lease``: if this replica alone is cut off, the others go on with the store. They leave that much alone once
they miss its heartbeat (``Withheld``), which they do ALIVE seconds later at the latest.

The overshoot while Redis is away is thereby at most what replicas took of a bucket that not all others had seen: of the
second before (HEARTBEAT), and, where one replica alone is cut off, what the others take within the ALIVE seconds until
they miss it, of what is its part. A replica that ends signs off, and nothing is withheld for it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import msgspec

from gateway.quota import buckets as b
from gateway.quota import exchange as pure
from gateway.quota.buckets import SLOTS, WHEN_FREED, Bucket, Level, Unit
from gateway.quota.exchange import Ask, AskResult, ExchangeResult, Heartbeat
from gateway.quota.level_cache import LevelCache
from gateway.quota.operations import Abandon, Close, Correct, Debit, Entry, Learn, Open, Operation, Settle

HEARTBEAT = 1.0
"""Seconds between two looks at a store that others share: who they are, and what they took."""

ALIVE = 5.0
"""Seconds after its last heartbeat for which a replica counts as alive."""

PART_FOR = 60.0
"""Seconds for which a replica that is cut off may use its part."""

LEAST_PART = 1 / 50
"""Of a limit whose 60 seconds are hardly anything (50 a day), so much is part of a lease all the same, or one request."""

MOST_ENTRIES = 20_000
"""Entries of the journal beyond which those that can be told in one are."""

_WHOLE: frozenset[Unit] = frozenset({"requests", "in-flight"})


def part_of(amount: float, rank: int, count: int, *, whole: bool) -> float:
    """The part of *amount* that replica *rank* of *count* may take; all parts together are *amount*."""
    if not whole:
        return amount / count
    share, rest = divmod(math.floor(amount), count)
    return float(share + (rank < rest))


def part_for_lease(bucket: Bucket, limit: float, left: float, rank: int, count: int) -> float:
    """What replica *rank* of *count* may take of *bucket* in all while it is cut off: 60 s of *limit*, of what is *left*."""
    whole = bucket.unit in _WHOLE
    ours = part_of(left, rank, count, whole=whole)
    if bucket.window == "in-flight":
        return ours
    length = b.window_length(bucket)
    most = max(limit * PART_FOR / length, limit * LEAST_PART, float(whole))
    if length <= PART_FOR:
        return part_of(limit, rank, count, whole=whole) * PART_FOR / length
    return min(ours, most)


class Degraded:
    """
    From the moment the store is lost until it is back. *known* are the last levels, by key; *held* are the reservations
    of this replica that have not ended. *good_until* is when its parts end; infinity: it has no peers that could go on.
    """

    def __init__(  # noqa: PLR0913 - one for each thing that is known when it begins
        self,
        known: Mapping[str, tuple[Bucket, Level]],
        *,
        rank: int,
        count: int,
        held: Collection[str],
        because: str,
        since: float,
        good_until: float = math.inf,
    ) -> None:
        self.because, self.since = because, since
        self._known = {key: _without_others(level, held) for key, (_, level) in known.items()}
        self._rank, self._count, self._good_until = rank, count, good_until
        self._levels: dict[str, Level] = {}
        self._left: dict[str, float] = {}  # of our part for this lease, by bucket

    def exchange(
        self, entries: Sequence[Entry], asks: Sequence[Ask], looks: Sequence[Bucket], now: float
    ) -> ExchangeResult:
        """As a store's, with this replica's part of everything."""
        ours = [Entry(entry.bucket, self._scaled(entry.bucket, entry.operation, now)) for entry in entries]

        def level_of(bucket: Bucket) -> Level:
            return self._level(bucket, now)

        def opens_at(bucket: Bucket, level: Level, amount: float) -> float:
            if now >= self._good_until or amount > self._left[bucket.key] + 1e-6:
                return math.inf if amount > self._whole_limit(bucket, now) else WHEN_FREED
            return b.opens_at(bucket, level, amount, now)

        answers, looked, _ = pure.exchange(level_of, ours, asks, opens_at, now)
        if self._good_until < math.inf:
            self._count_taken(asks, answers)
        levels: list[tuple[Bucket, Level | None]] = [(bucket, b.copy_of(level)) for bucket, level in looked.values()]
        levels += [(bucket, b.copy_of(level_of(bucket))) for bucket in looks if bucket.key not in looked]
        return ExchangeResult(now, answers, levels, counted=False)

    def _count_taken(self, asks: Sequence[Ask], answers: Sequence[AskResult]) -> None:
        for ask, answer in zip(asks, answers, strict=True):
            if answer.place >= 0:
                offer = ask.offers[answer.place]
                for bucket in offer.buckets:
                    if bucket.window != "in-flight":
                        self._left[bucket.key] -= offer.cost.of(bucket.unit)

    def _part(self, bucket: Bucket, amount: float) -> float:
        return part_of(amount, self._rank, self._count, whole=bucket.unit in _WHOLE)

    def _whole_limit(self, bucket: Bucket, now: float) -> float:
        known = self._known.get(bucket.key)
        return bucket.limit if known is None else b.limit_of(bucket, known, now)

    def _level(self, bucket: Bucket, now: float) -> Level:
        """Our part of the level of *bucket*, rolled to *now*."""
        level = self._levels.get(bucket.key)
        if level is None:
            level = self._levels[bucket.key] = self._part_of_known(bucket, now)
        b.roll(bucket, level, now)
        return level

    def _part_of_known(self, bucket: Bucket, now: float) -> Level:
        known = b.copy_of(self._known.get(bucket.key) or Level())
        b.roll(bucket, known, now)
        limit, used = b.limit_of(bucket, known, now), b.used(bucket, known)
        ours = self._part(bucket, limit)
        left = max(0.0, limit - used)
        self._left[bucket.key] = math.inf
        if self._good_until < math.inf:
            self._left[bucket.key] = part_for_lease(bucket, limit, left, self._rank, self._count)
        ours_used = ours - self._part(bucket, left)
        factor = ours_used / used if used else 0.0
        known.used *= factor
        if bucket.window != "refill":
            known.slots = [(number, amount * factor) for number, amount in known.slots]
        known.limit, known.limit_until, known.limit_by = ours, math.inf, f"a part of {limit:g}"
        return known

    def _scaled(self, bucket: Bucket, operation: Operation, now: float) -> Operation:
        """What *operation* is to this replica's part."""
        if not isinstance(operation, Learn):
            return operation
        level = self._level(bucket, now)
        if operation.limit >= 0:
            level.limit = self._part(bucket, operation.limit)
        remaining = operation.remaining
        ours = self._part(bucket, remaining) if remaining >= 0 else -1.0
        return msgspec.structs.replace(operation, limit=-1.0, remaining=ours)


class WithheldParts:
    """What is left alone for replicas whose heartbeat stopped, until what they may have taken has left its window."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[str, tuple[float, float]]] = {}

    def see(self, beat: Heartbeat, buckets: Sequence[Bucket], cache: LevelCache, now: float) -> list[Entry]:
        """
        Withhold for those that are missing, and no more for those that were heard again or signed off.

        Returns what gives back the reservations of those that are missing now: their requests died with them.
        """
        missing = dict(beat.missing)
        self._parts = {name: parts for name, parts in self._parts.items() if name in missing}
        count = len(beat.peers) + len(missing)
        given_back = [
            Entry(bucket, Abandon(name))
            for name in missing.keys() - self._parts.keys()
            for bucket, level in cache.levels.values()
            if level.open or level.leases
        ]
        for name, ago in missing.items():
            if name not in self._parts:
                lease_ends = now - ago + PART_FOR
                self._parts[name] = {
                    bucket.key: _withheld(bucket, cache.level(bucket, now), count, now, lease_ends)
                    for bucket in buckets
                }
        return given_back

    def of(self, bucket: Bucket, now: float) -> float:
        """How much of *bucket* is left alone now."""
        total = 0.0
        for parts in self._parts.values():
            amount, until = parts.get(bucket.key, (0.0, 0.0))
            total += amount if now < until else 0.0
        return total

    def __bool__(self) -> bool:
        return bool(self._parts)


def _withheld(bucket: Bucket, level: Level, count: int, now: float, lease_ends: float) -> tuple[float, float]:
    limit = b.limit_of(bucket, level, now)
    left = max(0.0, limit - b.used(bucket, level))
    calendar = bucket.window in ("clock", "calendar")
    until = b.window_end(bucket, lease_ends) if calendar else lease_ends + bucket.period
    return part_for_lease(bucket, limit, left, 0, count), until


def debits(asks: Sequence[Ask], result: ExchangeResult) -> list[Entry]:
    """What *result* debited for *asks*, as the store is to hear of it."""
    return [
        Entry(bucket, Debit(ask.offers[answer.place].cost.of(bucket.unit), result.now, ask.lease))
        for ask, answer in zip(asks, result.answers, strict=True)
        if answer.place >= 0
        for bucket in ask.offers[answer.place].buckets
    ]


def compacted(journal: Sequence[Entry]) -> list[Entry]:
    """
    *journal* in fewer entries that count no less: reservations that have begun and ended in it become amounts by slot
    of their window, and of what was said of a bucket the newest of each kind is kept.
    """
    begun = {(e.bucket.key, e.operation.lease) for e in journal if isinstance(e.operation, Debit)}
    over = begun & {(e.bucket.key, e.operation.lease) for e in journal if isinstance(e.operation, Settle)}
    amounts: dict[tuple[str, int], tuple[Bucket, Correct]] = {}
    rest: list[Entry] = []
    said: dict[tuple[object, ...], Entry] = {}
    for entry in journal:
        bucket, operation = entry.bucket, entry.operation
        match operation:
            case Correct(amount=amount, at=at):
                _add(amounts, bucket, amount, at)
            case Debit(amount=amount, at=at, lease=lease) | Settle(amount=amount, at=at, lease=lease):
                if (bucket.key, lease) in over:
                    _add(amounts, bucket, amount, at)
                else:
                    rest.append(entry)
            case _:
                _keep(said, entry)
    return [*(Entry(bucket, correct) for bucket, correct in amounts.values()), *rest, *said.values()]


def _add(amounts: dict[tuple[str, int], tuple[Bucket, Correct]], bucket: Bucket, amount: float, at: float) -> None:
    if bucket.window == "in-flight":
        return  # it has ended
    slot = b.window_length(bucket) / SLOTS
    number = math.floor(at / slot)
    _, before = amounts.get((bucket.key, number), (bucket, Correct(0.0, at)))
    # What refills counts from the newest on: that is never too little.
    latest = max(before.at, at) if bucket.window == "refill" else before.at
    amounts[bucket.key, number] = (bucket, Correct(before.amount + amount, latest))


def _keep(said: dict[tuple[object, ...], Entry], entry: Entry) -> None:
    key, operation = entry.bucket.key, entry.operation
    match operation:
        case Learn(limit=limit, remaining=remaining):
            kind: tuple[object, ...] = (key, Learn, limit >= 0, remaining >= 0)
        case Close(seconds=seconds, at=at):
            kind = (key, Close, seconds >= 0)
            before = said.get(kind)
            if (
                before
                and isinstance(before.operation, Close)
                and before.operation.at + before.operation.seconds > at + seconds >= at
            ):
                return  # a close is never shortened
        case Open():
            said.pop((key, Close, True), None)
            said.pop((key, Close, False), None)
            kind = (key, Open)
        case _:
            kind = (key, type(operation))
    said.pop(kind, None)  # the newest comes last
    said[kind] = entry


def _without_others(level: Level, held: Collection[str]) -> Level:
    """A copy of *level*. Of what is in flight, other replicas know best whether theirs still is."""
    return msgspec.structs.replace(b.copy_of(level), leases=[lease for lease in level.leases if lease[0] in held])
