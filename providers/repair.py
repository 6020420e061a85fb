"""
JSON that a model meant, from what it wrote: one repair, of what is cut, quoted or fenced a little off.

What comes out is looked at by those who know what it should be: a repair always comes to something.
"""

from __future__ import annotations

from typing import Any

import json_repair
import msgspec

LONGEST = 1_000_000
"""Characters. A repair of more would keep all others waiting."""

_CLOSING = {"{": "}", "[": "]"}


def read_json(text: str) -> tuple[Any, bool]:
    """What *text* is as JSON, and whether it had to be repaired for that. None: it is none."""
    try:
        return msgspec.json.decode(text), False
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    if len(text) > LONGEST or not any(mark in text for mark in _CLOSING):
        return None, True
    try:
        found = json_repair.loads(text)
    except (ValueError, RecursionError, LookupError):
        return None, True
    return (found if isinstance(found, dict | list) else None), True


def rest_of(text: str) -> str | None:
    """What has to follow *text* to make it JSON: nothing, or what closes what it opened; None: nothing helps."""
    open_marks, in_text, escaped = list[str](), False, False
    for letter in text:
        if in_text:
            in_text = escaped or letter != '"'
            escaped = letter == "\\" and not escaped
        elif letter == '"':
            in_text = True
        elif letter in _CLOSING:
            open_marks.append(_CLOSING[letter])
        elif open_marks and letter == open_marks[-1]:
            open_marks.pop()
    closing = ('"' if in_text else "") + "".join(reversed(open_marks))
    for rest in (closing, f"null{closing}"):
        try:
            msgspec.json.decode(text + rest)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            continue
        return rest
    return None
