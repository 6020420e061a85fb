"""What providers say of failures goes on without keys and without prompts, and is otherwise as they said it."""

from __future__ import annotations

import time

import pytest

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
