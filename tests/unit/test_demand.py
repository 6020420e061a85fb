"""What short requests are expected to take, and what long ones leave to them."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.quota.buckets import Bucket
from gateway.quota.demand import Demand, counts

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


def test_what_short_requests_take_until_the_end_of_the_day_is_kept_from_a_long_one():
    demand = after(size=200, each_minute=5)
    coming = 200 * 5 * 60 * 10  # in ten hours

    assert demand.most(TOKENS, 1e6, NOW + 10 * HOUR, NOW) == pytest.approx(1e6 - coming, rel=0.02)


def test_who_is_hardly_longer_than_the_others_may_take_what_they_may():
    demand = after(size=200, each_minute=5)

    assert demand.most(TOKENS, 1000, NOW + 10 * HOUR, NOW) >= 8 * 200


@pytest.mark.parametrize("bucket", [REQUESTS, REFILLING])
def test_nothing_is_kept_where_size_is_all_the_same_or_what_is_taken_flows_back(bucket):
    assert counts(TOKENS)
    assert not counts(bucket)


def test_nothing_is_kept_where_nobody_else_comes():
    assert Demand().most(TOKENS, 10, NOW + DAY, NOW) == math.inf
    assert after(size=20_000, each_minute=1).most(TOKENS, 20_000, NOW + DAY, NOW) >= 20_000


def test_what_was_asked_yesterday_is_kept_for_nobody_today():
    demand = after(size=200, each_minute=5)

    assert demand.most(TOKENS, 1e6, NOW + DAY, NOW + 3 * HOUR) < demand.most(TOKENS, 1e6, NOW + DAY, NOW + 9 * HOUR)
    assert demand.most(TOKENS, 1e5, NOW + 3 * DAY, NOW + 2 * DAY) > 0.95e5


def test_the_end_of_the_day_frees_what_was_kept():
    demand = after(size=200, each_minute=5)

    assert demand.most(TOKENS, 50_000, NOW + 60, NOW) > 48_000


def test_as_many_gateways_keep_for_as_many_callers():
    demand = after(size=200, each_minute=1)
    alone, of_three = (demand.most(TOKENS, 1e6, NOW + DAY, NOW, processes) for processes in (1, 3))

    assert 1e6 - of_three == pytest.approx(3 * (1e6 - alone))


@given(
    st.lists(st.tuples(st.floats(1, 1e5), st.floats(0, 1e6)), max_size=6),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.floats(0, DAY),
)
def test_what_a_request_may_take_never_falls_when_more_is_left_and_never_passes_it(came, one, other, seconds):
    demand = Demand()
    for size, amount in came:
        demand.took(TOKENS, size, amount, NOW)
    less, more = sorted((one, other))
    found = [demand.most(TOKENS, left, NOW + seconds, NOW) for left in (less, more)]

    assert 0 <= found[0] <= found[1]
