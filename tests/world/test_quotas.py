"""Each kind of window lets in what it holds, and says when there is room again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.world.clock import START
from tests.world.quotas import DAY, Counter, Limit

LIMITS = [
    Limit(unit="requests", amount=5, window="clock"),
    Limit(unit="requests", amount=5, window="rolling"),
    Limit(unit="requests", amount=5, window="refill"),
    Limit(unit="requests", amount=5, window="day", seconds=DAY),
    Limit(unit="requests", amount=5, window="day", seconds=DAY, zone="America/Los_Angeles"),
    Limit(unit="requests", amount=5, window="month", seconds=31 * DAY),
]


@pytest.mark.parametrize("limit", LIMITS, ids=lambda one: f"{one.window} {one.zone}")
@given(waits=st.lists(st.floats(0, 40), max_size=60))
def test_no_more_is_let_in_than_the_limit_and_what_flows_back(limit, waits):
    counter, now, let_in = Counter(limit, "k", START), START, list[float]()
    for wait in waits:
        now += wait
        if counter.opens_in(1, now) == 0:
            counter.take(1, now)
            let_in.append(now)

    for at in let_in:
        within = sum(at <= other < at + limit.seconds for other in let_in)
        assert within <= (limit.amount if limit.window == "rolling" else 2 * limit.amount)


@pytest.mark.parametrize("limit", LIMITS, ids=lambda one: f"{one.window} {one.zone}")
@given(waits=st.lists(st.floats(0, 5), min_size=8, max_size=20))
def test_there_is_room_at_the_moment_that_is_told_and_not_before(limit, waits):
    counter, now = Counter(limit, "k", START), START
    for wait in waits:
        now += wait
        told = counter.opens_in(1, now)
        if told == 0:
            counter.take(1, now)
        else:
            assert counter.opens_in(1, now + told * 0.9) > 0
            assert counter.opens_in(1, now + told + 1e-3) == 0


def test_californias_day_ends_at_its_own_midnight():
    limit = Limit(unit="requests", amount=1, window="day", seconds=DAY, zone="America/Los_Angeles")
    counter = Counter(limit, "k", START)  # 07:00 there
    counter.take(1, START)

    assert counter.opens_in(1, START) == 17 * 3600
