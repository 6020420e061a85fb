"""
What happens to levels, and in which order: pure, over levels that somebody else keeps.

A *store* keeps levels and knows one operation, ``exchange``: take in what happened, debit the first deployment that
fits, tell the levels. It is all or nothing, and no two exchanges of one store mix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from msgspec import Struct

from gateway.quota import buckets as b
from gateway.quota.buckets import Bucket, Level
from gateway.quota.nouns import Wanted
from gateway.quota.operations import Happening, take_in


class Outcome(Struct):
    """
    What came of an exchange: the store's *now*, which place of those wanted was *placed*, for those passed over before
    it the bucket in the way and when it opens (infinity: never), and the *levels* that were looked at and are not blank.
    """

    now: float
    placed: tuple[int, Wanted] | None
    refusals: list[tuple[Bucket, float]]
    levels: list[tuple[Bucket, Level]]


class Beat(Struct, frozen=True):
    """
    The *rank* of a replica, from zero, among *count* that live; and the *age* of the store, which is another one once it
    has lost its memory.
    """

    rank: int = 0
    count: int = 1
    age: str = ""


class StoreFailure(Exception):
    """
    The store cannot be used now. What was asked of it may or may not have been done.

    *kin* is who shares it, where that can be told without it.
    """

    def __init__(self, because: str, kin: Beat | None = None) -> None:
        super().__init__(because)
        self.kin = kin


class Store(Protocol):
    """Where levels are kept. Only ``StoreFailure`` is raised, and soon: nobody waits for a store that hangs."""

    title: str
    name: str  # of this process: what its leases begin with
    shared: bool  # with other processes, which are to be counted by ``beat``

    async def exchange(
        self,
        happened: Sequence[tuple[Bucket, Happening]],
        wanted: Iterable[Wanted],
        lease: str,
        now: float,
        look_at: Sequence[Bucket] = (),
    ) -> Outcome:
        """Take in what *happened*, debit the first of *wanted* for *lease*, and tell those levels and *look_at*'s."""

    async def beat(self, name: str) -> Beat:
        """Say that *name* lives, and hear who else does."""

    async def aclose(self) -> None:
        """Give everything back."""


def exchange(
    level_of: Callable[[Bucket], Level],
    happened: Iterable[tuple[Bucket, Happening]],
    wanted: Iterable[Wanted],
    lease: str,
    now: float,
) -> tuple[Outcome, dict[str, tuple[Bucket, Level]]]:
    """
    The exchange of a store that keeps its levels within reach: *level_of* gives them, rolled to *now*.

    Returns what came of it, with the levels that were looked at, and by key those that were changed.
    """
    looked: dict[str, tuple[Bucket, Level]] = {}
    changed: dict[str, tuple[Bucket, Level]] = {}

    def look(bucket: Bucket) -> Level:
        found = looked.get(bucket.key)
        if found is None:
            found = looked[bucket.key] = (bucket, level_of(bucket))
        return found[1]

    for bucket, happening in happened:
        take_in(bucket, look(bucket), happening, now)
        changed[bucket.key] = looked[bucket.key]
    refusals: list[tuple[Bucket, float]] = []
    placed = None
    for place, want in enumerate(wanted):
        amounts = [(bucket, look(bucket), want.cost.of(bucket.unit)) for bucket in want.buckets]
        refusal = _refusal(amounts, now)
        if refusal is None:
            for bucket, level, amount in amounts:
                b.debit(bucket, level, amount, now, lease)
                changed[bucket.key] = looked[bucket.key]
            placed = (place, want)
            break
        refusals.append(refusal)
    return Outcome(now, placed, refusals, list(looked.values())), changed


def _refusal(amounts: Iterable[tuple[Bucket, Level, float]], now: float) -> tuple[Bucket, float] | None:
    """The bucket that opens last, if any has no room."""
    refusal, latest = None, now
    for bucket, level, amount in amounts:
        opens = b.opens_at(bucket, level, amount, now)
        if opens > latest:
            refusal, latest = (bucket, opens), opens
    return refusal
