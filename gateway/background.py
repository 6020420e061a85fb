"""
The one place that starts what runs beside requests, and the one that outlives its errors.

Each loop has a name and is a coroutine function that never returns by itself. What it raises is told with its traceback
(``LoopFailed``), and the loop is started again after a pause that doubles with every failure in a row. ``/health`` names
the loops that fail. A loop keeps what it knows in its object, not in its frame: it may start anew at any time.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from gateway.clock import Clock
from gateway.events import Event, LoopFailed

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds until a loop is started again: after its first failure, and at most."""

GOOD_FOR = 600.0
"""Seconds without a failure after which the failures before are forgotten."""

DYING = 2
"""Failures in a row from which a loop counts as one that keeps dying."""

LoopFunction = Callable[[], Awaitable[None]]


class FailingLoop(Struct, frozen=True, kw_only=True):
    """
    A loop that failed lately. *failures* are those in a row, *failure* is the last one: its class, and where it was
    raised. What the exception says is in the log alone, for ``/health`` is open to everybody. *failed_at* is in unix
    seconds.
    """

    loop: str
    failures: int
    failure: str
    failed_at: float

    @property
    def dying(self) -> bool:
        """Whether starting it again has not helped."""
        return self.failures >= DYING


class Background:
    """The supervisor. One for each process, used on its event loop only."""

    def __init__(self, clock: Clock, tell: Callable[[Event], None]) -> None:
        self._clock, self._tell = clock, tell
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failing: dict[str, FailingLoop] = {}

    def run(self, name: str, loop: LoopFunction) -> None:
        """
        Start *loop* now, and again whenever it raises an ``Exception``, until ``stop``. It ends if it is cancelled.

        Raises ValueError if a loop of this name runs already.
        """
        if self.runs(name):
            raise ValueError(f"a loop named {name!r} runs already")
        self._tasks[name] = asyncio.create_task(self._supervise(name, loop), name=name)

    def runs(self, name: str) -> bool:
        """Whether a loop of this name runs."""
        return name in self._tasks and not self._tasks[name].done()

    async def stop(self) -> None:
        """Cancel the loops, the youngest first, and wait for the end of each."""
        while self._tasks:
            _, task = self._tasks.popitem()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def failing(self) -> list[FailingLoop]:
        """The loops that failed and have not run well for ``GOOD_FOR`` seconds since."""
        now = self._clock.now()
        return [found for found in self._failing.values() if now - found.failed_at < GOOD_FOR + _pause(found.failures)]

    async def _supervise(self, name: str, loop: LoopFunction) -> None:
        while True:
            started_at = self._clock.now()
            try:
                await loop()
            except Exception as exc:  # noqa: BLE001 - the one place: a bug in a loop must end neither it nor the gateway
                pause = self._failed(name, exc, good_for=self._clock.now() - started_at)
            else:
                return
            await self._clock.sleep(pause)

    def _failed(self, name: str, exc: Exception, *, good_for: float) -> float:
        """Remember and tell that loop *name* failed; the seconds to wait before it is started again."""
        known = self._failing.get(name)
        failures = 1 if known is None or good_for >= GOOD_FOR else known.failures + 1
        self._failing[name] = FailingLoop(
            loop=name, failures=failures, failure=_where(exc), failed_at=self._clock.now()
        )
        pause = _pause(failures)
        with suppress(Exception):  # a log that cannot be written must not end the loop, too
            self._tell(LoopFailed(name, "".join(traceback.format_exception(exc)), failures, pause))
        return pause


def _pause(failures: int) -> float:
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 30))


def _where(exc: Exception) -> str:
    """The class of *exc*, and the innermost line that raised it."""
    frames = traceback.extract_tb(exc.__traceback__)
    return (
        f"{type(exc).__name__} at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else repr(type(exc))
    )
