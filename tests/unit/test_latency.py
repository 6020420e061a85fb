"""What is learned of how quickly a deployment answers, and how it is added up."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.routing.latency import HALF_LIFE, TYPICAL, Pace, Point

NOW = 1_795_440_000.0

moments = st.floats(0, 7 * 86_400).map(lambda ago: NOW - ago)
points = st.builds(Point, st.integers(0, 4000).map(float), st.floats(0, 120))


@st.composite
def paces(draw) -> Pace:
    pace = Pace(draw(moments))
    for answered, point in draw(st.lists(st.tuples(st.booleans(), points), max_size=6)):
        pace = pace.after(answered, pace.at)
        if answered:
            pace = pace.with_point(point, pace.at)
    return pace


def near(one: Pace, other: Pace) -> bool:
    fields = one.__struct_fields__
    return all(math.isclose(getattr(one, f), getattr(other, f), rel_tol=1e-9, abs_tol=1e-9) for f in fields)


@settings(max_examples=40)
@given(paces(), paces())
def test_who_is_heard_first_makes_no_difference(one, other):
    assert near(one.plus(other), other.plus(one))


@settings(max_examples=40)
@given(paces(), paces(), paces())
def test_nor_does_who_was_added_up_before(one, other, third):
    assert near(one.plus(other).plus(third), one.plus(other.plus(third)))


@given(paces())
def test_who_knows_nothing_changes_nothing(pace):
    assert near(pace.plus(Pace(pace.at)), pace)


@settings(max_examples=40)
@given(paces(), paces())
def test_what_follows_makes_sense_whatever_was_seen(one, other):
    pace = one.plus(other)

    assert 0 < pace.success <= 1
    assert pace.a_token >= 0
    assert pace.first_content is None or pace.first_content >= 0
    assert pace.expected is None or 0 <= pace.expected < math.inf


@given(st.floats(0, 20), st.floats(0.0005, 0.2), st.lists(st.integers(50, 2000), min_size=4, max_size=12, unique=True))
def test_seconds_to_the_first_content_and_for_a_token_are_told_apart(first, a_token, lengths):
    pace = Pace(NOW)
    for tokens in lengths:
        pace = pace.after(answered=True, now=NOW)
        pace = pace.with_point(Point(0.0, first), NOW).with_point(Point(tokens, first + tokens * a_token), NOW)

    assert pace.first_content == pytest.approx(first, abs=1.0)
    assert pace.a_token == pytest.approx(a_token, abs=0.03)


@given(st.lists(st.floats(0.01, 60), min_size=1))
def test_what_is_expected_is_between_the_quickest_and_the_slowest(seconds):
    pace = Pace(NOW)
    for one in seconds:
        pace = pace.after(answered=True, now=NOW).with_point(Point(TYPICAL, one), NOW)

    assert min(seconds) - 1e-9 <= pace.expected <= max(seconds) + 1e-9


def test_what_was_learned_long_ago_gives_way_to_what_another_learned_since():
    slow = Pace(NOW).after(answered=True, now=NOW).with_point(Point(TYPICAL, 10.0), NOW)
    later = NOW + 10 * HALF_LIFE
    quick = Pace(later).after(answered=True, now=later).with_point(Point(TYPICAL, 1.0), later)

    assert slow.plus(quick).expected == pytest.approx(1.0, abs=0.1)
    assert slow.expected == 10.0


def test_a_slower_provider_is_found_out_within_some_answers():
    pace = Pace(NOW)
    for seconds in [1.0] * 100 + [9.0] * 10:
        pace = pace.after(answered=True, now=NOW).with_point(Point(TYPICAL, seconds), NOW)

    assert pace.expected
    assert pace.expected > 5.0
