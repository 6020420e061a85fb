"""The Gemini API, on the wire and through Google's own package."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import msgspec
import pytest
from google import genai
from google.genai import errors, types
from google.genai.client import AsyncClient
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.api.auth import ANYBODY
from gateway.api.gemini import GenerateContent, StreamGenerateContent, render_error
from gateway.api.gemini_request import json_schema
from gateway.api.options import options_of
from gateway.observe import log
from gateway.observe.log import LogObserver
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
HELLO: Any = [{"role": "user", "parts": [{"text": "hello there"}]}]
SCHEMA = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}
WEATHER: Any = {"functionDeclarations": [{"name": "get_weather", "description": "Weather", "parameters": SCHEMA}]}
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def options(address: str = "auto:generateContent", query: str = "") -> Any:
    return replace(options_of([], Requests(), ANYBODY, "me", "r", 0.0), address=address, query=query)


def parsed(**body: Any) -> Any:
    return GenerateContent().parse(encode({"contents": HELLO} | body), options())


def fields_of(call: Call) -> dict[str, Any]:
    return {name: json.loads(bytes(value)) for name, value in call.request.fields.items()}


@pytest.fixture
async def demo(start):
    return await start(("groq",))


@pytest.fixture
async def client(demo):
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as made:
        yield made


@asynccontextmanager
async def package_at(url: str, version: str | None = "v1beta") -> AsyncIterator[AsyncClient]:
    async with httpx.AsyncClient(timeout=20) as http:  # of what the package makes of its own, aiohttp warns
        options = types.HttpOptions(base_url=url, api_version=version, httpx_async_client=http)
        with genai.Client(api_key="any", http_options=options) as made:
            yield made.aio


@pytest.fixture
async def package(demo):
    async with package_at(demo.base_url) as made:
        yield made


# ── through the package ──


@pytest.mark.parametrize("version", ["v1beta", "v1", None])
async def test_an_answer_comes_whole_and_streamed_under_both_versions(demo, version):
    async with package_at(demo.base_url, version) as package:
        whole = await package.models.generate_content(model="auto", contents="hello there")
        parts = [
            part async for part in await package.models.generate_content_stream(model="auto", contents="hello there")
        ]

    assert whole.text == "".join(part.text or "" for part in parts) == SAID
    assert whole.candidates
    assert parts[-1].candidates
    assert whole.candidates[0].finish_reason == parts[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert whole.usage_metadata
    assert parts[-1].usage_metadata
    assert whole.usage_metadata.prompt_token_count == parts[-1].usage_metadata.prompt_token_count
    assert whole.usage_metadata.prompt_token_count
    assert whole.usage_metadata.candidates_token_count
    assert whole.model_version


@pytest.mark.parametrize("stream", [False, True])
async def test_a_function_is_called_and_its_result_answered(package, stream):
    asked = types.Content(role="user", parts=[types.Part(text="weather in both cities?")])
    config = types.GenerateContentConfig(
        tools=[types.Tool.model_validate(WEATHER)],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    if stream:
        parts = [
            p async for p in await package.models.generate_content_stream(model="auto", contents=[asked], config=config)
        ]
        said = parts[-1].candidates[0].content
    else:
        said = (
            (await package.models.generate_content(model="auto", contents=[asked], config=config)).candidates[0].content
        )
    calls = [part.function_call for part in said.parts]

    assert [(call.name, call.args) for call in calls] == [("get_weather", {"city": "text"})] * 2
    assert calls[0].id != calls[1].id

    results = [
        types.Part(function_response=types.FunctionResponse(name=call.name, response={"output": text}))
        for call, text in zip(calls, ("dry", "rainy"), strict=True)
    ]
    final = await package.models.generate_content(
        model="auto", contents=[asked, said, types.Content(role="user", parts=results)], config=config
    )

    assert final.text == "The tool said: rainy"


@pytest.mark.parametrize("shown", [False, True])
@pytest.mark.parametrize("stream", [False, True])
async def test_thoughts_are_told_to_those_who_ask_for_them(package, demo, shown, stream):
    demo.world.providers["groq"].brain = lambda view: Saying("so be it", "Let me think.")
    config = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=shown))
    if stream:
        answers = [
            p async for p in await package.models.generate_content_stream(model="auto", contents="a", config=config)
        ]
    else:
        answers = [await package.models.generate_content(model="auto", contents="a", config=config)]
    parts = [part for answer in answers for part in answer.candidates[0].content.parts]

    assert "".join(part.text for part in parts if not part.thought) == "so be it"
    assert "".join(part.text for part in parts if part.thought) == ("Let me think." if shown else "")


async def test_an_answer_follows_a_schema_and_a_cut_is_told(start):
    demo = await start(("google",))
    async with package_at(demo.base_url) as package:
        config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=SCHEMA)
        answer = await package.models.generate_content(model="auto", contents="a city", config=config)

    assert json.loads(answer.text or "") == {"city": "text"}


async def test_tokens_are_counted_and_models_are_listed(package):
    counted = await package.models.count_tokens(model="auto", contents="hello there")
    models = [model async for model in await package.models.list()]
    one = await package.models.get(model="auto")

    assert 0 < counted.total_tokens < 50
    assert "models/auto" in [model.name for model in models]
    assert one.input_token_limit == max(model.input_token_limit or 0 for model in models)
    assert "generateContent" in one.supported_actions


async def test_texts_are_embedded(start):
    demo = await start(("nvidia",))
    name = next(model.id for model in demo.world.providers["nvidia"].models if model.embedding)
    async with package_at(demo.base_url) as package:
        found = await package.models.embed_content(model=f"models/{name}", contents=cast(Any, ["a", "b"]))
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        body = {"content": {"parts": [{"text": "a"}]}}
        one = (await client.post(f"/v1beta/models/{name}:embedContent", json=body)).json()

    assert found.embeddings
    assert len(found.embeddings) == 2
    assert one["embedding"]["values"] == pytest.approx(found.embeddings[0].values)


async def test_the_package_hears_of_errors(package):
    with pytest.raises(errors.ClientError) as caught:
        await package.models.generate_content(model="no-such-model", contents="a")

    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


# ── the wire ──


async def test_without_alt_a_stream_is_an_array(client):
    response = await client.post("/v1beta/models/auto:streamGenerateContent", json={"contents": HELLO})
    members = response.json()

    assert response.headers["content-type"] == "application/json"
    assert "".join(p["text"] for m in members for p in m["candidates"][0]["content"]["parts"]) == SAID
    assert ["finishReason" in member["candidates"][0] for member in members] == [False] * (len(members) - 1) + [True]
    assert members[-1]["usageMetadata"]["totalTokenCount"] > 0


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "word"),
    [
        ("POST", "/v1beta/models/auto:generateContent", {"contents": []}, 400, "INVALID_ARGUMENT"),
        ("POST", "/v1beta/models/auto:generateContent", {"contents": 3}, 400, "INVALID_ARGUMENT"),
        ("POST", "/v1beta/models/auto:generateContent", None, 400, "INVALID_ARGUMENT"),
        ("POST", "/v1/models/none:generateContent", {"contents": HELLO}, 404, "NOT_FOUND"),
        ("POST", "/v1beta/models/auto:predict", {"contents": HELLO}, 404, "NOT_FOUND"),
        ("POST", "/v1/models/auto", {"contents": HELLO}, 404, "NOT_FOUND"),
        ("GET", "/v1beta/models/none", None, 404, "NOT_FOUND"),
        ("GET", "/v1beta/nonsense", None, 404, "NOT_FOUND"),
    ],
)
async def test_errors_have_googles_shape(client, method, path, body, status, word):
    response = await client.request(method, path, json=body)
    told = response.json()["error"]

    assert (response.status_code, told["code"], told["status"]) == (status, status, word)
    assert told["message"]


async def test_openais_list_and_entry_are_still_there(client):
    assert (await client.get("/v1/models")).json()["object"] == "list"
    assert (await client.get("/v1/models/auto")).json()["object"] == "model"


@pytest.mark.parametrize("how", ["header", "query"])
async def test_a_key_comes_as_google_sends_it(start, how):
    demo = await start(("groq",), FREEWAY_API_KEY="fw")
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        for path in ("/v1beta/models/auto:generateContent", "/v1/models/auto:generateContent"):
            right, wrong = [
                await client.post(
                    path,
                    json={"contents": HELLO},
                    headers={"x-goog-api-key": key} if how == "header" else {},
                    params={"key": key} if how == "query" else {},
                )
                for key in ("fw", "no")
            ]
            assert (right.status_code, wrong.status_code) == (200, 401)
            assert wrong.json()["error"]["status"] == "UNAUTHENTICATED"
        listed = await client.get("/v1beta/models?key=fw")
        assert listed.status_code == 200


async def test_a_key_in_the_address_is_in_no_answer_and_no_log(start, capfd):
    log.configure(json=True)
    heard: list[Any] = []
    demo = await start(("groq",), FREEWAY_API_KEY="fw-never-told", observers=[LogObserver(), heard.append])
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        said = [
            await client.request(method, f"{path}?key=fw-never-told{more}", json=body)
            for method, path, body in [
                ("POST", "/v1beta/models/auto:generateContent", {"contents": HELLO}),
                ("POST", "/v1beta/models/none:generateContent", {"contents": 3}),
                ("POST", "/v1beta/models/auto:nothing", {}),
                ("GET", "/v1beta/nothing", None),
            ]
            for more in ("", "-wrong")
        ]

    assert [response.status_code for response in said] == [200, 401, 400, 401, 404, 401, 404, 404]
    assert "never-told" not in str([(response.text, response.headers) for response in said]) + str(heard)
    assert "never-told" not in "".join(capfd.readouterr())


def test_overflow_and_waiting_are_told_in_googles_words():
    too_long = json.loads(render_error(TooLong("it is").measured(9, 7)))["error"]
    full = json.loads(render_error(NoCapacity("full", retry_after=12.4)))["error"]

    assert too_long["message"] == "The input token count (9) exceeds the maximum number of tokens allowed (7)."
    assert (full["code"], full["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert full["details"][0]["retryDelay"] == "12s"


@pytest.mark.parametrize("query", ["", "alt=sse"])
def test_a_stream_that_breaks_is_whole_json_and_says_so(query):
    surface = StreamGenerateContent()
    surface.parse(encode({"contents": HELLO}), options("auto:streamGenerateContent", query))
    step = Step(Chunk(model="m", choices=[ChunkChoice(delta=Delta(content="a"))]), b"")
    out = surface.comment + surface.render_event(step) + surface.comment + surface.render_broken(NoCapacity("broke"))
    events = [json.loads(e.removeprefix(b"data: ")) for e in out.split(b"\n\n") if e.startswith(b"data")]
    members = events if query else json.loads(out)

    assert "candidates" in members[0]
    assert members[1]["error"]["message"] == "broke"


# ── requests ──


def test_a_request_keeps_its_meaning_in_either_spelling():
    camel = {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "generationConfig": {
            "temperature": 1.0, "topP": 0.9, "topK": 40.0, "maxOutputTokens": 100, "stopSequences": ["END"],
            "responseMimeType": "text/plain", "thinkingConfig": {"thinkingLevel": "LOW"},
        },
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["get_weather"]}},
        "tools": [WEATHER, {"googleSearch": {}}],
        "safetySettings": [{"category": "X"}],
    }  # fmt: skip
    snake = {
        "system_instruction": {"parts": [{"text": "Be brief."}]},
        "generation_config": {
            "temperature": 1.0, "top_p": 0.9, "top_k": 40, "max_output_tokens": 100, "stop_sequences": ["END"],
            "response_mime_type": "text/plain", "thinking_config": {"thinking_level": "LOW"},
        },
        "tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["get_weather"]}},
        "tools": [{"function_declarations": WEATHER["functionDeclarations"]}],
    }  # fmt: skip
    view = parsed(**camel).request.view

    assert fields_of(parsed(**camel)) == fields_of(parsed(**snake))
    assert (view.temperature, view.top_p, view.top_k, view.max_tokens, view.stop) == (1.0, 0.9, 40, 100, ["END"])
    assert view.messages[0].role == "system"
    assert view.reasoning_effort == "low"
    assert view.tool_choice == {"type": "function", "function": {"name": "get_weather"}}
    assert view.functions()[0].parameters == {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("thinking", "effort"),
    [({"thinkingBudget": 0}, "none"), ({"thinkingBudget": -1}, None), ({"thinkingBudget": 9000}, "high"), ({}, None)],
)
def test_how_much_to_think_keeps_its_meaning(thinking, effort):
    assert parsed(generationConfig={"thinkingConfig": thinking}).request.view.reasoning_effort == effort


def test_several_functions_may_be_allowed():
    tools = [{"functionDeclarations": [{"name": name} for name in ("f", "g", "h")]}]
    calling = {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f", "h"]}}
    view = parsed(tools=tools, toolConfig=calling).request.view

    assert ([one.name for one in view.functions()], view.tool_choice) == (["f", "h"], "required")


def test_bytes_come_as_google_sends_them():
    part = {"inlineData": {"mimeType": "image/png", "data": base64.urlsafe_b64encode(PNG).decode().rstrip("=")}}
    call = parsed(contents=[{"parts": [part]}])
    url = call.request.view.messages[0].content[0].image_url.url

    assert base64.b64decode(url.partition(",")[2], validate=True) == PNG
    assert "vision" in call.wants.capabilities


def test_a_schema_of_googles_becomes_one_of_json():
    assert json_schema(
        {
            "type": "ARRAY",
            "minItems": "2",
            "nullable": True,
            "items": {"type": "OBJECT", "properties": {"type": {"type": "STRING"}}},
        }
    ) == {
        "type": ["array", "null"],
        "minItems": 2,
        "items": {"type": "object", "properties": {"type": {"type": "string"}}},
    }


def test_a_model_may_have_colons_and_slashes():
    for name in ("auto", "auto:fast", "groq/openai/gpt-oss-20b", "llama3.2:3b"):
        call = GenerateContent().parse(encode({"contents": HELLO}), options(f"{name}:generateContent"))
        assert call.wants.models == (name,)


def test_a_field_at_fault_is_named():
    with pytest.raises(BadRequest) as caught:
        parsed(generationConfig={"maxOutputTokens": "many"})

    assert caught.value.param == "generationConfig.maxOutputTokens"


# ── the properties ──

ARGUMENTS = st.dictionaries(st.text(max_size=5), st.integers(-9, 9) | st.text(max_size=5), max_size=3)
SIGNATURES = st.none() | st.binary(min_size=1, max_size=9).map(lambda raw: base64.b64encode(raw).decode())
CALLS = st.lists(st.tuples(st.sampled_from(["f", "g"]), ARGUMENTS, SIGNATURES), max_size=3)
TEXTS = st.none() | st.text(min_size=1, max_size=9)


@given(TEXTS, TEXTS, CALLS)
def test_an_answer_that_is_replayed_means_the_same(thought, text, calls):
    """Also by Google's package, which writes signatures otherwise than it reads them."""
    message: dict[str, Any] = {"role": "assistant", "content": text or ""}
    if thought:
        message["reasoning_content"] = thought
    made = []
    for place, (name, arguments, signature) in enumerate(calls):
        function = {"name": name, "arguments": encode(arguments).decode()}
        extra = {"extra_content": {"google": {"thought_signature": signature}}} if signature else {}
        made.append({"id": f"c{place}", "type": "function", "function": function, **extra})
    if made:
        message["tool_calls"] = made
    surface = GenerateContent()
    asked = {"contents": HELLO, "generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
    surface.parse(encode(asked), options())
    completion = msgspec.convert({"model": "m", "choices": [{"message": message, "finish_reason": "stop"}]}, Completion)
    rendered = surface.render_whole(Whole(completion, b""))
    candidates = types.GenerateContentResponse.model_validate_json(rendered).candidates
    assert candidates
    read = candidates[0].content
    assert read
    replayed = json.loads(read.model_dump_json(by_alias=True, exclude_none=True))
    results = [
        {"functionResponse": {"id": f"c{place}", "name": name, "response": {"output": f"r{place}"}}}
        for place, (name, _, _) in enumerate(calls)
    ]
    turns = [*HELLO, replayed, *([{"role": "user", "parts": results}] if results else [])]
    found = fields_of(parsed(contents=turns))["messages"]

    assert found[1] == message
    assert [(m["tool_call_id"], m["content"]) for m in found[2:]] == [(f"c{n}", f"r{n}") for n in range(len(calls))]


@given(st.lists(st.text(min_size=1, max_size=4), max_size=4), st.lists(ARGUMENTS, max_size=3), st.data())
def test_any_split_of_a_stream_gives_the_same_parts_together(texts, calls, data):
    deltas = [Delta(content=text) for text in texts]
    for index, arguments in enumerate(calls):
        text = json.dumps(arguments)
        at = data.draw(st.integers(0, len(text)))
        for first, piece in ((True, text[:at]), (False, text[at:])):
            function = FunctionDelta("f" if first else None, piece)
            deltas.append(
                Delta(tool_calls=[ToolCallDelta(index=index, id=f"c{index}" if first else None, function=function)])
            )
    surface = StreamGenerateContent()
    surface.parse(encode({"contents": HELLO}), options("auto:streamGenerateContent"))
    chunks = [Chunk(model="m", choices=[ChunkChoice(delta=delta)]) for delta in deltas]
    chunks.append(Chunk(model="m", choices=[ChunkChoice(finish_reason="length")], usage=Usage(7, 3)))
    members = json.loads(b"".join(surface.render_event(Step(c, b"")) for c in chunks) + surface.render_end())
    parts = [part for member in members for part in member["candidates"][0]["content"]["parts"]]

    assert "".join(part.get("text", "") for part in parts) == "".join(texts)
    found = [part["functionCall"] for part in parts if "functionCall" in part]
    assert [(call["id"], call["args"]) for call in found] == [(f"c{n}", a) for n, a in enumerate(calls)]
    assert members[-1]["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert members[-1]["usageMetadata"] == {"promptTokenCount": 7, "candidatesTokenCount": 3, "totalTokenCount": 10}
