"""What headers say of limits: waits in every spelling, and the rows of configuration that name the headers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime

from msgspec import Struct

from providers.spec import LimitHeader

_PIECE = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)")
_USED_UP = re.compile(r";\s*r=0\s*(?:;.*)?;\s*t=(\d+)")
_IN_WORDS = re.compile(
    r"\b(?:try again|retry)(?: your request)? (?:in|after) (\d(?:[0-9a-zµ.]*[0-9a-zµ])?)(?: (second|minute|hour)s?)?\b",
    re.IGNORECASE,
)
_ABSURD = 1e20
_THIS_CENTURY = (1.5e9, 4.1e9)  # unix seconds
_YEAR = 366 * 86_400.0

LONGEST_WAIT = 86_400.0
"""Seconds that a provider can have itself left alone for by one answer. After that it is asked again, whatever it said."""

_LONGEST_MONTH = 32 * 86_400.0


def longest_wait(window: str | None) -> float:
    """The same for a bucket of *window*: a month's may be used up for the rest of it."""
    return _LONGEST_MONTH if window == "month" else LONGEST_WAIT


_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def seconds(text: str | None) -> float | None:
    """
    A duration in seconds: ``7``, ``26.284``, ``370ms``, ``2m59.56s``, ``1h0m3s``. None if it is none of these.

    The composite form is that of Go's ``time.Duration``, which Groq and Google send.
    """
    if not text:
        return None
    text = text.strip()
    pieces = _PIECE.findall(text)
    if pieces and "".join(number + unit for number, unit in pieces) == text:
        total = sum(float(number) * _SECONDS[unit] for number, unit in pieces)
        return total if total < _ABSURD else None
    return number_of(text)


def _moment(number: float) -> float | None:
    """*number* as a moment (unix seconds), if it can only be one; some tell it in milli- or microseconds."""
    for scale in (1.0, 1e3, 1e6, 1e9):
        if _THIS_CENTURY[0] <= number / scale < _THIS_CENTURY[1]:
            return number / scale
    return None


def number_of(text: str | None) -> float | None:
    """A plain number that can be one of requests or tokens, or None: not below zero, not infinite, not absurd."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < _ABSURD else None


Headers = Mapping[str, str]
"""Of an answer; names in lower case."""


class Observation(Struct, frozen=True):
    """
    What a provider says of one bucket: its *limit*, what is *remaining*, and seconds until it *resets_in*.

    *unit* and *window* name the bucket as configuration does; *window* is ``minute``, ``hour``, ``day`` or ``month``.
    *by* is where it says so, *scope* whether it is of the ``account`` or the ``model``, where that has to be told.
    """

    unit: str
    window: str
    limit: float | None = None
    remaining: float | None = None
    resets_in: float | None = None
    by: str = "answer headers"
    scope: str | None = None


class Wait(Struct, frozen=True):
    """When to come back: in so many seconds, or at a moment (unix seconds). Neither: that is not known."""

    retry_in: float | None = None
    until: float | None = None


def wait_of(headers: Headers) -> Wait:
    """
    When the answer with *headers* says to come back.

    ``Retry-After`` as a duration or a date (RFC 9110, 10.2.3), else ``RateLimit`` with nothing remaining
    (``"api";r=0;t=55``, draft-ietf-httpapi-ratelimit-headers), which Hugging Face sends.
    """
    after = headers.get("retry-after")
    if after is None:
        used_up = _USED_UP.search(headers.get("ratelimit", ""))
        return _bounded(float(used_up[1])) if used_up else Wait()
    retry_in = seconds(after)
    if retry_in is not None:
        return _bounded(retry_in)
    try:
        return Wait(until=parsedate_to_datetime(after).timestamp())
    except (ValueError, OverflowError):
        return Wait()


def wait_in(message: str) -> float | None:
    """
    The seconds after which *message* says to come back: ``Please try again in 7m32.5s``, ``retry after 20 seconds``. None: it
    says nothing of the kind.
    """
    found = _IN_WORDS.search(message)
    told = None if found is None else seconds(found[1])
    if found is None or told is None:
        return None
    return min(told * (_SECONDS[found[2][0].lower()] if found[2] else 1.0), LONGEST_WAIT)


def _bounded(retry_in: float) -> Wait:
    """A wait of *retry_in* seconds, or until the moment that it is; of years, it is a mistake."""
    until = _moment(retry_in)
    if until is not None:
        return Wait(until=until)
    return Wait(min(retry_in, LONGEST_WAIT))


def exhausted(rows: Iterable[LimitHeader], headers: Headers) -> Observation | None:
    """The first bucket of which *headers* say that nothing remains, those that never held anything before others."""
    empty = [o for o in from_headers(rows, headers) if o.remaining == 0 or o.limit == 0]
    return min(empty, key=lambda o: o.limit != 0, default=None)


def from_headers(rows: Iterable[LimitHeader], headers: Headers) -> tuple[Observation, ...]:
    """One observation for each row of *rows* of which *headers* has anything."""
    observed = []
    for row in rows:
        limit = number_of(headers.get(row.limit)) if row.limit else None
        remaining = number_of(headers.get(row.remaining)) if row.remaining else None
        if limit is None and remaining is None:
            continue
        resets_in = seconds(headers.get(row.resets)) if row.resets else None
        if resets_in is not None and resets_in > _YEAR:  # a moment, or nonsense
            resets_in = None
        if limit is not None and remaining is not None:
            remaining = min(remaining, limit)
        observed.append(Observation(row.unit, row.window, limit, remaining, resets_in, scope=row.scope))
    return tuple(observed)
