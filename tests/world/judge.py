"""What became of a request: right, or how it was lost."""

from __future__ import annotations

import json
from typing import Literal

from tests.world import truth
from tests.world.callers import Asking, Heard

Verdict = Literal["right", "wrong", "cut", "late", "refused"]
"""*late*: the caller left before there was anything to see, or the whole of it; *cut*: it ended in the middle."""

VERDICTS: tuple[Verdict, ...] = ("right", "wrong", "cut", "late", "refused")


def judge(asking: Asking, heard: Heard) -> Verdict:
    """What a caller thinks of what it *heard*."""
    if heard.left:
        return "cut" if heard.visible_at is not None else "late"
    if heard.visible_at is None and not heard.ended:
        return "refused"
    if not heard.ended or heard.error:
        return "cut"
    return "right" if _right(asking, heard) else "wrong"


def _right(asking: Asking, heard: Heard) -> bool:
    if asking.kind.tools:
        return _has(heard.arguments, asking.tag)
    if asking.kind.schema:
        return _has(heard.text, asking.tag) and set(json.loads(heard.text)) == set(truth.SCHEMA["required"])
    seen = asking.tag if asking.kind.vision else ""
    return heard.text.strip() == truth.answer(asking.tag, asking.words, seen)


def _has(encoded: str, tag: str) -> bool:
    try:
        value = json.loads(encoded)
    except ValueError:
        return False
    return isinstance(value, dict) and value.get("tag") == tag
