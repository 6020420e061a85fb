"""Where the days and months of a time zone begin and end. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

Calendar = Literal["day", "month"]

_newest_windows: dict[tuple[str, str], tuple[float, float]] = {}


def calendar_window(calendar: Calendar, zone: str, now: float) -> tuple[float, float]:
    """Where the day or month in *zone* that holds *now* begins, and where the next one does."""
    window = _newest_windows.get((calendar, zone))
    if window is None or not window[0] <= now < window[1]:
        start = datetime.fromtimestamp(now, ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        if calendar == "month":
            start = start.replace(day=1)
            end = (start + timedelta(days=32)).replace(day=1)
        else:
            end = start + timedelta(days=1)  # wall-clock arithmetic: zoneinfo keeps the local midnight
        window = _newest_windows[calendar, zone] = (start.timestamp(), end.timestamp())
    return window
