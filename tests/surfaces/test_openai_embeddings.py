"""``/v1/embeddings`` through OpenAI's own package: the named model's vectors, and never another's."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, BadRequestError

from gateway.events import Ended
from providers.simulator.world import World


def embedding(world: World) -> str:
    """The name of a model that embeds, at the one provider there is."""
    (provider,) = world.providers.values()
    return next(model.id for model in provider.models if model.embedding and model.status == "live")


@pytest.fixture(params=["nvidia", "mistral"])
async def demo(request, start):
    return await start((request.param,))


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_texts_become_vectors(demo, encoding):
    async with AsyncOpenAI(base_url=f"{demo.base_url}/v1", api_key="any", max_retries=0) as client:
        answer = await client.embeddings.create(
            model=embedding(demo.world), input=["one", "another"], encoding_format=encoding
        )

    assert [entry.index for entry in answer.data] == [0, 1]
    assert len(answer.data[0].embedding) == len(answer.data[1].embedding) > 0
    assert answer.usage.prompt_tokens > 0


async def test_it_says_who_served_it_and_is_told_of_once(start):
    heard: list[Any] = []
    demo = await start(("nvidia",), observers=[heard.append])
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        response = await client.post("/v1/embeddings", json={"model": embedding(demo.world), "input": "hi"})
    ended = [event for event in heard if isinstance(event, Ended)]

    assert response.headers["x-freeway-provider"] == "nvidia"
    assert [(event.outcome, bool(event.usage and event.usage.prompt_tokens)) for event in ended] == [("served", True)]


async def test_a_name_of_many_models_is_refused(demo):
    async with AsyncOpenAI(base_url=f"{demo.base_url}/v1", api_key="any", max_retries=0) as client:
        with pytest.raises(BadRequestError, match="does not name one model"):
            await client.embeddings.create(model="auto:fast", input="hi")
