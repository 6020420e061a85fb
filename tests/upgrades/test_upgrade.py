"""
What an earlier Freeway kept is what this one goes on with.

``state/`` has folders as earlier versions left them, after three requests to one model of Groq: ``f6e6577`` is of that commit,
``rebuilt-path`` of the first after the path of a request was rebuilt. A release adds its own.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import httpx
import pytest

from gateway.clock import WallClock
from gateway.quota.configured import buckets_of
from gateway.quota.sqlite import EmbeddedStore
from gateway.settings import load
from gateway.state.sqlite import SqliteState
from gateway.state.store import StateStore
from tests.acceptance.process import run, serving
from tests.acceptance.test_commands import others  # noqa: F401 - a fixture
from tests.conftest import CONFIG

STATES = sorted(path for path in (Path(__file__).parent / "state").iterdir() if path.is_dir())
MODEL = "openai/gpt-oss-20b"
WRITTEN = 1_795_820_100.0
"""Unix seconds, within a minute after those requests."""


@pytest.fixture(params=STATES, ids=lambda path: path.name)
def left(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of such a folder."""
    return Path(shutil.copytree(request.param, tmp_path / "freeway"))


async def test_what_was_used_is_still_used(left: Path, tmp_path: Path):
    spec = load(CONFIG, {"GROQ_API_KEY": "x"}, tmp_path).provider["groq"]
    (day,) = (bucket for bucket in buckets_of(spec, MODEL) if bucket.key == f"groq/{MODEL}/requests/day")
    store = EmbeddedStore(left / "ledger.sqlite")
    ((_, level),) = (await store.exchange([], [], [day], WRITTEN, lambda _: 0.0)).levels
    await store.aclose()

    assert level is not None
    assert 2.4 < level.used <= 3.0  # it refills by 1000 a day


async def test_what_was_learned_is_still_known(left: Path):
    told: list[object] = []
    store = StateStore(SqliteState(left / "memory.sqlite", WallClock(), told.append), WallClock(), told.append)
    heard: dict[str, dict[str, object]] = {}
    store.watch("lists", dict, heard.update)
    await store.exchange()
    (counters,) = await store.counters("")
    await store.aclose()

    assert {"google", "groq", "huggingface", "nvidia", "openrouter"} <= heard.keys()
    assert counters["2026-11|groq|gpt-oss-20b|requests"] == 3
    assert told == []


def test_a_gateway_starts_with_it_and_finds_nothing_that_it_cannot_read(left: Path, others, tmp_path: Path):  # noqa: F811
    _, variables = others
    with serving(tmp_path, FREEWAY_STATE_DIR=str(left), **variables) as (origin, _, log):
        health = httpx.get(f"{origin}/health", timeout=10).json()
        until = time.monotonic() + 10
        while health["status"] != "ok" and time.monotonic() < until:
            health = httpx.get(f"{origin}/health", timeout=10).json()
        said = log.read_text()
    assert health["status"] == "ok"
    assert health["unreadable_entries"] == 0
    assert not health["failing_loops"]
    assert "set aside" not in said
    assert not list(left.glob("*.damaged-*"))
    assert run("quota", "--json", home=tmp_path, FREEWAY_STATE_DIR=str(left), **variables).returncode == 0
