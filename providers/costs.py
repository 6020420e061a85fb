"""
What an answer says that it cost, wherever it says so: in its usage, in whichever chunk, in an error, in a header, as a number
or as text, and as what another account was charged for it (a key of one's own at OpenRouter).
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from providers.lenient import decodable, dollars_of
from providers.observations import Headers, Observation

COST = "cost"
"""The unit of an observation that tells of money: its *limit* are the dollars."""

ESTIMATE = "estimated cost"
"""The same of what a credit pays, as some behind Hugging Face's router tell it; elsewhere it means nothing."""

_CHARGED, _ESTIMATED = ("cost", "total_cost", "upstream_inference_cost"), ("estimated_cost",)
_WITHIN = ("usage", "cost_details", "error", "metadata", "x_groq", "response")
_DEEP = 5


class Told(Struct, frozen=True):
    """Dollars: 0 where nothing is said of them."""

    charged: float = 0.0
    estimated: float = 0.0

    def or_more(self, other: Told) -> Told:
        """The greater of what both say."""
        return Told(max(self.charged, other.charged), max(self.estimated, other.estimated))


def told_in(data: bytes) -> Told:
    """What a body, or an event of a stream, says it cost."""
    if b"cost" not in data:
        return Told()
    try:
        found = msgspec.json.decode(decodable(data))
    except (msgspec.DecodeError, RecursionError):
        return Told()
    return Told(_within(found, _CHARGED, _DEEP), _within(found, _ESTIMATED, _DEEP))


def observed_in(data: bytes = b"", headers: Headers | None = None) -> tuple[Observation, ...]:
    """The same of a body, and of headers, as what was observed."""
    by_header = [dollars_of(value) or 0.0 for name, value in (headers or {}).items() if name.endswith("cost")]
    return as_observed(told_in(data).or_more(Told(max(by_header, default=0.0))))


def as_observed(told: Told) -> tuple[Observation, ...]:
    said = ((COST, told.charged), (ESTIMATE, told.estimated))
    return tuple(
        Observation(unit, "answer", amount, by="what the answer says that it cost") for unit, amount in said if amount
    )


def _within(found: Any, names: tuple[str, ...], deep: int) -> float:
    if not isinstance(found, dict):
        return 0.0
    here = [dollars_of(found[name]) or 0.0 for name in names if name in found]
    below = [_within(found[name], names, deep - 1) for name in _WITHIN if deep and name in found]
    return max([0.0, *here, *below])
