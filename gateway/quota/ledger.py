"""
The ledger: how much is left, and of what.

``reserve`` debits all buckets of a deployment or none, before anything is sent; every reservation ends exactly once, by
``settle`` (with the true cost) or ``refund`` (nothing was served). ``observe`` and ``close`` learn from what providers say;
``levels`` and ``openings`` tell. Where the levels are kept is a store's business (sqlite.py, redis.py).

Everything that happens goes into the journal, and leaves it when the store has confirmed it. The process has one
exchange with the store at a time, which carries the journal and the requests that have come meanwhile; so at most one
is ever in doubt. While the store is away, the journal grows, and degraded.py decides.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from itertools import count, islice
from typing import Any, Literal
from uuid import uuid4

import msgspec
from msgspec import Struct

from gateway.clock import Clock
from gateway.quota import buckets as b
from gateway.quota.buckets import Bucket, Level
from gateway.quota.degraded import HEARTBEAT, MOST_ENTRIES, PART_FOR, Degraded, WithheldParts, compacted
from gateway.quota.demand import counts
from gateway.quota.exchange import (
    Answer,
    Ask,
    Heartbeat,
    Outcome,
    Store,
    StoreFailure,
    StoreForgot,
    in_the_way,
    nothing_withheld,
)
from gateway.quota.level_cache import LevelCache, gave_back
from gateway.quota.nouns import Cost, LevelView, NoRoom, Offer, Refusal, Reservation, refusal
from gateway.quota.operations import Close, Debit, Entry, Learn, Open, Restore, Settle
from providers.observations import Observation

Unserved = Literal["unsent", "refused", "failed"]
"""Why nothing was served: it was not counted, or the provider refused it, or failed; some count those too."""

_GATHER = 0.02
"""Seconds for which what ended is gathered before it is written down, if no reservation takes it along earlier."""

_ENTRIES_AT_ONCE, _ASKS_AT_ONCE = 256, 64
"""What one exchange carries at most. Requests go along once the journal before them has been told."""

_FIRST, _MORE = 4, 64
"""Deployments that are offered in the first exchange for a request, and in each further one if none of them has room."""

_SEEN_AT_ONCE = 1000
"""Buckets that one look at a shared store reads."""


class Condition(Struct, frozen=True):
    """How the store fares. *lost* is why it cannot be reached, if so, since *since*; so many *replicas* share it."""

    store: str
    replicas: int = 1
    lost: str | None = None
    since: float = 0.0


class _Asking(Struct, eq=False):
    """A request that waits for an exchange: for the first of *offers* with room, or for the levels of *looks*."""

    lease: str
    offers: Iterator[Offer]
    looks: Sequence[Bucket]
    done: asyncio.Future[Any]
    offered: int = 0
    refusals: list[Refusal] = []


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
        self.cache = LevelCache()
        self._store, self._clock, self._buckets, self._tell, self._freed = store, clock, buckets, tell, freed
        self._name, self._numbers = f"{store.name}-{uuid4().hex[:6]}", count()
        self._ahead = 0.0  # of our clock, the store's
        self._held: set[str] = set()
        self._journal: list[Entry] = []
        self._most_entries = MOST_ENTRIES
        self._asking: deque[_Asking] = deque()
        self._exchanging: asyncio.Task[None] | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._least = replicas
        self._rank, self._replicas, self._sharing = 0, replicas, replicas  # those that live; those that may
        self._heard_at: float | None = None  # when our own heartbeat was last confirmed
        self._withheld = WithheldParts()
        self._degraded: Degraded | None = None
        self._untold: list[Entry] = []  # entries that ``_degraded`` has not heard of
        self._replaying = False
        self._in_store = asyncio.Lock()  # one exchange at a time
        self._seen_to = 0
        self._looking: asyncio.Task[None] | None = None

    # ── the life of a reservation ──

    async def reserve(self, offers: Iterable[Offer]) -> Reservation | NoRoom:
        """Debit the first of *offers* whose buckets all have room."""
        done = self._ask(self._new_lease(), offers)
        try:
            found: Reservation | NoRoom = await done
        except asyncio.CancelledError:
            if done.done() and not done.cancelled():  # it was told while its caller left
                self._unclaimed(done.result())
            raise
        return found

    def settle(self, held: Reservation, true: Cost, said: Sequence[Observation] = ()) -> None:
        """End *held* with what was really used, and learn what its answer *said* of its buckets."""
        if held.ended:
            return
        offer, now = held.offer, self._now()
        for bucket in offer.buckets:
            if counts(bucket):
                self.cache.demand.took(bucket, offer.cost.of(bucket.unit), true.of(bucket.unit), now)
        self._end(held, [_difference(bucket, offer.cost, true) for bucket in offer.buckets], said)

    def refund(self, held: Reservation, because: Unserved = "unsent", said: Sequence[Observation] = ()) -> None:
        """End *held*: nothing was served. Buckets that count what was *because* of this keep the debit."""
        if held.ended:
            return
        cost = held.offer.cost
        changes = [
            0.0
            if (because == "refused" and bucket.counts_refused) or (because == "failed" and bucket.counts_failed)
            else -cost.of(bucket.unit)
            for bucket in held.offer.buckets
        ]
        self._end(held, changes, said)

    def _end(self, held: Reservation, changes: Sequence[float], said: Sequence[Observation]) -> None:
        held.ended = True
        self._held.discard(held.id)
        buckets, now = held.offer.buckets, self._now()
        ended = [Settle(change, held.at, held.id, now) for change in changes]
        self._note(Entry(bucket, operation) for bucket, operation in zip(buckets, ended, strict=True))
        if said:
            self._note(self._learnt(buckets, said, held.at))
        self._freed()

    def _new_lease(self) -> str:
        return f"{self._name}-{next(self._numbers)}"

    def _unclaimed(self, found: Reservation | NoRoom | None) -> None:
        """The caller left: nothing is to stay debited."""
        if isinstance(found, Reservation):
            self.refund(found)

    # ── what providers and people say ──

    def observe(self, buckets: Sequence[Bucket], said: Sequence[Observation], asked_at: float) -> None:
        """Learn what a provider says of *buckets*: others may use the same account, or it counts differently."""
        if said:
            self._note(self._learnt(buckets, said, asked_at + self._ahead))
            self._freed()

    def close(self, bucket: Bucket, seconds: float | None, because: str) -> None:
        """
        Let nothing be reserved from *bucket* for *seconds*; None: until its window gives room again.

        A close is never shortened by another, and ends by itself.
        """
        self._note([Entry(bucket, Close(-1.0 if seconds is None else max(0.0, seconds), because, self._now()))])

    def open(self, bucket: Bucket) -> None:
        """Lift a close by hand."""
        self._note([Entry(bucket, Open())])
        self._freed()

    def _learnt(self, buckets: Sequence[Bucket], said: Sequence[Observation], asked_at: float) -> list[Entry]:
        """What *said* means for those of *buckets* that it is about."""
        now = self._now()
        return [
            Entry(bucket, Learn(_or_none(o.limit), _or_none(o.remaining), o.by, asked_at, now))
            for o in said
            for bucket in buckets
            if bucket.unit == o.unit and bucket.window_name == o.window and o.scope in (None, bucket.scope)
        ]

    # ── what is known ──

    async def levels(self, buckets: Sequence[Bucket]) -> Mapping[str, LevelView]:
        """How full *buckets* are, by key."""
        found, now = await self._look_at(buckets)
        return {bucket.key: _view(bucket, found.get(bucket.key) or Level(), now, self._ahead) for bucket in buckets}

    async def openings(self, offers: Sequence[Offer]) -> list[Refusal | None]:
        """For each of *offers* what would refuse it now; None if it has room. Nothing is debited."""
        found, now = await self._look_at(list({u.key: u for offer in offers for u in offer.buckets}.values()))
        openings: list[Refusal | None] = []
        for offer in offers:
            opens = [
                (bucket, b.opens_at(bucket, level, offer.cost.of(bucket.unit), now, self._left_alone(bucket)))
                for bucket in offer.buckets
                for level in (found.get(bucket.key) or Level(),)
            ]
            refused = in_the_way(opens, now)
            openings.append(None if refused is None else refusal(*refused, self._ahead))
        return openings

    async def _look_at(self, buckets: Sequence[Bucket]) -> tuple[dict[str, Level], float]:
        outcome: Outcome = await self._ask("", (), buckets)
        return {bucket.key: level for bucket, level in outcome.levels}, outcome.now

    def condition(self) -> Condition:
        """How the store fares."""
        if self._degraded is None:
            return Condition(self._store.title, self._replicas)
        return Condition(self._store.title, self._replicas, self._degraded.because, self._degraded.since)

    # ── running ──

    async def serve(self) -> None:
        """Keep in touch with the replicas that share the store, and with the levels in use, until ``aclose``."""
        if self._store.shared:
            await self._look()
            self._looking = _task(self._keep_looking())

    async def flush(self) -> None:
        """Have everything told to the store that has happened; return at once while it is away."""
        await self._ask("", ())

    async def aclose(self) -> None:
        """Write down everything, sign off, and give the store back."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        if self._writing is not None:
            self._writing.cancel()
        await self.flush()
        if self._exchanging is not None:
            await asyncio.gather(self._exchanging, return_exceptions=True)
        try:
            if self._degraded is not None:
                await self._replay()
            await self._store.sign_off(self._name)
        except StoreFailure:
            pass  # the journal is lost with the process; what it holds was counted in this replica's part
        await self._store.aclose()

    # ── one exchange after another ──

    def _now(self) -> float:
        return self._clock.now() + self._ahead

    def _ask(self, lease: str, offers: Iterable[Offer], looks: Sequence[Bucket] = ()) -> asyncio.Future[Any]:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asking.append(_Asking(lease, iter(offers), looks, done))
        self._wake()
        return done

    def _note(self, entries: Iterable[Entry]) -> None:
        """Something happened: it is written down with the next reservation, or soon."""
        noted = list(entries)
        self._journal += noted
        if self._degraded is not None:
            self._untold += noted
            self._bound_journal()
        if self._writing is None:
            self._writing = asyncio.get_running_loop().call_later(_GATHER, self._write)

    def _write(self) -> None:
        self._writing = None
        if self._journal:
            self._wake()

    def _wake(self) -> None:
        if self._exchanging is None:
            self._exchanging = _task(self._exchange_all())

    async def _exchange_all(self) -> None:
        try:
            while self._asking or (self._untold if self._degraded is not None else self._journal):
                await self._exchange_once()
        except BaseException as exc:  # a bug: requests are not to wait for ever
            asking, self._asking = self._asking, deque()
            for one in asking:
                if not one.done.done():
                    one.done.set_exception(exc)
            raise
        finally:
            self._exchanging = None

    async def _exchange_once(self) -> None:
        """One exchange: the journal, and the requests that have come, if all of it fits."""
        entries = (self._journal if self._degraded is None else self._untold)[:_ENTRIES_AT_ONCE]
        asking, asks = self._next(whole=len(entries) < _ENTRIES_AT_ONCE)
        looks = [bucket for one in asking for bucket in one.looks]
        try:
            outcome = await self._with_store(entries, asks, looks)
        except BaseException:
            self._asking.extendleft(reversed(asking))
            raise
        if outcome is None:  # it was lost, or had forgotten: again, with what is to be told first
            for one, ask in zip(asking, asks, strict=True):
                one.offers = _again(ask.offers, one.offers)
                one.lease = self._new_lease() if one.lease else ""  # the old one may have been debited
            self._asking.extendleft(reversed(asking))
            return
        for one, ask, answer in zip(asking, asks, outcome.answers, strict=True):
            self._tell_answer(one, ask, answer, outcome)

    def _next(self, *, whole: bool) -> tuple[list[_Asking], list[Ask]]:
        """The requests that go with the next exchange, with what each of them offers."""
        asking: list[_Asking] = []
        while whole and self._asking and len(asking) < _ASKS_AT_ONCE:
            one = self._asking.popleft()
            if not one.done.done():  # else its caller left
                asking.append(one)
        return asking, [Ask(one.lease, list(islice(one.offers, _MORE if one.offered else _FIRST))) for one in asking]

    async def _with_store(self, entries: list[Entry], asks: list[Ask], looks: list[Bucket]) -> Outcome | None:
        """What came of it, with the store or without; None: it must be tried again."""
        if self._degraded is not None:
            del self._untold[: len(entries)]
            outcome = self._degraded.exchange(entries, asks, looks, self._now())
            self._keep_debits(asks, outcome)
            for bucket, level in outcome.levels:
                self.cache.see_part(bucket, level)
            return outcome
        now = self._clock.now()
        withheld = self._left_alone if self._withheld else nothing_withheld
        try:
            async with self._in_store:
                outcome = await self._store.exchange(entries, asks, looks, now, withheld)
        except StoreForgot:
            self._remind()
            return None
        except StoreFailure as failure:
            self._lost(failure)
            return None
        finally:
            self._journal = [entry for entry in self._journal if not entry.done]
        if self._store.shared:
            self.cache.ahead = self._ahead = outcome.now - self._clock.now()
        for bucket, level in outcome.levels:
            self.cache.see(bucket, level)
        return outcome

    def _keep_debits(self, asks: list[Ask], outcome: Outcome) -> None:
        """What was debited without the store goes into the journal."""
        for ask, answer in zip(asks, outcome.answers, strict=True):
            if answer.place >= 0:
                offer = ask.offers[answer.place]
                self._journal += [
                    Entry(bucket, Debit(offer.cost.of(bucket.unit), outcome.now, ask.lease)) for bucket in offer.buckets
                ]
        self._bound_journal()

    def _bound_journal(self) -> None:
        if len(self._journal) > self._most_entries and not self._replaying:
            self._journal = compacted(self._journal)
            self._most_entries = max(MOST_ENTRIES, 2 * len(self._journal))

    def _tell_answer(self, one: _Asking, ask: Ask, answer: Answer, outcome: Outcome) -> None:
        found: Reservation | NoRoom | Outcome = outcome
        if answer.place >= 0:
            found = Reservation(one.lease, one.offered + answer.place, ask.offers[answer.place], outcome.now)
            self._held.add(one.lease)
        elif one.lease:
            one.refusals = [*one.refusals, *(refusal(*refused, self._ahead) for refused in answer.refusals)]
            one.offered += len(ask.offers)
            if len(ask.offers) >= _FIRST and (more := next(one.offers, None)) is not None:
                one.offers = _again([more], one.offers)
                self._asking.appendleft(one)
                return
            found = NoRoom(tuple(one.refusals))
        if one.done.done():
            self._unclaimed(found if isinstance(found, Reservation) else None)
        else:
            one.done.set_result(found)

    def _left_alone(self, bucket: Bucket) -> float:
        return self._withheld.of(bucket, self._now())

    # ── losing and finding the store ──

    def _remind(self) -> None:
        """The store has lost its memory: before anything else it is told what was known."""
        known = self.cache.levels.values()
        self._journal[:0] = [Entry(bucket, Restore(b.copy_of(level))) for bucket, level in known]

    def _lost(self, failure: StoreFailure) -> None:
        if self._degraded is not None:
            return
        if failure.heartbeat is not None:
            self._meet(failure.heartbeat)
        heard_at = self._clock.now() if self._heard_at is None else self._heard_at
        alone = self._sharing == 1 or not self._store.shared
        self._degraded = Degraded(
            self.cache.levels,
            rank=self._rank,
            count=self._sharing,
            held=self._held,
            because=str(failure),
            since=self._clock.now(),
            good_until=float("inf") if alone else heard_at + PART_FOR + self._ahead,
        )
        self._untold = list(self._journal)
        if not self._store.shared:
            self._looking = _task(self._keep_looking())
        self._tell(self.condition())

    def _meet(self, beat: Heartbeat) -> None:
        self._rank, self._replicas = beat.rank, max(len(beat.peers), self._least)
        self._sharing = max(len(beat.peers) + len(beat.missing), self._least)
        self.cache.replicas = self._replicas

    async def _keep_looking(self) -> None:
        while self._store.shared or self._degraded is not None:
            await self._clock.sleep(HEARTBEAT)
            await self._look()

    async def _look(self) -> None:
        """See who shares the store and what they took; tell a store that is back what it missed."""
        sent_at = self._clock.now()
        try:
            beat = await self._store.heartbeat(self._name, sent_at)
            if self._degraded is not None:
                await self._replay()
        except StoreFailure as failure:
            self._lost(failure)
            return
        self._heard_at = sent_at
        self._meet(beat)
        self._withheld.see(beat, self._buckets(), self.cache, self._now())
        if self._store.shared:
            await self._see()

    async def _see(self) -> None:
        """See what others took, of so many buckets that all have been seen within a few looks."""
        buckets = self._buckets()
        start = self._seen_to if self._seen_to < len(buckets) else 0
        seen = buckets[start : start + _SEEN_AT_ONCE]
        self._seen_to = start + len(seen)
        if not seen:
            return
        before = {bucket.key: self.cache.levels.get(bucket.key) for bucket in seen}
        levels, now = await self._look_at(seen)
        if self._degraded is not None:
            return
        for bucket in seen:
            if bucket.key not in levels:
                self.cache.forget(bucket)
        if any(gave_back(bucket, before[bucket.key], levels.get(bucket.key), now) for bucket in seen):
            self._freed()

    async def _replay(self) -> None:
        """Tell the store what it missed, until it has confirmed all of it. Raises StoreFailure; nothing is forgotten."""
        async with self._in_store:
            self._replaying = True
            try:
                await self._tell_journal()
            finally:
                self._replaying = False
        self._degraded, self._untold, self._most_entries = None, [], MOST_ENTRIES
        self.cache.back()
        self._tell(self.condition())
        self._freed()

    async def _tell_journal(self) -> None:
        for orphan in await self._store.clear_doubt():
            now = self._now()
            self._journal += [
                Entry(bucket, Settle(-orphan.offer.cost.of(bucket.unit), orphan.at, orphan.lease, now))
                for bucket in orphan.offer.buckets
            ]
        self._journal = [entry for entry in self._journal if not entry.done]
        while self._journal:
            entries = self._journal[:_ENTRIES_AT_ONCE]
            try:
                await self._store.exchange(entries, (), (), self._clock.now(), nothing_withheld)
            except StoreForgot:
                self._remind()
            finally:
                self._journal = [entry for entry in self._journal if not entry.done]


def _task(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(work)


def _again(first: Sequence[Offer], rest: Iterator[Offer]) -> Iterator[Offer]:
    yield from first
    yield from rest


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
