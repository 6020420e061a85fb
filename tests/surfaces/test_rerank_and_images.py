"""Rankings as Open WebUI and Cohere's package ask for them, and pictures through OpenAI's own package."""

from __future__ import annotations

from base64 import b64decode

import httpx
import pytest
from openai import APIStatusError, AsyncOpenAI

from providers.simulator.media import PICTURE

DOCUMENTS = ["Paris is the capital of France", "Cats purr", "The capital of Norway is Oslo"]


@pytest.mark.parametrize("name", ["cohere", "cloudflare", "nvidia"])
@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
async def test_documents_are_ranked_by_how_well_they_answer(start, name, path):
    demo = await start((name,))
    asked = {"model": "auto", "query": "What is the capital of Norway", "documents": DOCUMENTS, "top_n": 2}
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        found = await client.post(path, json=asked)

    results = found.json()["results"]
    assert found.status_code == 200
    assert [one["index"] for one in results] == [2, 0]
    assert results[0]["relevance_score"] > results[1]["relevance_score"]
    assert found.headers["x-freeway-provider"] == name


async def test_documents_may_be_objects_and_come_back(start):
    demo = await start(("cohere",))
    asked = {"query": "cats", "documents": [{"text": one} for one in DOCUMENTS], "return_documents": True}
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        found = await client.post("/v1/rerank", json=asked)

    assert found.json()["results"][0]["document"] == {"text": "Cats purr"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"query": "", "documents": ["a"]}, "query"),
        ({"query": "a", "documents": []}, "documents"),
        ({"query": "a", "documents": ["a"], "top_n": 0}, "top_n"),
    ],
)
async def test_what_is_no_ranking_is_refused_by_its_field(start, body, param):
    demo = await start(("cohere",))
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        found = await client.post("/v1/rerank", json=body)

    assert (found.status_code, found.json()["error"]["param"]) == (400, param)


async def test_a_picture_is_made(start):
    demo = await start(("cloudflare",))
    async with AsyncOpenAI(base_url=f"{demo.base_url}/v1", api_key="any", max_retries=0) as client:
        found = await client.images.generate(model="auto", prompt="a harbour in fog")

    assert found.data
    assert b64decode(found.data[0].b64_json or "") == PICTURE


async def test_as_many_pictures_are_made_as_were_asked_for(start):
    """One request for each: that is what is counted."""
    demo = await start(("cloudflare",))
    async with AsyncOpenAI(base_url=f"{demo.base_url}/v1", api_key="any", max_retries=0) as client:
        found = await client.images.generate(model="dall-e-3", prompt="a harbour in fog", n=3, size="1024x1024")

    assert [b64decode(one.b64_json or "") for one in found.data or []] == [PICTURE] * 3
    assert len([call for call in demo.world.providers["cloudflare"].calls if call.served]) == 3


async def test_pictures_are_counted_in_neurons(start):
    """Ten thousand a day make 172 pictures of 58: the next is told when, and Cloudflare is never asked in vain."""
    demo = await start(("cloudflare",))
    other = demo.world.providers["cloudflare"]
    async with httpx.AsyncClient(base_url=demo.base_url, headers={"x-freeway-max-wait": "0"}, timeout=60) as client:
        answers = [await client.post("/v1/images/generations", json={"prompt": "fog", "n": 10}) for _ in range(18)]

    assert [one.status_code for one in answers] == [200] * 17 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0
    assert other.refused == 0


@pytest.mark.parametrize(("field", "value"), [("n", 11), ("n", 0), ("response_format", "url"), ("size", "big")])
async def test_what_cannot_be_had_of_a_picture_is_refused_by_its_field(start, field, value):
    demo = await start(("cloudflare",))
    async with AsyncOpenAI(base_url=f"{demo.base_url}/v1", api_key="any", max_retries=0) as client:
        with pytest.raises(APIStatusError, match=field):
            await client.images.generate(model="auto", prompt="x", extra_body={field: value})


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/rerank", {"query": "a", "documents": ["b"]}), ("/v1/images/generations", {"prompt": "a"})],
)
async def test_where_no_source_can_it_is_said(start, path, body):
    demo = await start(("mistral",))
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        found = await client.post(path, json=body)

    assert found.status_code == 400
    assert "Cloudflare" in found.json()["error"]["message"]
