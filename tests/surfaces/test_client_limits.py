"""A client's own limits, as callers of every API meet them; and a client's other rules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.api.auth import ANYBODY
from gateway.api.client_limits import OverLimit
from gateway.quota.clients import Over
from gateway.settings.clients import limit_of
from tests import containers

HELLO = [{"role": "user", "content": "hi"}]
CHAT = {"model": "groq/openai/gpt-oss-120b", "messages": HELLO, "max_tokens": 20}
KEY = "fw-of-alice"

SURFACES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", CHAT),
    "stream": ("/v1/chat/completions", CHAT | {"stream": True}),
    "completions": ("/v1/completions", {"model": CHAT["model"], "prompt": "hi", "max_tokens": 20}),
    "responses": ("/v1/responses", {"model": CHAT["model"], "input": "hi", "max_output_tokens": 20}),
    "messages": ("/v1/messages", {"model": CHAT["model"], "messages": HELLO, "max_tokens": 20}),
    "ollama": ("/api/chat", {"model": CHAT["model"], "messages": HELLO, "stream": False}),
    "gemini": (f"/v1beta/models/{CHAT['model']}:generateContent", {"contents": [{"parts": [{"text": "hi"}]}]}),
}


def declared(folder: Path, **fields: str) -> str:
    """A configuration with one client; the values are TOML."""
    file = folder / "own.toml"
    rows = "\n".join(f"{name} = {value}" for name, value in fields.items())
    file.write_text(f'[[client]]\nname = "alice"\nkey_sha256 = "{sha256(KEY.encode()).hexdigest()}"\n{rows}\n')
    return str(file)


@asynccontextmanager
async def calling(demo, key: str = KEY, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    said = {"authorization": f"Bearer {key}", "x-freeway-max-wait": "0", **headers}
    async with httpx.AsyncClient(base_url=demo.base_url, headers=said, timeout=30) as caller:
        yield caller


def message_of(body: dict[str, Any]) -> str:
    error = body["error"]
    return error if isinstance(error, str) else error["message"]


@pytest.mark.parametrize("name", SURFACES)
async def test_over_its_limit_a_client_is_told_so_in_the_shape_of_each_api(start, tmp_path, name):
    path, body = SURFACES[name]
    demo = await start(("groq",), FREEWAY_CONFIG=declared(tmp_path, limits='["2/day"]'))
    async with calling(demo) as caller:
        served = [await caller.post(path, json=body) for _ in range(2)]
        over = await caller.post(path, json=body)
    for answer in served:
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-ratelimit-limit-requests"] == "2"
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in served] == ["1", "0"]
    assert over.status_code == 429
    assert over.headers["x-ratelimit-remaining-requests"] == "0"
    assert 0 < int(over.headers["retry-after"]) <= 86_400
    message = message_of(over.json())
    assert "client 'alice' has used up its own limit of 2/day at this gateway" in message
    assert "No source's quota is in the way" in message
    assert not over.headers.get("x-freeway-provider")


async def test_its_code_is_another_one_than_that_of_sources_at_their_limits(start, tmp_path):
    demo = await start(("groq",), FREEWAY_CONFIG=declared(tmp_path, limits='["31/minute"]'))
    async with calling(demo) as caller:
        answers = await asyncio.gather(*(caller.post("/v1/chat/completions", json=CHAT) for _ in range(40)))
    told = [answer.json()["error"]["code"] for answer in answers if answer.status_code == 429]

    assert sum(answer.status_code == 200 for answer in answers) == 30  # what the source gives a minute
    assert "no_capacity" in told  # which was given back
    assert set(told) <= {"no_capacity", "rate_limit_exceeded"}


async def test_of_200_calls_at_once_the_limit_lets_as_many_in_as_it_says(start, tmp_path):
    demo = await start(("groq",), FREEWAY_CONFIG=declared(tmp_path, limits='["20/hour"]'))
    async with calling(demo) as caller:
        answers = await asyncio.gather(*(caller.post("/v1/chat/completions", json=CHAT) for _ in range(200)))

    found = [answer.status_code for answer in answers]

    assert 20 - found.count(503) <= found.count(200) <= 20  # on a starved machine the source may be late
    assert found.count(200) + found.count(503) + found.count(429) == 200


async def test_tokens_are_settled_with_what_the_provider_counted(start, tmp_path):
    demo = await start(("groq",), FREEWAY_CONFIG=declared(tmp_path, limits='["5000 tokens/day"]'))
    async with calling(demo) as caller:
        first = (await caller.post("/v1/chat/completions", json=CHAT)).json()["usage"]["total_tokens"]
        other = await caller.post("/v1/chat/completions", json=CHAT)
        estimate = 5000 - first - int(other.headers["x-ratelimit-remaining-tokens"])

    assert other.headers["x-ratelimit-limit-tokens"] == "5000"
    assert 20 <= estimate <= 60  # a prompt of a word, and the 20 tokens that the answer may have


async def test_a_request_that_nothing_could_serve_is_not_counted(start, tmp_path):
    demo = await start(("groq",), FREEWAY_CONFIG=declared(tmp_path, limits='["1/day"]'))
    async with calling(demo) as caller:
        nothing = await caller.post("/v1/chat/completions", json=CHAT | {"model": "no/such-model"})
        bad = await caller.post("/v1/chat/completions", json={"model": "auto"})
        served = await caller.post("/v1/chat/completions", json=CHAT)

    assert (nothing.status_code, bad.status_code, served.status_code) == (404, 400, 200)


async def test_a_request_that_outgrows_a_limit_is_not_told_to_come_back(start, tmp_path):
    demo = await start(("groq",), FREEWAY_CONFIG=declared(tmp_path, limits='["100 tokens/day"]'))
    async with calling(demo) as caller:
        told = await caller.post(
            "/v1/chat/completions", json=CHAT | {"messages": [{"role": "user", "content": "x" * 3000}]}
        )

    assert told.status_code == 400
    assert "retry-after" not in told.headers
    assert "client 'alice' has a limit of 100 tokens/day at this gateway, which never holds it" in told.text


def test_a_store_that_is_away_is_not_told_as_a_limit_that_is_used_up():
    error = OverLimit(ANYBODY, Over(limit_of("20/day"), 5.0, {}, uncounted=True))

    assert "the store that counts for all gateways is away" in error.message
    assert error.retry_after == 5


async def test_a_client_without_limits_hears_nothing_of_them_and_costs_the_ledger_nothing_more(start, tmp_path):
    demo = await start(("groq",), FREEWAY_CONFIG=declared(tmp_path))
    async with calling(demo) as caller:
        served = await caller.post("/v1/chat/completions", json=CHAT)

    assert served.status_code == 200
    assert not [name for name in served.headers if name.startswith("x-ratelimit")]


@pytest.mark.engine
@pytest.mark.usefixtures("patient")
async def test_gateways_on_one_redis_hold_a_limit_together(start, tmp_path):
    config = declared(tmp_path, limits='["25/hour"]')
    with containers.redis() as server:
        both = [await start(("groq",), FREEWAY_REDIS_URL=server.url, FREEWAY_CONFIG=config) for _ in range(2)]

        async def calls(demo) -> list[int]:
            async with calling(demo) as caller:
                answers = await asyncio.gather(*(caller.post("/v1/chat/completions", json=CHAT) for _ in range(100)))
                return [answer.status_code for answer in answers]

        found = [status for statuses in await asyncio.gather(*map(calls, both)) for status in statuses]
        assert 25 - found.count(503) <= found.count(200) <= 25
        assert found.count(200) + found.count(503) + found.count(429) == 200
