"""A request through the real gateway, simulated providers behind it."""

from __future__ import annotations

import asyncio
import json
from hashlib import sha256

import httpx
import pytest

from providers.simulator.brain import Saying
from tests.clock import eventually
from tests.unit.test_metrics import samples

ASK = {"model": "auto", "messages": [{"role": "user", "content": "hi there"}]}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


async def post(demo, body=ASK, **headers):
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as client:
        if isinstance(body, bytes):
            return await client.post("/v1/chat/completions", content=body, headers=headers)
        return await client.post("/v1/chat/completions", json=body, headers=headers)


async def in_line(demo, number: int = 1) -> None:
    """Return once *number* requests wait for capacity."""
    async with asyncio.timeout(10), httpx.AsyncClient(base_url=demo.base_url) as client:
        while samples((await client.get("/metrics")).text)["freeway_waiting"][()] < number:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def events(response: httpx.Response) -> list[str]:
    return [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]


async def test_an_answer_says_who_served_it(start):
    demo = await start(("groq", "google"))

    response = await post(demo)

    assert response.status_code == 200
    assert "hi there" in response.json()["choices"][0]["message"]["content"]
    assert response.headers["x-freeway-provider"] in demo.world.providers
    assert response.headers["x-freeway-attempts"] == "1"
    assert response.headers["x-request-id"].startswith("req_")
    assert response.json()["created"] > 0
    assert response.json()["id"]


async def test_a_stream_has_a_role_pieces_a_finish_and_an_end(start):
    response = await post(await start(), ASK | {"stream": True})
    *chunks, last = events(response)
    parsed = [json.loads(chunk) for chunk in chunks]

    assert last == "[DONE]"
    assert response.headers["content-type"].startswith("text/event-stream")
    assert "hi there" in "".join(c["choices"][0]["delta"].get("content") or "" for c in parsed)
    assert [c["choices"][0]["finish_reason"] for c in parsed if c["choices"][0]["finish_reason"]] == ["stop"]
    assert all(c["choices"] and not c.get("usage") and c["created"] and c["id"] for c in parsed)


async def test_usage_comes_last_and_only_if_asked_for(start):
    response = await post(await start(), ASK | {"stream": True, "stream_options": {"include_usage": True}})
    usages = [json.loads(event).get("usage") for event in events(response)[:-1]]

    assert [bool(usage) for usage in usages] == [False] * (len(usages) - 1) + [True]
    assert usages[-1]["prompt_tokens"] > 0


@pytest.mark.parametrize(
    "trouble",
    [
        "rate_limited:minute",
        "busy",
        "gone",
        "bad_key",
        "server_error",
        "error_200",
        "empty",
        "html",
        "bad_json",
        "reset",
    ],
)
async def test_trouble_at_one_moves_on_to_the_next(start, trouble):
    demo = await start(("groq", "nvidia"))
    spoiled = ["groq"] if trouble == "bad_key" else demo.world.providers  # a key that is refused is out for an hour
    for name in spoiled:
        demo.world.providers[name].fail(trouble, times=1)

    responses = [await post(demo) for _ in range(2)]

    assert [r.status_code for r in responses] == [200, 200]
    assert sum(int(r.headers["x-freeway-attempts"]) for r in responses) >= 3


@pytest.mark.parametrize("trouble", ["error_200", "empty", "html", "reset", "server_error"])
async def test_a_stream_that_fails_before_content_moves_on_silently(start, trouble):
    demo = await start(("groq", "nvidia"))
    for name in demo.world.providers:
        demo.world.providers[name].fail(trouble, times=1)

    response = await post(demo, ASK | {"stream": True})
    second = await post(demo, ASK | {"stream": True})

    for each in (response, second):
        if each.status_code == 200:
            assert events(each)[-1] == "[DONE]"
            assert "error" not in each.text
    assert second.status_code == 200


@pytest.mark.parametrize("trouble", ["cut", "error_in_stream"])
async def test_a_broken_stream_ends_in_one_error_and_is_never_passed_off_as_whole(start, trouble):
    demo = await start(("groq",))
    demo.world.providers["groq"].brain = lambda view: Saying("No thought comes before this text. " * 9)
    demo.world.providers["groq"].fail(trouble, times=1)

    got = events(await post(demo, ASK | {"stream": True}))
    finishes = [json.loads(e)["choices"][0]["finish_reason"] for e in got if "choices" in e]

    assert "error" in json.loads(got[-1])
    assert json.loads(got[-1])["error"]["code"] == "interrupted"
    assert sum('"error"' in event for event in got) == 1
    assert not any(finishes)


@pytest.mark.parametrize("name", ["google", "groq", "ollama"])  # each way of framing
async def test_a_stream_that_drips_arrives_whole(start, name):
    demo = await start((name,))
    text = "Zwölf große Äpfel — 日本 🍏. " * 3
    demo.world.providers[name].brain = lambda view: Saying(text)
    demo.world.providers[name].fail("drip", times=1)

    *chunks, last = events(await post(demo, ASK | {"stream": True}))
    choices = [json.loads(chunk)["choices"][0] for chunk in chunks]

    assert "".join(choice["delta"].get("content") or "" for choice in choices) == text
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["stop"]
    assert last == "[DONE]"


async def test_a_stream_that_is_slow_to_begin_is_kept_alive_by_comments(start, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("[server]\nkeep_alive = 0.02\n[provider.groq.timeouts]\nhead = 0.2\n")
    demo = await start(("groq", "google"), FREEWAY_CONFIG=str(own))
    demo.world.providers["groq"].fail("hang_stream", times=9)
    demo.world.providers["google"].fail("hang_stream", times=9)

    response = await post(demo, ASK | {"stream": True, "provider": {"only": ["groq"]}, "model": "gpt-oss-20b"})

    assert response.status_code == 200
    assert response.text.startswith(": waiting\n\n")
    assert json.loads(events(response)[-1])["error"]["code"] == "no_source"
    assert "[DONE]" not in response.text


async def test_nothing_leaves_that_our_own_count_forbids(start, clock):
    demo = await start(("groq",), clock)
    patient = {"x-freeway-max-wait": "0"}

    responses = [
        await post(demo, ASK | {"model": "groq/openai/gpt-oss-20b", "max_tokens": 5}, **patient) for _ in range(35)
    ]

    assert [r.status_code for r in responses].count(200) == 30
    refusal = responses[-1]
    assert refusal.status_code == 429
    assert 0 < int(refusal.headers["retry-after"]) <= 61  # a slot of the window later, rounded up: not a second early
    availability = refusal.json()["error"]["availability"]
    assert availability["excluded_by"] == {"quota": 1}
    assert availability["excluded"][0]["deployment"] == "groq/openai/gpt-oss-20b"
    assert availability["retryable"]
    assert int(refusal.headers["retry-after"]) - 1 < availability["retry_after"] <= int(refusal.headers["retry-after"])
    assert demo.world.providers["groq"].refused == 0


async def test_a_limit_that_a_provider_names_is_kept_from_then_on(start):
    demo = await start(("groq",))
    demo.world.providers["groq"].fail("rate_limited:minute", times=1)
    body = ASK | {"model": "groq/openai/gpt-oss-20b", "max_tokens": 5}

    responses = [await post(demo, body, **{"x-freeway-max-wait": "0"}) for _ in range(3)]

    assert [response.status_code for response in responses] == [429, 429, 429]
    assert all(int(response.headers["retry-after"]) >= 1 for response in responses)
    assert len([call for call in demo.world.providers["groq"].calls if "completions" in call.path]) == 1


async def test_a_request_waits_for_capacity_that_comes_in_time(start, clock):
    demo = await start(("groq",), clock)
    body = ASK | {"model": "groq/openai/gpt-oss-20b", "max_tokens": 5}
    for _ in range(30):
        assert (await post(demo, body)).status_code == 200

    waiting = asyncio.create_task(post(demo, body, **{"x-freeway-max-wait": "120"}))
    await in_line(demo)
    assert not waiting.done()
    clock.advance(61)

    assert (await waiting).status_code == 200


@pytest.mark.parametrize("trouble", ["rate_limited:minute", "busy"])
async def test_where_there_is_one_source_its_pause_is_waited_for(start, clock, trouble):
    demo = await start(("groq",), clock)
    demo.world.providers["groq"].fail(trouble, times=1)

    body = ASK | {"model": "groq/openai/gpt-oss-20b", "max_tokens": 5}
    waiting = asyncio.create_task(post(demo, body, **{"x-freeway-max-wait": "120"}))
    await in_line(demo)
    clock.advance(61)
    response = await waiting

    assert response.status_code == 200
    assert response.headers["x-freeway-attempts"] == "2"


async def test_what_no_source_can_do_is_refused_at_once_and_says_what_is_missing(start):
    demo = await start(("groq",))
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}

    response = await post(demo, {"model": "gpt-oss-120b", "messages": [{"role": "user", "content": [image]}]})

    assert response.status_code == 400
    assert "vision" in response.json()["error"]["message"]
    assert "groq/openai/gpt-oss-120b" in response.json()["error"]["message"]
    assert not [call for call in demo.world.providers["groq"].calls if "completions" in call.path]


async def test_an_unknown_model_is_a_404(start):
    response = await post(await start(("groq",)), ASK | {"model": "gpt-9"})

    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
    assert "gpt-9" in response.json()["error"]["message"]


async def test_a_caller_who_leaves_cancels_the_upstream_call(start):
    demo = await start(("groq",))
    demo.world.providers["groq"].fail("hang", times=5)

    with pytest.raises(httpx.ReadTimeout):
        async with httpx.AsyncClient(base_url=demo.base_url, timeout=0.4) as client:
            await client.post("/v1/chat/completions", json=ASK)
    await eventually(lambda: any(call.cancelled for call in demo.world.providers["groq"].calls))
    await eventually(lambda: demo.watcher.outcomes["left"] == 1)


async def test_a_caller_who_leaves_in_mid_stream_cancels_the_upstream_call(start):
    demo = await start(("groq",))
    demo.world.providers["groq"].pace = 0.2
    long = ASK | {"stream": True, "messages": [{"role": "user", "content": "many words " * 50}]}

    async with (
        httpx.AsyncClient(base_url=demo.base_url, timeout=10) as client,
        client.stream("POST", "/v1/chat/completions", json=long) as response,
    ):
        async for _ in response.aiter_lines():
            break
    await eventually(lambda: any(call.cancelled for call in demo.world.providers["groq"].calls))


async def test_a_paid_model_is_never_called(start):
    demo = await start(("openrouter",))

    response = await post(demo, ASK | {"model": "nvidia/nemotron-3-super-120b-a12b"})

    assert response.status_code in (200, 404)
    if response.status_code == 200:
        assert response.json()["model"].endswith(":free")
    assert demo.world.providers["openrouter"].charged == 0


async def test_an_answer_that_cost_money_quarantines_the_account(start):
    demo = await start(("openrouter",))
    demo.world.providers["openrouter"].fail("price_turned", times=10)

    await post(demo)
    second = await post(demo)

    assert second.status_code != 200
    assert sum(call.charged > 0 for call in demo.world.providers["openrouter"].calls) <= 1


async def test_no_train_never_reaches_a_source_that_may_train(start):
    demo = await start(("google", "groq"))

    for _ in range(10):
        response = await post(demo, ASK | {"provider": {"data_collection": "deny"}})
        assert response.headers["x-freeway-provider"] == "groq"
    assert not [call for call in demo.world.providers["google"].calls if "generateContent" in call.path]


async def test_a_clients_key_may_forbid_training(start, tmp_path):
    digest = sha256(b"fw-hers").hexdigest()
    own = tmp_path / "own.toml"
    own.write_text(f'[[client]]\nname = "her"\nkey_sha256 = "{digest}"\nno_train = true\n')
    demo = await start(("google", "groq"), FREEWAY_CONFIG=str(own))

    for _ in range(5):
        response = await post(demo, authorization="Bearer fw-hers")
        assert response.headers["x-freeway-provider"] == "groq"
    pinned = await post(demo, ASK | {"model": "gemini-3.5-flash"}, authorization="Bearer fw-hers")
    assert (pinned.status_code, pinned.json()["error"]["code"]) == (400, "unsupported")


async def test_who_allows_it_is_served_by_the_nearest_model_and_told(start):
    demo = await start(("groq", "google"))
    demo.world.providers["groq"].fail("gone", times=50, model="openai/gpt-oss-20b")
    asked = ASK | {"model": "groq/openai/gpt-oss-20b"}

    refused = await post(demo, asked, **{"x-freeway-max-wait": "0"})
    served = await post(demo, asked, **{"x-freeway-substitute": "true"})
    odd = await post(demo, asked, **{"x-freeway-substitute": "perhaps"})

    assert refused.status_code == 404  # it will not come back by waiting
    assert "x-freeway-substitute" in refused.json()["error"]["message"]
    assert served.status_code == 200
    assert served.headers["x-freeway-instead-of"] == "groq/openai/gpt-oss-20b"
    assert served.headers["x-freeway-model"] != "gpt-oss-20b"
    assert (odd.status_code, odd.json()["error"]["param"]) == (400, "x-freeway-substitute")


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("bound", [0, -1])
async def test_a_bound_of_nothing_or_less_is_none(start, name, bound):
    """Clients made for LM Studio say so when they want no cut, and no source hears of it."""
    demo = await start(("groq",))
    response = await post(demo, ASK | {name: bound})
    heard = json.loads(demo.world.providers["groq"].calls[-1].body)

    assert (response.status_code, response.json()["choices"][0]["finish_reason"]) == (200, "stop")
    assert heard.get(name, 1) > 0


# ── bad input ──

BAD = {
    "not JSON": b"{",
    "not an object": b"[]",
    "no messages": b'{"model": "auto"}',
    "empty messages": b'{"messages": []}',
    "messages of the wrong type": b'{"messages": "hi"}',
    "a role that is none": b'{"messages": [{"role": "wizard", "content": "hi"}]}',
    "temperature as text": b'{"messages": [{"role": "user", "content": "hi"}], "temperature": "hot"}',
    "null body": b"null",
    "nothing": b"",
    "not UTF-8": b'{"messages": [{"role": "user", "content": "\xff\xfe"}]}',
    "deeply nested": b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "lone surrogate": b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
    "a number too large": b'{"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1' + b"0" * 400 + b"}",
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
async def test_junk_is_a_400_in_openais_shape(start, body):
    response = await post(await start(("groq",)), body)

    assert response.status_code == 400
    error = response.json()["error"]
    assert error["message"]
    assert error["type"] == "invalid_request_error"
    assert {"param", "code"} <= error.keys()
    assert "Traceback" not in response.text


async def test_the_field_at_fault_is_named(start):
    response = await post(await start(("groq",)), BAD["temperature as text"])

    assert response.json()["error"]["param"] == "temperature"


async def test_a_huge_body_is_refused_unread(start):
    response = await post(await start(("groq",)), b'{"messages": "' + b"x" * 21_000_000 + b'"}')

    assert response.status_code == 413


async def test_an_odd_method_or_path_is_told_in_openais_shape(start):
    demo = await start(("groq",))
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        for method, path in [("PUT", "/v1/chat/completions"), ("POST", "/v1/nothing"), ("DELETE", "/v1/models")]:
            response = await client.request(method, path)
            assert response.status_code in (404, 405)
            assert response.json()["error"]["message"]


UNKNOWN_FIELDS = {
    "client_metadata": {"a": 1},
    "context_management": {},
    "metadata": {"k": "v"},
    "prompt_cache_key": "k",
    "safety_identifier": "u",
    "prediction": {"type": "content", "content": "x"},
    "web_search_options": {},
    "verbosity": "low",
    "store": False,
    "service_tier": "auto",
    "thinking": {"type": "adaptive"},
    "tools": [],
}


async def test_an_unknown_field_is_never_a_400(start):
    demo = await start()
    for name in demo.world.providers:
        response = await post(demo, ASK | UNKNOWN_FIELDS | {"provider": {"only": [name]}})

        assert response.status_code == 200, (name, response.text)


async def test_what_clients_replay_is_taken_by_every_provider(start):
    demo = await start()
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}}]},
        {
            "role": "assistant",
            "content": "",
            "annotations": [],
            "refusal": None,
            "reasoning_content": "so",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "3 degrees"}]},
    ]
    for name in demo.world.providers:
        body = {"messages": messages, "tools": [TOOL], "provider": {"only": [name]}}
        response = await post(demo, body)

        assert response.status_code == 200, (name, response.text)
        assert "3 degrees" in response.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("stream", [False, True])
async def test_no_two_calls_share_an_id_also_where_a_source_counts_anew(start, stream):
    """Agents know a call by its id for as long as they run, also once the earlier ones are no more in the conversation."""
    demo = await start()
    for name in demo.world.providers:
        demo.world.providers[name].brain = lambda view: Saying(calls=[("get_weather", {"city": "Oslo"})] * 2)
        body = ASK | {"tools": [TOOL], "provider": {"only": [name]}, "stream": stream}
        ids = []
        for _ in range(3):
            response = await post(demo, body)
            calls = streamed_calls(response) if stream else response.json()["choices"][0]["message"]["tool_calls"]
            ids += [call["id"] for call in calls]

        assert len(set(ids)) == 6, (name, ids)


def streamed_calls(response: httpx.Response) -> list[dict]:
    """The calls of a stream, put together by their places."""
    calls: dict[int, dict] = {}
    for event in events(response)[:-1]:
        for choice in json.loads(event)["choices"]:
            for piece in choice["delta"].get("tool_calls") or ():
                call = calls.setdefault(piece["index"], {**piece, "function": {**piece["function"], "arguments": ""}})
                call["function"]["arguments"] += piece["function"].get("arguments") or ""
    return list(calls.values())


# ── who may call ──


async def test_with_a_client_key_no_call_goes_without_it(start):
    demo = await start(("groq",), FREEWAY_API_KEY="fw-right")

    assert (await post(demo)).status_code == 401
    assert (await post(demo, authorization="Bearer wrong")).status_code == 401
    assert (await post(demo, authorization="Bearer fw-right")).status_code == 200
    assert (await post(demo, **{"x-api-key": "fw-right"})).status_code == 200
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        assert (await client.get("/v1/models")).status_code == 401
        assert (await client.get("/health/liveness")).status_code == 200


async def test_without_a_client_key_a_web_page_under_another_name_is_not_let_in(start):
    demo = await start(("groq",))

    assert (await post(demo, host="evil.example")).status_code == 403
    assert (await post(demo, host="localhost:8000", authorization="Bearer whatever")).status_code == 200
