"""One call's ticket in the queue (queue.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Self

from gateway.request.plan import Retry
from gateway.request.prospects import Prospect
from gateway.words import GatewayError

if TYPE_CHECKING:
    from gateway.request.queue import Queue

LONGEST_SLEEP = 15.0
"""Seconds after which a ticket looks again in any case: a signal may be lost with its process, or the clock be set."""

LONG = 1.0
"""Seconds of waiting that say something of how long a caller stays."""

Rank = tuple[int, float, int]
"""Who goes first: by priority, then by the virtual start among clients, then by arrival."""


class Ticket:
    """
    One call's. ``turn`` comes before the first try, ``sleep`` after each that found no room; ``through`` says that the call
    has its reservation. Leaving the context gives the ticket back.
    """

    def __init__(self, queue: Queue, client: str, priority: int, deadline: float) -> None:
        self._queue = queue
        self.client, self.priority, self.deadline = client, priority, deadline
        self.came_at = queue.now()
        self.until = deadline  # when it is of no use any more to begin
        self.rank: Rank | None = None
        self.number = 0  # of its arrival
        self.costs = 1.0  # short answers
        self.line: Hashable = None
        self.names: frozenset[str] = frozenset()  # of the deployments it waits for
        self.size = 0.0
        self.stands = self.ready = False
        self.wakes_at = inf
        self.waited = 0.0  # seconds, altogether
        self.behind = 0  # tickets that waited already when this one last began to
        self._kept = True
        self._called: asyncio.Future[None] | None = None

    def __lt__(self, other: Ticket) -> bool:
        assert other.rank is not None  # a ticket that waits has one
        return self.before(other.rank)

    def before(self, rank: Rank) -> bool:
        """Whether it goes before one of that *rank*."""
        assert self.rank is not None
        return self.rank < rank

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.done(self, through=False)
        if isinstance(error, GatewayError):
            error.waited = self.waited
        late = isinstance(error, GatewayError) and self._queue.now() >= self.until
        left = isinstance(error, asyncio.CancelledError)  # before its answer began: what it waited for came too late
        if self.waited >= LONG and left:
            self._queue.lost(self.client)
        if self.waited >= LONG and (late or left):
            self._queue.crowded()

    @property
    def wanting(self) -> int:
        """How many calls of its client want room here, this one included; 0: it cannot wait for any."""
        return 1 + self._queue.waiting_of(self.client) if self._queue.now() < self.until else 0

    def can_wait(self, retry: Retry) -> bool:
        """Whether another try may come before it is too late."""
        return self._queue.now() < self.until and (retry.when_freed or retry.at <= self.until)

    def expect(self, likely: Prospect) -> None:
        """It waits no longer than is of use to a caller who has what is *likely* before it, and its turn is by what that costs."""
        self.until = min(self.deadline, likely.leaves_at - likely.answers_in)
        self.costs = likely.costs

    async def turn(self) -> None:
        """Wait until those that may try, and were here before, have tried. A full queue is not waited in."""
        if self._queue.busy and self._queue.now() < self.deadline and self._queue.join(self, None, 0.0, None):
            await self._wait()

    async def sleep(self, retry: Retry, line: Hashable, size: float, names: frozenset[str] = frozenset()) -> bool:
        """
        Sleep until another try is worth it; *line* tells which deployments are waited for, and *names* how they are called,
        *size* (tokens) for how much.

        False if there was no place in the queue, or it had to be given to another client.
        """
        now, self.names = self._queue.now(), names
        wake_at = min(retry.at, self.until, now + LONGEST_SLEEP)
        joined = self._queue.join(self, line, size, wake_at)
        self._queue.done(self, through=False)
        return joined and await self._wait()

    def through(self) -> None:
        """The call has what it wanted: the next may try."""
        self._queue.done(self, through=True)

    # ── for the queue ──

    def wait(self, line: Hashable, size: float) -> None:
        """It waits from now on."""
        self.line, self.size, self.stands, self._kept = line, size, True, True
        self._called = asyncio.get_running_loop().create_future()

    def end(self, error: GatewayError | None, *, kept: bool = True) -> None:
        """It waits no more: it may try; or, if its place was not *kept*, or because of *error*, it gives up."""
        self._kept = kept
        assert self._called is not None  # it waits
        if self._called.done():
            return
        if error is None:
            self._called.set_result(None)
        else:
            self._called.set_exception(error)

    async def _wait(self) -> bool:
        called, began = self._called, self._queue.now()
        assert called is not None
        self._queue.go_on()
        try:
            await called
        finally:
            self._queue.leave(self)  # its caller did, if it stands there still
            self.waited += self._queue.now() - began
        return self._kept
