"""Whatever JSON comes, it is an answer or it is refused; nothing else happens."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.chat import Chunk, Completion
from providers.lenient import decode_leniently, dollars_of

KEYS = st.sampled_from(
    [
        "id", "object", "created", "model", "choices", "usage", "index", "message", "delta", "content", "tool_calls",
        "function", "name", "arguments", "type", "text", "thinking", "finish_reason", "prompt_tokens", "error",
        "prompt_tokens_details", "cached_tokens", "role",
    ]
)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, width=16) | st.text(max_size=3)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=30
)
ANSWERS = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"message": JSON, "delta": JSON}), max_size=2) | JSON},
    optional={"usage": JSON, "id": JSON, "created": JSON, "object": JSON},
)


@given(JSON | ANSWERS, st.sampled_from([Completion, Chunk]))
def test_it_is_an_answer_or_it_is_refused(found: object, kind: type[Completion | Chunk]):
    data = msgspec.json.encode(found)
    name = "chat.completion" if kind is Completion else "chat.completion.chunk"
    try:
        answer, readable = decode_leniently(data, msgspec.json.Decoder(kind).decode, name)
    except msgspec.DecodeError:
        return

    assert msgspec.json.decode(readable, type=kind) == answer


def test_an_answer_that_needs_no_mending_keeps_its_bytes():
    data = b'{ "id":"x", "choices": [] }'

    assert decode_leniently(data, msgspec.json.Decoder(Completion).decode, "chat.completion")[1] is data


def test_what_is_no_json_is_refused():
    with pytest.raises(msgspec.DecodeError):
        decode_leniently(b"<html>", msgspec.json.Decoder(Completion).decode, "chat.completion")


@pytest.mark.parametrize(
    ("told", "dollars"),
    [
        ("0.002", 0.002), (" $0.002 ", 0.002), (0.5, 0.5), (1, 1.0), ("1e-9", 1e-9), ("0", 0.0), (0, 0.0),
        (None, None), (True, None), ("free", None), ("nan", None), (-1, None), ([1], None), ("inf", 1e9), (10**400, None),
    ],
)  # fmt: skip
def test_a_cost_is_seen_however_it_is_told(told, dollars):
    assert dollars_of(told) == dollars


def test_a_cost_told_as_text_is_that_of_the_answer():
    data = b'{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": "3", "cost": "0.002"}}'
    answer, _ = decode_leniently(data, msgspec.json.Decoder(Completion).decode, "chat.completion")

    assert answer.usage
    assert answer.usage.cost == 0.002
