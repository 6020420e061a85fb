"""
Thoughts that a model writes into its answer, between ``<think>`` and ``</think>``, taken apart from what it says.

Some chat templates open the thought themselves, so that only the closing tag is ever written. In a whole answer that
is plain to see; in a stream it must be known beforehand (``opens_in_thought``).
"""

from __future__ import annotations

OPENING, CLOSING = "<think>", "</think>"


def split_thought(content: str) -> tuple[str, str]:
    """A whole answer as (thought, said). Without a closing tag all of it is said."""
    thought, closing, said = content.partition(CLOSING)
    if not closing:
        return "", content
    return thought.strip().removeprefix(OPENING).strip(), said.lstrip()


class ThoughtSplitter:
    """The same for an answer that comes in pieces, whose tags may be cut anywhere."""

    def __init__(self, opens_in_thought: bool = False) -> None:
        self._thinking = opens_in_thought
        self._tagged = opens_in_thought  # a thought is open, or was
        self._fresh = True  # nothing but blanks was said
        self._held = ""  # may be the beginning of a tag

    def concerned(self, content: str | None) -> bool:
        """Whether the next piece may have to be taken apart; the common answer is no, and costs nothing."""
        if self._thinking or self._held:
            return True
        if not content:
            return False
        if self._tagged or not self._fresh:
            return self._tagged and self._fresh
        if content.lstrip()[:1] == "<":
            return True
        self._fresh = not content.strip()
        return False

    def feed(self, content: str, *, last: bool = False) -> tuple[str, str]:
        """One piece as (thought, said). With *last*, nothing is held back."""
        text, self._held = self._held + content, ""
        if not self._thinking and not self._tagged:
            text = self._open(text, last=last)
        if not self._thinking:
            return "", self._say(text)
        thought, closing, said = text.partition(CLOSING)
        if closing:
            self._thinking = False
            return thought, self._say(said)
        return (text, "") if last else (self._hold(text, CLOSING), "")

    def _open(self, text: str, *, last: bool) -> str:
        start = text.lstrip()
        if start.startswith(OPENING):
            self._thinking = self._tagged = True
            return start.removeprefix(OPENING)
        if not last and OPENING.startswith(start):
            self._held = text
            return ""
        return text

    def _hold(self, text: str, tag: str) -> str:
        """*text* without an ending that may turn out to be the beginning of *tag*."""
        for size in range(min(len(tag) - 1, len(text)), 0, -1):
            if text.endswith(tag[:size]):
                self._held = text[-size:]
                return text[:-size]
        return text

    def _say(self, text: str) -> str:
        """What is said after a thought begins without the blank lines between them."""
        if self._fresh and self._tagged:
            text = text.lstrip()
        if text.strip():
            self._fresh = False
        return text
