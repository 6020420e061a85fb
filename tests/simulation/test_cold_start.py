"""A gateway that has just started for the first time, and knows no list yet."""

from __future__ import annotations

import asyncio

import pytest

from gateway.words import NoSource, UnknownModel
from providers.simulator.world import World
from tests.simulation.inside import Inside

MODEL = "groq/openai/gpt-oss-20b"


@pytest.fixture
def gateway(tmp_path, clock) -> Inside:
    made = Inside(World(clock, names=["groq"]), clock, tmp_path)
    made.engine.view.catalog.complete.clear()
    made.engine.view.catalog.await_lists(("groq",))
    return made


async def test_who_does_not_wait_is_told_to_come_back_and_not_that_there_is_no_such_model(gateway):
    with pytest.raises(NoSource, match="just started") as told:
        await gateway.answer(MODEL)

    assert told.value.retry_after == 1.0


async def test_who_waits_is_served_when_the_lists_are_there(gateway):
    asking = asyncio.create_task(gateway.answer(MODEL, wait=30))
    await asyncio.sleep(0)
    await gateway.look("groq")

    assert (await asking).deployment.name == MODEL


async def test_what_is_on_no_list_is_unknown_once_all_are_there(gateway):
    asking = asyncio.create_task(gateway.answer("groq/nothing-of-the-kind", wait=30))
    await asyncio.sleep(0)
    await gateway.look("groq")

    with pytest.raises(UnknownModel):
        await asking
