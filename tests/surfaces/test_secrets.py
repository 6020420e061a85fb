"""No key leaves the gateway: whatever goes wrong, none is in an answer, a log line or on the disk."""

from __future__ import annotations

import json
import stat
from typing import Any

import httpx
import pytest

from gateway import settings as s
from gateway.commands.demo import SIX
from gateway.events import Discovered, Event
from gateway.observe import log
from gateway.observe.log import LogObserver
from gateway.settings import Secret
from providers.simulator.base import Refusal, Simulated
from tests.conftest import CONFIG

CLIENT_KEY = "fw-client-key-that-stays-hidden"
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
TALKATIVE = (500, 400, 403, 413, 503, 422, 401, 404, 429)  # each with a body that repeats key and prompt
REDIS_PASSWORD = "redis-password-that-stays-hidden"
PROMPT = "Mrs Featherstone of 12 Hill Road asks what her blood test means."
ASK = {"messages": [{"role": "user", "content": PROMPT}]}


@pytest.mark.parametrize("stream", [False, True])
async def test_no_failure_tells_a_key_or_a_prompt(start, capfd, tmp_path, stream):
    """Not to others, nor to who asked; not on the disk, nor in the log."""
    redis = {"FREEWAY_REDIS_URL": f"redis://user:{REDIS_PASSWORD}@127.0.0.1:9/0"} if stream else {}
    log.configure(json=True)
    heard: list[Event] = []
    demo = await start(SIX, observers=[LogObserver(), heard.append], FREEWAY_API_KEY=CLIENT_KEY, **redis)
    headers = {"x-api-key": CLIENT_KEY, "x-freeway-max-wait": "0"}
    said = ""
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20, headers=headers) as client:
        for number, other in enumerate(demo.world.providers.values()):
            honest, other.refuse = other.refuse, talkative(other, TALKATIVE[number + 3 * stream])
            other.fail("whatever", times=5)
            response = await client.post("/v1/chat/completions", json=ASK | {"provider": {"only": [other.name]}})
            said += str(response.headers) + (response.text if response.status_code >= 400 else "")
            other.refuse = honest
        for fault in FAULTS:
            for name, other in demo.world.providers.items():
                other.fail(fault, times=1)
                body = {**ASK, "stream": stream, "provider": {"only": [name]}}
                response = await client.post("/v1/chat/completions?api_key=" + CLIENT_KEY, json=body)
                said += str(response.headers) + (response.text if response.status_code >= 400 else "")
        wrong = {"x-api-key": "a-wrong-one", "authorization": "Bearer a-wrong-one"}
        said += (await client.post("/v1/chat/completions", json=ASK, headers=wrong)).text
        said += (await client.post("/v1/chat/completions", json=ASK, headers={"x-freeway-max-wait": CLIENT_KEY})).text
        for path in ("/health", "/health/readiness", "/metrics", "/v1/models"):
            said += (await client.get(path)).text
    printed = capfd.readouterr()
    logged = printed.err + printed.out
    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()).decode("latin-1")
    secrets = [*demo.world.keys().values(), CLIENT_KEY, "a-wrong-one", REDIS_PASSWORD, "Featherstone"]

    assert len(heard) > len(FAULTS)
    assert "CredentialRejected" in logged
    assert "you said" in said
    assert "you said" in logged
    for where in (said, logged, kept, str(heard)):
        assert not [secret for secret in secrets if secret in where]


def talkative(provider: Simulated, status: int) -> Any:
    """A refusal that repeats everything that it was told."""

    def refuse(why: str, model: object) -> None:
        message = f"you said {PROMPT!r} with {provider.key}"
        raise Refusal(status, {"error": {"message": message, "code": status}}, {"x-you-sent": provider.key or ""})

    return refuse


async def test_the_log_blots_out_what_it_must_not_say_wherever_it_comes_from(capsys):
    settings = s.load(CONFIG, {"GROQ_API_KEY": "gsk-1", "FREEWAY_REDIS_URL": "redis://:pw-2@127.0.0.1/0"}, CONFIG)
    log.configure(json=True, secrets=settings.secrets())
    LogObserver()(Discovered("groq", 0, "tried gsk-1 and pw-2 at redis://:pw-2@127.0.0.1/0"))
    line = json.loads(capsys.readouterr().err)

    assert line["problem"] == "tried *** and *** at ***"
    assert (line["event"], line["level"]) == ("no model list", "warning")


async def test_what_is_kept_on_the_disk_is_for_the_user_who_runs_the_gateway_only(start, tmp_path):
    await start(("groq",))
    folder = tmp_path / "state"

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    databases = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.glob("*.sqlite*")}
    assert databases.keys() >= {"ledger.sqlite", "memory.sqlite"}
    assert set(databases.values()) == {0o600}


def test_a_secret_never_shows_itself():
    secret = Secret("sk-real")

    assert "sk-real" not in repr(secret)
    assert "sk-real" not in f"{[secret]} { ({'key': secret}) }"
    assert secret == "sk-real"


async def test_a_key_in_the_path_is_neither_logged_nor_told(start, capfd, tmp_path):
    """Not of a request that is served, refused, not understood, or made of a path that is not there."""
    own = tmp_path / "own.toml"
    own.write_text("[server]\npath_keys = true\n")
    log.configure(json=True)
    heard: list[Event] = []
    demo = await start(
        ("groq",), observers=[LogObserver(), heard.append], FREEWAY_API_KEY=CLIENT_KEY, FREEWAY_CONFIG=str(own)
    )
    here, said = f"/k/{CLIENT_KEY}", ""
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as client:
        served = await client.post(f"{here}/v1/chat/completions", json=ASK)
        for path in ("/v1/chat/completions", "/v1/chat/completion", "/api/nothing", "/v1/messages", "/nowhere"):
            said += (await client.post(f"{here}{path}", content=b"{")).text
        said += (await client.get(f"{here}/v1/models")).text + (await client.get(f"{here}/v1/models/none")).text
        wrong = await client.post("/k/a-wrong-one/v1/chat/completions", json=ASK)
    logged = "".join(capfd.readouterr())

    assert (served.status_code, wrong.status_code) == (200, 401)
    assert "there is no /v1/chat/completion here" in said
    for where in (said, wrong.text, logged, str(heard)):
        assert CLIENT_KEY not in where
        assert "a-wrong-one" not in where
