"""
How each deployment fares: cooling after failures, with growing back-off and one probe at a time, and its latency.

Kept by each process for itself; all moments come in as arguments.
"""

from __future__ import annotations

from msgspec import Struct

MAX_COOLING = 600.0
"""Seconds that back-off grows to at most, so that a recovered source is found again."""

_PROBE_FOR = 120.0
"""Seconds after which a probe that was never heard of again no longer keeps others away."""

_SMOOTHING = 0.2


class Condition(Struct):
    """One deployment. *latency* is seconds to the first content, smoothed; None until it is known."""

    failures: int = 0
    cooling_until: float = 0.0
    because: str = ""
    probing_until: float = 0.0
    latency: float | None = None


class Health:
    """The condition of every deployment that was ever tried, by name."""

    def __init__(self) -> None:
        self._conditions: dict[str, Condition] = {}

    def blocked_until(self, name: str, now: float) -> tuple[float, str] | None:
        """Until when *name* should be left alone, and why; None if it may be tried."""
        condition = self._conditions.get(name)
        if condition is None or not condition.failures:
            return None
        if now < condition.cooling_until:
            return condition.cooling_until, condition.because
        if now < condition.probing_until:
            return condition.probing_until, "another request is finding out whether it has recovered"
        return None

    def latency(self, name: str) -> float | None:
        """Seconds to first content, smoothed; None if unknown."""
        condition = self._conditions.get(name)
        return condition.latency if condition else None

    def trying(self, name: str, now: float) -> None:
        """A request is sent. The first after a cooling is a probe and keeps the others away until it ends."""
        condition = self._conditions.get(name)
        if condition is not None and condition.failures:
            condition.probing_until = now + _PROBE_FOR

    def failed(self, name: str, because: str, base: float, now: float, until: float | None = None) -> None:
        """It failed: cool until *until* if that is known, else for *base* seconds, doubled with each failure."""
        condition = self._conditions.setdefault(name, Condition())
        condition.probing_until = 0.0
        if until is None:
            until = now + min(MAX_COOLING, base * 2**condition.failures)
        condition.failures = min(condition.failures + 1, 30)
        condition.cooling_until, condition.because = until, because

    def left(self, name: str) -> None:
        """An attempt ended without saying anything about the deployment."""
        if (condition := self._conditions.get(name)) is not None:
            condition.probing_until = 0.0

    def served(self, name: str, latency: float) -> None:
        """It answered, *latency* seconds after it was asked."""
        condition = self._conditions.setdefault(name, Condition())
        condition.failures, condition.cooling_until, condition.probing_until, condition.because = 0, 0.0, 0.0, ""
        known = condition.latency
        condition.latency = latency if known is None else known + _SMOOTHING * (latency - known)
