"""
The journal: what happened to levels, until the store has confirmed it, and the requests that wait for the store.

The process has one exchange with the store at a time, which carries the journal and the requests that have come
meanwhile; so at most one is ever in doubt. While the store is away, the journal grows, and degraded.py decides.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from uuid import uuid4

from gateway.clock import Clock, Timer
from gateway.quota import buckets as b
from gateway.quota.buckets import Bucket, Level
from gateway.quota.degraded import HEARTBEAT, MOST_ENTRIES, Degraded, compacted, debits
from gateway.quota.exchange import (
    Ask,
    Asking,
    AskResult,
    ExchangeResult,
    Store,
    StoreFailure,
    StoreForgot,
    nothing_withheld,
)
from gateway.quota.level_cache import LevelCache
from gateway.quota.looks import Looks
from gateway.quota.nouns import NO_TURN, Condition, NoRoom, Offer, Refusal, Reservation, Turn, refusal
from gateway.quota.operations import Entry, Restore, Settle, frees
from gateway.quota.peers import Peers

_GATHER = 0.01
"""Seconds for which what ended is gathered before a shared store is told, if no reservation takes it along earlier."""

_ENTRIES_AT_ONCE, _ASKS_AT_ONCE, _LOOKED_AT_ONCE = 256, 64, 1000
"""What one exchange carries at most. Requests go along once the journal before them has been told."""


class Journal:
    """One for each ledger, whose arguments it takes. Of this process's reservations, *held* have not ended; *ended* counts calls."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        buckets: Callable[[], Sequence[Bucket]],
        replicas: int,
        tell: Callable[[Condition], None],
        freed: Callable[[], None],
    ) -> None:
        self.cache = LevelCache()
        self._store, self._clock, self._buckets, self._tell, self._freed = store, clock, buckets, tell, freed
        self.name, self._numbers = f"{store.name}-{uuid4().hex[:6]}", count()
        self.held, self.ended = set[str](), 0
        self.entries: list[Entry] = []
        self._most_entries = MOST_ENTRIES
        self._asking: deque[Asking] = deque()
        self._exchanging: asyncio.Task[None] | None = None
        self._writing: Timer | None = None
        self._peers = Peers(replicas, self.cache)
        self._degraded: Degraded | None = None
        self._untold: list[Entry] = []  # entries that ``_degraded`` has not heard of
        self._replaying = False
        self._looks = Looks(store, clock, self.cache, freed)
        self._in_store = asyncio.Lock()  # one exchange at a time
        self._looking: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None

    @property
    def shared(self) -> bool:
        """Whether other machines share the store, and it is there."""
        return self._store.shared and self._degraded is None

    def condition(self) -> Condition:
        """How the store fares."""
        away, aside = self._degraded, tuple(self.cache.set_aside)
        lost, since = (None, 0.0) if away is None else (away.because, away.since)
        return Condition(self._store.title, self._peers.count, lost, since, aside)

    async def serve(self) -> None:
        """Keep in touch with the replicas that share the store, and with the levels in use, until ``aclose``."""
        if self._store.shared:
            await self.look()
            self._looking = asyncio.create_task(self._keep_looking())
            self._listening = asyncio.create_task(self._store.listen(self._freed))

    async def aclose(self) -> None:
        """Write down everything, sign off, and give the store back."""
        for task in (self._looking, self._listening):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._writing is not None:
            self._writing.cancel()
        await self.flush()
        if self._exchanging is not None:
            await asyncio.gather(self._exchanging, return_exceptions=True)
        try:
            if self._degraded is not None:
                await self._replay()
            await self._store.sign_off(self.name)
        except StoreFailure:
            pass  # the journal is lost with the process; what it holds was counted in this replica's part
        await self._store.aclose()

    # ── one exchange after another ──

    @property
    def ahead(self) -> float:
        """Seconds that the store's clock is ahead of ours."""
        return self.cache.ahead

    def now(self) -> float:
        return self._clock.now() + self.cache.ahead

    async def reserve(
        self, offers: Sequence[Offer], turn: Turn = NO_TURN, waited: float = 0.0
    ) -> tuple[Reservation | NoRoom, float]:
        """Debit the first of *offers* with room, or say what is in the way; and how long it has *waited* for the store by now."""
        asking = self.ask(self._new_lease(), offers, turn=turn, waited=waited)
        try:
            found: Reservation | NoRoom = await asking.done
        except asyncio.CancelledError:
            if asking.done.done() and not asking.done.cancelled():  # it was told while its caller left
                self._give_back(asking.done.result())
            raise
        return found, asking.waited

    def full(self, offered: Sequence[Offer]) -> dict[int, Refusal]:
        """Which of *offered* are full, by their places, as far as a look has told."""
        if not self.shared:  # it was lost by that look
            return {}
        found = ((place, self.refuses(offer)) for place, offer in enumerate(offered) if self._store.seen(offer.buckets))
        return {place: refusal for place, refusal in found if refusal is not None}

    def refuses(self, offer: Offer) -> Refusal | None:
        """What is in the way of *offer* now, by the levels that are known; None: nothing."""
        return self.cache.refuses(offer, self.now(), self.left_alone if self._peers.withheld else nothing_withheld)

    async def look_at(self, buckets: Iterable[Bucket], waited: float = 0.0) -> float:
        """
        Have ``cache`` know the levels of *buckets* as they are now. Returns for how many seconds the store was waited for,
        by one who has *waited* before.
        """
        if self.entries or self._exchanging is not None:
            await self.flush()
        again, took = list(buckets), 0.0
        if self._degraded is None:
            try:
                look = await self._looks.at(again, waited)
            except StoreFailure as failure:
                self._lost(failure)
            else:
                again, took = look.again, look.waited
        if again:
            await self.ask("", (), again).done
        return took

    async def flush(self) -> None:
        """Return once the store has heard of everything, or is away."""
        await self.ask("", ()).done

    def end(self, held: Reservation, changes: Iterable[float], said: Sequence[Entry] = ()) -> None:
        """*held* has ended, and each of its buckets *changes* by so much; its answer *said* something of some, too."""
        held.ended, now = True, self.now()
        self.held.discard(held.id)
        self.ended += held.counted
        changed = zip(held.offer.buckets, changes, strict=True)
        self.note([*(Entry(bucket, Settle(change, held.at, held.id, now)) for bucket, change in changed), *said])

    def _give_back(self, found: Reservation | NoRoom | None) -> None:
        """The caller left: nothing is to stay debited."""
        if isinstance(found, Reservation):
            self.end(found, [-found.offer.cost.of(bucket.unit) for bucket in found.offer.buckets])

    def _new_lease(self) -> str:
        return f"{self.name}-{next(self._numbers)}"

    def ask(
        self,
        lease: str,
        offers: Sequence[Offer],
        looks: Sequence[Bucket] = (),
        turn: Turn = NO_TURN,
        waited: float = 0.0,
    ) -> Asking:
        asking = Asking(lease, offers, looks, asyncio.get_running_loop().create_future(), waited, turn)
        self._asking.append(asking)
        self._wake()
        return asking

    def note(self, entries: Sequence[Entry]) -> None:
        """Something happened: the store is told with the next reservation, or soon."""
        self.entries += entries
        if self._degraded is not None:
            self._untold += entries
            self._bound()
        if not self._store.shared:  # what ends during an exchange is gathered anyway
            self._wake()
        elif self._writing is None:
            self._writing = self._clock.call_later(_GATHER, self._write)

    def _write(self) -> None:
        self._writing = None
        if self.entries:
            self._wake()

    def _wake(self) -> None:
        if self._exchanging is None:
            self._exchanging = asyncio.create_task(self._exchange_all())

    async def _exchange_all(self) -> None:
        try:
            while self._asking or (self._untold if self._degraded is not None else self.entries):
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
        entries = (self.entries if self._degraded is None else self._untold)[:_ENTRIES_AT_ONCE]
        asking = self._next() if len(entries) < _ENTRIES_AT_ONCE else []
        asks = [Ask(one.lease, one.offers, one.turn) for one in asking]
        try:
            result = await self._with_store(entries, asks, asking)
        except BaseException:
            self._asking.extendleft(reversed(asking))
            raise
        if result is None:  # it was lost, or had forgotten: again, with what is to be told first
            for one in asking:
                one.lease = self._new_lease() if one.lease else ""  # the old one may have been debited
            self._asking.extendleft(reversed(asking))
            return
        for one, answer in zip(asking, result.answers, strict=True):
            self._tell_answer(one, answer, result)
        if any(map(frees, entries)):
            self._freed()  # not before: what is given back is seen only now

    def _next(self) -> list[Asking]:
        """The requests that go with the next exchange."""
        asking: list[Asking] = []
        while self._asking and len(asking) < _ASKS_AT_ONCE:
            one = self._asking.popleft()
            if not one.done.done():  # else its caller left
                asking.append(one)
        return asking

    async def _with_store(
        self, entries: list[Entry], asks: list[Ask], asking: Sequence[Asking]
    ) -> ExchangeResult | None:
        """What came of it, with the store or without; None: it must be tried again."""
        looks = [bucket for one in asking for bucket in one.looks]
        if self._degraded is not None:
            del self._untold[: len(entries)]
            result = self._degraded.exchange(entries, asks, looks, self.now())
            self.entries += debits(asks, result)
            self._bound()
            for bucket, level in result.levels:
                self.cache.see_part(bucket, level or Level())
            return result
        now, withheld = self._clock.now(), self.left_alone if self._peers.withheld else nothing_withheld
        waited = max((one.waited for one in asking), default=0.0)
        try:
            async with self._in_store:
                result = await self._store.exchange(entries, asks, looks, now, withheld, waited)
        except StoreForgot:
            self._remind()
            return None
        except StoreFailure as failure:
            self._lost(failure)
            return None
        finally:
            self.entries = [entry for entry in self.entries if not entry.done]
        for one in asking:
            one.waited += result.waited
        self._see_all(result)
        return result

    def _see_all(self, result: ExchangeResult) -> None:
        if self._store.shared:
            self.cache.ahead = result.now - self._clock.now()
        for bucket, level in result.levels:
            self.cache.see(bucket, level)
        if self.cache.put_aside(result.set_aside):
            self._tell(self.condition())

    def _bound(self) -> None:
        if len(self.entries) > self._most_entries and not self._replaying:
            self.entries = compacted(self.entries)
            self._most_entries = max(MOST_ENTRIES, 2 * len(self.entries))

    def _tell_answer(self, one: Asking, answer: AskResult, result: ExchangeResult) -> None:
        found: Reservation | NoRoom | None = None
        if answer.place >= 0:
            offer = one.offers[answer.place]
            found = Reservation(one.lease, answer.place, offer, result.now, counted=result.counted and offer.counted)
            self.held.add(one.lease)
        elif one.lease:
            found = NoRoom(tuple(refusal(*refused, self.ahead) for refused in answer.refusals))
        if not one.done.done():
            one.done.set_result(found)
        elif isinstance(found, Reservation):
            self._give_back(found)

    def left_alone(self, bucket: Bucket) -> float:
        return self._peers.withheld.of(bucket, self.now())

    # ── losing and finding the store ──

    def _remind(self) -> None:
        """The store has lost its memory: before anything else it is told what was known."""
        known = self.cache.levels.values()
        self.entries[:0] = [Entry(bucket, Restore(b.copy_of(level))) for bucket, level in known]

    def _lost(self, failure: StoreFailure) -> None:
        if self._degraded is not None:
            return
        if failure.heartbeat is not None:
            self._peers.meet(failure.heartbeat)
        now = self._clock.now()
        self._degraded = Degraded(
            self.cache.levels,
            rank=self._peers.rank,
            count=self._peers.sharing,
            held=self.held,
            because=str(failure),
            since=now,
            good_until=self._peers.part_ends(now) + self.ahead if self._store.shared else float("inf"),
        )
        self._untold = list(self.entries)
        if not self._store.shared:
            self._looking = asyncio.create_task(self._keep_looking())
        self._tell(self.condition())

    async def _keep_looking(self) -> None:
        while self._store.shared or self._degraded is not None:
            await self._clock.sleep(HEARTBEAT)
            await self.look()

    async def look(self) -> None:
        """See who shares the store and what they took; tell a store that is back what it missed."""
        sent_at = self._clock.now()
        try:
            beat = await self._store.heartbeat(self.name, sent_at)
            if self._degraded is not None:
                await self._replay()
        except StoreFailure as failure:
            self._lost(failure)
            return
        if given_back := self._peers.heard(beat, sent_at, self._buckets(), self.now()):
            self.note(given_back)
        if self.shared:
            await self.look_at(self._buckets())

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
        looks: Sequence[Bucket] = tuple({entry.bucket.key: entry.bucket for entry in self.entries}.values())
        for orphan in await self._store.clear_doubt():
            cost, now = orphan.offer.cost, self.now()  # only the store has debited it, so only the store is told
            self.ended += orphan.offer.counted
            self.entries += [
                Entry(bucket, Settle(-cost.of(bucket.unit), orphan.at, orphan.lease, now))
                for bucket in orphan.offer.buckets
            ]
        self.entries = [entry for entry in self.entries if not entry.done]
        while self.entries or looks:
            entries = self.entries[:_ENTRIES_AT_ONCE]
            # Nothing is given from levels of before: should it be lost again at once, it goes on from what it is now.
            looked = () if self.entries[_ENTRIES_AT_ONCE:] else looks[:_LOOKED_AT_ONCE]
            try:
                result = await self._store.exchange(entries, (), looked, self._clock.now(), nothing_withheld)
                self._see_all(result)
                looks = looks[len(looked) :]
            except StoreForgot:
                self._remind()
            finally:
                self.entries = [entry for entry in self.entries if not entry.done]
