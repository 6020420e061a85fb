"""``/v1/completions``: a prompt in, text out, through OpenAI's own package."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, BadRequestError

from gateway.api.auth import ANYBODY
from gateway.api.openai_completions import Completions
from gateway.api.options import options_of
from gateway.settings import Requests
from gateway.words import BadRequest
from providers.chat import AnswerMessage, Choice, Chunk, ChunkChoice, Completion, Step, Whole, encode
from providers.simulator.brain import Saying

SAID = "You said: hello there"


def parsed(**body: Any) -> Any:
    return Completions().parse(encode({"prompt": "hi"} | body), options_of([], Requests(), ANYBODY, "me", "r", 0.0))


@pytest.fixture
async def demo(start):
    return await start(("groq",))


@pytest.fixture
async def client(demo):
    async with AsyncOpenAI(base_url=f"{demo.base_url}/v1", api_key="any", max_retries=0) as made:
        yield made


async def test_a_prompt_is_completed(client):
    answer = await client.completions.create(model="auto", prompt="hello there")

    assert answer.object == "text_completion"
    assert answer.id.startswith("cmpl-")
    assert answer.created > 1_700_000_000
    assert [(c.index, c.text, c.finish_reason, c.logprobs) for c in answer.choices] == [(0, SAID, "stop", None)]
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert answer.model


@pytest.mark.parametrize("usage", [False, True])
async def test_streamed_the_pieces_say_the_same_and_usage_comes_last_if_it_is_asked_for(client, usage):
    chunks = [
        chunk
        async for chunk in await client.completions.create(
            model="auto", prompt=["hello there"], stream=True, stream_options={"include_usage": usage}
        )
    ]
    choices = [choice for chunk in chunks for choice in chunk.choices]

    assert "".join(choice.text for choice in choices) == SAID
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["stop"]
    assert {chunk.object for chunk in chunks} == {"text_completion"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert [bool(chunk.usage) for chunk in chunks] == [False] * (len(chunks) - 1) + [usage]
    assert bool(chunks[-1].choices) is not usage


@pytest.mark.parametrize("stream", [False, True])
async def test_an_echo_puts_the_prompt_in_front_once(client, stream):
    asked = await client.completions.create(model="auto", prompt="hello there", echo=True, stream=stream)
    text = "".join([c.choices[0].text async for c in asked]) if stream else asked.choices[0].text

    assert text == f"hello there{SAID}"


async def test_an_answer_that_is_cut_by_its_bound_says_so(client, demo):
    demo.world.providers["groq"].brain = lambda view: Saying("word " * 5, cut=True)

    answer = await client.completions.create(model="auto", prompt="tell", max_tokens=5)

    assert answer.choices[0].finish_reason == "length"


async def test_what_the_model_thinks_and_calls_has_no_place_here(client, demo):
    demo.world.providers["groq"].brain = lambda view: Saying("so be it", "Let me think.")

    whole = await client.completions.create(model="auto", prompt="hello", extra_body={"tools": [{"type": "x"}]})
    parts = [c async for c in await client.completions.create(model="auto", prompt="hello", stream=True)]

    assert whole.choices[0].text == "".join(part.choices[0].text for part in parts) == "so be it"
    assert "Let me think" not in str(whole) + str(parts)


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"prompt": ["a", "b"]}, "prompt", "send a request for each"),
        ({"prompt": []}, "prompt", "expected one prompt, got 0"),
        ({"prompt": ""}, "prompt", "empty"),
        ({"prompt": [1, 2, 3]}, "prompt", "send text"),
        ({"prompt": [[1, 2]]}, "prompt", "send text"),
        ({"prompt": ["a", 1]}, "prompt", "send text"),
        ({"prompt": None}, "prompt", "expected"),
        ({"prompt": {"text": "a"}}, "prompt", "expected"),
        ({"logprobs": 0}, "logprobs", "/v1/chat/completions"),
        ({"logprobs": 5}, "logprobs", "/v1/chat/completions"),
        ({"best_of": 3}, "best_of", "by 'n'"),
        ({"best_of": 3, "n": 2}, "best_of", "by 'n'"),
        ({"temperature": "hot"}, "temperature", "float"),
        ({"echo": "yes"}, "echo", "bool"),
    ],
)
def test_what_is_not_served_is_refused_by_its_name(body, param, says):
    with pytest.raises(BadRequest) as caught:
        parsed(**body)

    assert caught.value.param == param
    assert caught.value.message.startswith(f"{param}: ")
    assert says in caught.value.message


async def test_the_package_hears_of_it(client):
    with pytest.raises(BadRequestError, match=r"best_of: .* by 'n'") as caught:
        await client.completions.create(model="auto", prompt="a", best_of=3)

    assert caught.value.param == "best_of"


def test_without_a_prompt_it_is_asked_for():
    with pytest.raises(BadRequest, match="prompt"):
        Completions().parse(b'{"model": "auto"}', options_of([], Requests(), ANYBODY, "me", "r", 0.0))


def test_what_a_chat_takes_is_passed_on_as_it_was_spelled_and_what_it_does_not_is_not():
    call = parsed(
        model="a", models=["b"], temperature=0.5, top_p=0.9, stop=["."], n=1, seed=7, max_tokens=9, zzz=1,
        best_of=1, echo=True, suffix=None, logprobs=None, tools=[], provider={"only": ["groq"]},
    )  # fmt: skip

    assert {name: json.loads(bytes(value)) for name, value in call.request.fields.items()} == {
        "messages": [{"role": "user", "content": "hi"}],
        "model": "a", "models": ["b"], "temperature": 0.5, "top_p": 0.9, "stop": ["."], "n": 1, "seed": 7,
        "max_tokens": 9, "zzz": 1, "provider": {"only": ["groq"]},
    }  # fmt: skip
    assert (call.wants.models, call.wants.only, call.output_tokens) == (("a", "b"), ("groq",), 9)
    assert call.wants.parameters == {"temperature", "top_p", "stop", "seed"}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("tool_calls", "stop"),
        ("eos", "stop"),
    ],
)
def test_an_end_is_one_that_the_packages_know(said, told):
    whole = Completion(choices=[Choice(AnswerMessage(content="so"), finish_reason=said)])
    chunk = Chunk(choices=[ChunkChoice(finish_reason=said)])

    body = json.loads(Completions().render_whole(Whole(whole, b"")))
    event = json.loads(Completions().render_event(Step(chunk, b"")).removeprefix(b"data: "))

    assert [each["choices"][0]["finish_reason"] for each in (body, event)] == [told, told]


def test_no_bound_means_none_and_not_sixteen_tokens():
    assert parsed().request.view.output_tokens is None


async def test_the_wire_shape_has_the_fields_that_older_clients_read(demo):
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        whole = (await client.post("/v1/completions", json={"prompt": "hello there"})).json()
        stream = (await client.post("/v1/completions", json={"prompt": "hello there", "stream": True})).text
    *events, last = [line.removeprefix("data: ") for line in stream.splitlines() if line]

    assert whole.keys() == {"id", "created", "model", "choices", "usage", "object"}
    assert last == "[DONE]"
    for event in map(json.loads, events):
        assert event.keys() == whole.keys() - {"usage"}
    assert whole["choices"][0].keys() == {"text", "index", "logprobs", "finish_reason"}
