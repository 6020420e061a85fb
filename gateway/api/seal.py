"""
What a provider wants back of its own reasoning (OpenRouter's details, Gemini's signatures of calls), as the one opaque text
that clients carry from an answer to the next request: ``encrypted_content`` of the Responses API, a thought's ``signature`` of
Anthropic's.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from msgspec import Struct

from providers.chat import encode

_SEAL = "freeway1."


def sealed(details: list[Any], calls: dict[str, Any]) -> str | None:
    """What a provider wants back of its own reasoning, as one text that a client replays without looking at it."""
    carried = {name: value for name, value in (("details", details), ("calls", calls)) if value}
    return _SEAL + base64.b64encode(encode(carried)).decode() if carried else None


def unsealed(text: str | None) -> dict[str, Any]:
    """What was sealed; nothing if another program sealed it."""
    if not text or not text.startswith(_SEAL):
        return {}
    try:
        found = msgspec.json.decode(base64.b64decode(text.removeprefix(_SEAL), validate=True))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class _Details(Struct):
    reasoning_details: list[Any] | None = None


class _Choice(Struct):
    message: _Details | None = None
    delta: _Details | None = None


class _Answer(Struct):
    choices: list[_Choice] = []


def details_in(data: bytes) -> list[Any]:
    """What the provider of an answer, or of a piece of one, wants back of its reasoning, if it says so (OpenRouter)."""
    if b'"reasoning_details"' not in data:
        return []
    try:
        choices = msgspec.json.decode(data, type=_Answer).choices
    except msgspec.DecodeError:
        return []
    said = choices[0].message or choices[0].delta if choices else None
    return (said.reasoning_details if said is not None else None) or []
