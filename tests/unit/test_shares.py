"""What taking from a bucket costs those who come later."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.quota import buckets as b
from gateway.quota.buckets import Bucket, Level
from gateway.quota.prices import Share, share_of

MIDNIGHT = 1_795_392_000.0  # in UTC
HOUR, DAY = 3600.0, 86_400.0

OF_A_DAY = Bucket(key="d", unit="requests", limit=100, window="calendar", calendar="day", window_name="day")
REFILLING = Bucket(key="r", unit="requests", limit=100, window="refill", period=DAY, window_name="day")
OF_A_MINUTE = Bucket(key="m", unit="requests", limit=10, window="rolling", period=60, window_name="minute")


def share(bucket: Bucket, used: float, now: float) -> Share:
    level = Level()
    b.roll(bucket, level, now)
    b.set_used(bucket, level, used, now)
    return share_of(bucket, level, now, 0.0)


def price(bucket: Bucket, used: float, now: float) -> float:
    return share(bucket, used, now).price


def test_what_is_used_up_just_in_time_is_at_half_its_price_all_day_long():
    assert [price(OF_A_DAY, 100 * part, MIDNIGHT + part * DAY) for part in (0.1, 0.5, 0.9)] == pytest.approx([0.5] * 3)


def test_what_nobody_uses_costs_nothing():
    assert price(OF_A_DAY, 0, MIDNIGHT) == 0
    assert price(OF_A_DAY, 0, MIDNIGHT + DAY / 2) <= 0
    assert price(REFILLING, 0, MIDNIGHT) <= 0


def test_what_is_lost_if_nobody_takes_it_goes_first():
    """A day that ends with most of it left, before one that has just begun; and what is full, while more flows in."""
    assert price(OF_A_DAY, 10, MIDNIGHT + 0.9 * DAY) < price(OF_A_DAY, 10, MIDNIGHT + 0.6 * DAY) < 0
    assert price(REFILLING, 0, MIDNIGHT) < price(REFILLING, 3, MIDNIGHT) < price(REFILLING, 5, MIDNIGHT)


def test_what_is_left_at_the_end_costs_next_to_nothing():
    assert price(OF_A_DAY, 90, MIDNIGHT + DAY - 60) < 0.001


def test_one_request_after_midnight_is_no_reason_for_alarm():
    assert price(OF_A_DAY, 1, MIDNIGHT + 1) < 0.52


def test_what_is_used_too_fast_is_dear():
    assert price(OF_A_DAY, 75, MIDNIGHT + DAY / 4) > 0.98
    assert price(OF_A_DAY, 25, MIDNIGHT + DAY / 2) < 0.05


def test_what_flows_back_is_dear_long_before_it_is_gone():
    assert price(REFILLING, 10, MIDNIGHT) > 0.3
    assert price(REFILLING, 50, MIDNIGHT) > 0.9


def test_what_is_back_in_a_minute_costs_nothing_until_it_is_full():
    assert price(OF_A_MINUTE, 9, MIDNIGHT) == 0
    assert share(OF_A_MINUTE, 9, MIDNIGHT).full_until == 0
    assert share(OF_A_MINUTE, 10, MIDNIGHT).full_until >= MIDNIGHT + 60


def test_what_is_full_has_room_when_its_window_ends():
    assert share(OF_A_DAY, 100, MIDNIGHT + HOUR).full_until == MIDNIGHT + DAY
    assert share(REFILLING, 101, MIDNIGHT).full_until == pytest.approx(MIDNIGHT + DAY / 100)


def test_moments_are_those_of_our_own_clock():
    level = Level(used=100, since=MIDNIGHT)
    found = share_of(OF_A_DAY, level, MIDNIGHT + HOUR, 5.0)

    assert (found.at, found.full_until) == (MIDNIGHT + HOUR - 5, MIDNIGHT + DAY - 5)


@given(st.sampled_from([OF_A_DAY, REFILLING]), st.floats(0, 99.9), st.floats(0, 99.9), st.floats(0, DAY - 1))
def test_a_price_is_between_nothing_and_everything_and_rises_with_use(bucket, one, other, gone):
    less, more = sorted((one, other))
    cheap, dear = share(bucket, less, MIDNIGHT + gone), share(bucket, more, MIDNIGHT + gone)

    assert -0.15 <= cheap.price <= dear.price <= 1
    assert dear.price - dear.fall * DAY <= 1e-9  # it has fallen to nothing when all of it is back
