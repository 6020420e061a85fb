"""Callers who leave: the upstream call is cancelled, the reservation settled, and nothing of them stays."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from pathlib import Path

import httpx
import pytest

from providers.simulator.brain import Saying
from providers.simulator.world import World
from tests.clock import FakeClock, eventually
from tests.simulation.flowing import Caller, Flowing
from tests.simulation.inside import Inside

MODEL = "groq/openai/gpt-oss-20b"
LEAVERS, AT_ONCE = 1000, 50
ROOM = 200
"""Bytes that may stay of one who left: what is learned and counted is for all of them."""


@pytest.fixture
async def gateway(tmp_path, clock) -> Inside:
    return await opened(tmp_path, clock)


async def opened(folder: Path, clock: FakeClock) -> Inside:
    """A gateway before one provider that has room for everybody, in this process."""
    world = World(clock, names=["groq"])
    groq = world.providers["groq"]
    groq.limits = dict.fromkeys(groq.limits, 1e9)
    groq.brain = lambda view: Saying("word " * 30)
    own = folder / "own.toml"
    own.write_text(
        '[provider.groq]\nlimit_headers = []\nquota = [{ limit = "1000000/minute" }, { limit = "60/in-flight" }]\n'
        "[provider.groq.free]\nhigher_limits_cost = false\n"
    )
    made = Inside(world, clock, folder, wire=Flowing(world), FREEWAY_CONFIG=str(own))
    await made.look("groq")
    return made


def wire_of(gateway: Inside) -> Flowing:
    return gateway.discovery._providers["groq"]._wire


async def leave(gateway: Inside, times: int) -> None:
    """So many callers leave: before the head, after it, and in the middle, of streams and of whole answers."""
    caller, groq = Caller(gateway), wire_of(gateway)._world.providers["groq"]
    ask = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100}
    ways = [(True, 1), (True, 3), (False, 0), (True, 0)]
    for begin in range(0, times, AT_ONCE):
        hanging = sum(ways[number % 4][1] == 0 for number in range(begin, begin + AT_ONCE))
        groq.faults.clear()
        await asyncio.gather(
            *(_one(caller, groq, ask, *ways[number % 4]) for number in range(begin, begin + AT_ONCE)),
        )
        assert hanging
        await eventually(lambda: not wire_of(gateway).open)


async def _one(caller: Caller, groq, ask, streamed: bool, after: int) -> None:
    groq.fail("hang" if after == 0 else "drip")
    await caller.ask({**ask, "stream": streamed}, leave_after=after)


async def test_a_thousand_who_leave_leave_nothing_behind(gateway):
    await leave(gateway, 2 * AT_ONCE)
    gc.collect()
    tasks = len(asyncio.all_tasks())
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        gateway.ended.clear()
        wire_of(gateway)._world.providers["groq"].calls.clear()
        await leave(gateway, LEAVERS)
        outcomes = {ended.outcome for ended in gateway.ended}
        told = len(gateway.ended)
        gateway.ended.clear()
        calls = list(wire_of(gateway)._world.providers["groq"].calls)
        cancelled = sum(call.cancelled for call in calls)
        del calls
        wire_of(gateway)._world.providers["groq"].calls.clear()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (told, outcomes) == (LEAVERS, {"left"})
    assert cancelled == LEAVERS
    assert not gateway.ledger._held
    levels = await gateway.ledger.levels(gateway.engine.catalog.buckets())
    assert {level.used for level in levels.values() if level.unit == "in-flight"} == {0}
    assert len(asyncio.all_tasks()) <= tasks
    assert gateway.engine.waiting_room.waiting == 0
    assert (after - before) / LEAVERS < ROOM, f"{(after - before) / LEAVERS:.0f} bytes each"


@pytest.mark.parametrize("streamed", [False, True])
async def test_over_a_real_connection_the_upstream_call_ends_before_anything_more_is_sent(start, streamed):
    """The order of events tells it, not a clock: the provider says no second word to one who left after the first."""
    demo = await start(("groq",))
    groq = demo.world.providers["groq"]
    groq.brain = lambda view: Saying("word " * 400)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": streamed}
    groq.pace = 5.0  # a piece and then silence: whoever goes on reads the next one in five seconds
    if not streamed:
        groq.fail("hang")
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as client:
        asking = asyncio.create_task(_first_piece(client, body))
        await eventually(lambda: any("completions" in call.path for call in groq.calls))
        if streamed:
            await asking
        else:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
    await eventually(lambda: groq.in_flight == 0, within=4.5)

    assert [call.cancelled for call in groq.calls if "completions" in call.path] == [True]


async def _first_piece(client: httpx.AsyncClient, body: dict) -> None:
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        async for _ in response.aiter_bytes():
            break
