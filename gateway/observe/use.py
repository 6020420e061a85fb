"""
What clients used: requests, tokens and what they would have cost, by client, provider, model and day (UTC).

Counters of all gateways of one store, in a group for each day, which is forgotten after KEPT days; and, of clients alone, in a group
for each hour. Nothing that a caller makes up is a name here: a request that no source served has none of a model.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct

from gateway.clock import Clock
from gateway.events import Ended, Event
from gateway.state.store import StateFailure, StateStore

KEPT = 90
"""Days."""

By = Literal["client", "model", "provider", "day"]

EVERY = 10.0
"""Seconds between two looks at what was used today, at other gateways too."""

_DAY, _HOUR = 86_400.0, 3600.0
_KEPT_HOURS = 25
_BETWEEN = "\x1f"
_SEEN_EVERY = 30.0
"""Seconds within which it is not told again that a client was seen."""

_TOPIC = "clients seen"


class UseRow(Struct, kw_only=True):
    """What was used by one *name*. *failed* are those of the *requests* that came to nothing or broke off."""

    name: str
    requests: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    saved: float = 0.0


class Lately(Struct, frozen=True):
    """Requests and tokens of a client in the last 24 hours, and when it last asked (unix seconds)."""

    requests: int = 0
    tokens: int = 0
    last_seen: float | None = None


class _Counters(Struct, frozen=True):
    """The names of the counters of one client, provider and model in a day, and of the client in an hour; spelled once."""

    requests: str
    failed: str
    prompt: str
    output: str
    saved: str
    asked: str
    tokens: str

    @classmethod
    def of(cls, client: str, provider: str, model: str) -> _Counters:
        here = _BETWEEN.join((client, provider, model))
        requests, failed, prompt, output, saved = (
            f"{here}{_BETWEEN}{what}" for what in ("requests", "failed", "prompt", "output", "saved")
        )
        asked, tokens = f"{client}{_BETWEEN}requests", f"{client}{_BETWEEN}tokens"
        return cls(requests, failed, prompt, output, saved, asked, tokens)


class Use:
    """An observer that adds up, for all gateways of *state*. *today* is, by client, what it used of each provider and model: requests, tokens."""

    def __init__(self, state: StateStore, clock: Clock) -> None:
        self._state, self._clock = state, clock
        self.today: dict[str, dict[tuple[str, str], tuple[float, float]]] = {}
        self.seen: dict[str, float] = {}
        self._told: dict[str, float] = {}
        self._named: dict[tuple[str, str, str], _Counters] = {}
        self._pruned = ""
        self._groups = (math.inf, "", "")  # when the hour began, and the groups of the day and of the hour
        state.watch(_TOPIC, float, self._hear)
        state.gather(self._tell_seen)

    def __call__(self, event: Event) -> None:
        """Count *event*, if it is the end of a request of somebody."""
        if not isinstance(event, Ended) or event.client == "?":
            return
        now, usage = self._clock.now(), event.usage
        day, hour = self._at(now)
        provider, model = event.deployment.partition("/")[0] if event.deployment else "", event.model or ""
        named = self._named.get((event.client, provider, model))
        if named is None:
            named = self._named[event.client, provider, model] = _Counters.of(event.client, provider, model)
        count = self._state.count
        count(named.requests, 1.0, day)
        count(named.asked, 1.0, hour)
        if event.status >= 400 and event.outcome != "left":
            count(named.failed, 1.0, day)
        prompt, output = (max(0, usage.prompt_tokens), max(0, usage.completion_tokens)) if usage is not None else (0, 0)
        if tokens := prompt + output:
            count(named.prompt, float(prompt), day)
            count(named.output, float(output), day)
            count(named.tokens, float(tokens), hour)
        if event.saved:
            count(named.saved, event.saved, day)
        here = self.today.setdefault(event.client, {})
        before = here.get((provider, model), (0.0, 0.0))
        here[provider, model] = (before[0] + 1, before[1] + tokens)
        self.seen[event.client] = now

    def _at(self, now: float) -> tuple[str, str]:
        """The groups of the day and of the hour, which are spelled once an hour."""
        began, day, hour = self._groups
        if not began <= now < began + _HOUR:
            day, hour = _day(now), _hour(now)
            self._groups = (now // _HOUR * _HOUR, day, hour)
        return day, hour

    async def rows(self, by: By, days: int) -> list[UseRow]:
        """What was used on the last *days*, today included, by what *by* says: the most first, days the latest first. Raises StateFailure."""
        now, rows = self._clock.now(), dict[str, UseRow]()
        groups = [_day(now - _DAY * ago) for ago in range(min(days, KEPT))]
        for group, counters in zip(groups, await self._state.counters(*groups), strict=True):
            for counter, amount in counters.items():
                client, provider, model, what = _parts(counter, 4)
                name = {"client": client, "provider": provider, "model": model, "day": group.partition(" ")[2]}[by]
                _add(rows.setdefault(name, UseRow(name=name)), what, amount)
        if by == "day":
            return sorted(rows.values(), key=lambda row: row.name, reverse=True)
        return sorted(rows.values(), key=lambda row: (-row.requests, row.name))

    async def lately(self) -> Mapping[str, Lately]:
        """Of each client what it used in the last 24 hours, to the hour. Raises StateFailure."""
        now = self._clock.now()
        found: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for counters in await self._state.counters(*(_hour(now - _HOUR * ago) for ago in range(24))):
            for counter, amount in counters.items():
                client, what = _parts(counter, 2)
                found[client][what] += amount
        names = found.keys() | self.seen.keys()
        return {
            name: Lately(round(found[name]["requests"]), round(found[name]["tokens"]), self.seen.get(name))
            for name in names
        }

    async def tend(self) -> None:
        """The background loop: know what is used today everywhere, and forget what is too old."""
        while True:
            with suppress(StateFailure):  # what is known here has to do
                await self.look()
            await self._clock.sleep(EVERY)

    async def look(self) -> None:
        """See what all gateways used today; once a day, forget. Raises StateFailure."""
        now = self._clock.now()
        (counters,) = await self._state.counters(_day(now))
        today: dict[str, dict[tuple[str, str], tuple[float, float]]] = {}
        for counter, amount in counters.items():
            client, provider, model, what = _parts(counter, 4)
            here = today.setdefault(client, {})
            requests, tokens = here.get((provider, model), (0.0, 0.0))
            if what == "requests":
                requests += amount
            elif what in ("prompt", "output"):
                tokens += amount
            here[provider, model] = (requests, tokens)
        self.today = today
        if self._pruned != _day(now):
            await self._state.forget_counters("use ", _day(now - KEPT * _DAY + _DAY))
            await self._state.forget_counters("hour ", _hour(now - _KEPT_HOURS * _HOUR))
            self._pruned = _day(now)

    def _tell_seen(self, _: float) -> None:
        for client, at in self.seen.items():
            if at > self._told.get(client, 0.0) + _SEEN_EVERY:
                self._told[client] = at
                self._state.set(_TOPIC, client, at)

    def _hear(self, seen: Mapping[str, float]) -> None:
        for client, at in seen.items():
            self.seen[client] = max(at, self.seen.get(client, 0.0))
            self._told[client] = max(at, self._told.get(client, 0.0))


def _day(now: float) -> str:
    return f"use {datetime.fromtimestamp(now, UTC):%Y-%m-%d}"


def _hour(now: float) -> str:
    return f"hour {datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H}"


def _parts(counter: str, count: int) -> Iterable[str]:
    """The parts of a counter's name; what another version may have written has empty ones."""
    parts = counter.split(_BETWEEN)
    return parts if len(parts) == count else [""] * count


def _add(row: UseRow, what: str, amount: float) -> None:
    match what:
        case "requests":
            row.requests += round(amount)
        case "failed":
            row.failed += round(amount)
        case "prompt":
            row.prompt_tokens += round(amount)
        case "output":
            row.output_tokens += round(amount)
        case "saved":
            row.saved += amount
