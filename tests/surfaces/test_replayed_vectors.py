"""Calls for vectors and rankings as programs send them, and in the answer what they read of it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

QUERY, PARIS, OSLO = "capital of Norway", "Paris is the capital of France", "Oslo is the capital of Norway"
COHERE = {"user-agent": "cohere/7.3.1", "x-fern-sdk-name": "cohere", "authorization": "Bearer any"}
"""As Cohere's package sent it to a gateway, with the same bytes for a body (7.3.1 from PyPI, 2026-11)."""

WEBUI = {"content-type": "application/json", "authorization": "Bearer any"}
"""Open WebUI's own calls: it takes the vectors in the order in which they stand (its retrieval/utils.py, and models/external.py)."""


async def replayed(demo: Any, path: str, body: bytes, headers: dict[str, str]) -> Any:
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=30) as client:
        answer = await client.post(path, content=body, headers={"content-type": "application/json", **headers})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("name", ["cohere", "nvidia", "cloudflare"])
async def test_coheres_package_ranks_by_its_second_api(start, name):
    demo = await start((name,))
    body = f'{{"model":"auto","query":"{QUERY}","documents":["{PARIS}","{OSLO}"],"top_n":1}}'
    found = await replayed(demo, "/v2/rerank", body.encode(), COHERE)

    assert [one["index"] for one in found["results"]] == [1]
    assert isinstance(found["id"], str)
    assert found["meta"]["api_version"]["version"]


async def test_coheres_package_ranks_by_its_first_api_and_has_the_documents_back(start):
    demo = await start(("cohere",))
    body = f'{{"model":"auto","query":"{QUERY}","documents":["{PARIS}","{OSLO}"],"top_n":1,"return_documents":true}}'
    found = await replayed(demo, "/v1/rerank", body.encode(), COHERE)

    assert [(one["index"], one["document"]) for one in found["results"]] == [(1, {"text": OSLO})]


async def test_open_webui_indexes_by_vectors_in_the_order_of_its_texts(start):
    demo = await start(("nvidia",))
    texts = [f"page {number}" for number in range(120)]
    body = json.dumps({"input": texts, "model": "bge-m3"}).encode()
    found = await replayed(demo, "/v1/embeddings", body, WEBUI)
    alone = await replayed(
        demo, "/v1/embeddings", json.dumps({"input": texts[97:98], "model": "bge-m3"}).encode(), WEBUI
    )

    assert [type(one["embedding"]) for one in found["data"]] == [list] * 120
    assert found["data"][97]["embedding"] == alone["data"][0]["embedding"]


async def test_open_webui_ranks_all_documents_and_sorts_them_itself_by_index(start):
    demo = await start(("nvidia",))
    asked = {"model": "auto", "query": QUERY, "documents": [PARIS, OSLO], "top_n": 2}
    found = await replayed(demo, "/v1/rerank", json.dumps(asked).encode(), WEBUI)
    scores = [one["relevance_score"] for one in sorted(found["results"], key=lambda one: one["index"])]

    assert len(scores) == 2
    assert scores[1] > scores[0]
