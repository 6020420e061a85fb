"""Ten thousand requests of all kinds: none that forbids training reaches a source that trains, or may."""

from __future__ import annotations

import json
import random

import pytest

from gateway.words import GatewayError
from providers.simulator.world import World
from tests.clock import FakeClock
from tests.simulation.inside import Inside

REQUESTS = 10_000
MARK = "nobody may learn from this"


async def test_no_training(tmp_path):
    chance, clock = random.Random(7), FakeClock()
    world = World(clock)
    gateway = Inside(world, clock, tmp_path)
    names = list(world.providers)
    await gateway.look(*names)
    catalog = gateway.engine.view.catalog
    asked = ["auto", "auto:fast", "auto:smart", "auto:vision", "auto:private", "gpt-4o-mini"]
    chatting = [d for d in catalog.deployments() if "chat" in d.operations]
    asked += sorted({d.model for d in chatting}) + sorted(d.name for d in chatting)
    trusted = {name for name in names if catalog.served_by(name)[0].policy.trains == "no"}
    enforcing = {name for name in names if catalog.served_by(name)[0].provider.spec.enforces_no_train}
    safe = trusted | enforcing
    private = served = 0
    for number in range(REQUESTS):
        if number % 200 == 0:
            await gateway.look(*names)
        clock.advance(chance.expovariate(1 / 10))
        no_train, model = chance.random() < 0.5, chance.choice(asked)
        private += no_train
        if chance.random() < 0.02:
            world.providers[chance.choice(names)].fail(chance.choice(["busy", "rate_limited", "html", "gone"]))
        text = MARK if no_train or model == "auto:private" else "Say: yes"
        try:
            found = await gateway.answer(model, text, no_train=no_train, max_tokens=8)
        except GatewayError:
            continue
        served += 1
        assert not no_train or found.deployment.provider.name in safe

    sent = {name for name, provider in world.providers.items() for call in provider.calls if MARK.encode() in call.body}
    assert sent <= safe
    assert {"groq", "ollama", "openrouter"} <= sent
    for call in world.providers["openrouter"].calls:
        if MARK.encode() in call.body:
            told = json.loads(call.body)["provider"]
            assert (told["data_collection"], told["zdr"]) == ("deny", True)
    assert private > 4000
    assert served > 2000


async def test_a_model_without_a_private_endpoint_is_out_only_for_those_who_forbid_training(tmp_path):
    clock = FakeClock()
    world = World(clock)
    gateway = Inside(world, clock, tmp_path)
    await gateway.look("openrouter")
    openrouter = world.providers["openrouter"]
    model = next(d.name for d in gateway.engine.view.catalog.served_by("openrouter"))
    openrouter.fail("not_entitled")

    with pytest.raises(GatewayError):
        await gateway.answer(model, no_train=True)
    asked = len(openrouter.calls)
    with pytest.raises(GatewayError):
        await gateway.answer(model, no_train=True)

    assert len(openrouter.calls) == asked
    assert (await gateway.answer(model)).deployment.name == model
