"""Programs that can send no header: keys in the path, and networks that need none."""

from __future__ import annotations

from typing import Any

import pytest

from gateway import settings as s
from gateway.api.auth import Authenticator
from gateway.api.drain import Drain
from gateway.api.keyless import Keyless
from gateway.settings import Server
from gateway.words import Unauthorized
from tests.clock import FakeClock
from tests.conftest import CONFIG

HOME = Server(ollama="127.0.0.1:11434", ollama_networks=("192.168.1.0/24", "fd00::/8"))
OPEN = Server(path_keys=True)


async def admitted(server: Server, path: str, peer: str = "192.168.1.7", port: int = 8000, **headers: Any) -> str:
    """The name of the client that a request comes from, and the path that is seen; "401" if it is refused."""
    by = Authenticator(s.load(CONFIG, {"FREEWAY_API_KEY": "fw"}, CONFIG), Drain(), FakeClock())
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "path": path, "headers": sent, "client": (peer, 1), "server": ("10.0.0.1", port)}
    await Keyless(app, server, by.network_key)(scope, None, None)  # type: ignore[arg-type]
    try:
        return f"{by.admit(seen[0]['headers']).name} {seen[0]['path']}"
    except Unauthorized:
        return "401"


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/k/fw/v1/chat/completions", "default /v1/chat/completions"),
        ("/k/fw/api/chat", "default /api/chat"),
        ("/k/fw/v1/models/a/k/b", "default /v1/models/a/k/b"),
        ("/k/fw", "default /"),
        ("/k/fw/", "default /"),
        ("/k/wrong/v1/models", "401"),
        ("/k//v1/models", "401"),
        ("/v1/models", "401"),
        ("/kind/fw/v1", "401"),
    ],
)
async def test_a_key_in_the_path_admits_and_is_in_no_path_afterwards(path, seen):
    assert await admitted(OPEN, path) == seen


async def test_keys_in_the_path_are_off_unless_they_are_switched_on():
    assert await admitted(HOME, "/k/fw/v1/models", "10.0.0.9") == "401"


@pytest.mark.parametrize(
    ("peer", "path", "port", "seen"),
    [
        ("192.168.1.7", "/api/chat", 8000, "network /api/chat"),
        ("::ffff:192.168.1.7", "/api/chat", 8000, "network /api/chat"),
        ("fd00::9", "/api/tags", 8000, "network /api/tags"),
        ("192.168.1.7", "/v1/chat/completions", 11434, "network /v1/chat/completions"),
        ("192.168.1.7", "/v1/chat/completions", 8000, "401"),
        ("192.168.2.7", "/api/chat", 11434, "401"),
        ("2001:db8::9", "/api/chat", 11434, "401"),
        ("", "/api/chat", 11434, "401"),
    ],
)
async def test_a_named_network_needs_no_key_for_an_ollama_and_nothing_else(peer, path, port, seen):
    assert await admitted(HOME, path, peer, port) == seen


@pytest.mark.parametrize("header", ["origin", "sec-fetch-site", "sec-fetch-mode"])
async def test_a_page_in_a_browser_of_the_network_needs_its_key(header):
    """Otherwise any site that is looked at from there could use the gateway."""
    assert await admitted(HOME, "/api/chat", "192.168.1.7", 8000, **{header: "same-origin"}) == "401"


async def test_a_client_of_a_named_network_that_sends_its_key_is_known_by_it():
    assert await admitted(HOME, "/v1/models", authorization="Bearer fw") == "default /v1/models"


async def test_what_stands_for_the_networks_cannot_be_guessed():
    made = {
        Authenticator(s.load(CONFIG, {"FREEWAY_API_KEY": "fw"}, CONFIG), Drain(), FakeClock()).network_key
        for _ in range(3)
    }

    assert len(made) == 3
    assert min(map(len, made)) >= 43
    assert await admitted(HOME, "/api/chat", "10.0.0.9", 8000, **{"x-freeway-key": "network"}) == "401"
    assert await admitted(HOME, "/api/chat", "10.0.0.9", 8000, **{"x-freeway-key": ""}) == "401"


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ('ollama = "11434"', "host:port"),
        ('ollama = "localhost:"', "host:port"),
        ('ollama = "localhost:99999"', "host:port"),
        ('ollama_networks = ["192.168.1.7/24"]', "ollama_networks"),
        ('ollama_networks = ["home"]', "ollama_networks"),
    ],
)
def test_a_setting_that_is_none_is_refused_by_its_name(tmp_path, setting, told):
    own = tmp_path / "own.toml"
    own.write_text(f"[server]\n{setting}\n")
    with pytest.raises(s.BadSettings, match=told):
        s.load(CONFIG, {"FREEWAY_CONFIG": str(own)}, CONFIG)
