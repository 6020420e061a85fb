"""Sources that give little, or that may not be there: what their refusals mean, and what shuts them before they cost anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway import settings as s
from gateway.catalog.offers import could_cost
from gateway.catalog.proof import disproof, prove
from gateway.catalog.standing import Known, judge
from gateway.quota.configured import buckets_of
from providers import dialects
from providers import failures as f
from providers.dialect import HttpResponse, Listed
from tests.conftest import CONFIG
from tests.deployments import deployment
from tests.payloads import SPECS, account


def failure(provider: str, status: int, content: Any) -> f.ProviderFailure:
    of = account(provider)
    return dialects.by_name(of.spec.dialect).classify(of, HttpResponse(status, {}, msgspec.json.encode(content)))


@pytest.mark.parametrize(
    ("provider", "status", "content", "expected", "account_wide"),
    [
        # mnfst/awesome-free-llm-apis#102, 2026-08
        ("sambanova", 402, {"error": {"code": "PAYMENT_METHOD_REQUIRED", "message": "A payment method is required. Add one at cloud.sambanova.ai/plans/billing"}}, f.WouldCost, True),
        # tashfeenahmed/freellmapi#16, 2026-05
        ("sambanova", 422, {"error": {"message": "Couldn't find valid service tier"}}, f.NotEntitled, False),
        ("sambanova", 429, {"error": {"message": "Request would exceed rate limit"}}, f.RateLimited, False),
        ("aion", 402, {"error": {"message": "Top up to go on", "type": "payment_required"}}, f.WouldCost, True),
        # Aion Labs API reference, 2026-09
        ("aion", 429, {"error": {"message": "Usage limit exceeded for your account", "type": "rate_limit_error"}}, f.RateLimited, False),
        ("aion", 502, {"error": {"message": "upstream", "type": "provider_error"}}, f.Unreachable, False),
        ("novita", 402, {"code": 402, "reason": "NOT_ENOUGH_BALANCE", "message": "not enough balance"}, f.WouldCost, True),
        ("novita", 429, {"code": 429, "reason": "RATE_LIMIT", "message": "rate limit exceeded"}, f.RateLimited, False),
    ],
)  # fmt: skip
def test_a_refusal_means_what_it_says(provider, status, content, expected, account_wide):
    found = failure(provider, status, content)

    assert type(found) is expected
    assert found.account_wide is account_wide


@pytest.mark.parametrize(
    ("headers", "paid"),
    [
        ({"x-ratelimit-limit-requests": "20", "x-ratelimit-limit-requests-day": "20"}, False),
        ({"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "59"}, True),
        ({"x-ratelimit-limit-requests-day": "12000", "x-ratelimit-remaining-requests-day": "11999"}, True),
        ({}, False),
    ],
)
def test_higher_limits_than_the_free_tiers_shut_sambanova(headers, paid):
    of, model = account("sambanova"), "gpt-oss-120b"
    served = msgspec.structs.replace(deployment(f"sambanova/{model}"), buckets=buckets_of(of.spec, model))

    assert (disproof(served, None, dialects.by_name("openai").observe(of, headers)) is not None) is paid


@pytest.mark.parametrize(("name", "why"), [("sambanova", "402"), ("novita", "without a balance")])
def test_what_could_not_be_verified_is_off_until_it_is_allowed_and_says_why(tmp_path: Path, name: str, why: str):
    spec = SPECS[name]
    environ = {str(spec.key_env): "key", "FREEWAY_KEYLESS": "1"}  # which allows only sources without a key
    own = tmp_path / "own.toml"
    own.write_text(f"[provider.{name}]\nenabled = true\n")

    assert name not in s.load(CONFIG, environ, tmp_path).active()
    assert name in s.load(CONFIG, {**environ, "FREEWAY_CONFIG": str(own)}, tmp_path).active()
    off = judge(Known(spec=spec, has_key=True, asked=False))
    assert (off.state, why in off.reason) == ("off", True)
    assert f"[provider.{name}] enabled = true" in off.remedy
    assert "it is off" in could_cost(spec)


@pytest.mark.parametrize(
    ("provider", "model", "free"),
    [
        ("sambanova", "gpt-oss-120b", True),
        ("sambanova", "MiniMax-M2.7", False),
        ("sambanova", "Whisper-Large-v3", False),
        ("aion", "aion-labs/aion-3.5", True),
    ],
)
def test_only_the_models_of_the_free_tier_are_free(provider, model, free):
    assert (prove(SPECS[provider], Listed(id=model), 0.0, 7200.0) is not None) is free


@pytest.mark.parametrize(
    ("provider", "model", "expected"),
    [
        ("sambanova", "gpt-oss-120b", {(20, "requests", "minute", "model"), (20, "requests", "day", "model"), (200_000, "tokens", "day", "model")}),
        ("aion", "aion-labs/aion-2.0", {(15, "requests", "minute", "account"), (20_000, "tokens", "minute", "account"), (20_000, "tokens", "day", "account")}),
        ("novita", "inclusionai/ling-3.0-flash-fin", {(10, "requests", "minute", "model")}),
    ],
)  # fmt: skip
def test_what_is_counted_is_what_the_pages_say(provider, model, expected):
    assert {(b.limit, b.unit, b.window_name, b.scope) for b in buckets_of(SPECS[provider], model)} == expected
