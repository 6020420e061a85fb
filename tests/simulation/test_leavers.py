"""Callers who leave: the upstream call is cancelled, the reservation settled, and nothing of them stays."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import tracemalloc
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from gateway.api import connection
from providers.simulator.brain import Saying
from providers.simulator.world import World
from tests.clock import FakeClock, eventually
from tests.simulation.flowing import Caller, Flowing
from tests.simulation.inside import Inside

MODEL = "groq/openai/gpt-oss-20b"
LEAVERS, AT_ONCE = 1000, 50
ROOM = 200
"""Bytes that may stay of a caller who left: what is learned and counted is for all of them."""

ROOMY = (
    '[provider.groq]\nlimit_headers = []\nquota = [{ limit = "1000000/minute" }, { limit = "60/in-flight" }]\n'
    "[provider.groq.free]\nhigher_limits_cost = false\n"
)
"""Settings of one provider that has room for all, if its simulated side is ``roomy``, too."""


@pytest.fixture
async def gateway(tmp_path, clock) -> Inside:
    return await opened(tmp_path, clock)


async def opened(folder: Path, clock: FakeClock) -> Inside:
    """A gateway before one provider that has room for all, in this process."""
    world = roomy(World(clock, names=["groq"]))
    own = folder / "own.toml"
    own.write_text(ROOMY)
    made = Inside(world, clock, folder, wire=Flowing(world), FREEWAY_CONFIG=str(own))
    await made.look("groq")
    return made


def roomy(world: World) -> World:
    groq: Any = world.providers["groq"]
    groq.limits = dict.fromkeys(groq.limits, 1e9)
    groq.brain = lambda view: Saying("word " * 30)
    return world


def wire_of(gateway: Inside) -> Flowing:
    return cast(Flowing, gateway.discovery._providers["groq"]._wire)


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


@pytest.mark.parametrize("streamed", [False, True])
async def test_who_leaves_without_taking_the_first_byte_leaves_nothing_behind(gateway, streamed):
    ask = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100, "stream": streamed}
    await Caller(gateway).ask(ask, deaf=True)

    await eventually(lambda: not wire_of(gateway).open)
    assert not gateway.ledger._journal.held


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
    assert not gateway.ledger._journal.held
    levels = await gateway.ledger.levels(gateway.engine.view.catalog.buckets())
    assert {level.used for level in levels.values() if level.unit == "in-flight"} == {0}
    assert len(asyncio.all_tasks()) <= tasks
    assert gateway.engine.queue.waiting == 0
    assert (after - before) / LEAVERS < ROOM, f"{(after - before) / LEAVERS:.0f} bytes each"


@pytest.mark.parametrize(("streamed", "fault"), [(False, "hang"), (True, "hang"), (True, "hang_stream"), (True, None)])
async def test_nothing_waits_for_a_clock_between_the_callers_leaving_and_the_upstreams_end(
    start, monkeypatch, streamed, fault
):
    """The loop's clock is stopped before the caller leaves, so that no timer runs out any more: what ends, ends at once."""
    demo = await start(("groq",))
    groq = demo.world.providers["groq"]
    groq.brain = lambda view: Saying("word " * 400)
    groq.pace = 0.01
    if fault is not None:
        groq.fail(fault)
    ended = _end_of_next_call(groq, monkeypatch)
    reader, writer = await _asked(demo.base_url, streamed=streamed)
    await eventually(lambda: any("completions" in call.path for call in groq.calls))
    if fault is None:
        await reader.readuntil(b"data: ")
        groq.pace = 60.0  # silence in mid-stream: nothing is written from which the gateway could notice

    loop = asyncio.get_running_loop()
    stopped_at = loop.time() + 2 * connection._MOMENT  # what is answered within it is not watched
    rescue = threading.Timer(5.0, loop.call_soon_threadsafe, [ended.set])  # where it does wait for a clock
    with monkeypatch.context() as patch:
        patch.setattr(loop, "time", lambda: stopped_at)
        rescue.start()
        writer.close()
        await ended.wait()
        rescue.cancel()

    assert [call.cancelled for call in groq.calls if "completions" in call.path] == [True]


def _end_of_next_call(groq, monkeypatch) -> asyncio.Event:
    """Set when the provider has ended with a call, however it did."""
    handle, ended = groq.handle, asyncio.Event()

    async def watched(exchange):
        try:
            await handle(exchange)
        finally:
            ended.set()

    monkeypatch.setattr(groq, "handle", watched)
    return ended


async def _asked(base_url: str, *, streamed: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which a request was made."""
    where = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": streamed}).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n")
    writer.write(b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    return reader, writer
