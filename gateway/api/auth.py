"""Who may call. Keys are kept as SHA-256 and compared in constant time."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from hashlib import sha256

from gateway.api.drain import Drain
from gateway.settings import Client, Settings
from gateway.words import BadRequest, Stopping, Unauthorized

RawHeaders = Iterable[tuple[bytes, bytes]]
ANYBODY = Client(name="anybody", key_sha256="0" * 64)


class Authenticator:
    """
    Says which client a request comes from.

    With no key configured everybody may call, with any credential or none; what keeps web pages out then is in
    ``origins``. With keys configured, a client may send its key as a bearer token, as ``x-api-key``, or as both; one that is
    right is enough, for some programs fill the other with a placeholder.

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

    def admit(self, headers: RawHeaders) -> Client:
        """
        The client that *headers* belong to.

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
        keys = [key for key in (given.get(b"x-api-key", b"").strip(), _bearer(given.get(b"authorization", b""))) if key]
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


_LOOKED_AT = frozenset({b"authorization", b"x-api-key"})


def _bearer(value: bytes) -> bytes:
    scheme, _, token = value.strip().partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""
