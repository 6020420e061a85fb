"""Who may use the admin API, and what is written down of it."""

from __future__ import annotations

import json
import stat
from typing import Any

import httpx
import pytest

from gateway.api.admin.audit import AuditLog, Done
from gateway.api.admin.sessions import LASTS, Sessions
from gateway.app import create_app
from gateway.settings import load
from gateway.state.sqlite import SqliteState
from gateway.state.store import StateStore
from tests.clock import FakeClock
from tests.conftest import CONFIG

KEY = "admin-key-of-twenty-characters"
CLIENT_KEY = "fw-a-client-key-of-this-gateway"
READ, WRITE = ("GET", "/admin/v1/test"), ("POST", "/admin/v1/test")
JSON = {"content-type": "application/json"}


@pytest.fixture
def gateway(tmp_path, clock):
    """``gateway(peer=…, **environ)``: a client of a gateway that is called as localhost from *peer*; nothing listens."""

    def make(*, peer: str = "127.0.0.1", base: str = "http://localhost:8000", headers=None, **environ: str) -> Any:
        settings = load(CONFIG, {"FREEWAY_STATE_DIR": str(tmp_path), **environ}, tmp_path)
        app: Any = create_app(settings, clock=clock)
        transport = httpx.ASGITransport(app, client=(peer, 1234))
        return httpx.AsyncClient(transport=transport, base_url=base, headers=headers)

    return make


async def signed_in(client: httpx.AsyncClient) -> dict[str, Any]:
    return (await client.get("/admin/v1/session")).json()


async def sign_in(client: httpx.AsyncClient, key: str = KEY, **headers: str) -> httpx.Response:
    return await client.post("/admin/v1/session", json={"key": key}, headers=headers)


async def test_without_an_admin_key_it_is_open_to_programs_of_this_machine(gateway):
    for peer in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"):
        assert await signed_in(gateway(peer=peer)) == {"signed_in": True, "needs_key": False, "said": ""}
        assert (await gateway(peer=peer).get("/admin/v1/changes")).status_code != 403


@pytest.mark.parametrize("peer", ["10.0.0.3", "192.168.1.7", "2001:db8::1", "::ffff:10.0.0.3", "unix:/tmp/socket", ""])
async def test_without_an_admin_key_no_other_machine_is_let_in(gateway, peer):
    client = gateway(peer=peer, HOST="0.0.0.0")
    answer = await client.get("/admin/v1/changes")

    assert answer.status_code == 403
    assert "FREEWAY_ADMIN_KEY" in answer.json()["error"]["message"]
    assert not (await signed_in(client))["signed_in"]


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "x-real-ip", "via"])
async def test_a_proxy_on_this_machine_does_not_make_its_callers_local(gateway, header):
    client = gateway(FREEWAY_API_KEY=CLIENT_KEY)

    assert (await client.get("/admin/v1/changes", headers={header: "127.0.0.1"})).status_code == 403
    assert (await client.get("/admin/v1/changes")).status_code != 403


@pytest.mark.parametrize("keys", [{}, {"FREEWAY_API_KEY": CLIENT_KEY}])
async def test_a_name_that_is_made_to_mean_this_machine_does_not_open_it(gateway, keys):
    """DNS rebinding."""
    client = gateway(base="http://evil.example:8000", **keys)

    assert (await client.get("/admin/v1/changes")).status_code == 403
    assert (await client.get("/admin/v1/session")).status_code == 403 or not (await signed_in(client))["signed_in"]


@pytest.mark.parametrize("base", ["http://localhost:8000", "http://gateway.example"])
async def test_with_client_keys_and_no_admin_key_it_is_off_on_a_public_address_and_says_so(gateway, base):
    client = gateway(base=base, FREEWAY_API_KEY=CLIENT_KEY, HOST="0.0.0.0")
    for headers in ({}, {"authorization": f"Bearer {CLIENT_KEY}"}):
        answer = await client.get("/admin/v1/changes", headers=headers)

        assert answer.status_code == 403
        assert "are off" in answer.json()["error"]["message"]
        assert "FREEWAY_ADMIN_KEY" in answer.json()["error"]["message"]
    assert "are off" in (await signed_in(client))["said"]


@pytest.mark.parametrize("peer", ["127.0.0.1", "10.0.0.3"])
async def test_with_an_admin_key_nothing_else_opens_it(gateway, peer):
    client = gateway(peer=peer, FREEWAY_ADMIN_KEY=KEY, FREEWAY_API_KEY=CLIENT_KEY)
    wrong: list[dict[str, str]] = [
        {},
        {"authorization": f"Bearer {CLIENT_KEY}"},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": f"Token {KEY}"},
        {"x-api-key": KEY},
        {"cookie": f"freeway_session={KEY}"},
        {"cookie": "freeway_session=..x"},
    ]
    for headers in wrong:
        answer = await client.get("/admin/v1/changes", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    right = await client.get("/admin/v1/changes", headers={"authorization": f"Bearer {KEY}"})
    assert right.status_code not in (401, 403)


async def test_a_reader_of_feeds_sends_the_key_as_a_password_and_may_only_read(gateway):
    client = gateway(FREEWAY_ADMIN_KEY=KEY)

    assert (await client.get("/changes.atom", auth=("anything", KEY))).status_code == 200
    assert (await client.get("/changes.atom", auth=("anything", "wrong"))).status_code == 401
    assert (await client.get("/changes.atom")).status_code == 401
    assert (await client.get("/changes.atom", headers={"authorization": "Basic %"})).status_code == 401
    changing = await client.post("/admin/v1/models/readmit", json={"name": "groq"}, auth=("anything", KEY))
    assert changing.status_code == 401


async def test_a_key_opens_no_api_of_clients(gateway):
    """The admin key is for the admin API: an agent that has it by mistake is not served, and says so."""
    client = gateway(FREEWAY_ADMIN_KEY=KEY, FREEWAY_API_KEY=CLIENT_KEY)

    assert (await client.get("/v1/models", headers={"authorization": f"Bearer {KEY}"})).status_code == 401


async def test_a_session_lasts_until_it_is_signed_out_or_its_time_is_over(gateway, clock):
    client = gateway(FREEWAY_ADMIN_KEY=KEY)
    assert await signed_in(client) == {"signed_in": False, "needs_key": True, "said": ""}
    assert (await sign_in(client)).status_code == 204
    token = client.cookies["freeway_session"]
    assert (await signed_in(client))["signed_in"]

    assert (await client.delete("/admin/v1/session", headers=JSON)).status_code == 204
    assert "freeway_session" not in client.cookies
    stolen = {"cookie": f"freeway_session={token}"}
    assert (await client.get("/admin/v1/changes", headers=stolen)).status_code == 401

    await sign_in(client)
    token = client.cookies["freeway_session"]
    clock.advance(LASTS + 1)
    assert (await client.get("/admin/v1/changes", headers={"cookie": f"freeway_session={token}"})).status_code == 401


@pytest.mark.parametrize(
    ("headers", "secure"), [({}, False), ({"x-forwarded-proto": "https"}, True), ({"x-forwarded-proto": "http"}, False)]
)
async def test_no_script_and_no_other_site_gets_the_cookie(gateway, headers, secure):
    answer = await sign_in(gateway(FREEWAY_ADMIN_KEY=KEY), **headers)
    parts = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")}

    assert {"httponly", "samesite=strict", "path=/"} <= parts
    assert ("secure" in parts) is secure
    assert KEY not in answer.headers["set-cookie"]


async def test_wrong_keys_are_tried_ten_times_a_minute_by_one_address(gateway):
    """Then the right one is not looked at either, or guessing would go on; sessions and other addresses are as before."""
    client = gateway(FREEWAY_ADMIN_KEY=KEY, peer="10.0.0.9")
    await sign_in(client)
    statuses = [(await sign_in(client, f"guess {n}")).status_code for n in range(11)]
    assert statuses == [401] * 10 + [429]

    right = {"authorization": f"Bearer {KEY}"}
    cookies = dict(client.cookies)
    client.cookies.clear()
    refused = await client.get("/admin/v1/changes", headers=right)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_attempts")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    client.cookies.update(cookies)
    assert (await signed_in(client))["signed_in"]
    client.cookies.clear()
    client._transport.client = ("10.0.0.10", 1)
    assert (await client.get("/admin/v1/changes", headers=right)).status_code != 429


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://localhost:3000"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
    ],
)
@pytest.mark.parametrize("keys", [{}, {"FREEWAY_ADMIN_KEY": KEY}, {"FREEWAY_API_KEY": CLIENT_KEY}])
@pytest.mark.parametrize("path", ["/admin/v1/session", "//admin/v1/session", "/admin/v1/session/"])
async def test_no_other_page_reaches_it_with_key_cookie_or_this_machines_trust(gateway, headers, keys, path):
    client = gateway(**keys)
    if "FREEWAY_ADMIN_KEY" in keys:
        await sign_in(client)
    for method in ("GET", "POST", "DELETE"):
        answer = await client.request(method, path, headers={**headers, **JSON}, content='{"key": "x"}')
        assert answer.status_code in (403, 404)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_what_a_form_can_send_changes_nothing(gateway, kind):
    """CSRF: also where a browser tells no origin."""
    client = gateway(FREEWAY_ADMIN_KEY=KEY)
    await sign_in(client)
    answer = await client.delete("/admin/v1/session", headers={"content-type": kind})

    assert answer.status_code == 415
    assert "application/json" in answer.json()["error"]["message"]
    assert (await signed_in(client))["signed_in"]


async def test_another_admin_key_ends_all_sessions_and_replicas_with_the_same_take_them(tmp_path):
    clock = FakeClock()
    states = [StateStore(SqliteState(tmp_path / "state.sqlite", clock, lambda _: None), clock) for _ in range(3)]
    here, there, other = (Sessions(key, states[n]) for n, key in enumerate((KEY, KEY, "another key")))
    token = here.begin(clock.now())

    assert here.valid(token, clock.now())
    assert there.valid(token, clock.now())
    assert not other.valid(token, clock.now())
    for n, letter in enumerate(token):
        bent = token[:n] + ("0" if letter != "0" else "1") + token[n + 1 :]
        assert not here.valid(bent, clock.now())
    here.end(token, clock.now())
    for state in states:
        await state.exchange()
    assert not there.valid(token, clock.now())
    for state in states:
        await state.aclose()


async def test_what_was_done_and_who_was_refused_is_written_down_without_a_secret(gateway, tmp_path):
    client = gateway(FREEWAY_ADMIN_KEY=KEY, peer="10.0.0.9")
    await sign_in(client, "a wrong key")
    await sign_in(client)
    await client.post("/admin/v1/models/readmit", json={"name": "groq"})
    await client.get("/admin/v1/changes")
    await client.delete(f"/admin/v1/session?key={KEY}", headers=JSON)
    await client.delete("/admin/v1/session", headers=JSON)  # whoever has no session ends none
    await client.get("/admin/v1/changes")
    files = [tmp_path / "audit.jsonl", tmp_path / "refused.jsonl"]
    done, refused = ([json.loads(line) for line in file.read_text().splitlines()] for file in files)

    assert [(line["method"], line["status"], line["by"], line.get("what", "")) for line in done] == [
        ("POST", 204, "", "signed in"),
        ("POST", 404, "session", ""),
        ("DELETE", 204, "", "signed out"),
    ]
    assert [(line["method"], line["status"]) for line in refused] == [("POST", 401), ("GET", 401)]
    assert {line["from"] for line in done + refused} == {"10.0.0.9"}
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert KEY not in file.read_text()
        assert "a wrong key" not in file.read_text()


async def test_no_flood_of_refusals_wipes_out_what_was_done(gateway, tmp_path):
    client = gateway(FREEWAY_ADMIN_KEY=KEY)
    await sign_in(client)
    client.cookies.clear()
    for _ in range(100):
        await client.post("/admin/v1/reload", headers=JSON)

    assert len((tmp_path / "refused.jsonl").read_text().splitlines()) <= 60  # two windows at most
    assert len((tmp_path / "audit.jsonl").read_text().splitlines()) == 1


async def test_a_short_secret_leaves_words_as_they_are(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl", lambda: ["made", "a1"])
    await log.write(Done(1.0, "::1", "key", "POST", "/admin/v1/clients/a1?key=made", 201, "made a client a12"))
    line = json.loads((tmp_path / "audit.jsonl").read_text())

    assert (line["path"], line["what"]) == ("/admin/v1/clients/***?key=***", "made a client a12")


async def test_the_audit_log_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.api.admin.audit.LONGEST_FILE", 1000)
    log = AuditLog(tmp_path / "audit.jsonl", lambda: ["hidden-key"])
    for n in range(50):
        await log.write(Done(n, "::1", "key", "POST", "/admin/v1/clients", 201, "made hidden-key"))
    files = sorted(tmp_path.glob("audit*"))

    assert [file.name for file in files] == ["audit.jsonl", "audit.jsonl.1"]
    assert all(file.stat().st_size <= 1000 and stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    last = json.loads(files[0].read_text().splitlines()[-1])
    assert (last["at"], last["what"]) == (49, "made ***")


async def test_the_playground_needs_no_client_key_on_the_page_of_an_admin(start):
    demo = await start(("groq",), FREEWAY_API_KEY=CLIENT_KEY, FREEWAY_ADMIN_KEY=KEY)
    ask = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        own = {"origin": demo.base_url}
        assert (await client.post("/v1/chat/completions", json=ask, headers=own)).status_code == 401
        await sign_in(client)
        assert (await client.post("/v1/chat/completions", json=ask, headers=own)).status_code == 200
        assert (await client.post("/v1/chat/completions", json=ask)).status_code == 401
        other = {"origin": "http://localhost:3000"}
        assert (await client.post("/v1/chat/completions", json=ask, headers=other)).status_code == 401
        assert (await client.post("/v1/embeddings", json=ask, headers=own)).status_code == 401


async def test_without_an_admin_key_the_page_of_this_machine_has_its_playground(start):
    demo = await start(("groq",), FREEWAY_API_KEY=CLIENT_KEY)
    ask = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        own = {"origin": demo.base_url}
        assert (await client.post("/v1/chat/completions", json=ask, headers=own)).status_code == 200
        proxied = own | {"x-forwarded-for": "10.0.0.3"}
        assert (await client.post("/v1/chat/completions", json=ask, headers=proxied)).status_code == 401
