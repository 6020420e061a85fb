"""What a call found out by itself: which deployments failed or were full, how it waited, and how long its caller stays."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable

from msgspec import Struct

from gateway.quota.nouns import NoRoom
from gateway.routing.rank import full
from gateway.words import Deployment, Exclusion
from providers.failures import ContextTooLong, ProviderFailure, Superseded

FOREVER = math.inf

INSTANT = 0.5
"""Seconds within which a refusal took nothing from its caller: it is no attempt."""

INSTANT_AT_ONE = 2
"""Instant refusals of one account after which only others are asked for the call, as long as one of them may have room."""

MOST_INSTANT = 10
"""Instant refusals of one call, in all."""


class Attempt(Struct, frozen=True):
    """A deployment that was asked and failed, or was too slow, and the seconds that nothing else *took*."""

    deployment: Deployment
    failure: ProviderFailure
    took: float = 0.0
    again: bool = False  # it may be asked once more for the same call
    broke: bool = False  # the request may have broken it: it was well a moment ago

    @property
    def instant(self) -> bool:
        """Whether it was refused before its caller could notice."""
        return self.failure.reached == "refused" and self.took < INSTANT


class Tried:
    """
    What a call found out by itself: its failed *attempts*, which deployments were full when the ledger was last asked, and
    what it waited for. None of it is told to other calls. Its caller is expected to leave at *leaves_at* (unix seconds;
    infinity: that is not known), and most probably there until *stays_until*; so many *others* wait, or are about to, and those that wait do so
    for the deployments *awaited*, by name.
    """

    def __init__(self, attempts: Iterable[Attempt] = ()) -> None:
        self.attempts: list[Attempt] = []
        self.over: frozenset[str] = frozenset()  # names of deployments that are not asked again
        self.failed_at: frozenset[str] = frozenset()  # providers: others are asked first
        self.refusing: Counter[str] = Counter()  # instant refusals of each account
        self.full: dict[str, Exclusion] = {}
        self.waits: list[Wait] = []
        self.images: dict[str, str] = {}  # that were fetched, by their addresses
        self.leaves_at = self.stays_until = FOREVER
        self.others = 0.0
        self.awaited: Collection[str] = ()
        self.hedged = False
        self.outgrown = 0  # tokens of the longest context that it did not fit into
        for attempt in attempts:
            self.add(attempt)

    def add(self, attempt: Attempt) -> None:
        """One more attempt failed."""
        self.attempts.append(attempt)
        if attempt.instant:
            self.refusing[attempt.deployment.provider.name] += 1
        if isinstance(attempt.failure, ContextTooLong):
            self.outgrown = max(self.outgrown, attempt.deployment.context or 0)
        if not isinstance(attempt.failure, Superseded):  # that one was slow
            self.failed_at |= {attempt.deployment.provider.name}
        if not attempt.again:
            self.over |= {attempt.deployment.name}

    def spent(self, budget: int, under_way: int = 0) -> bool:
        """
        Whether *budget* attempts were made, with those *under_way*. Instant refusals are none, up to a number of them; but
        where only one may be made, one is made.
        """
        made, instant = len(self.attempts) + under_way, self.refusing.total()
        return made >= budget if budget == 1 else made - instant >= budget or instant >= MOST_INSTANT

    def too_long_for(self, deployment: Deployment) -> Exclusion | None:
        """Why *deployment* is not asked: a longer context than its own did not hold the call."""
        if not deployment.context or deployment.context >= self.outgrown:
            return None
        return Exclusion(
            deployment.name, "context", f"holds {deployment.context} tokens, and {self.outgrown} were too few"
        )

    def refuses(self, deployment: Deployment) -> Exclusion | None:
        """Why *deployment* is left to calls that its account did not refuse."""
        if self.refusing[deployment.provider.name] < INSTANT_AT_ONE:
            return None
        return Exclusion(deployment.name, "cooling", "its account has refused this request twice, at once")

    def refused(self, offered: Iterable[Deployment], no_room: NoRoom) -> None:
        """The ledger has no room for the first of *offered*, as *no_room* tells."""
        for deployment, refusal in zip(offered, no_room.refusals, strict=False):
            bucket, opens_at = refusal.bucket, refusal.opens_at
            if opens_at == FOREVER and not refusal.when_freed:
                reason = Exclusion(deployment.name, "size", f"the request outgrows {bucket.limit:g} {bucket.key}")
            else:
                reason = full(deployment.name, bucket, None if refusal.when_freed else opens_at)
            self.full[deployment.name] = reason

    def woke(self, wait: Wait) -> None:
        """It waited: those that were full may have room now."""
        self.look_again()
        self.waits.append(wait)

    def look_again(self) -> None:
        """Time has passed: what was full may have room now."""
        self.full = {name: reason for name, reason in self.full.items() if reason.kind == "size"}


class Wait(Struct, frozen=True):
    """So many *seconds* a call waited for one of *deployments*, *behind* so many others at first."""

    seconds: float
    behind: int
    deployments: tuple[str, ...]
    reason: str
