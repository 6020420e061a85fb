"""Windows, one law after another: nothing is ever admitted above a limit, and what is promised to open does open."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.quota import buckets as b
from gateway.quota.buckets import Bucket, Level

T0 = datetime(2026, 11, 23, 12, 0, 7, tzinfo=UTC).timestamp()
NO_LEASE = "r"


def bucket(window="rolling", limit=10.0, period=60.0, **more) -> Bucket:
    return Bucket(key="k", unit="requests", limit=limit, window=window, period=period, **more)


KINDS = [
    bucket("rolling"),
    bucket("clock"),
    bucket("refill"),
    bucket("calendar", calendar="day", zone="America/Los_Angeles"),
    bucket("calendar", calendar="month", zone="UTC"),
    bucket("in-flight", limit=3),
]
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.calendar or k.window)
counted = pytest.mark.parametrize("kind", KINDS[:-1], ids=lambda k: k.calendar or k.window)  # in flight all weigh one


def take(kind: Bucket, level: Level, amount: float, now: float, lease=NO_LEASE) -> bool:
    b.roll(kind, level, now)
    if b.opens_at(kind, level, amount, now) != now:
        return False
    b.debit(kind, level, amount, now, lease)
    return True


@kinds
def test_a_fresh_bucket_takes_its_limit_and_no_more(kind):
    level = Level()

    admitted = sum(take(kind, level, 1, T0, str(i)) for i in range(20))

    assert admitted == kind.limit


def test_a_full_in_flight_bucket_has_no_moment_but_opens_when_one_ends():
    kind, level = bucket("in-flight", limit=1), Level()
    take(kind, level, 1, T0, "one")

    assert b.opens_at(kind, level, 1, T0) == b.WHEN_FREED
    assert b.opens_at(kind, level, 2, T0) == float("inf")
    level.closed_until = T0 + 5
    assert b.opens_at(kind, level, 1, T0) == T0 + 5
    level.leases = []
    assert take(kind, level, 1, T0 + 5, "two")


@counted
def test_a_full_bucket_opens_exactly_when_it_says(kind):
    level = Level()
    for i in range(20):
        take(kind, level, 1, T0, str(i))

    opens = b.opens_at(kind, level, 1, T0)

    assert T0 < opens < float("inf")
    assert not take(kind, level, 1, opens - 0.01, "x")
    assert take(kind, level, 1, opens + 1e-6, "y")


@counted
def test_what_can_never_fit_never_opens(kind):
    assert b.opens_at(kind, Level(), kind.limit + 1, T0) == float("inf")


@counted
def test_what_is_given_back_can_be_taken_again(kind):
    level = Level()
    for i in range(int(kind.limit)):
        take(kind, level, 1, T0, str(i))

    b.correct(kind, level, -1, T0)

    assert take(kind, level, 1, T0, "again")
    assert not take(kind, level, 1, T0, "more")


@kinds
def test_a_closed_bucket_stays_closed_until_its_instant(kind):
    level = Level(closed_until=T0 + 5)

    assert not take(kind, level, 1, T0)
    assert take(kind, level, 1, T0 + 5)


@pytest.mark.parametrize(
    ("day", "hours"), [((2026, 3, 8), 23), ((2026, 11, 1), 25), ((2026, 7, 1), 24)], ids=["spring", "autumn", "summer"]
)
def test_a_pacific_day_is_as_long_as_it_is(day, hours):
    kind = bucket("calendar", calendar="day", zone="America/Los_Angeles")
    noon = datetime(day[0], day[1], day[2], 20, tzinfo=UTC).timestamp()

    assert b.window_end(kind, noon) - b.window_start(kind, noon) == hours * 3600


def test_a_month_ends_with_its_last_day():
    kind = bucket("calendar", calendar="month")

    assert b.window_end(kind, T0) == datetime(2026, 12, 1, tzinfo=UTC).timestamp()
    assert b.window_end(kind, b.window_end(kind, T0)) == datetime(2027, 1, 1, tzinfo=UTC).timestamp()


def test_a_lease_of_a_dead_process_returns():
    kind = bucket("in-flight", limit=1)
    level = Level()
    assert take(kind, level, 1, T0, ("dead", T0 + 900))

    assert not take(kind, level, 1, T0 + 899, ("next", T0 + 1800))
    assert take(kind, level, 1, T0 + 900, ("next", T0 + 1800))
    assert b.used(kind, level) == 1


def test_a_learned_limit_counts_while_it_is_fresh():
    kind = bucket("clock", limit=50)
    level = Level(limit=1000, limit_until=T0 + 10)

    assert b.limit_of(kind, level, T0) == 1000
    assert b.limit_of(kind, level, T0 + 10) == 50


@counted
@pytest.mark.parametrize("said", [0, 3, 10])
def test_what_the_provider_says_is_used_is_used(kind, said):
    level = Level()
    for _ in range(6):
        take(kind, level, 1, T0)

    b.set_used(kind, level, said, T0)

    assert b.used(kind, level) == pytest.approx(said)


steps = st.lists(st.tuples(st.floats(0, 40), st.floats(0.1, 6)), min_size=1, max_size=60)


@given(steps)
def test_no_rolling_window_ever_holds_more_than_the_limit(steps):
    kind, level, now, admitted = bucket("rolling"), Level(), T0, []
    for wait, amount in steps:
        now += wait
        if take(kind, level, amount, now):
            admitted.append((now, amount))

    for end, _ in admitted:
        assert sum(a for at, a in admitted if end - kind.period < at <= end) <= kind.limit + 1e-6


@given(steps)
def test_no_refilling_bucket_gives_more_than_its_size_and_what_flowed_in(steps):
    kind, level, now, admitted = bucket("refill"), Level(), T0, []
    for wait, amount in steps:
        now += wait
        if take(kind, level, amount, now):
            admitted.append((now, amount))

    for i, (start, _) in enumerate(admitted):
        given_out = 0.0
        for at, amount in admitted[i:]:
            given_out += amount
            assert given_out <= kind.limit * (1 + (at - start) / kind.period) + 1e-6


def provider_refuses(kind: Bucket, arrivals: list[tuple[float, float]], later: float = 0.0) -> bool:
    """Whether a token bucket refuses one of these, which starts its refill so much *later* whenever it was untouched."""
    used, since = 0.0, 0.0
    for at, amount in sorted(arrivals):
        used = max(0.0, used - max(0.0, at - since) * kind.limit / kind.period)
        since = max(since, at) if used else at + later
        used += amount
        if used > kind.limit + 1e-6:
            return True
    return False


@given(st.lists(st.tuples(st.floats(0, 8), st.floats(0.1, 6), st.floats(0, b.REFILL_LAG)), min_size=1, max_size=80))
def test_a_provider_that_hears_of_requests_later_refuses_none_of_them(steps):
    """Saturated: each is sent as soon as it fits. The way there takes up to 100 ms, for each another time."""
    kind, level, now, sent, arrived = bucket("refill"), Level(), T0, [], []
    for wait, amount, delay in steps:
        now += wait if wait > 6 else 0.0
        b.roll(kind, level, now)
        now = b.opens_at(kind, level, amount, now)
        assert take(kind, level, amount, now)
        sent.append((now, amount))
        arrived.append((now + delay, amount))

    assert not provider_refuses(kind, arrived)
    assert not provider_refuses(kind, sent, later=0.05)


def test_an_untouched_refilling_bucket_gives_all_of_it_at_once():
    level = Level()

    assert all(take(bucket("refill", limit=30), level, 1, T0) for _ in range(30))


@given(
    st.lists(st.tuples(st.floats(0, 30), st.floats(0.1, 4), st.booleans()), min_size=1, max_size=40), st.floats(0, 30)
)
def test_a_debit_that_is_told_late_counts_no_less_than_if_it_had_been_told_at_once(steps, wait):
    """What another replica took meanwhile is told of later; refill that it would have used is used, and none twice."""
    kind, now = bucket("refill", limit=100.0), T0
    at_once, late, untold = Level(), Level(), []
    for gone, amount, is_late in steps:
        now += gone
        for level in (at_once, late):
            b.roll(kind, level, now)
        b.debit(kind, at_once, amount, now, NO_LEASE)
        if is_late:
            untold.append((amount, now))
        else:
            b.debit(kind, late, amount, now, NO_LEASE)
    now += wait
    for level in (at_once, late):
        b.roll(kind, level, now)
    for amount, at in untold:
        b.debit_late(kind, late, amount, at, now, NO_LEASE)

    true = b.used(kind, at_once)
    # Each that begins anew here waits for its refill a little longer than one that came among others.
    slack = len(untold) * b.REFILL_LAG * 100 / 60
    assert true - 1e-6 <= b.used(kind, late) + b.REFILL_LAG * 100 / 60 * len(steps)
    if now - T0 < kind.period and len(steps) < b.STRETCHES:
        assert b.used(kind, late) <= true + slack + 1e-6


def test_the_shortest_window_is_what_a_refusal_means_that_names_none():
    month = bucket("calendar", calendar="month", limit=1000)
    minute, flight = bucket("clock", limit=20), bucket("in-flight")

    assert b.shortest([month, flight, minute]) is minute
    assert b.shortest([flight]) is None


@given(steps)
def test_no_clock_window_gives_more_than_its_limit(steps):
    kind, level, now = bucket("clock"), Level(), T0
    admitted: dict[float, float] = {}
    for wait, amount in steps:
        now += wait
        if take(kind, level, amount, now):
            admitted[now // 60] = admitted.get(now // 60, 0) + amount

    assert all(total <= kind.limit + 1e-6 for total in admitted.values())


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 6), st.floats(0, 1)), min_size=1, max_size=80))
def test_a_request_that_arrives_in_the_providers_next_minute_is_not_one_too_many_there(steps):
    """Saturated: each is sent as soon as it fits, or *late* in its minute. The way there takes up to a second."""
    kind, level, now, arrived = bucket("clock", edge=1.0), Level(), T0, Counter[float]()
    for late, amount, delay in steps:
        now = max(now, b.window_end(kind, now) - 0.5) if late else now
        b.roll(kind, level, now)
        now = b.opens_at(kind, level, amount, now)
        assert take(kind, level, amount, now)
        arrived[(now + delay) // 60] += amount

    assert max(arrived.values()) <= kind.limit


def test_what_may_have_arrived_in_the_next_minute_is_kept_until_that_is_over_and_given_back_in_both():
    kind, level, edge = bucket("clock", edge=1.0), Level(), T0 // 60 * 60 + 59.5
    assert take(kind, level, 4, edge)
    assert b.fades_at(kind, level, edge) >= edge + 60.5
    b.roll(kind, level, edge + 1)
    assert b.used(kind, level) == 4

    b.correct(kind, level, -3, edge)
    b.roll(kind, level, edge + 2)
    assert b.used(kind, level) == 1
    b.roll(kind, level, edge + 60.5)
    assert b.used(kind, level) == 0


@given(steps)
def test_the_state_of_a_bucket_stays_small(steps):
    kind, level, now = bucket("rolling"), Level(), T0
    for wait, amount in steps * 20:
        now += wait / 10
        take(kind, level, amount, now)

    assert len(level.slots) <= b.SLOTS + 2


def test_what_is_taken_beside_later_slots_is_given_back_whole():
    """What a provider tells of its own opening lies in slots to come: a debit is not found again where it is added to those."""
    minute, level = bucket(), Level(slots=[(6_005, 4.0)])  # slots of 0.2 s
    b.debit(minute, level, 1, 1_200.0, "r")
    b.correct(minute, level, -1, 1_200.0)

    assert b.used(minute, level) == 4
