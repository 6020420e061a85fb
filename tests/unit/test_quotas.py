"""What every provider allows, as its own documents and headers have it, against what configuration makes of it."""

from __future__ import annotations

import pytest

from gateway.quota.configured import buckets_of
from tests.payloads import SPECS

CLOCK, ROLLING, REFILL, UTC, PACIFIC, CHINA = (
    "clock",
    "rolling",
    "refill",
    "UTC",
    "America/Los_Angeles",
    "Asia/Shanghai",
)

# Of each model: amount, unit, window's name, how it moves on (or whose day it is), and who shares it.
MODELS = {
    ("openrouter", "google/gemma-4-31b-it:free"): {
        (20, "requests", "minute", CLOCK, "account"),
        (50, "requests", "day", UTC, "account"),
    },
    ("google", "gemini-3.5-flash"): {
        (5, "requests", "minute", ROLLING, "model"),
        (250_000, "prompt", "minute", ROLLING, "model"),
        (20, "requests", "day", PACIFIC, "model"),
    },
    ("google", "gemini-3.1-flash-lite"): {
        (15, "requests", "minute", ROLLING, "model"),
        (250_000, "prompt", "minute", ROLLING, "model"),
        (500, "requests", "day", PACIFIC, "model"),
    },
    ("google", "gemma-4-31b-it"): {
        (15, "requests", "minute", ROLLING, "model"),
        (16_000, "prompt", "minute", ROLLING, "model"),
        (14_400, "requests", "day", PACIFIC, "model"),
    },
    ("groq", "openai/gpt-oss-120b"): {
        (30, "requests", "minute", ROLLING, "model"),
        (1000, "requests", "day", REFILL, "model"),
        (8000, "tokens", "minute", REFILL, "model"),
        (200_000, "tokens", "day", REFILL, "model"),
    },
    ("groq", "groq/compound"): {
        (30, "requests", "minute", ROLLING, "model"),
        (250, "requests", "day", REFILL, "model"),
        (70_000, "tokens", "minute", REFILL, "model"),
    },
    ("groq", "meta-llama/llama-prompt-guard-2-86m"): {
        (30, "requests", "minute", ROLLING, "model"),
        (14_400, "requests", "day", REFILL, "model"),
        (15_000, "tokens", "minute", REFILL, "model"),
        (500_000, "tokens", "day", REFILL, "model"),
    },
    ("groq", "allam-2-7b"): {
        (30, "requests", "minute", ROLLING, "model"),
        (7000, "requests", "day", REFILL, "model"),
        (6000, "tokens", "minute", REFILL, "model"),
    },
    ("groq", "whisper-large-v3"): {
        (20, "requests", "minute", ROLLING, "model"),
        (2000, "requests", "day", REFILL, "model"),
        (7200, "audio-seconds", "hour", REFILL, "model"),
        (28_800, "audio-seconds", "day", REFILL, "model"),
    },
    ("groq", "canopylabs/orpheus-v1-english"): {
        (10, "requests", "minute", ROLLING, "model"),
        (100, "requests", "day", REFILL, "model"),
        (1200, "tokens", "minute", REFILL, "model"),
        (3600, "tokens", "day", REFILL, "model"),
    },
    ("nvidia", "nvidia/nemotron-3-super-120b-a12b"): {
        (40, "requests", "minute", ROLLING, "account"),
        (40, "requests", "minute", ROLLING, "model"),
        (32, "in-flight", "in-flight", "in-flight", "model"),
    },
    ("huggingface", "Qwen/Qwen3.8-27B"): {
        (0.1, "dollars", "month", UTC, "account"),
        (32, "in-flight", "in-flight", "in-flight", "model"),
    },
    ("ollama", "gemma4:12b"): {(2, "in-flight", "in-flight", "in-flight", "account")},
    ("zai", "glm-4.7-flash"): {(1, "in-flight", "in-flight", "in-flight", "account")},
    ("cloudflare", "@cf/qwen/qwen3.8-27b"): {
        (10_000, "neurons", "day", UTC, "account"),
        (300, "requests", "minute", ROLLING, "account"),
    },
    ("cerebras", "gpt-oss-120b"): {
        (5, "requests", "minute", CLOCK, "model"),
        (150, "requests", "hour", CLOCK, "model"),
        (2400, "requests", "day", UTC, "model"),
        (30_000, "tokens", "minute", CLOCK, "model"),
        (1_000_000, "tokens", "hour", CLOCK, "model"),
        (1_000_000, "tokens", "day", UTC, "model"),
    },
    ("mistral", "ministral-8b-latest"): {
        (188, "requests", "minute", CLOCK, "model"),
        (625_000, "tokens", "minute", CLOCK, "model"),
    },
    ("mistral", "mistral-medium-2508"): {
        (23, "requests", "minute", CLOCK, "model"),
        (356_250, "tokens", "minute", CLOCK, "model"),
    },
    ("mistral", "mistral-large-2512"): {
        (4, "requests", "minute", CLOCK, "model"),
        (250_000, "tokens", "minute", CLOCK, "model"),
    },
    ("modelscope", "Qwen/Qwen3.8-27B"): {
        (2000, "requests", "day", CHINA, "account"),
        (200, "requests", "day", CHINA, "model"),
    },
}


@pytest.mark.parametrize(("provider", "model"), MODELS, ids=lambda name: name)
def test_a_model_debits_the_buckets_that_its_provider_counts(provider, model):
    found = {
        (u.limit, u.unit, u.window_name, u.zone if u.window == "calendar" else u.window, u.scope)
        for u in buckets_of(SPECS[provider], model)
    }

    assert found == MODELS[provider, model]


@pytest.mark.parametrize("provider", sorted({provider for provider, _ in MODELS}))
def test_every_number_names_its_source(provider):
    assert all(row.source for row in SPECS[provider].quota)


@pytest.mark.parametrize(
    ("provider", "one", "other", "shared"),
    [
        ("google", "gemini-flash-lite-latest", "gemini-3.5-flash-lite", True),
        ("google", "gemini-3.1-flash-lite-preview-06-17", "gemini-3.1-flash-lite", True),
        ("google", "gemini-3.5-flash", "gemini-3.7-flash", False),
        ("mistral", "mistral-large-2512", "mistral-large-latest", True),
        ("mistral", "mistral-medium-2505", "mistral-medium-2508", False),
        ("mistral", "mistral-medium-latest", "mistral-medium-2508", False),
        ("groq", "openai/gpt-oss-120b", "openai/gpt-oss-20b", False),
    ],
)
def test_an_alias_shares_the_buckets_of_what_it_stands_for(provider, one, other, shared):
    keys = [{u.key for u in buckets_of(SPECS[provider], model)} for model in (one, other)]

    assert (keys[0] == keys[1]) is shared


def test_models_of_one_account_share_what_is_the_accounts():
    keys = [{u.key for u in buckets_of(SPECS["openrouter"], model)} for model in ("a:free", "b:free")]

    assert keys[0] == keys[1]


@pytest.mark.parametrize(
    ("provider", "model", "refused", "failed"),
    [
        ("openrouter", "a:free", {"minute", "day"}, {"minute", "day"}),
        ("google", "gemini-3.5-flash", set(), {"day", "minute"}),
        ("groq", "openai/gpt-oss-120b", set(), set()),
    ],
)
def test_what_counts_although_it_was_not_served(provider, model, refused, failed):
    buckets = buckets_of(SPECS[provider], model)

    assert {u.window_name for u in buckets if u.counts_refused} == refused
    assert {u.window_name for u in buckets if u.counts_failed} == failed
