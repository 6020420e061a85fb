"""The small model on this machine: told to be brief, and cut where it repeats itself."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from providers import dialects
from providers.chat import decode_fields, decode_request
from providers.dialect import Account, Request, Target
from providers.dialects.embedded import INSTRUCTION
from tests.payloads import SPECS

DIALECT = dialects.by_name("embedded")
TARGET = Target(Account(SPECS["embedded"], "http://127.0.0.1:1/v1", "key"), "smollm2-135m-instruct")
LOOP = "la femme au roi, " * 30


def asked(*messages: dict[str, str], **fields: Any) -> Request:
    content = msgspec.json.encode({"messages": messages, **fields})
    return Request(decode_request(content), decode_fields(content))


HELLO = {"role": "user", "content": "Say hello."}


def sent(request: Request) -> Any:
    return msgspec.json.decode(DIALECT.build(TARGET, request).body or b"")


def test_where_the_caller_gives_no_instructions_it_is_told_to_be_brief():
    assert sent(asked(HELLO))["messages"][0] == {"role": "system", "content": INSTRUCTION}


@pytest.mark.parametrize("fields", [{}, {"response_format": {"type": "json_object"}}])
def test_the_callers_own_instructions_stand_alone_and_so_does_json(fields):
    given = [{"role": "system", "content": "Be long."}] if not fields else []

    messages = sent(asked(*given, HELLO, **fields))["messages"]

    assert [message["content"] for message in messages if message["role"] == "system"] == [m["content"] for m in given]


def test_a_whole_answer_ends_before_it_repeats_itself():
    body = {
        "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": f"Paris: {LOOP}"}, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 512, "total_tokens": 517},
    }  # fmt: skip
    whole = DIALECT.read(TARGET, asked(HELLO), msgspec.json.encode(body))

    (choice,) = whole.completion.choices
    assert (choice.message.content or "").startswith("Paris: la femme au roi")
    assert len(choice.message.content or "") < 45
    assert choice.finish_reason == "stop"
    assert whole.usage is not None  # what the model made is counted
    assert msgspec.json.decode(whole.data)["choices"][0]["message"]["content"] == choice.message.content


def test_a_stream_that_repeats_itself_is_over():
    reader, said = DIALECT.reader(TARGET, asked(HELLO, stream=True)), []
    for word in LOOP.split(" "):
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
                 "choices": [{"index": 0, "delta": {"content": f"{word} "}, "finish_reason": None}]}  # fmt: skip
        said += reader.feed(msgspec.json.encode(chunk))

    assert said[-1].chunk.choices[0].finish_reason == "stop"
    assert len(said) < 30
    assert reader.finished()
    assert reader.ended()
