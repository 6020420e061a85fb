"""When a model that callers name is there no more: the nearest serves those who allow it, and is told."""

from __future__ import annotations

import pytest

from gateway.words import GatewayError
from providers.simulator.world import World
from tests.clock import FakeClock
from tests.simulation.inside import Inside

GONE = "qwen3.8-27b"


@pytest.fixture
async def gateway(tmp_path) -> Inside:
    clock = FakeClock()
    world = World(clock, names=["openrouter", "groq"])
    made = Inside(world, clock, tmp_path)
    await made.look("openrouter", "groq")
    for provider in world.providers.values():
        provider.models = [model for model in provider.models if "qwen" not in model.id]
    return made


async def test_who_does_not_allow_it_is_told_that_the_model_is_gone(gateway):
    await gateway.look("openrouter", "groq")

    with pytest.raises(GatewayError):
        await gateway.answer(GONE)


@pytest.mark.parametrize("name", [GONE, "Qwen/Qwen3.8-27B", "openrouter/qwen/qwen3.8-27b:free"])
async def test_one_that_a_list_no_longer_has(gateway, name):
    await gateway.look("openrouter", "groq")

    found = await gateway.answer(name, substitute=True)

    assert found.slot.wants.instead_of == name
    assert found.deployment.model != GONE


async def test_one_that_is_refused_as_gone_before_the_list_tells(gateway):
    found = await gateway.answer(GONE, substitute=True)

    assert found.slot.wants.instead_of == GONE
    assert {attempt.deployment.model for attempt in found.attempts} == {GONE}


async def test_it_can_do_what_the_request_needs(gateway):
    await gateway.look("openrouter", "groq")
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}

    found = await gateway.answer(GONE, substitute=True, tools=[tool])

    assert "tools" in found.deployment.capabilities


async def test_it_is_remembered_what_the_model_was_like(gateway, tmp_path):
    await gateway.look("openrouter", "groq")
    await gateway.parts.state.exchange()
    later = Inside(World(gateway.clock, names=["groq"]), gateway.clock, tmp_path, state=gateway.parts.state._backend)
    await later.parts.state.exchange()
    await later.look("groq")

    assert later.engine.view.catalog.gone[GONE].capabilities


async def test_a_model_that_never_was_there_has_no_substitute(gateway):
    with pytest.raises(GatewayError, match="gpt-77"):
        await gateway.answer("gpt-77", substitute=True)


async def test_one_that_only_rests_is_waited_for_rather_than_replaced(gateway):
    health = gateway.engine.view.health
    for deployment in gateway.engine.view.catalog.deployments():
        if deployment.model == GONE:
            health.failed(deployment.name, "busy", 60, gateway.clock())

    with pytest.raises(GatewayError, match="at its limit"):
        await gateway.answer(GONE, substitute=True)


async def test_one_that_is_out_for_another_reason_is_not_replaced(gateway):
    for deployment in gateway.engine.view.catalog.deployments():
        if deployment.model == GONE:
            gateway.engine.view.catalog.learned.withdraw(deployment.name, gateway.clock() + 60, "not entitled")

    with pytest.raises(GatewayError, match="not entitled"):
        await gateway.answer(GONE, substitute=True)
