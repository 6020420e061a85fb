"""Which deployments a name means: the model wherever it is served, one source where that is said, and never another model."""

from __future__ import annotations

import msgspec
import pytest

from gateway.catalog.catalog import Catalog
from gateway.catalog.names import Names
from gateway.settings import Settings, Virtual, load
from gateway.state.store import StateStore
from gateway.words import Deployment, UnknownModel
from providers.dialect import Target
from tests.clock import FakeClock
from tests.conftest import CONFIG
from tests.deployments import NO_BACKEND, NOW, deployment
from tests.payloads import SPECS
from tests.unit.test_catalog import serving

NAMES = msgspec.toml.decode((CONFIG / "names.toml").read_bytes(), type=Names)
PATTERNS = {"gpt-4*": "auto", "gpt-5*": "auto:smart", "gemini-*": "auto"}


def listed(provider: str, spelled: str, parameters: float | None = None) -> Deployment:
    """The deployment that *provider* lists under that name."""
    made = deployment(f"{provider}/x")
    model = NAMES.listed(spelled, provider, parameters)
    return msgspec.structs.replace(made, model=model, target=Target(made.target.account, spelled))


def catalog(*deployments: Deployment, not_free: dict[str, list[str]] | None = None) -> Catalog:
    settings = Settings(
        provider=SPECS,
        names=NAMES,
        alias={"mine": "auto"},
        virtual={"auto:smart": Virtual(prefer="quality")},
        pattern=PATTERNS,
    )
    made = Catalog(settings, StateStore(NO_BACKEND, FakeClock(NOW)))
    for name in dict.fromkeys([*(d.provider.name for d in deployments), *(not_free or ())]):
        made.swap(name, [d for d in deployments if d.provider.name == name], NOW, (not_free or {}).get(name, ()))
    return made


OSS = [listed("groq", "openai/gpt-oss-120b"), listed("cerebras", "gpt-oss-120b")]
GEMMA = [listed("google", "gemma-4-31b-it"), listed("openrouter", "google/gemma-4-31b-it:free")]
NEMOTRON = [
    listed("nvidia", "nvidia/nemotron-3-super-120b-a12b"),
    listed("openrouter", "nvidia/nemotron-3-super-120b-a12b:free"),
]
FLASH = [listed("google", "gemini-3.5-flash"), listed("openrouter", "other/thing:free")]


@pytest.mark.parametrize(
    ("deployments", "asked", "providers"),
    [
        (OSS, "openai/gpt-oss-120b", {"groq", "cerebras"}),
        (OSS, "openai/gpt-oss-120b:free", {"groq", "cerebras"}),
        (OSS, "gpt-oss-120b", {"groq", "cerebras"}),
        (OSS, "groq/gpt-oss-120b", {"groq"}),
        (OSS, "groq/openai/gpt-oss-120b", {"groq"}),
        (OSS, "cerebras/gpt-oss-120b", {"cerebras"}),
        (GEMMA, "google/gemma-4-31b-it", {"google", "openrouter"}),
        (GEMMA, "openrouter/google/gemma-4-31b-it:free", {"openrouter"}),
        (NEMOTRON, "nvidia/nemotron-3-super-120b-a12b", {"nvidia", "openrouter"}),
        (NEMOTRON, "nvidia/nemotron-3-super-120b-a12b:free", {"nvidia", "openrouter"}),
        (NEMOTRON, "nvidia/nvidia/nemotron-3-super-120b-a12b", {"nvidia"}),
        (FLASH, "google/gemini-3.5-flash", {"google"}),
    ],
)
def test_a_makers_prefix_means_the_model_and_a_providers_pins(deployments, asked, providers):
    assert {name.partition("/")[0] for name in serving(catalog(*deployments), asked)} == providers


GREAT = [listed("openrouter", "deepseek/deepseek-r1:free"), listed("openrouter", "qwen/qwen3-coder:free")]


@pytest.mark.parametrize(
    ("spelled", "billions", "bare"),
    [
        ("deepseek-r1:latest", 8.2, "deepseek-r1"),
        ("qwen3-coder:latest", 30.5, "qwen3-coder"),
        ("deepseek-r1:latest", None, "deepseek-r1"),
    ],
)
def test_the_latest_of_ollama_is_never_taken_for_the_great_model(spelled, billions, bare):
    small = listed("ollama", spelled, billions)
    made = catalog(*GREAT, small)

    assert {name.partition("/")[0] for name in serving(made, bare)} == {"openrouter"}
    assert serving(made, spelled) == {small.name}
    assert serving(made, f"ollama/{spelled}") == serving(made, f"ollama/{bare}") == {small.name}
    with pytest.raises(UnknownModel):
        serving(catalog(small), bare)


@pytest.mark.parametrize(
    ("spelled", "billions", "model"),
    [
        ("deepseek-r1:latest", 8.2, "deepseek-r1-8b"),
        ("gpt-oss:latest", 20.9, "gpt-oss-20b"),
        ("llama3.1:latest", 8.0, "llama-3.1-8b-instruct"),
        ("mistral:latest", 7.2, "mistral-7b-instruct-v0.3"),
        ("qwen2.5:latest", 7.6, "qwen2.5-7b-instruct"),
        ("smollm2-135m:latest", 0.13, "smollm2-135m"),
        ("deepseek-r1:70b", 70.6, "deepseek-r1-distill-llama-70b"),
    ],
)
def test_a_size_that_only_the_list_tells_is_part_of_the_name(spelled, billions, model):
    assert NAMES.listed(spelled, "ollama", billions) == model


def test_the_bare_name_of_a_model_that_only_this_machine_has_means_it():
    mine = listed("ollama", "my-own:latest", 8.0)

    assert serving(catalog(mine), "my-own") == {mine.name}


# ── names that programs have built in ──


def alias(made: Catalog, asked: str) -> str | None:
    return made.alias(asked)


def test_a_name_that_programs_have_built_in_is_served_by_its_pattern():
    made = catalog(*OSS)

    assert serving(made, "gpt-5.2-turbo") == {d.name for d in OSS}
    assert (alias(made, "gpt-5.2-turbo"), alias(made, "gpt-4o-2024-08-06"), alias(made, "mine")) == (
        "auto:smart",
        "auto",
        "auto",
    )


@pytest.mark.parametrize("asked", ["gemini-3.5-flash", "gpt-oss-120b", "auto", "auto:smart"])
def test_a_pattern_never_shadows_what_is_there(asked):
    assert alias(catalog(*OSS, *FLASH), asked) is None


def test_a_pattern_never_shadows_what_is_known_not_to_be_free():
    made = catalog(*OSS, not_free={"google": ["gemini-9-pro"]})

    assert alias(made, "gemini-9-pro") is None
    with pytest.raises(UnknownModel, match="nothing proves that it costs nothing"):
        serving(made, "gemini-9-pro")


def test_a_pattern_never_shadows_a_model_that_is_gone():
    made = catalog(*OSS, *FLASH)
    assert alias(made, "gemini-3.5-flash") is None
    made.swap("google", [], NOW)

    assert alias(made, "gemini-3.5-flash") is None
    with pytest.raises(UnknownModel):
        serving(made, "gemini-3.5-flash")


def test_a_pattern_is_found_anew_once_its_name_is_served():
    made = catalog(*OSS)
    assert alias(made, "gemini-3.5-flash") == "auto"
    made.swap("google", FLASH[:1], NOW)

    assert alias(made, "gemini-3.5-flash") is None
    assert serving(made, "gemini-3.5-flash") == {"google/gemini-3.5-flash"}


@pytest.mark.parametrize(
    "asked",
    [
        "gpt-5",
        "gpt-5.1-mini",
        "gpt-4o",
        "gpt-4.1-nano-2025",
        "o4-mini",
        "claude-haiku-4-5",
        "claude-opus-4-1",
        "gemini-2.5-pro",
    ],
)
def test_the_shipped_patterns_know_what_programs_have_built_in(tmp_path, asked):
    shipped = Catalog(load(CONFIG, {}, tmp_path), StateStore(NO_BACKEND, FakeClock(NOW)))

    found = shipped.alias(asked)
    assert found is not None
    assert found.startswith("auto")


@pytest.mark.parametrize(
    "asked", ["gpt-oss-120b", "gpt-oss-20b", "openai/gpt-oss-120b", "gemma-4-31b-it", "deepseek-r1", "o-live"]
)
def test_the_shipped_patterns_leave_open_weights_alone(tmp_path, asked):
    shipped = Catalog(load(CONFIG, {}, tmp_path), StateStore(NO_BACKEND, FakeClock(NOW)))

    assert shipped.alias(asked) is None
