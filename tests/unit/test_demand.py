"""What short requests are expected to take, and how many of them a long one displaces."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.quota.buckets import Bucket
from gateway.quota.demand import Demand, counts
from gateway.routing.prices import Price

NOW, HOUR, DAY = 1_795_392_000.0, 3600.0, 86_400.0
TOKENS = Bucket(key="t", unit="tokens", limit=1e6, window="calendar", calendar="day", window_name="day")
REQUESTS = msgspec.structs.replace(TOKENS, unit="requests")
REFILLING = msgspec.structs.replace(TOKENS, window="refill", calendar=None, period=DAY)


def after(size: float, each_minute: int, hours: int = 24) -> Demand:
    """So many requests of a size came each minute of the last hours."""
    demand = Demand()
    for minute in range(60 * hours):
        demand.took(TOKENS, size, size * each_minute, NOW - 60 * (60 * hours - minute))
    return demand


def displaced(demand: Demand, tokens: float, left: float, until: float, now: float = NOW, processes: int = 1) -> float:
    steps = demand.steps(TOKENS, left, until, now, processes)
    return Price(0.0, now, steps=steps).displaced(tokens)


def left_over(demand: Demand, left: float, until: float, now: float = NOW, processes: int = 1) -> float:
    """What a long request may take without displacing a shorter one."""
    return min((step.spare for step in demand.steps(TOKENS, left, until, now, processes)), default=left)


def test_a_long_request_displaces_none_while_enough_is_left_for_the_short_ones_that_are_to_come():
    demand = after(size=200, each_minute=5)
    coming = 200 * 5 * 60 * 10  # in ten hours

    assert left_over(demand, 1e6, NOW + 10 * HOUR) == pytest.approx(1e6 - coming, rel=0.02)
    assert displaced(demand, 100_000, 1e6, NOW + 10 * HOUR) == 0
    assert displaced(demand, 100_000, 600_000, NOW + 10 * HOUR) > 100


def test_a_request_that_is_hardly_longer_than_the_others_displaces_none_of_them():
    demand = after(size=200, each_minute=5)

    assert displaced(demand, 8 * 200, 1000, NOW + 10 * HOUR) == 0


@pytest.mark.parametrize("bucket", [REQUESTS, REFILLING])
def test_no_request_is_displaced_where_size_is_all_the_same_or_what_is_taken_flows_back(bucket):
    assert counts(TOKENS)
    assert not counts(bucket)


def test_no_request_is_displaced_where_no_other_comes():
    assert Demand().steps(TOKENS, 10, NOW + DAY, NOW) == ()
    assert displaced(after(size=20_000, each_minute=1), 20_000, 20_000, NOW + DAY) == 0


def test_what_was_asked_yesterday_is_not_expected_today():
    demand = after(size=200, each_minute=5)

    assert left_over(demand, 1e6, NOW + DAY, NOW + 3 * HOUR) < left_over(demand, 1e6, NOW + DAY, NOW + 9 * HOUR)
    assert left_over(demand, 1e5, NOW + 3 * DAY, NOW + 2 * DAY) > 0.95e5


def test_at_the_end_of_the_day_no_request_is_displaced():
    assert displaced(after(size=200, each_minute=5), 48_000, 50_000, NOW + 60) == 0


def test_as_many_gateways_expect_as_many_callers():
    demand = after(size=200, each_minute=1)
    alone, of_three = (left_over(demand, 1e6, NOW + DAY, NOW, processes) for processes in (1, 3))

    assert 1e6 - of_three == pytest.approx(3 * (1e6 - alone))


@given(
    st.lists(st.tuples(st.floats(1, 1e5), st.floats(0, 1e6)), max_size=6),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.floats(0, DAY),
)
def test_a_request_never_pays_more_when_more_is_left(came, one, other, tokens, seconds):
    demand = Demand()
    for size, amount in came:
        demand.took(TOKENS, size, amount, NOW)
    less, more = sorted((one, other))

    assert displaced(demand, tokens, more, NOW + seconds) <= displaced(demand, tokens, less, NOW + seconds)
