"""
What happened in every five minutes of the last seven days: for plots. An observer; what it counts lasts across restarts.

Each process keeps an entry of the state for each day. What all of them counted is added up when it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping

from msgspec import Struct, field

from gateway.clock import Clock
from gateway.events import Ended, Event, Left
from gateway.state.store import StateStore

SECONDS = 300.0
KEPT = 7 * 86_400.0

WRITTEN_EVERY = 60.0
"""Seconds: so much a process that is killed forgets at most."""

_TOPIC, _DAY = "series", 86_400.0
_REFUSED = 429  # the least status of a request that could not be served though it is not at fault


class Tally(Struct, array_like=True):
    """
    What was counted in the *SECONDS* from *at* (unix seconds). *served*, *used* and *lost* are by provider; *waited* is the sum of
    all *waiters*. *lost* is what calendar quotas had left when they were reset: all processes see the same.
    """

    at: float
    served: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    retried: int = 0
    waited: float = 0.0
    waiters: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    used: dict[str, float] = field(default_factory=dict)
    lost: dict[str, float] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Count what *other* did, too."""
        for provider, served in other.served.items():
            self.served[provider] = self.served.get(provider, 0) + served
        for provider, used in other.used.items():
            self.used[provider] = self.used.get(provider, 0.0) + used
        for provider, lost in other.lost.items():
            self.lost[provider] = self.lost.get(provider, 0.0) + lost
        self.refused += other.refused
        self.retried += other.retried
        self.waited += other.waited
        self.waiters += other.waiters
        self.prompt_tokens += other.prompt_tokens
        self.output_tokens += other.output_tokens


class Series:
    """*replica* is this process's alone; *calendar* tells the keys of the buckets that count requests by the calendar."""

    def __init__(
        self, state: StateStore, clock: Clock, replica: str, calendar: Callable[[], Collection[str]] = frozenset
    ) -> None:
        self._state, self._clock, self._replica, self._calendar = state, clock, replica, calendar
        self._mine: dict[float, Tally] = {}
        self._others: dict[str, list[Tally]] = {}
        self._now = Tally(-math.inf)
        self._unwritten = False
        self._days: set[float] = set()  # that something was counted of lately
        self._written: set[str] = set()  # keys of ours
        state.watch(_TOPIC, list[Tally], self._hear)

    def __call__(self, event: Event) -> None:
        match event:
            case Ended():
                self._ended(event, self._tally(event.at))
            case Left() if event.sent:
                self._left(event)
            case _:
                pass

    def lost(self, at: float, left: Mapping[str, float]) -> None:
        """So many requests of calendar quotas were *left* by provider when these were reset *at* that moment."""
        tally = self._tally(at - 1)
        for provider, requests in left.items():
            tally.lost[provider] = tally.lost.get(provider, 0.0) + requests

    async def write_forever(self) -> None:
        """The background loop: write down what was counted, from time to time and in the end."""
        try:
            while True:
                await self._clock.sleep(WRITTEN_EVERY)
                self.write()
        finally:
            self.write()

    def write(self) -> None:
        """Have the state know what was counted, and forget what is too old."""
        oldest = self._clock.now() - KEPT
        if self._unwritten:
            self._unwritten = False
            self._mine = {at: tally for at, tally in self._mine.items() if at > oldest}
            for day in self._days:
                mine = [tally for at, tally in sorted(self._mine.items()) if at // _DAY == day]
                key = f"{day:.0f}|{self._replica}"
                self._written.add(key)
                self._state.set(_TOPIC, key, mine)
            self._days = {self._now.at // _DAY}
        for key in [key for key in (*self._others, *self._written) if _day(key) < oldest // _DAY]:
            self._others.pop(key, None)
            self._written.discard(key)
            self._state.set(_TOPIC, key, None)

    def points(self, since: float, seconds: float) -> list[Tally]:
        """What all processes counted from *since* on, for each so many *seconds*, also where that is nothing."""
        by_moment: dict[float, list[Tally]] = {}
        for tally in (*self._mine.values(), *(one for entry in self._others.values() for one in entry)):
            by_moment.setdefault(tally.at, []).append(tally)
        first, now = math.floor(since / seconds), math.floor(self._clock.now() / seconds)
        found = {number: Tally(number * seconds) for number in range(first, now + 1)}
        for at, tallies in by_moment.items():
            if (into := found.get(math.floor(at / seconds))) is not None:
                into.add(_together(tallies))
        return list(found.values())

    def _tally(self, at: float) -> Tally:
        """That of the moment *at*. Every request asks, so the one that was asked for last is at hand."""
        self._unwritten = True
        if not 0 <= at - self._now.at < SECONDS:
            start = math.floor(at / SECONDS) * SECONDS
            self._now = self._mine.setdefault(start, Tally(start))
            self._days.add(start // _DAY)
        return self._now

    def _ended(self, event: Ended, tally: Tally) -> None:
        if event.outcome == "served":
            provider = event.deployment.partition("/")[0] if event.deployment else "cache"
            tally.served[provider] = tally.served.get(provider, 0) + 1
            tally.retried += max(0, event.attempts - 1)
        elif event.outcome != "left" and event.status >= _REFUSED:
            tally.refused += 1
        if event.waited > 0:
            tally.waited += event.waited
            tally.waiters += 1
        if event.usage is not None:
            tally.prompt_tokens += event.usage.prompt_tokens
            tally.output_tokens += event.usage.completion_tokens

    def _left(self, event: Left) -> None:
        calendar, used = self._calendar(), 0.0
        for key, amount in event.debits.items():
            if amount > used and key in calendar:
                used = amount
        if used:
            tally, provider = self._tally(event.at), event.deployment.partition("/")[0]
            tally.used[provider] = tally.used.get(provider, 0.0) + used

    def _hear(self, heard: dict[str, list[Tally]]) -> None:
        self._others = {key: tallies for key, tallies in heard.items() if not key.endswith(f"|{self._replica}")}


def _together(tallies: Collection[Tally]) -> Tally:
    """What several processes counted at one moment."""
    together = Tally(0.0)
    for tally in tallies:
        together.add(tally)
    together.lost = {name: max(one.lost.get(name, 0.0) for one in tallies) for name in together.lost}
    return together


def _day(key: str) -> int:
    day = key.partition("|")[0]
    return int(day) if day.isdigit() else 0
