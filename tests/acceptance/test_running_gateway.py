"""The command line asks the gateway that runs, and says so; where none does, it says that, and looks at this machine's files."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from providers.simulator.world import World
from tests.acceptance.process import born, run, serving
from tests.clients.stage import simulated

ADMIN = "an-admin-key-of-many-letters"
ASK = {"model": "groq/openai/gpt-oss-20b", "messages": [{"role": "user", "content": "hi there"}]}
READING = [
    ["quota"], ["quota", "groq"], ["check"], ["check", "groq"], ["models"], ["models", "gpt-oss-20b"], ["changes"],
    ["explain", "hi", "there"], ["explain", "hi", "--numbers"], ["usage"], ["usage", "--by", "model"], ["clients", "list"],
]  # fmt: skip


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, dict[str, str]]]:
    """A gateway with an admin key that has served a request, in another home than that of the commands."""
    home = tmp_path_factory.mktemp("gateway")
    with (
        simulated(World(names=("groq", "openrouter"))) as variables,
        serving(home, born, FREEWAY_ADMIN_KEY=ADMIN, **variables) as (origin, _, _),
    ):
        assert httpx.post(f"{origin}/v1/chat/completions", json=ASK, timeout=20).status_code == 200
        yield origin, home, variables


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_the_gateway_that_runs_is_asked_and_named_in_the_first_line(gateway, arguments: list[str], tmp_path: Path):
    """Nothing of what is shown is known to the home of the command."""
    origin, _, _ = gateway
    shown = run(*arguments, home=tmp_path, FREEWAY_GATEWAY=origin, FREEWAY_ADMIN_KEY=ADMIN)
    as_flags = run(*arguments, "--gateway", f"{origin}/v1", "--key", ADMIN, home=tmp_path)

    assert shown.returncode == as_flags.returncode == 0, shown.stderr + as_flags.stderr
    for said in (shown, as_flags):
        assert said.stdout.splitlines()[0] == f"The gateway at {origin} says:"
        assert len(said.stdout.splitlines()) > 1
    assert not (tmp_path / ".local/share/freeway").exists()


@pytest.mark.parametrize("arguments", [each for each in READING if "--numbers" not in each], ids=" ".join)
def test_every_command_has_json_and_the_first_line_is_beside_it(gateway, arguments: list[str], tmp_path: Path):
    shown = run(*arguments, "--json", home=tmp_path, FREEWAY_GATEWAY=gateway[0], FREEWAY_ADMIN_KEY=ADMIN)

    assert shown.returncode == 0
    assert shown.stderr.startswith(f"The gateway at {gateway[0]} says:")
    assert json.loads(shown.stdout) is not None


def test_what_the_gateway_served_is_what_is_shown(gateway, tmp_path: Path):
    there: dict[str, Any] = {"home": tmp_path, "FREEWAY_GATEWAY": gateway[0], "FREEWAY_ADMIN_KEY": ADMIN}
    quota = json.loads(run("quota", "--json", **there).stdout)
    used = json.loads(run("usage", "--by", "model", "--json", **there).stdout)
    models = json.loads(run("models", "gpt-oss", "--json", **there).stdout)
    explained = json.loads(run("explain", "hi", "--model", "groq/openai/gpt-oss-20b", "--json", **there).stdout)

    assert any(level["used"] for level in quota["buckets"] if "gpt-oss-20b" in level["bucket"])
    assert [row["requests"] for row in used if row["name"] == "gpt-oss-20b"] == [1]
    assert {row["provider"] for row in models} >= {"groq"}
    assert explained["chosen"] == "groq/openai/gpt-oss-20b"


def test_check_asks_through_the_gateway(gateway, tmp_path: Path):
    there: dict[str, Any] = {"home": tmp_path, "FREEWAY_GATEWAY": gateway[0], "FREEWAY_ADMIN_KEY": ADMIN}
    shown = run("check", "--ask", "groq", COLUMNS="200", **there)

    assert shown.returncode == 0, shown.stdout
    assert "Each was asked: 'Say: yes'" in shown.stdout


def test_clients_are_made_changed_revoked_and_forgotten_at_the_gateway(tmp_path: Path):
    """In a gateway of its own: once there is a client, keys are needed."""
    with (
        simulated(World(names=("nvidia", "mistral"))) as variables,
        serving(tmp_path, born, FREEWAY_ADMIN_KEY=ADMIN, **variables) as (origin, _, _),
    ):
        home = tmp_path / "elsewhere"
        home.mkdir()
        there: dict[str, Any] = {"home": home, "FREEWAY_GATEWAY": origin, "FREEWAY_ADMIN_KEY": ADMIN}
        key = json.loads(run("clients", "add", "alice", "--limit", "20/minute", "--json", **there).stdout)["key"]
        hers = {"authorization": f"Bearer {key}"}
        taken = httpx.get(f"{origin}/v1/models", headers=hers).status_code
        limited = run("clients", "limit", "alice", "3/minute", **there).stdout
        vectors = [run("clients", "embeddings", "alice", one, **there).stdout for one in ("bge-m3", "mistral-embed")]
        listed = json.loads(run("clients", "list", "--json", **there).stdout)
        revoked = run("clients", "revoke", "alice", "--json", **there)
        refused = httpx.get(f"{origin}/v1/models", headers=hers).status_code
        forgotten = run("clients", "forget", **there).stdout
        opened = httpx.get(f"{origin}/v1/models").status_code

    assert (taken, refused, json.loads(revoked.stdout)) == (200, 401, {"revoked": "alice", "left": []})
    assert limited.startswith("alice: 3")
    assert ["built anew" in said for said in vectors] == [False, True]
    assert "An index that was made with bge-m3 has to be built anew" in vectors[1]
    assert ("Forgotten: alice." in forgotten, "without a key" in forgotten, opened) == (True, True, 200)
    assert [(row["name"], len(row["limits"])) for row in listed] == [("alice", 1)]


# ── where it cannot be asked ──


def test_a_gateway_that_was_named_and_does_not_answer_is_an_error(tmp_path: Path):
    for arguments in READING:
        shown = run(*arguments, home=tmp_path, FREEWAY_GATEWAY="http://127.0.0.1:9")

        assert shown.returncode == 3, shown.stdout
        assert shown.stdout == ""
        assert "freeway serve" in shown.stderr
    assert not (tmp_path / ".local/share/freeway").exists()


@pytest.mark.parametrize("arguments", [["quota"], ["models"], ["clients", "list"]], ids=" ".join)
def test_a_wrong_key_is_told_apart(gateway, arguments: list[str], tmp_path: Path):
    wrong = run(*arguments, home=tmp_path, FREEWAY_GATEWAY=gateway[0], FREEWAY_ADMIN_KEY="wrong-wrong-wrong-wrong")

    assert wrong.returncode == 4
    assert "wrong admin key" in wrong.stderr


def test_where_none_runs_the_files_are_looked_at_and_that_is_said(gateway, tmp_path: Path):
    _, _, variables = gateway
    for arguments in READING:
        shown = run(*arguments, home=tmp_path, PORT="9", **variables)

        assert shown.stdout.startswith("No gateway answers at http://127.0.0.1:9 (nothing listens there); "), arguments
        assert len(shown.stdout.splitlines()) > 1
    listed = run("models", home=tmp_path, PORT="9", **variables)
    assert listed.returncode == 0
    assert "gpt-oss-20b" in listed.stdout


def test_nothing_to_list_is_said_and_is_no_success(tmp_path: Path):
    for arguments in (["quota"], ["models"], ["explain", "hi"]):
        shown = run(*arguments, home=tmp_path, PORT="9")

        assert shown.returncode == 1, arguments
        assert len(shown.stdout.splitlines()) > 1


def test_another_server_at_the_address_is_none(tmp_path: Path):
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """It says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Other)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        shown = run("changes", home=tmp_path, PORT=str(server.server_port))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

    assert "is no Freeway with an admin API" in shown.stdout.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["quota", "grok"], "did you mean groq?"),
        (["check", "open-router"], "did you mean openrouter?"),
        (["connect", "opencod"], "did you mean opencode?"),
    ],
)
def test_a_name_that_is_not_known_is_told_with_the_nearest(gateway, arguments: list[str], meant: str, tmp_path: Path):
    shown = run(*arguments, home=tmp_path, FREEWAY_GATEWAY=gateway[0], FREEWAY_ADMIN_KEY=ADMIN)

    assert shown.returncode in (1, 2)
    assert meant in shown.stderr
