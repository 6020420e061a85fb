"""How long callers stay, as far as it is known."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.patience import CLIENTS, FLOOR, FOR, LATEST, Patience, Stay, curve_of
from gateway.state.sqlite import SqliteState
from gateway.state.store import StateStore
from tests.clock import FakeClock

NOW = 1_795_440_000.0


def seen(*stays: tuple[float, bool]) -> Patience:
    found = Patience()
    for place, (seconds, left) in enumerate(stays):
        found.stayed("a", seconds, NOW + place, left=left)
    return found


def test_of_a_client_whose_callers_never_left_nothing_is_known():
    assert seen((20.0, False), (40.0, False)).leaves_after("a") == inf


def test_one_who_leaves_says_nothing_of_the_others_and_two_do():
    assert seen((8.0, True)).leaves_after("a") == inf
    assert seen((8.0, True), (8.0, True)).leaves_after("a") == pytest.approx(7.6)


def test_another_client_is_another_matter():
    assert seen((8.0, True), (8.0, True)).leaves_after("b") == inf


def test_nobody_is_taken_to_stay_for_less_than_the_floor():
    assert seen(*[(1.0, True)] * 5).leaves_after("a") == FLOOR


def test_those_who_stayed_longer_and_were_served_count():
    """Of ten, two left after 8 s, and eight were served after 20 s: most stay longer than 8 s."""
    assert seen(*[(8.0, True)] * 2, *[(20.0, False)] * 8).leaves_after("a") == inf


def test_who_has_stayed_for_longer_than_most_is_one_of_those_who_stay():
    known = seen(*[(8.0, True)] * 12, *[(30.0, True)] * 8)

    assert known.leaves_after("a") == pytest.approx(7.6)
    assert known.leaves_after("a", stayed=10.0) == pytest.approx(28.5)


def test_it_is_forgotten_within_an_hour():
    known = seen((8.0, True), (8.0, True))

    known.stayed("a", 50.0, NOW + FOR + 10, left=False)

    assert known.leaves_after("a") == inf


@given(st.lists(st.tuples(st.floats(0, 600), st.booleans()), min_size=1, max_size=100))
def test_the_part_that_is_still_there_only_falls(stays):
    curve = curve_of(Stay(NOW, seconds, left) for seconds, left in stays)

    parts = [part for _, part in curve]
    assert parts == sorted(parts, reverse=True)
    assert all(0 < part < 1 for part in parts)
    assert [seconds for seconds, _ in curve] == sorted(seconds for seconds, left in stays if left)


def test_what_is_remembered_is_bounded():
    known = Patience()
    for client in range(CLIENTS + 10):
        for _ in range(3):
            known.stayed(f"{client}", 8.0, NOW, left=True)
    for _ in range(2 * LATEST):
        known.stayed("0", 8.0, NOW, left=True)

    assert len(known._stays) == CLIENTS
    assert max(map(len, known._stays.values())) == LATEST


async def test_replicas_and_those_who_come_after_know_it_too(tmp_path):
    """Both saw something at the same time; none of it is lost."""
    clock = FakeClock(NOW)
    path = tmp_path / "state.sqlite"
    stores = [StateStore(SqliteState(path, clock), clock) for _ in range(2)]
    first, second = (Patience(store) for store in stores)
    for store in stores:
        await store.exchange()
    first.stayed("a", 8.0, NOW, left=True)
    second.stayed("a", 9.0, NOW, left=True)
    for _ in range(3):
        clock.advance(6.0)
        for store in stores:
            await store.exchange()

    assert first.leaves_after("a") == second.leaves_after("a") == pytest.approx(8.55)
    for store in stores:
        await store.aclose()
    after = StateStore(SqliteState(path, clock), clock)
    known = Patience(after)
    await after.exchange()
    assert known.leaves_after("a") == pytest.approx(8.55)
    await after.aclose()
