"""Anthropic's Messages API, on the wire."""

from __future__ import annotations

import json
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.anthropic import Messages, render_error
from gateway.api.auth import ANYBODY
from gateway.api.options import options_of
from gateway.settings import Requests
from gateway.words import BadRequest, Call, NoCapacity, TooLong
from providers.chat import (
    Chunk,
    ChunkChoice,
    Completion,
    Delta,
    FunctionDelta,
    Step,
    ToolCallDelta,
    Usage,
    Whole,
    encode,
)
from providers.simulator.brain import Saying

SAID = "You said: hello there"
HELLO: dict[str, Any] = {"model": "auto", "max_tokens": 500, "messages": [{"role": "user", "content": "hello there"}]}
WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def parsed(**body: Any) -> Any:
    return Messages().parse(encode(HELLO | body), options_of([], Requests(), ANYBODY, "me", "r", 0.0))


def fields_of(call: Call) -> dict[str, Any]:
    return {name: json.loads(bytes(value)) for name, value in call.request.fields.items()}


def events_of(text: str | bytes) -> list[tuple[str, dict[str, Any]]]:
    text = text.decode() if isinstance(text, bytes) else text
    pairs = [block.split("\n") for block in text.split("\n\n") if block]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in pairs]


def blocks_of(events: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """The content that *events* build up, by the rules of Anthropic's packages; the order of events is checked."""
    blocks: list[dict[str, Any]] = []
    is_open = False
    for name, data in events:
        assert name == data["type"]
        if name == "content_block_start":
            assert not is_open
            assert data["index"] == len(blocks)
            blocks.append(dict(data["content_block"]))
            is_open = True
        elif name == "content_block_delta":
            assert is_open
            assert data["index"] == len(blocks) - 1
            kind, block, delta = data["delta"]["type"], blocks[-1], data["delta"]
            if kind == "input_json_delta":
                block["json"] = block.get("json", "") + delta["partial_json"]
            else:
                key = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}[kind]
                block[key] += delta[key]
        elif name == "content_block_stop":
            assert is_open
            is_open = False
            if "json" in blocks[-1]:
                blocks[-1]["input"] = json.loads(blocks[-1].pop("json"))
    assert not is_open
    return blocks


@pytest.fixture
async def demo(start):
    return await start(("groq",))


@pytest.fixture
async def client(demo):
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as made:
        yield made


# ── answers ──


async def test_a_message_is_answered(client):
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "whatever-2030", "x-api-key": "any"}
    response = await client.post("/v1/messages?beta=true", json=HELLO, headers=headers)
    answer = response.json()

    assert answer["content"] == [{"type": "text", "text": SAID}]
    assert (answer["type"], answer["role"], answer["stop_reason"]) == ("message", "assistant", "end_turn")
    assert answer["stop_sequence"] is None
    assert answer["usage"]["input_tokens"] > 0 < answer["usage"]["output_tokens"]
    assert answer["model"] == response.headers["x-freeway-model"] or answer["model"]
    assert response.headers["request-id"] == response.headers["x-request-id"]


async def test_streamed_every_event_is_there_and_in_order(client):
    response = await client.post("/v1/messages", json=HELLO | {"stream": True})
    events = events_of(response.text)
    names = [name for name, _ in events]

    assert response.headers["content-type"].startswith("text/event-stream")
    assert names[:3] == ["message_start", "ping", "content_block_start"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert blocks_of(events) == [{"type": "text", "text": SAID}]
    assert events[0][1]["message"].keys() == {
        "id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"
    }  # fmt: skip
    assert events[-2][1]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert events[-2][1]["usage"]["output_tokens"] > 0 < events[-2][1]["usage"]["input_tokens"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_is_called_and_its_result_answered(client, stream):
    asked = [{"role": "user", "content": "weather in both cities?"}]
    body = HELLO | {"messages": asked, "tools": [WEATHER], "stream": stream}
    response = await client.post("/v1/messages", json=body)
    calls = blocks_of(events_of(response.text)) if stream else response.json()["content"]
    reason = events_of(response.text)[-2][1]["delta"]["stop_reason"] if stream else response.json()["stop_reason"]

    assert [(call["type"], call["name"], call["input"]) for call in calls] == [
        ("tool_use", "get_weather", {"city": "text"})
    ] * 2
    assert calls[0]["id"] != calls[1]["id"]
    assert reason == "tool_use"

    results = [{"type": "tool_result", "tool_use_id": call["id"], "content": "rainy"} for call in calls]
    said = [*asked, {"role": "assistant", "content": calls}, {"role": "user", "content": results}]
    answer = (await client.post("/v1/messages", json=HELLO | {"messages": said, "tools": [WEATHER]})).json()

    assert answer["content"] == [{"type": "text", "text": "The tool said: rainy"}]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("thinking", [None, {"type": "enabled", "budget_tokens": 2000}, {"type": "adaptive"}])
async def test_thoughts_are_shown_to_those_who_ask_for_them(client, demo, stream, thinking):
    demo.world.providers["groq"].brain = lambda view: Saying("so be it", "Let me think.")
    response = await client.post("/v1/messages", json=HELLO | {"thinking": thinking, "stream": stream})
    blocks = blocks_of(events_of(response.text)) if stream else response.json()["content"]

    assert blocks[-1] == {"type": "text", "text": "so be it"}
    if thinking is None:
        assert len(blocks) == 1
    else:
        assert (blocks[0]["type"], blocks[0]["thinking"]) == ("thinking", "Let me think.")
        assert blocks[0]["signature"]


async def test_an_answer_that_is_cut_by_its_bound_says_so(client, demo):
    demo.world.providers["groq"].brain = lambda view: Saying("word " * 5, cut=True)
    answer = (await client.post("/v1/messages", json=HELLO | {"max_tokens": 5})).json()

    assert answer["stop_reason"] == "max_tokens"


async def test_tokens_are_counted_without_a_model(client, demo):
    short = (await client.post("/v1/messages/count_tokens", json=HELLO)).json()
    body = {name: value for name, value in HELLO.items() if name != "max_tokens"}
    long = (await client.post("/v1/messages/count_tokens?beta=true", json=body | {"system": "be brief " * 500})).json()

    assert 0 < short["input_tokens"] < 50
    assert long["input_tokens"] > 1000
    assert long.keys() == {"input_tokens"}


# ── errors ──


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("/v1/messages", {"messages": []}, 400, "invalid_request_error"),
        ("/v1/messages", {"messages": None}, 400, "invalid_request_error"),
        ("/v1/messages", {"messages": [{"role": "user", "content": 3}]}, 400, "invalid_request_error"),
        ("/v1/messages", {"model": "no-such-model"}, 404, "not_found_error"),
        ("/v1/messages/count_tokens", {"messages": 7}, 400, "invalid_request_error"),
        ("/v1/messages/batches", {}, 404, "not_found_error"),
    ],
)
async def test_errors_have_anthropics_shape(client, path, body, status, kind):
    response = await client.post(path, json=HELLO | body)
    told = response.json()

    assert (response.status_code, told["type"], told["error"]["type"]) == (status, "error", kind)
    assert told.keys() == {"type", "error"}
    assert told["error"]["message"]


async def test_a_wrong_key_is_an_authentication_error(start):
    demo = await start(("groq",), FREEWAY_API_KEY="fw")
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        wrong = await client.post("/v1/messages", json=HELLO, headers={"x-api-key": "no"})
        both = await client.post("/v1/messages", json=HELLO, headers={"x-api-key": "fw", "authorization": "Bearer no"})

    assert (wrong.status_code, wrong.json()["error"]["type"]) == (401, "authentication_error")
    assert both.status_code == 200


async def test_a_request_that_is_too_long_is_told_in_the_words_by_which_agents_compact(client):
    body = HELLO | {"messages": [{"role": "user", "content": "word " * 2_000_000}]}
    response = await client.post("/v1/messages", json=body)
    said = response.json()["error"]["message"].split()

    assert response.status_code == 400
    assert said[:4] == ["prompt", "is", "too", "long:"]
    assert said[5:7] == ["tokens", ">"]
    assert int(said[4]) > int(said[7]) > 0
    assert said[8:] == ["maximum"]


def test_what_only_a_provider_finds_too_long_is_told_so_too():
    assert json.loads(render_error(TooLong("it is")))["error"]["message"].startswith("prompt is too long: it is")
    assert json.loads(render_error(NoCapacity("full")))["error"] == {"type": "rate_limit_error", "message": "full"}


def test_a_stream_that_breaks_ends_with_an_error_event():
    [(name, data)] = events_of(Messages().render_broken(NoCapacity("broke")))

    assert (name, data["type"], data["error"]["message"]) == ("error", "error", "broke")


# ── requests ──


def test_a_system_prompt_may_be_a_text_or_blocks_and_stand_anywhere():
    call = parsed(
        system=[
            {"type": "text", "text": "one", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "two"},
        ],
        messages=[
            {"role": "user", "content": "hi"},
            {"role": "system", "content": [{"type": "text", "text": "be brief"}]},
            {"role": "user", "content": [{"type": "text", "text": "go on", "cache_control": {"type": "ephemeral"}}]},
        ],
    )

    assert fields_of(call)["messages"] == [
        {"role": "system", "content": "one\n\ntwo"},
        {"role": "user", "content": "hi"},
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "go on"},
    ]


def test_thoughts_calls_and_results_are_replayed_with_what_a_provider_wants_back():
    extra = {"google": {"thought_signature": "c2ln"}}
    call = parsed(
        messages=[
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "abc"},
                    {"type": "redacted_thinking", "data": "xyz"},
                    {"type": "text", "text": "I look"},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}, "extra_content": extra},
                    {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t1",
                        "is_error": True,
                        "content": [
                            {"type": "text", "text": "no"},
                            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                        ],
                    },
                    {"type": "text", "text": "and now?"},
                ],
            },
        ]
    )

    assert fields_of(call)["messages"][1:] == [
        {
            "role": "assistant",
            "content": "I look",
            "reasoning_content": "hm",
            "tool_calls": [
                {
                    "type": "function",
                    "id": "t1",
                    "function": {"name": "f", "arguments": '{"a":1}'},
                    "extra_content": extra,
                }
            ],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "Error: no"},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                {"type": "text", "text": "and now?"},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("source", "url"),
    [
        ({"type": "base64", "media_type": "image/png", "data": PIXEL}, f"data:image/png;base64,{PIXEL}"),
        ({"type": "url", "url": "https://example.org/a.png"}, "https://example.org/a.png"),
    ],
)
def test_images_come_as_bytes_or_by_address(source, url):
    call = parsed(messages=[{"role": "user", "content": [{"type": "image", "source": source}]}])

    assert call.request.view.messages[0].content[0].image_url.url == url
    assert "vision" in call.wants.capabilities


@pytest.mark.parametrize(
    ("choice", "meant", "parallel"),
    [
        ({"type": "auto"}, "auto", None),
        ({"type": "any"}, "required", None),
        ({"type": "none"}, "none", None),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}, None),
        ({"type": "any", "disable_parallel_tool_use": True}, "required", False),
    ],
)
def test_a_choice_of_tools_keeps_its_meaning(choice, meant, parallel):
    view = parsed(tools=[WEATHER], tool_choice=choice).request.view

    assert (view.tool_choice, view.parallel_tool_calls) == (meant, parallel)


def test_tools_that_run_at_anthropic_are_left_out():
    view = parsed(tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 5}, WEATHER]).request.view

    assert [function.name for function in view.functions()] == ["get_weather"]
    assert parsed(tools=[{"type": "web_search_20250305", "name": "web_search"}, WEATHER]).dropped == (
        "web_search_20250305",
    )
    assert parsed(tools=[], tool_choice={"type": "auto"}).request.view.tools is None


@pytest.mark.parametrize(
    ("body", "effort"),
    [
        ({}, None),
        ({"thinking": {"type": "disabled"}}, "none"),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}, "high"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 31999}}, "high"),
    ],
)
def test_how_much_to_think_keeps_its_meaning(body, effort):
    assert parsed(**body).request.view.reasoning_effort == effort


def test_what_else_is_said_keeps_its_meaning_and_unknown_fields_are_taken():
    schema = {"type": "object"}
    call = parsed(
        stop_sequences=["END"], metadata={"user_id": "her"}, temperature=0.5, top_k=3, top_p=0.9,
        context_management={"edits": []}, service_tier="auto", container=None, mcp_servers=[],
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )  # fmt: skip
    view = call.request.view

    assert (view.stop, view.temperature, view.top_k, view.top_p, view.max_tokens) == (["END"], 0.5, 3, 0.9, 500)
    assert view.response_format.json_schema.schema == schema
    assert call.session == parsed(metadata={"user_id": "her"}).session != parsed(metadata={"user_id": "his"}).session
    assert not fields_of(call).keys() & {"metadata", "context_management", "stop_sequences", "mcp_servers"}


def test_a_field_at_fault_is_named():
    with pytest.raises(BadRequest) as caught:
        parsed(max_tokens="many")

    assert caught.value.param == "max_tokens"


# ── streams ──

PIECES = st.lists(st.text(min_size=1, max_size=4), max_size=4)
ARGUMENTS = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3)


def written(deltas: list[Delta], finish: str = "stop") -> list[tuple[str, dict[str, Any]]]:
    surface = Messages()
    body = HELLO | {"thinking": {"type": "adaptive"}}
    surface.parse(encode(body), options_of([], Requests(), ANYBODY, "me", "r", 0.0))
    chunks = [Chunk(model="m", choices=[ChunkChoice(delta=delta)]) for delta in deltas]
    chunks.append(Chunk(model="m", choices=[ChunkChoice(finish_reason=finish)]))
    chunks.append(Chunk(model="m", usage=Usage(prompt_tokens=7, completion_tokens=3)))
    return events_of(b"".join(surface.render_event(Step(chunk, b"")) for chunk in chunks) + surface.render_end())


@given(PIECES, PIECES, st.lists(ARGUMENTS, max_size=3), st.data())
def test_any_split_of_a_stream_gives_the_same_blocks(thoughts, texts, calls, data):
    """Also where the pieces of calls that are made at once come mixed."""
    queues = []
    for index, arguments in enumerate(calls):
        text = json.dumps(arguments)
        at = data.draw(st.integers(0, len(text)))
        first = ToolCallDelta(index=index, id=f"c{index}", type="function", function=FunctionDelta("f", ""))
        queues.append(
            [first, *(ToolCallDelta(index=index, function=FunctionDelta(None, t)) for t in (text[:at], text[at:]))]
        )
    deltas = [*(Delta(reasoning_content=t) for t in thoughts), *(Delta(content=t) for t in texts)]
    started = 0
    while any(queues):
        # A call begins in its turn; from then on its pieces may come at any time.
        ready = [queue for number, queue in enumerate(queues) if queue and (number < started or number == started)]
        queue = data.draw(st.sampled_from(ready))
        if len(queue) == 3:
            started += 1
        deltas.append(Delta(tool_calls=[queue.pop(0)]))
    blocks = blocks_of(written(deltas))

    assert "".join(b["thinking"] for b in blocks if b["type"] == "thinking") == "".join(thoughts)
    assert "".join(b["text"] for b in blocks if b["type"] == "text") == "".join(texts)
    assert [(b["id"], b["input"]) for b in blocks if b["type"] == "tool_use"] == [
        (f"c{index}", arguments) for index, arguments in enumerate(calls)
    ]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("tool_calls", "tool_use"), ("content_filter", "refusal")],
)
def test_an_end_is_told_in_anthropics_words(finish, reason):
    [(_, delta), _] = written([Delta(content="so")], finish)[-2:]

    assert delta["delta"]["stop_reason"] == reason
    assert (delta["usage"]["input_tokens"], delta["usage"]["output_tokens"]) == (7, 3)


def test_a_refusal_is_one():
    events = written([Delta(refusal="I will not")])

    assert blocks_of(events) == [{"type": "text", "text": "I will not"}]
    assert events[-2][1]["delta"]["stop_reason"] == "refusal"


TEXTS = st.text(min_size=1, max_size=10)
CALLS = st.lists(st.tuples(TEXTS, ARGUMENTS), max_size=3)


@given(st.none() | TEXTS, st.none() | TEXTS, CALLS)
def test_an_answer_that_is_replayed_means_the_same(thought, text, calls):
    """Rendered here and parsed here again, the neutral message is the one that a provider gave."""
    message: dict[str, Any] = {"role": "assistant", "content": text or ""}
    if thought:
        message["reasoning_content"] = thought
    if calls:
        message["tool_calls"] = [
            {
                "type": "function",
                "id": f"c{place}",
                "function": {"name": name, "arguments": encode(arguments).decode()},
                "extra_content": {"google": {"thought_signature": f"s{place}"}},
            }
            for place, (name, arguments) in enumerate(calls)
        ]
    completion = {"model": "m", "choices": [{"message": message, "finish_reason": "stop"}]}

    surface = Messages()
    options = options_of([], Requests(), ANYBODY, "me", "r", 0.0)
    surface.parse(encode(HELLO | {"thinking": {"type": "adaptive"}}), options)
    rendered = json.loads(surface.render_whole(Whole(msgspec.convert(completion, Completion), b"")))
    replayed = parsed(messages=[*HELLO["messages"], {"role": "assistant", "content": rendered["content"]}])

    assert fields_of(replayed)["messages"][1] == message


DETAILS = [{"type": "reasoning.encrypted", "data": "c2VjcmV0", "format": "anthropic-claude-v1"}]


@pytest.mark.parametrize("thought", ["Hm.", None])
@pytest.mark.parametrize("stream", [False, True])
def test_what_a_provider_wants_back_of_a_thought_is_carried_by_its_signature(thought, stream):
    """Also where nothing of the thought is shown."""
    surface = Messages()
    asked = encode(HELLO | {"thinking": {"type": "adaptive"}})
    surface.parse(asked, options_of([], Requests(), ANYBODY, "me", "r", 0.0))
    said = {"content": "yes", "reasoning_details": DETAILS} | ({"reasoning_content": thought} if thought else {})
    if stream:
        chunk = {"model": "m", "choices": [{"delta": said, "finish_reason": "stop"}]}
        step = Step(msgspec.convert(chunk, Chunk), encode(chunk))
        content = blocks_of(events_of(surface.render_event(step) + surface.render_end()))
    else:
        whole = {"model": "m", "choices": [{"message": {"role": "assistant", **said}, "finish_reason": "stop"}]}
        content = json.loads(surface.render_whole(Whole(msgspec.convert(whole, Completion), encode(whole))))["content"]
    replayed = fields_of(parsed(messages=[*HELLO["messages"], {"role": "assistant", "content": content}]))

    assert [block["type"] for block in content] == ["thinking" if thought else "redacted_thinking", "text"]
    assert replayed["messages"][1]["reasoning_details"] == DETAILS
    assert replayed["messages"][1].get("reasoning_content") == thought


def test_another_makers_signature_means_nothing():
    content = [
        {"type": "thinking", "thinking": "Hm.", "signature": "EqQBCgIYAhIM"},
        {"type": "redacted_thinking", "data": "x"},
    ]
    replayed = fields_of(parsed(messages=[*HELLO["messages"], {"role": "assistant", "content": content}]))

    assert "reasoning_details" not in replayed["messages"][1]
