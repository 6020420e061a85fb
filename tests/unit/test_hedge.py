"""How long silence is borne with, and who may be asked as well."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.hedging import DEAR, LEAST, LEAST_WHOLE, may_hedge_to, patience
from gateway.routing.latency import Pace, Point
from tests.deployments import PROOF, deployment

NOW = 1_000.0
FOREVER = 1e9


def pace(first: float, a_token: float = 0.0) -> Pace:
    found = Pace(NOW)
    for _ in range(50):
        found = found.with_point(Point(0.0, first), NOW).with_point(Point(1000.0, first + 1000 * a_token), NOW)
    return found


def test_a_source_may_be_silent_for_twice_as_long_as_it_mostly_is():
    assert patience(pace(2.0), 0, FOREVER) == pytest.approx(4.0, rel=0.01)
    assert patience(pace(20.0), 0, FOREVER) == pytest.approx(40.0, rel=0.01)


def test_a_quick_one_is_not_given_up_for_a_hiccup():
    assert patience(pace(0.01), 0, FOREVER) == LEAST


def test_an_unknown_deployment_has_more_time():
    assert patience(None, 0, FOREVER) == patience(Pace(NOW), 0, FOREVER) == 10.0


def test_an_answer_in_one_piece_may_take_twice_as_long_as_it_mostly_does():
    quick, slow = pace(1.0, 0.001), pace(1.0, 0.05)

    assert patience(quick, 100, FOREVER) == LEAST_WHOLE
    assert patience(slow, 1000, FOREVER) == pytest.approx(LEAST + 100.0, rel=0.02)
    assert patience(None, 1000, FOREVER) == pytest.approx(10.0 + 20.0)


def test_silence_is_borne_with_no_longer_than_the_caller_waits():
    assert patience(pace(20.0), 0, 30.0) == 30.0
    assert patience(pace(20.0), 0, -5.0) == LEAST  # who does not wait for capacity waits for an answer all the same
    assert patience(pace(1.0, 0.05), 1000, 0.0) > 50.0  # tokens may be on their way


@given(
    st.one_of(st.none(), st.builds(pace, st.floats(0, 300), st.floats(0, 1))),
    st.integers(0, 100_000),
    st.floats(-1e6, 1e6),
)
def test_patience_is_never_shorter_than_what_proves_nothing(known, tokens, left):
    assert patience(known, tokens, left) >= (LEAST_WHOLE if tokens else LEAST)


def proven(kind: str, *, last_resort: bool = False):
    found = deployment("groq/model", last_resort=last_resort)
    return msgspec.structs.replace(found, proof=msgspec.structs.replace(PROOF, kind=kind))


@pytest.mark.parametrize(
    ("kind", "price", "off", "plentiful", "always"),
    [
        ("plan", 0.0, False, True, True),
        ("plan", DEAR, False, False, True),
        ("plan", 1.0, False, False, True),
        ("local", 1.0, False, True, True),
        ("credit", 0.0, False, False, True),
    ],
)
def test_a_second_deployment_is_asked_where_it_has_plenty_of_what_it_takes(kind, price, off, plentiful, always):
    second = proven(kind)

    assert [may_hedge_to(second, price, hedge) for hedge in ("off", "plentiful", "always")] == [off, plentiful, always]


@pytest.mark.parametrize("kind", ["local", "plan"])
def test_the_last_resort_is_never_asked_as_well(kind):
    last = proven(kind, last_resort=True)

    assert not any(may_hedge_to(last, 0.0, hedge) for hedge in ("off", "plentiful", "always"))
