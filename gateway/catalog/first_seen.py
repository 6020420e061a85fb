"""Since when models are known whose release no one tells: the moment at which a gateway of this store first saw them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from gateway.clock import Clock
from gateway.state.store import StateStore
from gateway.words import Deployment

_TOPIC = "models first seen"


class FirstSeen:
    """One for each process; what one sees first all know."""

    def __init__(self, state: StateStore, clock: Clock) -> None:
        self._state, self._clock = state, clock
        self._seen: dict[str, float] = {}
        state.watch(_TOPIC, float, self._hear)

    def created(self, deployment: Deployment) -> int:
        """When the model of *deployment* was released, as far as that is known; else when it was first seen (unix seconds)."""
        released = _moment(deployment.released)
        if released is not None:
            return released
        at = self._seen.get(deployment.model)
        if at is None:
            at = self._seen[deployment.model] = float(int(self._clock.now()))
            self._state.set(_TOPIC, deployment.model, at)
        return int(at)

    def _hear(self, seen: Mapping[str, float]) -> None:
        for model, at in seen.items():
            self._seen[model] = min(at, self._seen.get(model, at))


def _moment(date: str | None) -> int | None:
    """The beginning of *date*, which is a day or a month: 2026-05-21, 2026-05."""
    if date is None:
        return None
    try:
        day = datetime.strptime(date if date.count("-") > 1 else f"{date}-01", "%Y-%m-%d")  # noqa: DTZ007 - UTC, below
    except ValueError:
        return None
    return int(day.replace(tzinfo=UTC).timestamp())
