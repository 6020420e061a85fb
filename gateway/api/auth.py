"""Who may call. Keys are kept as SHA-256 and compared in constant time."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from hashlib import sha256
from urllib.parse import parse_qsl

from gateway.api.drain import Drain
from gateway.settings import Client, Settings
from gateway.words import BadRequest, Forbidden, Stopping, Unauthorized

RawHeaders = Iterable[tuple[bytes, bytes]]
ANYBODY = Client(name="anybody", key_sha256="0" * 64)
_LOCAL = (b"localhost", b"127.0.0.1", b"[::1]")


class Authenticator:
    """
    Says which client a request comes from.

    With no key configured everybody may call, with any credential or none; but only by a local name: a web page that
    makes a browser call its own name for this address is refused (DNS rebinding). With keys configured, a client may
    send its key as a bearer token, as ``x-api-key``, as Google's ``x-goog-api-key`` and ``?key=``, or as several of them;
    one that is right is enough, for some programs fill the others with a placeholder.

    Once *drain* has begun every request is refused.
    """

    def __init__(self, settings: Settings, drain: Drain) -> None:
        self._drain = drain
        digests = [(client, bytes.fromhex(client.key_sha256)) for client in settings.client]
        if settings.client_key:
            digest = sha256(settings.client_key.encode())
            digests.append((Client(name="default", key_sha256=digest.hexdigest()), digest.digest()))
        self._digests: Sequence[tuple[Client, bytes]] = tuple(digests)

    @property
    def open(self) -> bool:
        """Whether no key is configured."""
        return not self._digests

    def admit(self, headers: RawHeaders, query: bytes = b"") -> Client:
        """
        The client that *headers*, or the *query* of the address, belong to.

        Raises Unauthorized (no key, or a wrong one), BadRequest (a credential or the host twice: which one was meant
        cannot be told), Forbidden (called by a name that is not local) or Stopping.
        """
        if self._drain.begun:
            raise Stopping
        given: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in _LOOKED_AT and given.setdefault(name, value) != value:
                raise BadRequest(f"two different {name.decode()!r} headers were sent: send one")
        if self.open:
            _check_host(given.get(b"host", b""))
            return ANYBODY
        sent = [given.get(name, b"").strip() for name in _KEY_HEADERS] + [_bearer(given.get(b"authorization", b""))]
        keys = [key for key in (*sent, *_keys_in(query)) if key]
        if not keys:
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


_KEY_HEADERS = (b"x-api-key", b"x-goog-api-key")
_LOOKED_AT = frozenset({b"authorization", b"host", *_KEY_HEADERS})
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


def _check_host(host: bytes) -> None:
    name = host.rsplit(b":", 1)[0] if host.rpartition(b":")[2].isdigit() else host
    if name.lower() not in _LOCAL:
        raise Forbidden(
            f"called as {name.decode('latin-1')!r}: with no client key set this gateway answers only to local names; "
            f"set FREEWAY_API_KEY to be called by others"
        )
