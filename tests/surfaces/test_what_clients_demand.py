"""
What programs of others demand of a chat API that calls itself OpenAI-compatible, as recorded from about sixty of them
(November 2026): one family of tests for each demand, through the real gateway.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.commands.server import IDLE_SECONDS, Connections
from tests.surfaces.test_openai_chat import TOOL, events
from tests.unit.test_serve import H2C, echoing

CHAT = "/v1/chat/completions"
ASK: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "hi there"}]}
FUNCTION: dict[str, Any] = dict(TOOL["function"])  # type: ignore[arg-type]
KEY = "a-key-of-some-length"
CALLED = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
TURN = [
    {"role": "user", "content": "weather?"},
    {"role": "assistant", "content": "", "tool_calls": [CALLED]},
    {"role": "tool", "tool_call_id": "c1", "content": "3 degrees"},
]


@pytest.fixture
async def demo(start):
    return await start(("groq", "google", "mistral"))


@pytest.fixture
async def client(demo) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as one:
        yield one


async def taken(client: httpx.AsyncClient, **more: Any) -> httpx.Response:
    """The answer to a chat request with *more* in it, which is taken."""
    response = await client.post(CHAT, json=ASK | more)
    assert response.status_code == 200, response.text
    return response


# ── 1: keys and headers ──


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/responses", "/v1/models"])
@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"x-api-key": KEY},
        {"authorization": f"Bearer {KEY}", "x-api-key": "placeholder"},
        {"authorization": "Bearer placeholder", "x-api-key": KEY},
    ],
    ids=["bearer", "x-api-key", "both, bearer right", "both, x-api-key right"],
)
async def test_1_a_key_is_right_in_either_header_on_every_path(start, path, headers):
    demo = await start(("groq",), FREEWAY_API_KEY=KEY)
    body = {**ASK, "max_tokens": 10, "input": "hi"}
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as client:
        ask = (
            client.get(path, headers=headers)
            if path.endswith("models")
            else client.post(path, json=body, headers=headers)
        )
        assert (await ask).status_code == 200


async def test_1_headers_and_queries_that_mean_nothing_here_are_no_obstacle(client):
    headers = {
        "anthropic-version": "2099-01-01",
        "anthropic-beta": "x,y",
        "x-stainless-lang": "js",
        "x-session-affinity": "s",
    }

    assert (await client.post(f"{CHAT}?beta=true", json=ASK, headers=headers)).status_code == 200
    asked = {**ASK, "max_tokens": 10}
    assert (await client.post("/v1/messages?beta=true", json=asked, headers=headers)).status_code == 200


# ── 2: unknown fields ──


@pytest.mark.parametrize(
    "more",
    [
        {"client_metadata": {"a": 1}}, {"context_management": {}}, {"output_config": {"effort": "low"}},
        {"thinking": {"type": "adaptive"}}, {"metadata": {"user": "x"}}, {"prompt_cache_key": "k"},
        {"safety_identifier": "s"}, {"prediction": {"type": "content", "content": "x"}}, {"web_search_options": {}},
        {"verbosity": "low"}, {"service_tier": "auto"}, {"store": True}, {"made_up": [None]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]}]},
        {"tools": [{**TOOL, "cache_control": {"type": "ephemeral"}, "defer_loading": True}]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {
            "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "properties": {}}}}]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "annotations": [], "audio": None,
            "reasoning": "r", "provider_specific_fields": {"x": 1}}, {"role": "user", "content": "c"}]},
    ],
    ids=lambda more: next(iter(more)),
)  # fmt: skip
async def test_2_a_field_that_is_not_known_is_never_a_400(client, more):
    await taken(client, **more)


# ── 3: roles ──


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "developer", "content": "be brief"}, {"role": "user", "content": "hi"}],
        [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
        [{"role": "user", "content": "a"}, {"role": "system", "content": "s"}, {"role": "user", "content": "b"}],
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": None}, {"role": "user", "content": "b"}],
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}, {"role": "user", "content": "b"}],
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": [{"type": "text", "text": "x"}]}, {"role": "user", "content": "b"}],
        [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
        [*TURN[:2], {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "3 degrees"}]}],
    ],
    ids=["developer", "two users", "system later", "null", "empty", "assistant list", "user list", "tool list"],
)  # fmt: skip
async def test_3_roles_and_contents_as_programs_send_them(client, messages):
    tools = {"tools": [TOOL]} if len(messages) == 3 and messages[2]["role"] == "tool" else {}
    await taken(client, messages=messages, **tools)


async def test_3_a_system_message_within_a_conversation_of_anthropics(client):
    messages = [{"role": "user", "content": "a"}, {"role": "system", "content": "s"}, {"role": "user", "content": "b"}]
    response = await client.post("/v1/messages", json={"model": "auto", "max_tokens": 10, "messages": messages})

    assert response.status_code == 200, response.text


# ── 4: empty lists, tools that are no functions ──


async def test_4_empty_lists_are_as_if_they_were_not_there(client):
    await taken(client, tools=[], stop=[])
    response = await client.post("/v1/responses", json={"model": "auto", "input": "hi", "tools": [], "include": []})

    assert response.status_code == 200, response.text


async def test_4_tools_of_responses_that_are_no_functions_are_left_out(client):
    tools = [{"type": kind, "name": "x"} for kind in ("namespace", "web_search", "custom", "local_shell")]
    response = await client.post("/v1/responses", json={"model": "auto", "input": "hi", "tools": tools})

    assert response.status_code == 200, response.text


# ── 5: the stream ──


async def test_5_a_stream_has_its_pieces_in_order_and_no_usage_unless_asked(client):
    *chunks, end = events(await taken(client, stream=True))
    parsed = [json.loads(chunk) for chunk in chunks]

    assert end == "[DONE]"
    assert parsed[0]["choices"][0]["delta"]["role"] == "assistant"
    assert parsed[-1]["choices"][0]["finish_reason"] == "stop"
    assert all(chunk["choices"] and "usage" not in {k for k, v in chunk.items() if v} for chunk in parsed)


async def test_5_usage_comes_once_last_and_without_choices_if_asked_for(client):
    *chunks, _ = events(await taken(client, stream=True, stream_options={"include_usage": True}))
    parsed = [json.loads(chunk) for chunk in chunks]

    assert [bool(chunk.get("usage")) for chunk in parsed] == [False] * (len(parsed) - 1) + [True]
    assert parsed[-1]["choices"] == []


@pytest.mark.parametrize("name", ["groq", "google", "mistral"])
async def test_5_a_streamed_call_has_an_index_an_id_once_a_name_once_and_arguments(client, name):
    chunks = events(await taken(client, stream=True, tools=[TOOL], tool_choice="required", provider={"only": [name]}))[
        :-1
    ]
    calls = [
        call
        for chunk in chunks
        for choice in json.loads(chunk)["choices"]
        for call in choice["delta"].get("tool_calls") or ()
    ]

    assert all(isinstance(call["index"], int) for call in calls)
    assert len([call for call in calls if call.get("id")]) == 1
    assert [call["function"]["name"] for call in calls if call["function"].get("name")] == ["get_weather"]
    assert isinstance(json.loads("".join(call["function"].get("arguments", "") for call in calls)), dict)


# ── 8: the list of models ──


async def test_8_one_shape_of_the_list_for_both_sdks(client):
    found = (await client.get("/v1/models")).json()

    assert found["object"] == "list"
    assert (found["has_more"], found["first_id"], found["last_id"]) == (
        False,
        found["data"][0]["id"],
        found["data"][-1]["id"],
    )
    for model in found["data"]:
        assert (model["object"], model["type"]) == ("model", "model")
        assert isinstance(model["created"], int)
        assert model.keys() >= {"owned_by", "display_name", "created_at"}


async def test_8_a_model_is_found_by_an_id_with_slashes(client):
    name = next(m["id"] for m in (await client.get("/v1/models")).json()["data"] if "gpt-oss-20b" in m["id"])

    for path in (f"/v1/models/{name}", f"/v1/models/openai/{name}", "/v1/models/groq/openai/gpt-oss-20b"):
        assert (await client.get(path)).status_code == 200, path


# ── 10: errors ──


async def test_10_errors_have_the_shape_of_their_api(start):
    demo = await start(("groq",), FREEWAY_API_KEY=KEY)
    right = {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as client:
        wrong = await client.post(CHAT, json=ASK)
        unknown = await client.post(CHAT, json=ASK | {"model": "no-such-model"}, headers=right)
        empty = await client.post(CHAT, json=ASK | {"messages": []}, headers=right)
        anthropic = await client.post("/v1/messages", json={"model": "auto", "messages": []}, headers=right)
        ollama = await client.post("/api/chat", json=ASK | {"model": "no-such-model"}, headers=right)

    assert [one.status_code for one in (wrong, unknown, empty)] == [401, 404, 400]
    assert all(one.json()["error"].keys() >= {"message", "type", "param", "code"} for one in (wrong, unknown, empty))
    assert (anthropic.json()["type"], anthropic.json()["error"].keys() >= {"type", "message"}) == ("error", True)
    assert isinstance(ollama.json()["error"], str)


@pytest.mark.parametrize(
    "path", [CHAT, "/v1/messages", "/v1/responses", "/api/chat", "/v1beta/models/auto:generateContent"]
)
@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"3", b'"x"', b"{", b'{"messages": null}', b'{"messages": [null], "model": 3}', b"\xff\xfe",
     b'{"messages": [{"role": "user", "content": {"a": 1}}], "input": 4, "contents": 7}', b"[" * 100_000],
    ids=range(11),
)  # fmt: skip
async def test_10_junk_is_never_the_gateways_fault(client, path, body):
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        response = await client.request(method, path, content=body, headers={"content-type": "application/json"})
        assert response.status_code < 500, (method, response.text)


# ── 12 ──


@pytest.mark.parametrize("stream", [False, True])
async def test_12_an_answer_has_no_service_tier_that_the_sdk_does_not_know(client, stream):
    response = await taken(client, stream=stream, service_tier="on_demand", provider={"only": ["groq"]})

    assert b"on_demand" not in response.content
    assert b'"service_tier"' not in response.content or b'"service_tier":"default"' in response.content


# ── 16: names built into programs ──


@pytest.mark.parametrize(
    "model", ["claude-opus-9", "claude-haiku-9-20270101", "gpt-5-mini", "gpt-5.9-codex", "gemini-9-flash", "o4-mini"]
)
async def test_16_names_built_into_programs_are_served_and_the_answer_says_by_which(client, model):
    response = await client.post(CHAT, json=ASK | {"model": model})

    assert response.status_code == 200, response.text
    assert response.headers["x-freeway-alias"]
    assert response.json()["model"] != model


# ── 17: overflow in the words that clients match ──

LONG = "word " * 2_500_000


async def test_17_a_conversation_longer_than_every_context_is_told_in_the_words_that_clients_match(client):
    told = (await client.post(CHAT, json=ASK | {"messages": [{"role": "user", "content": LONG}]})).json()["error"]
    responses = (await client.post("/v1/responses", json={"model": "auto", "input": LONG})).json()["error"]
    asked = {"model": "auto", "max_tokens": 10, "messages": [{"role": "user", "content": LONG}]}
    messages = (await client.post("/v1/messages", json=asked)).json()["error"]

    for error in (told, responses):
        assert error["code"] == "context_length_exceeded"
        assert "maximum context length is" in error["message"]
        assert "reduce the length of the messages" in error["message"]
    first, _, rest = messages["message"].partition("prompt is too long: ")
    assert first == ""
    assert rest.split()[1:] == ["tokens", ">", rest.split()[3], "maximum"]


async def test_17_a_stream_of_responses_tells_it_as_its_last_event(client):
    body = {"model": "auto", "input": LONG, "stream": True}
    failed = json.loads(events(await client.post("/v1/responses", json=body))[-1])

    assert failed["type"] == "response.failed"
    assert failed["response"]["error"]["code"] == "context_length_exceeded"


# ── 18: Java's first request ──


async def test_18_a_first_request_that_offers_http_2_keeps_its_body():
    """The server itself sees to it (also tests/unit/test_serve.py, for every way in which it may be cut)."""
    async with echoing(Connections(10, 10)) as connect:
        line = await connect()
        await line.say(H2C + b"content-length: 5\r\n\r\nhello")
        assert (await line.hear()).endswith(b"\r\n\r\nhello")


# ── 19: other spellings ──


@pytest.mark.parametrize(
    "choice",
    ["auto", "required", "any", "none", {"type": "auto"}, {"type": "any"}, {"type": "none"},
     {"type": "function", "function": {"name": "get_weather"}}, {"type": "function", "name": "get_weather"},
     {"type": "tool", "name": "get_weather"},
     {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "get_weather"}}]}},
     {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "get_weather"}]}],
    ids=json.dumps,
)  # fmt: skip
async def test_19_a_choice_of_tools_in_every_spelling(client, choice):
    (answer,) = (await taken(client, tools=[TOOL], tool_choice=choice)).json()["choices"]
    forced = json.dumps(choice)
    if any(word in forced for word in ("required", "any", "get_weather")) and '"mode": "auto"' not in forced:
        assert answer["message"]["tool_calls"][0]["function"]["name"] == "get_weather"
    if "none" in forced:
        assert not answer["message"].get("tool_calls")


@pytest.mark.parametrize(
    "more",
    [
        {"functions": [FUNCTION], "function_call": "auto"},
        {"functions": [FUNCTION], "function_call": {"name": "get_weather"}},
        {"tools": [{"type": "function", **FUNCTION}]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "tool", "tool_call_id": "gone", "content": "orphan"}]},
        {"messages": [{"role": "user", "content": ""}, {"role": "user", "content": "b"}]},
        {"messages": [*TURN, {"role": "user", "content": ""}], "tools": [TOOL]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": None, "function_call": {
            "name": "get_weather", "arguments": "{}"}}, {"role": "function", "name": "get_weather", "content": "3"}]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c", "type": "custom", "custom": {"name": "x", "input": "y"}}]}, {"role": "tool", "tool_call_id": "c", "content": "3"}]},
        {"messages": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "x"}]}, {"role": "user", "content": "b"}]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": [
            {"type": "redacted_thinking", "data": "s"}, {"type": "text", "text": "x"}]}, {"role": "user", "content": "b"}]},
    ],
    ids=["functions", "a function named", "flat tools", "orphan", "empty user", "empty user after a tool", "legacy call", "custom",
         "input_text", "thinking", "redacted thinking"],
)  # fmt: skip
async def test_19_histories_and_tools_in_other_spellings(client, more):
    await taken(client, **more)


PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_image", "image_url": PIXEL},
        {"type": "input_image", "image_url": {"url": PIXEL}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL.partition(",")[2]}},
        {"type": "image_url", "image_url": PIXEL},
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
    ],
    ids=["input_image", "input_image as an object", "Anthropic's", "image_url as text", "image_url"],
)
async def test_19_pictures_in_every_spelling(client, part):
    await taken(client, messages=[{"role": "user", "content": [{"type": "text", "text": "what?"}, part]}])


# ── 20: harmless oddities ──


@pytest.mark.parametrize(
    "more",
    [
        {"provider": {"sort": {"by": "throughput", "partition": "none"}}}, {"provider": None}, {"provider": {}}, {"session_id": 5},
        {"model": None}, {"model": ""}, {"max_tokens": 100.0}, {"max_tokens": -1}, {"max_tokens": None},
        {"n": 1.0}, {"seed": 7.0}, {"seed": -1}, {"temperature": "0.5"}, {"stream": None}, {"stop": None}, {"user": 7},
        {"top_k": 40.0}, {"models": []}, {"models": None}, {"stream": False, "stream_options": {"include_usage": True}},
        {"response_format": {"type": "text"}}, {"response_format": None}, {"tool_choice": "auto"}, {"tools": None},
        {"parallel_tool_calls": False}, {"max_completion_tokens": 64.0}, {"logprobs": False}, {"prompt_cache_key": 12},
        {"reasoning_effort": None}, {"reasoning_effort": "default"}, {"reasoning": {"effort": "low"}},
    ],
    ids=json.dumps,
)  # fmt: skip
async def test_20_oddities_that_mean_no_harm_do_none(client, more):
    await taken(client, **more)


# ── 21: HTTP ──


async def test_21_a_body_may_be_compressed(client):
    headers = {"content-encoding": "gzip", "content-type": "application/json"}

    assert (
        await client.post(CHAT, content=gzip.compress(json.dumps(ASK).encode()), headers=headers)
    ).status_code == 200


async def test_21_the_list_answers_head_and_a_wrong_method_is_told_the_right_one(client):
    assert (await client.head("/v1/models")).status_code == 200
    wrong = await client.put(CHAT)
    assert (wrong.status_code, "POST" in wrong.headers["allow"]) == (405, True)


@pytest.mark.parametrize("path", ["/chat/completions", "/v1/v1/chat/completions", CHAT, f"{CHAT}/"])
async def test_21_an_address_without_v1_or_with_it_twice(client, path):
    assert (await client.post(path, json=ASK)).status_code == 200


def test_21_an_idle_connection_is_kept_longer_than_proxies_pool_theirs():
    assert IDLE_SECONDS >= 75


# ── 22: browsers ──


async def test_22_a_preflight_without_a_key_is_answered_where_a_key_is_set(start):
    demo = await start(("groq",), FREEWAY_API_KEY=KEY)
    headers = {
        "origin": "https://page.example", "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type", "access-control-request-private-network": "true",
    }  # fmt: skip
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as client:
        preflight = await client.options(CHAT, headers=headers)
        asked = {"origin": "https://page.example", "authorization": f"Bearer {KEY}"}
        answer = await client.post(CHAT, json=ASK, headers=asked)

    assert preflight.status_code in (200, 204)
    assert preflight.headers["access-control-allow-origin"] in ("*", "https://page.example")
    assert preflight.headers["access-control-allow-private-network"] == "true"
    assert answer.status_code == 200
    assert "x-freeway-provider" in answer.headers["access-control-expose-headers"].lower()


# ── 24: agents ──


@pytest.mark.parametrize("bound", [8_000, 32_000, 64_000])
@pytest.mark.parametrize("stream", [False, True])
async def test_24_an_agents_bound_keeps_it_from_no_source(client, bound, stream):
    tools = [{"type": "function", "function": {**FUNCTION, "name": f"tool_{number}"}} for number in range(25)]
    messages = [{"role": "system", "content": "You are an agent. " * 250}, {"role": "user", "content": "hello"}]
    for name in ("groq", "mistral"):
        response = await taken(
            client, max_tokens=bound, tools=tools, messages=messages, stream=stream, provider={"only": [name]}
        )
        assert response.headers["x-freeway-provider"] == name


# ── 25: routes that are missing ──


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("/v1/chat/completion", lambda found: found["error"]["message"]),
        ("/v1/messages/batch", lambda found: found["error"]["message"]),
        ("/api/chats", lambda found: found["error"]),
        ("/v1beta/nothing", lambda found: found["error"]["message"]),
    ],
)
async def test_25_a_missing_route_answers_in_its_familys_shape_with_what_was_meant(client, path, read):
    response = await client.post(path, json={})

    assert response.status_code == 404
    assert path in read(response.json())
