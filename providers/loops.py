"""Where a text repeats itself without end, as small models do. Pure."""

from __future__ import annotations

TIMES, LEAST, LONGEST = 4, 40, 120
"""A loop is the same again, so many times in a row, at least so many characters in all; one turn has so many at most."""


_STRIDE = 8
"""Characters after which it is looked at again."""


def turn_of(text: str) -> int:
    """How many characters at the end of *text* are what came just before it, again and again; 0: it is no loop."""
    for turn in range(1, min(LONGEST, len(text) // TIMES) + 1):
        length = max(TIMES * turn, LEAST)
        if len(text) >= length and text[-length:-turn] == text[-length + turn :]:
            return turn
    return 0


def until_loop(text: str) -> str:
    """*text* up to the end of the first turn of a loop; all of it if there is none."""
    for end in (*range(LEAST, len(text), _STRIDE), len(text)):
        if turn := turn_of(text[max(0, end - TIMES * LONGEST) : end]):
            begin = end - turn
            while begin >= turn and text[begin - turn : begin] == text[end - turn : end]:
                begin -= turn
            return text[: begin + turn]
    return text
