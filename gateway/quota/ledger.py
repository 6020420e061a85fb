"""
The ledger: how much is left, and of what.

``reserve`` debits all buckets of a deployment or none, before anything is sent; every reservation ends exactly once, by
``settle`` (with the true cost) or ``refund`` (nothing was served). ``observe`` and ``close`` learn from what providers say;
``levels`` and ``openings`` tell. Where the levels are kept is a store's business (sqlite.py, redis.py).
How it gets there, and what becomes of it while the store is away, is journal.py's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

import msgspec

from gateway.clock import Clock
from gateway.quota import buckets as b
from gateway.quota.buckets import Bucket, Level
from gateway.quota.demand import counts
from gateway.quota.exchange import Store
from gateway.quota.journal import Journal
from gateway.quota.nouns import (
    LONGEST_REASON,
    NO_TURN,
    Cost,
    LevelView,
    NoRoom,
    Offer,
    Refusal,
    Reservation,
    Turn,
    Unserved,
    keeps,
)
from gateway.quota.nouns import Condition as Condition
from gateway.quota.operations import Close, Entry, Full, Learn, Open
from providers.observations import Observation

_FIRST, _MORE = 4, 64
"""Deployments that are offered in the first exchange for a request, and in each further one if none of them has room."""


class Ledger:
    """
    One for each process. All moments are unix seconds of *clock*, whatever the store's own clock says.

    *buckets* are those in use. *replicas* is how many share the store at least, for a replica that never saw the others.
    *tell* hears when the store is lost and when it is back; *freed* is called whenever there may be more room than before.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        buckets: Callable[[], Sequence[Bucket]] = tuple,
        replicas: int = 1,
        tell: Callable[[Condition], None] = lambda _: None,
        freed: Callable[[], None] = lambda: None,
    ) -> None:
        self._journal = Journal(store, clock, buckets=buckets, replicas=replicas, tell=tell, freed=freed)
        self.cache = self._journal.cache
        self._store, self._accounts = store, dict[str, str]()
        self._other_key_since: dict[str, float] = {}  # by account, where others count with who has its key

    def belong(self, accounts: Mapping[str, str]) -> None:
        """From now on the credentials of *accounts* have these fingerprints. What is under way there counts as reserved."""
        if self._store.shared:
            changed = [name for name, key in accounts.items() if self._accounts.get(name, key) != key]
            self._other_key_since |= dict.fromkeys(changed, self._journal.now())
        self._accounts = dict(accounts)
        self._store.belong(accounts)

    def _of_this_key(self, held: Reservation, changes: Iterable[float]) -> list[float]:
        """*changes* of the buckets of *held*, but of none whose key is another one by now: it would be given what is not its own."""
        since = self._other_key_since
        return [
            0.0 if held.at <= since.get(bucket.account, -1.0) else change
            for bucket, change in zip(held.offer.buckets, changes, strict=True)
        ]

    @property
    def run(self) -> str:
        """For what the store counts the calls that are debited by this process; see debited.py."""
        return self._store.name

    @property
    def ended(self) -> int:
        """How many of these calls have ended, with whatever came of them."""
        return self._journal.ended

    # ── the life of a reservation ──

    async def reserve(self, offers: Iterable[Offer], turn: Turn = NO_TURN) -> Reservation | NoRoom:
        """
        Debit the first of *offers* whose buckets all have room. What is known to be full is not asked again, once a look
        has told what others gave back. Of the buckets in the way the limit in force is told. It is the *turn* of a client.
        """
        offering, looked, waited = iter(offers), False, 0.0
        refusals: list[Refusal] = []
        while offered := list(islice(offering, _MORE if refusals else _FIRST)):
            known: dict[int, Refusal] = {}
            if refusals and self._journal.shared:
                if not looked:
                    waited += await self._journal.look_at(_buckets_of(offered), waited)
                    looked = True
                known = self._journal.full(offered)
            likely = [place for place in range(len(offered)) if place not in known]
            if likely:
                found, waited = await self._journal.reserve([offered[place] for place in likely], turn, waited)
                if isinstance(found, Reservation):
                    found.place = len(refusals) + likely[found.place]
                    return found
                known |= zip(likely, found.refusals, strict=True)
            refusals += [known[place] for place in range(len(offered))]
        return NoRoom(tuple(map(self._in_force, refusals)))

    def settle(self, held: Reservation, true: Cost, said: Sequence[Observation] = ()) -> None:
        """End *held* with what was really used, and learn what its answer *said* of its buckets."""
        if held.ended:
            return
        offer, now = held.offer, self._journal.now()
        for bucket in offer.buckets:
            if counts(bucket):
                self.cache.demand.took(bucket, offer.cost.of(bucket.unit), true.of(bucket.unit), now)
        changes = (_difference(bucket, offer.cost, true) for bucket in offer.buckets)
        self._journal.end(held, self._of_this_key(held, changes), self._said(held, said))

    def refund(self, held: Reservation, because: Unserved = "unsent", said: Sequence[Observation] = ()) -> None:
        """End *held*: nothing was served. Buckets that count what was *because* of this keep the debit."""
        if held.ended:
            return
        cost = held.offer.cost
        changes = [0.0 if keeps(bucket, because) else -cost.of(bucket.unit) for bucket in held.offer.buckets]
        self._journal.end(held, self._of_this_key(held, changes), self._said(held, said))

    def _said(self, held: Reservation, said: Sequence[Observation]) -> list[Entry]:
        return self._learnt(held.offer.buckets, said, held.at) if said else []

    # ── what providers and people say ──

    def observe(self, buckets: Sequence[Bucket], said: Sequence[Observation], asked_at: float) -> None:
        """Learn what a provider says of *buckets*: others may use the same account, or it counts differently."""
        if said:
            self._journal.note(self._learnt(buckets, said, asked_at + self._journal.ahead))

    def close(self, bucket: Bucket, seconds: float | None, because: str) -> None:
        """
        Let nothing be reserved from *bucket* for *seconds*; None: until its window gives room again.

        A close is never shortened by another, and ends by itself.
        """
        closed_for = -1.0 if seconds is None else max(0.0, seconds)
        self._journal.note([Entry(bucket, Close(closed_for, because[:LONGEST_REASON], self._journal.now()))])

    def refused(self, bucket: Bucket, amount: float, seconds: float, by: str) -> None:
        """
        A provider refused *amount* of *bucket*, and said, by *by*, that there is room for it in *seconds*: it is full until
        then, and then there is room for no more than that.
        """
        self._journal.note([Entry(bucket, Full(amount, max(0.0, seconds), by, self._journal.now()))])

    def open(self, bucket: Bucket) -> None:
        """Lift a close by hand."""
        self._journal.note([Entry(bucket, Open())])

    def _learnt(self, buckets: Sequence[Bucket], said: Sequence[Observation], asked_at: float) -> list[Entry]:
        """What *said* means for those of *buckets* that it is about."""
        now = self._journal.now()
        return [
            Entry(bucket, Learn(_or_none(o.limit), _or_none(o.remaining), o.by, asked_at, now))
            for o in said
            for bucket in buckets
            if bucket.unit == o.unit and bucket.window_name == o.window and o.scope in (None, bucket.scope)
        ]

    # ── what is known ──

    async def levels(self, buckets: Sequence[Bucket]) -> Mapping[str, LevelView]:
        """How full *buckets* are, by key."""
        await self._journal.look_at(buckets)
        now, ahead = self._journal.now(), self._journal.ahead
        return {bucket.key: _view(bucket, self.cache.level(bucket, now), now, ahead) for bucket in buckets}

    def limit(self, bucket: Bucket) -> float:
        """The limit of *bucket* that is in force, as far as this process has seen its level."""
        seen = self.cache.levels.get(bucket.key)
        return bucket.limit if seen is None else b.limit_of(bucket, seen[1], self._journal.now())

    async def openings(self, offers: Sequence[Offer]) -> list[Refusal | None]:
        """For each of *offers* what would refuse it now; None if it has room. Nothing is debited."""
        await self._journal.look_at(_buckets_of(offers))
        refusals = [self._journal.refuses(offer) for offer in offers]
        return [refused and self._in_force(refused) for refused in refusals]

    def _in_force(self, refused: Refusal) -> Refusal:
        bucket, limit = refused.bucket, self.limit(refused.bucket)
        if limit == bucket.limit:
            return refused
        return msgspec.structs.replace(refused, bucket=msgspec.structs.replace(bucket, limit=limit))

    def condition(self) -> Condition:
        """How the store fares."""
        return self._journal.condition()

    # ── running ──

    async def serve(self) -> None:
        """Keep in touch with the replicas that share the store, and with the levels in use, until ``aclose``."""
        await self._journal.serve()

    async def flush(self) -> None:
        """Have everything told to the store that has happened; return at once while it is away."""
        await self._journal.flush()

    async def aclose(self) -> None:
        """Write down everything, sign off, and give the store back."""
        await self._journal.aclose()


def _buckets_of(offers: Iterable[Offer]) -> list[Bucket]:
    return list({bucket.key: bucket for offer in offers for bucket in offer.buckets}.values())


def _or_none(value: float | None) -> float:
    return -1.0 if value is None else value


def _difference(bucket: Bucket, reserved: Cost, true: Cost) -> float:
    """What *bucket* is still to be debited, once it is known what a request took; negative: what comes back."""
    if bucket.keeps_output:
        true = msgspec.structs.replace(true, output=max(true.output, reserved.output))
    return true.of(bucket.unit) - reserved.of(bucket.unit)


def _view(bucket: Bucket, level: Level, now: float, ahead: float) -> LevelView:
    learned = level.limit >= 0 and now < level.limit_until
    closed = level.closed_until > now
    said = level.said_by and now < level.said_at + b.LEARNED_FOR
    return LevelView(
        account=bucket.account,
        bucket=bucket.key,
        unit=bucket.unit,
        window=bucket.window_name,
        used=b.used(bucket, level),
        limit=b.limit_of(bucket, level, now),
        limit_from=level.limit_by if learned else bucket.source,
        resets_at=b.refilled_at(bucket, level, now) - ahead,
        closed_until=level.closed_until - ahead if closed else None,
        closed_because=level.closed_because if closed else "",
        said_by=level.said_by if said else "",
        said_at=level.said_at - ahead if said else None,
    )
