"""What the dialects of OpenAI's family send."""

from __future__ import annotations

from typing import Any

import pytest

from providers import dialects
from tests.contract.openai_like import STRICT, built
from tests.payloads import SPECS, account


@pytest.mark.parametrize("provider", STRICT)
def test_what_only_clients_know_is_not_sent_on(provider: str):
    history = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": "hi", "cache_control": {"type": "ephemeral"}},
        {"role": "assistant", "content": "", "annotations": [], "audio": None, "reasoning_content": "hm"},
        {"role": "user", "content": "again"},
    ]
    sent = built(
        provider,
        messages=history,
        metadata={"a": "b"},
        store=True,
        safety_identifier="x",
        prompt_cache_key="y",
        web_search_options={},
        plugins=[{"id": "web"}],
        models=["acme/paid"],
        tools=[],
        tool_choice="auto",
        parallel_tool_calls=True,
    )

    if provider == "openrouter":  # an account may have it on by default, and it has a price
        assert sent.pop("plugins") == [{"id": "web", "enabled": False}]
    assert sent.keys() <= {"model", "messages", "provider", *SPECS[provider].defaults}
    assert sent["messages"][0] == {"role": "system", "content": "be brief"}
    assert sent["messages"][1] == {"role": "user", "content": "hi"}
    assert sent["messages"][2].keys() <= {"role", "content"}


@pytest.mark.parametrize("provider", STRICT)
def test_a_stream_is_asked_to_tell_its_usage(provider: str):
    sent = built(provider, stream=True)

    assert sent["stream"] is True
    assert sent.get("stream_options") == (None if provider == "mistral" else {"include_usage": True})


@pytest.mark.parametrize("provider", STRICT)
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_bound_on_the_answer_goes_by_the_providers_name_for_it(provider: str, name: str):
    sent = built(provider, **{name: 7})
    bounds = {key: value for key, value in sent.items() if key in ("max_tokens", "max_completion_tokens")}

    assert list(bounds.values()) == [7]
    if provider != "openrouter":  # which takes both
        assert list(bounds) == [("max_completion_tokens" if provider in ("groq", "cerebras") else "max_tokens")]


def test_a_default_is_sent_only_where_the_caller_set_none():
    assert built("cloudflare")["max_tokens"] == 2048
    assert built("cloudflare", max_tokens=5)["max_tokens"] == 5


@pytest.mark.parametrize("provider", STRICT)
def test_a_tool_turn_is_replayed_whole(provider: str):
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    history = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [{**call, "index": 0}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "2"},
    ]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}, {"type": "web_search"}]
    sent = built(provider, messages=history, tools=tools, tool_choice="auto")
    (replayed,) = sent["messages"][1]["tool_calls"]

    assert {**replayed, "id": "call_1"} == call
    assert sent["messages"][2] == {"role": "tool", "tool_call_id": replayed["id"], "content": "2"}
    assert (replayed["id"] == "call_1") == (provider != "mistral")  # which takes ids of its own making only
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["f"]


NOTHING = {"prompt": 0, "completion": 0, "request": 0, "image": 0, "audio": 0}


class TestOpenRouter:
    @pytest.mark.parametrize(
        "asked", [None, {}, {"max_price": {"prompt": 5}}, {"max_price": None}, "cheapest", [1], {"max_price": {}}]
    )
    def test_a_request_has_a_ceiling_of_zero_whatever_its_caller_says(self, asked: Any):
        assert built("openrouter", provider=asked)["provider"] == {"max_price": NOTHING}

    def test_the_callers_preferences_are_kept_and_the_names_of_our_sources_are_not_theirs(self):
        asked = {
            "data_collection": "deny",
            "zdr": True,
            "only": ["openrouter"],
            "order": ["groq"],
            "ignore": ["nvidia"],
        }

        assert built("openrouter", provider=asked)["provider"] == {
            "data_collection": "deny",
            "zdr": True,
            "max_price": NOTHING,
        }

    def test_it_says_who_we_are(self):
        headers = dialects.by_name("openrouter").headers(account("openrouter"))

        assert headers["X-OpenRouter-Title"] == "Freeway"

    def test_its_own_parameters_are_understood(self):
        sent = built("openrouter", reasoning={"effort": "low"}, top_k=5, min_p=0.1, top_a=0.2, repetition_penalty=1.1)

        assert sent.keys() >= {"reasoning", "top_k", "min_p", "top_a", "repetition_penalty"}

    def test_it_gets_its_reasoning_back_as_it_came_and_nobody_else_does(self):
        details = [{"type": "reasoning.encrypted", "data": "abc"}]
        history = [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "yes", "reasoning_details": details},
            {"role": "user", "content": "why"},
        ]

        assert built("openrouter", messages=history)["messages"][1]["reasoning_details"] == details
        assert "reasoning_details" not in built("groq", messages=history)["messages"][1]


class TestGroq:
    @pytest.mark.parametrize(
        ("model", "effort", "sent"),
        [
            ("openai/gpt-oss-120b", "minimal", "low"),
            ("openai/gpt-oss-120b", "medium", "medium"),
            ("openai/gpt-oss-120b", "xhigh", "high"),
            ("qwen/qwen3.8-27b", "none", "none"),
        ],
    )
    def test_an_effort_is_one_that_the_model_knows(self, model: str, effort: str, sent: str):
        thinks = frozenset({"reasoning"})

        assert built("groq", model, thinks, reasoning_effort=effort)["reasoning_effort"] == sent

    def test_an_effort_is_left_out_where_the_model_does_not_think(self):
        assert "reasoning_effort" not in built("groq", "groq/compound", reasoning_effort="low")

    def test_parameters_and_names_that_it_refuses_are_left_out(self):
        message = {"role": "user", "content": "hi", "name": "ann"}
        sent = built("groq", messages=[message], n=1, logprobs=False, logit_bias={}, presence_penalty=0.1)

        assert sent.keys() == {"model", "messages"}
        assert sent["messages"] == [{"role": "user", "content": "hi"}]


class TestNvidia:
    @pytest.mark.parametrize(
        ("model", "effort", "switch", "sent"),
        [
            ("nvidia/nemotron-3-super-120b-a12b", "max", {"enable_thinking": True}, "high"),
            ("nvidia/nemotron-3.5-lightning-30b-a3b", "none", {"enable_thinking": False}, None),
            ("deepseek-ai/deepseek-v4.1-flash", "minimal", {"thinking": False}, "none"),
            ("deepseek-ai/deepseek-v4.1-flash", None, {"thinking": True}, None),
            ("moonshotai/kimi-k2.6", "low", {"thinking": True}, "low"),
            ("z-ai/glm-5.3-flash", "none", None, "low"),
            ("openai/gpt-oss-20b", "minimal", None, "low"),
            ("microsoft/phi-4-mini-instruct", "low", None, None),
        ],
    )
    def test_each_model_is_told_how_much_to_reason_in_its_own_way(
        self, model: str, effort: str | None, switch: Any, sent: str | None
    ):
        fields = {} if effort is None else {"reasoning_effort": effort}
        body = built("nvidia", model, **fields)

        assert body.get("chat_template_kwargs") == switch
        assert body.get("reasoning_effort") == sent

    def test_what_the_caller_says_of_the_template_goes_first(self):
        sent = built("nvidia", "z-ai/glm-5.3", reasoning_effort="low", chat_template_kwargs={"enable_thinking": False})

        assert sent["chat_template_kwargs"] == {"enable_thinking": False}

    def test_gpt_oss_takes_the_effort_itself(self):
        assert built("nvidia", "openai/gpt-oss-20b", reasoning_effort="low")["reasoning_effort"] == "low"

    def test_text_in_parts_is_sent_as_one_text_and_pictures_stay_parts(self):
        text = {"type": "text", "text": "hi"}
        picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
        sent = built(
            "nvidia", messages=[{"role": "user", "content": [text, text]}, {"role": "user", "content": [text, picture]}]
        )

        assert sent["messages"][0]["content"] == "hi\nhi"
        assert [part["type"] for part in sent["messages"][1]["content"]] == ["text", "image_url"]
