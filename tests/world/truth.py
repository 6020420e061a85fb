"""
What a right answer to a request is. A request names itself and how long an answer it wants; a model that read all of it
can answer rightly, one that was sent a part of it, or cannot see, cannot.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any

_NOUNS = ("river", "stone", "cloud", "lamp", "field", "window", "harbour", "pine", "letter", "bridge", "snow", "table")
_ASK = re.compile(r"\[ask (\w+) words (\d+)\]")
_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
FUNCTION = "record"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"tag": {"type": "string"}, "words": {"type": "integer"}},
    "required": ["tag", "words"],
    "additionalProperties": False,
}
TOKENS_A_WORD = 2.0


def prompt(tag: str, words: int, tokens: int) -> str:
    """A prompt of about so many *tokens* that begins with what it asks for."""
    head = f"[ask {tag} words {words}] "
    return head + "Tell me of it. " * max(1, (tokens * 4 - len(head)) // 15)


def found_in(text: str) -> tuple[str, int]:
    """The tag and the words that *text* asks for; an empty tag if it does not say."""
    found = _ASK.search(text)
    return (found[1], int(found[2])) if found else ("", 20)


def answer(tag: str, words: int, seen: str = "") -> str:
    """The text of an answer. *seen* is what the picture showed."""
    said = f" I see {seen}." if seen else ""
    return f"{tag}:{said} " + " ".join(f"{_NOUNS[n % len(_NOUNS)]}{n}" for n in range(words)) + " done."


def structured(tag: str, words: int) -> str:
    """The text of an answer that keeps SCHEMA."""
    return json.dumps({"tag": tag, "words": words})


def picture(tag: str) -> str:
    """A picture that shows *tag*, as a data URL."""
    return "data:image/png;base64," + base64.b64encode(_PIXEL + b"shows:" + tag.encode()).decode()


def shown_by(encoded: str) -> str:
    """What the picture with the base64 *encoded* shows."""
    try:
        _, _, shown = base64.b64decode(encoded).partition(b"shows:")
    except ValueError:
        return ""
    return shown.decode("latin-1")


def output_tokens(words: int) -> int:
    """About how many an answer of so many *words* has."""
    return int(words * TOKENS_A_WORD) + 4
