"""
The waiting room: bounded, fair by client, and only for those who may be served in time.

Requests that the same sources would serve stand in one *line*. A line may try when its sources open, or when capacity was
given back: its first tries, and the next only once that one got through. Who is first is decided by priority, then by
start-time fair queueing among clients (Goyal, Vin and Cheng, *Start-time fair queuing*, SIGCOMM 1996): a client with a
thousand requests delays another's single one by one place.

Where nobody waits, all of this costs a comparison.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from types import TracebackType
from typing import Self

from msgspec import Struct

from gateway.clock import Clock
from gateway.words import GatewayError, Stopping

_NOW = 0.0


class _Line(Struct):
    """Those whom the same sources would serve, as a heap by rank, and when (unix seconds) the first may try."""

    opens_at: float
    waiting: list[Place] = []


class WaitingRoom:
    """*room* requests may wait at once. All moments are unix seconds of *clock*."""

    def __init__(self, clock: Clock, room: int) -> None:
        self._clock, self._room = clock, room
        self._lines: dict[Hashable, _Line] = {}
        self._of_client: Counter[str] = Counter()
        self._turns: dict[str, float] = {}  # of each client that waits: the virtual time of its last place
        self._virtual = 0.0
        self._numbers = 0
        self._trying: Place | None = None
        self._alarm: asyncio.Task[None] | None = None
        self._alarm_at = 0.0
        self._closed = False
        self.waiting = 0

    def place(self, line: Hashable, client: str, priority: int, deadline: float) -> Place:
        """
        A place for one request, to be used as a context. A higher *priority* goes first. *deadline*: it is told at the
        latest when it can no longer be served by then.
        """
        return Place(self, line, client, priority, deadline)

    def freed(self) -> None:
        """Capacity was given back: the first of every line may try."""
        if self.waiting:
            for line in self._lines.values():
                line.opens_at = _NOW
            self.go_on()

    def close(self) -> None:
        """Nobody waits any more: all who do are told that the gateway is stopping, and so is whoever would."""
        self._closed = True
        for place in [place for line in self._lines.values() for place in line.waiting]:
            self.leave(place)
            place.dismiss()

    # ── for places ──

    def now(self) -> float:
        return self._clock.now()

    def opens_at(self, key: Hashable) -> float:
        """When a line may try next, as far as those who stand in it know."""
        line = self._lines.get(key)
        return line.opens_at if line is not None else _NOW

    def join(self, place: Place, opens_at: float | None = None) -> bool:
        """
        Stand in line, which opens at *opens_at* if that has just been found out. False if the room is full of others with
        as good a right to it.
        """
        if self._closed:
            raise Stopping
        if self.waiting >= self._room and not self._make_room(place.client):
            return False
        if place.rank is None:
            self._numbers += 1
            turn = max(self._virtual, self._turns.get(place.client, 0.0)) + 1.0
            self._turns[place.client] = turn
            place.rank = (-place.priority, turn, self._numbers)
        line = self._lines.get(place.line)
        if line is None:
            line = self._lines[place.line] = _Line(_NOW)
        heappush(line.waiting, place)
        self._of_client[place.client] += 1
        self.waiting += 1
        place.stand()
        if opens_at is not None:
            self.found(place.line, opens_at)
        return True

    def found(self, key: Hashable, opens_at: float) -> None:
        """The sources of a line open at *opens_at*: who cannot wait for that is told."""
        line = self._lines.get(key)
        if line is None:
            return
        line.opens_at = opens_at
        for late in [place for place in line.waiting if place.deadline < opens_at]:
            self.leave(late)
            late.call(opens_at)

    def leave(self, place: Place) -> None:
        """Stand in line no more."""
        line = self._lines[place.line]
        line.waiting.remove(place)
        heapify(line.waiting)
        self._left(place, line)

    def done(self, place: Place, *, through: bool) -> None:
        """*place* has tried. If it got *through*, so may the next."""
        if through and place.rank is not None:
            self._virtual = max(self._virtual, place.rank[1])
        if self._trying is place:
            self._trying = None
            self.go_on()

    def go_on(self) -> None:
        """Let the first of those who may try do so, one at a time; else see to it that we look again in time."""
        if self._trying is not None or not self.waiting:
            return
        now = self._clock.now()
        line = min((one for one in self._lines.values() if one.opens_at <= now), key=_first_rank, default=None)
        if line is not None:
            self._trying = heappop(line.waiting)
            self._left(self._trying, line)
            self._trying.call(None)
            return
        soonest = min(line.opens_at for line in self._lines.values())
        if self._alarm is None or soonest < self._alarm_at:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm, self._alarm_at = asyncio.create_task(self._look_at(soonest)), soonest

    async def _look_at(self, moment: float) -> None:
        await self._clock.sleep(max(0.0, moment - self._clock.now()))
        self._alarm = None
        self.go_on()

    def _left(self, place: Place, line: _Line) -> None:
        place.stands = False
        self.waiting -= 1
        self._of_client[place.client] -= 1
        if not self._of_client[place.client]:
            del self._of_client[place.client]
            self._turns.pop(place.client, None)
        if not line.waiting:
            del self._lines[place.line]

    def _make_room(self, client: str) -> bool:
        """Send away the last of the client that has most waiting, if *client* has clearly fewer."""
        if not self._of_client:
            return False
        most, count = self._of_client.most_common(1)[0]
        if self._of_client[client] + 1 >= count:
            return False
        last = max(one for line in self._lines.values() for one in line.waiting if one.client == most)
        opens_at = self.opens_at(last.line)
        self.leave(last)
        last.call(max(opens_at, self._clock.now()))
        return True


def _first_rank(line: _Line) -> Place:
    return line.waiting[0]


class Place:
    """
    One request's. ``turn`` comes before the first try, ``wait`` after each that found no room; both give None when it
    may try, else the moment at which its sources open, which is too late for it. ``through`` says that it got what it
    wanted; leaving the context says so, too, or that it gave up.
    """

    def __init__(self, room: WaitingRoom, line: Hashable, client: str, priority: int, deadline: float) -> None:
        self._room = room
        self.line, self.client, self.priority, self.deadline = line, client, priority, deadline
        self.rank: tuple[int, float, int] | None = None
        self.stands = False
        self.waited = 0.0  # seconds, altogether
        self._called: asyncio.Future[float | None] | None = None

    def __lt__(self, other: Place) -> bool:
        assert self.rank is not None  # who stands in a line has one
        assert other.rank is not None
        return self.rank < other.rank

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.stands:
            self._room.leave(self)
        self._room.done(self, through=False)
        if isinstance(error, GatewayError):
            error.waited = self.waited

    async def turn(self) -> float | None:
        """Wait for our turn behind those who were here before; who could not wait for it tries at once."""
        room = self._room
        if not room.waiting or room.opens_at(self.line) > self.deadline or not room.join(self):
            return None
        return await self._wait()

    async def wait(self, opens_at: float) -> float | None:
        """We tried, and found no room before *opens_at*."""
        room = self._room
        reachable = opens_at <= self.deadline and room.now() < self.deadline
        if not reachable:
            room.found(self.line, opens_at)
        stands = reachable and room.join(self, opens_at)
        room.done(self, through=False)
        return await self._wait() if stands else opens_at

    def through(self) -> None:
        """The next may try."""
        self._room.done(self, through=True)

    def stand(self) -> None:
        self.stands = True
        self._called = asyncio.get_running_loop().create_future()

    def call(self, too_late: float | None) -> None:
        """Our turn; or no use to wait any longer, since it is *too_late* then."""
        assert self._called is not None  # we stand in line
        if not self._called.done():
            self._called.set_result(too_late)

    def dismiss(self) -> None:
        """The gateway is stopping."""
        assert self._called is not None  # we stand in line
        if not self._called.done():
            self._called.set_exception(Stopping())

    async def _wait(self) -> float | None:
        self._room.go_on()
        assert self._called is not None
        began = self._room.now()
        try:
            return await self._called
        finally:
            self.waited += self._room.now() - began
