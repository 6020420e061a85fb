"""
What the gateways of one store know besides quotas: lists of models, what is out and why, what a refusal taught, what
things cost. It survives restarts and reaches every replica.

A *topic* holds small entries by key. They are few (bounded by the number of models), change seldom, and are read as a
whole; the process that sets one has it at once, the others within a second or so. Beside them stand *counters*, which
only grow, in groups that are forgotten as a whole. An entry that cannot be read, as another version wrote it or something damaged it, is left out and left alone.

Losing the backend loses nothing that is known here: what was set meanwhile is sent when it is back.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol, TypeVar

import msgspec

from gateway.clock import Clock, Timer
from gateway.events import EntriesUnreadable, Event, StateChanged

_GATHER = 0.05
"""Seconds for which entries are gathered before they are sent."""

EVERY = 1.0
"""Seconds between two looks at what others set."""

GATHER_EVERY = 5.0
"""Seconds for which what is learned with every request is gathered before it is set."""

BACKEND = ""
"""No topic: the name under which a backend tells which one it is."""

_T = TypeVar("_T")

Gatherer = Callable[[float], None]


class StateFailure(Exception):
    """The backend cannot be reached now."""


class StateBackend(Protocol):
    """Where entries are kept. Only ``StateFailure`` is raised, and soon; the event loop is never blocked."""

    async def write(self, topic: str, entries: Mapping[str, bytes | None]) -> None:
        """Set entries of *topic*, all or none; None takes one away."""

    async def read(self, topic: str) -> dict[str, bytes]:
        """All of *topic*."""

    async def revisions(self) -> dict[str, str]:
        """
        Of each topic another text whenever an entry of it was set or taken away by anybody; none if there never was.
        Under ``BACKEND`` a text that is another one once the backend has forgotten everything.
        """

    async def count(self, amounts: Mapping[str, float], group: str = "") -> None:
        """Add to counters of *group*, all or none."""

    async def counters(self, group: str = "") -> dict[str, float]:
        """All counters of *group*."""

    async def counter_groups(self) -> list[str]:
        """The groups that have counters."""

    async def forget_counters(self, first: str, last: str) -> None:
        """Forget the groups whose names stand between *first* and *last*, which is not among them."""

    async def claim(self, what: str, seconds: float) -> bool:
        """Whether *what* is ours for so long: true for one caller at a time."""

    async def aclose(self) -> None:
        """Give everything back."""


class StateStore:
    """One for each process. *backend* is what it shares with others; *tell* hears of entries that cannot be read."""

    def __init__(self, backend: StateBackend, clock: Clock, tell: Callable[[Event], None] = lambda _: None) -> None:
        self._backend, self._clock, self._tell = backend, clock, tell
        self._watchers: dict[str, Callable[[], None]] = {}
        self._known: dict[str, dict[str, bytes]] = defaultdict(dict)
        self._unsent: dict[str, dict[str, bytes | None]] = defaultdict(dict)
        self._uncounted: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self._unreadable: dict[str, set[str]] = defaultdict(set)
        self._gatherers: list[Gatherer] = []
        self._gathered_at = clock.now()
        self._revisions: dict[str, str] | None = None
        self._exchanging = asyncio.Lock()
        self._bugs: list[Exception] = []
        self._due = asyncio.Event()
        self._soon: Timer | None = None
        self._serving = False
        self.lost: str | None = None  # why nothing can be exchanged with others now
        self.tried = asyncio.Event()  # set once the first exchange came to its end, good or bad

    # ── for the parts that know something ──

    def watch(self, topic: str, kind: type[_T], watcher: Callable[[dict[str, _T]], None]) -> None:
        """*watcher* hears all of *topic*, as values of *kind*, when another process changed it, and at the start."""
        self._watchers[topic] = lambda: watcher(self.entries(topic, kind))

    def gather(self, gatherer: Gatherer) -> None:
        """*gatherer* is told the time every few seconds and in the end, to set what changes with every request."""
        self._gatherers.append(gatherer)

    def set(self, topic: str, key: str, value: object | None) -> None:
        """Set an entry to anything that msgspec can encode; None takes it away. Here at once, elsewhere soon."""
        encoded = None if value is None else msgspec.json.encode(value)
        if encoded is None:
            self._known[topic].pop(key, None)
        else:
            self._known[topic][key] = encoded
        self._unsent[topic][key] = encoded
        if self._serving and self._soon is None:
            self._soon = self._clock.call_later(_GATHER, self._due.set)

    def entries(self, topic: str, kind: type[_T]) -> dict[str, _T]:
        """What is known of *topic* here, as far as it can be read as *kind*. What cannot is told once."""
        found, unreadable, because = {}, [], ""
        for key, value in self._known[topic].items():
            try:
                found[key] = msgspec.json.decode(value, type=kind)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
                unreadable.append(key)
                because = because or str(exc)
        news = tuple(key for key in unreadable if key not in self._unreadable[topic])
        self._unreadable[topic] = set(unreadable)
        if news:
            self._tell(EntriesUnreadable(topic, news, because))
        return found

    @property
    def unreadable(self) -> int:
        """How many entries could not be read when they were last looked at."""
        return sum(map(len, self._unreadable.values()))

    def unread(self, topic: str) -> frozenset[str]:
        """The keys of the entries of *topic* that could not be read when they were last looked at."""
        return frozenset(self._unreadable[topic])

    async def flush(self) -> None:
        """Send what is unsent now, if the backend is there, rather than soon."""
        async with self._exchanging:
            with suppress(StateFailure):
                await self._send()

    def count(self, counter: str, amount: float, group: str = "") -> None:
        """Add to a counter of *group*."""
        self._uncounted[group][counter] += amount

    async def counters(self, *groups: str) -> list[dict[str, float]]:
        """All counters of each of *groups*, of everybody. Raises StateFailure."""
        await self.exchange()
        return [await self._backend.counters(group) for group in groups]

    async def forget_counters(self, first: str, last: str) -> None:
        """Forget the groups whose names stand between *first* and *last*, which is not among them. Raises StateFailure."""
        await self._backend.forget_counters(first, last)

    async def claim(self, what: str, seconds: float) -> bool:
        """Whether *what* is ours for so long. Without a backend everybody has to help themselves."""
        try:
            return await self._backend.claim(what, seconds)
        except StateFailure:
            return True

    # ── with the others ──

    async def exchange_forever(self) -> None:
        """The background loop: exchange now, then soon after something was set, and every ``EVERY`` seconds."""
        self._serving = True
        try:
            while True:
                await _to_its_end(self._try())
                await self._rest()
        finally:
            self._serving = False

    async def exchange(self) -> None:
        """
        Send what is unsent, hear what changed.

        Raises StateFailure; then all of it is for the next time. What a watcher or gatherer raises is raised in the end,
        once the others had their turn.
        """
        try:
            async with self._exchanging, self._told_if_lost():
                if not 0 <= self._clock.now() - self._gathered_at < GATHER_EVERY:  # or the clock was set back
                    self._gather()
                await self._send()
                await self._hear_what_changed()
        finally:
            self.tried.set()
        self._raise_bug()

    async def aclose(self) -> None:
        """Send what is unsent, if the backend is there, and give it back."""
        async with self._exchanging:
            self._gather()
            try:
                with suppress(StateFailure):
                    await self._send()
            finally:
                await self._backend.aclose()
        self._raise_bug()

    async def _rest(self) -> None:
        timer = self._clock.call_later(EVERY, self._due.set)
        try:
            await self._due.wait()
        finally:
            timer.cancel()
            if self._soon is not None:
                self._soon.cancel()
            self._soon = None
            self._due.clear()

    async def _try(self) -> None:
        with suppress(StateFailure):
            await self.exchange()

    @asynccontextmanager
    async def _told_if_lost(self) -> AsyncIterator[None]:
        """What is done here shows whether the backend is there. That it is lost is told once, and that it is back."""
        try:
            yield
        except StateFailure as failure:
            before, self.lost = self.lost, str(failure)
            if before is None:
                self._tell(StateChanged(self.lost))
            raise
        if self.lost is not None:
            self.lost = None
            self._tell(StateChanged(None))

    def _gather(self) -> None:
        self._gathered_at = self._clock.now()
        for gatherer in self._gatherers:
            self._call(lambda gatherer=gatherer: gatherer(self._gathered_at))  # type: ignore[misc]

    async def _hear_what_changed(self) -> None:
        revisions, before = await self._backend.revisions(), self._revisions
        if revisions == before:
            return
        forgot = before is not None and before.get(BACKEND) != revisions.get(BACKEND)
        if forgot:  # what we know is the best there is
            for topic, entries in self._known.items():
                self._unsent[topic] = {**entries, **self._unsent.get(topic, {})}
            await self._send()
            revisions = await self._backend.revisions()
        for topic in self._watchers:
            if before is None or forgot or revisions.get(topic) != before.get(topic):
                await self._hear(topic, at_first=before is None)
        self._revisions = revisions

    async def _hear(self, topic: str, *, at_first: bool) -> None:
        heard = await self._backend.read(topic)
        for key, value in self._unsent[topic].items():  # set since we sent
            heard.pop(key, None)
            if value is not None:
                heard[key] = value
        if heard != self._known[topic] or at_first:
            self._known[topic] = heard
            self._call(self._watchers[topic])

    async def _send(self) -> None:
        for topic in [topic for topic, entries in self._unsent.items() if entries]:
            sending = self._unsent.pop(topic)
            try:
                await self._backend.write(topic, sending)
            except BaseException:
                self._unsent[topic] = {**sending, **self._unsent.get(topic, {})}
                raise
        for group in list(self._uncounted):
            counting = self._uncounted.pop(group)
            try:
                await self._backend.count(counting, group)
            except BaseException:
                for counter, amount in counting.items():
                    self._uncounted[group][counter] += amount
                raise

    def _call(self, watcher: Callable[[], None]) -> None:
        """The error of one must not keep the others from hearing: it is raised after them."""
        try:
            watcher()
        except Exception as exc:  # noqa: BLE001 - raised by _raise_bug
            self._bugs.append(exc)

    def _raise_bug(self) -> None:
        bugs, self._bugs = self._bugs, []
        if bugs:
            raise bugs[0]


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Await *work*, also if we are cancelled meanwhile: an exchange that is cut short would leave its connection open."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise
