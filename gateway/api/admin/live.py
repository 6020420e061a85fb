"""
``GET events``: what happens, as server-sent events, for those who look on. While nobody does, it costs nothing.

Events are ``overview``, ``source``, ``request`` and ``change``, each with its view as data. What happens often is gathered: a request
is told twice a second at most, the overview and a source once, and only as they change. A listener that does not read is dropped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.response import Stream

from gateway.api.admin.changes import views as change_views
from gateway.api.admin.overview import Desk
from gateway.api.admin.requests import request_view
from gateway.api.admin.sources import views as source_views
from gateway.events import Changed, Event
from gateway.words import GatewayError
from providers.chat import encode

EVENT_STREAM = "text/event-stream"

EVERY = 0.5
"""Seconds between two looks while somebody listens."""

OVERVIEW_EVERY, UNASKED = 1.0, 15.0
"""Seconds between two overviews while something happens, and while nothing does: time alone changes what is left."""

SILENCE = 15.0
"""Seconds of silence after which a comment is sent, so that no proxy closes the connection."""

MOST_LISTENERS = 20
MOST_UNREAD = 500
"""Events that a listener may leave unread; then it is dropped, and its browser connects anew."""

MOST_REQUESTS = 100
"""Requests that are told at one look: the latest. Nobody reads more."""

_COMMENT = b": \n\n"


class TooManyListeners(GatewayError):
    """So many look on already."""

    status, type, code = 429, "rate_limit_error", "too_many_listeners"


class Listener:
    """One that looks on: what it has not read yet."""

    def __init__(self) -> None:
        self._unread: deque[bytes] = deque()
        self._news = asyncio.Event()
        self.gone = False

    def tell(self, event: bytes) -> None:
        """It is to read *event*; one that has left too many unread is gone, and nothing is kept for it."""
        if self.gone:
            return
        self._unread.append(event)
        if len(self._unread) > MOST_UNREAD:
            self._unread.clear()
            self.go()
        self._news.set()

    def go(self) -> None:
        """No more is told."""
        self.gone = True
        self._news.set()

    async def read(self) -> bytes:
        """What is unread, in one piece; a comment after a long silence."""
        try:
            await asyncio.wait_for(self._news.wait(), SILENCE)
        except TimeoutError:
            return _COMMENT
        self._news.clear()
        told = b"".join(self._unread)
        self._unread.clear()
        return told


class Feed:
    """Tells all listeners. An observer for what changes; requests come by ``Recent``."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._listeners: list[Listener] = []
        self._anybody = asyncio.Event()
        self._changed: dict[str, None] = {}  # ids of requests
        self._dirty = False
        self._overview_at = 0.0
        self._told: dict[str, bytes] = {}  # what was told last of each source, and of the whole

    def __call__(self, event: Event) -> None:
        if not self._listeners:
            return
        self._dirty = True
        if isinstance(event, Changed):
            self._tell("change", encode(change_views([event])[0]))

    async def listen(self) -> AsyncIterator[bytes]:
        """Everything from now on, in pieces of whole events, beginning with the overview and the sources."""
        listener = Listener()
        self._listeners.append(listener)
        self._desk.recent.changed = self._request_changed
        try:
            self._told.clear()
            self._dirty, self._overview_at = True, 0.0
            self._anybody.set()
            while not listener.gone:
                yield await listener.read()
        finally:
            self._listeners.remove(listener)
            if not self._listeners:
                self._anybody.clear()
                self._desk.recent.changed = None
                self._changed.clear()

    @property
    def full(self) -> bool:
        """Whether no more may look on."""
        return len(self._listeners) >= MOST_LISTENERS

    def close(self) -> None:
        """The gateway is about to end: nobody is kept waiting for more."""
        for listener in self._listeners:
            listener.go()

    async def tell_forever(self) -> None:
        """The background loop."""
        while True:
            await self._anybody.wait()
            await self.look()
            await self._desk.engine.clock.sleep(EVERY)

    async def look(self) -> None:
        """Tell what has happened since the last look."""
        changed, self._changed = list(self._changed), {}
        for name in changed[-MOST_REQUESTS:]:
            if (seen := self._desk.recent.get(name)) is not None:
                self._tell("request", encode(request_view(seen)))
        now = self._desk.engine.clock.now()
        since = now - self._overview_at
        if (self._dirty and since >= OVERVIEW_EVERY) or not 0 <= since < UNASKED:
            self._dirty, self._overview_at = False, now
            await self._tell_state()

    async def _tell_state(self) -> None:
        overview = await self._desk.overview()
        self._tell_news("overview", "", encode(overview), encode(msgspec.structs.replace(overview, now=0.0)))
        names = self._desk.sources.names()
        for source in await source_views(names, self._desk):
            encoded = encode(source)
            self._tell_news("source", source.name, encoded, encoded)

    def _tell_news(self, kind: str, name: str, encoded: bytes, same: bytes) -> None:
        """Tell what is *encoded* unless the *same* was told last."""
        if self._told.get(name) != same:
            self._told[name] = same
            self._tell(kind, encoded)

    def _tell(self, kind: str, encoded: bytes) -> None:
        event = b"event: %s\ndata: %s\n\n" % (kind.encode(), encoded)
        for listener in self._listeners:
            listener.tell(event)

    def _request_changed(self, name: str) -> None:
        self._changed.pop(name, None)
        self._changed[name] = None
        if len(self._changed) > MOST_REQUESTS:
            del self._changed[next(iter(self._changed))]


@get("/events")
async def events(feed: NamedDependency[Feed]) -> Stream:
    """What happens, as it happens. Raises TooManyListeners."""
    if feed.full:
        raise TooManyListeners("too many pages look on: close one", retry_after=60.0)
    return Stream(feed.listen(), media_type=EVENT_STREAM, headers={"x-accel-buffering": "no"})


HANDLERS = (events,)
