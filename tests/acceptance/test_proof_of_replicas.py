"""Three gateways on one Redis, one of them killed in the midst of its work: ``freeway proof`` tells exactly what is missing."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from tests import containers
from tests.acceptance.process import run, serving
from tests.acceptance.test_killed import ASK, OWN, PATIENCE, Answers

AT_ONCE, ENOUGH, TAKES = 4, 40, 0.05
"""Callers of each gateway, answers of each before one is killed, and seconds of an answer."""

KEY = "sk-importer"
CLIENT = f"""
[[client]]
name = "importer"
key_sha256 = "{sha256(KEY.encode()).hexdigest()}"
limits = ["100000/day"]
"""


class SlowAnswers(Answers):
    """Calls are under way for a while; they are counted by the gateway that they come from."""

    came: ClassVar[Counter[str]] = Counter()

    def do_POST(self) -> None:  # noqa: N802 - a name of http.server's
        self.came[self.path.split("/")[1]] += 1
        time.sleep(TAKES)
        super().do_POST()


class Quiet(ThreadingHTTPServer):
    daemon_threads = True
    asked = 0
    lock = threading.Lock()

    def handle_error(self, request: object, client_address: object) -> None: ...


@contextmanager
def provider() -> Iterator[str]:
    SlowAnswers.came.clear()
    server = Quiet(("127.0.0.1", 0), SlowAnswers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _ask(origin: str, until: threading.Event, answered: list[int]) -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=origin, timeout=PATIENCE, headers=headers) as client, suppress(httpx.TransportError):
        while not until.is_set():
            answered.append(client.post("/v1/chat/completions", json=ASK).status_code)


def _told(folder: Path, variables: dict[str, Any]) -> dict[str, Any]:
    """What ``freeway proof --json`` says in *folder*; with the status that it leaves with."""
    found = run("proof", "--json", home=folder, **variables)
    return {**json.loads(found.stdout), "status": found.returncode}


def _own(told: dict[str, Any]) -> dict[str, Any]:
    (found,) = (one for one in told["runs"] if "kept by another gateway" not in one["notes"])
    return dict(found)


@pytest.mark.engine
def test_of_three_replicas_one_that_is_killed_leaves_no_more_than_a_second_and_all_say_so(tmp_path: Path):
    folders = {name: tmp_path / name for name in ("one", "two", "three")}
    with provider() as origin, containers.redis() as redis:
        variables: dict[str, dict[str, Any]] = {}
        for name, folder in folders.items():
            folder.mkdir()
            (folder / "own.toml").write_text(OWN.format(origin=f"{origin}/{name}", limit=1_000_000) + CLIENT)
            variables[name] = {"FREEWAY_CONFIG": str(folder / "own.toml"), "FREEWAY_STATE_DIR": str(folder / "state")}
            variables[name]["FREEWAY_REDIS_URL"] = redis.url
        answered = _killed_at_work(folders, variables)
        told = {name: _told(folder, variables[name]) for name, folder in folders.items()}
        _cut(folders["two"])
        cut = _told(folders["two"], variables["two"])
    came, killed = SlowAnswers.came, _own(told["two"])

    assert all(one["whole"] and one["status"] == 0 for one in told.values())
    for name in ("one", "three"):
        own = _own(told[name])
        assert (own["count"], own["without_receipt"], own["closed"]) == (came[name], 0, True), own
        assert own["debited"] == came[name]
        assert answered[name].count(200) == len(answered[name]) >= ENOUGH

    without = killed["without_receipt"]
    assert came["two"] - killed["count"] <= without <= came["two"] - killed["count"] + AT_ONCE
    assert killed["count"] + without == killed["debited"]
    assert without >= 1  # AT_ONCE were under way
    assert "its process was killed" in killed["notes"]
    for name in ("one", "three"):  # they know it without its files, by what it said a moment before
        (seen,) = (one for one in told[name]["runs"] if one["run"] == killed["run"])
        assert seen["debited"] == killed["debited"]
        assert seen["without_receipt"] >= without
        assert any("debited, no receipt" in note for note in seen["notes"])

    found = _own(cut)
    assert found["problem"] or found["without_receipt"] > without


def _killed_at_work(folders: dict[str, Path], variables: dict[str, dict[str, Any]]) -> dict[str, list[int]]:
    """Let all work until each has answered enough, and kill the second of them; then the statuses of what each answered."""
    answered: dict[str, list[int]] = {name: [] for name in folders}
    over = threading.Event()
    with ExitStack() as stack:
        callers = stack.enter_context(ThreadPoolExecutor(3 * AT_ONCE))
        served = {name: stack.enter_context(serving(folders[name], **variables[name])) for name in folders}
        asking = [
            callers.submit(_ask, served[name][0], over, answered[name]) for name in folders for _ in range(AT_ONCE)
        ]
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and (
            min(map(len, answered.values())) < ENOUGH or _batches(folders["two"]) < 2
        ):
            over.wait(0.01)
        served["two"][1].send_signal(signal.SIGKILL)
        served["two"][1].wait(PATIENCE)
        over.wait(0.2)
        over.set()
        for one in asking:
            one.result(timeout=PATIENCE)
    return answered


def _batches(folder: Path) -> int:
    """How many its chain has so far."""
    return sum(file.read_bytes().count(b'{"seal"') for file in (folder / "state" / "receipts").glob("*-*.jsonl"))


def _cut(folder: Path) -> None:
    """Take away the last batch of the receipts there."""
    (file,) = (folder / "state" / "receipts").glob("*-*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    seals = [place for place, line in enumerate(lines) if line.startswith(b'{"seal"')]
    file.write_bytes(b"".join(lines[: seals[-2] + 1]))
