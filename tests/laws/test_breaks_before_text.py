"""What breaks before it says anything moves on, unseen by those who see no thoughts: thoughts alone are no answer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.laws.sources import Said, Scene, Source, events

HIDING: list[dict[str, Any]] = [
    {"include_reasoning": False},
    {"reasoning": {"exclude": True}},
    {"reasoning_format": "hidden"},
]
ORDER = {"provider": {"order": ["thinks", "other"]}}


def chunk(**delta: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def piece(**delta: str) -> bytes:
    """One event of a stream that goes on."""
    return events([chunk(**delta)]).removesuffix(b"data: [DONE]\n\n")


def ending(**delta: str) -> bytes:
    last = chunk(**delta)
    last["choices"][0]["finish_reason"] = "stop"
    return events([last])


THOUGHT = piece(reasoning_content="Let me see. ")


def thinking(said: Said) -> Source:
    return Source(name="thinks", script=[said])


async def heard_of(folder, store, said: Said, **more: Any):
    scene = await Scene(folder, thinking(said), Source(name="other"), store=store).open()
    told = await scene.one(stream=True, **ORDER, **more)
    await scene.close()
    return told


@pytest.mark.parametrize("hides", HIDING, ids=str)
async def test_a_stream_that_breaks_in_thought_is_served_elsewhere_unseen(tmp_path, store, hides):
    told = await heard_of(tmp_path, store, Said(200, THOUGHT * 3), trace=True, **hides)

    assert (told.status, told.heard.headers["x-freeway-provider"]) == (200, "other")
    assert b"Let me see" not in told.heard.body
    assert b'"yes"' in told.heard.body
    assert told.trace["failed"][0]["kind"] == "Interrupted"


async def test_a_stream_of_nothing_but_thoughts_is_none_to_one_who_does_not_see_them(tmp_path, store):
    told = await heard_of(tmp_path, store, Said(200, THOUGHT + ending()), **HIDING[0])

    assert (told.status, told.heard.headers["x-freeway-provider"]) == (200, "other")


BROKE, NOTHING_ELSE = Said(200, THOUGHT * 3), Said(200, THOUGHT, later=((1.0, ending()),))
SOME_TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
"""An answer that calls a tool cannot be continued; one that was not begun can be had elsewhere."""


@pytest.mark.parametrize("more", [{}, {"tools": [SOME_TOOL]}], ids=["text", "tools"])
@pytest.mark.parametrize("said", [BROKE, NOTHING_ELSE], ids=["broke", "nothing else"])
async def test_one_who_sees_thoughts_that_lead_to_nothing_sees_the_answer_of_another(tmp_path, store, said, more):
    told = await heard_of(tmp_path, store, said, **more)
    body = told.heard.body

    assert told.heard.headers["x-freeway-provider"] == "thinks"  # the head was sent
    assert body.index(b"Let me see") < body.index(b'"yes"')
    assert b'"error"' not in body
    assert body.count(b'"finish_reason":"stop"') == 1


async def test_where_no_other_can_thoughts_that_broke_end_in_one_error(tmp_path, store):
    scene = await Scene(tmp_path, thinking(NOTHING_ELSE), store=store).open()

    told = await scene.one(stream=True)

    assert b"Let me see" in told.heard.body
    assert told.heard.body.count(b'"error"') == 1
    assert b'"finish_reason":"stop"' not in told.heard.body
    await scene.close()


async def test_text_that_breaks_is_seen_whoever_sees_thoughts(tmp_path, store):
    told = await heard_of(tmp_path, store, Said(200, THOUGHT + piece(content="It is")), **HIDING[0])

    assert told.heard.headers["x-freeway-provider"] == "thinks"
    assert b"It is" in told.heard.body
    assert b'"error"' in told.heard.body


async def test_what_broke_in_thought_is_debited_and_left_alone_for_a_while(tmp_path, store):
    quota = '[{ limit = "2/day" }]'
    thinks = Source(name="thinks", script=[Said(200, THOUGHT)], quota=quota)
    scene = await Scene(tmp_path, thinks, Source(name="other"), store=store).open()
    await scene.one(stream=True, **ORDER, **HIDING[0])

    assert (await scene.one("next", **ORDER)).heard.headers["x-freeway-provider"] == "other"
    await scene.passes(11.0)
    later = [(await scene.one(f"later {n}", **ORDER)).heard.headers["x-freeway-provider"] for n in range(2)]

    assert later == ["thinks", "other"]
    await scene.close()


@pytest.mark.parametrize("hides", [{}, HIDING[0]], ids=["seen", "unseen"])
async def test_long_thoughts_are_no_silence(tmp_path, hides):
    """A second source is asked when the first says nothing, and thoughts say that it is at work."""
    later = (*((2.0, THOUGHT) for _ in range(30)), (2.0, piece(content="Forty-two.")), (0.0, ending()))
    thinks = Source(name="thinks", script=[Said(200, THOUGHT, later=later)])
    other = Source(name="other")
    scene = await Scene(tmp_path, thinks, other, requests='hedge = "always"').open()

    told = await scene.one(stream=True, **ORDER, **hides)

    assert b"Forty-two." in told.heard.body
    assert told.after == pytest.approx(62.0, abs=0.5)
    assert other.calls == []
