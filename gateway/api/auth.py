"""Who may call. Keys are kept as SHA-256 and compared in constant time."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import parse_qsl

from gateway.api.drain import Drain
from gateway.api.origins import is_local_name
from gateway.clock import Clock
from gateway.settings import Settings
from gateway.settings.clients import Client
from gateway.state.clients import Kept
from gateway.words import BadRequest, Stopping, Unauthorized

RawHeaders = Iterable[tuple[bytes, bytes]]
ANYBODY = Client(name="anybody", key_sha256="0" * 64)
NETWORK = Client(name="network", key_sha256="0" * 64)
"""The programs of the networks that need no key (``[server] ollama_networks``)."""

PAGE = Client(name="page", key_sha256="0" * 64)
"""The playground of the gateway's own page, used by an admin."""

PLAYGROUND = "/v1/chat/completions"
"""Where the page needs no key."""

KEY_OF_KEYLESS = b"x-freeway-key"
"""Where ``keyless`` puts the key of a program that cannot send a header."""


class Authenticator:
    """
    Says which client a request comes from.

    With no key at all everybody may call, with any credential or none; what keeps web pages out then is in ``origins``. Else a
    client sends its key as a bearer token, as ``x-api-key``, as Google's ``x-goog-api-key`` and ``?key=``, or as several of
    them; one that is right is enough, for some programs fill the others with a placeholder. Clients are *declared* in the
    configuration or *kept* in the store; of two of one name the declared one counts. *network_key* is made anew for each
    process: it admits as NETWORK, and nobody outside knows it.

    Once *drain* has begun every request is refused. *is_page* says of the headers of a request without a key whether it comes from
    the gateway's own page: app.py sets it.
    """

    is_page: Callable[[RawHeaders], bool] | None = None

    def __init__(self, settings: Settings, drain: Drain, clock: Clock) -> None:
        self._drain, self._clock = drain, clock
        self.network_key = secrets.token_urlsafe(32)
        self._declared: Sequence[Client] = ()
        self._kept: Mapping[str, Kept] = {}
        places = [settings.server.host, *([settings.server.ollama_address()[0]] if settings.server.ollama else [])]
        self._may_be_open = all(map(is_local_name, places))
        self._digests: Sequence[tuple[Kept, bytes]] = ()
        self.declare(settings.clients())

    def declare(self, clients: Sequence[Client]) -> None:
        """From now on *clients* are those of the configuration."""
        self._declared = tuple(clients)
        self._renew()

    def keep(self, kept: Mapping[str, Kept]) -> None:
        """From now on *kept* are those of the store, by name, the revoked ones too."""
        self._kept = kept
        self._renew()

    def _renew(self) -> None:
        known = [Kept(client=client, made_at=0.0) for client in self._declared]
        known += [kept for name, kept in self._kept.items() if name not in self.declared]
        digests = [(kept, bytes.fromhex(kept.client.key_sha256)) for kept in known]
        if digests:
            digests.append((Kept(client=NETWORK, made_at=0.0), sha256(self.network_key.encode()).digest()))
        self._digests = tuple(digests)

    @property
    def declared(self) -> frozenset[str]:
        """The names of the clients that the configuration has."""
        return frozenset(client.name for client in self._declared)

    @property
    def clients(self) -> list[tuple[Client, bool]]:
        """Those that may call, by name, and whether they are declared."""
        found = {name: (one.client, False) for name, one in self._kept.items() if one.revoked_at is None}
        found |= {client.name: (client, True) for client in self._declared}
        return [found[name] for name in sorted(found)]

    @property
    def open(self) -> bool:
        """Whether no key was ever made or configured, and none but this machine can call."""
        return not self._digests and self._may_be_open

    def admit(self, headers: RawHeaders, query: bytes = b"", path: str = "") -> Client:
        """
        The client that *headers*, or the *query* of the address, belong to, for the surface at *path*.

        Raises Unauthorized (no key, a wrong one, or one that is not taken any more), BadRequest (a credential twice: which
        one was meant cannot be told) or Stopping.
        """
        if self._drain.begun:
            raise Stopping
        given: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in _LOOKED_AT and given.setdefault(name, value) != value:
                raise BadRequest(f"two different {name.decode()!r} headers were sent: send one")
        if self.open:
            return ANYBODY
        sent = [given.get(name, b"").strip() for name in _KEY_HEADERS] + [_bearer(given.get(b"authorization", b""))]
        keys = [key for key in (*sent, *_keys_in(query)) if key]
        if not keys:
            if path == PLAYGROUND and self.is_page is not None and self.is_page(headers):
                return PAGE
            raise Unauthorized("no API key: send it as 'Authorization: Bearer …' or as 'x-api-key: …'")
        found = None
        for key in keys:
            found = self._found(key) or found
        if found is None:
            raise Unauthorized("wrong API key")
        return self._unless_over(found)

    def _found(self, key: bytes) -> Kept | None:
        digest, found = sha256(key).digest(), None
        for one, known in self._digests:  # all of them: the time taken tells nothing
            if hmac.compare_digest(digest, known):
                found = one
        return found

    def _unless_over(self, found: Kept) -> Client:
        client = found.client
        if found.revoked_at is not None:
            raise Unauthorized(
                f"the key of client {client.name!r} was revoked: ask whoever runs this gateway for another"
            )
        if client.expires is not None and self._clock.now() >= client.expires_at:
            day = datetime.fromtimestamp(client.expires_at, UTC)
            raise Unauthorized(
                f"the key of client {client.name!r} expired at {day:%Y-%m-%d %H:%M} UTC: ask whoever runs this gateway to "
                f"renew it"
            )
        return client


_KEY_HEADERS = (b"x-api-key", b"x-goog-api-key", KEY_OF_KEYLESS)
_LOOKED_AT = frozenset({b"authorization", *_KEY_HEADERS})
_MOST_FIELDS = 100


def _bearer(value: bytes) -> bytes:
    scheme, _, token = value.strip().partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def _keys_in(query: bytes) -> list[bytes]:
    """Every ``key`` of *query*. Google's programs send it so; it is never logged, for no address is."""
    if b"key=" not in query:
        return []
    try:
        fields = parse_qsl(query.decode("latin-1"), max_num_fields=_MOST_FIELDS)
    except ValueError:
        return []
    return [value.encode("utf-8", "replace") for name, value in fields if name == "key"]
