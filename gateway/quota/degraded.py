"""
What a replica does while the store is away: it carries on with its part of what it last knew, and remembers.

Of every limit and of what was left of it, each of *count* replicas takes its own part, so that together they take no
more than there is. What they can overshoot is only what others took between this replica's last look and the loss: a
look is at most ``BEAT`` old for buckets in use. When the store is back, ``report`` tells it what it may have forgotten
and what was taken meanwhile. All of it is bounded: two levels for each bucket.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from gateway.quota import buckets as b
from gateway.quota import exchange as book
from gateway.quota.buckets import Bucket, Level, Unit
from gateway.quota.exchange import Outcome
from gateway.quota.nouns import Wanted
from gateway.quota.operations import Correct, Happening, Learn, Restore, Settle, take_in

_WHOLE: frozenset[Unit] = frozenset({"requests", "in-flight"})


def part_of(amount: float, rank: int, count: int, *, whole: bool) -> float:
    """The part of *amount* that replica *rank* of *count* may take; all parts together are *amount*."""
    if not whole:
        return amount / count
    share, rest = divmod(math.floor(amount), count)
    return float(share + (rank < rest))


class Outage:
    """
    From the moment the store is lost until it is back. *known* are the last levels, by key; *held* are the reservations
    of this replica that have not ended.
    """

    def __init__(
        self,
        known: Mapping[str, tuple[Bucket, Level]],
        *,
        rank: int,
        count: int,
        held: Collection[str],
        because: str,
        since: float,
    ) -> None:
        self.because, self.since = because, since
        self._known = {key: (bucket, _ours(level, held)) for key, (bucket, level) in known.items()}
        self._rank, self._count = rank, count
        self._levels: dict[str, Level] = {}
        self._taken: dict[str, tuple[Bucket, Level]] = {}
        self._untold: dict[str, set[str]] = {}  # leases that only ``_taken`` knows of, by bucket
        self._again: list[list[tuple[Bucket, Happening]]] = []
        self._settled: dict[str, list[tuple[Bucket, Happening]]] = {}
        self._said: dict[str, dict[type[Happening], tuple[Bucket, Happening]]] = {}

    def exchange(
        self,
        happened: Sequence[tuple[Bucket, Happening]],
        wanted: Iterable[Wanted],
        lease: str,
        now: float,
        look_at: Sequence[Bucket] = (),
    ) -> Outcome:
        """As a store's, with this replica's part of everything."""
        ours = [(bucket, self._scaled(bucket, happening, now)) for bucket, happening in happened]

        def level_of(bucket: Bucket) -> Level:
            return self._level(bucket, now)

        outcome, _ = book.exchange(level_of, ours, wanted, lease, now)
        outcome.levels += [(bucket, level_of(bucket)) for bucket in look_at]
        for bucket, happening in happened:
            self._remember(bucket, happening, now)
        if outcome.placed is not None:
            want = outcome.placed[1]
            for bucket in want.buckets:
                self._untold.setdefault(bucket.key, set()).add(lease)
                b.debit(bucket, self._taken_of(bucket, now), want.cost.of(bucket.unit), now, lease)
        return outcome

    def disown(self, lease: str, wanted: Iterable[Wanted], now: float) -> None:
        """The store may have made the reservation *lease* for one of *wanted*: nobody is to fly under that name."""
        for bucket in {bucket.key: bucket for want in wanted for bucket in want.buckets}.values():
            if bucket.window == "in-flight":
                self._settled.setdefault(bucket.key, []).append((bucket, Settle(0.0, now, lease)))

    def report(self, now: float, most: int) -> list[list[tuple[Bucket, Happening]]]:
        """
        What the store is to be told of *most* buckets: what it may have forgotten, and what happened since.

        It is not told twice, unless ``doubt`` says that it may not have been heard. Nothing left: an empty list.
        """
        pieces, self._again = self._again[:most], self._again[most:]
        keys = self._known.keys() | self._taken.keys() | self._settled.keys() | self._said.keys()
        for key in list(keys)[: most - len(pieces)]:
            piece: list[tuple[Bucket, Happening]] = []
            if (known := self._known.pop(key, None)) is not None:
                piece.append((known[0], Restore(known[1])))
            piece += self._settled.pop(key, ())
            piece += self._said.pop(key, {}).values()
            if (taken := self._taken.pop(key, None)) is not None:
                piece.append((taken[0], _made_up(*taken, now)))
                self._untold.pop(key, None)  # those that end from now on end in the store
            pieces.append(piece)
        return pieces

    def doubt(self, pieces: Iterable[list[tuple[Bucket, Happening]]]) -> None:
        """The store may have taken in *pieces* or not, and will hear them again: that must not count too little."""
        self._again += [[(bucket, careful(happening)) for bucket, happening in piece] for piece in pieces]

    def _part(self, bucket: Bucket, amount: float) -> float:
        return part_of(amount, self._rank, self._count, whole=bucket.unit in _WHOLE)

    def _level(self, bucket: Bucket, now: float) -> Level:
        """Our part of the level of *bucket*, rolled to *now*."""
        level = self._levels.get(bucket.key)
        if level is None:
            level = self._levels[bucket.key] = self._part_of_known(bucket, now)
        b.roll(bucket, level, now)
        return level

    def _part_of_known(self, bucket: Bucket, now: float) -> Level:
        known = b.copy_of(self._known[bucket.key][1]) if bucket.key in self._known else Level()
        b.roll(bucket, known, now)
        limit, used = b.limit_of(bucket, known, now), b.used(bucket, known)
        ours = self._part(bucket, limit)
        ours_used = ours - self._part(bucket, max(0.0, limit - used))
        factor = ours_used / used if used else 0.0
        known.used *= factor
        known.slots = [(number, amount * factor) for number, amount in known.slots]
        known.limit, known.limit_until, known.limit_by = ours, math.inf, f"a part of {limit:g}"
        return known

    def _scaled(self, bucket: Bucket, happening: Happening, now: float) -> Happening:
        """What *happening* is to this replica's part."""
        if not isinstance(happening, Learn):
            return happening
        if happening.limit >= 0:
            self._level(bucket, now).limit = self._part(bucket, happening.limit)
        remaining = happening.remaining
        return Learn(-1.0, self._part(bucket, remaining) if remaining >= 0 else -1.0, happening.by, happening.asked_at)

    def _remember(self, bucket: Bucket, happening: Happening, now: float) -> None:
        """Keep *happening* for the store, unless it ends what the store never knew of."""
        if not isinstance(happening, Settle):
            taken = self._taken.get(bucket.key)
            if (
                taken
                and isinstance(happening, Learn)
                and happening.remaining >= 0 <= happening.asked_at - taken[1].last
            ):
                del self._taken[bucket.key]  # the provider's count has it
            self._said.setdefault(bucket.key, {})[type(happening)] = (bucket, happening)
        elif happening.lease in self._untold.get(bucket.key, ()):
            self._untold[bucket.key].discard(happening.lease)
            take_in(bucket, self._taken_of(bucket, now), happening, now)
        else:
            self._settled.setdefault(bucket.key, []).append((bucket, happening))

    def _taken_of(self, bucket: Bucket, now: float) -> Level:
        """What this replica has taken of *bucket* since the store was lost."""
        if bucket.key not in self._taken:
            self._taken[bucket.key] = (bucket, Level())
        level = self._taken[bucket.key][1]
        b.roll(bucket, level, now)
        return level


def careful(happening: Happening) -> Happening:
    """*happening* so that taking it in twice never counts too little."""
    if isinstance(happening, Settle) and happening.amount < 0:
        return Settle(0.0, happening.at, happening.lease)
    return happening


def _made_up(bucket: Bucket, taken: Level, now: float) -> Happening:
    """What was *taken* without the store."""
    b.roll(bucket, taken, now)
    return Restore(taken) if bucket.window == "in-flight" else Correct(b.used(bucket, taken), now)


def _ours(level: Level, held: Collection[str]) -> Level:
    """A copy of *level*. Of what is in flight, others know best whether theirs still is."""
    return msgspec.structs.replace(b.copy_of(level), leases=[lease for lease in level.leases if lease[0] in held])
