"""The command line, as people use it: the real program, its words, and its status."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.commands.demo import SIX
from providers.simulator.server import serve
from providers.simulator.world import World
from tests.acceptance.process import FREEWAY, environment, run, serving, typed
from tests.acceptance.simulated import simulated
from tests.conftest import ROOT

ASK = {"model": "auto", "messages": [{"role": "user", "content": "hi there"}]}


def written(log: Path, what: str, within: float = 5) -> str:
    """The log once *what* is in it, or after so many seconds: it is written beside the requests."""
    until = time.monotonic() + within
    while what not in (text := log.read_text()) and time.monotonic() < until:
        time.sleep(0.02)
    return text


@pytest.fixture(scope="module")
def others() -> Iterator[tuple[World, dict[str, str]]]:
    """The six simulated providers, served from a thread, and the variables that point a gateway at them."""
    world, ready, done = World(names=SIX), threading.Event(), asyncio.Event()
    origin, loop = "", asyncio.new_event_loop()

    async def keep() -> None:
        nonlocal origin
        async with serve(world) as origin:
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(keep()))
    thread.start()
    assert ready.wait(10)
    yield world, world.environment(origin)
    loop.call_soon_threadsafe(done.set)
    thread.join(10)
    loop.close()


# ── serve ──


def test_serve_answers_and_remembers(others, tmp_path: Path):
    """What was counted is still counted after kill -9, and the lists are known at once."""
    _, variables = others
    pinned = {**ASK, "model": "groq/openai/gpt-oss-20b"}
    with serving(tmp_path, **variables) as (origin, process, _):
        assert httpx.post(f"{origin}/v1/chat/completions", json=pinned, timeout=20).status_code == 200
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    levels = json.loads(run("quota", "--json", home=tmp_path, **variables).stdout)["buckets"]
    used = {level["bucket"]: level["used"] for level in levels if "gpt-oss-20b" in level["bucket"]}

    assert any(used.values())


def test_quota_tells_of_each_account_and_lifts_a_close(others, tmp_path: Path):
    world, variables = others
    world.providers["groq"].fail("rate_limited:day", model="qwen/qwen3.8-27b")
    pinned = {**ASK, "model": "groq/qwen/qwen3.8-27b"}
    bucket = "groq/qwen/qwen3.8-27b/requests/day"
    with serving(tmp_path, **variables) as (origin, _, _):
        asking: dict[str, Any] = {"json": pinned, "timeout": 20, "headers": {"x-freeway-max-wait": "0"}}
        while (asked := httpx.post(f"{origin}/v1/chat/completions", **asking)).status_code == 503:
            assert "just started" in asked.text
        assert asked.status_code == 429
        shut = next(row for row in _quota(tmp_path, variables) if row["bucket"] == bucket)
        lifted = next(row for row in _quota(tmp_path, variables, "--open", bucket) if row["bucket"] == bucket)
        shown = run("quota", home=tmp_path, COLUMNS="160", **variables).stdout
        detail = run("quota", "groq", home=tmp_path, COLUMNS="160", **variables).stdout

    assert shut["account"] == "groq"
    assert shut["used"] > 999  # a refilling bucket is full, and not closed: it opens when there is room for one again
    assert "on requests per day" in shut["said_by"]
    assert shut["limit"] == 1000
    assert lifted["closed_until"] is None
    assert "nswers without bound today" in shown.splitlines()[1]  # an Ollama is among them
    assert "groq/qwen/qwen3.8-27b" in shown
    assert "count corrected by a refusal" in detail


def _quota(home: Path, variables: dict[str, Any], *more: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run("quota", "--json", *more, home=home, **variables).stdout)["buckets"]
    return found


@pytest.mark.parametrize(
    ("variable", "value"), [("FREEWAY_REDIS_URL", "localhost"), ("FREEWAY_STATE_DIR", "/dev/null/state")]
)
@pytest.mark.parametrize("command", ["serve", "quota"])
def test_a_ledger_that_cannot_be_opened_stops_the_start_with_one_sentence(command, variable, value, tmp_path: Path):
    done = run(command, home=tmp_path, GROQ_API_KEY="a-key", PORT="0", **{variable: value})

    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {variable}: ")
    assert "Traceback" not in done.stderr


def test_a_bucket_that_is_not_there_is_told(tmp_path: Path):
    done = run("quota", "--open", "groq/nothing", home=tmp_path)

    assert done.returncode == 1
    assert "there is no bucket 'groq/nothing'" in done.stderr


def test_serve_greets_with_a_line_that_can_be_tried(others, tmp_path: Path):
    _, variables = others
    with serving(tmp_path, start=typed, **variables) as (origin, _, log):
        said = log.read_text()

    assert f"curl -s {origin}/v1/chat/completions" in said
    assert "Groq" in said
    assert not [key for key in World(names=SIX).keys().values() if key in said]


def test_serve_that_is_told_to_stop_finishes_what_has_begun_and_says_so_to_all_others(others, tmp_path: Path):
    world, variables = others
    world.providers["groq"].pace = 0.2
    own = tmp_path / "own.toml"
    own.write_text('[[provider.nvidia.quota]]\nscope = "account"\nlimit = "1/minute"\nsource = "a test"\n')
    url, patient = "/v1/chat/completions", {"x-freeway-max-wait": "3600"}
    with (
        serving(tmp_path, FREEWAY_CONFIG=str(own), **variables) as (origin, process, log),
        ThreadPoolExecutor() as threads,
    ):
        full = {**ASK, "provider": {"only": ["nvidia"]}}
        assert httpx.post(origin + url, json=full, timeout=20).status_code == 200
        waiting = threads.submit(httpx.post, origin + url, json=full, headers=patient, timeout=30)
        _until(lambda: "freeway_waiting 1.0" in httpx.get(f"{origin}/metrics").text)
        body = {**ASK, "model": "groq/openai/gpt-oss-20b", "stream": True}
        with httpx.stream("POST", origin + url, json=body, timeout=20) as response:
            lines = response.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            _until(lambda: httpx.get(f"{origin}/health/readiness").status_code == 503)
            late, alive = httpx.post(origin + url, json=ASK), httpx.get(f"{origin}/health/liveness")
            said = list(lines)
        world.providers["groq"].pace = 0.0
        status = process.wait(10)
        logged = log.read_text()
    in_flight = [level for level in _quota(tmp_path, variables) if level["unit"] == "in-flight"]

    assert "data: [DONE]" in said
    assert status == 0
    for told in (late, waiting.result()):
        assert (told.status_code, told.json()["error"]["code"]) == (503, "shutting_down")
        assert told.headers["retry-after"] == "1"
        assert told.headers["connection"] == "close"
    assert alive.status_code == 200
    assert '"outcome":"shutting_down"' in logged
    assert in_flight
    assert not [level for level in in_flight if level["used"]]


def test_health_asks_the_gateway_that_the_environment_names(others, tmp_path: Path):
    _, variables = others
    with serving(tmp_path, **variables) as (origin, _, _):
        port = origin.rpartition(":")[2]
        alive = run("health", home=tmp_path, PORT=port)
        everywhere = run("health", home=tmp_path, PORT=port, HOST="0.0.0.0")
        named = run("health", home=tmp_path, PORT="9", FREEWAY_GATEWAY=f"{origin}/v1")
        answered = run("chat", "hi", home=tmp_path, PORT="9", FREEWAY_GATEWAY=f"{origin}/v1")
        ready = run("health", "--ready", home=tmp_path, PORT=port)
    dead = run("health", home=tmp_path, PORT=port)

    assert (named.returncode, answered.returncode) == (0, 0), answered.stderr
    assert (alive.returncode, everywhere.returncode, ready.returncode, dead.returncode) == (0, 0, 0, 1)
    assert dead.stderr.startswith(f"Error: no gateway answers on 127.0.0.1:{port}: ")


def test_health_loads_nothing_heavy():
    """It runs every few seconds in every container."""
    code = "import sys, gateway.commands.health; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout

    assert not {"asyncio", "litestar", "gateway.settings", "limits", "httpx", "ssl"} & set(loaded.split())


def test_an_answer_that_outlasts_the_drain_is_not_passed_off_as_finished(others, tmp_path: Path):
    world, variables = others
    world.providers["groq"].pace = 0.3
    own = tmp_path / "own.toml"
    own.write_text("[server]\ndrain = 0.1\n")
    body = {**ASK, "model": "groq/openai/gpt-oss-20b", "stream": True}
    with (
        serving(tmp_path, FREEWAY_CONFIG=str(own), **variables) as (origin, process, _),
        httpx.stream("POST", f"{origin}/v1/chat/completions", json=body, timeout=20) as response,
    ):
        lines = response.iter_lines()
        next(lines)
        process.send_signal(signal.SIGTERM)
        said = list(lines)
        status = process.wait(10)
    world.providers["groq"].pace = 0.0

    assert status == 0
    assert "data: [DONE]" not in said
    assert '"code":"shutting_down"' in [line for line in said if line][-1]


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("[server]\nport = 'a'\n", "server.port"),
        ("[server]\nprot = 8000\n", "prot"),
        ("[provider.groq]\nbase_url = 7\n", "provider.groq.base_url"),
        ("[provider.acme]\ntitle = 'Acme'\n", "base_url"),
        ("[[provider.groq.quota]]\nlimit = 'many'\n", "many"),
        ("[provider.groq]\ndialect = 'klingon'\n", "klingon"),
        ("not toml", "TOML"),
    ],
)
def test_a_broken_file_stops_the_start_and_is_named(tmp_path: Path, file: str, names: str):
    own = tmp_path / "own.toml"
    own.write_text(file)

    started = run("serve", home=tmp_path, FREEWAY_CONFIG=str(own))

    assert started.returncode == 1
    assert str(own) in started.stderr
    assert names in started.stderr
    assert "Traceback" not in started.stderr


def test_an_open_door_to_others_is_refused(others, tmp_path: Path):
    started = run("serve", home=tmp_path, HOST="0.0.0.0", **others[1])

    assert started.returncode == 1
    assert "FREEWAY_API_KEY" in started.stderr


def test_a_port_in_use_is_told(others, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        started = run("serve", home=tmp_path, PORT=str(taken.getsockname()[1]), **others[1])

    assert started.returncode == 1
    assert "cannot listen" in started.stderr


def test_a_bad_key_stops_the_start_without_being_shown(tmp_path: Path):
    started = run("serve", home=tmp_path, GROQ_API_KEY="gsk_with a blank")

    assert started.returncode == 1
    assert "GROQ_API_KEY" in started.stderr
    assert "with a blank" not in started.stderr


# ── the others ──


def test_check_tells_what_is_there_and_fails_for_a_key_that_is_refused(others, tmp_path: Path):
    _, variables = others
    good = run("check", home=tmp_path, COLUMNS="200", **variables)
    bad = run("check", home=tmp_path, COLUMNS="200", **{**variables, "GROQ_API_KEY": "gsk_wrong"})

    assert good.returncode == 0, good.stdout + good.stderr
    assert "OpenRouter" in good.stdout
    assert "Nothing to do" in good.stdout.splitlines()[-1]
    assert bad.returncode == 1
    assert "key refused" in bad.stdout
    assert bad.stdout.splitlines()[-1].startswith("Next: Groq: set another key: ")
    assert "gsk_wrong" not in bad.stdout + bad.stderr


def test_check_can_ask_each_for_a_word(others, tmp_path: Path):
    world, variables = others
    world.providers["groq"].fail("busy", times=20)  # all that the gateway tries

    asked = run("check", "--ask", home=tmp_path, COLUMNS="200", **variables)
    world.providers["groq"].faults.clear()

    assert asked.returncode == 1
    assert "Each was asked: 'Say: yes'" in asked.stdout
    assert re.search(r"groq: no answer in [\d.]+ m?s: .*is overloaded", asked.stdout.replace("\n    ", " "))
    assert re.search(r"openrouter: '.*' from \S+ in [\d.]+ s", asked.stdout)
    assert not any(other.charged for other in world.providers.values())


def test_models_lists_what_is_free(others, tmp_path: Path):
    rows = json.loads(run("models", "--json", home=tmp_path, **others[1]).stdout)
    ids = {row["model"] for row in rows}

    assert any("laguna" in name for name in ids)
    assert not any("gpt-9" in name for name in ids)
    assert "laguna" in run("models", home=tmp_path, COLUMNS="200", **others[1]).stdout


def test_chat_asks_a_running_gateway(others, tmp_path: Path):
    with serving(tmp_path, **others[1]) as (origin, _, _):
        port = origin.rpartition(":")[2]
        asked = run("chat", "--model", "groq/openai/gpt-oss-20b", "hi", "there", home=tmp_path, PORT=port)
        unknown = run("chat", "--model", "gpt-9", "hi", home=tmp_path, PORT=port)

    assert "You said: hi there" in asked.stdout
    assert "gpt-oss-20b" in asked.stdout
    assert unknown.returncode == 1
    assert "gpt-9" in unknown.stderr


def test_chat_without_a_gateway_says_what_to_start(tmp_path: Path):
    asked = run("chat", "hi", home=tmp_path, PORT="9")

    assert asked.returncode == 3
    assert "freeway serve" in asked.stderr


def key_in(said: str) -> str:
    return next(line.strip() for line in said.splitlines() if line.strip().startswith("fw-"))


def test_a_key_that_is_made_is_taken_by_the_gateway_that_runs_until_it_is_revoked(others, tmp_path: Path):
    key = key_in(
        run("clients", "add", "alice", "--limit", "20/minute", "--expires", "2099-06-30", home=tmp_path).stdout
    )
    with serving(tmp_path, **others[1]) as (origin, _, log):
        hers = {"authorization": f"Bearer {key}"}
        without = httpx.get(f"{origin}/v1/models")
        with_it = httpx.post(f"{origin}/v1/chat/completions", json=ASK, headers=hers, timeout=20)
        listed = run("clients", "list", home=tmp_path).stdout
        other = key_in(run("clients", "rotate", "alice", home=tmp_path).stdout)
        theirs = {"authorization": f"Bearer {other}"}
        await_status(401, f"{origin}/v1/models", hers)
        rotated = httpx.get(f"{origin}/v1/models", headers=theirs)
        assert run("clients", "revoke", "alice", home=tmp_path).returncode == 0
        await_status(401, f"{origin}/v1/models", theirs)
        revoked = httpx.get(f"{origin}/v1/models", headers=theirs).json()["error"]["message"]
        nobody = httpx.get(f"{origin}/v1/models")
    said = log.read_text()
    used = run("usage", "--by", "client", home=tmp_path).stdout.splitlines()

    assert used[0].startswith("No gateway answers at ")
    assert used[1].split()[:3] == ["client", "requests", "failed"]
    assert used[2].split()[:3] == ["alice", "1", "0"]
    assert (without.status_code, with_it.status_code, rotated.status_code, nobody.status_code) == (401, 200, 200, 401)
    assert listed.splitlines()[2].startswith("alice ")
    assert "20/minute; until 2099-07-01 00:00 UTC" in listed or "20 per 1 minute; until 2099-07-01 00:00 UTC" in listed
    assert "'alice' was revoked" in revoked
    assert '"client":"alice"' in said
    for secret in (key, other):
        assert secret not in said
        assert not [file for file in tmp_path.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()]


def await_status(status: int, url: str, headers: dict[str, str]) -> None:
    """Until the gateway has heard of what was changed beside it."""
    until = time.monotonic() + 20
    while httpx.get(url, headers=headers).status_code != status:
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["add", "default"], "'default' is no name for a client"),
        (["add", "a/b"], "'a/b' is no name for a client"),
        (["add", "bob", "--limit", "20/fortnight"], "limit '20/fortnight': expected e.g. '20/minute'"),
        (["add", "bob", "--limit", "2/day", "--limit", "3/day"], "limit '3/day': there is another for the same day"),
        (["add", "bob", "--wait", "60", "--max-wait", "30"], "wait: 60 s are more than max_wait, which is 30 s"),
        (["limit", "bob", "3/minute"], "no client 'bob' is kept here"),
        (["revoke", "bob"], "no client 'bob' is kept here"),
    ],
)
def test_what_is_wrong_about_a_client_is_told_in_one_sentence(arguments, told, tmp_path: Path):
    done = run("clients", *arguments, home=tmp_path)

    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_demo_shows_who_served_what_and_that_it_cost_nothing(tmp_path: Path):
    shown = run("demo", "--calls", "120", home=tmp_path, timeout=120, start=typed, COLUMNS="120")

    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "Cost: 0.000000 dollars" in shown.stdout
    assert "Answers: 120 x 200" in shown.stdout
    assert "Refusals avoided" in shown.stdout
    assert "390 without counting, 0 through freeway" in shown.stdout
    assert "Now with your key" in shown.stdout


def test_demo_can_stay_with_its_page_to_look_at(tmp_path: Path):
    out, err = tmp_path / "out", tmp_path / "err"
    process = typed("demo", "--calls", "5", "--stay", home=tmp_path, out=out, err=err, COLUMNS="60")
    try:
        said = written(out, "(until Ctrl-C)", within=90)
        address = re.findall(r"gateway: (http://127\.0\.0\.1:\d+/)", said)[0]
        page = httpx.get(address, headers={"accept": "text/html"}, timeout=20)
        seen = httpx.get(f"{address}admin/v1/requests?limit=50", timeout=20).json()
        process.send_signal(signal.SIGTERM)  # as a container is stopped
        status = process.wait(timeout=30)
    finally:
        process.kill()

    assert "<title>Freeway</title>" in page.text
    assert len(seen) >= 5
    assert status == 0


@pytest.mark.parametrize(
    "command",
    [
        "",
        "serve",
        "demo",
        "check",
        "models",
        "changes",
        "explain",
        "connect",
        "proof",
        "quota",
        "chat",
        "clients",
        "usage",
    ],
)
def test_help_is_there(command: str, tmp_path: Path):
    shown = run(*[command] if command else [], "--help", home=tmp_path, start=typed)

    assert shown.returncode == 0
    assert len(shown.stdout.splitlines()) > 4


def test_nothing_at_all_says_what_to_set(tmp_path: Path):
    own = tmp_path / "own.toml"
    own.write_text("[embedded]\nenabled = 'off'\n")
    with serving(tmp_path, FREEWAY_CONFIG=str(own)) as (origin, _, _):
        asked = httpx.post(f"{origin}/v1/chat/completions", json=ASK, timeout=20)
        ready = httpx.get(f"{origin}/health/readiness")

    assert asked.status_code == 503
    assert "freeway check" in asked.json()["error"]["message"]
    assert ready.status_code == 503


# ── what costs, what changed ──


def test_check_tries_a_file_of_ones_own_and_says_what_it_does_not_know(others, tmp_path: Path):
    _, variables = others
    file = tmp_path / "acme.toml"
    file.write_text(
        f'title = "Acme"\nbase_url = "{variables["GROQ_BASE_URL"]}"\nkey_env = "GROQ_API_KEY"\ndocs = "none"\n'
        '[free]\nkind = "plan"\nbecause = "it is said to be"\nfaith = "all of it"\n'
    )
    found = run("check", str(file), home=tmp_path, COLUMNS="200", **variables)
    file.write_text(file.read_text().replace("docs =", "dcos ="))
    odd = run("check", str(file), home=tmp_path, COLUMNS="200", **variables)

    assert found.returncode == 0, found.stdout + found.stderr
    assert "Acme" in found.stdout
    assert "OpenRouter" not in found.stdout
    assert "promised" in found.stdout
    assert odd.returncode == 1
    assert "acme.toml:4: provider.acme.dcos: unknown key `dcos` — did you mean `docs`?" in odd.stderr


# ── receipts ──


def test_proof_verifies_what_left_and_finds_what_was_changed(tmp_path: Path):
    world, home = World(names=["groq", "openrouter"]), tmp_path / "home"
    home.mkdir()
    folder = home / ".local" / "share" / "freeway" / "receipts"
    with simulated(world) as variables:
        assert "No call has left." in run("proof", home=home, **variables).stdout
        with serving(home, **variables) as (origin, _, _):
            asked = [httpx.post(f"{origin}/v1/chat/completions", json=ASK, timeout=20) for _ in range(3)]
        good = run("proof", home=home, **variables)
        told = json.loads(run("proof", "--json", home=home, **variables).stdout)
        shown = run("proof", "show", asked[0].headers["x-request-id"], home=home, **variables)
        nothing = run("proof", "show", "req_nobody", home=home, **variables)
        (file,) = folder.glob("*-*.jsonl")
        file.write_bytes(file.read_bytes().replace(b'"came":"answered"', b'"came":"refused!"', 1))
        bad = run("proof", home=home, **variables)
        file.unlink()
        gone = run("proof", home=home, **variables)

    assert [answer.status_code for answer in asked] == [200, 200, 200]
    assert good.returncode == 0, good.stdout + good.stderr
    assert re.fullmatch(r"20\d\d-\d\d-\d\d: 3 calls, \d sources?, 0.000000 dollars, chain unbroken\n", good.stdout)
    assert (told["whole"], told["spent"], told["runs"][0]["count"]) == (True, 0.0, 3)
    assert shown.returncode == 0
    assert "It was free because" in shown.stdout
    assert nothing.returncode == 1
    assert bad.returncode == 1
    assert "chain BROKEN" in bad.stdout
    assert gone.returncode == 1
    assert "its 3 receipts are missing" in gone.stdout


def test_after_a_kill_proof_says_what_left_without_a_receipt(tmp_path: Path):
    world = World(names=["groq"])
    with simulated(world) as variables:
        with serving(tmp_path, **variables) as (origin, process, _):
            httpx.post(f"{origin}/v1/chat/completions", json=ASK, timeout=20)
            process.kill()
            process.wait(20)
        found = run("proof", home=tmp_path, **variables)
        with serving(tmp_path, **variables) as (origin, _, _):
            httpx.post(f"{origin}/v1/chat/completions", json=ASK, timeout=20)
        again = json.loads(run("proof", "--json", home=tmp_path, **variables).stdout)

    assert found.returncode == 0, found.stdout + found.stderr
    assert "no receipt" in found.stdout or "its process was killed" in found.stdout
    assert again["whole"]
    assert len(again["runs"]) == 2


# ── config ──


def test_config_check_tells_all_mistakes_and_config_show_where_each_value_is_from(tmp_path: Path):
    folder = tmp_path / ".config" / "freeway"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('[server]\nprot = 1\n[requests]\nhedge = "of"\n')
    checked, asked = run("config", "check", home=tmp_path), run("config", "check", "--json", home=tmp_path)
    served = run("serve", home=tmp_path)
    (folder / "config.toml").write_text("[requests]\nmax_wait = 5.0\n")
    (folder / "keys.env").write_text("GROQ_API_KEY=gsk_secret\n")
    shown, well = run("config", "show", "--json", home=tmp_path, PORT="0"), run("config", "check", home=tmp_path)

    assert (checked.returncode, asked.returncode, served.returncode, well.returncode) == (1, 1, 1, 0)
    assert [line.partition(": ")[0][-13:] for line in checked.stdout.splitlines()] == ["config.toml:2", "config.toml:4"]
    assert [one["remedy"] for one in json.loads(asked.stdout)["mistakes"]] == [
        "did you mean `port`?",
        "did you mean `off`?",
    ]
    assert "2 mistakes" in served.stderr
    rows = {row["key"]: (row["value"], row["source"]) for row in json.loads(shown.stdout)}
    assert rows["requests.max_wait"] == ("5.0", "config.toml:2")
    assert rows["GROQ_API_KEY"] == ('"***"', "keys.env:1")
    assert rows["server.port"] == ("0", "environment")


def test_a_start_without_any_key_stays_up_and_takes_one_up_on_sighup(others, tmp_path: Path):
    """Live at once, not ready, and saying what to do; the key is set while it runs, as is a mistake, which changes nothing."""
    world, variables = others
    keys = world.keys()
    folder = tmp_path / ".config" / "freeway"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('[embedded]\nenabled = "off"\n')
    nowhere = {name: value for name, value in variables.items() if value not in keys.values() and name != "OLLAMA_HOST"}
    with serving(tmp_path, OLLAMA_HOST="127.0.0.1:9", **nowhere) as (origin, process, log):
        ready = httpx.get(f"{origin}/health/readiness")
        assert ready.status_code == 503
        assert httpx.get(f"{origin}/health/liveness").status_code == 200
        assert "freeway setup" in written(log, "has no source yet")

        (folder / "keys.env").write_text(f"GROQ_API_KEY={keys['groq']}\n")
        process.send_signal(signal.SIGHUP)
        _until(lambda: httpx.get(f"{origin}/health/readiness").status_code == 200)
        assert httpx.post(f"{origin}/v1/chat/completions", json=ASK, timeout=20).status_code == 200
        (folder / "config.toml").write_text("[server]\nprot = 1\n")
        assert "server.prot" in written(log, "server.prot")
        assert httpx.post(f"{origin}/v1/chat/completions", json=ASK, timeout=20).status_code == 200
        assert keys["groq"] not in log.read_text()


# ── setup ──


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_setup_on_a_terminal_tries_the_pasted_key_and_stores_the_right_one(others, tmp_path: Path):
    world, variables = others
    keys = world.keys()
    nowhere = {name: value for name, value in variables.items() if value not in keys.values()}
    outside, inside = os.openpty()
    process = subprocess.Popen(
        [FREEWAY, "setup", "groq"],
        env=environment(tmp_path, **nowhere),
        cwd=tmp_path,
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
    )
    os.close(inside)
    shown, answers = "", [f"gsk_{'wrong'}\n", f"{keys['groq']}\n"]
    with suppress(OSError):  # the other side has gone
        while piece := os.read(outside, 4096):
            shown += piece.decode(errors="replace")
            if answers and shown.count("GROQ_API_KEY") > 2 - len(answers) and shown.rstrip().endswith(":"):
                os.write(outside, answers.pop(0).encode())
    os.close(outside)
    stored = tmp_path / ".config" / "freeway" / "keys.env"

    assert process.wait(30) == 0, shown
    assert "Invalid API Key" in shown
    assert "Next: freeway serve" in shown
    assert keys["groq"] not in shown
    assert stored.read_text() == f"GROQ_API_KEY={keys['groq']}\n"
    assert stored.stat().st_mode & 0o777 == 0o600


def test_setup_without_a_terminal_says_what_to_set(tmp_path: Path):
    done = run("setup", home=tmp_path)

    assert done.returncode == 0
    assert "GROQ_API_KEY" in done.stdout
    assert not (tmp_path / ".config").exists()
