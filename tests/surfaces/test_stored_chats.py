"""Chat completions that are kept because their request says so, through OpenAI's own package and byte by byte."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, NotFoundError

from providers.simulator.brain import Saying
from tests.surfaces.test_openai_responses import files_of, keys, says

ASK: Any = {"model": "auto", "messages": [{"role": "user", "content": "hello there"}]}
CALL: Any = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}},
}


@pytest.fixture
async def demo(start):
    return await start(("groq",))


@pytest.fixture
async def client(demo):
    async with AsyncOpenAI(base_url=f"{demo.base_url}/v1", api_key="any", max_retries=0) as made:
        yield made


async def kept(client: AsyncOpenAI, **more: Any) -> str:
    return (await client.chat.completions.create(**ASK | more, store=True)).id


async def test_a_completion_is_kept_only_if_its_request_says_so(client):
    unkept = await client.chat.completions.create(**ASK)
    made = await client.chat.completions.create(**ASK, store=True, metadata={"run": "7"}, temperature=0.5)
    found = await client.chat.completions.retrieve(made.id)

    assert found.choices == made.choices
    assert (found.model, found.usage, found.created) == (made.model, made.usage, made.created)
    assert (found.metadata, found.to_dict()["temperature"]) == ({"run": "7"}, 0.5)
    assert [one.id async for one in client.chat.completions.list()] == [made.id]
    with pytest.raises(NotFoundError) as caught:
        await client.chat.completions.retrieve(unkept.id)
    assert "'store': true" in caught.value.message


@pytest.mark.parametrize(
    "saying",
    [
        Saying("so be it", "Let me think."),
        Saying("I look.", "", [("get_weather", {"city": "Rome"}), ("get_weather", {})]),
    ],
)
async def test_what_is_kept_of_a_stream_is_what_was_told(client, demo, saying):
    says(demo, saying)
    ask: Any = {**ASK, "model": "gpt-oss-20b", "tools": [CALL], "store": True}
    whole = await client.chat.completions.create(**ask)
    stream = await client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    (name,) = {chunk.id for chunk in chunks}
    found = await client.chat.completions.retrieve(name)
    (one,), (two,) = found.choices, (await client.chat.completions.retrieve(whole.id)).choices

    assert name.startswith("chatcmpl-")
    assert (one.finish_reason, one.message.content) == (two.finish_reason, two.message.content)
    assert one.message.to_dict().get("reasoning_content") == two.message.to_dict().get("reasoning_content")
    assert [c.function for c in one.message.tool_calls or ()] == [c.function for c in two.message.tool_calls or ()]
    assert found.usage == chunks[-1].usage
    assert found.model == chunks[0].model


async def test_a_stream_that_broke_is_not_kept(client, demo):
    demo.world.providers["groq"].brain = lambda view: Saying("No thought comes before this text. " * 9)
    demo.world.providers["groq"].fail("cut")
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as plain:
        answer = await plain.post("/v1/chat/completions", json=ASK | {"store": True, "stream": True})

    assert '"error"' in answer.text
    assert [one async for one in client.chat.completions.list()] == []


async def test_the_list_comes_in_pages_in_both_orders_and_is_narrowed(client):
    names = [await kept(client, metadata={"n": str(n), "even": str(n % 2 == 0)}) for n in range(5)]

    async def listed(**query: Any) -> list[int]:
        return [names.index(one.id) async for one in client.chat.completions.list(**query)]

    first = await client.chat.completions.list(limit=2)
    model = first.data[0].model

    assert (await listed(), await listed(order="desc")) == ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0])
    assert (await listed(limit=2), await listed(limit=2, order="desc")) == ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0])
    assert (await listed(after=names[1]), await listed(after=names[1], order="desc")) == ([2, 3, 4], [0])
    assert await listed(metadata={"even": "True"}, limit=1) == [0, 2, 4]
    assert await listed(metadata={"even": "True", "n": "2"}) == [2]
    assert [len(await listed(model=name)) for name in (model, "auto", "another")] == [5, 5, 0]
    assert ([names.index(one.id) for one in first.data], first.to_dict()["has_more"]) == ([0, 1], True)


async def test_metadata_are_changed_and_nothing_else(client):
    name = await kept(client, metadata={"a": "b"})
    before = (await client.chat.completions.retrieve(name)).to_dict()
    changed = await client.chat.completions.update(name, metadata={"c": "d"})

    assert changed.to_dict() == before | {"metadata": {"c": "d"}}
    assert (await client.chat.completions.retrieve(name)).to_dict() == changed.to_dict()
    assert [one.id async for one in client.chat.completions.list(metadata={"c": "d"})] == [name]


async def test_what_is_deleted_is_gone(client):
    name = await kept(client)
    told = await client.chat.completions.delete(name)

    assert (told.id, told.object, told.deleted) == (name, "chat.completion.deleted", True)
    assert [one async for one in client.chat.completions.list()] == []
    for gone in (
        client.chat.completions.retrieve(name),
        client.chat.completions.delete(name),
        client.chat.completions.update(name, metadata={}),
        client.chat.completions.messages.list(name),
    ):
        with pytest.raises(NotFoundError):
            await gone


async def test_the_messages_are_those_that_it_answers(client):
    said: list[Any] = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "hello"}, {"type": "text", "text": "there"}]},
    ]
    name = await kept(client, messages=said)
    found = await client.chat.completions.messages.list(name)
    one, two = found.data
    pages = [message.id async for message in await client.chat.completions.messages.list(name, limit=1, order="desc")]

    assert (one.role, one.content, one.content_parts) == ("system", "Be kind.", None)
    assert (two.role, two.content) == ("user", None)
    assert [part.to_dict() for part in two.content_parts or ()] == said[1]["content"]
    assert pages == [two.id, one.id]


async def test_a_response_and_a_chat_completion_are_not_found_as_each_other(client, demo):
    chat, response = await kept(client), (await client.responses.create(model="auto", input="x")).id
    async with httpx.AsyncClient(base_url=f"{demo.base_url}/v1", timeout=20) as plain:
        for path in (f"/responses/{chat}", f"/responses/chats%2F{chat}", f"/chat/completions/{response}"):
            assert (await plain.get(path)).status_code == 404
        for name in (chat, f"chats/{chat}"):
            answer = await plain.post("/responses", json={"input": "x", "previous_response_id": name})
            assert answer.json()["error"]["code"] == "previous_response_not_found"


async def test_only_its_client_finds_a_completion_whatever_clients_are_called(start, tmp_path):
    """``one/chats`` has the name that the other's place has in the store."""
    own = tmp_path / "own.toml"
    own.write_text(keys().toml.replace('"two"', '"one/chats"'))
    demo = await start(("groq",), FREEWAY_CONFIG=str(own))
    base = f"{demo.base_url}/v1"
    async with (
        AsyncOpenAI(base_url=base, api_key="the-key-of-one", max_retries=0) as one,
        AsyncOpenAI(base_url=base, api_key="the-key-of-two", max_retries=0) as two,
    ):
        name = await kept(one)
        for theirs in (
            two.chat.completions.retrieve(name),
            two.chat.completions.delete(name),
            two.chat.completions.update(name, metadata={}),
            two.chat.completions.messages.list(name),
            two.responses.retrieve(name),
        ):
            with pytest.raises(NotFoundError):
                await theirs
        assert [one async for one in two.chat.completions.list()] == []
        assert (await one.chat.completions.retrieve(name)).id == name


@pytest.mark.parametrize(
    ("settings", "body"),
    [
        ("[responses]\nstore = false", {}),
        ("", {"provider": {"data_collection": "deny"}}),
        ('[virtual."auto:mine"]\nno_train = true', {"model": "auto:mine"}),
        (keys("no_train = true").toml, {}),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_must_not_be_kept_never_reaches_the_disk_and_the_answer_says_so(
    start, tmp_path, settings, body, stream
):
    own = tmp_path / "own.toml"
    own.write_text(settings)
    demo = await start(("groq", "ollama"), FREEWAY_CONFIG=str(own))
    said = {"messages": [{"role": "user", "content": "Mrs Featherstone"}], "store": True, "stream": stream}
    headers = {"authorization": "Bearer the-key-of-one"}
    async with httpx.AsyncClient(base_url=f"{demo.base_url}/v1", headers=headers, timeout=20) as client:
        answer = await client.post("/chat/completions", json=ASK | said | body)
        listed = (await client.get("/chat/completions")).json()

    assert (answer.status_code, answer.headers["x-freeway-dropped"]) == (200, "store")
    assert listed == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    assert not [path for path in files_of(tmp_path) if b"Mrs Featherstone" in path.read_bytes()]


@pytest.mark.parametrize("base", ["", "/v1", "/v1/v1"])
async def test_every_path_is_there_without_v1_and_with_it_twice(demo, base):
    async with httpx.AsyncClient(base_url=f"{demo.base_url}{base}", timeout=20) as client:
        name = (await client.post("/chat/completions", json=ASK | {"store": True})).json()["id"]
        one = f"/chat/completions/{name}"
        answers = [
            await client.get("/chat/completions"),
            await client.get(one),
            await client.get(f"{one}/messages"),
            await client.post(one, json={"metadata": {"a": "b"}}),
            await client.post("/responses/input_tokens", json={"input": "hello there"}),
            await client.delete(one),
        ]
        wrong = [
            await client.get(f"{one}/message"),
            await client.get("/chat/completions?limit=many"),
            await client.post(one, json={"metadata": 5}),
        ]
        counted = answers[4].json()

    assert [answer.status_code for answer in answers] == [200] * 6
    assert [answer.status_code for answer in wrong] == [404, 400, 400]
    assert all(answer.json()["error"]["message"] for answer in wrong)
    assert counted["object"] == "response.input_tokens"
    assert 2 <= counted["input_tokens"] < 50


async def test_without_a_key_nothing_is_listed(start):
    demo = await start(("groq",), FREEWAY_API_KEY="fw-right")
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        answers = [await client.get(f"/v1/chat/completions{end}") for end in ("", "/a", "/a/messages")]

    assert [answer.status_code for answer in answers] == [401] * 3


async def test_the_tokens_of_a_request_are_those_of_its_whole_conversation(client):
    made = await client.responses.create(model="auto", input="hello there " * 50)
    alone = await client.responses.input_tokens.count(model="auto", input="and?")
    later = await client.responses.input_tokens.count(model="auto", input="and?", previous_response_id=made.id)

    assert alone.input_tokens < 50
    assert later.input_tokens > alone.input_tokens + 100


async def test_an_answer_is_no_worse_for_a_store_that_is_away(start):
    demo = await start(("groq",), FREEWAY_REDIS_URL="redis://127.0.0.1:9/0")
    async with httpx.AsyncClient(base_url=f"{demo.base_url}/v1/chat/completions", timeout=20) as client:
        answer = await client.post("", json=ASK | {"store": True})
        later = [await client.get(""), await client.get(f"/{answer.json()['id']}")]

    assert answer.json()["choices"][0]["message"]["content"]
    assert [(one.status_code, one.json()["error"]["code"]) for one in later] == [(503, "store_unavailable")] * 2
    assert json.loads(later[0].content)["error"]["message"].startswith("what is stored cannot be reached")
