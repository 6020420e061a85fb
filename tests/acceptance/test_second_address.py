"""``[server] ollama``: the address where programs look for an Ollama."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.process import run, serving


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def own(home: Path, server: str) -> str:
    path = home / "own.toml"
    path.write_text(f"[server]\n{server}\n[embedded]\nenabled = 'off'\n")
    return str(path)


@contextmanager
def told_by(version: dict[str, Any]) -> Iterator[int]:
    """A program that says it has this *version*, and the port where it listens."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(version).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_everything_is_served_at_both_addresses_and_the_gateway_is_no_source_for_itself(tmp_path: Path):
    port = free_port()
    here = f"http://127.0.0.1:{port}"
    config = own(tmp_path, f'ollama = "127.0.0.1:{port}"')
    with serving(tmp_path, FREEWAY_CONFIG=config, OLLAMA_HOST=here) as (origin, _, log):
        versions = [httpx.get(f"{address}/api/version").json() for address in (origin, here)]
        models = [httpx.get(f"{address}/v1/models").json() for address in (origin, here)]
        until, sources = time.monotonic() + 20, list[Any]()
        while time.monotonic() < until and not any(source["problem"] for source in sources):
            sources = httpx.get(f"{origin}/health").json()["sources"]
            time.sleep(0.02)
        greeting = log.read_text()

    assert versions[0] == versions[1]
    assert models[0] == models[1]
    assert f"As an Ollama on {here}" in greeting
    (ollama,) = [source for source in sources if source["provider"] == "ollama"]
    assert ollama["models"] == 0
    assert "Freeway answers there" in ollama["problem"]


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ({"version": "0.15.2"}, "an Ollama listens there"),
        ({"version": "0.15.2", "freeway": "0.1.0"}, "another Freeway listens there"),
        ({}, "Choose another port"),
    ],
)
def test_a_second_address_that_is_taken_is_told_with_what_has_it(tmp_path: Path, version, told):
    with told_by(version) as port:
        config = own(tmp_path, f'ollama = "127.0.0.1:{port}"')
        started = run("serve", home=tmp_path, FREEWAY_CONFIG=config, GROQ_API_KEY="gsk", PORT="0")

    assert started.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port} ([server] ollama)" in started.stderr
    assert told in " ".join(started.stderr.split())


def test_a_second_address_that_others_can_reach_needs_a_client_key(tmp_path: Path):
    started = run("serve", home=tmp_path, FREEWAY_CONFIG=own(tmp_path, 'ollama = "0.0.0.0:11434"'), GROQ_API_KEY="gsk")

    assert started.returncode == 1
    assert "[server] ollama" in started.stderr
    assert "FREEWAY_API_KEY" in started.stderr
