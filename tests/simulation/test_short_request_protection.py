"""The last of a day's tokens: for the many short requests that are to come, where a long one can be served elsewhere."""

from __future__ import annotations

import pytest

from providers.simulator.brain import Saying
from providers.simulator.world import World
from tests.simulation.inside import Inside

SHORT, LONG = "Tell me something. " * 5, "Once upon a time there was a long prompt. " * 400
MODELS = ("cerebras/gpt-oss-120b", "cerebras/qwen-3.8-27b")


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


async def test_a_long_request_is_served_where_nothing_else_could_serve_it(gateway):
    """No request is refused capacity that is there because others might want it."""
    answered = await gateway.answer("auto", LONG, max_tokens=100)

    assert answered.deployment.name in MODELS


async def test_a_long_request_pays_what_short_ones_would_miss(gateway, clock):
    engine = gateway.engine
    prices = engine.view.prices(clock())
    tokens = [prices[bucket.key] for bucket in engine.view.catalog.buckets() if bucket.unit == "tokens"]

    assert all(price.displaced(5000) > 1 > price.displaced(100) == 0 for price in tokens)
    clock.advance(9 * 3600)  # an hour and a half before midnight, and hardly a request came since noon
    await gateway.look("cerebras")
    prices = engine.view.prices(clock())
    assert all(
        prices[bucket.key].displaced(5000) == 0 for bucket in engine.view.catalog.buckets() if bucket.unit == "tokens"
    )
