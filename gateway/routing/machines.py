"""
What a machine of one's own works on: which model it has loaded, how long it takes to load another, and for how long it really
worked on an answer.

Such a machine answers one after the other, or a few at a time; what is sent besides waits there. So how quickly a model
answers is told by the time since the one before was over, and a request that finds another model loaded tells how long
loading takes, and nothing of the model. As one process sees it. Pure but for its own record; moments come in as arguments.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.routing.latency import Pace, Point

LOADING = 10.0
"""Seconds that loading a model is taken for, as long as none was seen to load."""

NOT_SEEN = 3.0
"""Seconds for which a machine of one's own is taken to work on an answer, as long as none was seen."""

_DISPLACED = 1.0
"""Calls in whose place no other model is loaded."""

_NEW = 0.3
"""The weight of what was seen last beside what was seen before."""


class Machines:
    """By provider; deployments by name (``provider/model``), requests by their reservation."""

    def __init__(self) -> None:
        self._loaded: dict[str, str] = {}  # the deployment that was asked last
        self._loading: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._loads: dict[str, str] = {}  # requests that found another model loaded, or may have, and where
        self._unsure: set[str] = set()  # of these, those of which it is not known
        self._under_way: dict[str, dict[str, str]] = {}  # requests in their order, and what was loaded before each

    def sent(self, name: str, request: str) -> None:
        """*request* goes to the deployment *name*, whose model is loaded from then on."""
        provider = name.partition("/")[0]
        loaded = self._loaded.get(provider)
        if loaded != name:
            self._loads[request] = provider
        if loaded is None:  # of the first it is not known: its model may be loaded
            self._unsure.add(request)
        self._under_way.setdefault(provider, {})[request] = loaded or name
        self._loaded[provider] = name

    def loading(self, name: str) -> float:
        """Seconds that a request to the deployment *name* takes longer now, since another is loaded."""
        provider = name.partition("/")[0]
        loaded = self._loaded.get(provider, name)
        return 0.0 if loaded == name else self._loading.get(provider, LOADING)

    def loaded(self, name: str) -> str:
        """The deployment that is loaded where *name* is; none: empty."""
        return self._loaded.get(name.partition("/")[0], "")

    def ended(self, name: str, request: str, now: float) -> None:
        """
        *request* to the deployment *name* is over, however it ended. One that was sent last and leaves before those ahead of it
        was never begun, and loaded nothing.
        """
        provider = name.partition("/")[0]
        line = self._under_way.get(provider, {})
        before = line.get(request, name)
        if line and next(reversed(line)) == request != next(iter(line)):
            self._loaded[provider] = before
        else:
            self._ended[provider] = now
        line.pop(request, None)
        self._loads.pop(request, None)
        self._unsure.discard(request)

    def worked(
        self, name: str, request: str, sent_at: float, points: Sequence[Point], known: Pace | None
    ) -> list[Point]:
        """
        What *points* of an answer, in seconds since it was sent, tell of the model: without the time that it waited for the one
        before. None if it, or one that was sent with it, had to be loaded: then they tell how long that takes, if its pace is
        *known*.
        """
        provider = name.partition("/")[0]
        waited = max(0.0, self._ended.get(provider, sent_at) - sent_at)
        worked = [Point(point.tokens, point.seconds - waited) for point in points if point.seconds > waited]
        if provider not in self._loads.values():
            return worked
        if (
            request in self._loads.keys() - self._unsure
            and worked
            and known is not None
            and known.first_content is not None
        ):
            usual = known.first_content + known.a_token * worked[0].tokens
            seen, before = max(0.0, worked[0].seconds - usual), self._loading.get(provider, LOADING)
            self._loading[provider] = before + _NEW * (seen - before)
        return []


def displaces(loading: float, here: float, there: float, others: float, within: float) -> bool:
    """
    Whether *loading* a model that answers in *here* seconds, and then the other again, which answers in *there*, takes the place
    of more calls than it serves: as many as are answered in that time, as far as the *others*, who come *within* so many
    seconds, need all of it.
    """
    saved = others * max(0.0, there - here)
    busy = min(1.0, others * there / within)
    return saved < loading and 2 * loading / there * busy >= _DISPLACED
