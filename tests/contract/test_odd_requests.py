"""
Requests that OpenAI's API takes and one source or another does not: each gets what it takes, and nothing is lost.

Laws of every dialect in OpenAI's family; the reports stand beside them.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import dialects
from providers import failures as f
from providers.chat import decode_fields, decode_request
from providers.dialect import Request, Target
from providers.parameters import EFFORTS, nearest
from providers.tool_names import OPENAI_NAME, ToolNames
from tests.payloads import SPECS, account

FAMILY = sorted(name for name, spec in SPECS.items() if spec.dialect not in ("google", "ollama"))
SYSTEM_FIRST = [name for name in FAMILY if not SPECS[name].system_anywhere]


def asked(*messages: dict[str, Any], **fields: Any) -> Request:
    body = msgspec.json.encode({"messages": messages or ({"role": "user", "content": "hi"},), **fields})
    return Request(decode_request(body), decode_fields(body))


def sent(provider: str, /, *messages: dict[str, Any], model: str = "acme/model", **fields: Any) -> dict[str, Any]:
    dialect = dialects.by_name(SPECS[provider].dialect)
    target = Target(account(provider), model, frozenset({"tools", "reasoning"}))
    found: dict[str, Any] = msgspec.json.decode(dialect.build(target, asked(*messages, **fields)).body or b"")
    return found


def call(call_id: str, arguments: str = "{}", name: str = "look") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


TEXT = [{"type": "text", "text": "4 degrees,"}, {"type": "text", "text": "rain"}]


@pytest.mark.parametrize("provider", FAMILY)
def test_text_is_sent_as_one_text_and_null_as_an_empty_one(provider: str):
    """Cloudflare refuses lists, null and nothing alike (anomalyco/opencode#30381)."""
    messages = sent(
        provider,
        {"role": "system", "content": TEXT},
        {"role": "user", "content": TEXT},
        {"role": "assistant", "content": None, "tool_calls": [call("abcdefghi")]},
        {"role": "tool", "tool_call_id": "abcdefghi", "content": TEXT},
        {"role": "assistant"},
    )["messages"]

    assert [message["content"] for message in messages] == ["4 degrees,\nrain"] * 2 + ["", "4 degrees,\nrain", ""]


@pytest.mark.parametrize("provider", FAMILY)
def test_a_file_arrives_as_it_was_sent(provider: str):
    """diegosouzapw/OmniRoute#993: a part that is cut down to its type is answered with something made up."""
    parts = [
        {"type": "text", "text": "Sum it up."},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}},
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AA=="}},
    ]

    assert sent(provider, {"role": "user", "content": parts})["messages"][0]["content"] == parts


@pytest.mark.parametrize("provider", [*FAMILY, "google", "ollama"])
def test_a_part_of_an_unknown_kind_is_refused_and_never_sent_empty(provider: str):
    with pytest.raises(f.Unsupported, match="hologram"):
        sent(provider, {"role": "user", "content": [{"type": "hologram", "hologram": {"data": "AA=="}}]})


@pytest.mark.parametrize("provider", FAMILY)
@pytest.mark.parametrize(
    ("written", "replayed"),
    [
        ("", {}),
        ("  ", {}),
        ('{"city": "Os', {"arguments": '{"city": "Os'}),
        ("[1]", {"arguments": [1]}),
        ('"x"', {"arguments": "x"}),
        ('{"city":  "Oslo"}', {"city": "Oslo"}),
    ],
)
def test_arguments_in_a_history_are_an_object(provider: str, written: str, replayed: dict[str, Any]):
    """vLLM and llama.cpp parse old calls (continuedev/continue#13092, vllm-project/vllm#48922)."""
    messages = sent(
        provider,
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [call("abcdefghi", written)]},
        {"role": "tool", "tool_call_id": "abcdefghi", "content": "3"},
    )["messages"]
    arguments = messages[1]["tool_calls"][0]["function"]["arguments"]

    assert msgspec.json.decode(arguments) == replayed
    if written == '{"city":  "Oslo"}':
        assert arguments == written  # what is right already is left as it is


@given(st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=5, unique=True))
def test_ids_that_a_source_refuses_get_others_that_belong_together(ids: list[str]):
    """Mistral takes nine letters and digits (mnfst/llm-gateway#1186, langchain-ai/langchain#24668)."""
    calls = [call(one) for one in ids]
    results = [{"role": "tool", "tool_call_id": one, "content": one} for one in reversed(ids)]
    messages = sent("mistral", {"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": calls}, *results)[
        "messages"
    ]
    renamed = [one["id"] for one in messages[1]["tool_calls"]]

    assert len(set(renamed)) == len(ids)
    assert all(re.fullmatch("[a-zA-Z0-9]{9}", one) for one in renamed)
    assert [message["tool_call_id"] for message in messages[2:]] == renamed[::-1]
    assert all(new == old for new, old in zip(renamed, ids, strict=True) if re.fullmatch("[a-zA-Z0-9]{9}", old))


@pytest.mark.parametrize("provider", FAMILY)
def test_calls_without_ids_get_some(provider: str):
    """An empty id in a history is refused (iOfficeAI/aionrs#99)."""
    messages = sent(
        provider,
        {"role": "user", "content": "hi"},
        {"role": "assistant", "tool_calls": [call(""), call("", '{"a":1}')]},
        {"role": "tool", "tool_call_id": "", "content": "1"},
        {"role": "tool", "content": "2"},
    )["messages"]
    first, second = (one["id"] for one in messages[1]["tool_calls"])

    assert first != second
    assert [message["tool_call_id"] for message in messages[2:]] == [first, second]


LATE = (
    {"role": "system", "content": "Be brief."},
    {"role": "developer", "content": "Speak Norwegian."},
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "hei"},
    {"role": "system", "content": "It is Friday."},
    {"role": "user", "content": "and?"},
)


@pytest.mark.parametrize("provider", [*SYSTEM_FIRST, "ollama"])
def test_all_instructions_stand_at_the_beginning_as_one(provider: str):
    """Qwen's and Gemma's templates fail for any other system message (vllm-project/vllm#41114, anomalyco/opencode#46481)."""
    messages = sent(provider, *LATE)["messages"]

    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[0]["content"] == "Be brief.\n\nSpeak Norwegian.\n\nIt is Friday."


def test_instructions_keep_their_places_where_that_is_known_to_be_well():
    assert [message["role"] for message in sent("groq", *LATE)["messages"]] == [
        "system", "system", "user", "assistant", "system", "user",
    ]  # fmt: skip


@pytest.mark.parametrize("provider", FAMILY)
def test_null_is_the_same_as_absent(provider: str):
    """Servers that read types strictly refuse it (ggml-org/llama.cpp#25515); our own defaults hold as if nothing were said."""
    nothing: dict[str, Any] = dict.fromkeys(
        (
            "temperature",
            "top_p",
            "max_tokens",
            "stop",
            "seed",
            "n",
            "tools",
            "tool_choice",
            "response_format",
            "logprobs",
        )
    )

    assert sent(provider, **nothing) == sent(provider)
    assert sent(provider, stop=[]) == sent(provider)


# ── names of tools ──

BUILDER = "21st_magic_component_builder"


def google(*messages: dict[str, Any], **fields: Any) -> tuple[dict[str, Any], Request]:
    request = asked(*messages, **fields)
    built = dialects.by_name("google").build(Target(account("google"), "gemini-3.5-flash"), request)
    return msgspec.json.decode(built.body or b""), request


def tools(*names: str) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in names]


def test_a_name_that_gemini_refuses_goes_out_and_comes_back_as_another():
    """21st-dev/magic-mcp#34, cline/cline#7339"""
    history: list[Any] = [
        {"role": "user", "content": "Build."},
        {"role": "assistant", "tool_calls": [call("c1", name=BUILDER)]},
        {"role": "tool", "tool_call_id": "c1", "content": "built"},
    ]
    choice = {"type": "function", "function": {"name": BUILDER}}
    body, request = google(*history, tools=tools(BUILDER), tool_choice=choice)
    (declared,) = body["tools"][0]["functionDeclarations"]
    name = declared["name"]

    assert re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}", name)
    assert body["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"] == [name]
    assert body["contents"][1]["parts"][0]["functionCall"]["name"] == name
    assert body["contents"][2]["parts"][0]["functionResponse"]["name"] == name

    answer = {
        "candidates": [{"content": {"parts": [{"functionCall": {"name": name, "args": {}}}]}, "finishReason": "STOP"}]
    }
    target = Target(account("google"), "gemini-3.5-flash")
    found = dialects.by_name("google").read(target, request, msgspec.json.encode(answer))
    (called,) = found.completion.choices[0].message.tool_calls or []
    assert called.function.name == BUILDER


def test_gemini_is_offered_each_name_once():
    body, _ = google(tools=tools("look", "look", "hear"))

    assert [one["name"] for one in body["tools"][0]["functionDeclarations"]] == ["look", "hear"]


@pytest.mark.parametrize("provider", FAMILY)
def test_a_name_that_openai_would_not_take_is_changed_the_same_everywhere(provider: str):
    names = ["mcp.server/look", "x" * 80, "look"]
    history: list[Any] = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "tool_calls": [call("abcdefghi", name=names[0])]},
        {"role": "tool", "tool_call_id": "abcdefghi", "content": "3"},
    ]
    body = sent(provider, *history, tools=tools(*names, "look"))
    offered = [one["function"]["name"] for one in body["tools"]]

    assert len(offered) == len(set(offered)) == 3
    assert all(re.fullmatch("[a-zA-Z0-9_-]{1,64}", one) for one in offered)
    assert offered[2] == "look"
    assert body["messages"][1]["tool_calls"][0]["function"]["name"] == offered[0]


@given(st.lists(st.text(min_size=1, max_size=90), min_size=1, max_size=8, unique=True))
def test_every_name_comes_back_as_it_was_offered(offered: list[str]):
    names = ToolNames(offered)
    out = [names.sent(name) for name in offered]

    assert len(set(out)) == len(offered)
    assert all(OPENAI_NAME.match(name) for name in out)
    assert [names.called(name) for name in out] == offered


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("look", "look"), ("look<|channel|>commentary", "look"), ("default_api.look", "look"), ("functions.look", "look"),
        ("look<|odd|>", "look<|odd|>"), ("default_api:hear", "hear"), ("smell", "smell"), ("", ""),
    ],
)  # fmt: skip
def test_a_called_name_is_the_offered_one_that_it_can_only_mean(written: str, meant: str):
    assert ToolNames(["look", "look<|odd|>", "hear"]).called(written) == meant


# ── values that differ by model ──


@pytest.mark.parametrize(
    ("model", "effort", "level"),
    [
        ("gemini-3.7-flash", "none", "LOW"), ("gemini-3.8-flash", "minimal", "LOW"), ("gemini-3.7-flash", "max", "HIGH"),
        ("gemini-3.5-flash-lite", "minimal", "MINIMAL"), ("gemini-3.1-flash-lite", "none", "MINIMAL"),
        ("gemini-9-flash", "none", "LOW"), ("gemma-4-31b-it", "low", "MINIMAL"), ("gemma-4-31b-it", "medium", "HIGH"),
    ],
)  # fmt: skip
def test_the_nearest_level_that_a_model_knows_is_sent(model: str, effort: str, level: str):
    """can1357/oh-my-pi#10543, fishjar/kiss-translator#1048; a model that nobody knows takes the common ones."""
    target = Target(account("google"), model, frozenset({"reasoning"}))
    body = msgspec.json.decode(dialects.by_name("google").build(target, asked(reasoning_effort=effort)).body or b"")

    assert body["generationConfig"]["thinkingConfig"]["thinkingLevel"] == level


@pytest.mark.parametrize(
    ("provider", "model", "effort", "expected"),
    [
        ("groq", "qwen/qwen3.6-27b", "high", "default"), ("groq", "qwen/qwen3.6-27b", "minimal", "none"),
        ("groq", "openai/gpt-oss-20b", "none", "low"), ("mistral", "mistral-small-latest", "medium", "high"),
        ("mistral", "ministral-8b-latest", "high", None), ("cerebras", "gpt-oss-120b", "max", "high"),
        ("cohere", "command-a-03-2025", "low", None), ("openrouter", "openai/gpt-oss-20b:free", "none", "low"),
        ("openrouter", "acme/new:free", "none", "none"), ("cloudflare", "@cf/openai/gpt-oss-20b", "xhigh", "high"),
    ],
)  # fmt: skip
def test_the_nearest_effort_that_a_model_takes_is_sent(provider: str, model: str, effort: str, expected: str | None):
    assert sent(provider, model=model, reasoning_effort=effort).get("reasoning_effort") == expected


@pytest.mark.parametrize(("effort", "kind"), [("none", "disabled"), ("minimal", "disabled"), ("high", "enabled")])
def test_zai_is_told_in_its_own_way(effort: str, kind: str):
    body = sent("zai", model="glm-4.7-flash", reasoning_effort=effort)

    assert body["thinking"] == {"type": kind}
    assert "reasoning_effort" not in body


@pytest.mark.parametrize(
    ("provider", "given_", "expected"), [("mistral", 1.9, 1.5), ("zai", 1.5, 1.0), ("zai", 0.3, 0.3)]
)
def test_a_temperature_is_brought_into_the_range_of_its_provider(provider: str, given_: float, expected: float):
    assert sent(provider, temperature=given_)["temperature"] == expected


@given(st.sampled_from(EFFORTS), st.lists(st.sampled_from(EFFORTS), min_size=1, unique=True))
def test_the_nearest_effort_is_one_that_is_taken(effort: str, accepted: list[str]):
    found = nearest(effort, accepted)

    assert found in accepted
    if effort in accepted:
        assert found == effort


@pytest.mark.parametrize(
    ("fields", "required"),
    [
        ({}, None),
        ({"tools": tools("look")}, True),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}}, True),
        ({"tools": tools("look"), "provider": {"require_parameters": False}}, False),
    ],
)
def test_openrouter_is_told_to_choose_an_upstream_that_does_what_is_asked(
    fields: dict[str, Any], required: bool | None
):
    assert sent("openrouter", **fields)["provider"].get("require_parameters") is required


@pytest.mark.parametrize(
    ("model", "replayed"), [("deepseek-ai/deepseek-v4.1-flash", True), ("qwen/qwen3.5-122b", False)]
)
def test_earlier_reasoning_goes_back_to_those_who_want_it(model: str, replayed: bool):
    """NousResearch/hermes-agent#83375; others refuse the field."""
    history = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hei", "reasoning_content": "Hm."}]

    assert ("reasoning_content" in sent("nvidia", *history, model=model)["messages"][1]) == replayed
