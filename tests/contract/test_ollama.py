"""What the Ollama dialect writes and reads, from payloads on record."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from providers import failures as f
from providers.chat import Completion, Step, decode_fields, decode_request
from providers.dialect import HttpResponse, Listed, Listing, Request, Target
from providers.dialects.ollama.dialect import Ollama
from providers.dialects.ollama.request import OUTPUT_ALLOWANCE, SMALLEST_CONTEXT
from providers.sse import Lines
from tests.payloads import account, answer, body

TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
IMAGE = base64.b64encode(b"\x89PNG").decode()


def target(**known: Any) -> Target:
    return Target(account("ollama", None), "qwen3.8:8b", **known)


def asked(prompt: int = 10, **fields: Any) -> Request:
    content = msgspec.json.encode({"messages": [{"role": "user", "content": "hi"}], **fields})
    return Request(decode_request(content), decode_fields(content), prompt)


def built(
    capabilities: frozenset[str] = frozenset(), context: int | None = None, prompt: int = 10, **fields: Any
) -> Any:
    call = Ollama().build(target(capabilities=capabilities, context=context), asked(prompt, **fields))
    assert call.url.endswith("/api/chat")
    assert "authorization" not in call.headers
    return msgspec.json.decode(call.body or b"")


def read(name: str) -> Completion:
    return Ollama().read(target(), asked(), body(f"ollama/{name}")).completion


def streamed(name: str) -> list[Step]:
    reader, framing = Ollama().reader(target(), asked()), Lines()
    lines = [*framing.feed(body(f"ollama/{name}")), *framing.end()]
    steps = [step for line in lines for step in reader.feed(line)]
    assert reader.finished()
    return steps


# ── requests ──


def test_a_prompt_is_never_cut_in_silence():
    assert built()["truncate"] is False


@pytest.mark.parametrize(
    ("prompt", "output", "context", "size"),
    [
        (10, None, None, 2 * SMALLEST_CONTEXT),
        (10, 100, None, SMALLEST_CONTEXT),
        (SMALLEST_CONTEXT, 100, None, 2 * SMALLEST_CONTEXT),
        (20_000, OUTPUT_ALLOWANCE, None, 32_768),
        (20_000, 100, 22_000, 22_000),
    ],
)
def test_the_context_holds_prompt_and_answer_and_no_more_than_the_model(prompt, output, context, size):
    assert built(prompt=prompt, max_tokens=output, context=context)["options"]["num_ctx"] == size


def test_options_are_those_that_ollama_has():
    options = built(max_tokens=50, temperature=0.2, top_p=0.9, seed=7, stop="END", frequency_penalty=0.5)["options"]

    assert {name: options[name] for name in options if name != "num_ctx"} == {
        "num_predict": 50, "temperature": 0.2, "top_p": 0.9, "seed": 7, "stop": ["END"], "frequency_penalty": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "format_"),
    [
        ({"type": "json_object"}, "json"),
        ({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}, {"type": "object"}),
    ],
)
def test_json_is_asked_for_by_a_grammar(wanted, format_):
    assert built(response_format=wanted)["format"] == format_


@pytest.mark.parametrize(
    ("model", "effort", "think"),
    [
        ("qwen3.8:8b", "none", False),
        ("qwen3.8:8b", "low", True),
        ("qwen3.8:8b", "max", True),
        ("gpt-oss:20b", "none", "low"),
        ("gpt-oss:20b", "medium", "medium"),
        ("gpt-oss:20b", "max", "high"),
    ],
)
def test_thinking_is_asked_of_those_who_think(model, effort, think):
    """gpt-oss knows only words, and older servers take words for no other (Ollama documentation, thinking)."""
    able = Target(account("ollama", None), model, frozenset({"reasoning"}))
    assert msgspec.json.decode(Ollama().build(able, asked(reasoning_effort=effort)).body or b"")["think"] == think
    assert "think" not in built(reasoning_effort=effort)


def test_a_conversation_with_tools_is_spelled_as_ollama_spells_it():
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
    asked = built(
        tools=[TOOL],
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "3 degrees"},
        ],
    )

    assert asked["tools"][0]["function"]["name"] == "get_weather"
    assert asked["messages"][0] == {"role": "system", "content": "Be brief."}
    assert asked["messages"][2]["tool_calls"] == [
        {"id": "call_1", "function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}
    ]
    assert asked["messages"][3] == {
        "role": "tool", "content": "3 degrees", "tool_name": "get_weather", "tool_call_id": "call_1",
    }  # fmt: skip


def test_tools_that_may_not_be_called_are_not_offered():
    assert "tools" not in built(tools=[TOOL], tool_choice="none")


OTHER = {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}
FORCED = {"type": "function", "function": {"name": "get_weather"}}


@pytest.mark.parametrize(
    ("tools", "choice"), [([TOOL, OTHER], FORCED), ([TOOL], "required")], ids=["named", "the only one"]
)
def test_a_tool_that_has_to_be_called_is_offered_alone_and_its_arguments_are_all_that_can_be_written(tools, choice):
    body = built(tools=tools, tool_choice=choice)

    assert [tool["function"]["name"] for tool in body["tools"]] == ["get_weather"]
    assert body["format"] == {"type": "object"}
    assert "tool_choice" not in body


def test_any_of_several_tools_may_be_the_one_that_has_to_be_called():
    body = built(tools=[TOOL, OTHER], tool_choice="required")

    assert len(body["tools"]) == 2
    assert "format" not in body


TOKENS = [{"token": "é", "logprob": -0.5, "top_logprobs": [{"token": "e", "logprob": -1.5}]}]
TOLD = {
    "content": [
        {
            "token": "é", "logprob": -0.5, "bytes": [195, 169],
            "top_logprobs": [{"token": "e", "logprob": -1.5, "bytes": [101]}],
        }
    ],
    "refusal": None,
}  # fmt: skip


def test_probabilities_are_asked_for_and_told_as_openai_does():
    line = msgspec.json.encode({"message": {"role": "assistant", "content": "é"}, "done": True, "logprobs": TOKENS})
    request = asked(logprobs=True, top_logprobs=1)
    whole = Ollama().read(target(), request, line)
    (step,) = Ollama().reader(target(), request).feed(line)

    assert built(logprobs=True, top_logprobs=1)["top_logprobs"] == 1
    assert msgspec.json.decode(whole.data)["choices"][0]["logprobs"] == TOLD
    assert msgspec.json.decode(step.data)["choices"][0]["logprobs"] == TOLD


def test_a_server_that_tells_none_lacks_them():
    line = msgspec.json.encode({"message": {"role": "assistant", "content": "e"}, "done": True})

    with pytest.raises(f.Unsupported) as lacks:
        Ollama().read(target(), asked(logprobs=True), line)
    assert lacks.value.capability == "logprobs"


def test_translated_answers_leave_nothing_out_that_strict_clients_want():
    (choice,) = msgspec.json.decode(Ollama().read(target(), asked(), body("ollama/ollama_chat.json")).data)["choices"]

    assert choice["logprobs"] is None
    assert choice["message"]["refusal"] is None


def image(url: str) -> list[dict[str, Any]]:
    parts = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": parts}]


def test_a_picture_goes_beside_the_text():
    (message,) = built(messages=image(f"data:image/png;base64,{IMAGE}"))["messages"]

    assert message == {"role": "user", "content": "What?", "images": [IMAGE]}


def test_nothing_is_fetched_for_a_caller():
    with pytest.raises(f.Unsupported):
        built(messages=image("http://169.254.169.254/latest"))
    with pytest.raises(f.CallersFault):
        built(messages=image("data:image/png;base64,%%%"))


# ── answers ──


def test_an_answer():
    completion = read("ollama_chat.json")
    (choice,) = completion.choices

    assert choice.message.content
    assert choice.finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens > 0


def test_a_tool_call_has_its_arguments_as_text_and_its_own_reason_to_finish():
    (choice,) = read("ollama_chat_tools.json").choices
    (call,) = choice.message.tool_calls or []

    assert choice.finish_reason == "tool_calls"
    assert (call.id.partition("_x1_")[0], call.function.name) == ("call", "get_weather")
    assert msgspec.json.decode(call.function.arguments) == {"city": "Oslo"}


def test_a_stream_says_thought_and_text_apart_and_ends_with_its_counts():
    steps = streamed("ollama_chat_stream.ndjson")
    deltas = [choice.delta for step in steps for choice in step.chunk.choices]

    assert deltas[0].role == "assistant"
    assert "".join(delta.reasoning_content or "" for delta in deltas) == "Greet."
    assert "".join(delta.content or "" for delta in deltas) == "Hello."
    assert [c.finish_reason for step in steps for c in step.chunk.choices if c.finish_reason] == ["stop"]
    assert steps[-1].chunk.usage is not None
    assert (steps[-1].chunk.usage.prompt_tokens, steps[-1].chunk.usage.completion_tokens) == (26, 28)


def test_calls_of_a_stream_have_places_of_their_own():
    steps = streamed("ollama_chat_tools_stream.ndjson")
    calls = [call for step in steps for c in step.chunk.choices for call in c.delta.tool_calls or []]

    assert [(call.index, (call.id or "")[:8]) for call in calls] == [(0, "call_x1_"), (1, "call_x2_")]
    assert [c.finish_reason for step in steps for c in step.chunk.choices if c.finish_reason] == ["tool_calls"]


def test_a_stream_without_its_last_line_is_not_finished():
    reader = Ollama().reader(target(), asked())
    reader.feed(b'{"model": "m", "message": {"role": "assistant", "content": "Hel"}, "done": false}')

    assert not reader.finished()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ollama_400_tools", f.Unsupported),
        ("ollama_404", f.ModelGone),
        ("ollama_503", f.Busy),
        ("ollama_cloud_403", f.NotEntitled),
        ("ollama_cloud_429_session", f.RateLimited),
        ("ollama_cloud_429_weekly", f.RateLimited),
        ("ollama_compat_404", f.ModelGone),
    ],
)
def test_a_refusal_on_record_means_what_ollama_means(name: str, expected: type[f.ProviderFailure]):
    failure = Ollama().classify(account("ollama", None), answer(f"ollama/{name}.json"))

    assert type(failure) is expected
    assert failure.message
    assert not failure.account_wide


def test_what_a_model_lacks_is_named():
    failure = Ollama().classify(account("ollama", None), answer("ollama/ollama_400_tools.json"))

    assert isinstance(failure, f.Unsupported)
    assert failure.capability == "tools"


# ── the list ──


VERSION = HttpResponse(200, {}, b'{"version":"0.15.2"}')


def listed(*answers: HttpResponse) -> Listing:
    discovery = Ollama().discover(account("ollama", None))
    try:
        assert next(discovery).url.endswith("/api/version")
        for each in (VERSION, *answers):
            discovery.send(each)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it asked for more")


def test_the_list_tells_what_each_model_can_and_asks_where_it_does_not():
    shown = HttpResponse(200, {}, body("ollama/ollama_show.json"))
    found: dict[str, Listed] = {}
    discovery = Ollama().discover(account("ollama", None))
    next(discovery)
    call = discovery.send(HttpResponse(404, {}, b"not known by a server that is old"))
    assert call.url.endswith("/api/tags")
    told = HttpResponse(200, {}, body("ollama/ollama_tags.json"))
    asked = []
    try:
        while True:
            call = discovery.send(told)
            asked.append(msgspec.json.decode(call.body or b"")["model"])
            told = shown
    except StopIteration as stop:
        found = {model.id: model for model in stop.value.models}

    assert found["qwen3.8:8b"].context == 40_960
    assert found["qwen3.8:8b"].capabilities == {"tools", "reasoning", "json_object", "json_schema", "logprobs"}
    assert "qwen3.8:8b" not in asked
    assert "gemma4:12b" in asked
    assert found["nomic-embed-text:latest"].operations == frozenset({"embed"})


def test_what_runs_elsewhere_says_so():
    tags = {"models": [{"name": "gpt-oss:120b-cloud", "model": "gpt-oss:120b-cloud", "capabilities": ["completion"]}]}
    (model,) = listed(HttpResponse(200, {}, msgspec.json.encode(tags))).models

    assert model.runs_at == "ollama.com"


# ── what is stricter in the package's types than in Ollama ──


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(None, "{}"), ("", "{}"), ("{}", "{}"), ('{"a":1}', '{"a":1}'), ([1], '{"arguments":[1]}'), ({"a": 1}, '{"a":1}')],
)
@pytest.mark.parametrize("odd", [{}, {"total_duration": "1s", "created_at": 7, "logprobs": "no"}])
def test_a_call_is_read_whatever_its_arguments_are(arguments: Any, expected: str, odd: dict[str, Any]):
    """use-agent-os/agent-os#2042, agentscope-ai/agentscope-java#572: one odd field made the answer none."""
    call = {"function": {"name": "get_time", "arguments": arguments}}
    answer = {"model": "m", "message": {"role": "assistant", "content": "", "tool_calls": [call]}, "done": True, **odd}
    data = msgspec.json.encode(answer)
    (made,) = Ollama().read(target(), asked(), data).completion.choices[0].message.tool_calls or []
    reader = Ollama().reader(target(), asked())
    (piece,) = reader.feed(data)[0].chunk.choices[0].delta.tool_calls or []

    assert (made.function.name, made.function.arguments) == ("get_time", expected)
    assert piece.function is not None
    assert piece.function.arguments == expected
    assert reader.finished()


def test_the_list_tells_how_great_a_model_is():
    """The name does not: ``deepseek-r1:latest`` has 8 billion parameters and is made of qwen3 (ollama/ollama#8557)."""
    row: dict[str, Any] = {
        "model": "deepseek-r1:latest",
        "capabilities": ["completion"],
        "details": {"context_length": 131_072},
    }
    row["details"] |= {"parameter_size": "8.2B", "family": "qwen3"}
    (model,) = listed(HttpResponse(200, {}, msgspec.json.encode({"models": [row]}))).models

    assert (model.parameters, model.family) == (8.2, "qwen3")
