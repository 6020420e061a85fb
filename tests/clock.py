"""Time that passes when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.clock import SteppedClock as FakeClock

__all__ = ["FakeClock", "eventually"]


async def eventually(holds: Callable[[], object], within: float = 5.0) -> None:
    """Return once *holds* is true: for what another task or process does in its own time, but soon."""
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 - what is waited for knows nothing of us
            await asyncio.sleep(0.005)
