"""A loop whose time jumps from event to event: hours of a world take seconds, and one seed gives one history."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from math import inf, nextafter
from typing import Any, TypeVar

T = TypeVar("T")

START = 1_795_446_000.0
"""Unix seconds of the loop's zero: 2026-11-23 15:00 UTC, 07:00 in California. No day of any zone ends soon."""


class NothingDue(RuntimeError):
    """No event is due, and somebody still waits."""


class _Selector(selectors.DefaultSelector):
    """Instead of waiting for a file, lets the loop's time pass."""

    loop: Loop

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(self.loop.grace if timeout != 0 else 0)
        if found or timeout == 0:
            return found
        if self.loop.outside:
            return super().select(0.05)
        if timeout is None:
            raise NothingDue
        self.loop.skip(max(0.0, timeout))
        return []


class Loop(asyncio.SelectorEventLoop):
    """
    An event loop on simulated time, ``time()`` of which begins at 0.

    Work for threads is done at once, in the loop's own: a thread would make the order of events a matter of luck. While
    something real is awaited (``waiting_outside``), no time passes. *grace* is how many real seconds something that nobody
    awaits may take to arrive before time passes.
    """

    grace = 0.0

    def __init__(self, start: float = START) -> None:
        self.start, self.outside, self._seconds = start, 0, 0.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._seconds

    def now(self) -> float:
        """Unix time in the world."""
        return self.start + self._seconds

    def skip(self, seconds: float) -> None:
        """Let *seconds* pass, and at least a moment."""
        self._seconds = max(self._seconds + seconds, nextafter(self._seconds, inf))

    @contextmanager
    def waiting_outside(self) -> Iterator[None]:
        """Something real is awaited in the body of the ``with``."""
        self.outside += 1
        try:
            yield
        finally:
            self.outside -= 1

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as exc:  # noqa: BLE001 - raised where it is awaited
            done.set_exception(exc)
        return done


def now() -> float:
    """Unix time in the world that runs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    return loop.now()


def run(main: Callable[[], Coroutine[Any, Any, T]], start: float = START) -> T:
    """What *main* returns, run on simulated time that begins at *start*."""
    with asyncio.Runner(loop_factory=lambda: Loop(start)) as runner:
        return runner.run(main())
