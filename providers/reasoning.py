"""
Reasoning that a model writes into its answer, between ``<think>`` and ``</think>``, taken apart from what it says.

Some chat templates open the thought themselves, so that only the closing tag is ever written. In a whole answer that
is plain to see; in a stream it must be known beforehand (``opens_in_reasoning``).
"""

from __future__ import annotations

OPENING, CLOSING = "<think>", "</think>"


def split_reasoning(content: str, opens_in_reasoning: bool = False, *, cut: bool = False) -> tuple[str, str]:
    """A whole answer as (thought, said). *cut*: its length was bounded, so a thought may lack its closing tag."""
    return ReasoningSplitter(opens_in_reasoning).feed(content, last=True, cut=cut)


class ReasoningSplitter:
    """
    The same for an answer that comes in pieces, whose tags may be cut anywhere.

    Joined, the pieces are what ``split_reasoning`` makes of the whole. One case has no such answer: where a thought was
    taken for open and no tag ever closes it, the model did not think, and what was passed on as thought is said at the
    end, so that what is said is right in any case.
    """

    def __init__(self, opens_in_reasoning: bool = False) -> None:
        self._assumed = opens_in_reasoning
        self._state = "before"  # before, thinking, after (a thought), plain (there is none)
        self._held = ""  # blanks and what may be the beginning of a tag
        self._began = False  # something of the thought, or of what is said after it, was not blank
        self._unproved: list[str] = []  # passed on as thought though no tag has shown it to be one

    def concerned(self, content: str | None) -> bool:
        """Whether the next piece may have to be taken apart; the common answer is no, and costs nothing."""
        if self._state == "plain":
            return False
        if self._state == "after":
            return not self._began and bool(content)
        if self._state == "before" and not self._held and not self._assumed:
            if content and content.lstrip()[:1] not in ("", "<"):
                self._state = "plain"
            return bool(content) and self._state != "plain"
        return True

    def comes_apart(self) -> None:
        """The reasoning of this answer comes in a field of its own: none is to be looked for in what it says."""
        if self._state == "before" or self._unproved:
            self._state = "plain"

    def feed(self, content: str, *, last: bool = False, cut: bool = False) -> tuple[str, str]:
        """One piece as (thought, said). With *last*, nothing is held back."""
        text, self._held = self._held + content, ""
        if self._state == "before":
            text = self._enter(text, last=last)
        if self._state == "thinking":
            return self._think(text, last=last, cut=cut)
        return "", self._say(text)

    def _enter(self, text: str, *, last: bool) -> str:
        start = text.lstrip()
        if start.startswith(OPENING):
            self._state, self._assumed = "thinking", False
            return start.removeprefix(OPENING)
        if not last and OPENING.startswith(start):
            self._held = text
            return ""
        self._state = "thinking" if self._assumed else "plain"
        return text

    def _think(self, text: str, *, last: bool, cut: bool) -> tuple[str, str]:
        thought, closing, said = text.partition(CLOSING)
        if closing:
            thought = self._trimmed(thought.rstrip())
            self._state, self._began = "after", False
            self._unproved.clear()
            return thought, self._say(said)
        if not last:
            return self._trimmed(self._hold(text)), ""
        if self._assumed and not cut:
            said = "".join(self._unproved) + text
            self._state = "plain"
            self._unproved.clear()
            return "", said
        return self._trimmed(text.rstrip()), ""

    def _hold(self, text: str) -> str:
        """*text* without an ending that may be the beginning of the closing tag, and without the blanks before it."""
        tag = next((size for size in range(len(CLOSING) - 1, 0, -1) if text.endswith(CLOSING[:size])), 0)
        kept = text[: len(text) - tag].rstrip()
        self._held = text[len(kept) :]
        if self._assumed:
            self._unproved.append(kept)
        return kept

    def _say(self, text: str) -> str:
        return self._trimmed(text) if self._state == "after" else text

    def _trimmed(self, text: str) -> str:
        """A thought, and what is said after it, begin without the blanks that set them apart."""
        if not self._began:
            text = text.lstrip()
            self._began = bool(text)
        return text
