"""A thought that is closed and was never opened teaches how the answers of its model begin: the next is told apart."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.laws.sources import Said, Scene, Source, completion, events

PIECES = ("They ask for", " the sum.\n", "</think>", "\n\nIt is", " four.")
PROSE = ("Write `", "<think>", "` and `", "</think>", "`, or\n", "</think>\n", "alone.")
PLAIN = ("It is", " five.")


def chunk(text: str, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def answering(*pieces: str, capabilities: str = '["reasoning"]') -> Source:
    """A source whose answers are these *pieces*."""

    def rule(body: dict[str, Any]) -> Said:
        if body.get("stream"):
            return Said(200, events([*(chunk(piece) for piece in pieces), chunk("", "stop")]))
        return Said(200, completion(body, "".join(pieces)))

    own = Source(name="thinks").settings().replace('["tools", "json_object"]', capabilities)
    return Source(name="thinks", own=own, rule=rule)


async def heard(scene: Scene, *, stream: bool = True) -> tuple[str, str]:
    """The thought and the text of one answer."""
    told = await scene.one(stream=stream)
    if not stream:
        choice = json.loads(told.heard.body)["choices"][0]["message"]
        return choice.get("reasoning_content") or "", choice["content"]
    deltas = [choice["delta"] for event in told.heard.chunks() for choice in event.get("choices", ())]
    thought = "".join(delta.get("reasoning_content") or "" for delta in deltas)
    return thought, "".join(delta.get("content") or "" for delta in deltas)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_bare_closing_tag_costs_one_answer(tmp_path, store, stream):
    scene = await Scene(tmp_path, answering(*PIECES), store=store).open()

    first = await heard(scene, stream=stream)
    again = [await heard(scene) for _ in range(2)]

    assert first == (("", "".join(PIECES)) if stream else ("They ask for the sum.", "It is four."))
    assert again == [("They ask for the sum.", "It is four.")] * 2
    assert "begins in thought" in {change.detail for change in scene.gateway.changed}
    await scene.close()


async def test_a_model_that_writes_about_the_tag_is_left_alone(tmp_path):
    scene = await Scene(tmp_path, answering(*PROSE)).open()

    told = [await heard(scene) for _ in range(2)]

    assert told == [("", "".join(PROSE))] * 2


async def test_a_model_that_cannot_reason_is_left_alone(tmp_path):
    scene = await Scene(tmp_path, answering(*PIECES, capabilities="[]")).open()

    assert [await heard(scene) for _ in range(2)] == [("", "".join(PIECES))] * 2


async def test_one_that_does_not_think_any_more_is_believed_again(tmp_path):
    scene = await Scene(tmp_path, answering(*PIECES)).open()
    await heard(scene)
    (source,) = scene.sources
    source.rule = answering(*PLAIN).rule

    told = [await heard(scene) for _ in range(2)]

    assert [text for _, text in told] == ["It is five."] * 2
    assert told[1][0] == ""
