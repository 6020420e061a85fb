"""Time that passes when a test says so."""

from __future__ import annotations

import asyncio


class FakeClock:
    """Callable as the simulators want it, and a Clock as the gateway wants it."""

    def __init__(self, now: float = 1_795_440_000.0) -> None:
        self._now = now
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def __call__(self) -> float:
        return self._now

    now = __call__

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._sleepers.append((self._now + seconds, woken))
        await woken.wait()

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass and wake whoever slept until then."""
        self._now += seconds
        for at, woken in self._sleepers:
            if at <= self._now:
                woken.set()
        self._sleepers = [(at, woken) for at, woken in self._sleepers if at > self._now]

    @property
    def sleeping(self) -> int:
        return len(self._sleepers)
