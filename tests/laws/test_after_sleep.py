"""A machine that slept for hours answers within seconds: a request that meets an expired proof has the list read anew."""

from __future__ import annotations

import asyncio

from providers.simulator.world import World
from tests.clock import FakeClock, eventually
from tests.simulation.inside import Inside


async def test_a_request_that_meets_an_expired_proof_has_the_list_read_and_is_answered(tmp_path):
    clock = FakeClock()
    gateway = Inside(World(clock, names=["groq"]), clock, tmp_path)
    gateway.discovery.serve(gateway.parts.background, None)  # type: ignore[arg-type] # no database is read
    await eventually(lambda: gateway.engine.view.catalog.serving(clock()))
    lists = gateway.discovery.looked
    clock._now += 3 * 3600  # as a laptop's lid does it: no timer has rung meanwhile
    assert not gateway.engine.view.catalog.serving(clock())

    answered = await asyncio.wait_for(gateway.answer("auto", wait=5.0, max_tokens=10), 5.0)

    assert answered.deployment.provider.name == "groq"
    assert lists == {"groq": None}
    await gateway.parts.background.stop()
