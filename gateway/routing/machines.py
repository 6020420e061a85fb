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

_NEW = 0.3
"""The weight of what was seen last beside what was seen before."""


class Machines:
    """By provider; deployments by name (``provider/model``), requests by their reservation."""

    def __init__(self) -> None:
        self._loaded: dict[str, str] = {}  # the deployment that was asked last
        self._loading: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._loads: dict[str, str] = {}  # requests that found another model loaded, and where

    def sent(self, name: str, request: str) -> None:
        """*request* goes to the deployment *name*, whose model is loaded from then on."""
        provider = name.partition("/")[0]
        if self._loaded.get(provider) != name:  # of the first it is not known: it may be loaded
            self._loads[request] = provider
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
        """*request* to the deployment *name* is over, however it ended."""
        self._ended[name.partition("/")[0]] = now
        self._loads.pop(request, None)

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
        if request in self._loads and worked and known is not None and known.first_content is not None:
            usual = known.first_content + known.a_token * worked[0].tokens
            seen, before = max(0.0, worked[0].seconds - usual), self._loading.get(provider, LOADING)
            self._loading[provider] = before + _NEW * (seen - before)
        return []
