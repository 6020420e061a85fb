"""Killed in the midst of its work, the real program never takes more than there is, and keeps what was made."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from providers.embeddings import CONTROLS
from tests.acceptance.process import serving

AT_ONCE, A_ROUND = 8, 10
"""The gateway's callers, and the answers that each round gives."""

PATIENCE = 120.0
"""Seconds after which something hangs: on a machine with much to do, little is quick."""

NO_WAIT = {"x-freeway-max-wait": "0"}
ASK = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
OWN = """
[embedded]
enabled = "off"
[provider.counted]
title = "counted"
base_url = "{origin}/v1"
docs = "none"
keyless = true
listed_at = ""
static_models = ["some-model"]
quota = [{{ limit = "{limit}/day" }}]
[provider.counted.free]
kind = "plan"
because = "it is made up"
[provider.counted.data_policy]
trains = "no"
"""
EMBEDS = """
operation.embed = { at = "/embeddings", most = 35 }
models = [{ ids = ["*"], operations = ["embed"], context = 1000 }]
"""
ANSWER = json.dumps(
    {
        "id": "1", "object": "chat.completion", "created": 1, "model": "some-model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    }
).encode()  # fmt: skip


class Counting(ThreadingHTTPServer):
    """A provider that answers everything, and counts it."""

    daemon_threads = True
    asked = 0
    lock = threading.Lock()

    def handle_error(self, request: object, client_address: object) -> None: ...


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Counting

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        with self.server.lock:
            self.server.asked += 1
        self.answer(ANSWER)

    def answer(self, body: bytes) -> None:
        with suppress(OSError):
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def provider(server: Counting) -> Iterator[tuple[Counting, str]]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class Embedding(Counting):
    """A provider of vectors that remembers its *texts*, and does not answer the part that it is to *hold* until that is set."""

    def __init__(self, hold: int) -> None:
        super().__init__(("127.0.0.1", 0), Vectors)
        self.hold, self.held, self.go_on = hold, threading.Event(), threading.Event()
        self.texts: list[str] = []


class Vectors(Answers):
    server: Embedding

    def do_POST(self) -> None:
        texts = json.loads(self.rfile.read(int(self.headers["content-length"])))["input"]
        with self.server.lock:
            self.server.asked += 1
            self.server.texts += texts
            held = self.server.asked == self.server.hold
        if held:
            self.server.held.set()
            self.server.go_on.wait(PATIENCE)
        data = [{"index": at, "embedding": [float(len(text)), *text.encode()[-2:]]} for at, text in enumerate(texts)]
        self.answer(json.dumps({"object": "list", "data": data, "model": "some-model"}).encode())


def _ask(origin: str, until: threading.Event, answered: list[int]) -> None:
    """Ask again and again, until the gateway is gone or *until* is set."""
    with (
        httpx.Client(base_url=origin, timeout=20, headers={"x-freeway-max-wait": "0"}) as client,
        suppress(httpx.TransportError),
    ):
        while not until.is_set():
            answered.append(client.post("/v1/chat/completions", json=ASK).status_code)


def limit_for(kills: int) -> int:
    """A day's requests at the provider: enough for all rounds, and little more."""
    return (kills + 1) * (AT_ONCE + A_ROUND)


def killed(folder: Path, kills: int) -> tuple[int, int]:
    """Requests that the provider got, and answers that callers did, when the gateway was killed so often and then went on."""
    answered, limit = list[int](), limit_for(kills)
    with provider(Counting(("127.0.0.1", 0), Answers)) as (counting, origin), ThreadPoolExecutor(AT_ONCE) as callers:
        own = folder / "own.toml"
        own.write_text(OWN.format(origin=origin, limit=limit))
        environ: dict[str, Any] = {"FREEWAY_CONFIG": str(own), "FREEWAY_STATE_DIR": str(folder / "state")}
        for number in range(kills):
            with serving(folder, **environ) as (gateway, process, _):
                over, heard = threading.Event(), len(answered)
                asking = [callers.submit(_ask, gateway, over, answered) for _ in range(AT_ONCE)]
                while len(answered) < heard + A_ROUND and not all(one.done() for one in asking):
                    over.wait(0.002)
                process.send_signal(signal.SIGKILL)
                process.wait(PATIENCE)
                over.set()
                for one in asking:
                    one.result(timeout=PATIENCE)
            assert counting.asked <= limit, f"after {number + 1} kills {counting.asked} of {limit} were asked for"
        last: list[int] = []
        with serving(folder, **environ) as (gateway, _, _), httpx.Client(base_url=gateway, timeout=PATIENCE) as client:
            while 429 not in last and len(last) <= limit:
                last.append(client.post("/v1/chat/completions", json=ASK, headers=NO_WAIT).status_code)
        assert 429 in last, (
            f"it never says that the day is used up: {last[-3:]}, {counting.asked} of {limit}, {len(last)}"
        )
        return counting.asked, answered.count(200) + last.count(200)


def test_killed_under_load_it_is_never_over_quota_and_loses_no_more_than_was_under_way(tmp_path: Path):
    """Three times here, twenty times in ``make soak``."""
    asked, answered = killed(tmp_path, 3)

    assert limit_for(3) - 3 * AT_ONCE <= asked <= limit_for(3)
    assert answered >= asked - 3 * AT_ONCE


def test_killed_in_the_midst_of_a_batch_it_loses_no_vector_that_was_made(tmp_path: Path):
    """Four parts, of which the third one is under way."""
    texts = [f"text {number:02}" for number in range(100)]
    own, embedding = tmp_path / "own.toml", Embedding(hold=3)
    environ: dict[str, Any] = {"FREEWAY_CONFIG": str(own), "FREEWAY_STATE_DIR": str(tmp_path / "state")}

    def asked(gateway: str) -> list[list[float]]:
        answer = httpx.post(f"{gateway}/v1/embeddings", json={"model": "some-model", "input": texts}, timeout=PATIENCE)
        return [one["embedding"] for one in answer.json()["data"]]

    with provider(embedding) as (_, origin), ThreadPoolExecutor(1) as caller:
        own.write_text(
            OWN.format(origin=origin, limit=100).replace("[provider.counted.free]", f"{EMBEDS}[provider.counted.free]")
        )
        with serving(tmp_path, **environ) as (gateway, process, _):
            lost = caller.submit(asked, gateway)
            assert embedding.held.wait(PATIENCE)
            process.send_signal(signal.SIGKILL)
            process.wait(PATIENCE)
            assert isinstance(lost.exception(PATIENCE), httpx.TransportError)
            embedding.go_on.set()
        made, embedding.texts = set(embedding.texts[: 32 + len(CONTROLS) + 32]), []
        with serving(tmp_path, **environ) as (gateway, _, _):
            found = asked(gateway)

    assert len(made.intersection(texts)) == 64
    assert not made.intersection(embedding.texts).difference(CONTROLS)
    assert found == [[float(len(text)), *text.encode()[-2:]] for text in texts]
