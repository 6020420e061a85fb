"""Stored responses of gateways that share a Redis, and of one whose Redis is not there."""

from __future__ import annotations

import httpx
import pytest
from redis.asyncio import Redis

from gateway.api.responses_redis import RedisResponses
from gateway.api.responses_store import KEPT_FOR, ResponsesLost
from tests import containers


@pytest.fixture(scope="module")
def redis_server():
    with containers.redis() as server:
        yield server


async def test_a_response_in_redis_expires_a_day_after_its_last_use(redis_server, clock):
    async with Redis.from_url(redis_server.url) as other:
        await other.flushall()
        store = RedisResponses(Redis.from_url(redis_server.url), clock)
        await store.keep("me/a", b"A")
        (key,) = await other.keys("*")
        left = [await other.ttl(key)]
        await other.expire(key, 60)
        found = await store.find("me/a"), await store.find("me/b")
        left.append(await other.ttl(key))

        assert found == (b"A", None)
        assert all(KEPT_FOR - 60 < seconds <= KEPT_FOR for seconds in left)
        assert [await store.drop("me/a"), await store.drop("me/a")] == [True, False]
        await store.aclose()


async def test_a_redis_that_is_not_there_is_told_soon(clock):
    store = RedisResponses(Redis.from_url("redis://127.0.0.1:9/0"), clock)
    for asked in (store.keep("a", b"A"), store.find("a"), store.drop("a"), store.names("a/b"), store.look(["a"])):
        with pytest.raises(ResponsesLost):
            await asked
    await store.aclose()


async def test_an_answer_is_no_worse_for_a_store_that_is_away(start):
    demo = await start(("groq",), FREEWAY_REDIS_URL="redis://127.0.0.1:9/0")
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as client:
        answer = await client.post("/v1/responses", json={"input": "hello there"})
        later = await client.get(f"/v1/responses/{answer.json()['id']}")

    assert (answer.status_code, answer.json()["status"], answer.json()["store"]) == (200, "completed", False)
    assert (later.status_code, later.json()["error"]["code"]) == (503, "store_unavailable")


async def test_what_one_gateway_answered_is_found_by_another(start, redis_server, patient):
    one, two = [await start(("groq",), FREEWAY_REDIS_URL=redis_server.url) for _ in range(2)]
    async with httpx.AsyncClient(timeout=20) as client:
        made = (await client.post(f"{one.base_url}/v1/responses", json={"input": "hello there"})).json()
        found = (await client.get(f"{two.base_url}/v1/responses/{made['id']}")).json()

    assert found == made


async def test_what_is_kept_in_a_place_is_listed_until_it_expires_or_goes(redis_server, clock):
    async with Redis.from_url(redis_server.url) as other:
        await other.flushall()
        store = RedisResponses(Redis.from_url(redis_server.url), clock)
        for key in ("me/chats/b", "me/chats/a", "me/chats/c", "me/d"):
            await store.keep(key, key.encode())
        clock.advance(KEPT_FOR - 1)
        names = [await store.names("me/chats")]
        await store.find("me/chats/b")
        clock.advance(2)
        names.append(await store.names("me/chats"))
        await store.keep("me/chats/f", b"F")
        (index,) = await other.keys("freeway:responses:*/chats")
        left = await other.zrange(index, 0, -1)
        await store.drop("me/chats/b")
        names.append(await store.names("me/chats"))

        assert names == [["a", "b", "c"], ["b"], ["f"]]
        assert left == [b"b", b"f"]
        assert await store.look(["me/chats/f", "me/chats/b"]) == [b"F", None]
        assert KEPT_FOR - 60 < await other.ttl(index) <= KEPT_FOR
        await store.aclose()


async def test_clients_and_environments_find_their_own_alone_and_none_is_named(redis_server, clock):
    async with Redis.from_url(redis_server.url) as other:
        await other.flushall()
        ours, theirs = (
            RedisResponses(Redis.from_url(redis_server.url), clock, name) for name in ("freeway", "freeway:test")
        )
        await ours.keep("somebody/chats/a", b"A")

        assert await ours.names("somebody/chats") == ["a"]
        assert await ours.names("another/chats") == await theirs.names("somebody/chats") == []
        assert await ours.find("another/chats/a") is await theirs.find("somebody/chats/a") is None
        assert not [key for key in await other.keys("*") if b"somebody" in key]
        await ours.aclose()
        await theirs.aclose()


async def test_completions_of_one_gateway_are_listed_by_another(start, redis_server, patient):
    one, two = [await start(("groq",), FREEWAY_REDIS_URL=redis_server.url) for _ in range(2)]
    ask = {"messages": [{"role": "user", "content": "hello there"}], "store": True}
    async with httpx.AsyncClient(timeout=20) as client:
        made = (await client.post(f"{one.base_url}/v1/chat/completions", json=ask)).json()
        listed = (await client.get(f"{two.base_url}/v1/chat/completions?order=desc&limit=1")).json()

    assert [row["id"] for row in listed["data"]] == [made["id"]]
    assert listed["data"][0]["choices"] == made["choices"]
