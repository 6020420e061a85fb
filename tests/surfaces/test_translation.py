"""What holds of every surface in another spelling than OpenAI's: a conversation keeps its meaning, and junk is a 400."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.api import anthropic, gemini, ollama
from gateway.api.auth import ANYBODY
from gateway.api.http import Ready
from gateway.api.neutral import CallIds
from gateway.api.openai_chat import ChatCompletions
from gateway.api.openai_responses import Responses
from gateway.api.options import Options, options_of
from gateway.api.responses_archive import Archive
from gateway.settings import Requests, Settings
from gateway.words import BadRequest, Call
from providers.chat import encode
from providers.dialect import Request
from providers.translation import image_of
from tests.clock import FakeClock

Conversation = list[dict[str, Any]]
"""Turns as a person would tell them: who (user, model or tool), what, and the calls with their names and arguments."""

OPTIONS: Options = replace(options_of([], Requests(), ANYBODY, "me", "r", 0.0), address="auto:generateContent")
PNG = "iVBORw0KGgo="

TEXTS = st.text(min_size=1, max_size=8)
ARGUMENTS = st.dictionaries(
    st.text(max_size=4), st.integers(-9, 9) | st.text(max_size=4) | st.lists(st.booleans()), max_size=3
)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    turns: Conversation = []
    made = 0
    for _ in range(draw(st.integers(1, 3))):
        turns.append({"who": "user", "text": draw(TEXTS), "image": draw(st.booleans())})
        calls = [
            {"id": f"c{made + n}", "name": name, "arguments": draw(ARGUMENTS)}
            for n, name in enumerate(draw(st.lists(st.sampled_from(["f", "g"]), max_size=2)))
        ]
        made += len(calls)
        turns.append({"who": "model", "text": draw(TEXTS), "thought": draw(st.none() | TEXTS), "calls": calls})
        turns += [{"who": "tool", "call": call, "text": draw(TEXTS)} for call in calls]
    return [*turns, {"who": "user", "text": draw(TEXTS), "image": False}]


def as_anthropic(turns: Conversation) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for turn in turns:
        if turn["who"] == "user":
            source = {"type": "base64", "media_type": "image/png", "data": PNG}
            image = [{"type": "image", "source": source}] if turn["image"] else []
            messages.append({"role": "user", "content": [{"type": "text", "text": turn["text"]}, *image]})
        elif turn["who"] == "model":
            thought = turn["thought"]
            blocks: list[dict[str, Any]] = (
                [{"type": "thinking", "thinking": thought, "signature": "s"}] if thought else []
            )
            blocks.append({"type": "text", "text": turn["text"]})
            blocks += [
                {"type": "tool_use", "id": call["id"], "name": call["name"], "input": call["arguments"]}
                for call in turn["calls"]
            ]
            messages.append({"role": "assistant", "content": blocks})
        else:
            result = {"type": "tool_result", "tool_use_id": turn["call"]["id"], "content": turn["text"]}
            messages.append({"role": "user", "content": [result]})
    return {"max_tokens": 100, "messages": messages}


def as_ollama(turns: Conversation) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for turn in turns:
        if turn["who"] == "user":
            messages.append({"role": "user", "content": turn["text"], "images": [PNG] if turn["image"] else []})
        elif turn["who"] == "model":
            calls = [{"function": {"name": c["name"], "arguments": c["arguments"]}} for c in turn["calls"]]
            messages.append(
                {"role": "assistant", "content": turn["text"], "thinking": turn["thought"], "tool_calls": calls}
            )
        else:
            messages.append({"role": "tool", "content": turn["text"], "tool_name": turn["call"]["name"]})
    return {"messages": messages}


def as_gemini(turns: Conversation) -> dict[str, Any]:
    contents: list[dict[str, Any]] = []
    for turn in turns:
        if turn["who"] == "user":
            image = [{"inlineData": {"mimeType": "image/png", "data": PNG}}] if turn["image"] else []
            contents.append({"role": "user", "parts": [{"text": turn["text"]}, *image]})
        elif turn["who"] == "model":
            parts: list[dict[str, Any]] = [{"text": turn["thought"], "thought": True}] if turn["thought"] else []
            parts.append({"text": turn["text"]})
            parts += [{"functionCall": {"name": c["name"], "args": c["arguments"]}} for c in turn["calls"]]
            contents.append({"role": "model", "parts": parts})
        else:
            result = {"name": turn["call"]["name"], "response": {"output": turn["text"]}}
            contents.append({"role": "user", "parts": [{"functionResponse": result}]})
    return {"contents": contents}


def as_chat(turns: Conversation) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for turn in turns:
        if turn["who"] == "user":
            image = (
                [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}] if turn["image"] else []
            )
            messages.append({"role": "user", "content": [{"type": "text", "text": turn["text"]}, *image]})
        elif turn["who"] == "model":
            made: dict[str, Any] = {"role": "assistant", "content": turn["text"]}
            if turn["thought"]:
                made["reasoning_content"] = turn["thought"]
            if turn["calls"]:
                made["tool_calls"] = [
                    {
                        "id": c["id"],
                        "type": "function",
                        "function": {"name": c["name"], "arguments": json.dumps(c["arguments"])},
                    }
                    for c in turn["calls"]
                ]
            messages.append(made)
        else:
            messages.append({"role": "tool", "tool_call_id": turn["call"]["id"], "content": turn["text"]})
    return {"messages": messages}


def as_responses(turns: Conversation) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    for turn in turns:
        if turn["who"] == "user":
            image = [{"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}] if turn["image"] else []
            items.append({"role": "user", "content": [{"type": "input_text", "text": turn["text"]}, *image]})
        elif turn["who"] == "model":
            if turn["thought"]:
                items.append({"type": "reasoning", "summary": [{"type": "summary_text", "text": turn["thought"]}]})
            said = {"type": "output_text", "text": turn["text"], "annotations": []}
            items.append({"type": "message", "role": "assistant", "content": [said]})
            items += [
                {
                    "type": "function_call",
                    "call_id": c["id"],
                    "name": c["name"],
                    "arguments": json.dumps(c["arguments"]),
                }
                for c in turn["calls"]
            ]
        else:
            items.append({"type": "function_call_output", "call_id": turn["call"]["id"], "output": turn["text"]})
    return {"input": items}


def _responses(body: bytes) -> Call:
    parsed = Responses(Archive(None, Settings()), FakeClock()).parse(body, OPTIONS)
    assert isinstance(parsed, Call)
    return parsed


Parse = Callable[[bytes], Call | Ready]
PARSERS: dict[str, Parse] = {
    "completions": lambda body: ChatCompletions(Archive(None, Settings())).parse(body, OPTIONS),
    "responses": _responses,
    "messages": lambda body: anthropic.Messages().parse(body, OPTIONS),
    "count_tokens": lambda body: anthropic.CountTokens().parse(body, OPTIONS),
    "chat": lambda body: ollama.Chat().parse(body, OPTIONS),
    "generate": lambda body: ollama.Generate().parse(body, OPTIONS),
    "embed": lambda body: ollama.Embed().parse(body, OPTIONS),
    "generateContent": lambda body: gemini.GenerateContent().parse(body, OPTIONS),
    "streamGenerateContent": lambda body: gemini.StreamGenerateContent().parse(body, OPTIONS),
    "countTokens": lambda body: gemini.CountTokens().parse(body, OPTIONS),
    "batchEmbedContents": lambda body: gemini.BatchEmbedContents().parse(body, OPTIONS),
    "embedContent": lambda body: gemini.EmbedContent().parse(body, OPTIONS),
}
SPELLED: dict[str, Callable[[Conversation], dict[str, Any]]] = {
    "completions": as_chat,
    "responses": as_responses,
    "messages": as_anthropic,
    "chat": as_ollama,
    "generateContent": as_gemini,
}


def heard(call: Call | Ready) -> Conversation:
    """The conversation that a provider will be told, and that its ids are right."""
    assert isinstance(call, Call)
    calls: dict[str, dict[str, Any]] = {}
    turns: Conversation = []
    assert isinstance(call.request, Request)
    for message in call.request.view.messages:
        if message.role == "user":
            images = [part.image_url for part in message.parts() if part.image_url is not None]
            assert all(image_of(image).data == PNG for image in images)
            turns.append({"who": "user", "text": message.text(), "image": bool(images)})
        elif message.role == "assistant":
            made = []
            for one in message.tool_calls or ():
                assert one.id not in calls, "an id stands for one call"
                made.append({"name": one.function.name, "arguments": json.loads(one.function.arguments)})
                calls[one.id] = made[-1]
            turns.append({"who": "model", "text": message.text(), "thought": message.reasoning_content, "calls": made})
        else:
            turns.append({"who": "tool", "call": calls[message.tool_call_id or ""], "text": message.text()})
    return turns


@pytest.mark.parametrize("name", SPELLED)
@given(conversations())
def test_a_conversation_with_tools_keeps_its_meaning(name, turns):
    meant = [
        turn
        | (
            {"calls": [{"name": c["name"], "arguments": c["arguments"]} for c in turn["calls"]]}
            if "calls" in turn
            else {}
        )
        | ({"call": {k: turn["call"][k] for k in ("name", "arguments")}} if "call" in turn else {})
        for turn in turns
    ]
    first, second = (PARSERS[name](encode(SPELLED[name](turns))) for _ in range(2))

    assert heard(first) == meant
    assert isinstance(first, Call)
    assert isinstance(second, Call)
    assert first.request.fields == second.request.fields, "the same conversation has the same ids each time"


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("messages", {"model": None, "max_tokens": 100.0, "top_k": 4.0, "thinking": {"type": "enabled", "budget_tokens": 9.0}}),
        ("chat", {"model": None, "options": {"num_predict": 100.0, "top_k": 4.0}}),
        ("generateContent", {"generationConfig": {"maxOutputTokens": 100.0, "topK": 4.0, "seed": 1.0}}),
    ],
)  # fmt: skip
def test_no_model_is_any_and_a_count_may_be_written_as_a_fraction(name, body):
    spelled = SPELLED[name]([{"who": "user", "text": "hi", "image": False}])
    call = PARSERS[name](encode(spelled | body))

    assert isinstance(call, Call)
    assert isinstance(call.request, Request)
    assert (call.wants.models, call.request.view.max_tokens, call.request.view.top_k) == (("auto",), 100, 4)


# ── junk ──

NAMES = st.sampled_from(
    [
        "model",
        "messages",
        "contents",
        "parts",
        "role",
        "content",
        "type",
        "text",
        "tools",
        "function",
        "name",
        "parameters",
        "input",
        "input_schema",
        "options",
        "stop",
        "top_k",
        "num_predict",
        "format",
        "think",
        "images",
        "image",
        "source",
        "data",
        "url",
        "system",
        "thinking",
        "tool_calls",
        "arguments",
        "tool_use_id",
        "id",
        "generationConfig",
        "topK",
        "maxOutputTokens",
        "responseSchema",
        "thinkingConfig",
        "functionCall",
        "args",
        "functionResponse",
        "response",
        "inlineData",
        "requests",
        "prompt",
        "tool_choice",
        "tool_result",
        "tool_use",
        "metadata",
        "user_id",
        "output_config",
        "anyOf",
        "items",
    ]
)
WORDS = st.sampled_from(
    ["auto", "m", "user", "assistant", "model", "tool", "text", "image", "tool_use", "tool_result", "", "\ud800"]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | WORDS
JUNK = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=20
)
MESSAGE = st.dictionaries(NAMES, JUNK, max_size=4)
BODIES = st.one_of(
    JUNK,
    st.builds(lambda many, more: {"model": "m"} | more | {"messages": many}, st.lists(MESSAGE, max_size=3), MESSAGE),
    st.builds(lambda many, more: more | {"contents": [{"parts": many}]}, st.lists(MESSAGE, max_size=3), MESSAGE),
)


@pytest.mark.parametrize("name", PARSERS)
@given(BODIES)
def test_junk_is_understood_or_refused_and_never_a_bug(name, body):
    with suppress(BadRequest):
        PARSERS[name](json.dumps(body).encode())


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b'{"contents": [{"parts": [{"text": "a"}]}], "generationConfig": {"topK": 1e999}}',
        b'{"messages": [{"role": "user", "content": "a"}], "options": {"top_k": 1e300, "num_predict": 1e300}}',
        b'{"messages": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"contents": ' + b'{"parts":' * 5000 + b"1" + b"}" * 5000 + b"}",
        b'{"messages":[{"role":"user","content":"a"}],"max_tokens":5,"tools":[{"name":"f","input_schema":{"a":'
        + b"[" * 900 + b"]" * 900 + b"}}]}",
    ],
)  # fmt: skip
def test_so_is_worse(name, body):
    with suppress(BadRequest):
        PARSERS[name](body)


def test_a_result_without_a_call_and_ids_given_twice_are_borne():
    ids = CallIds()

    assert [ids.called("f", "x"), ids.called("f", "x"), ids.called("g", None)] == ["x", "call_2", "call_3"]
    assert ids.answered("g", None) == "call_3"
    assert ids.answered("nobody", None) not in ("x", "call_2", "call_3")
    assert ids.answered(None, None) == "x"
    assert ids.answered("f", "call_2") == "call_2"
    assert ids.answered(None, "unheard") == "unheard"
