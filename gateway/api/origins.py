"""
Which web pages may call, and by which names: cross-origin requests (CORS) and DNS rebinding.

A browser sends what any page tells it to, from this machine. So whatever it says of the page is checked before a path is
looked at, for every path; other programs say nothing of it, and are let through to where their key is checked.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from gateway.api import errors
from gateway.words import BadRequest, Forbidden, GatewayError

Send = Callable[[Any], Awaitable[None]]
Receive = Callable[[], Awaitable[Any]]
App = Callable[[Any, Receive, Send], Awaitable[None]]

ANY = "*"
_OWN_PAGES = ("/", "/admin", "/changes.atom")
"""The page, and the API behind it: their own origin alone may call these."""

_PROGRAMS = frozenset({"app", "capacitor", "tauri", "vscode-file", "vscode-webview"})
"""Schemes of programs that are installed on this machine and show themselves as web pages. No site has one of these."""

_MAY_BE_FORMS = "multipart/form-data"
_JSON = re.compile(r"application/(?:[\w.-]+\+)?json\s*(?:;|$)", re.ASCII | re.IGNORECASE)
_CROSS_SITE, _NOT_OWN = (b"cross-site",), (b"cross-site", b"same-site")
_LOOKED_AT = frozenset(
    {
        b"host", b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest", b"content-type", b"content-length",
        b"transfer-encoding", b"access-control-request-method", b"access-control-request-headers",
    }
)  # fmt: skip


class Origins:
    """
    Decides whether a page may call. *open_door* says whether no client key is set, so that only what comes from this machine is
    trusted: it must call a local name, and a page must be of this machine, or of one of *named*. With keys set any page may
    call (it needs a key), unless *named* narrows that.
    """

    def __init__(self, named: Sequence[str], *, open_door: Callable[[], bool]) -> None:
        self.adopt(named)
        self._is_open = open_door

    def adopt(self, named: Sequence[str]) -> None:
        """From now on *named* are the pages that may call."""
        self._named = frozenset(origin.lower() for origin in named)

    @property
    def _open_door(self) -> bool:
        return self._is_open()

    def check(self, method: str, path: str, headers: dict[bytes, bytes]) -> None:
        """Raises Forbidden if a request with *headers* (those that ``_LOOKED_AT`` names) may not be looked at."""
        host, origin = _text(headers, b"host"), _text(headers, b"origin").lower()
        if self._open_door and not is_local_name(without_port(host)):
            raise Forbidden(
                f"called as {without_port(host)[:200]!r}: with no client key set this gateway answers only to local names; "
                f"set FREEWAY_API_KEY to be called by others"
            )
        if path in _OWN_PAGES or path.startswith("/admin/"):
            check_own_page(method, headers)
        elif origin:
            if not self.allows(origin, host):
                raise Forbidden(
                    f"pages of {origin[:200]!r} may not call: name that origin under [server] origins to allow it"
                )
        elif self._open_door and _is_foreign(method, headers, _CROSS_SITE):
            raise Forbidden("a page of another site may not call a gateway that has no client key")
        if self._open_door and _is_from_page(headers) and _has_odd_body(method, origin, headers):
            raise Forbidden("a page must send its body as JSON, with the header 'content-type: application/json'")

    def allows(self, origin: str, host: str) -> bool:
        """Whether pages of *origin* may call the API surfaces under the name *host*."""
        any_may = ANY in self._named or (not self._named and not self._open_door)
        if any_may or origin in self._named or _is_same(origin, host):
            return True
        return self._open_door and _is_of_this_machine(origin)


class OriginCheck:
    """The application behind the check: it answers preflights, which never carry a key, and lets pages read answers."""

    def __init__(self, app: App, origins: Origins) -> None:
        self._app, self._origins = app, origins

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            headers = _looked_at(scope["headers"])
            self._origins.check(scope["method"], scope["path"], headers)
        except GatewayError as error:
            await _respond(send, error.status, errors.headers(error), errors.render(error))
            return
        origin = headers.get(b"origin")
        if origin is None:
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            await _respond(send, 204, _preflight(headers, origin), b"")
        else:
            await self._app(scope, receive, _readable(send, origin))


def _looked_at(raw: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """
    The headers that are looked at.

    Raises BadRequest for the host or the origin twice: which one was meant cannot be told.
    """
    found: dict[bytes, bytes] = {}
    for name, value in raw:
        if name in _LOOKED_AT and found.setdefault(name, value) != value and name in (b"host", b"origin"):
            raise BadRequest(f"two different {name.decode()!r} headers were sent: send one")
    return found


def check_own_page(method: str, headers: dict[bytes, bytes]) -> None:
    """Raises Forbidden if another page than the gateway's own made the browser ask."""
    host, origin = _text(headers, b"host"), _text(headers, b"origin").lower()
    if (origin and not _is_same(origin, host)) or (not origin and _is_foreign(method, headers, _NOT_OWN)):
        raise Forbidden("only the gateway's own page may call this")


def is_own_origin(headers: dict[bytes, bytes]) -> bool:
    """Whether a browser says that a page of the gateway's own address asks."""
    return _is_same(_text(headers, b"origin").lower(), _text(headers, b"host"))


def is_local_name(name: str) -> bool:
    """Whether *name* always means this machine, so that no other site's name can be it."""
    name = name.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _text(headers: dict[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1").strip()


def without_port(host: str) -> str:
    """The name in a host header."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _is_same(origin: str, host: str) -> bool:
    return origin.partition("://")[2] == host.lower() != ""


def _is_of_this_machine(origin: str) -> bool:
    try:
        parts = urlsplit(origin)
        return parts.scheme in _PROGRAMS or (
            parts.scheme in ("http", "https") and is_local_name(parts.hostname or "") and parts.username is None
        )
    except ValueError:
        return False


def _is_foreign(method: str, headers: dict[bytes, bytes], sites: tuple[bytes, ...]) -> bool:
    """Whether a page of one of *sites* made the browser ask; a person who follows a link to here is welcome."""
    if headers.get(b"sec-fetch-site") not in sites:
        return False
    follows = headers.get(b"sec-fetch-mode") == b"navigate" and headers.get(b"sec-fetch-dest") == b"document"
    return not (follows and method in ("GET", "HEAD"))


def _is_from_page(headers: dict[bytes, bytes]) -> bool:
    return b"origin" in headers or b"sec-fetch-site" in headers or b"sec-fetch-mode" in headers


def _has_odd_body(method: str, origin: str, headers: dict[bytes, bytes]) -> bool:
    """
    Whether there is a body that a page could send without a preflight. A form's is what an upload needs: it passes from
    where an origin is told, which was checked.
    """
    if method in ("GET", "HEAD", "OPTIONS"):
        return False
    if headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers:
        return False
    kind = _text(headers, b"content-type")
    return not (_JSON.match(kind) or (origin and kind.lower().startswith(_MAY_BE_FORMS)))


# ── what is sent ──


def _preflight(headers: dict[bytes, bytes], origin: bytes) -> dict[str, str]:
    """
    Every method and every header may be sent: what is let in is decided when it comes. A page that is public may call a
    private address, which browsers ask for as well (https://wicg.github.io/private-network-access/).
    """
    asked = _text(headers, b"access-control-request-headers")
    return {
        "access-control-allow-origin": origin.decode("latin-1"),
        "access-control-allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
        "access-control-allow-headers": asked or "*",
        "access-control-allow-private-network": "true",
        "access-control-max-age": "600",
        "vary": "origin, access-control-request-headers",
    }


def _readable(send: Send, origin: bytes) -> Send:
    """*send*, with the headers that let a page of *origin* read the answer, and every header of ours."""

    async def send_readable(message: Any) -> None:
        if message["type"] == "http.response.start":
            names = [name for name, _ in message["headers"] if name.startswith((b"x-", b"request-id", b"retry-after"))]
            more = [
                (b"access-control-allow-origin", origin),
                (
                    b"access-control-expose-headers",
                    b", ".join(dict.fromkeys([*names, b"x-request-id", b"retry-after"])),
                ),
                (b"vary", b"origin"),
            ]
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return send_readable


async def _respond(send: Send, status: int, headers: dict[str, str], body: bytes) -> None:
    if status != 204:
        headers = {**headers, "content-length": str(len(body))}
    raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
