"""The join of two parts of a text is exact and repeats nothing, however the second came."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.request.joining import Join, repeated

WORDS = st.lists(st.text("abcdefgé日", min_size=2, max_size=6), min_size=2, max_size=30, unique=True)


def joined(said: str, pieces: list[str]) -> str:
    join = Join(said)
    return said + "".join(map(join.feed, pieces)) + join.end()


def cut(text: str, places: list[int]) -> list[str]:
    at = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[a:b] for a, b in pairwise(at)]


@given(WORDS, st.data())
def test_a_continuation_that_begins_at_any_earlier_word_gives_the_whole_text(words, data):
    text = " ".join(words)
    broke = data.draw(st.integers(1, len(text)))
    starts = [0, *(place + 1 for place, char in enumerate(text[:broke]) if char == " ")]
    again = data.draw(
        st.sampled_from([start for start in starts if start == 0 or len(text[start:broke].strip()) >= 2] or [0])
    )
    pieces = cut(text[again:], data.draw(st.lists(st.integers(0, 200))))

    assert joined(text[:broke], pieces) == text


@given(st.text("ab ", max_size=40), st.text("ab ", max_size=40), st.lists(st.integers(0, 99)))
def test_how_it_is_cut_makes_no_difference_and_nothing_but_a_repetition_is_left_out(said, more, places):
    result = joined(said, cut(more, places))

    assert result == said + more[repeated(said, more) :]
    assert said.endswith(more[: len(said) + len(more) - len(result)])


@given(st.text(max_size=40), st.text(max_size=40))
def test_once_joined_the_same_continuation_is_left_out_altogether(said, more):
    whole = joined(said, [more])

    assert not whole or joined(whole, [whole]) == whole


@pytest.mark.parametrize(
    ("said", "more", "whole"),
    [
        ("bal", "loon", "balloon"),
        ("x = 1", "1;", "x = 11;"),
        ("one two th", "ree", "one two three"),
        ("one two th", "three", "one two three"),
        ("one two", " three", "one two three"),
        ("ab ab ab ", "ab ab cd", "ab ab ab cd"),
        ("", "all of it", "all of it"),
        ("The end.", "The end.", "The end."),
        ("日本語の文章を書いて", "本語の文章を書いています", "日本語の文章を書いています"),
    ],
)
def test_letters_that_only_meet_are_no_repetition(said, more, whole):
    assert joined(said, list(more)) == whole


def test_what_is_new_is_not_held_back():
    join = Join("one two three")

    assert [join.feed(piece) for piece in ("th", "ree", " four", " five")] == ["", "", " four", " five"]
