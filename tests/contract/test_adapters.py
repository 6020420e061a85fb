"""
What holds of every provider, through the real client and real HTTP, against the provider's simulated other half.

The suite runs for each file in ``config/providers``: a new entry is tested by being there.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from msgspec import Struct
from msgspec.structs import replace

from providers import failures as f
from providers.chat import AnswerMessage, Completion, Step, Usage, decode_fields, decode_request
from providers.client import Provider, Reply
from providers.dialect import Account, Listed, Request, Target
from providers.simulator.base import Simulated, SimulatedModel
from providers.simulator.server import serve
from providers.simulator.world import World
from providers.spec import Timeouts
from providers.wire import HttpWire
from tests.payloads import SPECS

SIMULATED = [name for name in sorted(SPECS) if name in World().providers]
ALIKE = [name for name in sorted(SPECS) if SPECS[name].dialect == "openai" and SPECS[name].free.kind != "local"]
"""Providers that have nothing of their own but an entry in configuration: any OpenAI-compatible other half will do."""

STAND_IN = "huggingface"
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


class Stage(Struct):
    """A provider and its other half."""

    name: str
    other: Simulated
    provider: Provider
    wire: HttpWire
    listed: list[Listed]

    def model(self, **wanted: bool) -> SimulatedModel:
        """A live model that can do what is *wanted*; skips the test where there is none."""
        for model in self.other.models:
            able = all(getattr(model, name) == value for name, value in wanted.items())
            if able and model.status == "live" and not any(model.price) and self.listed_as(model) and _chats(model):
                return model
        for model in self.other.models:  # one that a credit pays
            able = all(getattr(model, name) == value for name, value in wanted.items())
            if able and model.status == "live" and min(model.price) >= 0 and self.listed_as(model) and _chats(model):
                return model
        pytest.skip(f"{self.name} has no simulated model with {', '.join(wanted)}")

    def listed_as(self, model: SimulatedModel) -> str | None:
        """The id under which the provider's list has *model*."""
        if self.name in ALIKE:
            return model.id
        for listed in self.listed:
            if listed.id in (model.id, model.id.removeprefix("models/")) or listed.id.startswith(f"{model.id}:"):
                return listed.id
        return None

    async def ask(
        self, model: SimulatedModel | None = None, *, timeouts: Timeouts | None = None, **fields: Any
    ) -> Reply:
        """Send *fields* to *model*, by default one that just chats."""
        model = model or self.model(vision=False)
        fields = {"messages": [{"role": "user", "content": "Grüezi, wie geht's? 日本語 🙂"}], **fields}
        content = msgspec.json.encode(fields)
        capabilities = frozenset(
            name for name in ("tools", "vision", "reasoning", "json_schema") if getattr(model, name)
        )
        target = Target(self.provider.account, self.listed_as(model) or model.id, capabilities, model.context)
        return await self.by(timeouts).send(target, Request(decode_request(content), decode_fields(content)))

    def by(self, timeouts: Timeouts | None = None, key: str | None = None) -> Provider:
        account = self.provider.account
        spec = replace(account.spec, timeouts=timeouts) if timeouts else account.spec
        return Provider(Account(spec, account.base_url, key or account.key), self.wire)


def _chats(model: SimulatedModel) -> bool:
    return not model.embedding and "whisper" not in model.id and model.runs_at is None


@asynccontextmanager
async def staged(name: str, other: str) -> AsyncIterator[Stage]:
    world = World()
    async with serve(world) as origin, HttpWire(user_agent="freeway-tests") as wire:
        account = Account(SPECS[name], world.base_urls(origin)[other], world.keys().get(other))
        provider = Provider(account, wire)
        listed = [] if name != other else list((await provider.discover()).models)
        world.providers[other].calls.clear()
        yield Stage(name, world.providers[other], provider, wire, listed)


@pytest.fixture(params=[*SIMULATED, *ALIKE])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with staged(request.param, request.param if request.param in SIMULATED else STAND_IN) as found:
        yield found


async def whole(reply: Reply) -> Completion:
    assert reply.whole is not None
    assert reply.rest is None
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
            for delta in choice.delta.tool_calls or ():
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
    model = stage.model(reasoning=False)
    (choice,) = (await whole(await stage.ask(model))).choices
    message, finish, _ = message_of(await steps_of(await stage.ask(model, stream=True)))

    assert message.content == choice.message.content
    assert finish == choice.finish_reason == "stop"


async def test_the_head_of_a_stream_says_something(stage: Stage):
    reply = await stage.ask(stream=True)
    reply.close()

    assert any(step.chunk.speaks() for step in reply.head)


async def test_usage_is_the_providers_own(stage: Stage):
    model = stage.model(reasoning=False)
    completion = await whole(await stage.ask(model))
    _, _, streamed = message_of(await steps_of(await stage.ask(model, stream=True)))

    assert completion.usage is not None
    assert completion.usage.prompt_tokens > 0
    assert completion.usage.completion_tokens > 0
    assert streamed is not None
    assert streamed.prompt_tokens == completion.usage.prompt_tokens
    assert streamed.completion_tokens == completion.usage.completion_tokens


async def test_a_bound_on_the_answer_is_kept(stage: Stage):
    (choice,) = (await whole(await stage.ask(stage.model(reasoning=False), max_tokens=3))).choices

    assert choice.finish_reason == "length"
    assert choice.message.content == "You said: Gr"


async def test_reasoning_comes_in_a_field_of_its_own(stage: Stage):
    model = stage.model(reasoning=True)
    (choice,) = (await whole(await stage.ask(model, reasoning_effort="low"))).choices
    message, _, _ = message_of(await steps_of(await stage.ask(model, stream=True, reasoning_effort="low")))

    assert choice.message.reasoning_content == "The user wrote 1 messages."
    assert message.reasoning_content == choice.message.reasoning_content
    assert message.content == choice.message.content
    assert "The user wrote" not in (choice.message.content or "")


# ── tools, schemas, pictures ──


async def test_a_tool_is_called(stage: Stage):
    (choice,) = (await whole(await stage.ask(stage.model(tools=True), tools=[WEATHER]))).choices
    (call,) = choice.message.tool_calls or ()

    assert choice.finish_reason == "tool_calls"
    assert call.id
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert msgspec.json.decode(call.function.arguments) == {"city": "a city, say Zürich"}


@pytest.mark.parametrize(("said", "calls"), [("one", 1), ("both", 2)])
async def test_streamed_tool_calls_have_places_ids_and_names_once(stage: Stage, said: str, calls: int):
    ask = {"messages": [{"role": "user", "content": said}], "tools": [WEATHER], "stream": True}
    message, finish, _ = message_of(await steps_of(await stage.ask(stage.model(tools=True), **ask)))
    found: Any = message.tool_calls or []

    assert finish == "tool_calls"
    assert len(found) == calls
    assert len({call["id"] for call in found}) == calls
    for call in found:
        assert call["name"] == "get_weather"
        assert msgspec.json.decode(call["arguments"]) == {"city": "a city, say Zürich"}


async def test_tools_are_called_together(stage: Stage):
    ask = {"messages": [{"role": "user", "content": "both"}], "tools": [WEATHER]}
    (choice,) = (await whole(await stage.ask(stage.model(tools=True), **ask))).choices
    calls = choice.message.tool_calls or []

    assert len(calls) == 2
    assert len({call.id for call in calls}) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_tool_gave_is_told_to_the_model(stage: Stage, stream: bool):
    model = stage.model(tools=True)
    history: list[Any] = [{"role": "user", "content": "both"}]
    (choice,) = (await whole(await stage.ask(model, messages=history, tools=[WEATHER]))).choices
    history.append(msgspec.to_builtins(choice.message))
    for call in choice.message.tool_calls or ():
        history.append({"role": "tool", "tool_call_id": call.id, "content": f"18 degrees ({call.id})"})
    reply = await stage.ask(model, messages=history, tools=[WEATHER], stream=stream)
    if stream:
        message, _, _ = message_of(await steps_of(reply))
    else:
        message = (await whole(reply)).choices[0].message

    assert (message.content or "").startswith("The tool said: ")
    assert "18 degrees" in (message.content or "")


async def test_an_answer_keeps_to_its_schema(stage: Stage):
    form = {"type": "json_schema", "json_schema": {"name": "output", "schema": SCHEMA, "strict": True}}
    (choice,) = (await whole(await stage.ask(stage.model(json_schema=True), response_format=form))).choices
    found = msgspec.json.decode(choice.message.content or "")

    assert found.keys() == {"answer", "sure"}
    assert found["sure"] is True


async def test_an_answer_in_json_is_json(stage: Stage):
    ask = {"response_format": {"type": "json_object"}, "messages": [{"role": "user", "content": "JSON please"}]}
    (choice,) = (await whole(await stage.ask(stage.model(json_schema=True), **ask))).choices

    assert msgspec.json.decode(choice.message.content or "") == {"answer": "JSON please"}


async def test_a_picture_arrives_bit_for_bit(stage: Stage):
    parts = [
        {"type": "text", "text": "what is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}},
    ]
    ask = {"messages": [{"role": "user", "content": parts}]}
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
    "empty": f.Unreachable,
    "reset": f.Unreachable,
}
OWN_WAY: dict[tuple[str, str], type[f.ProviderFailure]] = {
    ("huggingface", "rate_limited"): f.Busy,  # the provider behind it
}


def expected(stage: Stage, fault: str) -> type[f.ProviderFailure]:
    return OWN_WAY.get((stage.name, fault), FAULTS[fault])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", sorted(FAULTS))
async def test_a_fault_is_told_for_what_it_is(stage: Stage, fault: str, stream: bool):
    if stage.name in ALIKE and fault in ("rate_limited", "gone", "no_tools", "context"):
        pytest.skip("its own wordings are in test_failure_payloads; this other half speaks another's")
    stage.other.fail(fault)
    with pytest.raises(f.ProviderFailure) as caught:
        await stage.ask(stream=stream)

    assert type(caught.value) is expected(stage, fault)
    assert caught.value.message


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

    await left(stage.other)


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
    model = stage.model(reasoning=False)
    stage.other.fail("split_utf8")
    message, finish, _ = message_of(await steps_of(await stage.ask(model, stream=True)))

    assert message.content == "You said: Grüezi, wie geht's? 日本語 🙂"
    assert finish == "stop"


async def test_a_key_that_is_wrong_is_told(stage: Stage):
    if stage.provider.account.key is None:
        pytest.skip(f"{stage.name} needs no key")
    content = b'{"messages": [{"role": "user", "content": "hi"}]}'
    model = stage.model(vision=False)
    wrong = stage.by(key=f"{stage.provider.account.key}x")
    target = Target(wrong.account, stage.listed_as(model) or model.id)
    with pytest.raises(f.CredentialRejected) as caught:
        await wrong.send(target, Request(decode_request(content), decode_fields(content)))

    assert caught.value.account_wide
    assert wrong.account.key not in caught.value.message


# ── leaving ──


async def left(other: Simulated) -> None:
    """The other half notices that its caller left: in its own time, but soon."""
    async with asyncio.timeout(5):
        while not other.calls[-1].cancelled:
            await asyncio.sleep(0.005)


async def test_who_leaves_before_the_answer_cancels_the_work(stage: Stage):
    stage.other.fail("hang")
    task = asyncio.create_task(stage.ask())
    async with asyncio.timeout(5):
        while not stage.other.calls:
            await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await left(stage.other)


async def test_who_leaves_in_mid_stream_cancels_the_work(stage: Stage):
    stage.other.pace = 0.05
    reply = await stage.ask(stream=True, messages=[{"role": "user", "content": "word " * 400}])
    reply.close()

    await left(stage.other)


# ── lists ──


async def test_the_list_names_the_models_that_chat(stage: Stage):
    if stage.name in ALIKE:
        pytest.skip("lists are in test_openai_dialects; this other half has another's")

    assert stage.listed
    assert all(listed.id for listed in stage.listed)
    assert stage.listed_as(stage.model())


async def test_nothing_is_asked_that_would_cost(stage: Stage):
    await stage.ask()

    assert stage.other.charged == 0
