"""What a caller may have meant: the nearest names, found in no time among ten thousand."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.near import gone, listed, near
from gateway.catalog.substitutes import Profile

NAMES = ["gpt-oss-20b", "gpt-oss-120b", "llama-3.3-70b-instruct", "gemini-3.5-flash", "qwen3.8-27b", "auto:coding"]


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("llama3.3-70b", "llama-3.3-70b-instruct"),
        ("meta-llama/llama-3.3-70b", "llama-3.3-70b-instruct"),
        ("gemini-flash", "gemini-3.5-flash"),
        ("gpt-oss", "gpt-oss-20b"),
        ("auto:coder", "auto:coding"),
        ("Qwen3.8", "qwen3.8-27b"),
    ],
)
def test_the_likest_comes_first(asked: str, meant: str):
    assert near(asked, NAMES)[0] == meant


@given(st.text(max_size=300))
def test_any_text_may_be_asked_for(asked: str):
    found = near(asked, NAMES)

    assert set(found) <= set(NAMES)
    assert len(found) <= 3


@given(st.sampled_from(NAMES))
def test_a_name_that_is_there_is_likest_to_itself(name: str):
    assert near(name, NAMES)[0] == name


def test_ten_thousand_models_are_compared_by_few_letters(monkeypatch: pytest.MonkeyPatch):
    """What is compared letter by letter is bounded, however many share a word."""
    compared = 0

    class Counting:
        def __init__(self, **_: object) -> None:
            self.one = ""

        def set_seq2(self, two: str) -> None:
            """It is kept."""

        def set_seq1(self, one: str) -> None:
            nonlocal compared
            compared += 1

        def ratio(self) -> float:
            return 1.0

    monkeypatch.setattr("gateway.catalog.near.SequenceMatcher", Counting)
    near("llama-70b", [f"llama-{number}" for number in range(10_000)])

    assert compared <= 200


def test_what_is_gone_is_told_with_its_date_and_what_is_like_it():
    old = Profile(model="llama-3-70b", quality=0.6, since=time.mktime((2026, 11, 3, 12, 0, 0, 0, 0, 0)))
    present = [Profile(model=name, quality=quality) for name, quality in (("a", 0.1), ("llama-4", 0.6), ("b", 0.9))]
    told = gone("llama-3-70b", old, present).message

    assert "is gone since 2026-11-03" in told
    assert "llama-4, b or a" in told


def test_names_are_listed_as_people_list_them():
    assert [listed(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a or b", "a, b or c"]
