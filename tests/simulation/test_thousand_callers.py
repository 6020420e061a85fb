"""A thousand callers at once on a hundred requests a minute: fair, bounded, and each is served or told the truth."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import Any

import pytest

from gateway.words import NoCapacity
from providers.simulator.world import World
from tests.clock import FakeClock
from tests.simulation.inside import Inside

A_MINUTE = 100
MODEST, OF_EACH, GREEDY = 9, 11, 901
MODEL = "groq/openai/gpt-oss-20b"
ROOM = 20_000
"""Bytes that a caller who waits may take."""


@pytest.fixture
async def gateway(tmp_path) -> Inside:
    clock = FakeClock(1_795_440_000.0)  # the beginning of a minute
    world = World(clock, names=["groq"])
    groq: Any = world.providers["groq"]
    groq.limits = dict.fromkeys(groq.limits, 1e9)
    own = tmp_path / "own.toml"
    own.write_text(
        f'[requests]\nmax_waiting = 2000\n[provider.groq]\nlimit_headers = []\nquota = [{{ limit = "{A_MINUTE}/minute", window = "clock" }}]\n'
        f"[provider.groq.free]\nhigher_limits_cost = false\n"
    )
    made = Inside(world, clock, tmp_path, FREEWAY_CONFIG=str(own))
    await made.look("groq")
    return made


async def settled(gateway: Inside) -> None:
    for _ in range(3000):
        await asyncio.sleep(0)


def callers(gateway: Inside, wait: float) -> dict[str, list[asyncio.Task[object]]]:
    """One client with most of the requests came first, then the others."""
    clients = {"greedy": GREEDY, **{f"modest-{n}": OF_EACH for n in range(MODEST)}}
    return {
        client: [
            asyncio.create_task(gateway.answer(MODEL, wait=wait, client=client, max_tokens=8)) for _ in range(count)
        ]
        for client, count in clients.items()
    }


async def test_each_is_served_or_told_the_truth(gateway):
    tasks = callers(gateway, wait=150)
    everyone = [task for of_client in tasks.values() for task in of_client]
    await settled(gateway)
    served = [sum(task.done() and task.exception() is None for task in everyone)]
    for _ in range(3):
        gateway.clock.advance(60)
        await settled(gateway)
        served.append(sum(task.done() and task.exception() is None for task in everyone))

    assert served == [100, 200, 300, 300]
    assert all(task.exception() is None for client, of in tasks.items() if client != "greedy" for task in of)
    told = [task.exception() for task in everyone if task.exception() is not None]
    assert len(told) == len(everyone) - 300
    assert all(isinstance(error, NoCapacity) for error in told)
    # They were told as soon as it was known, and to come back when all who came before them are served: after three minutes.
    assert all(120 <= (error.retry_after or 0.0) <= 190 for error in told if isinstance(error, NoCapacity))
    assert not [call for call in gateway.engine.view.catalog.deployments()[0].buckets if call.limit != A_MINUTE]


async def test_nothing_was_refused_by_the_provider_and_no_round_trip_was_for_nothing(gateway):
    groq = gateway.discovery._providers["groq"]._wire._world.providers["groq"]
    callers(gateway, wait=50)
    await settled(gateway)

    assert groq.refused == 0
    assert groq.served == A_MINUTE


async def test_waiting_costs_little(gateway):
    await settled(gateway)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tasks = [task for of_client in callers(gateway, wait=600).values() for task in of_client]
        await settled(gateway)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    waiting = gateway.engine.queue.waiting

    assert waiting == len(tasks) - A_MINUTE
    assert (after - before) / waiting < ROOM, f"{(after - before) / waiting:.0f} bytes"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert gateway.engine.queue.waiting == 0
