"""What providers say of failures goes on without keys and without prompts, and is otherwise as they said it."""

from __future__ import annotations

import json
import time

import pytest

from providers.chat import decode_fields, decode_request, encode
from providers.dialect import Request
from providers.redaction import redacted

PROMPT = "Dear doctor, since Tuesday I have had a pain in my left knee."


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (f"invalid content: '{PROMPT}'", "invalid content: '…'"),
        (f"flagged: {PROMPT[12:40]} and {PROMPT[41:]}", "flagged: … and …"),
        ("the key sk-secret is wrong", "the key *** is wrong"),
        ("Rate limit reached for requests", "Rate limit reached for requests"),
        ("role must be one of user, assistant", "role must be one of user, assistant"),
        (PROMPT, "…"),
        ("", ""),
    ],
)
def test_quotes_and_keys_are_left_out_and_nothing_else(said, kept):
    assert redacted(said, "sk-secret", ["short", PROMPT]) == kept


def test_a_quote_is_found_wherever_it_begins():
    for begin in range(20):
        assert PROMPT[5:40] not in redacted("x" * begin + PROMPT[5:40] + "y", None, [PROMPT])


def test_what_is_said_at_length_is_cut():
    assert len(redacted("word " * 10_000, None, [])) <= 2_000


def test_a_prompt_of_3_mb_costs_nobody_more_than_5_ms_and_is_not_quoted():
    prompt = " ".join(f"secret{number} affair" for number in range(150_000))
    said = f"This model's maximum context length is 8192 tokens, you requested 800000. Got: '{prompt[1_000_000:1_001_500]}'"
    assert len(prompt) > 2_500_000

    took = []
    for _ in range(3):
        began = time.perf_counter()
        kept = redacted(said, "sk-key", [prompt, "and a second text"])
        took.append(time.perf_counter() - began)

    assert min(took) < 0.005
    assert kept.startswith("This model's maximum context length is 8192 tokens, you requested 800000.")
    assert "secret" not in kept
    assert "affair" not in kept


CALLED = {"id": "c", "type": "function", "function": {"name": "pay", "arguments": '{"iban": "DE02120300000000202051"}'}}
TOOL = {
    "type": "function",
    "function": {
        "name": "pay",
        "description": "Pays from the account of Ms. Quillfeather.",
        "parameters": {
            "type": "object",
            "properties": {"blackbird_vault_code": {"type": "string"}},
            "additionalProperties": False,
        },
    },
}
SHAPE = {
    "type": "json_schema",
    "json_schema": {"name": "it", "schema": {"type": "object", "title": "Project Nightingale plan"}},
}


@pytest.mark.parametrize(
    "private",
    [
        "DE02120300000000202051",
        "Ms. Quillfeather",
        "blackbird_vault_code",
        "Project Nightingale",
        "тайное слово хозяина",
        "pin 4711x",
    ],
)
@pytest.mark.parametrize("escaped", [False, True])
def test_nothing_that_a_caller_wrote_is_repeated_wherever_in_the_request_it_stands(private, escaped):
    body = encode(
        {
            "messages": [{"role": "user", "content": "тайное слово хозяина"}, {"role": "assistant", "tool_calls": [CALLED]},
                {"role": "tool", "tool_call_id": "c", "content": "pin 4711x"}],
            "tools": [TOOL], "response_format": SHAPE,
        }
    )  # fmt: skip
    request = Request(decode_request(body), decode_fields(body))
    said = json.dumps(f"invalid request: {private} is refused", ensure_ascii=escaped)

    told = redacted(said, None, request.prompts)

    assert private not in told
    assert json.dumps(private)[1:-1] not in told
    assert "invalid request" in told


def test_keywords_of_schemas_are_nobodys_words():
    body = encode({"messages": [{"role": "user", "content": "x"}], "tools": [TOOL]})
    request = Request(decode_request(body), decode_fields(body))
    said = "additionalProperties is not supported in properties of parameters"

    assert redacted(said, None, request.prompts) == said
