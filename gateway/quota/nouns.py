"""What goes into a ledger and what comes out. Frozen values, but for the reservation, which ends."""

from __future__ import annotations

from msgspec import Struct

from gateway.quota.buckets import Bucket, Unit

NEURONS_PER_TOKEN = 0.05
"""Neurons differ by model and are told nowhere; this is above what the models of the free plan take for a token."""


class Cost(Struct, frozen=True):
    """What a request takes, or took: tokens, the dollars a credit pays, seconds of sound, and neurons."""

    prompt: float = 0.0
    output: float = 0.0
    dollars: float = 0.0
    audio_seconds: float = 0.0

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
            case "audio-seconds":
                return self.audio_seconds
            case "neurons":
                return (self.prompt + self.output) * NEURONS_PER_TOKEN


class Wanted(Struct, frozen=True):
    """One deployment that would do, what it debits there, and its buckets."""

    deployment: str
    buckets: tuple[Bucket, ...]
    cost: Cost


class Reservation(Struct):
    """
    A debit, held until settled or refunded. *place* is the index of the wanted deployment that it was made for, *at*
    the moment by the store's own clock.
    """

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
    """A bucket as people see it. *said_by* corrected it last, at *said_at*."""

    account: str
    bucket: str
    unit: str
    window: str
    used: float
    limit: float
    limit_from: str
    resets_at: float
    closed_until: float | None = None
    closed_because: str = ""
    said_by: str = ""
    said_at: float | None = None
