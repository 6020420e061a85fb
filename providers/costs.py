"""
What an answer says that it cost, wherever it says so: in its usage, in whichever chunk, in an error, in a header, as a number
or as text, and as what another account was charged for it (a key of one's own at OpenRouter).
"""

from __future__ import annotations

from typing import Any

import msgspec

from providers.lenient import decodable, dollars_of
from providers.observations import Headers, Observation

COST = "cost"
"""The unit of an observation that tells of money: its *limit* are the dollars."""

_OF_ALL = ("cost", "total_cost", "upstream_inference_cost")
_WITHIN = ("usage", "cost_details", "error", "metadata", "x_groq", "response")
_DEEP = 5


def told_in(data: bytes) -> float:
    """The dollars that a body, or an event of a stream, says it cost; 0: it says nothing of that."""
    if b"cost" not in data:
        return 0.0
    try:
        found = msgspec.json.decode(decodable(data))
    except (msgspec.DecodeError, RecursionError):
        return 0.0
    return _within(found, _DEEP)


def observed_in(data: bytes = b"", headers: Headers | None = None) -> tuple[Observation, ...]:
    """The same of a body, and of headers, as what was observed."""
    by_header = [dollars_of(value) or 0.0 for name, value in (headers or {}).items() if name.endswith("cost")]
    return as_observed(max([told_in(data), *by_header]))


def as_observed(dollars: float) -> tuple[Observation, ...]:
    return (Observation(COST, "answer", dollars, by="what the answer says that it cost"),) if dollars > 0 else ()


def _within(found: Any, deep: int) -> float:
    if not isinstance(found, dict):
        return 0.0
    here = [dollars_of(found[name]) or 0.0 for name in _OF_ALL if name in found]
    below = [_within(found[name], deep - 1) for name in _WITHIN if deep and name in found]
    return max([0.0, *here, *below])
