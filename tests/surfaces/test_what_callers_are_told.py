"""Errors as people and agents read them: the reason first, what to do next, near names, and no provider's text unexplained."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from gateway.events import Ended, KeyRefused

ASK = {"model": "auto", "messages": [{"role": "user", "content": "hi there"}]}
AT_ONCE = {"x-freeway-max-wait": "0"}


async def post(demo: Any, body: dict[str, Any], path: str = "/v1/chat/completions", **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as client:
        return await client.post(path, json=body, headers={**AT_ONCE, **headers})


def message(answer: httpx.Response) -> str:
    return answer.json()["error"]["message"]


# ── names ──


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("gpt-oss-20", "gpt-oss-20b"),
        ("groqq/zzz", "groq/zzz"),
        ("GPT-OSS-210b", "gpt-oss-20b"),
        ("auto:codin", "auto:coding"),
    ],
)
async def test_an_unknown_model_is_told_with_what_is_like_it(start, asked: str, meant: str):
    demo = await start(("groq",))
    answer = await post(demo, {**ASK, "model": asked})

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert "did you mean" in message(answer)
    assert meant in message(answer)


async def test_a_name_that_is_like_nothing_is_told_without_a_guess(start):
    answer = await post(await start(("groq",)), {**ASK, "model": "zzz-none"})

    assert "did you mean" not in message(answer)
    assert "'auto' takes whatever fits" in message(answer)


async def test_an_unknown_provider_is_told_with_the_nearest(start):
    demo = await start(("groq", "openrouter"))
    answer = await post(demo, {**ASK, "provider": {"only": ["grok"]}})
    either = await post(demo, {**ASK, "provider": {"only": ["grok", "groq"]}})
    order = await post(demo, {**ASK, "provider": {"order": ["anthropic"]}})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "provider.only")
    assert "did you mean groq?" in message(answer)
    assert (either.status_code, order.status_code) == (200, 200)


# ── models that are gone ──


async def test_a_model_that_is_gone_is_a_404_that_names_substitutes(start, clock):
    demo = await start(("groq",), clock)
    demo.world.providers["groq"].fail("gone", model="openai/gpt-oss-120b")
    first = await post(demo, {**ASK, "model": "groq/openai/gpt-oss-120b"})
    later = await post(demo, {**ASK, "model": "gpt-oss-120b"})

    for answer in (first, later):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
        assert "retry-after" not in answer.headers
        assert "is gone" in message(answer)
        assert "gpt-oss-20b" in message(answer)
        assert "x-freeway-substitute: true" in message(answer)


# ── waiting ──


async def test_the_moment_is_told_in_words_and_in_the_header(start, clock):
    demo = await start(("groq",), clock)
    pinned = {**ASK, "model": "groq/openai/gpt-oss-20b"}
    answer = await post(demo, pinned)
    while answer.status_code == 200:
        answer = await post(demo, pinned)

    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert " opens in " in message(answer)
    assert message(answer).startswith("every free source that fits is at its limit")


async def test_few_of_those_left_out_are_named_unless_the_request_is_traced(start):
    demo = await start(("groq", "openrouter", "google"))
    body = {**ASK, "provider": {"ignore": ["groq", "openrouter", "google"]}}
    few, all_of_them = await post(demo, body), await post(demo, body, **{"x-freeway-trace": "true"})

    told, traced = (answer.json()["error"]["availability"] for answer in (few, all_of_them))
    assert len(told["excluded"]) == 5
    assert len(traced["excluded"]) == sum(traced["excluded_by"].values()) > 5


# ── providers' own words ──


async def test_what_a_provider_says_comes_after_what_it_means(start):
    demo = await start(("groq",))
    demo.world.providers["groq"].fail("busy", times=9)
    answer = await post(demo, {**ASK, "model": "groq/openai/gpt-oss-20b"})

    assert answer.status_code in (429, 503)
    reason = answer.json()["error"]["availability"]["excluded"][0]["reason"]
    assert reason.startswith("is overloaded")
    assert "Busy" not in answer.text


# ── what is logged ──


async def test_a_refused_key_is_told_with_the_address_that_it_came_from(start):
    heard: list[Any] = []
    demo = await start(("groq",), observers=[heard.append], FREEWAY_API_KEY="a-key-of-a-client-that-is-long")
    await post(demo, ASK, authorization="Bearer wrong")
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        await client.get("/v1/models")

    told = [event for event in heard if isinstance(event, KeyRefused)]
    assert [(event.path, event.peer) for event in told] == [
        ("/v1/chat/completions", "127.0.0.1"),
        ("/v1/models", "127.0.0.1"),
    ]


async def test_attempts_are_counted_also_where_none_served(start):
    heard: list[Any] = []
    demo = await start(("groq",), observers=[heard.append])
    demo.world.providers["groq"].fail("busy", times=50)
    await post(demo, ASK)

    (ended,) = [event for event in heard if isinstance(event, Ended)]
    assert ended.status in (429, 503)
    assert ended.attempts >= 2


async def test_explain_tells_that_auto_private_trains_nobody(start):
    demo = await start(("groq", "google"))
    private, plain = [
        (await post(demo, {**ASK, "model": name}, "/v1/route/explain")).json() for name in ("auto:private", "auto")
    ]

    assert (private["needs"]["no_train"], plain["needs"]["no_train"]) == (True, False)
