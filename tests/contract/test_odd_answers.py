"""
Answers as servers really send them, and what a client must get of them: OpenAI's shape, whole or told to be broken.

Each case is of a kind that was reported in public; the reports stand beside them.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import dialects
from providers import failures as f
from providers.chat import Completion, decode_fields, decode_request
from providers.dialect import Request, StreamReader, Target
from providers.finish import OPENAI, AnswerBroke, openai_reason
from providers.sse import ServerSentEvents
from tests.payloads import account

TARGET = Target(account("nvidia"), "acme/model")
DIALECT = dialects.by_name("openai")


def asked(*tools: str) -> Request:
    offered = [{"type": "function", "function": {"name": name}} for name in tools]
    body = msgspec.json.encode(
        {"messages": [{"role": "user", "content": "hi"}], **({"tools": offered} if tools else {})}
    )
    return Request(decode_request(body), decode_fields(body))


def whole(message: dict[str, Any], finish: str | None = "stop", *tools: str, **more: Any) -> Completion:
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}],
        **more,
    }
    found = DIALECT.read(TARGET, asked(*tools), msgspec.json.encode(answer))
    assert msgspec.json.decode(found.data, type=Completion).choices == found.completion.choices
    return found.completion


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def read(*events: bytes | dict[str, Any], tools: Iterable[str] = ()) -> tuple[list[dict[str, Any]], StreamReader]:
    """The chunks that a client gets, and their reader."""
    reader, framing = DIALECT.reader(TARGET, asked(*tools)), ServerSentEvents()
    data = b"".join(
        event if isinstance(event, bytes) else b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events
    )
    found = [*framing.feed(data), *framing.end()]
    return [msgspec.json.decode(step.data) for event in found for step in reader.feed(event)], reader


def put_together(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The calls as OpenAI's own clients put them together: by index, with the first id, names and arguments joined."""
    calls: dict[int, dict[str, Any]] = {}
    for one in chunks:
        for choice in one["choices"]:
            for piece in choice["delta"].get("tool_calls") or ():
                call = calls.setdefault(piece["index"], {"id": "", "name": "", "arguments": ""})
                call["id"] += piece.get("id") or ""
                function = piece.get("function") or {}
                call["name"] += function.get("name") or ""
                call["arguments"] += function.get("arguments") or ""
    return [calls[place] for place in sorted(calls)]


def call(
    index: int | None, call_id: str | None, name: str | None, arguments: str | None, **more: Any
) -> dict[str, Any]:
    """A piece of a call; what is None is not there."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    piece = {key: value for key, value in (("index", index), ("id", call_id)) if value is not None}
    return chunk({"tool_calls": [{**piece, "type": "function", "function": function, **more}]})


OSLO, ROME = '{"city": "Oslo"}', '{"city": "Rome"}'
ONE = [("look", OSLO)]
TWO = [("look", OSLO), ("look", ROME)]

STREAMED: dict[str, tuple[list[dict[str, Any]], list[tuple[str, str]]]] = {
    "as OpenAI does": (
        [
            call(0, "a", "look", ""),
            call(0, None, None, OSLO),
            call(1, "b", "look", ""),
            call(1, None, None, ROME),
        ],
        TWO,
    ),
    # NousResearch/hermes-agent#62940, ai-dynamo/dynamo#4723
    "two whole calls at one place": ([call(0, "a", "look", OSLO), call(0, "b", "look", ROME)], TWO),
    "two calls in pieces at one place": (
        [call(0, "a", "look", ""), call(0, None, None, OSLO), call(0, "b", "look", ""), call(0, None, None, ROME)],
        TWO,
    ),
    "two whole calls at one place without ids": ([call(0, None, "look", OSLO), call(0, None, "look", ROME)], TWO),
    "calls of two tools at one place without ids": (
        [call(0, "", "look", ""), call(0, "", None, OSLO), call(0, "", "hear", "{}")],
        [("look", OSLO), ("hear", "{}")],
    ),
    "no places at all": ([call(None, "a", "look", OSLO), call(None, "b", "look", ROME)], TWO),
    "no places, in pieces": ([call(None, "a", "look", '{"city"'), call(None, None, None, ': "Oslo"}')], ONE),
    "places that begin at one": ([call(1, "a", "look", OSLO), call(2, "b", "look", ROME)], TWO),
    # InternLM/lmdeploy#3412, spring-projects/spring-ai#6000
    "an id that is repeated": ([call(0, "a", "look", '{"city"'), call(0, "a", None, ': "Oslo"}')], ONE),
    "an id that is empty later": ([call(0, "a", "look", '{"city"'), call(0, "", None, ': "Oslo"}')], ONE),
    "another id in each piece": ([call(0, "a", "look", '{"city"'), call(0, "x", None, ': "Oslo"}')], ONE),
    "another id and the name in each piece": (
        [call(0, "a", "look", '{"city"'), call(0, "x", "look", ': "Oslo"}')],
        ONE,
    ),
    "the name in each piece": ([call(0, "a", "look", '{"city"'), call(0, "a", "look", ': "Oslo"}')], ONE),
    "the name in each piece, without ids": (
        [call(0, None, "look", ""), call(0, None, "look", '{"city"'), call(0, None, "look", ': "Oslo"}')],
        ONE,
    ),
    "two calls whose pieces alternate": (
        [
            call(0, "a", "look", '{"city"'),
            call(1, "b", "look", '{"city"'),
            call(0, None, None, ': "Oslo"}'),
            call(1, None, None, ': "Rome"}'),
        ],
        TWO,
    ),
    "the same id twice, at two places": ([call(0, "a", "look", OSLO), call(1, "a", "look", ROME)], TWO),
    # anomalyco/opencode#25925
    "no id": ([call(0, None, "look", '{"city"'), call(0, None, None, ': "Oslo"}')], ONE),
    "no arguments": ([call(0, "a", "look", None)], [("look", "{}")]),
    "empty arguments": ([call(0, "a", "look", "")], [("look", "{}")]),
    "two calls without arguments": (
        [call(0, "a", "look", ""), call(1, "b", "hear", "")],
        [("look", "{}"), ("hear", "{}")],
    ),
    # vllm-project/vllm#32587, pydantic/pydantic-ai#7143
    "a name with the model's marks": ([call(0, "a", "look<|channel|>commentary", OSLO)], ONE),
    "a name with a namespace": ([call(0, "a", "default_api.look", OSLO)], ONE),
    "another namespace": ([call(0, "a", "functions:look", OSLO)], ONE),
    "a name with a blank": ([call(0, "a", " look\n", OSLO)], ONE),
    "a name that nobody offered": ([call(0, "a", "smell", "{}")], [("smell", "{}")]),
}


@pytest.mark.parametrize("kind", list(STREAMED))
@pytest.mark.parametrize("finish", ["tool_calls", "stop"])
def test_streamed_calls_are_told_apart_and_whole(kind: str, finish: str):
    pieces, expected = STREAMED[kind]
    chunks, reader = read(chunk({"role": "assistant"}), *pieces, chunk({}, finish), tools=["look", "hear"])
    calls = put_together(chunks)

    assert [(one["name"], one["arguments"]) for one in calls] == expected
    assert all(one["id"] for one in calls)
    assert len({one["id"] for one in calls}) == len(calls)
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert reader.finished()


def test_what_openai_sends_is_passed_on_byte_for_byte():
    pieces = [call(0, "call_7GhT2xkLq9", "look", '{"city"'), call(0, None, None, ': "Oslo"}'), chunk({}, "tool_calls")]
    later = {"type"}  # only the first piece of a call says what it is
    for piece in pieces[1::2]:
        (told,) = piece["choices"][0]["delta"]["tool_calls"]
        for name in later:
            told.pop(name)
    reader = DIALECT.reader(TARGET, asked("look"))

    assert [step.data for piece in pieces for step in reader.feed(msgspec.json.encode(piece))] == [
        msgspec.json.encode(piece) for piece in pieces
    ]


@given(st.data())
def test_a_call_is_the_same_however_its_arguments_are_cut(data: st.DataObject):
    """Whatever the pieces, and whether they repeat the id or not, one call comes out as one, two as two."""
    texts = data.draw(st.lists(st.dictionaries(st.text(max_size=5), st.integers(), max_size=2), min_size=1, max_size=3))
    pieces, expected = [], []
    for place, arguments in enumerate(texts):
        text = msgspec.json.encode(arguments).decode()
        expected.append(("look", text))
        cuts = sorted({0, len(text), *data.draw(st.lists(st.integers(0, len(text)), max_size=4))})
        index = data.draw(st.sampled_from([place, 0, None]))
        repeats = data.draw(st.booleans())
        pieces.append(call(index, f"id{place}", "look", ""))
        pieces += [
            call(index, f"id{place}" if repeats else None, None, text[start:end]) for start, end in pairwise(cuts)
        ]
    chunks, _ = read(*pieces, chunk({}, "tool_calls"), tools=["look"])

    assert [(one["name"], one["arguments"]) for one in put_together(chunks)] == expected


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({"type": "function", "function": {"name": "look", "arguments": OSLO}}, OSLO),
        ({"id": "", "type": "function", "function": {"name": "look", "arguments": ""}}, "{}"),
        ({"id": None, "function": {"name": "look", "arguments": None}}, "{}"),
        ({"id": "a", "type": "function", "function": {"name": "look"}}, "{}"),
        (
            {"id": "a", "type": "function", "function": {"name": "look", "arguments": {"city": "Oslo"}}},
            '{"city":"Oslo"}',
        ),
        ({"id": "a", "type": "function", "function": {"name": "look<|channel|>json", "arguments": " "}}, "{}"),
    ],
)
def test_calls_of_a_whole_answer_have_all_that_clients_need(given_: dict[str, Any], expected: str):
    """anomalyco/opencode#25925, OpenRouterTeam/ai-sdk-provider#310, elastic/kibana#207943"""
    other = {"id": "a", "type": "function", "function": {"name": "look", "arguments": ROME}}
    (choice,) = whole({"content": None, "tool_calls": [given_, other]}, "stop", "look").choices
    first, second = choice.message.tool_calls or []

    assert (first.function.name, first.function.arguments, first.type) == ("look", expected, "function")
    assert first.id
    assert second.id
    assert first.id != second.id
    assert choice.finish_reason == "tool_calls"


# ── reasons to finish ──


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("eos", "stop"),
        ("end_turn", "stop"), ("MAX_TOKENS", "length"), ("model_context_window_exceeded", "length"),
        ("sensitive", "content_filter"), ("SAFETY", "content_filter"), ("somewhere_new", "stop"), ("", "stop"),
    ],
)  # fmt: skip
def test_a_reason_to_finish_is_told_in_openais_words(told: str, reason: str):
    """Z.ai has six of its own (NousResearch/hermes-agent#92161); strict clients refuse an answer with any of them."""
    assert whole({"content": "Hi"}, told).choices[0].finish_reason == reason
    if told:
        chunks, reader = read(chunk({"content": "Hi"}), chunk({}, told))
        assert chunks[-1]["choices"][0]["finish_reason"] == reason
        assert reader.finished()


@pytest.mark.parametrize(
    "told", ["network_error", "error", "ABORTED", "cancelled", "insufficient_system_resource", "timeout"]
)
def test_a_reason_that_tells_of_a_fault_is_no_end(told: str):
    with pytest.raises(f.ProviderFailure):
        whole({"content": "The first half of the"}, told)
    with pytest.raises(f.ProviderFailure):
        read(chunk({"content": "The first half of the"}), chunk({}, told))


@given(st.text(max_size=30), st.booleans())
def test_no_other_word_ever_reaches_a_caller(told: str, called: bool):
    try:
        reason = openai_reason(told, called=called)
    except AnswerBroke:
        return
    assert reason in OPENAI or (reason is None and not told)
    assert not (called and reason == "stop")


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_calls_that_were_cut_are_told_to_be(finish: str):
    (choice,) = whole(
        {"content": None, "tool_calls": [{"function": {"name": "look", "arguments": '{"ci'}}]}, finish
    ).choices

    assert choice.finish_reason == finish


# ── events that are none, or more than they say ──


@pytest.mark.parametrize(
    "idle",
    [
        b"data: \n\n",
        b"data:\n\n",
        b"data: null\n\n",
        b"data: : keepalive\n\n",
        b": ping\n\n",
        b'data: {"type": "ping"}\n\n',
    ],
)
def test_what_keeps_a_stream_alive_says_nothing(idle: bytes):
    """anomalyco/opencode#50871, NousResearch/hermes-agent#80822, openai/openai-go#651"""
    chunks, reader = read(chunk({"content": "hel"}), idle, chunk({"content": "lo"}), idle, chunk({}, "stop"), idle)

    assert len(chunks) == 3
    assert all(one["choices"] for one in chunks)
    assert reader.finished()


def test_a_chunk_without_choices_gets_none():
    """tashfeenahmed/freellmapi#156: OpenAI's own package fails on what is not there."""
    usage = {"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5}
    last = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "usage": usage}
    chunks, _ = read(chunk({"content": "hi"}), chunk({}, "stop"), last)

    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == usage


@pytest.mark.parametrize(
    "event",
    [
        b'event: error\ndata: {"message": "overloaded", "code": 503}\n\n',
        b"event: error\ndata: overloaded\n\n",
        b'data: {"object": "error", "message": "overloaded", "code": 503}\n\n',
        b'data: {"type": "error", "error": {"message": "overloaded", "code": 503}}\n\n',
        b'data: {"message": "overloaded", "code": 503}\n\n',
        b'data: {"detail": "overloaded"}\n\n',
    ],
)
def test_an_error_is_one_however_it_is_wrapped(event: bytes):
    with pytest.raises(f.ProviderFailure, match="overloaded"):
        read(chunk({"role": "assistant"}), event)


@pytest.mark.parametrize("event", [b"data: {\n\n", b"data: <html>\n\n", b"data: 7\n\n", b"data: nothing\n\n"])
def test_data_that_is_neither_is_a_fault(event: bytes):
    with pytest.raises(f.Unreachable):
        read(event)


# ── counts ──


@pytest.mark.parametrize(
    ("prompt", "completion", "believed"), [(0, 0, False), (0, 5, False), (10, 0, False), (10, 5, True)]
)
def test_a_count_that_cannot_be_true_is_not_told(prompt: int, completion: int, believed: bool):
    """A prompt of no tokens does not exist, nor an answer (anomalyco/opencode#28758, mistralai/client-python#628)."""
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    assert (whole({"content": "It rains."}, usage=usage).usage is not None) == believed

    chunks, _ = read(chunk({"content": "It rains."}), chunk({}, "stop"), {**chunk({}), "choices": [], "usage": usage})
    assert any(one.get("usage") for one in chunks) == believed
    chunks, _ = read(chunk({"content": "It rains."}), {**chunk({}, "stop"), "usage": usage})
    assert any(one.get("usage") for one in chunks) == believed
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
