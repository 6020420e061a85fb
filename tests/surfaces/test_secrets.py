"""Keys are nobody's business: whatever goes wrong, none is in an answer, a log line or on the disk."""

from __future__ import annotations

import httpx
import pytest

from gateway.commands.demo import SIX
from gateway.events import Event
from gateway.instruments import log
from gateway.instruments.log import LogObserver
from gateway.settings import Secret

CLIENT_KEY = "fw-client-key-that-nobody-sees"
FAULTS = (
    "bad_key",
    "rate_limited:minute",
    "busy",
    "gone",
    "server_error",
    "error_200",
    "html",
    "bad_json",
    "would_cost",
)
ASK = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize("stream", [False, True])
async def test_no_failure_tells_a_key(start, capfd, tmp_path, stream):
    log.configure(json=True)
    heard: list[Event] = []
    demo = await start(SIX, observers=[LogObserver(), heard.append], FREEWAY_API_KEY=CLIENT_KEY)
    headers = {"x-api-key": CLIENT_KEY, "x-freeway-max-wait": "0"}
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20, headers=headers) as client:
        said = ""
        for fault in FAULTS:
            for name, other in demo.world.providers.items():
                other.fail(fault, times=1)
                body = {**ASK, "stream": stream, "provider": {"only": [name]}}
                response = await client.post("/v1/chat/completions", json=body)
                said += response.text + str(response.headers)
        said += (await client.post("/v1/chat/completions", json=ASK, headers={"x-api-key": "a-wrong-one"})).text
        said += (await client.get("/health")).text
    printed = capfd.readouterr()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()).decode("latin-1")
    secrets = [*demo.world.keys().values(), CLIENT_KEY, "a-wrong-one"]

    assert len(heard) > len(FAULTS)
    assert "CredentialRejected" in printed.err + printed.out
    assert not [secret for secret in secrets if secret in said]
    assert not [secret for secret in secrets if secret in printed.err + printed.out]
    assert not [secret for secret in secrets if secret in kept]


def test_a_secret_shows_itself_to_nobody():
    secret = Secret("sk-real")

    assert "sk-real" not in repr(secret)
    assert "sk-real" not in f"{[secret]} { ({'key': secret}) }"
    assert secret == "sk-real"
