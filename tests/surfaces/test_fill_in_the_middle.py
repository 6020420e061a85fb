"""What stands between two texts: by a model that fills gaps, wherever one is free, and else a clear error."""

from __future__ import annotations

import json
from typing import Any

import httpx
import msgspec
import pytest

from gateway.api.auth import ANYBODY
from gateway.api.openai_completions import Completions
from gateway.api.options import options_of
from gateway.settings import Requests
from providers import dialects
from providers.chat import encode
from providers.dialect import FILLS, Request, Target
from providers.simulator.base import SimulatedModel
from tests.payloads import SPECS, account

ASK: dict[str, Any] = {"model": "auto", "prompt": "def add(a, b):", "suffix": "return total", "max_tokens": 50}
SAID = "You said: def add(a, b): ... return total"


def coder(world: Any) -> None:
    world.providers["ollama"].models.append(SimulatedModel(id="coder:7b", fills=True))


@pytest.fixture
async def demo(start):
    return await start(("ollama",), arrange=coder)


async def post(demo: Any, path: str, body: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as client:
        return await client.post(path, json=body)


def heard(demo: Any) -> tuple[str, dict[str, Any]]:
    call = demo.world.providers["ollama"].calls[-1]
    return call.path, json.loads(call.body)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_completion_with_a_suffix_is_what_stands_between(demo, stream):
    response = await post(demo, "/v1/completions", ASK | {"stream": stream})
    path, body = heard(demo)
    if stream:
        events = [json.loads(line[6:]) for line in response.text.split("\n\n") if line.startswith("data: {")]
        text = "".join(choice["text"] for event in events for choice in event["choices"])
    else:
        text = response.json()["choices"][0]["text"]

    assert (response.headers["x-freeway-model"], text) == ("coder-7b", SAID)
    assert path.endswith("/api/generate")
    assert (body["prompt"], body["suffix"]) == (ASK["prompt"], ASK["suffix"])
    assert "messages" not in body


@pytest.mark.parametrize("stream", [False, True])
async def test_ollamas_own_way_to_ask_for_it_is_served(demo, stream):
    response = await post(demo, "/api/generate", {**ASK, "stream": stream})
    lines = [json.loads(line) for line in response.text.splitlines()]
    shown = (await post(demo, "/api/show", {"model": "coder:7b"})).json()

    assert "".join(line["response"] for line in lines) == SAID
    assert lines[-1]["done"]
    assert "insert" in shown["capabilities"]


@pytest.mark.parametrize("path", ["/v1/completions", "/api/generate"])
async def test_where_no_free_model_fills_gaps_that_is_said(start, path):
    demo = await start(("groq",))
    response = await post(demo, path, ASK)

    assert response.status_code == 400
    assert FILLS in response.text
    assert not [call for call in demo.world.providers["groq"].calls if call.method == "POST"]


async def test_an_empty_suffix_is_none(start):
    response = await post(await start(("groq",)), "/v1/completions", ASK | {"suffix": ""})

    assert response.status_code == 200


def test_mistral_is_asked_at_the_address_for_it():
    """Mistral API reference, 2026-08: prompt and suffix, answered as a chat is."""
    call = Completions().parse(encode(ASK), options_of([], Requests(), ANYBODY, "me", "r", 0.0))
    assert isinstance(call.request, Request)
    request = dialects.by_name(SPECS["mistral"].dialect).build(
        Target(account("mistral"), "codestral-latest"), call.request
    )
    body = msgspec.json.decode(request.body or b"")

    assert FILLS in call.wants.capabilities
    assert request.url == "https://api.mistral.ai/v1/fim/completions"
    assert body == {
        "model": "codestral-latest", "prompt": ASK["prompt"], "suffix": ASK["suffix"], "max_tokens": 50,
    }  # fmt: skip
