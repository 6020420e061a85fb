"""
Where two parts of one text meet: what the second repeats of the first is left out. Pure.

A model that is asked to go on often says its last words again, or begins anew. What it repeats is the longest beginning
of the continuation that the text already ends with. Letters that only happen to meet ("bal" and "loon") are no
repetition: one begins where a word begins, or is long.
"""

from __future__ import annotations

_LONG = 8
"""Characters that are no coincidence, wherever they begin; some scripts have no gaps between words."""

_SHORT = 2
"""Visible characters without which it is none: "1" after "x = 1" may well be eleven."""


class Join:
    """Joins one continuation, as it comes, to the text *said* so far."""

    def __init__(self, said: str) -> None:
        self._said = said
        self._held = ""
        self._joined = not said

    def feed(self, piece: str) -> str:
        """What of *piece*, and of what was held back before, is new; nothing while that cannot be told yet."""
        if self._joined:
            return piece
        self._held += piece
        if not self._held or self._may_go_on():
            return ""
        return self.end()

    def end(self) -> str:
        """What was still held back and is new: no more is to come."""
        held, self._held = self._held, ""
        if self._joined:
            return held
        self._joined = True
        return held[repeated(self._said, held) :]

    def _may_go_on(self) -> bool:
        """Whether more of the continuation could turn what is held into a repetition, or into a longer one."""
        place = self._said.find(self._held)
        return 0 <= place < len(self._said) - len(self._held)


def repeated(said: str, continuation: str) -> int:
    """How many characters at the beginning of *continuation* repeat the end of *said*."""
    for length in range(min(len(said), len(continuation)), 0, -1):
        if said.endswith(continuation[:length]) and _counts(said, length):
            return length
    return 0


def _counts(said: str, length: int) -> bool:
    overlap = said[len(said) - length :]
    if length == len(said) or length >= _LONG:
        return True
    within_word = said[-length - 1].isalnum() and overlap[0].isalnum()
    return not within_word and len("".join(overlap.split())) >= _SHORT
