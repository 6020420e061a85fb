"""
What happens to levels, and in which order: pure, over levels that a store keeps.

A *store* keeps levels and knows one verb, ``exchange``: apply operations, debit for each of several requests the first
deployment that fits, tell the levels. It is all or nothing, and no two exchanges of one store mix. A process has one
exchange with its store at a time: what comes meanwhile goes with the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from gateway.quota import buckets as b
from gateway.quota.buckets import WHEN_FREED, Bucket, Level
from gateway.quota.nouns import Offer, Turn
from gateway.quota.operations import Entry, apply


class Ask(Struct, frozen=True, eq=False):
    """Of *offers*, debit the first whose buckets have room, for the reservation *lease*. It is the *turn* of a client."""

    lease: str
    offers: Sequence[Offer]
    turn: Turn = Turn()


class Asking(Struct, eq=False):
    """
    A request that waits for an exchange: for the first of *offers* with room, or for the levels of *looks*. It has *waited*
    for the store so many seconds before: its patience is one for all of its exchanges.
    """

    lease: str
    offers: Sequence[Offer]
    looks: Sequence[Bucket]
    done: asyncio.Future[Any]
    waited: float = 0.0
    turn: Turn = Turn()


class AskResult(Struct):
    """
    What came of an ask: which *place* among its offers was debited (-1: none), and for those before it the bucket in the
    way and when it opens: a moment, infinity, or WHEN_FREED.
    """

    place: int
    refusals: list[tuple[Bucket, float]]


class ExchangeResult(Struct):
    """
    What came of an exchange: the store's *now*, an answer to each ask, and the *levels* that were looked at, rolled to it
    (None: blank). The levels belong to the caller. *set_aside* are the buckets whose stored value could not be read: they
    are closed until whatever it may have counted has left the window. The store was *waited* for so many seconds. Where the
    calls were not *counted*, they were debited without it.
    """

    now: float
    answers: list[AskResult]
    levels: list[tuple[Bucket, Level | None]]
    set_aside: list[Bucket] = []
    waited: float = 0.0
    counted: bool = True


class Look(Struct):
    """
    What came of a look: the levels that may have changed since the last one, as in ``ExchangeResult``. Of the buckets that
    are to be looked at *again*, only an exchange tells.
    """

    now: float
    levels: list[tuple[Bucket, Level | None]] = []
    again: list[Bucket] = []
    waited: float = 0.0


class Orphan(Struct, frozen=True):
    """A debit for *offer* that the store made *at* that moment in an exchange whose answer was lost."""

    lease: str
    offer: Offer
    at: float


class Heartbeat(Struct, frozen=True):
    """
    Who shares a store: the *peers* that live, in order, the one that asks among them (*rank* is its place); and of those
    whose heartbeat stopped without a word how many seconds ago it was, by name.
    """

    rank: int = 0
    peers: tuple[str, ...] = ("alone",)
    missing: tuple[tuple[str, float], ...] = ()


class StoreFailure(Exception):
    """
    The store cannot be used now. What was asked of it last may or may not have been done; the store finds that out.

    *heartbeat* is who shares it, where that can be told without it.
    """

    def __init__(self, because: str, heartbeat: Heartbeat | None = None) -> None:
        super().__init__(because)
        self.heartbeat = heartbeat


class StoreForgot(StoreFailure):
    """The store does not know what it has confirmed: it has lost its memory. Nothing was done."""


Withheld = Callable[[Bucket], float]
"""How much of a bucket is left alone for replicas that are cut off."""


class Store(Protocol):
    """
    Where levels are kept. Only ``StoreFailure`` is raised, and soon: no request waits for a store that hangs.

    An exchange that is repeated because its answer was lost changes nothing: the store knows its number.
    """

    title: str
    name: str  # of this process: what its leases begin with, and the run that its calls are counted for
    shared: bool  # with other machines, which are to be counted by ``heartbeat``

    async def exchange(
        self,
        entries: Sequence[Entry],
        asks: Sequence[Ask],
        looks: Sequence[Bucket],
        now: float,
        withheld: Withheld,
        waited: float = 0.0,
    ) -> ExchangeResult:
        """
        Apply *entries*, then debit for *asks* one after the other, and tell those levels and those of *looks*.

        What was confirmed is marked as done, also where an exchange fails halfway. One of *asks* has *waited* before.
        """

    async def look(self, buckets: Sequence[Bucket], now: float, waited: float = 0.0) -> Look:
        """
        What has changed since the last look, or was never seen of *buckets*. It is known of which by ``seen``: of very many
        unseen ones, some are left for the next look. Goes beside an exchange.
        """

    def seen(self, buckets: Sequence[Bucket]) -> bool:
        """Whether the levels of all *buckets* have been told, and every change of them since is."""

    async def clear_doubt(self) -> list[Orphan]:
        """
        Find out whether the call that was not answered was done, and see that it is not done any more.

        Its entries are marked as done, if so, and its debits are told: no request owns them.
        """

    async def heartbeat(self, name: str, now: float) -> Heartbeat:
        """Say that *name* lives, and hear of the others."""

    def belong(self, accounts: Mapping[str, str]) -> None:
        """From now on the credentials of *accounts* have these fingerprints: levels that others share are kept under them."""

    async def sign_off(self, name: str) -> None:
        """Say that *name* ends: its part need not be left alone."""

    async def listen(self, freed: Callable[[], None]) -> None:
        """Call *freed* whenever another process has given back something that was wanted. Ends when it is cancelled."""

    async def aclose(self) -> None:
        """Give everything back."""


def nothing_withheld(_: Bucket) -> float:
    """Every replica is there."""
    return 0.0


def exchange(
    level_of: Callable[[Bucket], Level],
    entries: Iterable[Entry],
    asks: Iterable[Ask],
    opens_at: Callable[[Bucket, Level, float], float],
    now: float,
) -> tuple[list[AskResult], dict[str, tuple[Bucket, Level]], dict[str, tuple[Bucket, Level]]]:
    """
    The exchange of a store that keeps its levels within reach: *level_of* gives them, rolled to *now*, and *opens_at*
    says when an amount fits.

    Returns what came of it, and by key the levels that were looked at and those that were changed.
    """
    looked: dict[str, tuple[Bucket, Level]] = {}
    changed: dict[str, tuple[Bucket, Level]] = {}

    def look(bucket: Bucket) -> Level:
        found = looked.get(bucket.key)
        if found is None:
            found = looked[bucket.key] = (bucket, level_of(bucket))
        return found[1]

    for entry in entries:
        apply(entry.bucket, look(entry.bucket), entry.operation, now)
        changed[entry.bucket.key] = looked[entry.bucket.key]
    answers = []
    for ask in asks:
        answer = AskResult(-1, [])
        for place, offer in enumerate(ask.offers):
            amounts = [(bucket, look(bucket), offer.cost.of(bucket.unit)) for bucket in offer.buckets]
            refused = in_the_way([(bucket, opens_at(bucket, level, amount)) for bucket, level, amount in amounts], now)
            if refused is not None:
                answer.refusals.append(refused)
                continue
            for bucket, level, amount in amounts:
                b.debit(bucket, level, amount, now, ask.lease)
                changed[bucket.key] = looked[bucket.key]
            answer.place = place
            break
        answers.append(answer)
    return answers, looked, changed


def in_the_way(opens: Iterable[tuple[Bucket, float]], now: float) -> tuple[Bucket, float] | None:
    """The bucket that makes a request wait longest, by when each opens; None if all have room. See ``Refusal``."""
    found, latest = None, now
    for bucket, at in opens:
        if at > latest:
            found, latest = (bucket, at), at
        elif at == WHEN_FREED and found is None:
            found = (bucket, at)
    return found
