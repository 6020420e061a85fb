"""What a provider counts, and when it lets in again: every kind of window, exactly, as the provider itself counts."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0

_AT_ONCE = 1e-5
"""Seconds that two moments may differ by and still be one: unix seconds are no more exact than that."""

Unit = Literal["requests", "tokens", "prompt", "dollars"]
Window = Literal["clock", "rolling", "refill", "day", "month"]


class Limit(Struct, frozen=True, kw_only=True):
    """
    So many *unit* within *seconds*, counted in a *window*: aligned to the clock, rolling, refilling continuously, or a
    calendar day or month in *zone*.

    *scope* is ``account``, or ``model``: each has its own. *used* says how much of it is gone when the world begins. A
    *secret* one is published nowhere and lower than what is. *counts_refused*: what it refuses is counted, too.
    """

    unit: Unit
    amount: float
    window: Window
    seconds: float = MINUTE
    scope: str = "model"
    zone: str = "UTC"
    used: float = 0.0
    secret: bool = False
    counts_refused: bool = False
    reserves_output: bool = False
    models: tuple[str, ...] = ()

    def counts(self, model: str) -> bool:
        """Whether it holds for *model*."""
        return not self.models or model in self.models

    @property
    def label(self) -> str:
        span = {MINUTE: "minute", HOUR: "hour", DAY: "day"}.get(self.seconds, f"{self.seconds:g} s")
        span = self.window if self.window in ("day", "month") else span
        more = " (secret)" if self.secret else " (used before)" if self.used else ""
        return f"{self.amount:g} {self.unit}/{span}{more}"


def window_of(limit: Limit, at: float) -> tuple[float, float]:
    """Begin and end of the calendar or clock window that *at* lies in."""
    if limit.window == "clock":
        begin = at - at % limit.seconds
        return begin, begin + limit.seconds
    here = datetime.fromtimestamp(at, ZoneInfo(limit.zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    if limit.window == "day":
        return here.timestamp(), (here + timedelta(days=1)).timestamp()
    here = here.replace(day=1)
    return here.timestamp(), (here + timedelta(days=32)).replace(day=1).timestamp()


class Counter:
    """One limit of one account or model, and what was taken from it."""

    def __init__(self, limit: Limit, key: str, now: float) -> None:
        self.limit, self.key = limit, key
        self.taken: list[tuple[float, float]] = []  # all that was ever taken, for the report
        self._used, self._since = limit.used, now
        self._rolling: deque[tuple[float, float]] = deque()
        self._window = window_of(limit, now) if limit.window not in ("rolling", "refill") else (0.0, 0.0)

    def left(self, now: float) -> float:
        """How much is left at *now*."""
        self._roll(now)
        return self.limit.amount - self._used

    def opens_in(self, cost: float, now: float) -> float:
        """Seconds from *now* until there is room for *cost*; 0: now. What is given away is not out with a credit."""
        self._roll(now)
        if not cost:
            return 0.0
        over = self._used + cost - self.limit.amount
        if over <= 1e-9:
            return 0.0
        match self.limit.window:
            case "refill":
                return over * self.limit.seconds / self.limit.amount
            case "rolling":
                for at, amount in self._rolling:
                    over -= amount
                    if over <= 1e-9:
                        return at + self.limit.seconds - now
                return self.limit.seconds
            case _:
                return self._window[1] - now

    def take(self, cost: float, now: float) -> None:
        """Debit *cost*, which may also be less than nothing: some of it comes back."""
        self._roll(now)
        self._used += cost
        self.taken.append((now, cost))
        if self.limit.window == "rolling":
            self._rolling.append((now, cost))

    def _roll(self, now: float) -> None:
        match self.limit.window:
            case "refill":
                flowed = (now - self._since) * self.limit.amount / self.limit.seconds
                self._used, self._since = max(0.0, self._used - flowed), now
            case "rolling":
                while self._rolling and self._rolling[0][0] <= now - self.limit.seconds + _AT_ONCE:
                    self._used -= self._rolling.popleft()[1]
            case _:
                if now >= self._window[1]:
                    self._used, self._window = 0.0, window_of(self.limit, now)
