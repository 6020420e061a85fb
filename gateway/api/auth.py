"""Who may call. Keys are kept as SHA-256 and compared in constant time."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from urllib.parse import parse_qsl

from gateway.api.drain import Drain
from gateway.settings import Client, Settings
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

    With no key configured everybody may call, with any credential or none; what keeps web pages out then is in
    ``origins``. With keys configured, a client may send its key as a bearer token, as ``x-api-key``, as Google's
    ``x-goog-api-key`` and ``?key=``, or as several of them; one that is right is enough, for some programs fill the others
    with a placeholder. *network_key* is made anew for each process: it admits as NETWORK, and nobody outside knows it.

    Once *drain* has begun every request is refused. *is_page* says of the headers of a request without a key whether it comes from
    the gateway's own page: app.py sets it.
    """

    is_page: Callable[[RawHeaders], bool] | None = None

    def __init__(self, settings: Settings, drain: Drain) -> None:
        self._drain = drain
        digests = [(client, bytes.fromhex(client.key_sha256)) for client in settings.client]
        if settings.client_key:
            digest = sha256(settings.client_key.encode())
            digests.append((Client(name="default", key_sha256=digest.hexdigest()), digest.digest()))
        self.network_key = secrets.token_urlsafe(32)
        if digests:
            digests.append((NETWORK, sha256(self.network_key.encode()).digest()))
        self._digests: Sequence[tuple[Client, bytes]] = tuple(digests)

    @property
    def open(self) -> bool:
        """Whether no key is configured."""
        return not self._digests

    def admit(self, headers: RawHeaders, query: bytes = b"", path: str = "") -> Client:
        """
        The client that *headers*, or the *query* of the address, belong to, for the surface at *path*.

        Raises Unauthorized (no key, or a wrong one), BadRequest (a credential twice: which one was meant cannot be told)
        or Stopping.
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
        client = None
        for key in keys:
            client = self._client(key) or client
        if client is None:
            raise Unauthorized("wrong API key")
        return client

    def _client(self, key: bytes) -> Client | None:
        digest, client = sha256(key).digest(), None
        for one, known in self._digests:  # all of them: the time taken tells nothing
            if hmac.compare_digest(digest, known):
                client = one
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
