"""A conversation stays where its beginning is in a cache."""

from __future__ import annotations

from contextlib import suppress

import pytest

from gateway.request.explain import explain
from gateway.words import GatewayError
from providers.simulator.world import World
from tests.simulation.inside import Inside

SHORT, LONG = "Say something. ", "Once upon a time there was a conversation. " * 100


@pytest.fixture
async def gateway(tmp_path, clock) -> Inside:
    made = Inside(World(clock, names=["groq", "google", "mistral"]), clock, tmp_path)
    await made.look("groq", "google", "mistral")
    for one in (await explain(made.asked("auto", LONG, max_tokens=10), made.engine)).ranked:
        with suppress(GatewayError):  # some are listed and gone
            await made.answer(one.deployment, SHORT, max_tokens=10)  # so that all are known to be quick
    return made


async def chosen(gateway: Inside, text: str = LONG, session: str = "mine") -> str:
    told = await explain(gateway.asked("auto", text, max_tokens=10, session=session), gateway.engine)
    assert told.chosen is not None
    return told.chosen


async def turn(gateway: Inside, model: str, text: str = LONG, session: str = "mine") -> None:
    await gateway.answer(model, text, max_tokens=10, session=session)


async def second(gateway: Inside) -> str:
    """One of Groq's models, which keep what they read, that is not the first choice but hardly worse."""
    told = await explain(gateway.asked("auto", LONG, max_tokens=10), gateway.engine)
    best = told.ranked[0]
    return next(
        one.deployment
        for one in told.ranked[1:]
        if one.provider == "groq" and best.score - one.score < 0.15 and one.deployment != best.deployment
    )


async def test_the_next_turn_goes_where_the_last_one_was_read(gateway):
    other = await second(gateway)
    await turn(gateway, other)

    assert await chosen(gateway) == other
    assert await chosen(gateway, session="another") != other


async def test_a_short_prompt_is_read_anew_wherever_that_is_best(gateway):
    other = await second(gateway)
    await turn(gateway, other, SHORT)

    assert await chosen(gateway, SHORT) != other


async def test_what_has_left_the_cache_holds_no_conversation(gateway, clock):
    other = await second(gateway)
    await turn(gateway, other)
    clock.advance(601)

    assert await chosen(gateway) != other


async def test_where_nothing_is_cached_no_conversation_stays(gateway):
    told = await explain(gateway.asked("auto", LONG, max_tokens=10), gateway.engine)
    other = next(one.deployment for one in told.ranked[1:] if one.provider != "groq")
    await turn(gateway, other)

    assert await chosen(gateway) != other


async def test_explaining_tells_who_is_warm(gateway):
    other = await second(gateway)
    await turn(gateway, other)
    told = await explain(gateway.asked("auto", LONG, max_tokens=10, session="mine"), gateway.engine)

    assert [one.deployment for one in told.ranked if one.warm] == [other]
