"""
One streamed answer, from bytes to steps, and when it is given up.

Two clocks matter. A provider that says nothing for too long is given up; but only time spent waiting for the provider
counts, since a caller who does not read is not the provider's fault. And what keeps a connection open without saying
anything (comments, pings) is no progress: a step is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol

from providers import failures as f
from providers.chat import Step
from providers.dialect import StreamReader
from providers.spec import Timeouts
from providers.sse import EventTooLong, Lines, ServerSentEvents
from providers.wire import Incoming

AFTER_FINISH = 10.0
"""Seconds that usage and the mark of the end may take once every choice has its reason to finish."""


class Timer(Protocol):
    def cancel(self) -> None: ...


class Ticking(Protocol):
    """Seconds that pass, and something to be done when some have: an event loop is one."""

    def time(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], None], /) -> Timer: ...


async def arriving(
    incoming: Incoming,
    framing: ServerSentEvents | Lines,
    reader: StreamReader,
    timeouts: Timeouts,
    clock: Ticking | None = None,
) -> AsyncIterator[list[Step]]:
    """
    The steps as they come, as many at a time as arrived together, up to what says that things went wrong.

    Raises a ProviderFailure; Interrupted if the body ends before the answer said that it was finished. What breaks after
    that leaves the answer whole.
    """
    silence = Silence(incoming.close, timeouts.silence, clock or asyncio.get_running_loop())
    try:
        silence.wait()
        async for piece in incoming.pieces():
            steps, trouble = _read(reader, framing, piece)
            silence.heard(progress=bool(steps))
            if steps:
                yield steps
            if trouble is not None:
                raise trouble
            if reader.ended():
                incoming.finish()
                break
            silence.wait(over=reader.finished())
        steps, trouble = _read(reader, framing, None)
        if steps:
            yield steps
        if trouble is not None:
            raise trouble
    except f.Unreachable as failure:
        if reader.finished():
            return
        raise silence.blamed(failure) from failure.__cause__
    finally:
        silence.end()
    if not reader.finished():
        raise f.Interrupted("the stream ended before the answer was finished")


async def answering(arrivals: AsyncIterator[list[Step]], *, by_caller: bool, by_us: bool) -> AsyncIterator[list[Step]]:
    """
    The steps of *arrivals*; where nothing but thoughts came, their end is told once it is known that they are an answer.

    Raises NoAnswer if they are none: nothing was said, and no bound *by_caller* explains that. One *by_us* may.
    """
    said = cut = False
    end: list[Step] = []
    async for steps in arrivals:
        if said:
            yield steps
            continue
        said = any(step.chunk.says() for step in steps)
        cut = cut or any(step.chunk.is_cut() for step in steps)
        if not said and (end or any(step.chunk.ends() for step in steps)):
            end += steps
            continue
        yield [*end, *steps]
        end = []
    if not (said or (cut and by_caller)):
        raise f.NoAnswer().by_our_bound(cut and by_us)
    if end:
        yield end


def _read(
    reader: StreamReader, framing: ServerSentEvents | Lines, piece: bytes | None
) -> tuple[list[Step], f.ProviderFailure | None]:
    """The steps in *piece* (None: the body's end), up to what says that things went wrong: what came before it counts."""
    steps: list[Step] = []
    events: Iterator[bytes] = framing.end() if piece is None else framing.feed(piece)
    try:
        for event in events:
            steps += reader.feed(event)
    except f.ProviderFailure as failure:
        return steps, failure
    except EventTooLong:
        return steps, f.Unreachable("an event of the stream has no end")
    except Exception as exc:  # noqa: BLE001 - whatever a dialect stumbles over is no answer, and never a caller's crash
        return steps, unreadable(exc)
    return steps, None


def unreadable(exc: Exception) -> f.Unreachable:
    """The failure that *exc* is, which reading an answer raised. The message has no content of the answer's."""
    failure = f.Unreachable(f"the answer cannot be read: {type(exc).__name__}")
    failure.__cause__ = exc
    return failure


class Silence:
    """
    Closes an answer whose provider makes no progress for *limit* seconds of being waited for.

    One timer for a whole answer: setting one for each piece would cost more than reading it.
    """

    def __init__(self, close: Callable[[], None], limit: float, clock: Ticking) -> None:
        self._fell = False
        self._close, self._least, self._clock = close, limit, clock
        self._waited = 0.0  # since the last progress
        self._since: float | None = None  # when waiting began; None: the caller has what came
        self._timer = clock.call_later(limit, self._look)

    def wait(self, *, over: bool = False) -> None:
        """The next piece is waited for, if the answer is *over* only for a little while."""
        self._since = self._clock.time()
        if over and self._least > AFTER_FINISH:
            self._least = AFTER_FINISH
            self._timer.cancel()
            self._timer = self._clock.call_later(AFTER_FINISH, self._look)

    def heard(self, *, progress: bool) -> None:
        """A piece has come."""
        if progress:
            self._waited = 0.0
        elif self._since is not None:
            self._waited += self._clock.time() - self._since
        self._since = None

    def blamed(self, failure: f.Unreachable) -> f.Unreachable:
        """*failure*, or what it really was: this has closed the connection."""
        return f.Unreachable(f"nothing came for {self._least:g} s") if self._fell else failure

    def end(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        waited = self._waited + (0.0 if self._since is None else self._clock.time() - self._since)
        if waited >= self._least:
            self._fell = True
            self._close()
        else:
            # A caller who does not read may be about to: not looked for in too small steps.
            self._timer = self._clock.call_later(max(self._least - waited, self._least / 20), self._look)
