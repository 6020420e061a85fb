"""What taking from a bucket costs those who come later."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.quota import buckets as b
from gateway.quota.buckets import Bucket, Level
from gateway.quota.demand import Step
from gateway.quota.level_cache import LevelCache
from gateway.routing.prices import Price, Prices, price_at

MIDNIGHT = 1_795_392_000.0  # in UTC
HOUR, DAY = 3600.0, 86_400.0

OF_A_DAY = Bucket(key="d", unit="requests", limit=100, window="calendar", calendar="day", window_name="day")
REFILLING = Bucket(key="r", unit="requests", limit=100, window="refill", period=DAY, window_name="day")
FLYING = Bucket(key="f", unit="in-flight", limit=1, window="in-flight", window_name="in-flight")
TOKENS = Bucket(key="t", unit="tokens", limit=20_000, window="calendar", calendar="day", window_name="day")
OF_A_MINUTE = Bucket(key="m", unit="requests", limit=10, window="rolling", period=60, window_name="minute")


def priced(bucket: Bucket, used: float, now: float) -> Price:
    level = Level()
    b.roll(bucket, level, now)
    b.set_used(bucket, level, used, now)
    return price_at(bucket, level, now, 0.0)


def price(bucket: Bucket, used: float, now: float) -> float:
    return priced(bucket, used, now).price


def test_what_is_used_up_just_in_time_is_at_half_its_price_all_day_long():
    assert [price(OF_A_DAY, 100 * part, MIDNIGHT + part * DAY) for part in (0.1, 0.5, 0.9)] == pytest.approx([0.5] * 3)


def test_what_is_not_used_costs_nothing():
    assert price(OF_A_DAY, 0, MIDNIGHT) == 0
    assert price(OF_A_DAY, 0, MIDNIGHT + DAY / 2) <= 0
    assert price(REFILLING, 0, MIDNIGHT) <= 0


def test_what_is_lost_if_it_is_not_taken_goes_first():
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
    assert priced(OF_A_MINUTE, 9, MIDNIGHT).full_until == 0
    assert priced(OF_A_MINUTE, 10, MIDNIGHT).full_until >= MIDNIGHT + 60


def test_what_is_full_has_room_when_its_window_ends():
    assert priced(OF_A_DAY, 100, MIDNIGHT + HOUR).full_until == MIDNIGHT + DAY
    assert priced(REFILLING, 101, MIDNIGHT).full_until == pytest.approx(MIDNIGHT + DAY / 100)


def test_moments_are_those_of_our_own_clock():
    level = Level(used=100, since=MIDNIGHT)
    found = price_at(OF_A_DAY, level, MIDNIGHT + HOUR, 5.0)

    assert (found.at, found.full_until) == (MIDNIGHT + HOUR - 5, MIDNIGHT + DAY - 5)


@given(st.sampled_from([OF_A_DAY, REFILLING]), st.floats(0, 99.9), st.floats(0, 99.9), st.floats(0, DAY - 1))
def test_a_price_is_between_nothing_and_everything_and_rises_with_use(bucket, one, other, gone):
    less, more = sorted((one, other))
    cheap, dear = priced(bucket, less, MIDNIGHT + gone), priced(bucket, more, MIDNIGHT + gone)

    assert -0.15 <= cheap.price <= dear.price <= 1
    assert dear.price - dear.fall * DAY <= 1e-9  # it has fallen to nothing when all of it is back


def test_a_full_in_flight_bucket_is_full_without_a_moment():
    level = Level(leases=[("one", MIDNIGHT + 900)])
    found = price_at(FLYING, level, MIDNIGHT, 0.0)

    assert (found.when_freed, found.full_until, found.price) == (True, 0.0, 0.0)
    assert not price_at(FLYING, Level(), MIDNIGHT, 0.0).when_freed


def cached(*buckets: Bucket) -> tuple[LevelCache, Prices]:
    cache = LevelCache()
    return cache, Prices(cache, lambda: buckets)


def test_a_price_is_made_anew_when_its_level_changed_or_half_a_minute_has_passed():
    cache, prices = cached(OF_A_DAY, REFILLING)
    first = dict(prices.current(MIDNIGHT + HOUR))
    assert dict(prices.current(MIDNIGHT + HOUR + 10)) == first

    cache.see(OF_A_DAY, Level(used=50, since=MIDNIGHT))
    second = dict(prices.current(MIDNIGHT + HOUR + 20))
    assert second[OF_A_DAY.key].price > first[OF_A_DAY.key].price + 0.9
    assert second[REFILLING.key] is first[REFILLING.key]

    assert prices.current(MIDNIGHT + HOUR + 60)[REFILLING.key].at == MIDNIGHT + HOUR + 60


def test_one_decision_makes_a_bounded_number_of_prices():
    many = [Bucket(key=f"{n}", unit="requests", limit=10, window="refill", period=DAY) for n in range(1000)]
    cache, prices = cached(*many)
    for bucket in many:
        cache.see(bucket, Level(used=5, since=MIDNIGHT))

    sizes = [len(prices.current(MIDNIGHT + n / 100)) for n in range(12)]

    assert sizes[0] <= 200
    assert sizes[-1] == 1000


def test_a_cache_holds_copies_of_its_own():
    cache, prices = cached(REFILLING)
    level = Level(used=50, since=MIDNIGHT)
    cache.see(REFILLING, level)

    prices.current(MIDNIGHT + HOUR)

    assert (level.used, level.since) == (50, MIDNIGHT)


def test_a_long_request_pays_for_the_short_ones_that_it_would_displace():
    """Half of the tokens that are left are wanted by short requests until midnight."""
    cache, prices = cached(TOKENS)
    now = MIDNIGHT + DAY / 2
    cache.demand.took(TOKENS, 100, 3000, now)
    cache.see(TOKENS, Level(used=10_000, since=MIDNIGHT))

    price = prices.current(now)[TOKENS.key]

    assert price.displaced(100) == price.displaced(700) == 0
    assert 0 < price.displaced(4000) < price.displaced(9000)


@given(
    st.lists(st.tuples(st.floats(8, 1e5), st.floats(0, 1e5), st.floats(1e-4, 1)), max_size=5),
    st.floats(0, 2e5),
    st.floats(0, 2e5),
)
def test_a_longer_request_never_pays_less(steps, one, other):
    price = Price(0.1, MIDNIGHT, steps=tuple(Step(max(longer, spare), spare, each) for longer, spare, each in steps))
    shorter, longer = sorted((one, other))

    assert 0 <= price.displaced(shorter) <= price.displaced(longer)
