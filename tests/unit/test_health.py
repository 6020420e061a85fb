"""Cooldowns, back-off and recovery trials."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.health import LONGEST, MAX_COOLING
from gateway.routing.latency import Point
from gateway.words import Exclusion
from tests.deployments import unshared


def until(blocked: Exclusion | None) -> float:
    """The moment at which it may be tried again."""
    assert blocked is not None
    assert blocked.until is not None
    return blocked.until


def test_what_never_failed_may_be_tried():
    assert unshared().blocked("a", 0) is None


def test_a_failure_cools_and_each_further_one_for_twice_as_long():
    health = unshared()
    waits = []
    now = 0.0
    for _ in range(4):
        health.failed("a", "down", 10, now)
        blocked = health.blocked("a", now)
        assert blocked is not None
        assert blocked.until is not None
        assert (blocked.kind, blocked.reason) == ("cooling", "cooling: down")
        waits.append(blocked.until - now)
        now = blocked.until

    assert waits == [10, 20, 40, 80]


@given(st.integers(1, 60), st.floats(1, 60))
def test_cooling_has_a_bound(failures, base):
    health = unshared()
    for _ in range(failures):
        health.failed("a", "down", base, 0)

    assert until(health.blocked("a", 0)) <= MAX_COOLING


def test_after_cooling_one_probe_goes_and_others_wait_for_it():
    health = unshared()
    health.failed("a", "down", 10, 0)
    assert health.blocked("a", 10) is None

    health.trying("a", 10)

    waiting = health.blocked("a", 11)
    assert waiting is not None
    assert (waiting.until, waiting.when_freed) == (None, True)  # how long a trial takes is not known
    health.served("a", 11)
    assert health.blocked("a", 11) is None


def test_a_probe_that_is_never_heard_of_again_does_not_block_for_good():
    health = unshared()
    health.failed("a", "down", 10, 0)
    health.trying("a", 10)

    assert health.blocked("a", 10_000) is None


def test_what_the_provider_says_counts_more_than_our_guess():
    health = unshared()
    health.failed("a", "down", 10, 0, until=99)

    assert until(health.blocked("a", 50)) == 99


def test_success_forgets_the_failures():
    health = unshared()
    for _ in range(5):
        health.failed("a", "down", 10, 0)
    health.served("a", 0)
    health.failed("a", "down", 10, 0)

    assert until(health.blocked("a", 0)) == 10


def test_what_was_under_way_when_a_cooldown_began_is_part_of_it():
    health = unshared()
    for _ in range(10):
        health.failed("a", "down", 10, 0)

    assert until(health.blocked("a", 0)) == 10


def test_what_a_provider_says_is_believed_for_a_day():
    health = unshared()
    health.failed("a", "down", 10, 0, until=1e12)

    assert until(health.blocked("a", 0)) == LONGEST


def test_a_probe_is_claimed_once_and_kept_if_its_caller_leaves():
    health = unshared()
    assert not health.trying("a", 0)
    health.failed("a", "down", 10, 0)
    assert health.trying("a", 10)
    health.left("a")
    assert health.blocked("a", 11) is None


def test_what_fails_often_is_expected_to_take_longer():
    health = unshared()
    for name in "ab":
        for _ in range(5):
            health.served(name, 0)
            health.timed(name, (Point(100, 2.0),), 0)
    health.failed("b", "down", 10, 0)

    assert health.expected("c") is None
    a, b = health.expected("a"), health.expected("b")
    assert a
    assert b
    assert a < b < 10 * a
