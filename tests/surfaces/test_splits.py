"""
What holds of the streams of every surface: however a provider cuts its answer into pieces, the caller puts the same together; and
an answer that is replayed in any of them means the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from gateway.api import anthropic, gemini, ollama
from gateway.api.http import Surface
from gateway.api.openai_chat import ChatCompletions
from gateway.api.openai_responses import Responses
from gateway.api.responses_archive import Archive
from gateway.settings import Settings
from providers.chat import Chunk, Step, encode
from tests.clock import FakeClock
from tests.surfaces.test_translation import OPTIONS

Calls = list[tuple[str, dict[str, Any]]]


class Answer(Struct):
    """What was thought, what was said, and what is called."""

    thought: str
    text: str
    calls: Calls


TEXTS = st.text(max_size=12)
ARGUMENTS = st.dictionaries(st.text(max_size=3), st.integers(-9, 9) | st.text(max_size=4), max_size=2)
ANSWERS = st.builds(
    Answer,
    thought=TEXTS,
    text=TEXTS,
    calls=st.lists(st.tuples(st.sampled_from(["f", "g"]), ARGUMENTS), max_size=3),
)
HELLO: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}


def cut(text: str, data: st.DataObject) -> list[str]:
    places = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=4)) | {0, len(text)})
    return [text[a:b] for a, b in pairwise(places)]


def pieces(answer: Answer, data: st.DataObject) -> list[dict[str, Any]]:
    """*answer* as the deltas of a stream. Those of several calls may come mixed."""
    deltas: list[dict[str, Any]] = [{"reasoning_content": piece} for piece in cut(answer.thought, data)]
    deltas += [{"content": piece} for piece in cut(answer.text, data)]
    called = []
    for index, (name, arguments) in enumerate(answer.calls):
        first: dict[str, Any] = {"index": index, "id": f"c{index}", "function": {"name": name, "arguments": ""}}
        rest = [{"index": index, "function": {"arguments": piece}} for piece in cut(json.dumps(arguments), data)]
        called.append([{"tool_calls": [one]} for one in (first, *rest)])
    begun = 0
    while any(called):  # each begins after the one before it has begun
        lines = [line for line in called[:begun] if line]
        fresh = called[begun : begun + 1]
        line = data.draw(st.sampled_from(lines + fresh))
        begun += bool(fresh) and line is fresh[0]
        deltas.append(line.pop(0))
    return deltas


def streamed(surface: Surface, deltas: list[dict[str, Any]], *, called: bool) -> bytes:
    """What the caller reads."""
    choices: list[dict[str, Any]] = [{"delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"delta": {}, "finish_reason": "tool_calls" if called else "stop"})
    out = b""
    for choice in choices:
        chunk = {"id": "x", "created": 1, "model": "m", "choices": [{"index": 0, **choice}]}
        out += surface.render_event(Step(msgspec.convert(chunk, Chunk), encode(chunk)))
    end = surface.render_end()
    assert isinstance(end, bytes)
    return out + end


def events(out: bytes) -> list[dict[str, Any]]:
    lines = [line.removeprefix(b"data: ") for line in out.split(b"\n")]
    return [json.loads(line) for line in lines if line.startswith(b"{")]


# ── how each surface is asked, and how its stream is read ──


def by_chat(out: bytes) -> Answer:
    found, calls = Answer("", "", []), dict[int, list[str]]()
    for event in events(out):
        delta = event["choices"][0]["delta"]
        found.thought += delta.get("reasoning_content") or ""
        found.text += delta.get("content") or ""
        for call in delta.get("tool_calls") or ():
            made = calls.setdefault(call["index"], ["", ""])
            made[0] += call["function"].get("name") or ""
            made[1] += call["function"].get("arguments") or ""
    found.calls = [(name, json.loads(arguments)) for _, (name, arguments) in sorted(calls.items())]
    return found


def by_responses(out: bytes) -> Answer:
    """The last event has all of it, and the events before it are complete, in order and without a gap."""
    told = events(out)
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    response = told[-1]["response"]
    done = {event["item"]["id"]: event["item"] for event in told if event["type"] == "response.output_item.done"}
    assert done == {item["id"]: item for item in response["output"]}
    found, grown = Answer("", "", []), Answer("", "", [])
    for item in response["output"]:
        if item["type"] == "reasoning":
            found.thought += "".join(part["text"] for part in item["summary"])
        elif item["type"] == "message":
            found.text += "".join(part["text"] for part in item["content"])
        else:
            found.calls.append((item["name"], json.loads(item["arguments"])))
    for event in told:
        if event["type"] == "response.output_text.delta":
            grown.text += event["delta"]
        elif event["type"] == "response.reasoning_summary_text.delta":
            grown.thought += event["delta"]
    assert (grown.text, grown.thought) == (found.text, found.thought)
    return found


def by_messages(out: bytes) -> Answer:
    found, blocks = Answer("", "", []), dict[int, Any]()
    for event in events(out):
        if event["type"] == "content_block_start":
            blocks[event["index"]] = {**event["content_block"], "json": ""}
        elif event["type"] == "content_block_delta":
            delta, block = event["delta"], blocks[event["index"]]
            found.thought += delta.get("thinking", "")
            found.text += delta.get("text", "")
            block["json"] += delta.get("partial_json", "")
    found.calls = [(b["name"], json.loads(b["json"] or "{}")) for b in blocks.values() if b["type"] == "tool_use"]
    return found


def by_ollama(out: bytes) -> Answer:
    found = Answer("", "", [])
    for line in events(out):
        message = line["message"]
        found.thought += message.get("thinking", "")
        found.text += message["content"]
        found.calls += [(c["function"]["name"], c["function"]["arguments"]) for c in message.get("tool_calls", ())]
    return found


def by_gemini(out: bytes) -> Answer:
    found = Answer("", "", [])
    for event in events(out):
        for part in event["candidates"][0]["content"]["parts"]:
            if "functionCall" in part:
                found.calls.append((part["functionCall"]["name"], part["functionCall"]["args"]))
            elif part.get("thought"):
                found.thought += part["text"]
            else:
                found.text += part["text"]
    return found


def asked(surface: Surface, body: dict[str, Any], query: str = "") -> Surface:
    surface.parse(encode(body), msgspec.structs.replace(OPTIONS, query=query))
    return surface


THINKS = {"thinking": {"type": "adaptive"}, "max_tokens": 100}
CONTENTS = {
    "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
    "generationConfig": {"thinkingConfig": {"includeThoughts": True}},
}
SURFACES: dict[str, tuple[Callable[[], Surface], Callable[[bytes], Answer]]] = {
    "chat": (lambda: asked(ChatCompletions(Archive(None, Settings())), HELLO | {"stream": True}), by_chat),
    "responses": (
        lambda: asked(Responses(Archive(None, Settings()), FakeClock()), {"input": "hi", "stream": True}),
        by_responses,
    ),
    "messages": (lambda: asked(anthropic.Messages(), HELLO | THINKS | {"stream": True}), by_messages),
    "ollama": (lambda: asked(ollama.Chat(), HELLO), by_ollama),
    "gemini": (lambda: asked(gemini.StreamGenerateContent(), CONTENTS, "alt=sse"), by_gemini),
}


@pytest.mark.parametrize("name", SURFACES)
@given(ANSWERS, st.data())
def test_however_an_answer_is_cut_its_caller_reads_the_same(name, answer, data):
    made, read = SURFACES[name]
    deltas = pieces(answer, data)

    assert read(streamed(made(), deltas, called=bool(answer.calls))) == answer
