"""The one place that asks the machine what time it is, or lets time pass."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Unix seconds, and a way to wait. Tests and simulations pass their own."""

    def now(self) -> float:
        """Unix time in seconds."""

    async def sleep(self, seconds: float) -> None:
        """Return when *seconds* have passed on this clock."""


class WallClock:
    """The machine's own."""

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
