"""
Whether a refusal was needless, judged by a judge that knows everything that happened at the sources.

A source has room for one more at a moment if it is up, has a slot free, has something left of its minute, and has not told
a gateway to stay away until later; and if it is not being tried for the first time since it failed. What happened is a
row of pieces of time in which nothing changes. A request that was refused could have been served where such a piece, or
several in a row, lasted for longer than a second and could have been used: it began before the request's deadline and ended
after the request came.

Not needless is the refusal of a request that as many sources failed as a request may try.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from tests.laws.sources import MINUTE, Called, Source, Told

SLACK = 1.0
"""Seconds of room that need not be used: a gateway may keep some distance from the edge of a window."""

GRAIN = 0.005
"""Seconds by which a moment that was told as a duration may be understood later."""

MAX_ATTEMPTS = 5


class Needless(Struct):
    """A refusal, and the room that there was *since* a moment *until* another."""

    told: Told
    source: str
    since: float
    until: float


def needless(told: Told, sources: Iterable[Source], able: Iterable[str], end: float) -> Needless | None:
    """The room that *told*, which one of *able* could have served, was not given; None if it was served or refused rightly."""
    sources = list(sources)
    failed = [call for source in sources for call in source.calls if call.tag == told.tag and call.status != 200]
    if told.status == 200 or len(failed) >= MAX_ATTEMPTS:
        return None
    for source in sources:
        if source.name not in able:
            continue
        for since, until in room(source, end):
            usable = since <= told.came or since < told.deadline - SLACK
            if usable and until > told.came and until - max(since, told.came) > SLACK:
                return Needless(told, source.name, since, until)
    return None


def room(source: Source, end: float) -> Iterator[tuple[float, float]]:
    """When *source* had room, until *end*, each time for as long as it lasted."""
    calls = [call for call in source.calls if call.over is not None]
    if not calls:
        first = min((begin for begin, _ in source.down), default=end)
        yield from ((0.0, first),) if source.down else ((0.0, end),)
        if not source.down:
            return
    edges = sorted(_edges(source, calls, end))
    since: float | None = None
    for at, next_at in zip(edges, [*edges[1:], end], strict=True):
        if next_at > at and _has_room(source, calls, at):
            since = at if since is None else since
        elif next_at > at and since is not None:
            yield since, at
            since = None
    if since is not None:
        yield since, end


def _edges(source: Source, calls: list[Called], end: float) -> set[float]:
    """The moments at which something changes."""
    found = {0.0}
    for call in calls:
        assert call.over is not None  # those that are not over are left out
        found |= {call.at, call.over, (call.at // MINUTE + 1) * MINUTE}
        if call.status == 503:
            found.add(_told_until(source, call))
    for down in source.down:
        found |= {*down}
    return {at for at in found if at < end}


def _has_room(source: Source, calls: list[Called], at: float) -> bool:
    """Whether one more would be served from *at* on, until something changes."""
    if source.is_down(at) is not None:
        return False
    served = [call for call in calls if call.status == 200 and call.at <= at]
    running = sum(call.over > at for call in served if call.over is not None)
    if source.slots is not None and running >= source.slots:
        return False
    if source.a_minute is not None and sum(call.at // MINUTE == at // MINUTE for call in served) >= source.a_minute:
        return False
    failures = [call for call in calls if call.status == 503 and call.at <= at]
    if not failures:
        return True
    back = max(_told_until(source, call) for call in failures)
    last = max(call.at for call in failures)
    recovered = any(last < call.at and call.over is not None and call.over <= at for call in served)
    return at >= back and (recovered or not running)


def _told_until(source: Source, call: Called) -> float:
    """Until when *call*, which failed, was told to stay away."""
    until = source.is_down(call.at)
    return call.at if until is None else until + GRAIN
