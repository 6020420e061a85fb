"""
The queue: bounded, fair by client, and only for calls that may be served in time.

Each call that waits has a *ticket* and sleeps on its own: until the moment that its own plan named, or until capacity is
given back. Then it may try again, one ticket at a time. Which goes first is decided by priority, then by start-time fair
queueing among clients (Goyal, Vin and Cheng, *Start-time fair queuing*, SIGCOMM 1996): a client with a thousand calls
delays another client's single one by one place. One that only a machine of one's own can serve counts by the time that it takes
there.

Where callers of a client leave after they waited, not all can be served, and those who wait longest are the next to leave:
to serve them first would serve all just too late. As long as that lasts, a turn goes to the client's newest call (Maurer,
*Fail at scale*, ACM Queue 2015); those passed over are served when fewer come, if they are still there. Where it is known
how long callers stay, none waits that would be served too late (prospects.py).

Calls that the same deployments could serve stand in one *line*. When capacity is given back, the first of each line tries;
where it finds no room, those behind it in the line that are no smaller would find none, and sleep on. That is all that one
call's failure means for another: moments are never shared.

Where no call waits, all of this costs a comparison.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterator
from heapq import heapify, heappop, heappush
from math import inf

from msgspec import Struct

from gateway.clock import Clock, Timer
from gateway.request.plan import ABOUT_TO
from gateway.request.prospects import Ahead, Arrivals, Waiting
from gateway.request.ticket import Rank, Ticket
from gateway.words import Stopping

LASTING = 30.0
"""Seconds for which one call that was lost while it waited shows that not all can be served."""

_SAME_MOMENT = 0.002
"""Seconds within which moments are one: timers ring a little early or late, and ranks go before that."""


class _Line(Struct):
    """
    The tickets that sleep for the same deployments, as a heap by rank. Capacity was given back, and tickets smaller than
    *below* may still find some of it; 0: none.
    """

    asleep: list[Ticket] = []
    below: float = 0.0


class Queue:
    """*places* calls may wait at once. All moments are unix seconds of *clock*."""

    def __init__(self, clock: Clock, places: int) -> None:
        self._clock, self._places = clock, places
        self._lines: dict[Hashable, _Line] = {}
        self._moments: list[
            tuple[float, int, Ticket]
        ] = []  # a heap; what a ticket does not wait for any more stays in it
        self._alarm: Timer | None = None
        self._alarm_at = inf
        self._ready: list[Ticket] = []  # a heap by rank
        self._of_client: Counter[str] = Counter()
        self._starts: dict[str, float] = {}  # of each client that waits: the virtual start of its last ticket
        self._virtual = 0.0
        self._numbers = 0
        self._crowded_at = -inf
        self._lost_at: dict[str, float] = {}  # by client: when a caller last left who had waited
        self._arrivals = Arrivals(clock.now())
        self._trying: Ticket | None = None
        self._closed = False
        self.waiting = 0

    def enter(self, client: str, priority: int, deadline: float) -> Ticket:
        """A ticket for one call, to be used as a context. A higher *priority* goes first; it waits until *deadline*."""
        return Ticket(self, client, priority, deadline)

    def freed(self) -> None:
        """Capacity was given back, or a recovery trial is over: the first of every line may try."""
        if self.waiting:
            for line in self._lines.values():
                line.below = inf
            self.go_on()

    def reconsider(self, client: str) -> None:
        """It is known better how long the callers of *client* stay: each call of theirs finds out whether it waits in vain."""
        for ticket in [one for one in self._asleep() if one.client == client]:
            self._may_try(ticket)
        self.go_on()

    def close(self) -> None:
        """No call waits any more: those that do are told that the gateway is stopping, and so is each that would."""
        self._closed = True
        for ticket in [*self._ready, *self._asleep()]:
            self._remove(ticket)
            ticket.end(Stopping())

    def crowded(self) -> None:
        """A call was told that it would be served too late: not all can be served."""
        self._crowded_at = self._clock.now()

    # ── for those who look ahead ──

    def awaited(self) -> Collection[str]:
        """The names of the deployments that calls wait for."""
        names: frozenset[str] = frozenset()
        return names.union(*{one.names for one in (*self._ready, *self._asleep())}) if self.waiting else names

    def demand(self) -> float:
        """The calls that wait, and those that will within a minute if they come as they did of late."""
        return self.waiting + ABOUT_TO * sum(rate for _, rate in self._arrivals.rates(self._clock.now()))

    def ahead(self, ticket: Ticket, names: frozenset[str]) -> Ahead:
        """Those who would go before *ticket*, which waits for *names*, and could not be served elsewhere."""
        now, rank, client = self._clock.now(), ticket.rank or self._next_rank(ticket), ticket.client
        ours_wait = not self._newest_first(ticket)
        there: dict[frozenset[str], list[Ticket]] = {}
        for line in (*(line.asleep for line in self._lines.values()), self._ready):
            if line and line[0].names <= names:
                first = (one for one in line if one.before(rank) and (ours_wait or one.client != client))
                there.setdefault(line[0].names, []).extend(first)
        count = Counter(one.client for line in there.values() for one in line)
        own = count[client]
        rates = ((count[other], rate) for other, rate in self._arrivals.rates(now) if other != client)
        coming = tuple((own - fewer, rate) for fewer, rate in rates if fewer < own)
        lines = tuple(Waiting(key, tuple(one.until for one in sorted(line))) for key, line in there.items() if line)
        return Ahead(lines, own, coming, self.is_crowded)

    def _next_rank(self, ticket: Ticket) -> Rank:
        start = max(self._virtual, self._starts.get(ticket.client, 0.0)) + ticket.costs
        return -ticket.priority, start, self._numbers + 1

    def _asleep(self) -> Iterator[Ticket]:
        return (one for line in self._lines.values() for one in line.asleep)

    # ── for tickets ──

    def now(self) -> float:
        return self._clock.now()

    def waiting_of(self, client: str) -> int:
        """How many calls of *client* wait."""
        return self._of_client[client]

    def resize(self, places: int) -> None:
        """From now on so many calls may wait at once; those that wait already go on."""
        self._places = places

    @property
    def is_crowded(self) -> bool:
        """Whether not all could be served lately."""
        return self._clock.now() <= self._crowded_at + LASTING

    @property
    def wanted(self) -> bool:
        """Whether other calls wait for capacity, or just try to have some that they waited for."""
        return self.waiting > 0 or self._trying is not None

    @property
    def busy(self) -> bool:
        """Whether a ticket is trying or may try: others wait for their turn behind it."""
        return self._trying is not None or bool(self._ready)

    def join(self, ticket: Ticket, line: Hashable, size: float, wake_at: float | None) -> bool:
        """
        Have *ticket* wait: ready to try (*wake_at* None), or asleep in *line* until then. False if all places are taken
        by others with as good a right to one.
        """
        if self._closed:
            raise Stopping
        if self.waiting >= self._places and not self._make_room(ticket.client):
            return False
        if ticket.rank is None:
            ticket.rank = self._next_rank(ticket)
            _, self._starts[ticket.client], self._numbers = ticket.rank
            ticket.number = self._numbers
            self._arrivals.came(ticket.client, self._clock.now())
        ticket.behind = self.waiting
        self._of_client[ticket.client] += 1
        self.waiting += 1
        ticket.wait(line, size)
        if wake_at is None:
            ticket.ready = True
            heappush(self._ready, ticket)
        else:
            here = self._lines.setdefault(line, _Line())
            heappush(here.asleep, ticket)
            here.below = min(here.below, size)
            ticket.wakes_at = wake_at
            heappush(self._moments, (wake_at, ticket.rank[2], ticket))
            self._set_alarm()
        return True

    def done(self, ticket: Ticket, *, through: bool) -> None:
        """*ticket* has tried, and got *through* or not: the next may try."""
        if through and ticket.rank is not None:
            self._virtual = max(self._virtual, ticket.rank[1])
        if self._trying is ticket:
            self._trying = None
            self.go_on()

    def leave(self, ticket: Ticket) -> None:
        """Its caller left."""
        if ticket.stands:
            self._remove(ticket)

    def lost(self, client: str) -> None:
        """A caller of *client* left that had waited."""
        now = self._clock.now()
        self._lost_at = {one: at for one, at in self._lost_at.items() if now <= at + LASTING} | {client: now}

    # ── whose moment has come ──

    def _set_alarm(self) -> None:
        """Have the alarm ring at the first moment that a ticket waits for."""
        while self._moments and self._moments[0][2].wakes_at != self._moments[0][0]:
            heappop(self._moments)
        soonest = self._moments[0][0] if self._moments else inf
        if soonest >= self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = soonest
        self._alarm = self._clock.call_later(max(0.0, soonest - self._clock.now()), self._ring)

    def _ring(self) -> None:
        """All whose moment has come may try, in the order of their ranks."""
        self._alarm, self._alarm_at = None, inf
        due = self._clock.now() + _SAME_MOMENT
        while self._moments and self._moments[0][0] <= due:
            moment, _, ticket = heappop(self._moments)
            if ticket.wakes_at == moment:
                self._may_try(ticket)
        self._set_alarm()
        self.go_on()

    def _may_try(self, ticket: Ticket) -> None:
        """*ticket*, which sleeps, may try."""
        self._remove(ticket, leaves=False)
        ticket.ready = True
        heappush(self._ready, ticket)

    # ── which one tries ──

    def go_on(self) -> None:
        """Let the first of those that may try do so, unless one is trying."""
        if self._trying is not None:
            return
        first = self._first()
        if first is not None:
            first = self._newest(first)
            self._remove(first)
            self._trying = first
            first.end(None)

    def _first(self) -> Ticket | None:
        """The first of those that are ready, and of those that sleep where capacity was given back."""
        found = self._ready[0] if self._ready else None
        for line in self._lines.values():
            if not line.below:
                continue
            if line.below == inf:
                first: Ticket | None = line.asleep[0]
            else:
                first = min((one for one in line.asleep if one.size < line.below), default=None)
            if first is None:
                line.below = 0.0
            elif found is None or first < found:
                found = first
        return found

    def _newest(self, first: Ticket) -> Ticket:
        """
        Which call of its client has the turn that is *first*'s: that one, or, where calls are lost, the newest, with which it
        changes ranks.
        """
        if not self._newest_first(first):
            return first
        freed = [line for line in self._lines.values() if line.below]
        may_try = [*self._ready, *(one for line in freed for one in line.asleep if one.size < line.below)]
        fit = [one for one in may_try if (one.client, one.priority) == (first.client, first.priority)]
        newest = max(fit, key=lambda one: one.number)
        if newest is not first:
            newest.rank, first.rank = first.rank, newest.rank
            for heap in (self._ready, *(line.asleep for line in freed)):
                heapify(heap)
        return newest

    def _newest_first(self, ticket: Ticket) -> bool:
        """Whether calls of its client are lost."""
        return self._clock.now() <= self._lost_at.get(ticket.client, -inf) + LASTING

    def _remove(self, ticket: Ticket, *, leaves: bool = True) -> None:
        among = self._ready if ticket.ready else self._lines[ticket.line].asleep
        if among[0] is ticket:
            heappop(among)
        else:
            among.remove(ticket)
            heapify(among)
        if not ticket.ready and not among:
            del self._lines[ticket.line]
        ticket.ready, ticket.wakes_at = False, inf
        if leaves:
            self._left(ticket)

    def _left(self, ticket: Ticket) -> None:
        ticket.stands = False
        self.waiting -= 1
        if not self.waiting and self._alarm is not None:
            self._alarm.cancel()
            self._alarm, self._alarm_at = None, inf
            self._moments.clear()
        self._of_client[ticket.client] -= 1
        if not self._of_client[ticket.client]:
            del self._of_client[ticket.client]
            self._starts.pop(ticket.client, None)

    def _make_room(self, client: str) -> bool:
        """Send away the last ticket of the client that has most waiting, if *client* has clearly fewer."""
        if not self._of_client:
            return False
        most, count = self._of_client.most_common(1)[0]
        if self._of_client[client] + 1 >= count:
            return False
        last = max(one for one in (*self._ready, *self._asleep()) if one.client == most)
        self._remove(last)
        last.end(None, kept=False)
        return True
