"""Wherever an answer says that it cost something, that is seen once, and nothing more leaves for that account."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.costs import told_in
from tests.laws.sources import Said, Scene, Source, completion, error, events

ORDER = {"provider": {"order": ["a", "b"]}}


def chunk(**more: Any) -> dict[str, Any]:
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], **more}


def piece(content: str, reason: str | None = None, **more: Any) -> dict[str, Any]:
    return chunk(choices=[{"index": 0, "delta": {"content": content}, "finish_reason": reason}], **more)


def whole(**usage: Any) -> dict[str, Any]:
    found = completion({"messages": [{"content": "hi"}], "model": "m"})
    found["usage"] |= usage
    return found


EMPTY = {
    **whole(cost=0.01),
    "choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}],
}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2}
ENDS = piece("", "stop")

TOLD: dict[str, tuple[bool, Said]] = {
    "as a number": (False, Said(200, whole(cost=0.01))),
    "as text": (False, Said(200, whole(cost="0.01"))),
    "as text with its sign": (False, Said(200, whole(cost="$0.01"))),
    "what a key of one's own was charged": (
        False, Said(200, whole(cost=0, is_byok=True, cost_details={"upstream_inference_cost": 0.01})),
    ),
    "in a header": (False, Said(200, whole(), {"x-response-cost": "0.01"})),
    "in an empty answer": (False, Said(200, EMPTY)),
    "in a 5xx": (False, Said(502, error("gone", metadata={"cost": 0.01}))),
    "in a 4xx": (False, Said(400, {**error("no"), "usage": {**USAGE, "cost": 0.01}})),
    "in the first of a stream's chunks": (
        True, Said(200, events([piece("hi", usage={**USAGE, "cost": 0.01}), ENDS, chunk(usage=USAGE)])),
    ),
    "in its last": (True, Said(200, events([piece("hi"), ENDS, chunk(usage={**USAGE, "cost": "0.01"})]))),
    "in one that breaks": (
        True, Said(200, events([piece("hi", usage={**USAGE, "cost": 0.01}), {"error": {"message": "gone", "code": 502}}])),
    ),
    "in one that ends too early": (
        True, Said(200, b"data: " + json.dumps(piece("hi", usage={**USAGE, "cost": 0.01})).encode() + b"\n\n"),
    ),
    "in one that is cut before it says anything": (
        True, Said(200, b"data: " + json.dumps(chunk(usage={**USAGE, "cost": 0.01})).encode() + b"\n\n"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", TOLD)
async def test_a_cost_is_seen_wherever_it_is_told(tmp_path, how):
    stream, said = TOLD[how]
    a = Source(name="a", script=[said])
    scene = await Scene(tmp_path, a, Source(name="b")).open()

    await scene.one(stream=stream, **ORDER)
    again = await scene.one(**ORDER)

    assert again.heard.headers["x-freeway-provider"] == "b"
    assert len(a.calls) == 1
    assert ("charged", "a") in {(change.kind, change.name) for change in scene.gateway.changed}


@pytest.mark.parametrize(
    "said",
    [
        whole(cost=0), whole(cost="0"), whole(cost=None), whole(cost="free"), whole(cost=True), whole(estimated_cost=0.01),
        {**whole(), "choices": [{"index": 0, "message": {"role": "assistant", "content": '"cost": 3'}, "finish_reason": "stop"}]},
    ],
    ids=range(7),
)  # fmt: skip
async def test_what_is_no_cost_is_none(tmp_path, said):
    a = Source(name="a", script=[Said(200, said)])
    scene = await Scene(tmp_path, a, Source(name="b")).open()

    told = [await scene.one(**ORDER) for _ in range(2)]

    assert [one.heard.headers["x-freeway-provider"] for one in told] == ["a", "a"]


def test_a_body_that_cannot_be_read_tells_of_no_cost():
    assert told_in(b'{"cost": ' + b"[" * 20_000) == 0
    assert told_in(b"cost \xff") == 0
