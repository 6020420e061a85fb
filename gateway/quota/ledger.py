"""
The ledger: who has how much left.

``reserve`` debits all buckets of a deployment or none, before anything is sent; every reservation ends exactly once, by
``settle`` (with the true cost) or ``refund`` (nothing was served). ``observe`` and ``close`` take in what providers say;
``levels`` and ``shares`` tell people and the router. Where the levels are kept is a store's business (embedded.py,
shared.py), and what happens while that cannot be reached is outage.py's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from itertools import count
from operator import itemgetter
from typing import Any, Literal, TypeVar
from uuid import uuid4

import msgspec
from msgspec import Struct

from gateway.clock import Clock
from gateway.quota import buckets as b
from gateway.quota.buckets import Bucket, Level
from gateway.quota.degraded import Outage, careful
from gateway.quota.demand import counts
from gateway.quota.exchange import Outcome, Store, StoreFailure
from gateway.quota.level_cache import Known
from gateway.quota.nouns import Cost, LevelView, NoRoom, Reservation, Wanted
from gateway.quota.operations import Close, Happening, Learn, Open, Settle
from gateway.quota.prices import Share
from providers.observations import Observation

Unserved = Literal["unsent", "refused", "failed"]
"""Why nothing was served: it was not counted, or the provider refused it, or failed; some count those too."""

_GATHER = 0.02
"""Seconds for which what ended is gathered before it is written down, if no reservation takes it along earlier."""

_AT_ONCE = 50
"""Buckets of which a store that is back is told in one exchange."""

_SEEN_AT_ONCE = 1000
"""Buckets that one look at a shared store reads."""

BEAT = 1.0
"""Seconds between two looks at a store that others share: who they are, and what they took."""


_T = TypeVar("_T")


class Condition(Struct, frozen=True):
    """How the store fares. *lost* is why it cannot be reached, if so, since *since*; *replicas* is who shares it."""

    store: str
    replicas: int = 1
    lost: str | None = None
    since: float = 0.0


class Ledger:
    """
    One for each process. All moments are unix seconds of *clock*, whatever the store's own clock says.

    *buckets* are those in use. *replicas* is how many share the store at least, for a replica that never saw the others. *tell* hears when the
    store is lost and when it is back.
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
        self._store, self._clock, self._tell, self._freed = store, clock, tell, freed
        self._name, self._numbers = f"{store.name}-{uuid4().hex[:6]}", count()
        self._ahead = 0.0  # of our clock, the store's
        self._held: set[str] = set()
        self._happened: list[tuple[Bucket, Happening]] = []
        self._writing: asyncio.TimerHandle | None = None
        self._known = Known()
        self._rank, self._replicas, self._least = 0, replicas, replicas
        self._age = ""
        self._outage: Outage | None = None
        self._buckets = buckets
        self._seen_to = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._looking: asyncio.Task[Any] | None = None

    # ── the life of a reservation ──

    async def reserve(self, wanted: Iterable[Wanted]) -> Reservation | NoRoom:
        """Debit the first of *wanted* whose buckets all have room. *wanted* may be iterated over more than once."""
        lease = f"{self._name}-{next(self._numbers)}"
        outcome = await self._exchange(wanted, lease)
        if outcome.placed is None:
            return NoRoom(tuple((bucket, opens - self._ahead) for bucket, opens in outcome.refusals))
        place, want = outcome.placed
        self._held.add(lease)
        return Reservation(lease, place, want, outcome.now)

    def settle(self, held: Reservation, true: Cost, said: Sequence[Observation] = ()) -> None:
        """End *held* with what was really used, and take in what its answer *said* of its buckets."""
        wanted, now = held.wanted, self._clock.now() + self._ahead
        for bucket in wanted.buckets:
            if counts(bucket):
                self._known.demand.took(bucket, wanted.cost.of(bucket.unit), true.of(bucket.unit), now)
        self._end(held, [_difference(bucket, wanted.cost, true) for bucket in wanted.buckets], said)

    def refund(self, held: Reservation, because: Unserved = "unsent", said: Sequence[Observation] = ()) -> None:
        """End *held*: nothing was served. Buckets that count what was *because* of this keep the debit."""
        cost = held.wanted.cost
        changes = [
            0.0
            if (because == "refused" and bucket.counts_refused) or (because == "failed" and bucket.counts_failed)
            else -cost.of(bucket.unit)
            for bucket in held.wanted.buckets
        ]
        self._end(held, changes, said)

    def _end(self, held: Reservation, changes: Sequence[float], said: Sequence[Observation]) -> None:
        if held.ended:
            return
        held.ended = True
        self._held.discard(held.id)
        buckets = held.wanted.buckets
        self._note((bucket, Settle(change, held.at, held.id)) for bucket, change in zip(buckets, changes, strict=True))
        if said:
            self._note(_learnt(buckets, said, held.at))
        self._freed()

    # ── what providers and people say ──

    def observe(self, buckets: Sequence[Bucket], said: Sequence[Observation], asked_at: float) -> None:
        """Take in what a provider says of *buckets*: others may use the same account, or it counts differently."""
        if said:
            self._note(_learnt(buckets, said, asked_at + self._ahead))

    def close(self, bucket: Bucket, seconds: float | None, because: str) -> None:
        """
        Let nothing be reserved from *bucket* for *seconds*; None: until its window gives room again.

        A close is never shortened by another, and ends by itself.
        """
        at = self._clock.now() + self._ahead
        self._note([(bucket, Close(-1.0 if seconds is None else max(0.0, seconds), because, at))])

    def open(self, bucket: Bucket) -> None:
        """Lift a close by hand."""
        self._note([(bucket, Open())])

    # ── what is known ──

    async def levels(self, buckets: Sequence[Bucket]) -> Mapping[str, LevelView]:
        """How full *buckets* are, by key."""
        outcome = await self._exchange((), "", buckets)
        found = {bucket.key: level for bucket, level in outcome.levels}
        return {
            bucket.key: _view(bucket, found.get(bucket.key) or Level(), outcome.now, self._ahead) for bucket in buckets
        }

    async def openings(self, wanted: Sequence[Wanted]) -> list[tuple[Bucket, float] | None]:
        """For each of *wanted* its bucket that has room last, and when; None if it has room now. Nothing is debited."""
        looked_at = list({bucket.key: bucket for want in wanted for bucket in want.buckets}.values())
        outcome = await self._exchange((), "", looked_at)
        found, now = {bucket.key: level for bucket, level in outcome.levels}, outcome.now
        openings = []
        for want in wanted:
            moments = [
                (bucket, b.opens_at(bucket, found.get(bucket.key) or Level(), want.cost.of(bucket.unit), now))
                for bucket in want.buckets
            ]
            last = max(moments, key=itemgetter(1), default=None)
            openings.append(None if last is None or last[1] <= now else (last[0], last[1] - self._ahead))
        return openings

    def shares(self) -> Mapping[str, Share]:
        """How dear each bucket is, by key, as far as this process knows: costs nothing, for ranking."""
        if not self._store.shared and self._outage is None:
            self._known.renew(self._buckets(), self._clock.now())
        return self._known.shares

    def condition(self) -> Condition:
        """How the store fares."""
        if self._outage is None:
            return Condition(self._store.title, self._replicas)
        return Condition(self._store.title, self._replicas, self._outage.because, self._outage.since)

    # ── running ──

    async def serve(self) -> None:
        """Keep in touch with those who share the store, and with the levels of the buckets in use, until ``aclose``."""
        if self._store.shared:
            await self._look()
            self._looking = self._run(self._keep_looking())

    async def flush(self) -> None:
        """Write down everything that has happened."""
        await self._exchange_now((), "", ())

    async def aclose(self) -> None:
        """Write down everything, and give the store back."""
        if self._looking is not None:
            self._looking.cancel()
        if self._writing is not None:
            self._writing.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.flush()
        await self._store.aclose()

    def _run(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ── with the store, or without ──

    async def _exchange(self, wanted: Iterable[Wanted], lease: str, look_at: Sequence[Bucket] = ()) -> Outcome:
        """One exchange, with everything that has happened so far."""
        if not self._store.shared:
            return await self._exchange_now(wanted, lease, look_at)
        # A caller who leaves must not leave a debit behind that nobody owns.
        work = self._run(self._exchange_now(wanted, lease, look_at))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            work.add_done_callback(lambda done: self._unclaimed(done.result(), lease))
            raise

    def _unclaimed(self, outcome: Outcome, lease: str) -> None:
        if outcome.placed is not None:
            self.refund(Reservation(lease, *outcome.placed, outcome.now))

    async def _exchange_now(self, wanted: Iterable[Wanted], lease: str, look_at: Sequence[Bucket]) -> Outcome:
        happened, self._happened = self._happened, []
        if self._outage is None:
            try:
                outcome = await self._store.exchange(happened, wanted, lease, self._clock.now(), look_at)
            except StoreFailure as failure:
                happened = [(bucket, careful(happening)) for bucket, happening in happened]
                outage = self._lost(failure)
                outage.disown(lease, wanted, self._clock.now() + self._ahead)
            except asyncio.CancelledError:
                # Only waiting for one's turn can be cut short: none of it was taken in.
                self._happened[:0] = happened
                self._note(())
                raise
            else:
                if self._store.shared:
                    self._ahead = outcome.now - self._clock.now()
                self._take_note(outcome)
                return outcome
        else:
            outage = self._outage
        outcome = outage.exchange(happened, wanted, lease, self._clock.now() + self._ahead, look_at)
        self._take_note(outcome)
        return outcome

    def _note(self, happened: Iterable[tuple[Bucket, Happening]]) -> None:
        """Something happened: it is written down with the next reservation, or soon."""
        self._happened += happened
        if self._writing is None:
            self._writing = asyncio.get_running_loop().call_later(_GATHER, self._write)

    def _write(self) -> None:
        self._writing = None
        if self._happened:
            self._run(self.flush())

    def _take_note(self, outcome: Outcome) -> None:
        known = self._known
        known.ahead, known.processes = self._ahead, self._replicas
        for looked in outcome.levels:
            bucket, level = looked
            known.share(bucket, level, outcome.now)
            if self._outage is None:
                known.levels[bucket.key] = looked

    # ── losing and finding the store ──

    def _lost(self, failure: StoreFailure) -> Outage:
        if self._outage is None:
            if failure.kin is not None:
                self._rank, self._replicas = failure.kin.rank, max(failure.kin.count, self._least)
            self._outage = Outage(
                self._known.levels,
                rank=self._rank,
                count=self._replicas,
                held=self._held,
                because=str(failure),
                since=self._clock.now(),
            )
            if not self._store.shared:
                self._looking = self._run(self._keep_looking())
            self._tell(self.condition())
        return self._outage

    async def _keep_looking(self) -> None:
        while self._store.shared or self._outage is not None:
            await self._clock.sleep(BEAT)
            await self._look()

    async def _look(self) -> None:
        """See who shares the store and what they took; tell a store that is back what it missed."""
        try:
            beat = await self._store.beat(self._name)
            if self._age not in ("", beat.age):
                self._lost(StoreFailure("it has lost its memory"))
            if self._outage is not None:
                await self._make_up(self._outage)
            self._rank, self._replicas, self._age = beat.rank, max(beat.count, self._least), beat.age
            await self._see()
        except StoreFailure as failure:
            self._lost(failure)

    async def _see(self) -> None:
        """See what others took, of so many buckets that all have been seen within a few looks."""
        buckets = self._buckets()
        start = self._seen_to if self._seen_to < len(buckets) else 0
        seen = buckets[start : start + _SEEN_AT_ONCE]
        self._seen_to = start + len(seen)
        if not seen:
            return
        outcome = await self._store.exchange((), (), "", self._clock.now(), seen)
        self._take_note(outcome)
        told = {bucket.key for bucket, _ in outcome.levels}
        for bucket in seen:
            if bucket.key not in told:
                self._known.blank(bucket, outcome.now)

    async def _make_up(self, outage: Outage) -> None:
        while pieces := outage.report(self._clock.now() + self._ahead, _AT_ONCE):
            try:
                await self._store.exchange([event for piece in pieces for event in piece], (), "", self._clock.now())
            except StoreFailure:
                outage.doubt(pieces)
                raise
        self._outage = None
        self._tell(self.condition())


def _learnt(buckets: Sequence[Bucket], said: Sequence[Observation], asked_at: float) -> list[tuple[Bucket, Happening]]:
    """What *said* means for those of *buckets* that it is about."""
    return [
        (bucket, Learn(_or_none(o.limit), _or_none(o.remaining), o.by, asked_at))
        for o in said
        for bucket in buckets
        if bucket.unit == o.unit and bucket.window_name == o.window and o.scope in (None, bucket.scope)
    ]


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
