"""What is taken for free and is not is said by name; a source without a key is asked only once a person has agreed."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from gateway import settings as s
from gateway.api.admin.views import Free, Model, Overview, Source
from gateway.commands.check import _bill, _gap
from gateway.words import Wants
from tests.conftest import CONFIG
from tests.deployments import catalog, deployment

SHIPPED = s.load(CONFIG, {}, Path("/"))
KEYLESS = ("ovhcloud", "llm7", "kilo")


@pytest.mark.parametrize("source", SHIPPED.not_free, ids=lambda source: source.title)
def test_each_has_its_reason_its_source_and_a_date(source: s.NotFree):
    assert source.why
    assert re.search(r"20\d\d-\d\d", source.source)
    assert not set(source.names) & SHIPPED.provider.keys(), "what is served is not denied"
    assert not set(source.keys) & {spec.key_env for spec in SHIPPED.provider.values()}


@pytest.mark.parametrize("name", ["together/meta-llama/Llama-3.3-70B", "Fireworks_ai/some-model", "github/gpt-4o"])
def test_who_asks_for_a_model_there_is_told_why_it_is_not_served(name: str):
    served = catalog(deployment("groq/a"), not_free=SHIPPED.not_free)

    assert "is not free" in served.unknown(Wants(models=(name,))).message


def test_a_model_that_only_looks_like_one_of_theirs_is_just_unknown():
    served = catalog(deployment("groq/a"), not_free=SHIPPED.not_free)

    assert "is not free" not in served.unknown(Wants(models=("together",))).message


def test_keys_of_what_is_not_free_are_seen_and_used_for_nothing(tmp_path: Path):
    found = s.load(CONFIG, {"TOGETHER_API_KEY": "x", "XAI_API_KEY": " "}, tmp_path)

    assert found.useless_keys == ("TOGETHER_API_KEY",)
    assert "x" not in found.keys.values()


# ── without a key ──


@pytest.mark.parametrize("name", KEYLESS)
def test_a_source_without_a_key_is_off_until_a_person_agrees(name: str, tmp_path: Path):
    assert name not in s.load(CONFIG, {}, tmp_path).active()
    assert name not in s.load(CONFIG, {"FREEWAY_KEYLESS": "0"}, tmp_path).active()
    assert name not in s.load(CONFIG, {"FREEWAY_KEYLESS": ""}, tmp_path).active()
    assert name in s.load(CONFIG, {"FREEWAY_KEYLESS": "1"}, tmp_path).active()
    own = tmp_path / "own.toml"
    own.write_text(f"[provider.{name}]\nenabled = true\n")
    assert name in s.load(CONFIG, {"FREEWAY_CONFIG": str(own)}, tmp_path).active()


@pytest.mark.parametrize("name", KEYLESS)
def test_and_never_takes_a_key_that_could_be_charged(name: str):
    spec = SHIPPED.provider[name]

    assert spec.key_env is None
    assert not spec.key_env_also


def test_agreeing_turns_on_nothing_that_needs_a_key(tmp_path: Path):
    assert set(s.load(CONFIG, {"FREEWAY_KEYLESS": "yes"}, tmp_path).active()) == {"ollama", *KEYLESS}


def test_a_provider_can_be_turned_off(tmp_path: Path):
    own = tmp_path / "own.toml"
    own.write_text("[provider.groq]\nenabled = false\n")
    environ = {"FREEWAY_CONFIG": str(own), "GROQ_API_KEY": "gsk"}

    assert "groq" not in s.load(CONFIG, environ, tmp_path).active()


# ── what was spent ──


def source(name: str, level: str) -> Source:
    return Source(
        name=name, title=name.title(), state="on", reason="", remedy="", key="set", key_variable=None, key_from="", get_a_key="",
        free=Free(level=level, because="why"), trains="no", prompts="", models=1, buckets=[], looked_at=None,  # type: ignore[arg-type]
    )  # fmt: skip


def overview(spent: float) -> Overview:
    return Overview(
        version="", now=0.0, started=0.0, status="ok", problems=[], next_step="", left=[], spent=spent, credit=0.0, saved=0.0,
        store="", replicas=1, live=0, waiting=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("levels", "spent", "said", "unsaid"),
    [
        ({"a": "proven", "b": "promised"}, 0.0, "Spent 0.000000 dollars", "cannot be known"),
        ({"a": "proven", "b": "not knowable"}, 0.0, "what B charges cannot be known", "Spent 0.000000"),
        ({"a": "not knowable", "b": "not knowable"}, 0.2, "Spent 0.200000 dollars", "cannot be known"),
    ],
)
def test_nothing_is_claimed_where_it_cannot_be_known(levels: dict[str, str], spent: float, said: str, unsaid: str):
    told = _bill(overview(spent), [source(name, level) for name, level in levels.items()])

    assert said in told
    assert unsaid not in told


def test_what_is_not_known_of_a_model_is_said():
    bare = Model(
        deployment="groq/a", model="a", provider="groq", operations=["chat"], capabilities=[], context=None, max_output=None, trains="no",
        free=Free(level="proven", because=""), available=True, why_not="", opens_at=None,
    )  # fmt: skip
    known = msgspec.structs.replace(bare, context=8192, capabilities=["tools"])

    assert "not known: context" in _gap(bare)
    assert "capabilities" in _gap(bare)
    assert not _gap(known)


def test_an_account_without_models_casts_no_doubt():
    none = msgspec.structs.replace(source("b", "not knowable"), models=0)

    assert "Spent 0.000000" in _bill(overview(0.0), [none])
