"""Ollama's API, on the wire and through Ollama's own package."""

from __future__ import annotations

import json
from typing import Any, cast

import httpx
import ollama
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from gateway import settings as s
from gateway.api.auth import ANYBODY
from gateway.api.http import Ready
from gateway.api.ollama import Chat, Embed, Generate, OldEmbed
from gateway.api.options import options_of
from gateway.settings import Requests
from gateway.words import BadRequest, Call, NoCapacity
from providers.chat import Chunk, ChunkChoice, Delta, FunctionDelta, Step, ToolCallDelta, Usage, encode
from providers.dialect import Account, HttpRequest, HttpResponse
from providers.dialects.ollama.dialect import Ollama
from providers.failures import Unreachable
from providers.simulator.brain import Saying
from tests.conftest import CONFIG

SAID = "You said: hello there"
HELLO: Any = [{"role": "user", "content": "hello there"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def options() -> Any:
    return options_of([], Requests(), ANYBODY, "me", "r", 0.0)


def parsed(**body: Any) -> Any:
    return Chat().parse(encode({"model": "auto", "messages": HELLO} | body), options())


def messages_of(call: Call) -> list[dict[str, Any]]:
    return json.loads(bytes(call.request.fields["messages"]))


@pytest.fixture
async def demo(start):
    return await start(("groq",))


@pytest.fixture
async def package(demo):
    async with ollama.AsyncClient(host=demo.base_url, timeout=20) as made:
        yield made


@pytest.fixture
async def client(demo):
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as made:
        yield made


# ── through the package ──


async def test_a_chat_is_answered_whole_and_streamed(package):
    whole = await package.chat(model="auto", messages=HELLO)
    parts = [part async for part in await package.chat(model="auto", messages=HELLO, stream=True)]

    assert whole.message.content == "".join(part.message.content for part in parts) == SAID
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert whole.done_reason == parts[-1].done_reason == "stop"
    assert whole.eval_count > 0 < parts[-1].eval_count
    assert whole.prompt_eval_count > 0 < parts[-1].prompt_eval_count


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_is_called_with_an_object_and_its_result_answered(package, stream):
    asked = [{"role": "user", "content": "weather in both cities?"}]
    answer = await package.chat(model="auto", messages=asked, tools=[WEATHER], stream=stream)
    parts = [part async for part in answer] if stream else [answer]
    calls = [call for part in parts for call in part.message.tool_calls or ()]

    assert [(call.function.name, dict(call.function.arguments)) for call in calls] == [
        ("get_weather", {"city": "text"})
    ] * 2
    assert parts[-1].done_reason == "stop"

    said = ollama.Message(role="assistant", content="", tool_calls=calls)
    results = [{"role": "tool", "content": text, "tool_name": "get_weather"} for text in ("dry", "rainy")]
    final = await package.chat(model="auto", messages=[*asked, said, *results], tools=[WEATHER])

    assert final.message.content == "The tool said: rainy"


async def test_a_prompt_is_answered(package):
    whole = await package.generate(model="auto:latest", prompt="hello there", system="be brief")
    parts = [part async for part in await package.generate(model="auto", prompt="hello there", stream=True)]

    assert whole.response == "".join(part.response for part in parts) == SAID
    assert whole.done


@pytest.mark.parametrize("think", [None, False, True, "high"])
async def test_thoughts_are_a_field_of_their_own_unless_they_are_turned_off(package, demo, think):
    demo.world.providers["groq"].brain = lambda view: Saying("so be it", "Let me think.")
    chat = await package.chat(model="auto", messages=HELLO, think=think)
    told = await package.generate(model="auto", prompt="hi", think=think)

    assert (chat.message.content, told.response) == ("so be it", "so be it")
    assert (chat.message.thinking, told.thinking) == ((None, None) if think is False else ("Let me think.",) * 2)


async def test_an_answer_follows_a_schema(start):
    class City(BaseModel):
        name: str
        people: int

    demo = await start(("ollama",))  # the real thing's other half, behind the gateway
    async with ollama.AsyncClient(host=demo.base_url) as package:
        answer = await package.chat(model="auto", messages=HELLO, format=City.model_json_schema())

    assert City.model_validate_json(answer.message.content)


async def test_the_package_hears_of_errors(package):
    with pytest.raises(ollama.ResponseError, match="no-such-model") as caught:
        await package.chat(model="no-such-model", messages=HELLO)

    assert caught.value.status_code == 404


async def test_texts_are_embedded(start):
    demo = await start(("nvidia",))
    name = next(model.id for model in demo.world.providers["nvidia"].models if model.embedding)
    async with ollama.AsyncClient(host=demo.base_url) as package:
        several = await package.embed(model=name, input=["a", "b"])
        one = await package.embeddings(model=name, prompt="a")

    assert len(several.embeddings) == 2
    assert list(one.embedding) == pytest.approx(list(several.embeddings[0]))


# ── what programs look for ──


async def test_programs_find_an_ollama_and_browsers_the_page(client):
    assert (await client.get("/")).text == "Ollama is running"
    assert (await client.head("/")).status_code == 200
    assert "<title>Freeway</title>" in (await client.get("/", headers={"accept": "text/html,*/*"})).text
    version = (await client.get("/api/version")).json()["version"]
    assert tuple(map(int, version.split("."))) >= (0, 6, 4)


async def test_the_list_is_one_that_strict_programs_read(client, package):
    rows = (await client.get("/api/tags")).json()["models"]
    listed = await package.list()

    assert "auto" in [row["name"] for row in rows] == [model.model for model in listed.models]
    for row in rows:
        assert row.keys() == {"name", "model", "modified_at", "size", "digest", "details"}
        assert isinstance(row["size"], int)
        assert row["details"].keys() >= {"format", "family", "families", "parameter_size", "quantization_level"}
    assert (await client.get("/api/ps")).json() == {"models": []}


async def test_a_model_shows_what_it_can_and_auto_what_any_can(client):
    names = [row["name"] for row in (await client.get("/api/tags")).json()["models"]]
    entries = {entry["id"]: entry for entry in (await client.get("/v1/models")).json()["data"]}
    shown = {name: (await client.post("/api/show", json={"name": name})) for name in names}
    facts = {name: answer.json() for name, answer in shown.items()}
    sizes = {name: one.get("model_info", {}).get("freeway.context_length") for name, one in facts.items()}
    canonical = [name for name in facts if entries[name]["providers"]]

    assert {answer.status_code for answer in shown.values()} == {200}  # Zed shows no model at all where one is missing
    assert canonical
    for name in canonical:
        assert sizes[name] == entries[name]["context_length"]
        assert ("tools" in facts[name]["capabilities"]) == ("tools" in entries[name]["features"])
        assert facts[name]["model_info"]["general.basename"] == name
    assert sizes["auto"] == max(size for size in sizes.values() if size)
    assert {c for name in canonical for c in facts[name]["capabilities"]} - {"embedding"} <= set(
        facts["auto"]["capabilities"]
    )


async def test_what_is_served_is_there_already_and_nothing_else_is(client, package):
    assert (await package.pull("auto:latest")).status == "success"
    assert [part.status async for part in await package.pull("auto", stream=True)] == ["success"]
    for path in ("/api/pull", "/api/show"):
        response = await client.post(path, json={"model": "no-such-model"})
        assert response.status_code == 404
        assert response.json() == {"error": "model 'no-such-model' not found"}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/api/chat", {"messages": 3}, 400),
        ("POST", "/api/chat", [], 400),
        ("POST", "/api/show", "x", 400),
        ("GET", "/api/chat", None, 405),
        ("POST", "/api/tags", {}, 405),
        ("POST", "/api/nonsense", {}, 404),
        ("POST", "/api/generate", {"prompt": "a", "suffix": "b"}, 400),
    ],
)
async def test_errors_have_ollamas_shape(client, method, path, body, status):
    response = await client.request(method, path, json=body)

    assert response.status_code == status
    assert response.json().keys() == {"error"}
    assert isinstance(response.json()["error"], str)


async def test_a_key_is_asked_for_where_one_is_set(start):
    demo = await start(("groq",), FREEWAY_API_KEY="fw")
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        refused = [await client.get(path) for path in ("/api/tags", "/api/ps")]
        refused += [await client.post(path, json={"model": "auto"}) for path in ("/api/show", "/api/pull", "/api/chat")]
        admitted = await client.get("/api/tags", headers={"authorization": "Bearer fw"})

    assert [response.status_code for response in refused] == [401] * 5
    assert all(isinstance(response.json()["error"], str) for response in refused)
    assert admitted.status_code == 200


async def test_a_gateway_is_no_source_of_models_for_another_nor_for_itself(client):
    """The mark is in its version, which needs no key."""
    spec = s.load(CONFIG, {}, CONFIG).provider["ollama"]
    discovery = Ollama().discover(Account(spec, "http://127.0.0.1:11434"))
    asked = next(discovery)
    answer = await client.request(asked.method, httpx.URL(asked.url).path)

    assert isinstance(asked, HttpRequest)
    with pytest.raises(Unreachable, match="Freeway"):
        discovery.send(HttpResponse(answer.status_code, {}, answer.content))


# ── requests ──


@pytest.mark.parametrize("surface", [Chat, Generate])
@pytest.mark.parametrize(("keep", "reason"), [(None, "load"), ("5m", "load"), (0, "unload"), (-1, "load")])
def test_a_request_that_says_nothing_loads_a_model(surface, keep, reason):
    found = surface().parse(encode({"model": "auto", "keep_alive": keep, "messages": [], "prompt": ""}), options())

    assert isinstance(found, Ready)
    assert json.loads(found.body)["done_reason"] == reason
    assert json.loads(found.body)["done"] is True


def test_it_streams_unless_told_not_to():
    assert parsed().streams
    assert not parsed(stream=False).streams


def test_options_keep_their_meaning_and_the_habits_of_programs_route_nothing():
    plain = parsed()
    call = parsed(
        options={"num_ctx": 8192, "num_predict": -1, "temperature": 0.5, "top_k": 40.0, "stop": ["END"], "mirostat": 1},
        keep_alive="-1s", tools=[], truncate=True,
    )  # fmt: skip
    view = call.request.view

    assert (view.temperature, view.top_k, view.stop, view.max_tokens) == (0.5, 40, ["END"], None)
    assert view.tools is None
    assert call.wants.min_context == plain.wants.min_context
    assert (call.prompt_tokens, call.wants.capabilities) == (plain.prompt_tokens, plain.wants.capabilities)
    assert parsed(options={"num_predict": 20}).request.view.max_tokens == 20
    assert parsed(options=None, format="", images=None).request.view.response_format is None


def test_a_format_is_json_or_a_schema():
    assert parsed(format="json").request.view.response_format.type == "json_object"
    assert parsed(format={"type": "object"}).request.view.response_format.json_schema.schema == {"type": "object"}


@pytest.mark.parametrize(("think", "effort"), [(None, None), (True, "medium"), (False, "none"), ("low", "low")])
def test_how_much_to_think_keeps_its_meaning(think, effort):
    assert parsed(think=think).request.view.reasoning_effort == effort


def test_images_are_sent_on_and_none_may_be_sent():
    call = parsed(messages=[{"role": "user", "content": "see", "images": [PIXEL]}])

    assert messages_of(call)[0]["content"][1]["image_url"]["url"] == f"data:image/png;base64,{PIXEL}"
    assert "vision" in call.wants.capabilities
    assert "vision" not in parsed(messages=[{"role": "user", "content": "x", "images": []}]).wants.capabilities


def test_embeddings_want_one_model_and_a_text():
    with pytest.raises(BadRequest, match="one model"):
        Embed().parse(b'{"model": "auto:fast", "input": "a"}', options())
    assert json.loads(cast(Any, Embed().parse(b'{"model": "m", "input": []}', options())).body)["embeddings"] == []
    assert json.loads(cast(Any, OldEmbed().parse(b'{"model": "m", "prompt": ""}', options())).body) == {"embedding": []}


# ── the properties ──

ARGUMENTS = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3)
NAMES = st.sampled_from(["f", "g", "h"])


@given(st.lists(st.lists(st.tuples(NAMES, ARGUMENTS), min_size=1, max_size=3), min_size=1, max_size=3), st.data())
def test_each_result_finds_its_call_though_there_are_no_ids(rounds, data):
    """Results of one round may come in any order, but those of one function in that of its calls."""
    messages: list[dict[str, Any]] = list(HELLO)
    said: list[tuple[str, str]] = []
    for number, calls in enumerate(rounds):
        functions = [{"function": {"name": name, "arguments": arguments}} for name, arguments in calls]
        messages.append({"role": "assistant", "content": "", "tool_calls": functions})
        results = [(name, f"{number}.{place}") for place, (name, _) in enumerate(calls)]
        order = data.draw(st.permutations(sorted({name for name, _ in results})))
        for name, text in sorted(results, key=lambda one: order.index(one[0])):
            messages.append({"role": "tool", "tool_name": name, "content": text})
        said += results
    neutral = messages_of(parsed(messages=messages))
    calls_made = [call for message in neutral for call in message.get("tool_calls", ())]
    answered = {m["tool_call_id"]: m["content"] for m in neutral if m["role"] == "tool"}

    assert [(c["function"]["name"], answered[c["id"]]) for c in calls_made] == said
    assert [json.loads(c["function"]["arguments"]) for c in calls_made] == [a for r in rounds for _, a in r]
    assert messages_of(parsed(messages=messages)) == neutral


@given(st.lists(st.text(min_size=1, max_size=4), max_size=4), st.lists(ARGUMENTS, max_size=3), st.data())
def test_any_split_of_a_stream_gives_the_same_lines_together(texts, calls, data):
    deltas = [Delta(content=text) for text in texts]
    for index, arguments in enumerate(calls):
        text = json.dumps(arguments)
        at = data.draw(st.integers(0, len(text)))
        for place, piece in enumerate((text[:at], text[at:])):
            first = place == 0
            function = FunctionDelta("f" if first else None, piece)
            deltas.append(
                Delta(tool_calls=[ToolCallDelta(index=index, id=f"c{index}" if first else None, function=function)])
            )
    surface = Chat()
    surface.parse(encode({"messages": HELLO}), options())
    chunks = [Chunk(model="m", choices=[ChunkChoice(delta=delta)]) for delta in deltas]
    chunks.append(Chunk(model="m", choices=[ChunkChoice(finish_reason="stop")], usage=Usage(7, 3)))
    out = b"".join(surface.render_event(Step(chunk, b"")) for chunk in chunks) + surface.render_end()
    lines = [json.loads(line) for line in out.splitlines()]

    assert "".join(line["message"]["content"] for line in lines) == "".join(texts)
    found = [call for line in lines for call in line["message"].get("tool_calls", ())]
    assert [(call["id"], call["function"]["arguments"]) for call in found] == [
        (f"c{n}", arguments) for n, arguments in enumerate(calls)
    ]
    assert (lines[-1]["done"], lines[-1]["prompt_eval_count"], lines[-1]["eval_count"]) == (True, 7, 3)
    assert all(ollama.ChatResponse.model_validate(line) for line in lines)


def test_what_keeps_a_stream_alive_is_a_line_that_says_nothing():
    surface = Chat()
    surface.parse(encode({"messages": HELLO}), options())
    line = json.loads(surface.comment)

    assert (line["message"]["content"], line["done"]) == ("", False)


def test_a_stream_that_breaks_ends_with_a_line_that_says_so():
    assert json.loads(Chat().render_broken(NoCapacity("broke"))) == {"error": "broke"}


# ── a prompt past a template ──


def generating(**body: Any) -> Any:
    return Generate().parse(encode({"model": "auto", "prompt": "hello there"} | body), options())


@pytest.mark.parametrize(
    ("body", "dropped"),
    [
        ({"raw": True}, ("raw",)),
        ({"raw": False, "template": "", "context": []}, ()),
        ({"template": "{{ .Prompt }}", "context": [1, 2]}, ("template", "context")),
        ({"raw": True, "suffix": "b", "prompt": "<fim_prefix>a"}, ()),
        ({"raw": True, "prompt": "if a <b| and |c> d[INSTANCE]: <start>"}, ("raw",)),
    ],
)
def test_what_no_source_takes_of_a_prompt_is_named(body, dropped):
    assert generating(**body).dropped == dropped


@pytest.mark.parametrize(
    "prompt",
    [
        "<|im_start|>user\nhi<|im_end|>", "<|start_header_id|>user", "[INST] hi [/INST]", "<start_of_turn>user",
        "<fim_prefix>a<fim_suffix>b<fim_middle>", "<PRE> a <SUF>b <MID>", "<\uff5cUser\uff5c>hi",
    ],
)  # fmt: skip
def test_a_prompt_in_one_models_template_is_refused_only_where_it_is_raw(prompt):
    assert not generating(prompt=prompt).dropped
    with pytest.raises(BadRequest, match="template") as caught:
        generating(prompt=prompt, raw=True)
    assert caught.value.param == "raw"


@pytest.mark.parametrize("other", [{"system": "be kind"}, {"template": "x"}, {"context": [1]}])
def test_with_raw_there_is_no_template_system_or_context_as_at_ollama(other):
    with pytest.raises(BadRequest, match="raw"):
        generating(raw=True, **other)


async def test_an_answer_to_a_raw_prompt_says_that_its_model_has_a_template(demo):
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as client:
        told = await client.post("/api/generate", json={"prompt": "hello there", "raw": True, "stream": False})
        wrong = await client.post("/api/generate", json={"prompt": "[INST] hi [/INST]", "raw": True})

    assert (told.json()["response"], told.headers["x-freeway-dropped"]) == (SAID, "raw")
    assert (wrong.status_code, list(wrong.json())) == (400, ["error"])


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [{"type": "function", "name": "f", "parameters": {}}]},
        {
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
            "options": {"temperature": "0.5"},
        },
    ],
    ids=["a flat tool", "a number as text"],
)
def test_what_is_spelled_oddly_means_the_same_as_in_a_chat_completion(body):
    call = parsed(**body)

    assert [spec.name for spec in call.request.view.functions()] == ["f"]
    assert json.loads(bytes(call.request.fields["tools"]))[0]["function"]["name"] == "f"
    assert call.request.view.temperature in (None, 0.5)
