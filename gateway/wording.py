"""Numbers, durations and moments as people say them: in tables, errors and lines of a log."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, tzinfo

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def number(value: float) -> str:
    """1 940, 0.41, 1.5: thousands apart, and as many digits as say something."""
    if value == math.inf:
        return "∞"
    digits = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 1 else 4
    text = f"{value:,.{digits}f}".replace(",", " ")
    return text.rstrip("0").rstrip(".") if "." in text else text


def count(amount: float, one: str, many: str = "") -> str:
    """``1 call``, ``2 calls``, ``1 940 calls``."""
    return f"{number(amount)} {one if amount == 1 else many or f'{one}s'}"


def duration(seconds: float) -> str:
    """The two largest units: 45 s, 12 min, 15 h 36 min, 3 d 4 h. Below ten seconds their parts count, too."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.2g} s" if seconds > 0 else "0 s"
    left = math.ceil(seconds) if seconds < 600 else math.ceil(seconds / 60) * 60
    parts: list[str] = []
    for size, unit in _UNITS:
        whole, left = divmod(left, size)
        if whole:
            parts.append(f"{whole} {unit}")
        elif parts:
            break
        if len(parts) == 2 or (unit == "d" and whole >= 10):
            break
    return " ".join(parts)


def moment(at: float, now: float, zone: tzinfo | None = None) -> str:
    """*at* by the clock on this machine's wall, or of *zone*: 09:00 PST, tomorrow 09:00 PST, Sat 5 Dec 09:00 PST."""
    then, today = (datetime.fromtimestamp(one, UTC).astimezone(zone) for one in (at, now))
    clock = f"{then:%H:%M %Z}".strip()
    if then.date() == today.date():
        return clock
    if then.date() == (today + timedelta(days=1)).date():
        return f"tomorrow {clock}"
    return f"{then:%a} {then.day} {then:%b} {clock}"


def opens(at: float, now: float, zone: tzinfo | None = None) -> str:
    """``in 15 h 36 min, 09:00 PST``; the clock alone says nothing of what is near."""
    if at == math.inf:
        return "at a moment that is not known"
    if at - now < 120:
        return f"in {duration(max(math.ceil(at - now), 1))}"
    return f"in {duration(at - now)}, {moment(at, now, zone)}"


def ago(at: float, now: float) -> str:
    """``3 min ago``"""
    return "just now" if now - at < 1 else f"{duration(now - at)} ago"
