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
