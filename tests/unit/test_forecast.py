"""How many answers are left: what can really be had, each shared quota counted once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from gateway.quota import buckets as b
from gateway.quota.buckets import Bucket, Level
from gateway.quota.forecast import DAY, Forecast, Outlook, Supply, available, decisive, supply
from gateway.quota.nouns import Cost
from tests.payloads import SPECS

NOW = 1_795_440_000.0 + 6 * 3600  # 2026-11-23, 14:40 UTC
COST = Cost(prompt=1500, output=500)


def bucket(key: str, limit: float, window: Any = "calendar", unit: Any = "requests", **more: Any) -> Bucket:
    if window == "calendar":
        more = {"calendar": "day", "window_name": "day"} | more
    return Bucket(key=key, unit=unit, limit=limit, window=window, **more)


def forecast(supplies: list[Supply], levels: dict[str, Level], now: float) -> Forecast:
    return Outlook(levels, now).forecast(supplies)


def used(one: Bucket, amount: float, at: float = NOW) -> Level:
    level = Level()
    b.roll(one, level, at)
    b.debit(one, level, amount, at, "r")
    return level


def test_a_bucket_that_many_models_share_is_counted_once():
    shared = bucket("openrouter/*", 50)
    supplies = [supply("a", (shared, bucket(f"openrouter/{n}", 40)), COST) for n in range(3)]
    found = forecast(supplies, {shared.key: used(shared, 8)}, NOW)

    assert found == Forecast(42, b.window_end(shared, NOW))


def test_a_day_decides_where_there_is_one_and_minutes_where_there_is_none():
    minute = bucket("m", 20, "clock", period=60.0, window_name="minute")
    day, flight = bucket("d", 1000), bucket("f", 2, "in-flight", unit="in-flight")

    assert decisive((minute, day, flight)) == (day,)
    assert decisive((minute, flight)) == (minute,)
    assert decisive((flight,)) == ()


def test_what_nothing_bounds_comes_on_top_by_name():
    day = bucket("d", 10)
    local = supply("ollama", (bucket("f", 1, "in-flight", unit="in-flight"),), COST)
    given_away = supply("hf", (bucket("h", 0.1, unit="dollars"),), COST)
    found = forecast([local, given_away, supply("a", (day,), COST)], {}, NOW)

    assert found == Forecast(10, b.window_end(day, NOW), ("hf", "ollama"))
    assert forecast([], {}, NOW) == Forecast(0, None)


def test_a_bucket_that_is_closed_until_after_the_reset_gives_nothing():
    day = bucket("d", 100)
    level = used(day, 1)
    level.closed_until = b.window_end(day, NOW) + 1

    assert forecast([supply("a", (day,), COST)], {"d": level}, NOW).answers == 0
    level.closed_until = NOW + 60
    assert forecast([supply("a", (day,), COST)], {"d": level}, NOW).answers == 99


def test_tokens_bound_as_requests_do():
    both = supply("a", (bucket("r", 100), bucket("t", 50_000, unit="tokens")), COST)

    assert forecast([both], {}, NOW).answers == 25


def test_the_forecast_ends_with_the_first_reset_and_within_a_day():
    pacific = bucket("p", 20, zone="America/Los_Angeles")
    month = bucket("m", 20, calendar="month", window_name="month")
    refill = bucket("g", 1000, "refill", period=DAY, window_name="day")

    assert forecast(
        [supply("a", (pacific,), COST), supply("a", (bucket("d", 5),), COST)], {}, NOW
    ).until == b.window_end(bucket("d", 5), NOW)
    assert forecast([supply("a", (month,), COST)], {}, NOW) == Forecast(20, None)  # next month is not today
    assert forecast([supply("a", (refill,), COST)], {}, NOW) == Forecast(2000, None)  # what is there, and what flows in


windows = st.one_of(
    st.builds(lambda limit: bucket("x", limit), st.integers(1, 50)),
    st.builds(
        lambda limit, window, period: bucket("x", limit, window, period=period, window_name="w"),
        st.integers(1, 50),
        st.sampled_from(["rolling", "clock", "refill"]),
        st.sampled_from([60.0, 600.0, 3600.0]),
    ),
)


@given(windows, st.lists(st.tuples(st.floats(0, 7200), st.integers(1, 9)), max_size=6), st.floats(1, 2 * 3600))
@example(bucket("x", 2, "rolling", period=60.0, window_name="w"), [(0.0, 1), (0.0, 1)], 300.0)
@settings(max_examples=150)
def test_what_is_told_to_be_there_is_what_the_ledger_gives_to_who_takes_all_at_once_it_comes(one, taken, long):
    """Taken request by request by the ledger's own arithmetic: no more than is told, and no less than is told of a little sooner."""
    level = Level()
    for before, amount in sorted(taken, reverse=True):
        at = NOW - before
        b.roll(one, level, at)
        if b.opens_at(one, level, amount, at) == at:
            b.debit(one, level, amount, at, "r")
    end = min(NOW + long, b.window_end(one, NOW)) if one.calendar else NOW + long
    late = (
        (1 + (end - NOW) / one.period) * (one.period / b.SLOTS + b.REFILL_LAG) if one.period else 0.0
    )  # what returns, in all
    told, sure = available(one, level, NOW, end), available(one, level, NOW, max(NOW, end - late))
    had, now = 0, NOW
    b.roll(one, level, now)
    while had <= told + 1:
        opens = b.opens_at(one, level, 1.0, now)
        if opens >= end:
            break
        now = max(now, opens)
        b.roll(one, level, now)
        if b.opens_at(one, level, 1.0, now) > now:
            now = math.nextafter(b.opens_at(one, level, 1.0, now), math.inf)
            continue
        b.debit(one, level, 1.0, now, "r")
        had += 1

    assert had <= told + 1e-6 + (1 if one.window == "refill" else 0)
    assert had >= sure - 1


@st.composite
def accounts(draw: Any) -> tuple[list[Supply], dict[str, Level]]:
    """Accounts with models: each has some buckets of its own, and shares those of its account; in one unit prices differ."""
    supplies, levels = [], {}
    for account in range(draw(st.integers(1, 3))):
        units = draw(st.lists(st.sampled_from(["requests", "tokens"]), unique=True, max_size=2))
        priced = draw(st.sampled_from(["dollars", "neurons", None]))
        shared = [
            bucket(f"{account}/*/{unit}", draw(st.integers(0, 40)) * (1 if unit == "requests" else 2000), unit=unit)
            for unit in units
        ]
        if priced:
            shared.append(bucket(f"{account}/*/{priced}", draw(st.integers(1, 30)), unit=priced))
        for one in shared:
            if draw(st.booleans()):
                levels[one.key] = used(one, float(draw(st.integers(0, 10))))
        for model in range(draw(st.integers(1, 4))):
            own = [bucket(f"{account}/{model}", draw(st.integers(0, 20)))] if draw(st.booleans()) or not shared else []
            price = float(draw(st.integers(0, 3)))
            cost = Cost(1500, 500, **({priced: price} if priced else {}))
            supplies.append(supply("a", (*shared, *own), cost))
    return supplies, levels


@given(accounts())
@settings(max_examples=200)
def test_no_more_can_be_had_and_no_fewer_are_told(made):
    """Against a linear programme: it bounds from above, and whole answers lose less than one for each bucket."""
    supplies, levels = made
    found = forecast(supplies, levels, NOW)
    known = {one.key: one for offered in supplies for one, _ in offered.takes}
    keys = sorted(known)
    end = min((b.window_end(one, NOW) for one in known.values()), default=NOW)
    rows = np.zeros((len(keys), len(supplies)))
    for n, offered in enumerate(supplies):
        for one, amount in offered.takes:
            rows[keys.index(one.key), n] = amount
    room = [available(known[key], levels.get(key, Level()), NOW, end) for key in keys]
    bounded = [n for n in range(len(supplies)) if rows[:, n].any()]
    best = linprog([-1.0] * len(bounded), A_ub=rows[:, bounded], b_ub=room, bounds=(0, None)) if bounded else None
    most = -best.fun if best is not None else 0.0

    assert found.answers <= most + 1e-6
    uniform = all(offered.price == (0.0, 0.0) for offered in supplies)
    assert found.answers >= (math.floor(most + 1e-6) if uniform else most - len(keys))


def test_every_shipped_quota_is_one_of_those_for_which_the_forecast_is_exact():
    """Buckets of a model lie within those of its account, and at most one unit of an account costs what the model says."""
    for spec in SPECS.values():
        units = {row.unit for row in spec.quota} & {"dollars", "neurons"}
        assert len(units) <= 1, spec.name


@pytest.mark.parametrize("supplies", [1000])
def test_a_thousand_deployments_take_no_time_to_speak_of(supplies):
    shared = bucket("a/*", 10_000)
    made = [supply("a", (shared, bucket(f"a/{n}", 20)), COST) for n in range(supplies)]

    assert forecast(made, {}, NOW).answers == 10_000
