"""What holds of every counter of the simulators, whatever is asked of it and when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import combinations_with_replacement
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.simulator.quotas import Aligned, Calendar, Meter, Refilling, Rolling, fits, go_duration

LIMIT = 12
START = 1_795_440_000
ZONES = ("UTC", "America/Los_Angeles", "Europe/Zurich", "Pacific/Auckland")
TRACES = st.lists(st.tuples(st.integers(0, 90), st.integers(1, LIMIT)), min_size=1, max_size=40)
"""Seconds that pass, and what is asked for then."""
MOMENTS = st.integers(START, START + 5 * 366 * 86_400)
METERS: dict[str, Callable[[], Meter]] = {
    "rolling": lambda: Rolling(LIMIT),
    "aligned": lambda: Aligned(LIMIT),
    "refilling": lambda: Refilling(LIMIT),
    "calendar": lambda: Calendar(LIMIT),
}


def granted(meter: Meter, trace: list[tuple[int, int]], *, factor: int = 1) -> list[tuple[int, int]]:
    """When how much of *trace* fitted, and was taken. *factor* stretches the time."""
    now, taken = START, []
    for gap, amount in trace:
        now += gap * factor
        if fits(meter, amount, now):
            meter.take(amount, now)
            taken.append((now, amount))
    return taken


@given(TRACES)
def test_no_minute_whatsoever_holds_more_than_a_rolling_limit(trace: list[tuple[int, int]]):
    taken = granted(Rolling(LIMIT), trace)

    for end, _ in taken:
        assert sum(amount for at, amount in taken if end - 60 < at <= end) <= LIMIT


@given(TRACES)
def test_no_minute_of_the_clock_holds_more_than_an_aligned_limit(trace: list[tuple[int, int]]):
    minutes = Counter[int]()
    for at, amount in granted(Aligned(LIMIT), trace):
        minutes[at // 60] += amount

    assert max(minutes.values()) <= LIMIT


@given(TRACES)
def test_a_refilling_bucket_gives_no_more_than_it_holds_and_what_has_flowed_in(trace: list[tuple[int, int]]):
    taken = granted(Refilling(LIMIT), trace)

    for (begin, _), (end, _) in combinations_with_replacement(taken, 2):
        given_out = sum(amount for at, amount in taken if begin <= at <= end)
        assert given_out <= LIMIT + (end - begin) * LIMIT / 60 + 1e-6


@given(TRACES, st.sampled_from(ZONES))
def test_no_day_of_a_zone_holds_more_than_its_limit(trace: list[tuple[int, int]], zone: str):
    days = Counter[str]()
    for at, amount in granted(Calendar(LIMIT, zone), trace, factor=1200):
        days[datetime.fromtimestamp(at, ZoneInfo(zone)).date().isoformat()] += amount

    assert max(days.values()) <= LIMIT


@pytest.mark.parametrize("kind", METERS)
@given(trace=TRACES, amount=st.integers(1, LIMIT))
def test_what_is_refused_fits_when_the_meter_says_so(kind: str, trace: list[tuple[int, int]], amount: int):
    meter = METERS[kind]()
    granted(meter, trace)
    now = float(START + sum(gap for gap, _ in trace))
    fitted = fits(meter, amount, now)
    resets_at = meter.resets_at(now, amount)

    assert resets_at >= now
    if not fitted:
        assert resets_at > now
        assert not fits(meter, amount, resets_at - 1e-3)
    assert fits(meter, amount, resets_at + 1e-3)


@given(MOMENTS, st.sampled_from(ZONES), st.booleans())
def test_a_calendar_resets_exactly_at_the_zones_midnight(now: int, zone: str, month: bool):
    meter = Calendar(LIMIT, zone, month=month)
    meter.take(LIMIT, now)
    resets_at = meter.resets_at(now)
    today = datetime.fromtimestamp(now, ZoneInfo(zone)).date()
    local = datetime.fromtimestamp(resets_at, ZoneInfo(zone))
    expected = (today.replace(day=1) + timedelta(days=32)).replace(day=1) if month else today + timedelta(days=1)

    assert local.date() == expected
    assert local.time().isoformat() == "00:00:00"
    assert meter.used(resets_at - 1) == LIMIT
    assert meter.used(resets_at) == 0


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-11-01", 25), ("2026-11-23", 24), ("2027-03-14", 23)], ids=["long", "plain", "short"]
)
@pytest.mark.parametrize("seconds", [0, 3600, 3 * 3600, 12 * 3600])
def test_a_day_of_california_may_have_an_hour_more_or_less(day: str, hours: int, seconds: int):
    midnight = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo("America/Los_Angeles")).timestamp()

    assert Calendar(20, "America/Los_Angeles").resets_at(midnight + seconds) == midnight + hours * 3600


@given(st.integers(0, 200_000_000))
def test_a_duration_is_written_as_go_writes_it(millis: int):
    text = go_duration(millis / 1000)
    hours, _, rest = text.rpartition("h")
    minutes, _, rest = rest.rpartition("m") if rest.endswith("s") and not rest.endswith("ms") else ("", "", rest)
    told = float(rest.removesuffix("ms")) if rest.endswith("ms") else float(rest.removesuffix("s")) * 1000

    assert told < 60_000
    assert round(told) + int(minutes or 0) * 60_000 + int(hours or 0) * 3_600_000 == millis


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.37, "370ms"), (6, "6s"), (7.66, "7.66s"), (59.9999, "1m0s"), (86.4, "1m26.4s"), (179.56, "2m59.56s")],
)
def test_durations_look_like_those_that_groq_sends(seconds: float, text: str):
    assert go_duration(seconds) == text
