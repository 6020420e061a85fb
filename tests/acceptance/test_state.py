"""``freeway state``: what the gateway keeps can be copied while it runs, put back, and moved to another store and back."""

from __future__ import annotations

import json
import sqlite3
import threading
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import containers
from tests.acceptance.process import run, serving
from tests.acceptance.test_commands import others  # noqa: F401 - a fixture

PINNED = {"model": "groq/openai/gpt-oss-20b", "messages": [{"role": "user", "content": "hi there"}]}
DAY = "groq/openai/gpt-oss-20b/requests/day"
OTHER = {**PINNED, "model": "groq/openai/gpt-oss-120b"}  # whose limits of a minute no other test here has used
OTHER_DAY = "groq/openai/gpt-oss-120b/requests/day"


def state_of(home: Path) -> Path:
    return home / ".local" / "share" / "freeway"


def used(home: Path, **variables: Any) -> dict[str, float]:
    """The requests that are used of each long window, as the command line tells it: tokens refill while one looks."""
    told = run("quota", "--json", "--all", home=home, **variables)
    assert told.stdout, told.stderr
    views: list[dict[str, Any]] = json.loads(told.stdout)["buckets"]
    return {
        view["bucket"]: round(view["used"])
        for view in views
        if view["unit"] == "requests" and view["window"] in ("day", "month")
    }


def asked(home: Path, times: int, **variables: Any) -> None:
    """A gateway there answers so many requests, and ends."""
    with serving(home, **variables) as (origin, _, _):
        for _ in range(times):
            assert httpx.post(f"{origin}/v1/chat/completions", json=OTHER, timeout=20).status_code == 200


def test_a_backup_of_a_running_gateway_is_whole_and_goes_back(others, tmp_path: Path):  # noqa: F811
    _, variables = others
    file, there, elsewhere = tmp_path / "copy.zip", tmp_path / "there", tmp_path / "elsewhere"
    there.mkdir()
    elsewhere.mkdir()
    with serving(there, **variables) as (origin, _, _):
        over = threading.Event()

        def ask() -> None:
            while not over.is_set():
                httpx.post(f"{origin}/v1/chat/completions", json=PINNED, timeout=20)

        assert httpx.post(f"{origin}/v1/chat/completions", json=PINNED, timeout=20).status_code == 200
        asking = threading.Thread(target=ask)
        asking.start()
        made = run("state", "backup", str(file), home=there, **variables)
        refused = run("state", "restore", str(file), "--replace", home=there, **variables)
        over.set()
        asking.join(30)
    assert made.returncode == 0, made.stderr
    assert file.stat().st_mode & 0o077 == 0
    assert "stop it first" in refused.stderr
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path / "looked-at")
    for name in ("ledger.sqlite", "memory.sqlite"):
        with closing(sqlite3.connect(tmp_path / "looked-at" / name)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)

    restored = run("state", "restore", str(file), home=elsewhere, **variables)

    assert restored.returncode == 0, restored.stderr
    assert 1 <= used(elsewhere, **variables)[DAY] <= used(there, **variables)[DAY]
    assert run("proof", home=elsewhere, **variables).stdout
    again = run("state", "restore", str(file), home=there, **variables)
    assert again.returncode == 1
    assert "--replace" in again.stderr
    assert run("state", "restore", str(file), "--replace", home=there, **variables).returncode == 0
    (kept,) = state_of(there).glob("replaced-*")
    assert (kept / "ledger.sqlite").exists()
    assert used(there, **variables)[DAY] == used(elsewhere, **variables)[DAY]


def test_what_is_no_backup_is_told_and_nothing_is_touched(tmp_path: Path):
    (tmp_path / "file").write_text("no archive")
    told = run("state", "restore", str(tmp_path / "file"), home=tmp_path)
    assert told.returncode == 1
    assert "is no backup" in told.stderr
    assert not state_of(tmp_path).exists()


@pytest.mark.engine
def test_ledger_and_knowledge_go_to_redis_once_and_come_back(others, tmp_path: Path):  # noqa: F811
    """Moved twice they are there once; what was used in Redis meanwhile comes back with them; a backup of Redis has all."""
    _, variables = others
    home, back = tmp_path / "home", tmp_path / "back"
    home.mkdir()
    back.mkdir()
    asked(home, 3, **variables)
    before = used(home, **variables)
    with containers.redis() as server:
        assert isinstance(server, containers.Local)
        shared = {**variables, "FREEWAY_REDIS_URL": server.url}
        for _ in range(2):
            moved = run("state", "migrate", "sqlite", "redis", home=home, **shared)
            assert moved.returncode == 0, moved.stderr
            assert used(home, **shared) == before
        assert "nothing is to do" in moved.stdout
        asked(home, 2, **shared)
        after = used(home, **shared)
        copied = run("state", "backup", str(tmp_path / "copy.zip"), home=home, **shared)
        returned = run("state", "migrate", "redis", "sqlite", home=home, **shared)
        assert copied.returncode == returned.returncode == 0, copied.stderr + returned.stderr
        assert after[OTHER_DAY] == before[OTHER_DAY] + 2
        assert used(home, **variables) == after
        asked(home, 1, **variables)
        server.cli(
            "eval", "for _, key in ipairs(redis.call('KEYS', '*:restored')) do redis.call('DEL', key) end", 0
        )  # an hour
        again = run("state", "migrate", "sqlite", "redis", home=home, **shared)
        assert "levels" in again.stdout, again.stderr
        assert used(home, **shared)[OTHER_DAY] == after[OTHER_DAY] + 1
        server.cli("flushall")  # it has none of it any more, whatever was noted
        assert "levels" in run("state", "migrate", "sqlite", "redis", home=home, **shared).stdout
        assert used(home, **shared)[OTHER_DAY] == after[OTHER_DAY] + 1
    assert run("state", "restore", str(tmp_path / "copy.zip"), home=back, **variables).returncode == 0
    assert used(back, **variables) == after


def test_without_a_redis_there_is_nowhere_to_go(tmp_path: Path):
    told = run("state", "migrate", "sqlite", "redis", home=tmp_path)
    assert told.returncode == 1
    assert "set FREEWAY_REDIS_URL" in told.stderr
