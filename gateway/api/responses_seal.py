"""
What a provider wants back of its own reasoning (OpenRouter's details, Gemini's signatures of calls), as the one opaque text
that clients of the Responses API carry from an answer to the next request: ``encrypted_content``.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

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
