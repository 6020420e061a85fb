"""Wherever an answer says that it cost something, that is seen once, and nothing more leaves for that account."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.events import Announcer, Counted, Event, Left
from providers.costs import Told, told_in
from providers.dialect import HttpRequest
from providers.failures import Unreachable
from providers.spec import Timeouts
from tests.clock import FakeClock
from tests.laws.sources import Incoming, Said, Scene, Source, _World, completion, error, events
from tests.simulation.inside import Inside

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
    heard: list[Event] = []
    assert isinstance(scene.gateway.engine.tell, Announcer)
    scene.gateway.engine.tell.add(heard.append)

    await scene.one(stream=stream, **ORDER)
    again = await scene.one(**ORDER)

    assert again.heard.headers["x-freeway-provider"] == "b"
    assert len(a.calls) == 1
    assert ("charged", "a") in {(change.kind, change.name) for change in scene.gateway.changed}
    assert [left.told for left in heard if isinstance(left, Left) and left.deployment.startswith("a/")] == [0.01]
    assert sum(counted.spent for counted in heard if isinstance(counted, Counted)) == 0.01


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
    assert told_in(b'{"cost": ' + b"[" * 20_000) == Told()
    assert told_in(b"cost \xff") == Told()


# ── what the account itself says ──


class Answers:
    """A wire that answers GETs from *found*, by the end of the address."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.found, self.asked = found, list[str]()

    async def send(self, request: HttpRequest, timeouts: Timeouts) -> Incoming:
        self.asked.append(request.url)
        body = next((body for end, body in self.found.items() if request.url.endswith(end)), None)
        if body is None:
            raise Unreachable("nobody is there")
        return Incoming(Said(200, body), FakeClock())

    async def aclose(self) -> None: ...


def inside(tmp_path, found: dict[str, Any], **environ: str) -> tuple[Inside, Answers]:
    world: Any = _World([Source(name="openrouter"), Source(name="huggingface")])
    more: dict[str, Any] = dict(environ)
    wire = Answers(found)
    return Inside(world, FakeClock(), tmp_path, wire=wire, **more), wire


PRICED = {"id": "x/y:free", "context_length": 8000, "pricing": {"prompt": "0", "completion": "0"},
          "architecture": {"output_modalities": ["text"]}}  # fmt: skip


async def test_a_key_that_has_spent_more_than_when_it_was_last_looked_at_is_out(tmp_path):
    """Also where no answer told of it: a caller who leaves early leaves before the usage comes."""
    key = {"data": {"usage": 0.5, "byok_usage": 0}}
    gateway, _ = inside(tmp_path, {"/models": {"data": [PRICED]}, "/key": key}, OPENROUTER_API_KEY="sk-or-1")

    for _ in range(2):
        await gateway.look("openrouter")
        assert gateway.engine.view.catalog.learned.out(gateway.clock()) == {}
    key["data"]["byok_usage"] = 0.01
    await gateway.look("openrouter")

    (out,) = gateway.engine.view.catalog.learned.out(gateway.clock()).values()
    assert "has spent 0.01 dollars" in out.because
    assert ("charged", "openrouter") in {(change.kind, change.name) for change in gateway.changed}
