"""Clients and their use by the admin API, and what a client is told of itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests import containers

ADMIN = {"authorization": "Bearer admin-key-of-twenty-characters", "content-type": "application/json"}
CHAT = {"model": "groq/openai/gpt-oss-120b", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}


def admin(demo) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"{demo.base_url}/admin/v1", headers=ADMIN, timeout=20)


def caller(demo, key: str) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {key}", "x-freeway-max-wait": "0"}
    return httpx.AsyncClient(base_url=demo.base_url, headers=headers, timeout=20)


@asynccontextmanager
async def both(demo, key: str):
    async with admin(demo) as desk, caller(demo, key) as client:
        yield desk, client


async def gateway(start, **environ: str):
    return await start(("groq",), FREEWAY_ADMIN_KEY="admin-key-of-twenty-characters", **environ)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """What another gateway does is known here soon."""
    async with asyncio.timeout(20):
        while not await holds():  # noqa: ASYNC110 - what is waited for knows nothing of us
            await asyncio.sleep(0.05)


async def made(demo, name: str = "alice", **fields: Any) -> str:
    async with admin(demo) as desk:
        answer = await desk.post("/clients", json={"name": name, **fields})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["key"])


async def test_a_client_is_made_used_shown_changed_and_revoked(start, tmp_path):
    demo = await gateway(start)
    allowed: dict[str, Any] = {
        "limits": ["2/day", "5000 tokens/day"], "wait": 600, "max_wait": 3600, "share": 0.5, "expires": 2e9,
        "no_train": False, "models": ["gpt-*"], "providers": ["groq"], "priority": "high",
    }  # fmt: skip
    key = await made(demo, **allowed)
    async with both(demo, key) as (desk, client):
        served = await client.post("/v1/chat/completions", json=CHAT)
        assert served.status_code == 200, served.text
        (shown,) = (await desk.get("/clients")).json()
        assert {name: shown[name] for name in allowed if name != "limits"} == {
            name: value for name, value in allowed.items() if name != "limits"
        }
        assert (shown["name"], shown["declared"], shown["requests"]) == ("alice", False, 1)
        assert shown["tokens"] == served.json()["usage"]["total_tokens"]
        assert shown["last_seen"] > 1e9
        first, second = shown["limits"]
        assert (first["limit"], first["used"], first["remaining"]) == ("2/day", 1, 1)
        assert (second["limit"], second["used"]) == ("5000 tokens/day", shown["tokens"])

        changed = await desk.patch("/clients/alice", json={"limits": ["1/day"], "expires": None})
        assert changed.status_code == 200, changed.text
        assert changed.json() == {**shown, "limits": [{**first, "limit": "1/day", "remaining": 0}], "expires": None}
        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 429

        other = (await desk.post("/clients/alice/rotate")).json()
        assert other["name"] == "alice"
        assert (await client.get("/v1/models")).status_code == 401
        async with caller(demo, other["key"]) as rotated:
            assert (await rotated.get("/v1/models")).status_code == 200
            assert (await desk.delete("/clients/alice")).status_code == 204
            assert (await rotated.get("/v1/models")).status_code == 401
        assert (await desk.get("/clients")).json() == []

    audit = (tmp_path / "state" / "audit.jsonl").read_text()
    done = [json.loads(line)["what"] for line in audit.splitlines()]
    assert done == [
        "made client alice",
        "changed client alice: limits, expires",
        "gave client alice another key",
        "revoked client alice",
    ]
    assert key not in audit
    assert other["key"] not in audit


@pytest.mark.parametrize(
    "case",
    [
        ("POST", "/clients", {"name": "alice"}, 400, "there is a client 'alice' already"),
        ("POST", "/clients", {"name": "default"}, 400, "'default' is no name for a client"),
        ("POST", "/clients", {"name": "bob", "limits": ["x"]}, 400, "limit 'x': expected e.g. '20/minute'"),
        ("POST", "/clients", {"name": "bob", "share": 1.5}, 400, "share: expected `float` <= 1"),
        ("POST", "/clients", {}, 400, "name"),
        ("PATCH", "/clients/alice", {"wait": 60, "max_wait": 30}, 400, "wait: 60 s are more than max_wait"),
        ("PATCH", "/clients/bob", {"wait": 60}, 404, "no client 'bob' is kept here"),
        ("PATCH", "/clients/declared", {"wait": 60}, 404, "it stands in the configuration file, and is changed there"),
        ("POST", "/clients", {"name": "declared"}, 400, "the configuration file has a client 'declared' already"),
        ("DELETE", "/clients/bob", None, 404, "no client 'bob' is kept here"),
        ("POST", "/clients/bob/rotate", None, 404, "no client 'bob' is kept here"),
        ("GET", "/usage?by=nobody", None, 400, ""),
        ("GET", "/usage?days=0", None, 400, ""),
    ],
)
async def test_what_is_wrong_is_told_and_changes_nothing(start, tmp_path, case):
    method, path, body, status, said = case
    own = tmp_path / "own.toml"
    own.write_text(f'[[client]]\nname = "declared"\nkey_sha256 = "{"0" * 64}"\n')
    demo = await gateway(start, FREEWAY_CONFIG=str(own))
    await made(demo)
    async with admin(demo) as desk:
        before = (await desk.get("/clients")).json()
        answer = await desk.request(method, path, json=body)
        assert answer.status_code == status, answer.text
        assert said in answer.json()["error"]["message"]
        assert (await desk.get("/clients")).json() == before
    assert [(one["name"], one["declared"]) for one in before] == [("alice", False), ("declared", True)]


async def test_without_the_admin_key_nobody_makes_a_client(start):
    demo = await gateway(start)
    key = await made(demo)
    async with caller(demo, key) as client:
        for method, path in (
            ("GET", "/clients"),
            ("POST", "/clients"),
            ("DELETE", "/clients/alice"),
            ("GET", "/usage"),
        ):
            assert (await client.request(method, f"/admin/v1{path}", json={"name": "x"})).status_code == 401


async def test_what_was_used_is_told_by_client_model_provider_and_day(start):
    demo = await gateway(start)
    async with both(demo, await made(demo)) as (desk, client):
        usage = (await client.post("/v1/chat/completions", json=CHAT)).json()["usage"]
        await client.post("/v1/chat/completions", json={**CHAT, "model": "no-such-model"})

        async def rows(by: str) -> dict[str, Any]:
            found = (await desk.get("/usage", params={"by": by, "days": 2})).json()
            return {
                row["name"]: (row["requests"], row["failed"], row["prompt_tokens"], row["output_tokens"])
                for row in found
            }

        of_it = (1, 0, usage["prompt_tokens"], usage["completion_tokens"])
        assert await rows("client") == {"alice": (2, 1, *of_it[2:])}
        assert await rows("provider") == {"groq": of_it, "": (1, 1, 0, 0)}
        assert list((await rows("model")).values()) == [(1, 1, 0, 0), of_it]
        assert list((await rows("day")).values()) == [(2, 1, *of_it[2:])]


async def test_a_client_is_told_its_own_use_in_openrouters_shape(start):
    demo = await gateway(start)
    key = await made(demo, limits=["20/minute", "500/day", "9000 tokens/day"], expires=2e9)
    async with caller(demo, key) as client:
        await client.post("/v1/chat/completions", json=CHAT)
        for path in ("/v1/key", "/key", "/v1/v1/key"):
            data = (await client.get(path)).json()["data"]
            assert (data["label"], data["usage"], data["limit"], data["limit_remaining"]) == ("alice", 0, None, None)
            assert data["is_free_tier"]
            assert (data["rate_limit"]["requests"], data["rate_limit"]["interval"]) == (20, "60s")
            assert data["requests"] == 1
            assert [one["remaining"] for one in data["limits"][:2]] == [19, 499]
            assert data["expires_at"].startswith("2033-05-18T")
        assert (await client.get("/v1/key", headers={"authorization": "Bearer wrong"})).status_code == 401


async def test_a_gateway_without_clients_tells_everybody_that_there_is_no_limit(start):
    demo = await start(("groq",))
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        data = (await client.get("/v1/key")).json()["data"]

    assert (data["label"], data["rate_limit"]["requests"], data["limits"]) == ("anybody", -1, [])


@pytest.mark.engine
@pytest.mark.usefixtures("patient")
async def test_gateways_on_one_redis_share_clients_limits_and_use(start):
    with containers.redis() as server:
        one, other = [await gateway(start, FREEWAY_REDIS_URL=server.url) for _ in range(2)]
        key = await made(one, limits=["3/day"])
        async with both(one, key) as (_, here), both(other, key) as (desk, there):

            async def heard() -> bool:  # until then it is open to everybody, for it knows of no client
                return (await there.get("/v1/models", headers={"authorization": ""})).status_code == 401

            await until(heard)
            answers = [
                (await client.post("/v1/chat/completions", json=CHAT)).status_code
                for client in (here, there, here, there)
            ]
            assert answers == [200, 200, 200, 429]
            assert "its own limit of 3/day" in (await here.post("/v1/chat/completions", json=CHAT)).text

            async def told() -> bool:
                (row,) = (await desk.get("/usage")).json()
                return (row["name"], row["requests"], row["failed"]) == ("alice", 5, 2)

            await until(told)
            (shown,) = (await desk.get("/clients")).json()
            assert (shown["requests"], shown["limits"][0]["used"]) == (5, 3)
            assert (await desk.delete("/clients/alice")).status_code == 204

            async def refused() -> bool:
                return (await here.get("/v1/models")).status_code == 401

            await until(refused)
