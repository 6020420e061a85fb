"""Which web pages may call, and by which names."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from gateway.api.origins import OriginCheck, Origins

LOCAL = {"host": "localhost:8000"}
JSON = {"content-type": "application/json", "content-length": "2"}
PATHS = ("/v1/chat/completions", "/v1/models", "/health", "/metrics", "/nowhere")


async def reached(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"x-freeway-provider", b"groq"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


def client(*named: str, open_door: bool) -> httpx.AsyncClient:
    app = OriginCheck(reached, Origins(named, open_door=lambda: open_door))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8000")


async def status(
    asked: httpx.AsyncClient, headers: dict[str, str], path: str = "/v1/models", method: str = "GET"
) -> int:
    content = b"{}" if method == "POST" else None
    return (await asked.request(method, path, headers=headers, content=content)).status_code


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "127.1.2.3", "[::1]:8000", "[::1]", "a.localhost"]
)
async def test_without_a_key_every_path_is_called_by_a_local_name(host):
    async with client(open_door=True) as asked:
        assert {await status(asked, {"host": host}, path) for path in PATHS} == {200}


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example:8000", "", "192.168.1.4:8000", "[2001:db8::1]"]
)
async def test_without_a_key_no_path_is_called_by_another_name(host):
    """DNS rebinding: the page's own name, made to mean this machine."""
    async with client(open_door=True) as asked:
        assert {await status(asked, {"host": host}, path) for path in PATHS} == {403}


async def test_with_a_key_any_name_will_do():
    async with client(open_door=False) as asked:
        assert await status(asked, {"host": "freeway.example"}) == 200


@pytest.mark.parametrize(
    ("origin", "named", "open_door", "expected"),
    [
        ("http://localhost:3000", (), True, 200),
        ("http://127.0.0.1:5173", (), True, 200),
        ("http://[::1]:5173", (), True, 200),
        ("vscode-webview://1a2b", (), True, 200),
        ("https://evil.example", (), True, 403),
        ("https://localhost.evil.example", (), True, 403),
        ("http://localhost@evil.example", (), True, 403),
        ("http://[", (), True, 403),
        ("null", (), True, 403),
        ("chrome-extension://abc", (), True, 403),
        ("https://chat.example", ("https://chat.example",), True, 200),
        ("https://CHAT.example", ("https://chat.EXAMPLE",), True, 200),
        ("https://evil.example", ("*",), True, 200),
        ("https://anything.example", (), False, 200),
        ("null", (), False, 200),
        ("https://chat.example", ("https://chat.example",), False, 200),
        ("https://other.example", ("https://chat.example",), False, 403),
        ("http://localhost:3000", ("https://chat.example",), False, 403),
        ("http://localhost:8000", ("https://chat.example",), False, 200),
    ],
)
async def test_a_page_may_call_as_the_design_says(origin, named, open_door, expected):
    """With a key any origin, unless some are named; with none this machine's own, and the named."""
    headers = {"origin": origin}
    async with client(*named, open_door=open_door) as asked:
        assert {await status(asked, headers, path) for path in PATHS} == {expected}
        preflight = {**headers, "access-control-request-method": "POST"}
        assert await status(asked, preflight, method="OPTIONS") == (204 if expected == 200 else 403)


async def test_a_preflight_is_answered_for_every_path_and_lets_every_header_through():
    headers = {
        "origin": "https://chat.example",
        "access-control-request-method": "DELETE",
        "access-control-request-headers": "authorization, x-stainless-os, anything",
        "access-control-request-private-network": "true",
    }
    async with client(open_door=False) as asked:
        for path in PATHS:
            answer = await asked.options(path, headers=headers)
            assert (answer.status_code, answer.content) == (204, b"")
            assert answer.headers["access-control-allow-origin"] == "https://chat.example"
            assert answer.headers["access-control-allow-headers"] == headers["access-control-request-headers"]
            assert answer.headers["access-control-allow-private-network"] == "true"
            assert "DELETE" in answer.headers["access-control-allow-methods"]


async def test_a_page_can_read_our_headers_and_another_program_gets_none_for_pages():
    async with client(open_door=False) as asked:
        page = await asked.get("/v1/models", headers={"origin": "https://chat.example"})
        program = await asked.get("/v1/models")

    assert page.headers["access-control-allow-origin"] == "https://chat.example"
    assert {"x-freeway-provider", "x-request-id", "retry-after"} <= set(
        page.headers["access-control-expose-headers"].split(", ")
    )
    assert not [name for name in program.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("headers", "method", "expected"),
    [
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, "GET", 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, "GET", 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, "GET", 200),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, "POST", 403),
        ({"sec-fetch-site": "same-site"}, "GET", 200),
        ({"sec-fetch-site": "none"}, "GET", 200),
        ({"sec-fetch-site": "cross-site", "origin": "http://localhost:3000", **JSON}, "POST", 200),
        ({"origin": "http://localhost:3000", "content-type": "text/plain"}, "POST", 403),
        ({"origin": "http://localhost:3000", "content-type": "application/x-www-form-urlencoded"}, "POST", 403),
        ({"origin": "http://localhost:3000"}, "POST", 403),
        ({"origin": "http://localhost:3000", "content-type": "multipart/form-data; boundary=x"}, "POST", 200),
        ({"origin": "http://localhost:3000", "content-type": "application/json; charset=utf-8"}, "POST", 200),
        ({"origin": "http://localhost:3000", "content-type": "text/plain", "content-length": "0"}, "DELETE", 200),
        ({"content-type": "text/plain"}, "POST", 200),
    ],
)
async def test_without_a_key_nothing_that_another_sites_page_can_send_is_taken(headers, method, expected):
    """A simple request needs no preflight and no answer to do harm; what is no browser may send what it likes."""
    async with client(open_door=True) as asked:
        assert await status(asked, {**LOCAL, **headers}, method=method) == expected


@pytest.mark.parametrize("open_door", [True, False])
@pytest.mark.parametrize("path", ["/", "/admin/v1/keys"])
async def test_the_page_and_what_is_behind_it_are_called_by_their_own_origin_alone(path, open_door):
    async with client("*", open_door=open_door) as asked:
        assert (
            await status(asked, {**LOCAL, "origin": "http://localhost:8000", "sec-fetch-site": "same-origin"}, path)
            == 200
        )
        assert await status(asked, LOCAL, path) == 200
        assert await status(asked, {**LOCAL, "origin": "http://localhost:3000"}, path) == 403
        assert await status(asked, {**LOCAL, "sec-fetch-site": "same-site"}, path) == 403
        assert await status(asked, {**LOCAL, "origin": "https://chat.example"}, path) == 403


@pytest.mark.parametrize("name", [b"host", b"origin"])
async def test_of_two_hosts_or_origins_none_overrides_the_other(name):
    heard: list[Any] = []

    async def send(message: Any) -> None:
        heard.append(message)

    headers = [(b"host", b"localhost"), (name, b"http://localhost"), (name, b"evil.example")]
    scope = {"type": "http", "method": "GET", "path": "/v1/models", "headers": headers}
    await OriginCheck(reached, Origins((), open_door=lambda: True))(scope, None, send)  # type: ignore[arg-type]

    assert heard[0]["status"] == 400
