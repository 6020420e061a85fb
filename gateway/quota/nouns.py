"""What goes into a ledger and what comes out. Frozen values, but for the reservation, which ends."""

from __future__ import annotations

import math
from typing import Literal

from msgspec import Struct

from gateway.quota.buckets import WHEN_FREED, Bucket, Unit

LONGEST_REASON = 200
"""Characters of what a provider said that are kept for others to read, as the reason of what followed from it."""

Unserved = Literal["unsent", "refused", "failed"]
"""Why nothing was served: it was not counted, or the provider refused it, or failed; some count those too."""


def keeps(bucket: Bucket, unserved: Unserved | None) -> bool:
    """Whether a debit of *bucket* stays although nothing was served; None: something was."""
    if unserved is None:
        return True
    return (unserved == "refused" and bucket.counts_refused) or (unserved == "failed" and bucket.counts_failed)


class Cost(Struct, frozen=True):
    """What a request takes, or took: tokens, the dollars a credit pays, seconds of sound, and neurons."""

    prompt: float = 0.0
    output: float = 0.0
    dollars: float = 0.0
    audio_seconds: float = 0.0
    neurons: float = 0.0
    requests: float = 1.0  # where a provider counts each of several texts as one

    def of(self, unit: Unit) -> float:
        """The amount that a bucket of *unit* is debited."""
        match unit:
            case "requests":
                return self.requests
            case "in-flight":
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
                return self.neurons


class Offer(Struct, frozen=True):
    """One deployment that would do, what it debits there, and its buckets; without a *call*, what a client's own limits hold."""

    deployment: str
    buckets: tuple[Bucket, ...]
    cost: Cost
    call: bool = True

    @property
    def counted(self) -> bool:
        """Whether a store that debits it counts a call of this run; see debited.py."""
        return self.call and bool(self.buckets)


class Turn(Struct, frozen=True):
    """
    Whose request it is that is to be served: one of *client*, of which so many are *waiting* here. Where room is scarce, all
    gateways take clients in turn, those of a higher *priority* first. A request that cannot wait (0) is served where there is room.
    """

    client: str = ""
    waiting: int = 0
    priority: int = 0


NO_TURN = Turn()
"""That of a request without a client: it is served where there is room."""


class Reservation(Struct):
    """
    A debit, held until settled or refunded; then it is inert. *place* is the index of the *offer* that it was made for,
    *at* the moment by the store's own clock. *counted*: the store counts it as a call of this run.
    """

    id: str
    place: int
    offer: Offer
    at: float
    ended: bool = False
    counted: bool = False


class Refusal(Struct, frozen=True):
    """
    The *bucket* that has no room, and when it has: at the moment *opens_at* (infinity: never, the request outgrows it),
    or, *when_freed*, as soon as something is given back; then *opens_at* is infinity, too, and means nothing.

    Of several buckets in the way, one that never has room comes before all others, then the one whose moment is last: no
    slot that is freed earlier helps. A full in-flight bucket is told where it is the only kind that is in the way.
    """

    bucket: Bucket
    opens_at: float
    when_freed: bool = False


def refusal(bucket: Bucket, opens: float, ahead: float = 0.0) -> Refusal:
    """A refusal by *bucket*, of which ``buckets.opens_at`` said *opens* by a clock that is so much *ahead*."""
    if opens == WHEN_FREED:
        return Refusal(bucket, math.inf, when_freed=True)
    return Refusal(bucket, opens - ahead)


class NoRoom(Struct, frozen=True):
    """Why nothing could be reserved: a refusal for each offered deployment."""

    refusals: tuple[Refusal, ...]

    @property
    def opens_at(self) -> float:
        """The earliest moment at which one of them has room; infinity if none has a moment."""
        return min((refusal.opens_at for refusal in self.refusals), default=math.inf)

    @property
    def when_freed(self) -> bool:
        """Whether one of them has room as soon as something is given back."""
        return any(refusal.when_freed for refusal in self.refusals)


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


class Condition(Struct, frozen=True):
    """
    How the store fares. *lost* is why it cannot be reached, if so, since *since*; so many *replicas* share it.
    *set_aside* are the keys of buckets whose value could not be read: they are closed until their window is over.
    """

    store: str
    replicas: int = 1
    lost: str | None = None
    since: float = 0.0
    set_aside: tuple[str, ...] = ()
