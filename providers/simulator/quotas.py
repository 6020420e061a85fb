"""
How providers count, each in its own way, on a clock that is given.

Written apart from the gateway's ledger on purpose: it is the witness against it. Rolling windows are exact logs here.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

Clock = Callable[[], float]


class Meter(Protocol):
    """One counter. Moments are unix seconds."""

    limit: float

    def used(self, now: float) -> float:
        """What counts now."""

    def take(self, amount: float, now: float) -> None:
        """Count *amount*."""

    def resets_at(self, now: float, amount: float = 1) -> float:
        """When *amount* fits, if nothing more is taken."""


class Rolling:
    """What was taken in the last *period* seconds."""

    def __init__(self, limit: float, period: float = 60.0) -> None:
        self.limit, self.period = limit, period
        self._log: deque[tuple[float, float]] = deque()

    def used(self, now: float) -> float:
        while self._log and self._log[0][0] <= now - self.period:
            self._log.popleft()
        return sum(amount for _, amount in self._log)

    def take(self, amount: float, now: float) -> None:
        self._log.append((now, amount))

    def resets_at(self, now: float, amount: float = 1) -> float:
        excess = self.used(now) + amount - self.limit
        for at, taken in self._log:
            if excess <= 0:
                break
            excess -= taken
            if excess <= 0:
                return at + self.period
        return now


class Aligned:
    """What was taken since the clock's last full *period*."""

    def __init__(self, limit: float, period: float = 60.0) -> None:
        self.limit, self.period = limit, period
        self._window, self._used = -1.0, 0.0

    def used(self, now: float) -> float:
        window = now // self.period
        if window != self._window:
            self._window, self._used = window, 0.0
        return self._used

    def take(self, amount: float, now: float) -> None:
        self.used(now)
        self._used += amount

    def resets_at(self, now: float, amount: float = 1) -> float:
        return (now // self.period + 1) * self.period


class Refilling:
    """A bucket that fills with its limit in *period* seconds, without pause."""

    def __init__(self, limit: float, period: float = 60.0) -> None:
        self.limit, self.period = limit, period
        self._used, self._at = 0.0, 0.0

    def used(self, now: float) -> float:
        self._used = max(0.0, self._used - max(0.0, now - self._at) * self.limit / self.period)
        self._at = max(now, self._at)
        return self._used

    def take(self, amount: float, now: float) -> None:
        self._used = max(0.0, self.used(now) + amount)

    def resets_at(self, now: float, amount: float = 1) -> float:
        return now + max(0.0, self.used(now) + amount - self.limit) * self.period / self.limit

    def full_at(self, now: float) -> float:
        """When nothing counts any more."""
        return now + self.used(now) * self.period / self.limit


class Calendar:
    """What was taken on this day, or in this month, of a time zone."""

    def __init__(self, limit: float, zone: str = "UTC", *, month: bool = False) -> None:
        self.limit, self._zone, self._month = limit, ZoneInfo(zone), month
        self._start, self._used = "", 0.0

    def used(self, now: float) -> float:
        day = datetime.fromtimestamp(now, self._zone).date().isoformat()
        start = day[:7] if self._month else day
        if start != self._start:
            self._start, self._used = start, 0.0
        return self._used

    def take(self, amount: float, now: float) -> None:
        self.used(now)
        self._used += amount

    def resets_at(self, now: float, amount: float = 1) -> float:
        today = datetime.fromtimestamp(now, self._zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        if self._month:
            return (today.replace(day=1) + timedelta(days=32)).replace(day=1).timestamp()
        return (today + timedelta(days=1)).timestamp()


def fits(meter: Meter, amount: float, now: float) -> bool:
    """Whether *amount* may be taken."""
    return meter.used(now) + amount <= meter.limit + 1e-9


def go_duration(seconds: float) -> str:
    """As Go prints a duration, which Groq sends: ``370ms``, ``7.66s``, ``2m59.56s``, ``1h0m3s``."""
    millis = math.ceil(seconds * 1000 - 1e-2)  # the clock's own rounding is no millisecond
    if millis <= 0:
        return "0s"
    if millis < 1000:
        return f"{millis}ms"
    hours, rest = divmod(millis, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    text = f"{rest / 1000:g}s"
    if minutes or hours:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text
