"""A client: one that may call, known by its key, and what it may do. Values; where they are kept is state/clients.py's."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal

import limits
from msgspec import Meta, Struct

Priority = Literal["low", "normal", "high"]
PRIORITIES: dict[str, int] = {"low": -2, "normal": 0, "high": 2}
BEYOND_SHARE = 1
"""By how much the priority of a client is below the normal one, or its own, while it is beyond its share."""

_Seconds = Annotated[float, Meta(ge=0)]


class Client(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One that may call, by the SHA-256 of its key. ``freeway clients add`` makes others, which are kept in the store."""

    name: str  # what the log and the metrics call it
    key_sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]  # of its key, in hexadecimal digits
    priority: Priority = "normal"  # of those who wait, who goes first
    no_train: bool = False  # nothing of theirs goes to a source that trains on prompts, or may
    models: tuple[str, ...] = ()  # patterns of canonical names that they may use; none: all
    providers: tuple[str, ...] = ()  # patterns of providers that may serve them; none: all
    limits: tuple[str, ...] = ()  # of requests and of tokens: "20/minute", "500/day", "200000 tokens/day"
    wait: _Seconds | None = None  # seconds that a request of theirs waits for capacity, unless it says otherwise
    max_wait: _Seconds | None = None  # seconds that it may wait at most, also where it says otherwise
    share: Annotated[float, Meta(gt=0, le=1)] | None = None  # of scarce quotas; beyond it, others go first
    expires: date | float | None = None  # the last day (UTC) on which the key is taken, or the moment (unix seconds)

    @property
    def expires_at(self) -> float:
        """The moment from which on the key is not taken; infinity: it never expires."""
        if self.expires is None:
            return math.inf
        if isinstance(self.expires, date):
            return datetime.combine(self.expires + timedelta(days=1), time(), UTC).timestamp()
        return self.expires


class Limit(Struct, frozen=True):
    """So many requests or tokens in a *window* of so many *seconds*, which is a word: ``minute``, ``5 minute``, ``day``."""

    amount: float
    unit: Literal["requests", "tokens"]
    window: str
    seconds: float

    def __str__(self) -> str:
        unit = "" if self.unit == "requests" else f" {self.unit}"
        return f"{self.amount:.0f}{unit}/{self.window}"


_UNIT = re.compile(r"(?<![a-z])(requests?|tokens?)(?![a-z])", re.IGNORECASE)


def limit_of(text: str) -> Limit:
    """
    A limit in the notation of ``limits``, with the unit before the window: it is taken off before the rest is parsed. Raises
    ``ValueError``.
    """
    units = _UNIT.findall(text)
    try:
        parsed = limits.parse_many(_UNIT.sub("", text)) if len(units) < 2 else []
    except ValueError:
        parsed = []
    if len(parsed) != 1 or parsed[0].amount < 1:
        raise ValueError(f"limit {text!r}: expected e.g. '20/minute', '500/day' or '200000 tokens/day'")
    (item,) = parsed
    word = item.GRANULARITY.name
    window = word if item.multiples == 1 else f"{item.multiples} {word}"
    unit: Literal["requests", "tokens"] = "tokens" if units and units[0].lower().startswith("token") else "requests"
    return Limit(float(item.amount), unit, window, float(item.get_expiry()))


def limits_of(client: Client) -> list[Limit]:
    """The limits of *client*. Raises ``ValueError`` for one that cannot be read, or of whose unit and window there is another."""
    found: dict[tuple[str, str], Limit] = {}
    for text in client.limits:
        limit = limit_of(text)
        if found.setdefault((limit.unit, limit.window), limit) is not limit:
            raise ValueError(f"limit {text!r}: there is another for the same {limit.window}")
    return list(found.values())


def verify(client: Client) -> None:
    """Raise ``ValueError`` if *client* has a limit that cannot be read, or waits for longer than it may."""
    limits_of(client)
    if client.wait is not None and client.max_wait is not None and client.wait > client.max_wait:
        raise ValueError(f"wait: {client.wait:g} s are more than max_wait, which is {client.max_wait:g} s")
