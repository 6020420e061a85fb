"""Whom we believe about a model: configuration, then its provider's list, then the database, then what is said of all."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.catalog.database import Database, bundled
from gateway.catalog.facts import UNRATED, deployment_of
from gateway.catalog.names import Names
from gateway.settings import ModelQuality, Settings
from providers.client import Provider
from providers.dialect import Account, Listed
from providers.spec import DataPolicy, Free, ModelFact, ProviderSpec
from tests.unit.test_client import Canned, Wire

ENTRY = {
    "id": "acme-1",
    "modalities": {"input": ["text", "image"], "output": ["text"]},
    "limit": {"context": 1000, "output": 100},
    "cost": {"input": 1.0, "output": 2.0},
    "reasoning": True,
    "tool_call": True,
    "release_date": "2026-05",
}


def known(**providers: Any) -> Database:
    encoded = {name: {"models": {e["id"]: e for e in entries}} for name, entries in providers.items()}
    return Database(msgspec.json.encode(encoded), Names())


def made(listed: Listed, database: Database | None = None, settings: Settings | None = None, **spec):
    of = ProviderSpec(name="acme", title="Acme", base_url="", docs="", free=Free(kind="plan"), **spec)
    provider = Provider(Account(of, "https://acme.example"), Wire(Canned(200, {}, [])))
    return deployment_of(listed, provider, 0.0, settings or Settings(), database or known())


LISTED = Listed(id="acme-1")


def test_the_database_says_what_the_list_does_not():
    found = made(LISTED, known(acme=[ENTRY]))

    assert found.capabilities == {"vision", "tools", "reasoning"}
    assert (found.context, found.max_output, found.released) == (1000, 100, "2026-05")
    assert (found.list_price.prompt, found.list_price.output) == (1e-6, 2e-6)


def test_the_list_goes_before_the_database():
    told = Listed(id="acme-1", context=500, capabilities=frozenset({"tools"}))
    found = made(told, known(acme=[ENTRY]))

    assert (found.context, found.max_output, found.capabilities) == (500, 100, {"tools"})


def test_configuration_goes_before_the_list():
    fact = ModelFact(ids=("acme-*",), context=7, capabilities=("json_object",), data_policy=DataPolicy(trains="no"))
    found = made(
        Listed(id="acme-1", context=500, capabilities=frozenset({"tools"})), known(acme=[ENTRY]), models=(fact,)
    )

    assert (found.context, found.capabilities, found.policy.trains) == (7, {"json_object"}, "no")


def test_the_same_provider_goes_before_others_in_the_database():
    elsewhere = [{**ENTRY, "limit": {"context": size}, "tool_call": False} for size in (1, 2, 3)]
    others = {f"other{place}": [entry] for place, entry in enumerate(elsewhere)}

    assert made(LISTED, known(acme=[ENTRY], **others)).context == 1000
    assert made(LISTED, known(**others)).context == 2
    assert "tools" in made(LISTED, known(acme=[ENTRY], **others)).capabilities
    assert "tools" not in made(LISTED, known(**others)).capabilities


def test_what_the_database_does_not_know_of_it_cannot_deny():
    found = made(LISTED, known(acme=[{**ENTRY, "tool_call": False}]), capabilities=("tools", "n", "json_object"))

    assert found.capabilities == {"vision", "reasoning", "n", "json_object"}


def test_without_anything_else_what_is_said_of_all_holds():
    assert made(LISTED, capabilities=("tools",)).capabilities == {"tools"}


def test_quality_and_price_come_from_configuration_first():
    rows = (ModelQuality(models=("acme*",), quality=0.8, paid=(10.0, 20.0)),)

    assert made(LISTED).quality == UNRATED
    found = made(LISTED, known(acme=[ENTRY]), Settings(model=rows))
    assert (found.quality, found.list_price.of(1_000_000, 0)) == (0.8, pytest.approx(10.0))


@pytest.mark.parametrize("encoded", [b"", b"<html>", b"[]", b'{"acme": {"models": {"a": {}}}}'])
def test_what_is_no_database_is_refused(encoded):
    with pytest.raises(ValueError, match=r"JSON|truncated|object|entry"):
        Database(encoded, Names())


@pytest.mark.parametrize("odd", [{}, {**ENTRY, "id": 5}, {**ENTRY, "limit": "all"}, 7, None])
def test_an_entry_that_cannot_be_read_costs_no_other(odd):
    encoded = {"acme": {"models": {"odd": odd, "acme-1": ENTRY}}, "odd": odd, "older": {"models": []}}

    found = Database(msgspec.json.encode(encoded), Names()).at("acme", "acme-1")
    assert found
    assert found.context == 1000


def test_the_bundled_copy_knows_the_models_of_the_field():
    found = bundled(Names()).of("gpt-oss-120b")

    assert found
    assert found.price
    assert found.released
    assert "tools" in found.capabilities
    assert 1e-8 < found.price.prompt < 1e-5
    assert found.released.startswith("2025-08")
