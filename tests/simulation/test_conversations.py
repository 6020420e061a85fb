"""A conversation stays where its beginning is in a cache."""

from __future__ import annotations

from contextlib import suppress

import pytest

from gateway.request.explain import explain
from gateway.routing.affinity import in_turn
from gateway.words import GatewayError
from providers.chat import FunctionCall, Message, ToolCall
from providers.simulator.world import World
from tests.laws.sources import Scene, Source
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


CALL = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


async def test_while_tools_are_called_a_conversation_stays_with_the_model_that_called_them(tmp_path):
    """Also where nothing is cached and the prompt is short; the trace says so. The next question may go anywhere."""
    scene = await Scene(tmp_path, Source(name="a"), Source(name="b")).open()
    asked = [{"role": "user", "content": "look"}]
    answered = [
        *asked,
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "sun"},
    ]
    over = [*answered, {"role": "assistant", "content": "It is sunny."}, {"role": "user", "content": "thanks"}]

    for name, session in (("a", "other"), ("b", "mine")):  # both are known to be quick
        await scene.one(messages=asked, tools=[TOOL], provider={"only": [name]}, session_id=session)
    told = [await scene.one(messages=m, tools=[TOOL], session_id=s, trace=True) for m, s in (
        (answered, "mine"), (answered, "new"), (over, "mine"))]  # fmt: skip

    assert [one.heard.headers["x-freeway-provider"] for one in told] == ["b", "a", "a"]
    assert [one.trace.get("stayed", False) for one in told] == [True, False, False]


def test_a_signature_in_the_history_keeps_a_conversation_in_its_turn():
    signed = ToolCall(FunctionCall("look"), extra_content={"google": {"thought_signature": "x"}})
    question = Message("user", "and now?")

    assert in_turn([Message("assistant", tool_calls=[signed]), question])
    assert not in_turn([Message("assistant", tool_calls=[ToolCall(FunctionCall("look"))]), question])
