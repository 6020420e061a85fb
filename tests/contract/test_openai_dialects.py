"""What the dialects of OpenAI's family read and write, from payloads on record: answers, streams, tools, lists."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest

from providers import dialects
from providers import failures as f
from providers.chat import Completion, Step, decode_fields, decode_request
from providers.dialect import HttpResponse, Listed, Listing, Request, Target
from providers.refine import refined
from providers.refined_stream import RefinedReader
from providers.sse import ServerSentEvents
from tests.payloads import SPECS, account, answer, body

STRICT = ("groq", "mistral", "cerebras", "cloudflare", "zai", "nvidia", "huggingface", "openrouter")


def target(provider: str, model: str = "acme/model", **known: Any) -> Target:
    return Target(account(provider), model, **known)


def asked(**fields: Any) -> Request:
    content = msgspec.json.encode({"messages": [{"role": "user", "content": "hi"}], **fields})
    return Request(decode_request(content), decode_fields(content))


def built(
    provider: str, model: str = "acme/model", capabilities: frozenset[str] = frozenset(), /, **fields: Any
) -> Any:
    """The body of the call that asks *provider* for *fields*."""
    dialect = dialects.by_name(SPECS[provider].dialect)
    call = dialect.build(target(provider, model, capabilities=capabilities), asked(**fields))
    assert call.url == f"{SPECS[provider].base_url}/chat/completions"
    assert call.headers["authorization"] == "Bearer key"
    return msgspec.json.decode(call.body or b"")


def whole(name: str, content: bytes | None = None, **known: Any) -> Completion:
    """The answer in the payload *name*; what is sent on says the same."""
    provider = name.partition("/")[0]
    where, request = target(provider, **known), asked()
    read = dialects.by_name(SPECS[provider].dialect).read(where, request, content or answer_body(name))
    found, _ = refined(where, request, read)
    sent_on = msgspec.json.decode(found.data, type=Completion, strict=True)
    assert sent_on.choices == found.completion.choices
    assert msgspec.json.decode(found.data)["choices"][0]["message"].get("reasoning") is None
    return found.completion


def answer_body(name: str) -> bytes:
    content = body(name)
    return answer(name).body if b'"headers"' in content else content


def streamed(name: str, content: bytes | None = None, **known: Any) -> tuple[list[Step], RefinedReader]:
    provider = name.partition("/")[0]
    where, request = target(provider, **known), asked()
    reader = RefinedReader(dialects.by_name(SPECS[provider].dialect).reader(where, request), where, request)
    framing = ServerSentEvents()
    events = [*framing.feed(content or body(name)), *framing.end()]
    steps = [step for event in events for step in reader.feed(event)]
    return steps, reader


def joined(steps: list[Step], field: str) -> str:
    return "".join(getattr(choice.delta, field) or "" for step in steps for choice in step.chunk.choices)


# ── answers ──


@pytest.mark.parametrize(
    ("name", "said", "thought", "counts"),
    [
        ("openrouter/openrouter_chat.json", "Hello there.", "The user greets me.", (42, 17, 59)),
        ("groq/groq_200.json", "Hello.", "Greet back.", (86, 31, 117)),
        ("huggingface/hf_200.json", "Hello.", "Greet.", (10, 4, 14)),
        ("cerebras/cerebras_200_headers.json", "Hello.", "Greet.", (75, 114, 189)),
        ("mistral/mistral_200_headers.json", "Hello.", None, (10, 8, 18)),
    ],
)
def test_an_answer_says_what_its_provider_said(name: str, said: str, thought: str | None, counts: tuple[int, ...]):
    completion = whole(name)
    (choice,) = completion.choices
    assert completion.usage is not None
    assert choice.message.content == said
    assert choice.message.reasoning_content == thought
    assert choice.finish_reason == "stop"
    assert (
        completion.usage.prompt_tokens,
        completion.usage.completion_tokens,
        completion.usage.total_tokens,
    ) == counts


@pytest.mark.parametrize("name", ["openrouter/openrouter_chat_tools.json", "groq/groq_chat_tools.json"])
def test_a_tool_call_comes_with_its_arguments_as_text(name: str):
    (choice,) = whole(name).choices
    (call,) = choice.message.tool_calls or []
    assert choice.finish_reason == "tool_calls"
    assert call.id
    assert call.function.name == "get_weather"
    assert msgspec.json.decode(call.function.arguments) == {"city": "Oslo"}


def test_openrouter_says_what_an_answer_cost():
    usage = whole("openrouter/openrouter_chat.json").usage

    assert usage is not None
    assert usage.cost == 0


def test_a_tier_that_no_sdk_knows_is_left_out():
    found = dialects.by_name("groq").read(target("groq"), asked(), answer("groq/groq_200.json").body)

    assert b"on_demand" not in found.data


def test_an_answer_that_needs_no_change_is_passed_on_byte_for_byte():
    content = answer("mistral/mistral_200_headers.json").body

    assert dialects.by_name("openai").read(target("mistral"), asked(), content).data == content


EMPTY_REASON = b'data: {"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":""}]}\n\n'


def test_only_a_reason_to_finish_ends_a_stream():
    """SGLang writes "" where OpenAI writes null (sgl-project/sglang#3912): it is sent on as null, and is no end."""
    begun = EMPTY_REASON % b"Hel" + EMPTY_REASON % b"lo"
    steps, reader = streamed("nvidia/x", begun)
    assert not reader.finished()
    assert [msgspec.json.decode(step.data)["choices"][0]["finish_reason"] for step in steps] == [None, None]

    _, reader = streamed("nvidia/x", begun + b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n')
    assert reader.finished()


@pytest.mark.parametrize("reason", [b'""', b"null"])
def test_a_whole_answer_without_a_reason_to_finish_came_to_its_end(reason: bytes):
    content = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":%s}]}' % reason

    assert whole("nvidia/x", content).choices[0].finish_reason == "stop"


def test_a_partial_answer_that_ends_in_an_error_is_no_answer():
    content = (
        b'{"choices":[{"finish_reason":"error","error":{"code":503,"message":"gone"},"message":{"content":"He"}}]}'
    )
    with pytest.raises(f.Busy, match="gone"):
        dialects.by_name("openrouter").read(target("openrouter"), asked(), content)


def test_a_thought_in_the_content_is_set_apart():
    content = msgspec.json.encode({"choices": [{"message": {"content": "<think>why</think>\n\nyes"}}]})
    (choice,) = whole("nvidia/-", content).choices

    assert (choice.message.reasoning_content, choice.message.content) == ("why", "yes")


def test_a_stray_closing_tag_ends_a_thought_where_the_model_thinks_and_is_text_where_it_does_not():
    content = msgspec.json.encode({"choices": [{"message": {"content": "why\n</think>\n\nyes"}}]})
    (thinker,) = whole("nvidia/-", content, capabilities=frozenset({"reasoning"})).choices
    (writer,) = whole("nvidia/-", content).choices

    assert (thinker.message.reasoning_content, thinker.message.content) == ("why", "yes")
    assert writer.message.content == "why\n</think>\n\nyes"


# ── streams ──


@pytest.mark.parametrize(
    ("name", "said", "thought", "counts"),
    [
        ("openrouter/openrouter_stream.sse", "Hello.", "The user greets.", (42, 17)),
        ("groq/groq_stream.sse", "Hello.", "Greet back.", (86, 31)),
        ("nvidia/nvidia_stream.sse", "Hello.", "Greet.", (20, 9)),
    ],
)
def test_a_stream_says_what_its_provider_said(name: str, said: str, thought: str, counts: tuple[int, int]):
    steps, reader = streamed(name)
    usage = next(step.chunk.usage for step in reversed(steps) if step.chunk.usage)
    assert reader.finished()
    assert joined(steps, "content") == said
    assert joined(steps, "reasoning_content") == thought
    assert (usage.prompt_tokens, usage.completion_tokens) == counts
    assert not any(b'"reasoning":' in step.data for step in steps)


@pytest.mark.parametrize("name", ["openrouter/openrouter_stream_tools.sse", "groq/groq_stream_tools.sse"])
def test_a_streamed_tool_call_has_one_place_one_id_and_one_name(name: str):
    steps, reader = streamed(name)
    deltas = [call for step in steps for c in step.chunk.choices for call in c.delta.tool_calls or ()]
    functions = [delta.function for delta in deltas if delta.function]
    assert reader.finished()
    assert {delta.index for delta in deltas} == {0}
    assert len([delta.id for delta in deltas if delta.id]) == 1
    assert [function.name for function in functions if function.name] == ["get_weather"]
    assert msgspec.json.decode("".join(function.arguments or "" for function in functions)) == {"city": "Oslo"}


@pytest.mark.parametrize("opens", [True, False])
def test_a_thought_that_only_a_closing_tag_ends_is_set_apart_where_it_is_known_to_be_one(opens: bool):
    steps, reader = streamed("nvidia/nvidia_stream_thinktag.sse", opens_in_reasoning=opens)

    assert reader.finished()
    assert joined(steps, "content") == ("Hello." if opens else "The user greets.\n</think>\n\nHello.")
    assert joined(steps, "reasoning_content") == ("The user greets." if opens else "")


def test_thoughts_in_a_field_of_their_own_are_believed_before_what_is_known_of_the_model():
    steps, _ = streamed("nvidia/nvidia_stream.sse", opens_in_reasoning=True)

    assert joined(steps, "content") == "Hello."
    assert joined(steps, "reasoning_content") == "Greet."


def test_an_error_in_mid_stream_is_raised_after_what_was_said():
    reader = dialects.by_name("openrouter").reader(target("openrouter"), asked())
    events = list(ServerSentEvents().feed(body("openrouter/openrouter_stream_error.sse")))
    said = [step for event in events[:-1] for step in reader.feed(event)]

    assert joined(said, "content") == "Once upon a time"
    with pytest.raises(f.Unreachable, match="disconnected"):
        reader.feed(events[-1])
    assert not reader.finished()


def test_a_stream_without_its_end_is_not_finished():
    content = body("groq/groq_stream.sse").rpartition(b'data: {"id":"chatcmpl-3c4d"')[0]
    cut = content.rpartition(b'data: {"id":"chatcmpl-3c4d"')[0]

    assert streamed("groq/-", content)[1].finished()
    assert not streamed("groq/-", cut)[1].finished()


def test_tool_calls_without_places_are_given_them_by_their_ids():
    def event(*calls: dict[str, Any], finish: str | None = None) -> bytes:
        delta = {"tool_calls": list(calls)} if calls else {}
        return b"data: " + msgspec.json.encode({"choices": [{"delta": delta, "finish_reason": finish}]}) + b"\n\n"

    content = (
        event({"id": "a", "function": {"name": "f", "arguments": '{"x":'}})
        + event({"function": {"arguments": "1}"}})
        + event({"index": None, "id": "b", "function": {"name": "g", "arguments": "{}"}})
        + event(finish="tool_calls")
    )
    steps, reader = streamed("zai/-", content)
    deltas = [call for step in steps for c in step.chunk.choices for call in c.delta.tool_calls or ()]

    assert reader.finished()
    assert [delta.index for delta in deltas] == [0, 0, 1]


def test_a_fault_that_groq_tells_within_a_chunk_is_one():
    with pytest.raises(f.Unreachable, match="overloaded"):
        streamed("groq/-", b'data: {"choices":[],"x_groq":{"id":"r","error":"overloaded"}}\n\n')


# ── what is spelled a little off ──


def completion(message: dict[str, Any], **more: Any) -> bytes:
    return msgspec.json.encode({"id": "x", "choices": [{"message": message, "finish_reason": "stop"}], **more})


@pytest.mark.parametrize(
    ("content", "said", "thought"),
    [
        (completion({"content": 42}), "42", None),
        (completion({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}), "ab", None),
        (
            completion(
                {
                    "content": [
                        {"type": "thinking", "thinking": [{"type": "text", "text": "why"}]},
                        {"type": "text", "text": "yes"},
                    ]
                }
            ),
            "yes",
            "why",
        ),
        (completion({"content": "a"}, created=1795440000.5, model=None), "a", None),
        (completion({"content": "a"}, object="", usage={"prompt_tokens": None, "completion_tokens": 2.0}), "a", None),
    ],
)
def test_an_answer_spelled_a_little_off_is_mended(content: bytes, said: str, thought: str | None):
    (choice,) = whole("cloudflare/-", content).choices

    assert (choice.message.content, choice.message.reasoning_content) == (said, thought)


def test_arguments_that_are_an_object_become_text():
    call = {"id": None, "type": None, "function": {"name": "f", "arguments": {"x": 1}}}
    (choice,) = whole("cloudflare/-", completion({"content": None, "tool_calls": [call]})).choices
    (mended,) = choice.message.tool_calls or []

    assert msgspec.json.decode(mended.function.arguments) == {"x": 1}


def test_a_chunk_spelled_a_little_off_is_mended():
    content = (
        b'data: {"id":null,"object":"","created":1.5,"choices":[{"index":null,"delta":{"content":7}}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":null,"finish_reason":"stop"}]}\n\n'
    )
    steps, reader = streamed("cloudflare/-", content)

    assert reader.finished()
    assert joined(steps, "content") == "7"


@pytest.mark.parametrize("content", [b"<html>", b"[]", b'{"choices": [{"message": 1}]}', b"7"])
def test_what_is_no_answer_is_unreachable(content: bytes):
    dialect = dialects.by_name("openai")
    with pytest.raises(f.Unreachable):
        dialect.read(target("zai"), asked(), content)
    with pytest.raises(f.Unreachable):
        dialect.reader(target("zai"), asked()).feed(content.replace(b"message", b"delta"))


# ── requests ──


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


# ── lists ──


def discovered(provider: str, *pages: HttpResponse | bytes | str, key: str | None = "key") -> tuple[Listing, list[str]]:
    """What *provider*'s discovery makes of these answers, and the addresses that it asked."""
    of = account(provider, key)
    discovery = dialects.by_name(of.spec.dialect).discover(of)
    asked, waiting = [], list(pages)
    try:
        call = next(discovery)
        while True:
            asked.append(call.url.removeprefix(of.base_url))
            page = waiting.pop(0)
            content = (
                page
                if isinstance(page, HttpResponse)
                else HttpResponse(200, {}, body(page) if isinstance(page, str) else page)
            )
            call = discovery.send(content)
    except StopIteration as stop:
        listing: Listing = stop.value
        return listing, asked


def listed(provider: str, *pages: HttpResponse | bytes | str, key: str | None = "key") -> dict[str, Listed]:
    unlisted = SPECS["huggingface"].static_models  # make vectors, and are in no list
    return {one.id: one for one in discovered(provider, *pages, key=key)[0].models if one.id not in unlisted}


def test_openrouter_tells_prices_abilities_and_sizes():
    models = listed("openrouter", "openrouter/openrouter_models.json", key=None)
    free = {
        name for name, m in models.items() if not m.prompt_price and not m.output_price and not m.other_prices
    }  # fmt: skip

    assert len(models) == 10
    assert free == {
        "nvidia/nemotron-3-super-120b-a12b:free",
        "poolside/laguna-s-2.1:free",
        "google/gemma-4-31b-it:free",
        "liquid/lfm-2.5-2.6b:free",
        "qwen/qwen3.8-27b:free",
        "stealth/space-bunny-alpha",
        "openrouter/free",
    }
    assert models["liquid/lfm-2.5-2.6b:free"].capabilities == frozenset()
    assert models["qwen/qwen3.8-27b:free"] == Listed(
        id="qwen/qwen3.8-27b:free",
        operations=frozenset({"chat"}),
        capabilities=frozenset({"tools", "json_object", "json_schema", "reasoning", "vision", "image_url"}),
        context=131072,
        max_output=32768,
        prompt_price=0.0,
        output_price=0.0,
        released="2026-08-06",
        ends_at=datetime(2026, 12, 6, tzinfo=UTC).timestamp(),  # the end of the day that the list names
    )
    assert models["nvidia/nemotron-3-super-120b-a12b"].prompt_price == 1e-7
    assert models["openrouter/auto"].other_prices


@pytest.mark.parametrize(
    "pricing",
    [
        {},
        {"prompt": "0"},
        {"prompt": "0", "completion": "-1"},
        {"prompt": "0", "completion": "0", "request": "0.001"},
        {"prompt": "0", "completion": "0", "image": "0.1"},
        {"prompt": "0", "completion": "0", "something_new": "0.1"},
        {"prompt": "0", "completion": "0", "request": "free"},
        {"prompt": "0", "completion": "0", "overrides": [{"min_prompt_tokens": 200000, "prompt": "0.1"}]},
        {"prompt": None, "completion": "0"},
        {"prompt": "0.0000001", "completion": "0"},
    ],
)
def test_a_model_of_openrouter_with_any_price_or_none_told_is_not_free(pricing: dict[str, Any]):
    page = msgspec.json.encode({"data": [{"id": "acme/m", "pricing": pricing}]})
    model = listed("openrouter", page, key=None)["acme/m"]

    assert model.prompt_price or model.output_price or model.other_prices


def test_conditions_and_discounts_are_no_prices():
    override = {"min_prompt_tokens": 200000, "utc_start": "00:00", "prompt": "0"}
    pricing = {"prompt": "0", "completion": "0", "request": "0", "discount": 0.5, "overrides": [override]}
    page = msgspec.json.encode({"data": [{"id": "acme/m", "pricing": pricing}]})

    assert not listed("openrouter", page, key=None)["acme/m"].other_prices


def test_openrouters_list_is_read_to_its_last_page_and_never_from_another_host():
    def page(name: str, following: Any) -> bytes:
        return msgspec.json.encode({"data": [{"id": name}], "links": {"next": following}})

    relative, asked = discovered(
        "openrouter", page("a", "/api/v1/models?offset=1"), page("b", None), key=None
    )  # fmt: skip
    elsewhere, stayed = discovered("openrouter", page("a", "https://evil.example/models"), key=None)

    assert [model.id for model in relative.models] == ["a", "b"]
    assert asked == ["/models", "/models?offset=1"]
    assert [model.id for model in elsewhere.models] == ["a"]
    assert stayed == ["/models"]


def test_kilos_list_tells_what_is_free_by_its_prices():
    found = listed("kilo", "kilo/kilo_models.json", key=None)

    assert {name for name, m in found.items() if m.prompt_price == m.output_price == 0 and not m.other_prices} == {
        "kilo-auto/free",
        "nvidia/nemotron-3-super-120b-a12b:free",
    }


def test_a_list_that_goes_round_ends():
    page = b'{"data": [{"id": "a"}], "links": {"next": "/api/v1/models?offset=%d"}}'
    listing, asked = discovered("openrouter", *(page % (place % 2) for place in range(40)), key=None)

    assert [model.id for model in listing.models] == ["a"]
    assert len(asked) == 20


def test_openrouters_key_tells_the_days_quota_and_that_it_could_spend():
    listing, asked = discovered("openrouter", "openrouter/openrouter_models.json", "openrouter/openrouter_key.json")
    (observed,) = listing.observed

    assert asked == ["/models", "/key"]
    assert (observed.unit, observed.window, observed.limit, observed.remaining) == ("requests", "day", 50, 38)
    assert any("spending limit" in remark for remark in listing.remarks)
    assert listing.standing.can_pay is False  # it never bought credits


@pytest.mark.parametrize(
    ("told", "can_pay"),
    [
        ({"limit": None, "is_free_tier": False}, True),
        ({"limit": 5, "is_free_tier": False}, True),
        ({"limit": 0.001, "is_free_tier": False}, False),
        ({"limit": 0, "is_free_tier": False}, False),
        ({"limit": True, "is_free_tier": False}, True),
        ({"limit": "much", "is_free_tier": False}, True),
        ({"limit": None, "is_free_tier": True}, False),
        ({"limit": None}, None),
        ({"limit": None, "is_free_tier": "false"}, None),
    ],
)
def test_openrouters_key_tells_whether_money_is_behind_it(told: dict[str, Any], can_pay: bool | None):
    page = msgspec.json.encode({"data": told})
    listing, _ = discovered("openrouter", "openrouter/openrouter_models.json", page)

    assert listing.standing.can_pay is can_pay
    assert any("0.001" in remark for remark in listing.remarks) == (told["limit"] not in (0.001, 0))


def test_an_older_server_tells_no_quota_and_that_the_key_has_spent():
    listing, _ = discovered("openrouter", "openrouter/openrouter_models.json", "openrouter/openrouter_key_old.json")

    assert listing.observed == ()
    assert any("0.002 dollars" in remark for remark in listing.remarks)


def test_more_requests_than_there_are_leave_none():
    key = b'{"data": {"limit": 0.001, "free_model_daily_requests": {"limit": 1000, "remaining": -60, "used": 1060}}}'
    listing, _ = discovered("openrouter", "openrouter/openrouter_models.json", key)

    assert listing.observed[0].remaining == 0
    assert listing.remarks == ()


def test_a_key_that_is_refused_is_told_though_the_list_is_public():
    with pytest.raises(f.CredentialRejected):
        discovered("openrouter", "openrouter/openrouter_models.json", answer("openrouter/openrouter_401.json"))


def test_a_list_stands_where_the_keys_state_cannot_be_had():
    listing, _ = discovered("openrouter", "openrouter/openrouter_models.json", HttpResponse(500, {}, b""))

    assert listing.models
    assert listing.remarks == ("GET /key: HTTP 500",)


def test_hugging_face_pins_the_cheapest_live_provider_with_tools():
    models = listed("huggingface", "huggingface/hf_models.json", key=None)

    assert models.keys() == {
        "openai/gpt-oss-120b:groq",
        "Qwen/Qwen3.8-27B:novita",
        "google/gemma-4-31B-it:scaleway",
        "zai-org/GLM-5.3-Flash:zai-org",
    }
    assert models["openai/gpt-oss-120b:groq"] == Listed(
        id="openai/gpt-oss-120b:groq",
        operations=frozenset({"chat"}),
        capabilities=frozenset({"tools", "json_object", "json_schema"}),
        context=131072,
        prompt_price=cast(Any, pytest.approx(0.15e-6)),
        output_price=cast(Any, pytest.approx(0.6e-6)),
    )
    assert models["Qwen/Qwen3.8-27B:novita"].capabilities == {"tools", "vision"}
    assert models["google/gemma-4-31B-it:scaleway"].prompt_price == 0
    assert models["zai-org/GLM-5.3-Flash:zai-org"].context == 204800


def test_tools_go_before_a_lower_price():
    offers = [
        {"provider": "a", "status": "live", "pricing": {"input": 0.1, "output": 0.1}},
        {"provider": "b", "status": "live", "pricing": {"input": 0.2, "output": 0.2}, "supports_tools": True},
        {"provider": "c", "status": "live", "pricing": {"input": 0.3, "output": 0.3}, "supports_tools": True},
        {"provider": "d", "status": "error", "pricing": {"input": 0.0, "output": 0.0}, "supports_tools": True},
        {"provider": "e", "status": "live", "supports_tools": True},
    ]
    page = msgspec.json.encode({"data": [{"id": "x/y", "providers": offers}]})

    assert listed("huggingface", page, key=None).keys() == {"x/y:b"}


def test_groq_tells_sizes():
    model = listed("groq", "groq/groq_models.json")["openai/gpt-oss-120b"]

    assert (model.context, model.max_output) == (131072, 65536)


def test_an_alias_is_no_model_of_its_own():
    page = msgspec.json.encode({"data": [{"id": "m-2512", "aliases": ["m-latest"]}, {"id": "m-latest"}, {"id": "n"}]})

    assert listed("mistral", page).keys() == {"m-2512", "n"}


def test_mistral_tells_sizes():
    assert listed("mistral", "mistral/mistral_models.json")["ministral-8b-2512"].context == 262144


def test_nvidia_tells_names():
    assert "openai/gpt-oss-20b" in listed("nvidia", "nvidia/nvidia_models.json")


def test_models_that_a_list_leaves_out_are_added_and_where_there_is_no_list_none_is_asked():
    zai, asked = discovered("zai", b'{"data": [{"id": "glm-5"}, {"id": "glm-4.5-flash"}]}')
    cloudflare, nothing = discovered("cloudflare")

    assert [model.id for model in zai.models] == ["glm-5", "glm-4.5-flash", "glm-4.7-flash", "glm-4.6v-flash"]
    assert asked == ["/models"]
    assert nothing == []
    assert "@cf/openai/gpt-oss-20b" in {model.id for model in cloudflare.models}


@pytest.mark.parametrize("provider", ["openrouter", "groq", "nvidia", "huggingface", "mistral"])
@pytest.mark.parametrize("content", [b"<html>", b"[]", b"{}", b'{"data": 7}', b'{"data": ["x"]}'])
def test_what_is_no_list_is_unreachable(provider: str, content: bytes):
    with pytest.raises(f.Unreachable):
        discovered(provider, content, key=None)


@pytest.mark.parametrize("provider", ["openrouter", "groq", "nvidia", "huggingface", "mistral"])
def test_an_entry_without_a_name_does_not_spoil_the_list(provider: str):
    offer = {"provider": "p", "status": "live", "pricing": {"input": 1, "output": 1}}
    page = msgspec.json.encode({"data": [{"id": None}, {"object": "model"}, {"id": "a/b", "providers": [offer]}]})

    assert [name.partition(":")[0] for name in listed(provider, page, key=None)] == ["a/b"]


def test_a_key_never_shows_in_what_is_printed():
    call = dialects.by_name("groq").discover(account("groq", "gsk_secret")).__next__()

    assert "gsk_secret" not in f"{call!r} {account('groq', 'gsk_secret')!r}"
