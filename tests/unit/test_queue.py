"""Who waits, for how long, and who goes first."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from gateway.request.plan import Retry
from gateway.request.queue import Queue
from gateway.request.ticket import LONGEST_SLEEP
from gateway.words import NoCapacity, Stopping
from tests.clock import FakeClock, eventually

NOW = 1_795_440_000.0


class Source:
    """Something of which there is *left* so much, until it *opens_at*."""

    def __init__(
        self, clock: FakeClock, left: int = 0, period: float = 60.0, gives: int = 0, *, frees: bool = False
    ) -> None:
        self.clock, self.left, self.period, self.gives, self.frees = clock, float(left), period, gives, frees
        self.opens_at = clock() + period
        self.served: list[str] = []
        self.told: list[tuple[str, float]] = []
        self.tries = 0

    async def ask(
        self,
        queue: Queue,
        name: str,
        priority: int = 0,
        patience: float = 600.0,
        line: str = "a",
        size: float = 1.0,
        *,
        costs: float = 1.0,
    ) -> bool:
        """One call, as the pipeline makes it."""
        client = name.partition("-")[0]
        with queue.enter(client, priority, self.clock() + patience) as ticket:
            ticket.costs = costs
            await ticket.turn()
            while True:
                self._roll()
                self.tries += 1
                await asyncio.sleep(0)  # the ledger's round trip
                if self.left >= size:
                    self.left -= size
                    self.served.append(name)
                    ticket.through()
                    return True
                retry = Retry(self.opens_at, when_freed=self.frees)
                if not ticket.can_wait(retry) or not await ticket.sleep(retry, line, size):
                    self.told.append((name, self.opens_at))
                    return False

    def _roll(self) -> None:
        if self.clock() >= self.opens_at:
            self.left, self.opens_at = self.gives, self.clock() + self.period


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def queue(clock) -> Queue:
    return Queue(clock, 1000)


async def settled() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def started(work) -> asyncio.Task[bool]:
    task = asyncio.create_task(work)
    await settled()
    return task


async def test_where_there_is_room_no_call_waits(clock, queue):
    source = Source(clock, left=2)

    assert await source.ask(queue, "a")
    assert await source.ask(queue, "b")
    assert queue.waiting == 0


async def test_who_can_be_served_in_time_waits_exactly_until_then(clock, queue):
    source = Source(clock, gives=1)
    task = await started(source.ask(queue, "a"))
    clock.advance(59.9)
    await settled()
    assert not task.done()

    clock.advance(0.1)
    assert await task
    assert queue.waiting == 0


async def test_who_cannot_be_served_in_time_is_told_at_once_when(clock, queue):
    source = Source(clock)

    assert not await source.ask(queue, "a", patience=59.9)
    assert source.told == [("a", NOW + 60)]


async def test_each_is_served_in_turn_and_tries_once_when_its_own_moment_comes(clock, queue):
    source = Source(clock, gives=3)
    tasks = [await started(source.ask(queue, f"{n}")) for n in range(9)]
    tries = source.tries
    clock.advance(60)
    await settled()

    assert source.served == ["0", "1", "2"]
    assert source.tries == tries + 9
    for _ in range(2):
        clock.advance(60)
        await settled()
    assert [task.done() for task in tasks] == [True] * 9


@pytest.mark.parametrize(
    ("calls", "costs", "served"),
    [
        ({"greedy": 20, "modest": 2}, {}, {"greedy": 2, "modest": 2}),
        ({"pictures": 10, "texts": 10}, {"pictures": 3.0}, {"pictures": 1, "texts": 3}),
    ],
    ids=["many calls delay another's by one place", "what takes three times as long has a third of the turns"],
)
async def test_clients_have_the_same_share(clock, queue, calls, costs, served):
    source = Source(clock, gives=4)
    tasks = [
        await started(source.ask(queue, f"{client}-{n}", costs=costs.get(client, 1.0)))
        for client, count in calls.items()
        for n in range(count)
    ]
    clock.advance(60)
    await settled()

    assert Counter(name.partition("-")[0] for name in source.served) == served
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert queue.waiting == 0


async def test_a_higher_priority_goes_first(clock, queue):
    source = Source(clock, gives=1)
    for name, priority in (("low", -1), ("normal", 0), ("high", 1)):
        await started(source.ask(queue, name, priority))
    for _ in range(3):
        clock.advance(60)
        await settled()

    assert source.served == ["high", "normal", "low"]


async def test_a_later_call_does_not_go_first(clock, queue):
    source = Source(clock, gives=2)
    for name in ("first", "second"):
        await started(source.ask(queue, name))
    clock.advance(60)
    late = asyncio.create_task(source.ask(queue, "late"))
    await settled()

    assert source.served == ["first", "second"]
    assert not late.done()
    clock.advance(60)
    assert await late


async def test_while_calls_of_a_client_are_lost_its_newest_goes_first_and_no_other_client_is_passed_over(clock, queue):
    source = Source(clock, period=20.0, gives=2)
    for name in ("a-1", "b-1", "a-2", "b-2", "a-3"):
        await started(source.ask(queue, name))
    for _ in range(3):
        queue.lost("a")
        clock.advance(20)
        await settled()

    assert source.served == ["a-3", "b-1", "a-2", "b-2", "a-1"]


async def test_who_cannot_wait_for_the_next_opening_is_told_when_that_is_known(clock, queue):
    source = Source(clock, gives=1)
    await started(source.ask(queue, "first"))
    await started(source.ask(queue, "hasty", patience=90))
    await started(source.ask(queue, "patient"))
    clock.advance(60)
    await settled()

    assert source.served == ["first"]
    assert source.told == [("hasty", NOW + 120)]
    assert queue.waiting == 1


async def test_capacity_that_is_given_back_is_used_at_once(clock, queue):
    source = Source(clock)
    tasks = [await started(source.ask(queue, name)) for name in ("a", "b")]
    source.left = 1
    queue.freed()
    await settled()

    assert [task.done() for task in tasks] == [True, False]
    clock.advance(60)
    await settled()


async def test_what_frees_one_slot_has_one_ticket_of_the_line_try_and_one_more_in_vain(clock, queue):
    source = Source(clock, frees=True)
    tasks = [await started(source.ask(queue, f"{n}")) for n in range(50)]
    tries = source.tries
    source.left = 1
    queue.freed()
    await settled()

    assert source.served == ["0"]
    assert source.tries == tries + 2
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_smaller_call_behind_a_large_one_takes_what_is_too_little_for_that(clock, queue):
    source = Source(clock, frees=True)
    for name, size in (("large", 10.0), ("larger", 20.0), ("small", 2.0)):
        await started(source.ask(queue, name, size=size))
    source.left = 5
    queue.freed()
    await settled()

    assert source.served == ["small"]
    source.left = 10
    queue.freed()
    await settled()
    assert source.served == ["small", "large"]


async def test_a_lost_signal_is_made_up_for_before_long(clock, queue):
    source = Source(clock, period=3600.0, frees=True)
    task = await started(source.ask(queue, "a"))
    source.left = 1  # nothing is told of it
    clock.advance(LONGEST_SLEEP)

    assert await task


async def test_lines_do_not_stand_in_each_others_way(clock, queue):
    empty, full = Source(clock), Source(clock, gives=5, period=10)
    await started(empty.ask(queue, "a", line="empty"))
    task = await started(full.ask(queue, "b", line="full"))
    clock.advance(10)

    assert await task
    assert not empty.served


async def test_the_room_is_bounded_and_a_modest_client_finds_a_place_in_it(clock):
    queue, source = Queue(clock, 5), Source(clock, gives=9)
    greedy = [await started(source.ask(queue, f"greedy-{n}")) for n in range(6)]
    assert [task.done() for task in greedy] == [False] * 5 + [True]

    modest = await started(source.ask(queue, "modest"))
    assert not modest.done()
    assert [name for name, _ in source.told] == ["greedy-5", "greedy-4"]
    assert all(moment == NOW + 60 for _, moment in source.told)
    assert queue.waiting == 5
    clock.advance(60)
    assert await modest


async def test_who_leaves_makes_room(clock):
    queue, source = Queue(clock, 1), Source(clock, gives=9)
    leaving = await started(source.ask(queue, "a"))
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert queue.waiting == 0

    staying = await started(source.ask(queue, "b"))
    clock.advance(60)
    assert await staying


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_all_are_served_or_told_and_none_is_forgotten(clock, seed):
    chance = random.Random(seed)
    queue, source = Queue(clock, 30), Source(clock, gives=chance.randrange(1, 6), period=chance.choice([1, 7, 60]))
    tasks: list[asyncio.Task[bool]] = []
    for _ in range(300):
        match chance.randrange(6):
            case 0 | 1 | 2:
                name = f"{chance.randrange(4)}-{len(tasks)}"
                size = chance.choice((1.0, 1.0, 2.0))
                ask = source.ask(
                    queue, name, chance.randrange(-1, 2), chance.uniform(0, 200), chance.choice("ab"), size
                )
                tasks.append(asyncio.create_task(ask))
            case 3:
                clock.advance(chance.expovariate(0.3))
            case 4 if tasks:
                chance.choice(tasks).cancel()
            case _:
                source.left += 1
                queue.freed()
        if chance.random() < 0.7:
            await asyncio.sleep(0)
    for _ in range(400):
        clock.advance(30)
        await settled()

    await eventually(lambda: all(task.done() for task in tasks))
    assert queue.waiting == 0
    assert not queue._lines
    assert not queue._of_client
    assert not queue._starts
    assert not queue._ready
    assert queue._trying is None


async def test_when_the_queue_closes_all_that_wait_are_told_and_none_begins_to(clock):
    queue = Queue(clock, 10)
    told: list[str] = []

    async def wait(name: str) -> None:
        with queue.enter(name, 0, clock.now() + 100) as ticket:
            try:
                await ticket.sleep(Retry(clock.now() + 50), "line", 1.0)
            except Stopping as error:
                told.append(f"{name} {error.status}")

    waiting = [asyncio.create_task(wait(name)) for name in ("a", "b")]
    await eventually(lambda: queue.waiting == 2)
    queue.close()
    await asyncio.gather(*waiting, wait("late"))

    assert sorted(told) == ["a 503", "b 503", "late 503"]
    assert queue.waiting == 0


async def test_how_long_a_call_waited_in_vain_is_known(clock):
    queue = Queue(clock, 10)

    async def wait() -> None:
        with queue.enter("a", 0, clock.now() + 10) as ticket:
            await ticket.sleep(Retry(clock.now() + 5), "line", 1.0)
            raise NoCapacity("still none")

    waiting = asyncio.create_task(wait())
    await eventually(lambda: queue.waiting == 1)
    clock.advance(5)
    with pytest.raises(NoCapacity) as told:
        await waiting

    assert told.value.waited == 5
