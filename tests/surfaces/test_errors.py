"""What a caller is told of a path, a method or a bug, by the routes that have no lifecycle of their own."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api import errors, openai_models
from gateway.app import PATHS
from gateway.events import Bug


@pytest.fixture
async def client(start):
    demo = await start(("groq",))
    async with httpx.AsyncClient(base_url=demo.base_url) as made:
        yield made


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/chat/completion", "/v1/chat/completions"),
        ("/v1/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/v1/response", "/v1/responses"),
        ("/api/v1/models", "/v1/models"),
        ("/v1/nothing/of/the/kind", None),
        ("/v1", None),
    ],
)
async def test_a_path_that_is_not_there_is_named_with_the_one_that_was_meant(client, path, meant):
    response = await client.post(path, json={})

    error = response.json()["error"]
    assert response.status_code == 404
    assert error["type"] == "invalid_request_error"
    assert error["message"] == f"there is no {path} here" + (f"; did you mean {meant}?" if meant else "")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/completions", "/v1/embeddings"])
async def test_an_address_without_v1_or_with_it_twice_is_as_good(client, path):
    for spelled in (path, path.removeprefix("/v1"), f"/v1{path}", f"{path}/"):
        response = await client.post(spelled, json={})
        assert response.status_code == 400
        assert response.json()["error"]["type"] == "invalid_request_error"


async def test_the_list_of_models_is_found_by_such_an_address_too(client):
    listed = (await client.get("/v1/models")).content

    assert (await client.get("/models")).content == (await client.get("/v1/v1/models")).content == listed
    assert (await client.get("/models/gpt-oss-20b")).json()["id"] == "gpt-oss-20b"


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("/v1/nothing", lambda body: body["error"]["message"]),
        ("/api/nothing", lambda body: body["error"]),
        ("/v1/messages/nothing", lambda body: body["type"] == "error" and body["error"]["message"]),
        ("/messages/nothing", lambda body: body["type"] == "error" and body["error"]["message"]),
        ("/v1/v1/messages/nothing", lambda body: body["type"] == "error" and body["error"]["message"]),
        ("/v1beta/models/nothing", lambda body: body["error"]["code"] == 404 and body["error"]["message"]),
        ("/v1beta/models/auto:thinkAboutIt", lambda body: body["error"]["status"] and body["error"]["message"]),
    ],
)
async def test_a_path_that_is_not_there_answers_in_the_shape_of_its_family(client, path, read):
    response = await client.post(path, json={})

    assert response.status_code == 404
    assert "there is no " in read(response.json())
    assert path.rpartition("/")[2] in read(response.json())


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/messages/count_token", "/v1/messages/count_tokens"),
        ("/api/tag", "/api/tags"),
        ("/api/chats", "/api/chat"),
        ("/v1beta/model", "/v1beta/models"),
    ],
)
async def test_every_family_names_what_was_meant(client, path, meant):
    assert f"did you mean {meant}?" in (await client.post(path, json={})).text


async def test_a_key_in_the_path_is_not_repeated_where_none_is_taken(client):
    response = await client.post("/k/fw-hidden/v1/chat/completions", json={})

    assert response.status_code == 404
    assert "path_keys" in response.json()["error"]["message"]
    assert "fw-hidden" not in response.text


async def test_a_method_that_is_not_possible_is_told_with_those_that_are(client):
    for method, path in [("DELETE", "/v1/models"), ("GET", "/v1/route/explain"), ("PUT", "/health")]:
        response = await client.request(method, path)
        assert response.status_code == 405
        assert method not in response.headers["allow"]
        assert response.headers["allow"]
        assert response.json()["error"]["message"] == f"{method} is not possible at {path}"


async def test_the_list_answers_a_head(client):
    response = await client.head("/v1/models")

    assert (response.status_code, response.content) == (200, b"")


async def test_a_bug_in_a_plain_route_is_told_and_its_traceback_is_heard_of(start, monkeypatch):
    heard: list[Any] = []
    demo = await start(("groq",), observers=[heard.append])

    async def broken(_: object, **__: object) -> None:
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr(openai_models.ModelList, "page", broken)
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        response = await client.get("/v1/models")
    (bug,) = (event for event in heard if isinstance(event, Bug))

    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    assert "ZeroDivision" not in response.text
    assert bug.where == "GET /v1/models"
    assert "in broken\n" in bug.traceback
    assert bug.traceback.endswith("ZeroDivisionError: of ours")


async def test_a_body_that_is_too_long_for_a_plain_route_is_a_413(start, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("[server]\nmax_body = 100\n")
    demo = await start(("groq",), FREEWAY_CONFIG=str(own))
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        response = await client.post("/v1/route/explain", content=b"x" * 101)

    assert (response.status_code, response.json()["error"]["type"]) == (413, "invalid_request_error")


def test_a_bug_is_told_with_what_led_to_it_and_without_the_prompt():
    prompt = "a prompt that nobody but its caller may read"
    try:
        try:
            raise KeyError(prompt)
        except KeyError as first:
            raise ValueError(f"no {prompt} found") from first
    except ValueError as exc:
        told = errors.bug(exc, "here", "r", [prompt]).traceback

    assert told.index("KeyError: ") < told.index("ValueError: no")
    assert "nobody but its caller" not in told


@given(st.text(max_size=300))
def test_any_path_can_be_named(path):
    assert errors._no_such_path("/" + path, PATHS).startswith("there is no /")
