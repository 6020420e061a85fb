"""Time that passes when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class FakeClock:
    """Callable as the simulators want it, and a Clock as the gateway wants it."""

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
        return len(self._sleepers)

    @property
    def timers(self) -> int:
        return len(self._timers)


class _Timer:
    def __init__(self, at: float, do: Callable[[], None], among: set[_Timer]) -> None:
        self.at, self.do, self._among = at, do, among

    def cancel(self) -> None:
        self._among.discard(self)


async def eventually(holds: Callable[[], object], within: float = 5.0) -> None:
    """Return once *holds* is true: for what another task or process does in its own time, but soon."""
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 - what is waited for knows nothing of us
            await asyncio.sleep(0.005)
