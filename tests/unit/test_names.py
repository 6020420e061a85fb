"""Spellings that are one model get one name, and models that are two never do. The labels are in model_names.toml."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import msgspec
import pytest

from gateway.catalog.names import Names
from tests.conftest import CONFIG

LABELS: dict[str, list[str]] = tomllib.loads(Path(__file__).with_name("model_names.toml").read_text("utf-8"))
SPELLED = [(model, *each.split(" ", 1)) for model, spellings in LABELS.items() for each in spellings]


@pytest.fixture(scope="module")
def names() -> Names:
    return msgspec.toml.decode((CONFIG / "names.toml").read_bytes(), type=Names)


def pairs(groups) -> set[frozenset[str]]:
    return {frozenset(pair) for group in groups for pair in combinations(sorted(group), 2)}


def test_there_are_enough_labels():
    assert len(SPELLED) >= 450
    assert len(pairs(LABELS.values())) >= 500


def test_no_two_models_are_taken_for_one_and_hardly_any_for_two(names):
    found = defaultdict(list)
    for _, provider, spelled in SPELLED:
        found[names.canonical(spelled, provider)].append(f"{provider} {spelled}")
    labelled, said = pairs(LABELS.values()), pairs(found.values())

    precision, recall = len(labelled & said) / len(said), len(labelled & said) / len(labelled)

    assert precision == 1, sorted(map(sorted, said - labelled))[:5]
    assert recall >= 0.99, sorted(map(sorted, labelled - said))[:5]


@pytest.mark.parametrize(("model", "provider", "spelled"), SPELLED)
def test_the_name_is_the_one_that_people_use(names, model, provider, spelled):
    assert names.canonical(spelled, provider) == model


@pytest.mark.parametrize("model", LABELS)
def test_a_canonical_name_is_its_own(names, model):
    assert names.canonical(model) == model


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-14B"),
        ("moonshotai/Kimi-K2-Instruct", "moonshotai/Kimi-K2-Thinking"),
        ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct"),
        ("meta-llama/Llama-3.3-70B-Instruct", "@cf/meta/llama-3.3-70b-instruct-fp8-fast"),
        ("llama3.2:3b", "llama3.2:3b-instruct-q8_0"),
        ("qwen2.5-coder:7b", "qwen2.5-coder:7b-base"),
        ("mistral-large-2411", "mistral-large-2512"),
        ("deepseek-ai/DeepSeek-R1", "deepseek-ai/DeepSeek-R1-0528"),
        ("qwen/qwen-plus-2025-07-28", "qwen/qwen-plus-2025-07-28:thinking"),
        ("openai/gpt-oss-20b", "openai/gpt-oss-safeguard-20b"),
        ("gemini-3.5-flash", "gemini-3.5-flash-lite"),
    ],
)
def test_what_tells_two_models_apart_stays(names, one, other):
    assert names.canonical(one) != names.canonical(other)
