"""
What holds of every provider, through the real client and real HTTP, against the provider's simulated other half.

The suite runs for each file in ``config/providers``: a new entry is tested by being there.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from providers import failures as f
from providers.chat import AnswerMessage, Completion, Step, Usage, Whole, decode_fields, decode_request
from providers.client import Reply
from providers.dialect import Request, Target
from providers.simulator.world import World
from providers.spec import Timeouts
from tests.clock import eventually
from tests.contract.stage import SIMULATED, Stage
from tests.failures import told
from tests.payloads import SPECS


def having(**wanted: bool) -> pytest.MarkDecorator:
    """Run a test for the providers that have a live model that can do what is *wanted*."""
    names = []
    for name, other in World(names=SIMULATED).providers.items():
        if any(m.status == "live" and all(getattr(m, k) == v for k, v in wanted.items()) for m in other.models):
            names.append(name)
    return pytest.mark.parametrize("stage", sorted(names), indirect=True)


BRIEF = Timeouts(connect=2.0, head=0.3, silence=0.3)
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "a city, say Zürich"}},
            "required": ["city"],
        },
    },
}
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "sure": {"type": "boolean"}},
    "required": ["answer", "sure"],
    "additionalProperties": False,
}


async def whole(reply: Reply) -> Completion:
    assert reply.whole is not None
    assert reply.rest is None
    assert isinstance(reply.whole, Whole)
    on_the_wire = msgspec.json.decode(reply.whole.data, type=Completion)
    assert on_the_wire.choices == reply.whole.completion.choices
    return reply.whole.completion


async def steps_of(reply: Reply) -> list[Step]:
    """Every step of a stream, which must come to its end."""
    assert reply.whole is None
    assert reply.rest is not None
    try:
        steps = [*reply.head, *[step async for steps in reply.rest for step in _several(steps)]]
    finally:
        reply.close()
    for step in steps:
        sent = msgspec.json.decode(step.data)
        assert sent["object"] == "chat.completion.chunk"
        assert all("reasoning" not in (choice.get("delta") or {}) for choice in sent["choices"])
    return steps


def _several(steps: Any) -> list[Step]:
    return steps if isinstance(steps, list) else [steps]


def message_of(steps: list[Step]) -> tuple[AnswerMessage, str | None, Usage | None]:
    """The message that a client puts together from a stream, how it finished, and what it says it took."""
    message, finish, usage = AnswerMessage(), None, None
    calls: dict[int, dict[str, str]] = {}
    for chunk in (step.chunk for step in steps):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            message.content = (message.content or "") + (choice.delta.content or "")
            message.reasoning_content = (message.reasoning_content or "") + (choice.delta.reasoning_content or "")
            finish = choice.finish_reason or finish
            for delta in choice.delta.tool_calls or []:
                assert isinstance(delta.index, int)
                call = calls.setdefault(delta.index, {"id": "", "name": "", "arguments": ""})
                call["id"] += delta.id or ""
                if delta.function:
                    call["name"] += delta.function.name or ""
                    call["arguments"] += delta.function.arguments or ""
    message.tool_calls = [calls[place] for place in sorted(calls)] or None  # type: ignore[misc]
    return message, finish, usage


# ── answers ──


async def test_an_answer_comes_back_whole(stage: Stage):
    completion = await whole(await stage.ask())
    (choice,) = completion.choices

    assert choice.message.content == "You said: Grüezi, wie geht's? 日本語 🙂"
    assert choice.finish_reason == "stop"
    assert completion.model


async def test_streamed_it_says_the_same(stage: Stage):
    model = stage.model()
    (choice,) = (await whole(await stage.ask(model))).choices
    message, finish, _ = message_of(await steps_of(await stage.ask(model, stream=True)))

    assert message.content == choice.message.content
    assert finish == choice.finish_reason == "stop"


async def test_the_head_of_a_stream_says_something(stage: Stage):
    reply = await stage.ask(stream=True)
    reply.close()

    assert any(step.chunk.speaks() for step in reply.head)


async def test_usage_is_the_providers_own(stage: Stage):
    model = stage.model()
    completion = await whole(await stage.ask(model))
    _, _, streamed = message_of(await steps_of(await stage.ask(model, stream=True)))

    assert completion.usage is not None
    assert completion.usage.prompt_tokens > 0
    assert completion.usage.completion_tokens > 0
    assert streamed is not None
    assert streamed.prompt_tokens == completion.usage.prompt_tokens
    assert streamed.completion_tokens == completion.usage.completion_tokens


async def test_a_bound_on_the_answer_is_kept(stage: Stage):
    (choice,) = (await whole(await stage.ask(max_tokens=9))).choices

    assert choice.finish_reason == "length"
    assert (choice.message.content or "").startswith("You said: ")
    assert not (choice.message.content or "").endswith("🙂")


@having(reasoning=True)
async def test_reasoning_comes_in_a_field_of_its_own(stage: Stage):
    model = stage.model(reasoning=True)
    (choice,) = (await whole(await stage.ask(model, reasoning_effort="low"))).choices
    message, _, _ = message_of(await steps_of(await stage.ask(model, stream=True, reasoning_effort="low")))

    assert choice.message.reasoning_content == "The user wrote 1 messages."
    assert message.reasoning_content == choice.message.reasoning_content
    assert message.content == choice.message.content
    assert "The user wrote" not in (choice.message.content or "")


@pytest.mark.parametrize("stage", ["nvidia"], indirect=True)
async def test_a_thought_that_only_a_closing_tag_ends_is_no_part_of_what_is_said(stage: Stage):
    model = replace(stage.model(reasoning=True), think_tag=True)
    stage.other.models = [model]
    (choice,) = (await whole(await stage.ask(model, opens_in_reasoning=True))).choices
    message, _, _ = message_of(await steps_of(await stage.ask(model, opens_in_reasoning=True, stream=True)))

    assert choice.message.content == message.content == "You said: Grüezi, wie geht's? 日本語 🙂"
    assert choice.message.reasoning_content == message.reasoning_content == "The user wrote 1 messages."


# ── tools, schemas, pictures ──


@having(tools=True)
async def test_a_tool_is_called(stage: Stage):
    (choice,) = (await whole(await stage.ask(stage.model(tools=True), tools=[WEATHER]))).choices
    (call,) = choice.message.tool_calls or []

    assert choice.finish_reason == "tool_calls"
    assert call.id
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert msgspec.json.decode(call.function.arguments) == {"city": "a city, say Zürich"}


@having(tools=True)
@pytest.mark.parametrize(("said", "calls"), [("one", 1), ("both", 2)])
async def test_streamed_tool_calls_have_places_ids_and_names_once(stage: Stage, said: str, calls: int):
    ask: dict[str, Any] = {"messages": [{"role": "user", "content": said}], "tools": [WEATHER], "stream": True}
    message, finish, _ = message_of(await steps_of(await stage.ask(stage.model(tools=True), **ask)))
    found: Any = message.tool_calls or []

    assert finish == "tool_calls"
    assert len(found) == calls
    assert len({call["id"] for call in found}) == calls
    for call in found:
        assert call["name"] == "get_weather"
        assert msgspec.json.decode(call["arguments"]) == {"city": "a city, say Zürich"}


@having(tools=True)
async def test_tools_are_called_together(stage: Stage):
    ask: dict[str, Any] = {"messages": [{"role": "user", "content": "both"}], "tools": [WEATHER]}
    (choice,) = (await whole(await stage.ask(stage.model(tools=True), **ask))).choices
    calls = choice.message.tool_calls or []

    assert len(calls) == 2
    assert len({call.id for call in calls}) == 2


@having(tools=True)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_tool_gave_is_told_to_the_model(stage: Stage, stream: bool):
    model = stage.model(tools=True)
    history: list[Any] = [{"role": "user", "content": "both"}]
    (choice,) = (await whole(await stage.ask(model, messages=history, tools=[WEATHER]))).choices
    history.append(msgspec.to_builtins(choice.message))
    history += [
        {"role": "tool", "tool_call_id": call.id, "content": f"18 degrees ({call.id})"}
        for call in choice.message.tool_calls or []
    ]
    reply = await stage.ask(model, messages=history, tools=[WEATHER], stream=stream)
    if stream:
        message, _, _ = message_of(await steps_of(reply))
    else:
        message = (await whole(reply)).choices[0].message

    assert (message.content or "").startswith("The tool said: ")
    assert "18 degrees" in (message.content or "")


@having(json_schema=True)
async def test_an_answer_keeps_to_its_schema(stage: Stage):
    form = {"type": "json_schema", "json_schema": {"name": "output", "schema": SCHEMA, "strict": True}}
    (choice,) = (await whole(await stage.ask(stage.model(json_schema=True), response_format=form))).choices
    found = msgspec.json.decode(choice.message.content or "")

    assert found.keys() == {"answer", "sure"}
    assert found["sure"] is True


@having(json_schema=True)
async def test_an_answer_in_json_is_json(stage: Stage):
    ask: dict[str, Any] = {
        "response_format": {"type": "json_object"},
        "messages": [{"role": "user", "content": "JSON please"}],
    }
    (choice,) = (await whole(await stage.ask(stage.model(json_schema=True), **ask))).choices

    assert msgspec.json.decode(choice.message.content or "") == {"answer": "JSON please"}


@having(vision=True)
async def test_a_picture_arrives_bit_for_bit(stage: Stage):
    parts = [
        {"type": "text", "text": "what is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}},
    ]
    ask: dict[str, Any] = {"messages": [{"role": "user", "content": parts}]}
    (choice,) = (await whole(await stage.ask(stage.model(vision=True), **ask))).choices

    assert choice.message.content == (
        f"I see an image of {len(PNG)} bytes, sha256 {hashlib.sha256(PNG).hexdigest()[:12]}"
    )


# ── failures ──

FAULTS: dict[str, type[f.ProviderFailure]] = {
    "rate_limited": f.RateLimited,
    "busy": f.Busy,
    "gone": f.ModelGone,
    "context": f.ContextTooLong,
    "no_tools": f.Unsupported,
    "server_error": f.Unreachable,
    "html": f.Unreachable,
    "bad_json": f.Unreachable,
    "empty": f.NoAnswer,
    "reset": f.Unreachable,
}
OWN_WAY: dict[tuple[str, str], type[f.ProviderFailure]] = {
    ("huggingface", "rate_limited"): f.Busy,  # the provider behind it
    ("cohere", "no_tools"): f.RefusedHere,  # in what words it says so is told nowhere
    ("ovhcloud", "no_tools"): f.RefusedHere,  # as little
}


def expected(stage: Stage, fault: str) -> type[f.ProviderFailure]:
    return OWN_WAY.get((stage.name, fault), FAULTS[fault])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", sorted(FAULTS))
async def test_a_fault_is_told_for_what_it_is(stage: Stage, fault: str, stream: bool):
    stage.other.fail(fault)
    with pytest.raises(f.ProviderFailure) as caught:
        await stage.ask(stream=stream)

    assert type(caught.value) is expected(stage, fault)
    assert caught.value.message


PARTICULAR: list[tuple[str, str, type[f.ProviderFailure], dict[str, Any]]] = [
    ("openrouter", "rate_limited:minute", f.RateLimited, {"unit": "requests", "window": "minute", "limit": 20.0}),
    ("openrouter", "rate_limited:day", f.RateLimited, {"unit": "requests", "window": "day", "limit": 50.0}),
    ("openrouter", "rate_limited:upstream", f.Busy, {"retry_in": 12.0}),
    ("openrouter", "would_cost", f.WouldCost, {"account_wide": True}),
    ("openrouter", "moderation", f.ContentRefused, {}),
    ("openrouter", "not_entitled", f.NotEntitled, {}),
    ("openrouter", "ended", f.ModelGone, {}),
    ("groq", "rate_limited:minute", f.RateLimited, {"unit": "requests", "window": "minute", "limit": 30.0}),
    ("groq", "rate_limited:day", f.RateLimited, {"unit": "requests", "window": "day", "limit": 1000.0}),
    ("groq", "rate_limited:tokens", f.RateLimited, {"unit": "tokens", "window": "minute", "limit": 8000.0}),
    ("groq", "too_large", f.TooLarge, {"retry_in": None}),
    ("nvidia", "rate_limited", f.RateLimited, {"unit": "requests", "window": "minute", "retry_in": None}),
    ("nvidia", "not_entitled", f.NotEntitled, {}),
    ("huggingface", "would_cost", f.WouldCost, {"account_wide": True}),
    ("mistral", "rate_limited", f.RateLimited, {"unit": "requests", "window": "minute", "limit": 50.0}),
    ("cloudflare", "rate_limited:day", f.RateLimited, {"unit": "neurons", "window": "day"}),
    ("zai", "rate_limited", f.RateLimited, {"unit": "in-flight", "retry_in": 1.0}),
    ("zai", "would_cost", f.WouldCost, {}),
]


@pytest.mark.parametrize(
    ("stage", "fault", "kind", "marks"),
    PARTICULAR,
    ids=[f"{row[0]}-{row[1]}" for row in PARTICULAR],
    indirect=["stage"],
)
async def test_a_refusal_says_which_bucket_it_was(
    stage: Stage, fault: str, kind: type[f.ProviderFailure], marks: dict[str, Any]
):
    stage.other.fail(fault)
    with pytest.raises(f.ProviderFailure) as caught:
        await stage.ask()

    assert type(caught.value) is kind
    assert told(caught.value, marks) == marks


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_that_comes_with_status_200_is_no_answer(stage: Stage, stream: bool):
    stage.other.fail("error_200")
    with pytest.raises((f.Unreachable, f.Busy)):
        await stage.ask(stream=stream)


@pytest.mark.parametrize("stream", [False, True])
async def test_silence_is_given_up(stage: Stage, stream: bool):
    stage.other.fail("hang")
    with pytest.raises(f.Unreachable):
        await stage.ask(stream=stream, timeouts=BRIEF)


async def test_a_stream_that_never_says_anything_is_given_up_and_closed(stage: Stage):
    stage.other.fail("hang_stream")
    with pytest.raises(f.Unreachable):
        await stage.ask(stream=True, timeouts=BRIEF)

    await eventually(lambda: stage.other.calls[-1].cancelled)


@pytest.mark.parametrize("fault", ["cut", "error_in_stream"])
async def test_a_broken_stream_is_never_passed_off_as_finished(stage: Stage, fault: str):
    stage.other.fail(fault)
    reply = await stage.ask(stream=True)
    with pytest.raises(f.ProviderFailure) as caught:
        await steps_of(reply)

    assert isinstance(caught.value, f.Interrupted | f.Unreachable | f.Busy)
    message, finish, _ = message_of(reply.head)
    assert message.content or message.reasoning_content
    assert finish is None


async def test_a_broken_answer_in_one_piece_is_none(stage: Stage):
    stage.other.fail("cut")
    with pytest.raises(f.Unreachable):
        await stage.ask()


async def test_characters_may_be_cut_anywhere(stage: Stage):
    model = stage.model()
    stage.other.fail("split_utf8")
    message, finish, _ = message_of(await steps_of(await stage.ask(model, stream=True)))

    assert message.content == "You said: Grüezi, wie geht's? 日本語 🙂"
    assert finish == "stop"


@pytest.mark.parametrize("stage", [name for name in SIMULATED if SPECS[name].key_env], indirect=True)
async def test_a_key_that_is_wrong_is_told(stage: Stage):
    content = b'{"messages": [{"role": "user", "content": "hi"}]}'
    model = stage.model()
    wrong = stage.by(key=f"{stage.provider.account.key}x")
    target = Target(wrong.account, stage.listed_as(model) or model.id)
    with pytest.raises(f.CredentialRejected) as caught:
        await wrong.send(target, Request(decode_request(content), decode_fields(content)))

    assert caught.value.account_wide
    assert (wrong.account.key or "none") not in caught.value.message


# ── leaving ──


async def test_who_leaves_before_the_answer_cancels_the_work(stage: Stage):
    stage.other.fail("hang")
    task = asyncio.create_task(stage.ask())
    await eventually(lambda: stage.other.calls)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await eventually(lambda: stage.other.calls[-1].cancelled)


async def test_who_leaves_in_mid_stream_cancels_the_work(stage: Stage):
    stage.other.pace = 0.05
    reply = await stage.ask(stream=True, messages=[{"role": "user", "content": "word " * 400}])
    reply.close()

    await eventually(lambda: stage.other.calls[-1].cancelled)


# ── lists ──


async def test_the_list_names_the_models_that_chat(stage: Stage):
    assert stage.listed
    assert all(listed.id for listed in stage.listed)
    assert stage.listed_as(stage.model())


async def test_nothing_is_asked_that_would_cost(stage: Stage):
    await stage.ask()

    assert stage.other.charged == 0


@pytest.mark.parametrize("stage", ["openrouter"], indirect=True)
async def test_a_model_that_costs_refuses_a_request_with_our_ceiling(stage: Stage):
    paid = next(model for model in stage.other.models if model.id == "openai/gpt-9")
    with pytest.raises(f.ModelGone):
        await stage.ask(paid, provider={"max_price": {"prompt": 100}})

    assert stage.other.charged == 0
