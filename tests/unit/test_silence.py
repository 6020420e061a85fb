"""What silence says, as arithmetic on moments."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.latency import Pace, Point
from gateway.routing.silence import LEAST_SLOW, UNKNOWN_LATE, Asked, Silence

KNOWN = Pace(0.0).with_point(Point(0.0, 0.3), 0.0)


def asked(name: str, at: float, pace: Pace | None = KNOWN) -> Asked:
    return Asked.of(name, at, pace, 0, overdue_in=10.0)


def test_where_it_is_not_known_how_long_it_takes_others_are_first_and_nothing_is_withheld():
    silence, one = Silence(), asked("a/x", 0.0, None)
    silence.sent(one)

    assert silence.quiet(LEAST_SLOW) == {"a"}
    assert silence.doubt("a/x", UNKNOWN_LATE - 0.1) is None
    assert silence.doubt("a/x", UNKNOWN_LATE) is not None


def test_one_silent_model_says_nothing_of_the_others_and_two_do():
    silence = Silence()
    silence.sent(asked("a/x", 0.0))
    before = silence.doubt("a/z", 5.0), silence.doubt("a/x", 5.0)
    silence.sent(asked("a/y", 1.0))

    assert before[0] is None
    assert before[1] is not None
    assert silence.doubt("a/z", 5.0) is not None
    assert silence.doubt("b/z", 5.0) is None


def test_whatever_comes_excuses_all_that_are_under_way_there():
    silence, one, other = Silence(), asked("a/x", 0.0), asked("a/x", 1.0)
    silence.sent(one)
    silence.sent(other)
    waited_for = silence.heard(other, 5.0)

    assert waited_for
    assert silence.doubt("a/x", 50.0) is None
    assert silence.ended(one, 50.0) == ()


def test_the_second_that_was_overdue_to_the_end_tells_of_its_provider():
    silence, one, other = Silence(), asked("a/x", 0.0), asked("a/y", 0.0)
    silence.sent(one)
    silence.sent(other)

    assert silence.ended(one, 9.0) == ()
    assert silence.ended(other, 11.0) == ("a/y",)
    third = asked("a/x", 11.0)
    silence.sent(third)
    assert silence.ended(third, 21.0) == ("a/x", "a")


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=30))
def test_one_at_a_time_finds_out_and_each_after_twice_as_long(steps):
    """However often it is asked, the second goes after 10 seconds at least, the third after 30, the fourth after 70."""
    silence, now, sent = Silence(), 0.0, 1
    silence.sent(asked("a/x", 0.0))
    for step in steps:
        now += step
        if now >= LEAST_SLOW and silence.doubt("a/x", now) is None:
            silence.sent(asked("a/x", now))
            sent += 1
            assert now >= 10.0 * (2 ** (sent - 1) - 1)
