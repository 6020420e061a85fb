"""The last of a day's tokens: for the many short requests that are to come, not for a long one."""

from __future__ import annotations

import pytest

from gateway.request.explain import explain
from gateway.words import NoCapacity
from providers.simulator.brain import Saying
from providers.simulator.world import World
from tests.simulation.inside import Inside

SHORT, LONG = "Tell me something. " * 5, "Once upon a time there was a long prompt. " * 400
MODELS = ("cerebras/gpt-oss-120b", "cerebras/qwen-3.8-27b")
DAY = 86_400.0


@pytest.fixture
async def gateway(tmp_path, clock) -> Inside:
    """Two models with 20,000 tokens a day each, of which short requests took 60 in the last hour."""
    world = World(clock, names=["cerebras"])
    world.providers["cerebras"].brain = lambda view: Saying("word " * 60)
    own = tmp_path / "own.toml"
    own.write_text(
        "[provider.cerebras]\nlimit_headers = []\n"
        'quota = [{ scope = "model", unit = "tokens", limit = "20000/day", window = "calendar" }]\n'
    )
    made = Inside(world, clock, tmp_path, FREEWAY_CONFIG=str(own))
    await made.look("cerebras")
    for _ in range(60):
        for model in MODELS:
            await made.answer(model, SHORT, max_tokens=100)
        clock.advance(60)
    return made


async def test_a_long_request_is_told_to_come_back_when_short_ones_have_had_what_is_kept_for_them(gateway, clock):
    with pytest.raises(NoCapacity) as told:
        await gateway.answer("auto", LONG, max_tokens=100)

    assert {one.kind for one in told.value.excluded} == {"kept"}
    assert "for shorter requests" in told.value.message
    assert told.value.retry_after == DAY - clock() % DAY
    await gateway.answer("auto", SHORT, max_tokens=100)
    clock.advance(told.value.retry_after)
    await gateway.look("cerebras")
    await gateway.answer("auto", LONG, max_tokens=100)


async def test_who_does_not_spare_others_or_has_no_other_source_is_served(gateway):
    await gateway.answer("auto", LONG, max_tokens=100, spares=False)
    await gateway.answer(MODELS[1], LONG, max_tokens=100)


async def test_a_long_request_is_served_while_enough_is_left_for_the_others(gateway, clock):
    clock.advance(9 * 3600)  # an hour and a half before midnight, and hardly anybody came since noon
    await gateway.look("cerebras")

    await gateway.answer("auto", LONG, max_tokens=100)


async def test_explaining_tells_what_is_kept(gateway):
    told = await explain(gateway.asked("auto", LONG, max_tokens=100), gateway.engine)

    assert (told.chosen, {one.kind for one in told.excluded}) == (None, {"kept"})
