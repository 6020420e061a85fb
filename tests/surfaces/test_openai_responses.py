"""``/v1/responses``: items in, items out, through OpenAI's own package and byte by byte."""

from __future__ import annotations

import base64
import json
import stat
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import Struct
from openai import AsyncOpenAI, BadRequestError, NotFoundError
from pydantic import BaseModel

from gateway.commands.demo import SIX
from providers.simulator.brain import Saying

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SAID = "You said: hello there"
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}


class City(BaseModel):
    name: str
    inhabitants: int


@pytest.fixture
async def demo(start):
    return await start(("groq",))


@pytest.fixture
async def client(demo):
    async with AsyncOpenAI(
        base_url=f"{demo.base_url}/v1", api_key="any", max_retries=0, _strict_response_validation=True
    ) as made:
        yield made


def says(demo: Any, saying: Saying) -> None:
    demo.world.providers["groq"].brain = lambda view: saying


async def events_of(stream: Any) -> list[Any]:
    return [event async for event in stream]


def events_on_the_wire(text: str) -> list[dict[str, Any]]:
    return [json.loads(block.split("\ndata: ")[1]) for block in text.split("\n\n") if "\ndata: " in block]


def rebuilt(events: list[Any]) -> list[Any]:
    """The items as a client that looks at nothing but pieces would have them: (kind, text) or (kind, name, arguments)."""
    items: dict[int, list[Any]] = {}
    for event in events:
        if event.type == "response.output_item.added":
            name = [event.item.name] if event.item.type == "function_call" else []
            items[event.output_index] = [event.item.type, *name, ""]
        elif event.type.endswith(".delta"):
            items[event.output_index][-1] += event.delta
    return [items[n] for n in sorted(items)]


def told(items: list[Any]) -> list[Any]:
    """The same of items that are complete."""
    found = []
    for item in items:
        if item.type == "function_call":
            found.append([item.type, item.name, item.arguments])
        elif item.type == "reasoning":
            found.append([item.type, "".join(part.text for part in item.summary)])
        else:
            found.append(
                [item.type, "".join(getattr(p, "text", "") or getattr(p, "refusal", "") for p in item.content)]
            )
    return found


# ── an answer ──


async def test_a_question_is_answered_in_a_response_that_is_complete(client):
    answer = await client.responses.create(
        model="auto", input="hello there", metadata={"a": "b"}, instructions="Be kind."
    )
    fields = answer.model_dump()

    assert answer.output_text == SAID
    assert (answer.object, answer.status, answer.error, answer.incomplete_details) == (
        "response",
        "completed",
        None,
        None,
    )
    assert answer.id.startswith("resp_")
    assert answer.completed_at >= answer.created_at > 1_700_000_000
    assert (answer.metadata, answer.instructions) == ({"a": "b"}, "Be kind.")
    assert len({item.id for item in answer.output}) == len(answer.output)
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens > 0
    assert answer.model != "auto"
    assert {"top_p", "temperature", "truncation", "text", "reasoning", "tools", "tool_choice"} <= fields.keys()
    assert answer.service_tier is None


@pytest.mark.parametrize(
    "saying",
    [
        Saying("so be it"),
        Saying("so be it", "Let me think."),
        Saying("", "", [("get_weather", {"city": "Rome"})]),
        Saying("I look.", "Which city?", [("get_weather", {"city": "Rome"}), ("get_weather", {"city": "Oslo"})]),
    ],
)
async def test_streamed_every_event_is_there_in_order_and_says_the_same_as_the_whole(client, demo, saying):
    says(demo, saying)
    ask: Any = {"model": "gpt-oss-20b", "input": "hello", "tools": [WEATHER]}
    whole = await client.responses.create(**ask)
    events = await events_of(await client.responses.create(**ask, stream=True))
    kinds = [event.type for event in events]

    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert kinds.count("response.output_item.added") == kinds.count("response.output_item.done") == len(whole.output)
    assert rebuilt(events) == told(events[-1].response.output) == told(whole.output)
    done = [event.item.id for event in events if event.type == "response.output_item.done"]
    assert done == [item.id for item in events[-1].response.output]
    assert events[-1].response.usage.total_tokens == whole.usage.total_tokens


async def test_on_the_wire_each_event_is_named_as_its_data_is(demo):
    async with httpx.AsyncClient(base_url=demo.base_url) as plain:
        response = await plain.post("/v1/responses", json={"model": "auto", "input": "hello there", "stream": True})
    blocks = [block.split("\n") for block in response.text.strip().split("\n\n")]

    assert response.headers["content-type"].startswith("text/event-stream")
    for name, data in blocks:
        assert name.removeprefix("event: ") == json.loads(data.removeprefix("data: "))["type"]
    assert [name.removeprefix("event: response.") for name, _ in blocks if "delta" not in name] == [
        "created", "in_progress",
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.done", "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added", "content_part.added", "output_text.done", "content_part.done", "output_item.done",
        "completed",
    ]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_is_cut_by_its_bound_is_incomplete(client, demo, stream):
    says(demo, Saying("word " * 5, cut=True))
    found = await client.responses.create(model="auto", input="tell", max_output_tokens=16, stream=stream)
    answer = (await events_of(found))[-1].response if stream else found

    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.output[-1].status == "incomplete"
    assert answer.max_output_tokens == 16


async def test_the_package_puts_a_stream_together_and_parses_a_schema(client):
    async with client.responses.stream(model="auto", input="hello there") as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_response()
    parsed = await client.responses.parse(model="auto", input="a city", text_format=City)

    assert final.output_text == SAID
    assert isinstance(parsed.output_parsed, City)


# ── tools ──


async def test_a_tool_is_called_and_its_answer_is_heard_however_the_items_are_replayed(client):
    asked = await client.responses.create(model="auto", input="hello there", tools=[WEATHER], store=False)
    (call,) = [item for item in asked.output if item.type == "function_call"]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees"}
    history = [{"role": "user", "content": "hello there"}, *[item.model_dump() for item in asked.output], result]
    heard = await client.responses.create(model="auto", input=history, tools=[WEATHER], store=False)

    assert (call.name, "city" in json.loads(call.arguments)) == ("get_weather", True)
    assert "18 degrees" in heard.output_text


@pytest.mark.parametrize("name", SIX)
@pytest.mark.parametrize("stream", [False, True])
async def test_each_provider_hears_of_its_calls_and_its_own_reasoning_from_a_client_that_keeps_nothing_else(
    start, name, stream
):
    """The client replays the fields that the API's reference has, and drops all others, as some do."""
    known = ("type", "id", "role", "content", "summary", "encrypted_content", "call_id", "name", "arguments")
    demo = await start((name,))
    async with AsyncOpenAI(base_url=f"{demo.base_url}/v1", api_key="any", max_retries=0) as client:
        found = await client.responses.create(
            model="auto",
            input="both",
            tools=[WEATHER],
            store=False,
            stream=stream,
            include=["reasoning.encrypted_content"],
        )
        asked = (await events_of(found))[-1].response if stream else found
        items = [{k: v for k, v in item.to_dict().items() if k in known} for item in asked.output]
        calls = [item for item in items if item["type"] == "function_call"]
        results = [
            {"type": "function_call_output", "call_id": call["call_id"], "output": f"{n + 18} degrees"}
            for n, call in enumerate(calls)
        ]
        replayed: Any = [{"role": "user", "content": "both"}, *items, *results]
        heard = await client.responses.create(model="auto", input=replayed, tools=[WEATHER], store=False)

    assert len({call["call_id"] for call in calls}) == len(calls) == 2
    assert "19 degrees" in heard.output_text
    if name == "google":  # whose calls are signed
        assert any(item.get("encrypted_content") for item in items if item["type"] == "reasoning")


async def test_a_picture_is_seen(start):
    data = base64.b64encode(PNG).decode()
    parts: Any = [
        {"type": "input_text", "text": "what is this?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{data}", "detail": "auto"},
    ]
    demo = await start(("google",))
    async with AsyncOpenAI(base_url=f"{demo.base_url}/v1", api_key="any", max_retries=0) as client:
        answer = await client.responses.create(model="auto", input=[{"role": "user", "content": parts}])

    assert f"I see an image of {len(PNG)} bytes" in answer.output_text


async def test_tools_that_are_no_functions_are_dropped_and_named(client):
    raw = await client.responses.with_raw_response.create(
        model="auto",
        input="hello there",
        tools=[{"type": "web_search"}, {"type": "custom", "name": "x"}, {"type": "web_search"}],
        tool_choice={"type": "web_search"},
    )

    assert raw.headers["x-freeway-dropped"] == "web_search, custom"
    assert raw.parse().output_text == SAID


# ── what goes wrong ──


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": 7}, "input"),
        ({"input": [{"type": "message", "role": "nobody", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "input[0].content"),
        ({"input": "x", "conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"input": "x", "tools": "none"}, "tools"),
    ],
)
async def test_what_cannot_be_understood_is_a_400_that_names_the_field(client, body, param):
    with pytest.raises(BadRequestError) as caught:
        await client.responses.create(model="auto", extra_body=body)

    assert caught.value.param == param


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [], "include": [], "truncation": "auto", "stream_options": {"include_obfuscation": True}},
        {"client_metadata": {"a": 1}, "context_management": [], "verbosity": "low", "text": {"verbosity": "low"}},
        {"max_output_tokens": -1, "temperature": None, "metadata": None, "background": True, "service_tier": "auto"},
        {"max_output_tokens": 100.0, "prompt_cache_key": "k", "safety_identifier": "s", "user": "u", "model": None},
        {"reasoning": {"effort": "low", "summary": "auto"}, "tool_choice": "auto", "parallel_tool_calls": True},
    ],
)
async def test_what_means_nothing_here_is_no_error(client, more):
    answer = await client.responses.create(model="auto", input="hello there", extra_body=more)

    assert answer.output_text == SAID


async def test_too_long_is_told_as_agents_look_for_it(client, demo):
    ask: Any = {"model": "gpt-oss-20b", "input": "word " * 200_000}
    with pytest.raises(BadRequestError) as caught:
        await client.responses.create(**ask)
    async with httpx.AsyncClient(base_url=demo.base_url) as plain:
        response = await plain.post("/v1/responses", json=ask | {"stream": True})
    events = events_on_the_wire(response.text)

    assert caught.value.code == "context_length_exceeded"
    assert response.status_code == 200
    assert [event["type"] for event in events] == ["response.created", "response.in_progress", "response.failed"]
    assert (failed := events[-1]["response"])["error"]["code"] == "context_length_exceeded"
    assert (failed["status"], failed["store"]) == ("failed", False)


# ── kept ──


async def test_a_response_is_kept_and_continued_by_its_id(client):
    first = await client.responses.create(model="auto", input="my name is Ada", instructions="Be kind.")
    second = await client.responses.create(model="auto", input="and you?", previous_response_id=first.id)
    third = await client.responses.create(model="auto", input="oh", previous_response_id=second.id)
    longer = third.usage.input_tokens

    assert first.store
    assert (second.previous_response_id, third.previous_response_id) == (first.id, second.id)
    assert first.usage.input_tokens < second.usage.input_tokens < longer
    assert (await client.responses.retrieve(first.id)).to_dict() == first.to_dict()
    items = [item async for item in await client.responses.input_items.list(second.id)]
    assert [item.content[0].text for item in items] == ["and you?"]


async def test_input_items_come_in_pages(client):
    said = [{"role": "user", "content": f"line {n}"} for n in range(5)]
    made = await client.responses.create(model="auto", input=said)
    texts = [item.content[0].text async for item in await client.responses.input_items.list(made.id, limit=2)]
    first = await client.responses.input_items.list(made.id, limit=2, order="asc")

    assert texts == [f"line {n}" for n in (4, 3, 2, 1, 0)]
    assert ([item.content[0].text for item in first.data], first.has_more) == (["line 0", "line 1"], True)


async def test_a_stream_that_is_told_again_ends_in_the_same_response(client, demo):
    says(demo, Saying("I look.", "Which city?", [("get_weather", {"city": "Rome"})]))
    made = await events_of(await client.responses.create(model="auto", input="x", tools=[WEATHER], stream=True))
    again = await events_of(await client.responses.retrieve(made[-1].response.id, stream=True))
    later = await events_of(await client.responses.retrieve(made[-1].response.id, stream=True, starting_after=3))

    assert again[-1].response.to_dict() == made[-1].response.to_dict()
    assert rebuilt(again) == rebuilt(made)
    assert [event.sequence_number for event in later] == list(range(4, len(again)))


async def test_what_is_deleted_is_gone(client):
    made = await client.responses.create(model="auto", input="hello there")
    await client.responses.delete(made.id)

    for gone in (client.responses.retrieve(made.id), client.responses.delete(made.id)):
        with pytest.raises(NotFoundError):
            await gone
    with pytest.raises(NotFoundError) as caught:
        await client.responses.create(model="auto", input="and?", previous_response_id=made.id)
    assert caught.value.code == "previous_response_not_found"


async def test_an_item_may_be_named_instead_of_sent(client):
    made = await client.responses.create(model="auto", input="hello there", tools=[WEATHER])
    (call,) = [item for item in made.output if item.type == "function_call"]
    named = [{"type": "item_reference", "id": item.id} for item in made.output]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees"}
    heard = await client.responses.create(
        model="auto", input=[{"role": "user", "content": "hello there"}, *named, result], tools=[WEATHER]
    )
    again = await client.responses.create(model="auto", input="and?", previous_response_id=heard.id)

    assert "18 degrees" in heard.output_text
    assert again.status == "completed"


class Keys(Struct):
    """Two clients' keys, as the settings have them."""

    toml: str
    one: str = "the-key-of-one"
    two: str = "the-key-of-two"


def keys(more: str = "") -> Keys:
    lines = []
    for name in ("one", "two"):
        lines += [
            "[[client]]",
            f'name = "{name}"',
            f'key_sha256 = "{sha256(f"the-key-of-{name}".encode()).hexdigest()}"',
        ]
        lines += [more] if name == "one" else []
    return Keys("\n".join(lines))


async def test_only_its_client_finds_a_response(start, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text((made := keys()).toml)
    demo = await start(("groq",), FREEWAY_CONFIG=str(own))
    async with (
        AsyncOpenAI(base_url=f"{demo.base_url}/v1", api_key=made.one, max_retries=0) as one,
        AsyncOpenAI(base_url=f"{demo.base_url}/v1", api_key=made.two, max_retries=0) as two,
    ):
        mine = await one.responses.create(model="auto", input="hello there")
        for theirs in (
            two.responses.retrieve(mine.id),
            two.responses.delete(mine.id),
            two.responses.input_items.list(mine.id),
            two.responses.create(model="auto", input="x", previous_response_id=mine.id),
        ):
            with pytest.raises(NotFoundError):
                await theirs
        assert (await one.responses.retrieve(mine.id)).id == mine.id


@pytest.mark.parametrize(
    ("settings", "body"),
    [
        ("", {"store": False}),
        ("[responses]\nstore = false", {}),
        ("[responses]\nstore = false", {"store": True}),
        ("", {"store": True, "provider": {"data_collection": "deny"}}),
        ('[virtual."auto:mine"]\nno_train = true', {"store": True, "model": "auto:mine"}),
        ('[virtual."auto:mine"]\nno_train = true\n[alias]\nours = "auto:mine"', {"model": "ours"}),
        (keys("no_train = true").toml, {"store": True}),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_must_not_be_kept_never_reaches_the_disk(start, tmp_path, settings, body, stream):
    own = tmp_path / "own.toml"
    own.write_text(settings)
    demo = await start(("groq", "ollama"), FREEWAY_CONFIG=str(own))
    async with AsyncOpenAI(base_url=f"{demo.base_url}/v1", api_key="the-key-of-one", max_retries=0) as client:
        found = await client.responses.create(model="auto", input="Mrs Featherstone", stream=stream, extra_body=body)
        answer = (await events_of(found))[-1].response if stream else found
        assert answer.status == "completed"
        with pytest.raises(NotFoundError):
            await client.responses.retrieve(answer.id)

    assert answer.to_dict()["store"] is False
    assert not [path for path in files_of(tmp_path) if b"Mrs Featherstone" in path.read_bytes()]


async def test_the_file_is_its_owners_alone(client, tmp_path):
    await client.responses.create(model="auto", input="Mrs Featherstone")
    found = [path for path in files_of(tmp_path) if b"Mrs Featherstone" in path.read_bytes()]

    assert {path.name.removesuffix("-wal") for path in found} == {"responses.sqlite"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "own.toml"]
