"""What models can really do is found out with a few requests a day, and remembered."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.catalog.checks import CHECKS, MOST_A_DAY
from gateway.request.checks import DAY, LOOK_EVERY, CapabilityChecker
from gateway.words import Wants
from providers.simulator.base import Simulated
from providers.simulator.world import World
from tests.clock import FakeClock, eventually
from tests.simulation.inside import Inside

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.fixture
async def gateway(tmp_path) -> Inside:
    clock = FakeClock()
    world = World(clock, names=["groq"])
    groq = world.providers["groq"]
    groq.models = [
        msgspec.structs.replace(model, json_schema=False)
        for model in groq.models
        if model.id in ("openai/gpt-oss-20b", "groq/compound")
    ]
    made: Any = Inside(world, clock, tmp_path)
    await made.look("groq")
    made.groq = groq
    return made


def asked(provider: Simulated) -> int:
    return sum(call.method == "POST" for call in provider.calls)


async def all_checked(gateway: Inside) -> list[str]:
    """Two days of looks, each a quarter of an hour after the one before."""
    checker, found = CapabilityChecker(gateway.engine, gateway.parts.state, MOST_A_DAY), []
    for _ in range(2):
        while (done := await checker.check("groq")) is not None:
            gateway.clock.advance(LOOK_EVERY)
            found.append(done)
        gateway.clock.advance(DAY)
        await gateway.look("groq")
    return found


async def test_what_is_claimed_is_asked_first_and_all_is_asked_once(gateway):
    found = await all_checked(gateway)

    assert len(found) == len(set(found)) == 2 * len(CHECKS)
    assert found[0].startswith("tools of groq/openai/gpt-oss-20b")


async def test_what_was_found_out_decides_who_may_serve(gateway):
    wants = Wants(models=("openai/gpt-oss-20b",), capabilities=frozenset({"json_schema"}))
    await all_checked(gateway)
    before = asked(gateway.groq)

    assert gateway.engine.view.catalog.fitting(wants, gateway.clock.now()) == ()
    await gateway.answer("openai/gpt-oss-20b", tools=[TOOL])
    await gateway.answer("openai/gpt-oss-20b", stream=True)

    assert asked(gateway.groq) == before + 2
    assert ("capability lost", "groq/openai/gpt-oss-20b") in {(c.kind, c.name) for c in gateway.changed}


async def test_the_budget_of_a_day_is_kept_by_all_gateways_together(gateway):
    one, other = (CapabilityChecker(gateway.engine, gateway.parts.state, 3) for _ in range(2))
    for checker in (one, other) * 4:
        await checker.check("groq")
    assert asked(gateway.groq) == 3

    gateway.clock.advance(DAY)
    await gateway.look("groq")
    await one.check("groq")
    assert asked(gateway.groq) == 4


async def test_a_check_is_counted_like_any_request(gateway):
    checker = CapabilityChecker(gateway.engine, gateway.parts.state, 3)
    await checker.check("groq")

    levels = await gateway.ledger.levels(gateway.engine.view.catalog.buckets())
    assert any(view.used for view in levels.values())


async def test_without_a_budget_nothing_is_asked(gateway):
    checker = CapabilityChecker(gateway.engine, gateway.parts.state, 0)
    background = gateway.parts.background
    checker.serve(background, ["groq"])

    assert await checker.check("groq") is None
    assert asked(gateway.groq) == 0
    await background.stop()


async def test_nothing_is_asked_at_start_nor_soon_after(gateway):
    checker = CapabilityChecker(gateway.engine, gateway.parts.state, MOST_A_DAY)
    background = gateway.parts.background
    checker.serve(background, ["groq"])
    await eventually(lambda: gateway.clock._sleepers)
    gateway.clock.advance(LOOK_EVERY - 1)
    await eventually(lambda: True)
    assert asked(gateway.groq) == 0

    gateway.clock.advance(LOOK_EVERY)
    await eventually(lambda: asked(gateway.groq) == 1)
    await background.stop()
