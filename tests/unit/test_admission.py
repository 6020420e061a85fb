"""Who waits, and who is told at once."""

from __future__ import annotations

import asyncio

from gateway.admission import WaitingRoom
from tests.clock import FakeClock, eventually


async def test_who_can_be_served_in_time_waits_exactly_until_then(clock: FakeClock):
    room = WaitingRoom(clock, 10)
    waiting = asyncio.create_task(room.wait(clock() + 30, clock() + 60))
    await eventually(lambda: room.waiting == 1)

    clock.advance(29)
    await asyncio.sleep(0)
    assert not waiting.done()
    clock.advance(1)

    assert await waiting
    assert room.waiting == 0


async def test_who_cannot_be_served_in_time_does_not_wait(clock: FakeClock):
    assert not await WaitingRoom(clock, 10).wait(clock() + 61, clock() + 60)
    assert not await WaitingRoom(clock, 10).wait(clock(), clock())


async def test_the_room_is_bounded(clock: FakeClock):
    room = WaitingRoom(clock, 2)
    inside = [asyncio.create_task(room.wait(clock() + 30, clock() + 60)) for _ in range(2)]
    await eventually(lambda: room.waiting == 2)

    assert not await room.wait(clock() + 30, clock() + 60)

    clock.advance(30)
    assert await asyncio.gather(*inside) == [True, True]


async def test_who_leaves_makes_room(clock: FakeClock):
    room = WaitingRoom(clock, 1)
    waiting = asyncio.create_task(room.wait(clock() + 30, clock() + 60))
    await eventually(lambda: room.waiting == 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert room.waiting == 0
