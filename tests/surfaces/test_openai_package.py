"""OpenAI's own package, through the gateway, through each of the adapters."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI, AuthenticationError, NotFoundError
from pydantic import BaseModel

from gateway.commands.demo import SIX, Demo
from providers.simulator.base import SimulatedModel
from providers.simulator.world import World

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SEEN = f"I see an image of {len(PNG)} bytes, sha256 {hashlib.sha256(PNG).hexdigest()[:12]}"
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


EYES = """
[[provider.groq.models]]
ids = ["acme/sees"]
capabilities = ["vision"]

[[provider.groq.models]]
ids = ["*"]
capabilities = ["tools", "json_schema"]
"""


class City(BaseModel):
    name: str
    inhabitants: int


class Stage:
    """A gateway before one provider, and OpenAI's package before the gateway."""

    def __init__(self, name: str, demo: Demo, client: AsyncOpenAI) -> None:
        self.name, self.demo, self.client = name, demo, client

    async def ask(self, said: Any = "hello there", **more: Any) -> Any:
        messages: Any = said if isinstance(said, list) and "role" in said[0] else [{"role": "user", "content": said}]
        return await self.client.chat.completions.create(model="auto", messages=messages, **more)


def only_what_works(world: World) -> None:
    """Groq is not known to have a free model that sees, now: give it one, for its adapter must carry pictures."""
    for other in world.providers.values():
        other.models = [model for model in other.models if model.status == "live"]
    if "groq" in world.providers:
        world.providers["groq"].models.append(SimulatedModel(id="acme/sees", vision=True))


@pytest.fixture(params=SIX)
async def stage(request: pytest.FixtureRequest, start: Callable[..., Any], tmp_path: Path) -> AsyncIterator[Stage]:
    own = tmp_path / "own.toml"
    own.write_text(EYES if request.param == "groq" else "")
    demo = await start((request.param,), arrange=only_what_works, FREEWAY_CONFIG=str(own))
    async with AsyncOpenAI(base_url=f"{demo.base_url}/v1", api_key="any", max_retries=0) as client:
        yield Stage(request.param, demo, client)


async def test_a_question_is_answered(stage: Stage):
    answer = await stage.ask()

    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content == "You said: hello there"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.id
    assert answer.created > 1_700_000_000


async def test_streamed_the_pieces_say_the_same(stage: Stage):
    said, finishes, usages = "", [], []
    async for chunk in await stage.ask(stream=True, stream_options={"include_usage": True}):
        assert chunk.object == "chat.completion.chunk"
        usages += [chunk.usage] if chunk.usage else []
        for choice in chunk.choices:
            said += choice.delta.content or ""
            finishes += [choice.finish_reason] if choice.finish_reason else []

    assert said == "You said: hello there"
    assert finishes == ["stop"]
    assert [usage.prompt_tokens > 0 for usage in usages] == [True]


async def test_a_tool_is_called_and_its_answer_is_heard(stage: Stage):
    asked = await stage.ask(tools=[WEATHER])
    message = asked.choices[0].message
    (call,) = message.tool_calls

    assert asked.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "get_weather"
    assert "city" in json.loads(call.function.arguments)

    history = [
        {"role": "user", "content": "hello there"},
        message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"},
    ]
    heard = await stage.ask(history, tools=[WEATHER])

    assert heard.choices[0].finish_reason == "stop"
    assert "18 degrees" in heard.choices[0].message.content


@pytest.mark.parametrize(("said", "calls"), [("one", 1), ("both", 2)])
async def test_streamed_tool_calls_are_put_together_by_the_package(stage: Stage, said: str, calls: int):
    async with stage.client.chat.completions.stream(
        model="auto", messages=[{"role": "user", "content": said}], tools=[WEATHER]
    ) as stream:
        answer = await stream.get_final_completion()
    found = answer.choices[0].message.tool_calls or []

    assert answer.choices[0].finish_reason == "tool_calls"
    assert [call.function.name for call in found] == ["get_weather"] * calls
    assert len({call.id for call in found}) == calls
    assert all("city" in json.loads(call.function.arguments) for call in found)


async def test_an_answer_keeps_to_its_schema(stage: Stage):
    answer = await stage.client.chat.completions.parse(
        model="auto", messages=[{"role": "user", "content": "a city"}], response_format=City
    )

    assert isinstance(answer.choices[0].message.parsed, City)


async def test_a_picture_is_seen(stage: Stage):
    parts = [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}},
    ]
    answer = await stage.ask(parts)

    assert answer.choices[0].message.content == SEEN


async def test_a_model_is_called_by_its_own_name(stage: Stage):
    listed = (await stage.client.models.list()).data
    own = [model.id for model in listed if model.to_dict().get("features") and not model.id.startswith("auto")]
    answers = [
        await stage.client.chat.completions.with_raw_response.create(
            model=name, messages=[{"role": "user", "content": "hello there"}]
        )
        for name in own[:2]
    ]

    assert [answer.headers["x-freeway-model"] for answer in answers] == own[:2]


async def test_what_goes_wrong_is_an_error_of_the_package(start: Callable[..., Any]):
    demo = await start(("groq",), FREEWAY_API_KEY="the-right-key")
    async with AsyncOpenAI(base_url=f"{demo.base_url}/v1", api_key="a-wrong-key", max_retries=0) as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.models.list()
    async with AsyncOpenAI(base_url=f"{demo.base_url}/v1", api_key="the-right-key", max_retries=0) as client:
        with pytest.raises(NotFoundError, match="gpt-9"):
            await client.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "hi"}])

    assert "a-wrong-key" not in str(caught.value)
