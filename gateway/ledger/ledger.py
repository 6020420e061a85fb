"""
The ledger: who has how much left. Six verbs, whatever store is behind them.

``reserve`` debits all buckets of a deployment or none, before anything is sent; every reservation ends exactly once, by
``settle`` (with the true cost) or ``refund`` (nothing was counted). ``observe`` and ``close`` take in what providers
say; ``levels`` tells people and the router.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from gateway.ledger.buckets import Bucket, Unit
from providers.dialect import Observation


class Cost(Struct, frozen=True):
    """What a request takes, or took: tokens, the dollars a credit pays, and neurons."""

    prompt: float = 0.0
    output: float = 0.0
    dollars: float = 0.0

    def of(self, unit: Unit) -> float:
        """The amount that a bucket of *unit* is debited."""
        match unit:
            case "requests" | "in-flight":
                return 1.0
            case "prompt":
                return self.prompt
            case "tokens":
                return self.prompt + self.output
            case "dollars":
                return self.dollars
            case "neurons":
                return (self.prompt + self.output) * NEURONS_PER_TOKEN


NEURONS_PER_TOKEN = 0.05
"""Neurons differ by model and are told nowhere; this is above what the models of the free plan take for a token."""


class Wanted(Struct, frozen=True):
    """One deployment that would do, what it debits there, and its buckets."""

    deployment: str
    buckets: tuple[Bucket, ...]
    cost: Cost


class Reservation(Struct):
    """A debit, held until settled or refunded. *place* is the index of the wanted deployment that it was made for."""

    id: str
    place: int
    wanted: Wanted
    at: float
    ended: bool = False


class NoRoom(Struct, frozen=True):
    """Why nothing could be reserved: for each wanted deployment the bucket in the way and when it opens."""

    refusals: tuple[tuple[Bucket, float], ...]

    @property
    def opens_at(self) -> float:
        """The earliest moment at which one of them has room; infinity if none ever will."""
        return min((opens for _, opens in self.refusals), default=float("inf"))


class LevelView(Struct, frozen=True, kw_only=True):
    """A bucket as people see it."""

    bucket: str
    unit: str
    window: str
    used: float
    limit: float
    limit_from: str
    resets_at: float
    closed_until: float | None = None
    closed_because: str = ""


class Ledger(Protocol):
    """All moments are unix seconds."""

    def reserve(self, wanted: Iterable[Wanted], now: float) -> Reservation | NoRoom:
        """Debit the first of *wanted* whose buckets all have room."""

    def settle(self, held: Reservation, true: Cost, now: float, said: Sequence[Observation] = ()) -> None:
        """End *held* with what was really used, after taking in what its answer *said* of its buckets."""

    def refund(self, held: Reservation, now: float, *, refused: bool = False) -> None:
        """End *held*: nothing was served. With *refused* the buckets that count refused requests keep the debit."""

    def observe(self, buckets: Sequence[Bucket], said: Sequence[Observation], now: float) -> None:
        """Take in what a provider says of *buckets*: others may use the same account, or it counts differently."""

    def close(self, bucket: Bucket, until: float | None, because: str, now: float) -> None:
        """
        Let nothing be reserved from *bucket* before *until*; None: until its window gives room again.

        A close is never shortened by another, and ends by itself.
        """

    def open(self, bucket: Bucket) -> None:
        """Lift a close by hand."""

    def levels(self, buckets: Sequence[Bucket], now: float) -> Mapping[str, LevelView]:
        """How full *buckets* are, by key."""

    def shares(self) -> Mapping[str, float]:
        """The used share of each bucket by key, as far as this process knows: costs nothing, for ranking."""

    def aclose(self) -> None:
        """Give the store back."""
