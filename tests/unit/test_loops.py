"""A text that repeats itself without end is cut; no other is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from providers.loops import LEAST, TIMES, turn_of, until_loop

TURNS = st.text(min_size=1, max_size=60)


@given(before=st.text(max_size=80), turn=TURNS, times=st.integers(TIMES, 12))
def test_whatever_is_said_again_and_again_is_a_loop_at_its_end(before, turn, times):
    again = turn * max(times, -(-LEAST // len(turn)))

    found = turn_of(before + again)

    assert 0 < found <= len(turn)
    assert (before + again)[-found:] == (before + again)[-2 * found : -found]


@given(before=st.text(max_size=80), turn=TURNS)
def test_a_loop_ends_by_its_second_turn_and_what_came_before_stays(before, turn):
    text = before + turn * (TIMES + LEAST)

    short = until_loop(text)

    assert text.startswith(short)
    assert len(short) < len(before) + 2 * len(turn) + 1


def test_prose_lists_and_rulers_stay():
    for text in (
        "The capital of France is Paris.",
        "1. Bananas\n2. Oranges\n3. Grapes\n4. Pears\n5. Plums\n",
        "| a | b |\n| --- | --- |\n" + "".join(f"| {n} | {n * n} |\n" for n in range(20)),
        "no, no, no",
        "-" * (LEAST - 1),
    ):
        assert until_loop(text) == text
