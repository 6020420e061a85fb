"""What comes in pieces is taken apart as the whole is, wherever the tags are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from providers.reasoning import CLOSING, OPENING, ReasoningSplitter, split_reasoning

fragments = st.sampled_from([OPENING, CLOSING, "<", "</", "</think", "think>", ">", " ", "\n\n", "a", "so", "é", "{}"])
contents = st.lists(fragments, max_size=12).map("".join)
cuts = st.lists(st.integers(0, 60), max_size=12)


def streamed(content: str, places: list[int], opens: bool = False, cut: bool = False) -> tuple[str, str]:
    """*content* fed in pieces, as a stream's reader does it: only those that are concerned, the end in any case."""
    marks = sorted({0, len(content), *(min(place, len(content)) for place in places)})
    splitter = ReasoningSplitter(opens)
    reasoning = said = ""
    for start, end in pairwise(marks):
        piece = content[start:end]
        more = splitter.feed(piece) if splitter.concerned(piece) else ("", piece)
        reasoning, said = reasoning + more[0], said + more[1]
    if splitter.concerned(""):
        more = splitter.feed("", last=True, cut=cut)
        reasoning, said = reasoning + more[0], said + more[1]
    return reasoning, said


@given(contents, cuts, st.booleans())
@example("<think>a</think>b", [3, 9, 10, 12], False)
@example("  \n<think> a </think> b", [1, 2, 5], False)
def test_in_pieces_it_is_what_it_is_as_a_whole(content: str, places: list[int], cut: bool):
    assert streamed(content, places, cut=cut) == split_reasoning(content, cut=cut)


@given(contents, cuts, st.booleans())
def test_so_it_is_where_the_template_opens_the_reasoning(content: str, places: list[int], cut: bool):
    reasoning, said = split_reasoning(content, opens_in_reasoning=True, cut=cut)
    seen, heard = streamed(content, places, opens=True, cut=cut)

    assert heard == said
    if CLOSING in content or cut or content.lstrip().startswith(OPENING):
        assert seen == reasoning


@given(contents)
def test_nothing_is_lost_but_tags_and_the_blanks_around_them(content: str):
    reasoning, said = split_reasoning(content)
    kept = reasoning + said

    assert "".join(kept.split()) == "".join(content.split()) or content.lstrip().startswith(OPENING)


@given(st.text(min_size=1), cuts)
def test_what_has_no_reasoning_is_passed_as_it_is(content: str, places: list[int]):
    if OPENING not in content:
        assert streamed(content, places) == ("", content)


@pytest.mark.parametrize(
    ("content", "opens", "cut", "expected"),
    [
        ("<think>why</think>\n\nyes", False, False, ("why", "yes")),
        ("\n<think>\nwhy\n</think>yes </think>", False, False, ("why", "yes </think>")),
        ("why\n</think>\n\nyes", True, False, ("why", "yes")),
        ("<think>why</think>yes", True, False, ("why", "yes")),
        ("yes", True, False, ("", "yes")),  # it did not think at all
        ("why and", True, True, ("why and", "")),  # its length ended in the midst of its reasoning
        ("<think>why", False, False, ("why", "")),
        ("write <think> and </think>", False, False, ("", "write <think> and </think>")),
        ("", False, False, ("", "")),
    ],
)
def test_examples(content: str, opens: bool, cut: bool, expected: tuple[str, str]):
    assert split_reasoning(content, opens, cut=cut) == expected


def test_plain_text_is_not_looked_at_after_its_first_word():
    splitter = ReasoningSplitter()

    assert not splitter.concerned("hello")
    assert not splitter.concerned("<think>")


def test_reasoning_in_a_field_of_its_own_ends_the_search():
    splitter = ReasoningSplitter(opens_in_reasoning=True)
    splitter.comes_apart()

    assert not splitter.concerned("hello")
