"""
Who may use the page and the admin API: one guard for every route of theirs, and signing in.

With an admin key (``FREEWAY_ADMIN_KEY``): who sends it, or signed in with it. Without one: programs and pages of this machine,
under a local name. With client keys, no admin key and a public address nobody, and the answer says so. Which *pages* may call is
looked at before, in ``origins``; a write that is let in by where it comes from, or by a cookie, must be one that no form can send.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Literal

import msgspec
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from litestar import Request, Response, delete, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from msgspec import Struct

from gateway.api.admin.audit import READS, admitted, noted
from gateway.api.admin.sessions import LASTS, Sessions
from gateway.api.auth import Authenticator
from gateway.api.openai import decoded
from gateway.api.origins import check_own_page, is_local_name, is_own_origin, without_port
from gateway.clock import Clock
from gateway.settings import Settings
from gateway.state.store import StateStore
from gateway.words import BadRequest, Forbidden, GatewayError, Unauthorized

COOKIE = "freeway_session"

ATTEMPTS = RateLimitItemPerMinute(10)
"""Wrong keys that one address may send; then none is looked at until the minute is over."""

By = Literal["key", "session", "this machine"]
"""How a request is known to be an admin's."""

_UNGUARDED = {"unguarded": True}
_JSON = re.compile(rb"application/(?:[\w.-]+\+)?json\s*(?:;|$)", re.ASCII | re.IGNORECASE)
_FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"})
"""A proxy says by these that it asks for somebody else."""


class TooManyAttempts(GatewayError):
    """Wrong keys came from the caller's address, one after another."""

    status, type, code = 429, "rate_limit_error", "too_many_attempts"


class NotJson(BadRequest):
    """A write that a form of any page could have sent."""

    status = 415


class SignIn(Struct):
    """The admin key, to begin a session with."""

    key: str


class SessionView(Struct, frozen=True):
    """Whether the caller may use the admin API now, and whether there is a key to sign in with. *said* is why not, in words."""

    signed_in: bool
    needs_key: bool
    said: str = ""


class Access:
    """One for each process."""

    def __init__(self, settings: Settings, authenticator: Authenticator, state: StateStore, clock: Clock) -> None:
        self._authenticator, self._clock = authenticator, clock
        self._host, key = settings.server.host, settings.admin_key
        self._digest = sha256(key.encode()).digest() if key else None
        self._sessions = Sessions(key, state) if key else None
        self._attempts = FixedWindowRateLimiter(MemoryStorage())

    def guard(self, connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        """Raises Unauthorized, Forbidden, TooManyAttempts or NotJson if the request may not go on. A guard of Litestar's."""
        scope: Any = connection.scope
        headers = _headers(scope["headers"])
        check_own_page(scope["method"], headers)
        by = None
        if not handler.opt.get("unguarded"):
            by = self.admit(scope)
            admitted(scope, by)
        if scope["method"] not in READS and by != "key" and not _JSON.match(headers.get(b"content-type", b"")):
            raise NotJson("what changes something is sent with the header 'content-type: application/json'")

    def admit(self, scope: Any) -> By:
        """How the request is known to be an admin's. Raises Unauthorized, Forbidden or TooManyAttempts."""
        headers = _headers(scope["headers"])
        if self._digest is None:
            self._check_near(scope, headers)
            return "this machine"
        if self._is_signed_in(headers):
            return "session"
        key = _key(headers, scope["method"])
        if not key:
            raise Unauthorized(
                "this needs the admin key of the gateway (FREEWAY_ADMIN_KEY): send it as 'Authorization: Bearer …', or sign in on "
                "the page"
            )
        self.check(key, scope)
        return "key"

    def check(self, key: bytes, scope: Any) -> None:
        """Raises Unauthorized if *key* is not the admin key, TooManyAttempts if its sender has guessed too often."""
        peer = _network(_peer(scope))
        if not self._attempts.test(ATTEMPTS, peer):
            opens_in = self._attempts.get_window_stats(ATTEMPTS, peer).reset_time - self._clock.now()
            raise TooManyAttempts(
                "too many wrong keys came from your address; wait a minute", retry_after=min(max(opens_in, 1.0), 60.0)
            )
        if self._digest is None or not hmac.compare_digest(sha256(key).digest(), self._digest):
            self._attempts.hit(ATTEMPTS, peer)
            raise Unauthorized(
                "wrong admin key: it is what FREEWAY_ADMIN_KEY was when this gateway started; a client's key does not open this"
            )

    def is_page(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether a request comes from the gateway's own page, of an admin: the playground needs no client key."""
        found = _headers(headers)
        if not is_own_origin(found):
            return False
        if self._digest is not None:
            return self._is_signed_in(found)
        return is_local_name(self._host) and _is_called_locally(found)

    def view(self, scope: Any) -> SessionView:
        """What ``GET session`` says."""
        headers = _headers(scope["headers"])
        if self._digest is not None:
            return SessionView(signed_in=self._is_signed_in(headers), needs_key=True)
        try:
            self._check_near(scope, headers)
        except Forbidden as error:
            return SessionView(signed_in=False, needs_key=False, said=error.message)
        return SessionView(signed_in=True, needs_key=False)

    def begin(self, key: str, scope: Any) -> str | None:
        """The token of a session that begins with *key*; None: there is no admin key, and none is needed. Raises as ``admit``."""
        if self._sessions is None:
            self._check_near(scope, _headers(scope["headers"]))
            return None
        self.check(key.encode(), scope)
        return self._sessions.begin(self._clock.now())

    def end(self, scope: Any) -> bool:
        """End the session of the request; whether it had one."""
        if self._sessions is None:
            return False
        now, headers = self._clock.now(), _headers(scope["headers"])
        found = self._is_signed_in(headers)
        for token in _tokens(headers):
            self._sessions.end(token, now)
        return found

    def _is_signed_in(self, headers: dict[bytes, bytes]) -> bool:
        if self._sessions is None:
            return False
        now = self._clock.now()
        return any(self._sessions.valid(token, now) for token in _tokens(headers))

    def _check_near(self, scope: Any, headers: dict[bytes, bytes]) -> None:
        if not self._authenticator.open and not is_local_name(self._host):
            raise Forbidden(
                f"the page and the admin API are off: this gateway listens on {self._host}, where others reach it, and has no admin "
                f"key. Set FREEWAY_ADMIN_KEY, 16 characters or more, and start it again"
            )
        peer = _peer(scope)
        if peer is None or not peer.is_loopback or not _is_called_locally(headers):
            raise Forbidden(
                "with no admin key set the page and the admin API answer this machine only, under a local name and through no "
                "proxy. Set FREEWAY_ADMIN_KEY, 16 characters or more, to use them from elsewhere"
            )


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    return {name: value.strip() for name, value in raw}


def _is_called_locally(headers: dict[bytes, bytes]) -> bool:
    return is_local_name(without_port(headers.get(b"host", b"").decode("latin-1"))) and not _FORWARDED & headers.keys()


def _key(headers: dict[bytes, bytes], method: str) -> bytes:
    """
    The key that is sent as a bearer token; of what only reads also as the password of basic authentication, which is what
    readers of feeds have.
    """
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return token.strip()
    if scheme.lower() == b"basic" and method in READS:
        try:
            return b64decode(token, validate=True).partition(b":")[2]
        except NotBase64:
            return b""
    return b""


def _tokens(headers: dict[bytes, bytes]) -> list[str]:
    """Those of every cookie with our name: another gateway of this machine may have set one under another path."""
    cookies = headers.get(b"cookie", b"").decode("latin-1").split(";")
    pairs = [cookie.strip().partition("=") for cookie in cookies]
    return [token for name, _, token in pairs if name == COOKIE]


def _peer(scope: Any) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that the request came from; None for what has none."""
    try:
        address = ipaddress.ip_address((scope.get("client") or ("",))[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _network(peer: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> str:
    """What attempts are counted by: the address, of IPv6 the network that one holder has."""
    return str(ipaddress.ip_network((peer, 64), strict=False)) if peer is not None and peer.version == 6 else str(peer)


# ── signing in ──


_decode_sign_in = msgspec.json.Decoder(SignIn).decode


@get("/session", opt=_UNGUARDED)
async def signed_in(request: Request[Any, Any, Any], access: NamedDependency[Access]) -> SessionView:
    """Whether the caller is signed in. Never refused."""
    return access.view(request.scope)


@post("/session", status_code=204, opt=_UNGUARDED)
async def sign_in(request: Request[Any, Any, Any], access: NamedDependency[Access]) -> Response[None]:
    """Begin a session with the admin key."""
    asked = decoded(_decode_sign_in, await request.body())
    token = access.begin(asked.key, request.scope)
    noted(request.scope, "signed in")
    return Response(None, status_code=204, cookies=[_cookie(request, token, LASTS)] if token else None)


@delete("/session", status_code=204, opt=_UNGUARDED)
async def sign_out(request: Request[Any, Any, Any], access: NamedDependency[Access]) -> Response[None]:
    """End it, here and at every replica."""
    if access.end(request.scope):
        noted(request.scope, "signed out")
    return Response(None, status_code=204, cookies=[_cookie(request, "", 0)])


def _cookie(request: Request[Any, Any, Any], token: str, lasts: int) -> Cookie:
    """The cookie of a session. A proxy that speaks https for us says so in a header; one who lies about that locks out himself."""
    secure = "https" in (request.scope["scheme"], request.headers.get("x-forwarded-proto", ""))
    return Cookie(key=COOKIE, value=token, path="/", max_age=lasts, httponly=True, samesite="strict", secure=secure)


HANDLERS = (signed_in, sign_in, sign_out)
