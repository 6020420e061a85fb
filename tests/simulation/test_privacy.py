"""Ten thousand requests of all kinds: none that forbids training reaches a source that trains, or may."""

from __future__ import annotations

import random

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
    asked += sorted({d.model for d in catalog.deployments()}) + sorted(d.name for d in catalog.deployments())
    safe = {name for name in names if catalog.served_by(name)[0].policy.trains == "no"}
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
        assert not no_train or found.deployment.policy.trains == "no"

    sent = {name for name, provider in world.providers.items() for call in provider.calls if MARK.encode() in call.body}
    assert sent <= safe
    assert {"groq", "ollama"} <= sent
    assert private > 4000
    assert served > 2000
