"""Levels that go from one store to another and back: what was debited is counted once in each, however often and whichever way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.quota import buckets as b
from gateway.quota.buckets import Bucket, Level
from gateway.quota.moving import Note, moved_levels
from gateway.quota.operations import apply

NOON = 1_795_867_200.0
DAY = Bucket(key="a/day", account="a", unit="requests", limit=1000, window="calendar", calendar="day")
ROLLING = Bucket(key="a/rolling", account="a", unit="requests", limit=1000, window="rolling", period=86_400)

SIDES = st.sampled_from([0, 1])
STEPS = st.lists(st.one_of(st.tuples(st.just("use"), SIDES), st.tuples(st.just("move"), SIDES)), max_size=30)


class Pair:
    """Two stores of one bucket; *known* are the numbers of the debits that each has heard of."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket, self.now = bucket, NOON
        self.levels, self.notes = [Level(), Level()], list[Note | None]([None, None])
        self.known: list[set[int]] = [set(), set()]

    def use(self, side: int) -> None:
        self.now += 60.0
        b.roll(self.bucket, self.levels[side], self.now)
        b.debit(self.bucket, self.levels[side], 1.0, self.now, "")
        self.known[side].add(int(self.now))

    def move(self, source: int) -> None:
        self.now += 4000.0 / 30
        target = 1 - source
        level = b.copy_of(self.levels[source])
        b.roll(self.bucket, level, self.now)
        notes = self.notes[source], self.notes[target]
        entries, self.notes[source], self.notes[target] = moved_levels([(self.bucket, level)], *notes, self.now)
        for entry in entries:
            b.roll(self.bucket, self.levels[target], self.now)
            apply(entry.bucket, self.levels[target], entry.operation, self.now)
        self.known[target] |= self.known[source]

    def used(self, side: int) -> float:
        return b.used(self.bucket, self.levels[side])


@given(bucket=st.sampled_from([DAY, ROLLING]), steps=STEPS)
def test_what_is_moved_to_and_fro_counts_every_debit_once(bucket, steps):
    pair = Pair(bucket)
    pair.use(0)
    pair.move(0)
    for verb, side in steps:
        getattr(pair, verb)(side)
        assert [pair.used(0), pair.used(1)] == [len(known) for known in pair.known]


def test_where_the_stores_have_never_met_the_higher_count_holds():
    pair = Pair(DAY)
    for side in (0, 0, 0, 1, 1):
        pair.use(side)
    pair.move(0)
    assert pair.used(1) == 3


def test_what_was_said_and_closed_since_goes_along_and_what_is_in_flight_does_not():
    pair = Pair(DAY)
    pair.move(0)
    pair.levels[0].closed_until, pair.levels[0].closed_because = NOON + 9999, "it said so"
    pair.levels[0].limit, pair.levels[0].limit_until = 40.0, NOON + 9999
    pair.levels[0].leases, pair.levels[0].open = [("a", NOON + 900)], 1
    pair.move(0)
    moved = pair.levels[1]
    assert (moved.closed_because, moved.limit, moved.leases, moved.open) == ("it said so", 40.0, [], 0)
