"""A provider is data: every file loads, says where its numbers are from, and a typing error is told with its place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from providers import dialects
from providers.dialect import FILLS
from providers.failures import BY_NAME, ProviderFailure
from providers.spec import ProviderSpec, address, load
from tests.payloads import SPECS

CAPABILITIES = {
    "audio", "file", FILLS, "image_url", "json_object", "json_schema", "logprobs", "n", "reasoning", "tools", "video_url", "vision",
}  # fmt: skip
FREEWAY = {"openrouter", "google", "groq", "nvidia", "huggingface", "ollama"}

GOOD = """
title = "Acme"
base_url = "https://acme.example/v1"
docs = "https://acme.example/docs"
free = {{ kind = "plan" }}
{more}
"""


def loaded(folder: Path, more: str = "") -> ProviderSpec:
    (folder / "acme.toml").write_text(GOOD.format(more=more), encoding="utf-8")
    return load(folder)["acme"]


@pytest.mark.parametrize("spec", SPECS.values(), ids=lambda spec: spec.name)
class TestEveryFile:
    def test_speaks_a_dialect_that_there_is_and_names_failures_that_there_are(self, spec: ProviderSpec):
        dialects.verify(spec)

    def test_says_where_its_numbers_are_from(self, spec: ProviderSpec):
        if spec.free.kind != "local":
            rows: list[Any] = [*spec.quota, spec.free, spec.data_policy]
            assert all(row.source for row in rows)
            assert all(re.search(r"20\d\d-\d\d", row.source) for row in rows)

    def test_says_why_it_is_free(self, spec: ProviderSpec):
        assert spec.free.because

    def test_is_off_unless_its_key_is_set_or_it_runs_here(self, spec: ProviderSpec):
        assert spec.key_env or spec.free.kind == "local" or not spec.enabled

    def test_names_only_capabilities_that_requests_can_need(self, spec: ProviderSpec):
        named = {name for fact in spec.models for name in fact.capabilities or ()}

        assert named | set(spec.capabilities) <= CAPABILITIES

    def test_asks_over_an_encrypted_line_unless_it_is_this_machine(self, spec: ProviderSpec):
        assert spec.base_url.startswith("https://") or spec.free.kind == "local"

    def test_can_be_sent_elsewhere(self, spec: ProviderSpec):
        assert spec.base_url_env or spec.free.kind == "local"


def test_six_sources_are_shipped_and_others_that_need_no_code():
    assert {"mistral", "cerebras", "cloudflare", "zai", "groq", "nvidia", "openrouter", "huggingface"} <= SPECS.keys()
    assert {SPECS[name].dialect for name in ("mistral", "cerebras", "cloudflare", "zai")} == {"openai"}


def test_every_failure_that_an_answer_can_mean_can_be_named_by_a_sign():
    assert {cls.__name__ for cls in BY_NAME.values()} == {
        cls.__name__
        for cls in ProviderFailure.__subclasses__()
        if cls.__name__ not in ("Interrupted", "OtherWeights", "Superseded")
    }


def test_a_file_gives_its_provider_its_name(tmp_path: Path):
    assert loaded(tmp_path).name == "acme"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ('base_ulr = "x"', "base_ulr"),
        ('[[quota]]\nlimit = "1/day"\nscoop = "model"', "scoop"),
        ('[[quota]]\nlimit = "1/day"\nwindow = "sliding"', "window"),
        ("[[quota]]\nlimit = 20", "limit"),
        ('[[errors]]\ncode = "x"', "means"),
        ('drop = "n"', "drop"),
        ('[data_policy]\ntrains = "maybe"', "trains"),
        ("keyless = yes", "Invalid"),
    ],
)
def test_a_typing_error_is_told_with_file_and_key(tmp_path: Path, more: str, told: str):
    with pytest.raises(ValueError, match=r"acme\.toml") as caught:
        loaded(tmp_path, more)

    assert told in str(caught.value)


def test_an_address_may_hold_what_only_the_account_knows(tmp_path: Path):
    spec = loaded(tmp_path, 'base_url_needs = { account = "ACME_ACCOUNT" }').__class__
    assert spec is ProviderSpec
    cloudflare = SPECS["cloudflare"]

    assert address(cloudflare, {}) is None
    assert address(cloudflare, {"CLOUDFLARE_ACCOUNT_ID": " a/b "}) == (
        "https://api.cloudflare.com/client/v4/accounts/a%2Fb/ai/v1"
    )
    assert address(SPECS["groq"], {}) == SPECS["groq"].base_url
