"""Which model ``auto`` means where a client asks for vectors, by hand; and a gateway without clients that is open again."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.surfaces.test_admin_clients import admin, caller, made

HOSTS = ("nvidia", "mistral")
KEY = "admin-key-of-twenty-characters"


async def model_of(demo: Any, key: str, text: str) -> str:
    """The model that makes a vector of *text* for the client whose *key* that is, which names none."""
    async with caller(demo, key) as client:
        answer = await client.post("/v1/embeddings", json={"model": "auto", "input": text})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["model"])


async def test_what_a_client_means_by_auto_stays_until_it_is_changed_by_hand(start):
    demo = await start(HOSTS, FREEWAY_ADMIN_KEY=KEY)
    key = await made(demo)
    first = [await model_of(demo, key, text) for text in ("a", "b")]
    async with admin(demo) as desk:
        changed = await desk.put("/clients/alice/embeddings", json={"model": "mistral-embed"})
        (shown,) = (await desk.get("/clients")).json()
        later = await model_of(demo, key, "c")
        freed = await desk.put("/clients/alice/embeddings", json={"model": "auto"})

    assert first == ["bge-m3", "bge-m3"]
    assert changed.json() == {"name": "alice", "model": "mistral-embed", "was": "bge-m3"}
    assert shown["embeddings"] == later == "mistral-embed"
    assert freed.json() == {"name": "alice", "model": None, "was": "mistral-embed"}


@pytest.mark.parametrize(
    ("name", "model", "status", "said"),
    [
        ("bob", "bge-m3", 404, "no client 'bob'"),
        ("anybody", "gpt-oss-20b", 400, "expected bge-m3 or"),
        ("anybody", "no-such-model", 400, "mistral-embed"),
        ("anybody", "bge-m3", 200, "bge-m3"),
    ],
)
async def test_only_a_model_that_makes_vectors_is_taken(start, name, model, status, said):
    demo = await start(HOSTS, FREEWAY_ADMIN_KEY=KEY)
    async with admin(demo) as desk:
        answer = await desk.put(f"/clients/{name}/embeddings", json={"model": model})

    assert (answer.status_code, said in answer.text) == (status, True), answer.text


async def test_auto_is_a_model_that_the_client_may_use(start):
    demo = await start(HOSTS, FREEWAY_ADMIN_KEY=KEY)
    key = await made(demo, providers=["mistral"])

    assert await model_of(demo, key, "a") == "mistral-embed"


async def test_a_gateway_of_this_machine_is_open_again_once_revoked_clients_are_forgotten(start):
    demo = await start(("mistral",), FREEWAY_ADMIN_KEY=KEY)
    await made(demo, "alice")
    await made(demo, "bob")
    async with admin(demo) as desk, httpx.AsyncClient(base_url=demo.base_url) as anybody:
        await desk.delete("/clients/alice")
        one_is_left = (await desk.post("/revoked-clients/forget")).json()
        await desk.delete("/clients/bob")
        shut = (await anybody.get("/v1/models")).status_code
        none_is_left = (await desk.post("/revoked-clients/forget")).json()
        opened = (await anybody.get("/v1/models")).status_code

    assert one_is_left == {"names": ["alice"], "open": False}
    assert none_is_left == {"names": ["bob"], "open": True}
    assert (shut, opened) == (401, 200)
