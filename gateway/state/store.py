"""
What the gateways of one store know besides quotas: lists of models, who is out and why, what a refusal taught, what
things cost. It survives restarts and reaches every replica.

A *topic* holds small notes by key. They are few (bounded by the number of models), change seldom, and are read as a
whole; whoever writes one has it at once, the others within a second or so. Beside them stand *counters*, which only grow.

Losing the keeper loses nothing that is known here: what was noted meanwhile is told when it is back.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol, TypeVar

import msgspec

from gateway.clock import Clock

_GATHER = 0.05
"""Seconds for which notes are gathered before they are told."""

EVERY = 1.0
"""Seconds between two looks at what others noted."""

GATHER_EVERY = 5.0
"""Seconds for which those who learn with every request gather before they note it."""

_T = TypeVar("_T")

Notes = Mapping[str, bytes]
Watcher = Callable[[Notes], None]
Gatherer = Callable[[float], None]


def decoded(notes: Notes, kind: type[_T]) -> dict[str, _T]:
    """*notes* as values; what another version wrote and this one cannot read is left out."""
    found = {}
    for key, value in notes.items():
        try:
            found[key] = msgspec.json.decode(value, type=kind)
        except msgspec.DecodeError:
            continue
    return found


class KeeperFailure(Exception):
    """The keeper cannot be reached now."""


class Keeper(Protocol):
    """Where notes are kept. Only ``KeeperFailure`` is raised, and soon."""

    async def note(self, topic: str, notes: Mapping[str, bytes | None]) -> None:
        """Set notes of *topic*; None takes one away."""

    async def notes(self, topic: str) -> dict[str, bytes]:
        """All of *topic*."""

    async def editions(self) -> dict[str, str]:
        """Of each topic something else whenever a note of it was set or taken away by anybody; none if there never was."""

    async def count(self, amounts: Mapping[str, float]) -> None:
        """Add to counters."""

    async def counters(self) -> dict[str, float]:
        """All counters."""

    async def claim(self, what: str, seconds: float) -> bool:
        """Whether *what* is ours for so long: true for one caller at a time."""

    async def aclose(self) -> None:
        """Give everything back."""


class Memory:
    """One for each process. *keeper* is what it shares with others."""

    def __init__(self, keeper: Keeper, clock: Clock) -> None:
        self._keeper, self._clock = keeper, clock
        self._watchers: dict[str, Watcher] = {}
        self._known: dict[str, dict[str, bytes]] = defaultdict(dict)
        self._untold: dict[str, dict[str, bytes | None]] = defaultdict(dict)
        self._uncounted: dict[str, float] = defaultdict(float)
        self._gatherers: list[Gatherer] = []
        self._gathered_at = clock.now()
        self._editions: dict[str, str] | None = None
        self._task: asyncio.Task[None] | None = None
        self._soon: asyncio.TimerHandle | None = None
        self._telling: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()

    # ── for those who know something ──

    def watch(self, topic: str, watcher: Watcher) -> None:
        """*watcher* hears all notes of *topic* whenever somebody else changed one, and at the start."""
        self._watchers[topic] = watcher

    def gather(self, gatherer: Gatherer) -> None:
        """*gatherer* is told the time every few seconds and in the end, to note what changes with every request."""
        self._gatherers.append(gatherer)

    def note(self, topic: str, key: str, value: bytes | None) -> None:
        """Set a note; None takes it away. Here at once, elsewhere soon."""
        if value is None:
            self._known[topic].pop(key, None)
        else:
            self._known[topic][key] = value
        self._untold[topic][key] = value
        if self._task is not None and self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(_GATHER, self._tell_soon)

    async def tell(self) -> None:
        """Tell what is untold now, if anybody listens, rather than soon."""
        await self._try()

    def notes(self, topic: str) -> Notes:
        """What is known of *topic* here."""
        return self._known[topic]

    def count(self, counter: str, amount: float) -> None:
        """Add to a counter."""
        self._uncounted[counter] += amount

    async def counters(self) -> dict[str, float]:
        """All counters, of everybody. Raises KeeperFailure."""
        await self.exchange()
        return await self._keeper.counters()

    async def claim(self, what: str, seconds: float) -> bool:
        """Whether *what* is ours for so long. Without a keeper everybody has to help himself."""
        try:
            return await self._keeper.claim(what, seconds)
        except KeeperFailure:
            return True

    # ── with the others ──

    async def serve(self) -> None:
        """Hear what is known, and go on exchanging until ``aclose``."""
        await self._try()
        self._task = asyncio.create_task(self._keep_exchanging())

    async def exchange(self) -> None:
        """Tell what is untold, hear what changed. Raises KeeperFailure; then all of it is for the next time."""
        async with self._one_at_a_time:
            if self._clock.now() >= self._gathered_at + GATHER_EVERY:
                self._gather()
            await self._tell()
            editions = await self._keeper.editions()
            if editions == self._editions:
                return
            if not editions:  # it has lost its memory, or never had any: ours is the best there is
                for topic, notes in self._known.items():
                    self._untold[topic] = {**notes, **self._untold.get(topic, {})}
                await self._tell()
                editions = await self._keeper.editions()
            before = self._editions
            for topic, watcher in self._watchers.items():
                if before is None or editions.get(topic) != before.get(topic):
                    await self._hear(topic, watcher, at_first=before is None)
            self._editions = editions

    async def aclose(self) -> None:
        """Tell what is untold, if anybody listens, and stop."""
        if self._soon is not None:
            self._soon.cancel()
        async with self._one_at_a_time:  # an exchange that is cut short would leave its connection open
            tasks = [task for task in (self._task, self._telling) if task is not None]
            for task in tasks:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._gather()
        with suppress(KeeperFailure):
            await self._tell()
        await self._keeper.aclose()

    async def _keep_exchanging(self) -> None:
        while True:
            await self._clock.sleep(EVERY)
            await self._try()

    def _tell_soon(self) -> None:
        self._soon = None
        self._telling = asyncio.create_task(self._try())

    async def _try(self) -> None:
        with suppress(KeeperFailure):
            await self.exchange()

    def _gather(self) -> None:
        self._gathered_at = self._clock.now()
        for gatherer in self._gatherers:
            gatherer(self._gathered_at)

    async def _hear(self, topic: str, watcher: Watcher, *, at_first: bool) -> None:
        heard = await self._keeper.notes(topic)
        for key, value in self._untold[topic].items():  # noted since we told
            heard.pop(key, None)
            if value is not None:
                heard[key] = value
        if heard != self._known[topic] or at_first:
            self._known[topic] = heard
            watcher(heard)

    async def _tell(self) -> None:
        for topic in [topic for topic, notes in self._untold.items() if notes]:
            telling = self._untold.pop(topic)
            try:
                await self._keeper.note(topic, telling)
            except KeeperFailure:
                self._untold[topic] = {**telling, **self._untold.get(topic, {})}
                raise
        if self._uncounted:
            counting, self._uncounted = self._uncounted, defaultdict(float)
            try:
                await self._keeper.count(counting)
            except KeeperFailure:
                for counter, amount in counting.items():
                    self._uncounted[counter] += amount
                raise
