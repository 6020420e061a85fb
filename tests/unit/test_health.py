"""Cooling, back-off and probes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.health import MAX_COOLING, Health


def test_what_never_failed_may_be_tried():
    assert Health().blocked_until("a", 0) is None


def test_a_failure_cools_and_each_further_one_for_twice_as_long():
    health = Health()
    waits = []
    now = 0.0
    for _ in range(4):
        health.failed("a", "down", 10, now)
        until, because = health.blocked_until("a", now)
        assert because == "down"
        waits.append(until - now)
        now = until

    assert waits == [10, 20, 40, 80]


@given(st.integers(1, 60), st.floats(1, 60))
def test_cooling_has_a_bound(failures, base):
    health = Health()
    for _ in range(failures):
        health.failed("a", "down", base, 0)

    assert health.blocked_until("a", 0)[0] <= MAX_COOLING


def test_after_cooling_one_probe_goes_and_others_wait_for_it():
    health = Health()
    health.failed("a", "down", 10, 0)
    assert health.blocked_until("a", 10) is None

    health.trying("a", 10)

    assert health.blocked_until("a", 11) is not None
    health.served("a", 0.5)
    assert health.blocked_until("a", 11) is None


def test_a_probe_that_is_never_heard_of_again_does_not_block_for_good():
    health = Health()
    health.failed("a", "down", 10, 0)
    health.trying("a", 10)

    assert health.blocked_until("a", 10_000) is None


def test_what_the_provider_says_counts_more_than_our_guess():
    health = Health()
    health.failed("a", "down", 10, 0, until=99)

    assert health.blocked_until("a", 50) == (99, "down")


def test_success_forgets_the_failures():
    health = Health()
    for _ in range(5):
        health.failed("a", "down", 10, 0)
    health.served("a", 1.0)
    health.failed("a", "down", 10, 0)

    assert health.blocked_until("a", 0) == (10, "down")


@given(st.lists(st.floats(0.01, 60), min_size=1))
def test_latency_stays_between_the_quickest_and_the_slowest(seconds):
    health = Health()
    for one in seconds:
        health.served("a", one)

    assert min(seconds) - 1e-9 <= health.latency("a") <= max(seconds) + 1e-9
