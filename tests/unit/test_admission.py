"""Who waits, for how long, and who goes first."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from gateway.request.queue import WaitingRoom
from gateway.words import NoCapacity, Stopping
from tests.clock import FakeClock, eventually

NOW = 1_795_440_000.0


class Source:
    """Something of which there is *left* so much, until it *opens_at*."""

    def __init__(self, clock: FakeClock, left: int = 0, period: float = 60.0, gives: int = 0) -> None:
        self.clock, self.left, self.period, self.gives = clock, left, period, gives
        self.opens_at = clock() + period
        self.served: list[str] = []
        self.told: list[tuple[str, float]] = []
        self.tries = 0

    async def ask(
        self, room: WaitingRoom, name: str, priority: int = 0, patience: float = 600.0, line: str = "a"
    ) -> bool:
        """One request, as the pipeline makes it."""
        client = name.partition("-")[0]
        with room.place(line, client, priority, self.clock() + patience) as place:
            too_late = await place.turn()
            while too_late is None:
                self._roll()
                self.tries += 1
                await asyncio.sleep(0)  # the ledger's round trip
                if self.left:
                    self.left -= 1
                    self.served.append(name)
                    place.through()
                    return True
                too_late = await place.wait(self.opens_at)
            self.told.append((name, too_late))
            return False

    def _roll(self) -> None:
        if self.clock() >= self.opens_at:
            self.left, self.opens_at = self.gives, self.clock() + self.period


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def room(clock) -> WaitingRoom:
    return WaitingRoom(clock, 1000)


async def settled() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def started(work) -> asyncio.Task[bool]:
    task = asyncio.create_task(work)
    await settled()
    return task


async def test_where_there_is_room_nobody_waits(clock, room):
    source = Source(clock, left=2)

    assert await source.ask(room, "a")
    assert await source.ask(room, "b")
    assert room.waiting == 0


async def test_who_can_be_served_in_time_waits_exactly_until_then(clock, room):
    source = Source(clock, gives=1)
    task = await started(source.ask(room, "a"))
    clock.advance(59.9)
    await settled()
    assert not task.done()

    clock.advance(0.1)
    assert await task
    assert room.waiting == 0


async def test_who_cannot_be_served_in_time_is_told_at_once_when(clock, room):
    source = Source(clock)

    assert not await source.ask(room, "a", patience=59.9)
    assert source.told == [("a", NOW + 60)]


async def test_each_is_served_in_turn_and_one_opening_is_tried_once_more_than_it_serves(clock, room):
    source = Source(clock, gives=3)
    tasks = [await started(source.ask(room, f"{n}")) for n in range(9)]
    tries = source.tries
    clock.advance(60)
    await settled()

    assert source.served == ["0", "1", "2"]
    assert source.tries == tries + 4
    for _ in range(2):
        clock.advance(60)
        await settled()
    assert [task.done() for task in tasks] == [True] * 9


async def test_a_client_with_many_requests_delays_another_by_one_place(clock, room):
    source = Source(clock, gives=4)
    tasks = [await started(source.ask(room, f"greedy-{n}")) for n in range(20)]
    tasks += [await started(source.ask(room, f"modest-{n}")) for n in range(2)]
    clock.advance(60)
    await settled()

    assert Counter(name.partition("-")[0] for name in source.served) == {"greedy": 2, "modest": 2}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert room.waiting == 0


async def test_a_higher_priority_goes_first(clock, room):
    source = Source(clock, gives=1)
    for name, priority in (("low", -1), ("normal", 0), ("high", 1)):
        await started(source.ask(room, name, priority))
    for _ in range(3):
        clock.advance(60)
        await settled()

    assert source.served == ["high", "normal", "low"]


async def test_who_comes_later_does_not_overtake(clock, room):
    source = Source(clock, gives=2)
    for name in ("first", "second"):
        await started(source.ask(room, name))
    clock.advance(60)
    late = asyncio.create_task(source.ask(room, "late"))
    await settled()

    assert source.served == ["first", "second"]
    assert not late.done()
    clock.advance(60)
    assert await late


async def test_who_cannot_wait_for_the_next_opening_is_told_when_that_is_known(clock, room):
    source = Source(clock, gives=1)
    await started(source.ask(room, "first"))
    await started(source.ask(room, "hasty", patience=90))
    await started(source.ask(room, "patient"))
    clock.advance(60)
    await settled()

    assert source.served == ["first"]
    assert source.told == [("hasty", NOW + 120)]
    assert room.waiting == 1


async def test_capacity_that_is_given_back_is_used_at_once(clock, room):
    source = Source(clock)
    tasks = [await started(source.ask(room, name)) for name in ("a", "b")]
    source.left = 1
    room.freed()
    await settled()

    assert [task.done() for task in tasks] == [True, False]
    clock.advance(60)
    await settled()


async def test_lines_do_not_stand_in_each_others_way(clock, room):
    empty, full = Source(clock), Source(clock, gives=5, period=10)
    await started(empty.ask(room, "a", line="empty"))
    task = await started(full.ask(room, "b", line="full"))
    clock.advance(10)

    assert await task
    assert not empty.served


async def test_the_room_is_bounded_and_a_modest_client_finds_a_place_in_it(clock):
    room, source = WaitingRoom(clock, 5), Source(clock, gives=9)
    greedy = [await started(source.ask(room, f"greedy-{n}")) for n in range(6)]
    assert [task.done() for task in greedy] == [False] * 5 + [True]

    modest = await started(source.ask(room, "modest"))
    assert not modest.done()
    assert [name for name, _ in source.told] == ["greedy-5", "greedy-4"]
    assert all(moment == NOW + 60 for _, moment in source.told)
    assert room.waiting == 5
    clock.advance(60)
    assert await modest


async def test_who_leaves_makes_room(clock):
    room, source = WaitingRoom(clock, 1), Source(clock, gives=9)
    leaving = await started(source.ask(room, "a"))
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert room.waiting == 0

    staying = await started(source.ask(room, "b"))
    clock.advance(60)
    assert await staying


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_all_are_served_or_told_and_nobody_is_forgotten(clock, seed):
    chance = random.Random(seed)
    room, source = WaitingRoom(clock, 30), Source(clock, gives=chance.randrange(1, 6), period=chance.choice([1, 7, 60]))
    tasks: list[asyncio.Task[bool]] = []
    for _ in range(300):
        match chance.randrange(6):
            case 0 | 1 | 2:
                name = f"{chance.randrange(4)}-{len(tasks)}"
                ask = source.ask(room, name, chance.randrange(-1, 2), chance.uniform(0, 200), chance.choice("ab"))
                tasks.append(asyncio.create_task(ask))
            case 3:
                clock.advance(chance.expovariate(0.3))
            case 4 if tasks:
                chance.choice(tasks).cancel()
            case _:
                source.left += 1
                room.freed()
        if chance.random() < 0.7:
            await asyncio.sleep(0)
    for _ in range(400):
        clock.advance(30)
        await settled()

    await eventually(lambda: all(task.done() for task in tasks))
    assert room.waiting == 0
    assert not room._lines
    assert not room._of_client
    assert not room._turns
    assert room._trying is None


async def test_when_the_room_closes_all_who_wait_are_told_and_nobody_begins_to(clock):
    room = WaitingRoom(clock, 10)
    told: list[str] = []

    async def wait(name: str) -> None:
        with room.place("line", name, 0, clock.now() + 100) as place:
            try:
                await place.wait(clock.now() + 50)
            except Stopping as error:
                told.append(f"{name} {error.status}")

    waiting = [asyncio.create_task(wait(name)) for name in ("a", "b")]
    await eventually(lambda: room.waiting == 2)
    room.close()
    await asyncio.gather(*waiting, wait("late"))

    assert sorted(told) == ["a 503", "b 503", "late 503"]
    assert room.waiting == 0


async def test_how_long_somebody_waited_in_vain_is_known(clock):
    room = WaitingRoom(clock, 10)

    async def wait() -> None:
        with room.place("line", "a", 0, clock.now() + 10) as place:
            await place.wait(clock.now() + 5)
            raise NoCapacity("still none")

    waiting = asyncio.create_task(wait())
    await eventually(lambda: room.waiting == 1)
    await eventually(lambda: clock.sleeping)
    clock.advance(5)
    with pytest.raises(NoCapacity) as told:
        await waiting

    assert told.value.waited == 5
