"""The one place that asks the machine what time it is, or lets time pass."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """Something that will happen."""

    def cancel(self) -> None:
        """It will not."""


class Clock(Protocol):
    """Unix seconds, and a way to wait. Tests and simulations pass their own."""

    def now(self) -> float:
        """Unix time in seconds."""

    async def sleep(self, seconds: float) -> None:
        """Return when *seconds* have passed on this clock."""

    def call_later(self, seconds: float, do: Callable[[], None]) -> Timer:
        """Have *do* called when *seconds* have passed on this clock."""


class WallClock:
    """The machine's own."""

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, do: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, do)


class SteppedClock:
    """Its time passes when it is told so: for tests and simulations. Simulated providers call it as a function."""

    def __init__(self, now: float = 1_795_440_000.0) -> None:
        self._now = now
        self._sleepers: list[tuple[float, asyncio.Event]] = []
        self._timers: set[_Timer] = set()

    def __call__(self) -> float:
        return self._now

    now = __call__

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._sleepers.append((self._now + seconds, woken))
        await woken.wait()

    def call_later(self, seconds: float, do: Callable[[], None]) -> _Timer:
        timer = _Timer(self._now + seconds, do, self._timers)
        self._timers.add(timer)
        return timer

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass, wake whoever slept until then, and call what was to be called."""
        self._now += seconds
        for timer in sorted((one for one in self._timers if one.at <= self._now), key=lambda one: one.at):
            timer.cancel()
            timer.do()
        for at, woken in self._sleepers:
            if at <= self._now:
                woken.set()
        self._sleepers = [(at, woken) for at, woken in self._sleepers if at > self._now]

    def set_by(self, seconds: float) -> None:
        """It is set, or the machine slept: it shows another time, but for those who wait none has passed."""
        self._now += seconds
        self._sleepers = [(at + seconds, woken) for at, woken in self._sleepers]
        for timer in self._timers:
            timer.at += seconds

    @property
    def sleeping(self) -> int:
        """How many sleep on it."""
        return len(self._sleepers)

    @property
    def timers(self) -> int:
        """How much is to be called later."""
        return len(self._timers)


class _Timer:
    def __init__(self, at: float, do: Callable[[], None], among: set[_Timer]) -> None:
        self.at, self.do, self._among = at, do, among

    def cancel(self) -> None:
        self._among.discard(self)
