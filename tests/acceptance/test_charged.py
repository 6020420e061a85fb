"""A charge that happens all the same shows everywhere at once, until a person lets the account in again."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx

from providers.simulator.world import World
from tests.acceptance.process import run, serving
from tests.acceptance.simulated import simulated

ASK = {"model": "auto", "messages": [{"role": "user", "content": "hi there"}]}

SOON = 15.0
"""Seconds within which it shows, on a machine with much to do."""


@contextmanager
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Where it listens, and what it is told."""
    told: list[dict[str, Any]] = []

    class Listening(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Listening)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/told", told
    finally:
        server.shutdown()
        server.server_close()


def soon(look: Callable[[], Any]) -> Any:
    """What *look* sees once it sees something, or sees at last."""
    until = time.monotonic() + SOON
    while not (found := look()) and time.monotonic() < until:
        time.sleep(0.05)
    return found


def ask(origin: str) -> httpx.Response:
    return httpx.post(f"{origin}/v1/chat/completions", json=ASK, timeout=20)


def seen_by(origin: str, log: Path, told: list[dict[str, Any]]) -> dict[str, Any]:
    """What each place shows of the running gateway at *origin*."""

    def metric(name: str) -> float:
        (value,) = re.findall(rf"^{re.escape(name)} (\S+)$", httpx.get(f"{origin}/metrics").text, re.MULTILINE)
        return float(value)

    return {
        "log": soon(lambda: [line for line in log.read_text().splitlines() if "charged" in line and "error" in line]),
        "page": soon(lambda: [one for one in overview(origin)["problems"] if "0.0021 dollars" in one]),
        "spent": soon(lambda: overview(origin)["spent"]),
        "metric": soon(lambda: metric("freeway_spent_dollars_total")),
        "alarms": soon(lambda: metric('freeway_withdrawn_total{alarm="true"}')),
        "webhook": soon(lambda: [one for one in told if one["kind"] == "charged"]),
        "source": httpx.get(f"{origin}/admin/v1/sources/openrouter").json(),
        "next": overview(origin)["next_step"],
    }


def overview(origin: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{origin}/admin/v1/overview").json()
    return found


def test_a_charge_is_told_everywhere_until_a_person_lets_the_account_in(tmp_path: Path):
    world = World(names=["openrouter"])
    with simulated(world) as simulated_at, webhook() as (address, told):
        (tmp_path / "own.toml").write_text(f'[catalog]\nwebhook = "{address}"\n[embedded]\nenabled = "off"\n')
        variables: dict[str, Any] = {**simulated_at, "FREEWAY_CONFIG": str(tmp_path / "own.toml"), "COLUMNS": "200"}
        well = run("check", home=tmp_path, **variables)
        with serving(tmp_path, **variables) as (origin, _, log):
            world.providers["openrouter"].fail("price_turned", times=9)
            assert ask(origin).status_code == 200
            refused = [ask(origin) for _ in range(3)]
            seen = seen_by(origin, log, told)
            running = run("check", home=tmp_path, FREEWAY_GATEWAY=origin, **variables)
        bad, proof = (run(command, home=tmp_path, **variables) for command in ("check", "proof"))
        changes = json.loads(run("changes", "--json", home=tmp_path, **variables).stdout)
        out = run("check", "openrouter", home=tmp_path, **variables).stdout
        lifted, again = (run("models", "--readmit", "openrouter", home=tmp_path, **variables) for _ in range(2))

    assert "Spent 0.000000 dollars" in well.stdout
    assert well.returncode == 0
    assert {(one.status_code, one.json()["error"]["code"]) for one in refused} == {(503, "no_source")}
    assert "cost 0.0021 dollars although it was proved to be free" in refused[0].text
    assert sum(call.method == "POST" for call in world.providers["openrouter"].calls) == 1

    assert all(seen.values()), seen
    assert (seen["spent"], seen["metric"]) == (0.0021, 0.0021)
    assert [one["name"] for one in seen["webhook"]] == ["openrouter"]
    assert seen["source"]["state"] == "shut"
    assert "--readmit openrouter" in seen["source"]["remedy"]
    assert "--readmit openrouter" in seen["next"]

    for found in (running, bad):
        assert found.returncode == 1
        assert "Spent 0.002100 dollars" in found.stdout
        assert "--readmit" in found.stdout
    assert proof.returncode == 1
    assert "0.002100 dollars" in proof.stdout
    assert [(row["kind"], row["name"]) for row in changes] == [("charged", "openrouter")]
    assert "OpenRouter (openrouter): shut" in out
    assert "0.0021 dollars although it was proved to be free" in out
    assert "openrouter may serve again" in lifted.stdout
    assert "'openrouter' is not out of service" in again.stderr
