"""Durations and waits in every spelling that providers use."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.observations import Observation, Wait, exhausted, from_headers, number_of, seconds, wait_in, wait_of
from providers.spec import LimitHeader
from tests.payloads import SPECS, answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", 7.0),
        ("26.284", 26.284),
        ("370ms", 0.37),
        ("6s", 6.0),
        ("7.66s", 7.66),
        ("1m26.4s", 86.4),
        ("2m59.56s", 179.56),
        ("1h0m3s", 3603.0),
        ("1.984999999s", 1.984999999),
        ("500µs", 0.0005),
        (" 7 ", 7.0),
        ("", None),
        (None, None),
        ("soon", None),
        ("-1", None),
        ("inf", None),
        ("nan", None),
        ("3 s", None),
        ("m3s", None),
    ],
)
def test_a_duration_is_read(text: str | None, expected: float | None):
    assert seconds(text) == (pytest.approx(expected) if expected is not None else None)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Rate limit reached. Please try again in 12.9s.", 12.9),
        ("Limit 1000, Used 1000. Please try again in 1m26.4s. Visit", 86.4),
        ("Too many requests, please retry after 20 seconds", 20.0),
        ("Try again in 2 minutes.", 120.0),
        ("Please retry in 370ms.", 0.37),
        ("retry after 5", 5.0),
        ("Please try again later.", None),
        ("try again in a few moments", None),
        ("The 3 retries failed after 20 s", None),
        ("", None),
    ],
)
def test_a_wait_is_read_in_words(message: str, expected: float | None):
    assert wait_in(message) == (pytest.approx(expected) if expected is not None else None)


@given(st.text() | st.from_regex(r"try again in [0-9.a-z ]{0,40}"))
def test_whatever_a_message_holds_it_is_a_bounded_wait_or_none(message: str):
    found = wait_in(message)

    assert found is None or 0 <= found <= 86_400.0


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_a_duration_as_go_writes_it_is_the_sum_of_its_pieces(hours: int, minutes: int, secs: int, millis: int):
    text = f"{hours}h{minutes}m{secs}.{millis:03}s"

    assert seconds(text) == pytest.approx(hours * 3600 + minutes * 60 + secs + millis / 1000)


@given(st.text())
def test_whatever_a_header_holds_it_is_a_wait_or_none(text: str):
    found = seconds(text)
    wait = wait_of({"retry-after": text, "ratelimit": text})

    assert found is None or 0 <= found < float("inf")
    assert wait.retry_in is None or wait.retry_in >= 0
    assert number_of(text) is None or number_of(text) >= 0  # type: ignore[operator]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, Wait()),
        ({"retry-after": "12"}, Wait(12.0)),
        ({"retry-after": "0"}, Wait(0.0)),
        ({"retry-after": "Mon, 23 Nov 2026 16:00:00 GMT"}, Wait(until=1795449600.0)),
        ({"retry-after": "tomorrow"}, Wait()),
        ({"retry-after": "630720000"}, Wait(86_400.0)),
        ({"retry-after": "1e300"}, Wait()),
        ({"retry-after": "1795449600"}, Wait(until=1795449600.0)),
        ({"retry-after": "1795449600000"}, Wait(until=1795449600.0)),
        ({"retry-after": "1795449600000000"}, Wait(until=1795449600.0)),
        ({"retry-after": "-5"}, Wait()),
        ({"ratelimit": '"api";r=0;t=99999999999'}, Wait(86_400.0)),
        ({"ratelimit": '"api";r=0;t=55'}, Wait(55.0)),
        ({"ratelimit": '"api";r=3;t=55'}, Wait()),
    ],
)
def test_a_wait_is_read_from_whichever_header_says_it(headers: dict[str, str], expected: Wait):
    assert wait_of(headers) == expected


def test_groq_counts_requests_by_the_day_and_tokens_by_the_minute():
    observed = from_headers(SPECS["groq"].limit_headers, answer("groq/groq_200.json").headers)

    assert observed == (
        Observation("requests", "day", 1000.0, 999.0, cast(Any, pytest.approx(86.4))),
        Observation("tokens", "minute", 8000.0, 4274.0, cast(Any, pytest.approx(27.945))),
    )


def test_mistral_tells_of_both_buckets():
    observed = from_headers(SPECS["mistral"].limit_headers, answer("mistral/mistral_200_headers.json").headers)

    assert observed == (
        Observation("requests", "minute", 188.0, 187.0),
        Observation("tokens", "minute", 625000.0, 624982.0),
    )


def test_cerebras_tells_of_six_buckets_and_when_two_of_them_reset():
    observed = from_headers(SPECS["cerebras"].limit_headers, answer("cerebras/cerebras_200_headers.json").headers)
    by_bucket = {(o.unit, o.window): o for o in observed}

    assert len(by_bucket) == 6
    assert by_bucket["requests", "day"].resets_in == pytest.approx(33011.284092)
    assert by_bucket["tokens", "minute"].resets_in == pytest.approx(11.284092)
    assert by_bucket["requests", "hour"].remaining == 149.0


def test_a_header_that_is_missing_or_no_number_tells_nothing():
    rows = SPECS["groq"].limit_headers

    assert from_headers(rows, {}) == ()
    assert from_headers(rows, {"x-ratelimit-limit-requests": "many"}) == ()


ROWS = (
    LimitHeader(unit="requests", window="minute", limit="lr", remaining="rr"),
    LimitHeader(unit="tokens", window="minute", limit="lt", remaining="rt"),
)


def test_the_bucket_that_is_used_up_is_found():
    assert exhausted(ROWS, {"lr": "5", "rr": "4", "lt": "9", "rt": "0"}) == Observation("tokens", "minute", 9.0, 0.0)
    assert exhausted(ROWS, {"lr": "5", "rr": "4"}) is None


def test_a_bucket_that_never_holds_anything_goes_before_one_that_is_empty_now():
    assert exhausted(ROWS, {"lr": "5", "rr": "0", "lt": "0"}) == Observation("tokens", "minute", 0.0)


@pytest.mark.parametrize("remaining", ["-1", "inf", "-inf", "nan", "1e30", "lots"])
def test_what_cannot_remain_tells_nothing_of_what_does(remaining):
    (said,) = from_headers(ROWS, {"lr": "5", "rr": remaining})

    assert (said.limit, said.remaining) == (5.0, None)


def test_no_more_remains_than_there_is():
    assert from_headers(ROWS, {"lr": "5", "rr": "4000"})[0].remaining == 5.0


@pytest.mark.parametrize(("told", "resets_in"), [("1795449600000000", None), ("1795449600", None), ("3600", 3600.0)])
def test_a_reset_told_as_a_moment_is_no_duration(told, resets_in):
    row = LimitHeader(unit="requests", window="day", limit="l", resets="t")

    assert from_headers([row], {"l": "5", "t": told})[0].resets_in == resets_in
