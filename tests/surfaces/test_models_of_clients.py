"""Which models each client is told of, on every API that has a list; since when there are; and what is left out, and why."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from gateway.api.auth import ANYBODY
from gateway.api.openai_models import ModelLists
from gateway.catalog.first_seen import FirstSeen
from gateway.settings.clients import Client
from gateway.state.sqlite import SqliteState
from gateway.state.store import StateStore
from gateway.words import FreeProof
from tests.clock import FakeClock
from tests.deployments import NOW, catalog, deployment

RULES = {
    "free": "",
    "groqs": 'providers = ["groq"]',
    "small": 'models = ["gpt-oss-20b"]',
    "private": "no_train = true",
    "none": 'models = ["no-such-model"]',
}


def declared(folder: Path) -> str:
    file = folder / "own.toml"
    file.write_text(
        "\n".join(
            f'[[client]]\nname = "{name}"\nkey_sha256 = "{sha256(name.encode()).hexdigest()}"\n{rule}'
            for name, rule in RULES.items()
        )
    )
    return str(file)


async def get(demo, path: str, name: str) -> Any:
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        answer = await client.get(path, headers={"authorization": f"Bearer {name}"})
        return answer.json() if answer.status_code == 200 else answer


async def names(demo, name: str) -> dict[str, set[str]]:
    """What the client *name* is told of, by each API."""
    openai = await get(demo, "/v1/models", name)
    ollama = await get(demo, "/api/tags", name)
    gemini = await get(demo, "/v1beta/models", name)
    return {
        "openai": {entry["id"] for entry in openai["data"]},
        "ollama": {row["name"] for row in ollama["models"]},
        "gemini": {row["name"].removeprefix("models/") for row in gemini["models"]},
    }


async def test_a_client_is_told_of_what_it_may_use_and_of_nothing_else(start, tmp_path):
    demo = await start(("groq", "google"), FREEWAY_CONFIG=declared(tmp_path))
    free, groqs, small, private, none = [await names(demo, name) for name in RULES]

    for api in ("openai", "ollama", "gemini"):
        assert {"gpt-oss-20b", "gpt-oss-120b", "gemini-2.5-flash"} <= free[api]
        assert "gpt-oss-20b" in groqs[api]
        assert "gemini-2.5-flash" not in groqs[api] | private[api]
        assert "gpt-oss-20b" in small[api]
        assert not {name for name in small[api] if "120b" in name or "gemini" in name}
        assert "gpt-oss-20b" in private[api]
        assert not {name for name in none[api] if name != "auto"}
        assert groqs[api] < free[api]


async def test_auto_can_what_those_can_that_the_client_may_use(start, tmp_path):
    demo = await start(("groq", "google"), FREEWAY_CONFIG=declared(tmp_path))
    of = {name: {entry["id"]: entry for entry in (await get(demo, "/v1/models", name))["data"]} for name in RULES}

    assert of["free"]["auto"]["providers"] == ["google", "groq"]
    assert of["groqs"]["auto"]["providers"] == ["groq"]
    small = of["small"]["gpt-oss-20b"]
    assert of["small"]["auto"]["context_length"] == small["context_length"]
    assert of["small"]["auto"]["features"] == small["features"]
    assert of["none"]["auto"]["reason"] == "no source serves it now"


async def test_what_a_client_may_not_use_is_not_found_by_name_either_and_the_reason_is_told(start, tmp_path):
    demo = await start(("groq", "google"), FREEWAY_CONFIG=declared(tmp_path))

    for path in ("/v1/models/gpt-oss-120b", "/v1/models/groq/openai/gpt-oss-120b"):
        assert (await get(demo, path, "free"))["providers"] == ["groq"]
        refused = await get(demo, path, "small")
        assert refused.status_code == 404
        assert "the client's key does not allow it" in refused.text
    assert (await get(demo, "/v1beta/models/gpt-oss-120b", "small")).status_code == 404
    assert (await get(demo, "/v1beta/models/gpt-oss-120b", "free"))["name"] == "models/gpt-oss-120b"


async def test_with_all_it_is_told_what_does_not_serve_and_why(start, tmp_path):
    demo = await start(("groq",), FREEWAY_CONFIG=declared(tmp_path))
    plain = {entry["id"] for entry in (await get(demo, "/v1/models", "small"))["data"]}
    whole = {entry["id"]: entry for entry in (await get(demo, "/v1/models?all=true", "small"))["data"]}

    left_out = whole["gpt-oss-120b"]
    assert "gpt-oss-120b" not in plain
    assert (left_out["lifecycle"], left_out["reason"]) == ("retired", "the client's key does not allow it")
    assert (whole["gpt-oss-20b"]["lifecycle"], whole["gpt-oss-20b"]["reason"]) == ("active", None)
    assert plain < whole.keys()


@pytest.fixture
async def state(tmp_path, clock: FakeClock):
    made = StateStore(SqliteState(tmp_path / "state.sqlite", clock), clock)
    yield made
    await made.aclose()


async def told(lists: ModelLists, name: str, client: Client = ANYBODY) -> Any:
    entry = await lists.of(client).entry(name)
    assert entry is not None
    return entry


async def test_created_is_the_release_where_it_is_known_and_else_since_when_it_is_seen_by_any_gateway(state, clock):
    released = replace(deployment("groq/a"), released="2026-05-21")
    by_month = replace(deployment("groq/b"), released="2026-05")
    made = catalog(released, by_month, deployment("groq/c"))
    began = int(clock.now())
    lists = ModelLists(made, clock, FirstSeen(state, clock))

    assert (await told(lists, "a")).created == 1_779_321_600
    assert (await told(lists, "a")).created_at == "2026-05-21T00:00:00+00:00"
    assert (await told(lists, "b")).created == 1_777_593_600
    assert (await told(lists, "c")).created == began
    assert (await told(lists, "auto:tools")).created in (0, began)

    clock.advance(86_400)
    await state.exchange()
    again = FirstSeen(state, clock)
    await state.exchange()
    state._call(state._watchers["models first seen"])  # as after a restart
    assert again.created(deployment("groq/c")) == began


async def test_a_model_that_was_withdrawn_or_is_in_no_list_any_more_is_left_out_with_its_reason(state, clock):
    expired = replace(deployment("groq/old"), proof=FreeProof("prices", "free", "", 0, NOW - 1))
    made = catalog(deployment("groq/a"), expired)
    made.swap("nvidia", [deployment("nvidia/gone")], NOW)
    made.swap("nvidia", [], NOW)
    lists = ModelLists(made, FakeClock(NOW), FirstSeen(state, clock)).of(ANYBODY)

    page, whole = await lists.page(), await lists.page(whole=True)

    assert b'"id":"a"' in page
    assert b'"id":"old"' not in page
    assert b'"id":"gone"' not in page
    assert b"its free proof has expired" in whole
    assert b"no source lists it any more" in whole
    assert (await lists.entry("gone")) is None


async def test_lists_are_kept_for_as_many_rules_as_are_bounded(state, clock):
    lists = ModelLists(catalog(deployment("groq/a")), FakeClock(NOW), FirstSeen(state, clock))
    for number in range(50):
        await lists.of(Client(name=f"c{number}", key_sha256="0" * 64, models=(f"m{number}",))).page()
    same = [lists.of(Client(name=name, key_sha256="0" * 64, models=("m1",))) for name in ("a", "b")]

    assert same[0] is same[1]
    assert len(lists._lists) == 16


@pytest.mark.parametrize("spelled", ["gpt-4o", "claude-sonnet-4-5", "gpt-5-made-up-tomorrow"])
async def test_every_name_that_chat_takes_by_an_alias_or_a_pattern_is_found(start, tmp_path, spelled):
    own = tmp_path / "own.toml"
    own.write_text(
        '[alias]\n"gpt-4o" = "gpt-oss-20b"\n[pattern]\n"gpt-5*" = "auto"\n"claude-*" = "groq/openai/gpt-oss-20b"\n'
    )
    demo = await start(("groq",), FREEWAY_CONFIG=str(own))
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as client:
        chat = {"model": spelled, "messages": [{"role": "user", "content": "hi"}]}
        assert (await client.post("/v1/chat/completions", json=chat)).status_code == 200
        found = await client.get(f"/v1/models/{spelled}")

    assert (found.status_code, found.json()["id"], found.json()["providers"]) == (200, spelled, ["groq"])
