"""Who may call. Keys are kept as SHA-256 and compared in constant time."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from hashlib import sha256

from gateway.api.drain import Drain
from gateway.settings import Client, Settings
from gateway.words import Forbidden, Stopping, Unauthorized

RawHeaders = Iterable[tuple[bytes, bytes]]
ANYBODY = Client(name="anybody", key_sha256="0" * 64)
_LOCAL = (b"localhost", b"127.0.0.1", b"[::1]")


class Doorkeeper:
    """
    Lets callers in.

    With no key configured everybody may call, with any credential or none; but only by a local name: a web page that
    makes a browser call its own name for this address is not let in (DNS rebinding).

    Once *drain* has begun nobody is let in.
    """

    def __init__(self, settings: Settings, drain: Drain) -> None:
        self._drain = drain
        hashes = [(client, bytes.fromhex(client.key_sha256)) for client in settings.client]
        if settings.client_key:
            digest = sha256(settings.client_key.encode())
            hashes.append((Client(name="default", key_sha256=digest.hexdigest()), digest.digest()))
        self._hashes: Sequence[tuple[Client, bytes]] = tuple(hashes)

    @property
    def open(self) -> bool:
        return not self._hashes

    @property
    def closed(self) -> bool:
        return self._drain.begun

    def admit(self, headers: RawHeaders) -> Client:
        """The client that *headers* belong to. Raises Unauthorized, Forbidden or Stopping."""
        if self._drain.begun:
            raise Stopping
        found = {name: value for name, value in headers if name in (b"authorization", b"x-api-key", b"host")}
        if self.open:
            _check_host(found.get(b"host", b""))
            return ANYBODY
        given = found.get(b"x-api-key") or _bearer(found.get(b"authorization", b""))
        if not given:
            raise Unauthorized("no API key: send it as 'Authorization: Bearer …' or as 'x-api-key: …'")
        digest, client = sha256(given).digest(), None
        for one, known in self._hashes:  # all of them: the time taken tells nothing
            if hmac.compare_digest(digest, known):
                client = one
        if client is None:
            raise Unauthorized("wrong API key")
        return client


def _bearer(value: bytes) -> bytes:
    scheme, _, token = value.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def _check_host(host: bytes) -> None:
    name = host.rsplit(b":", 1)[0] if host.rpartition(b":")[2].isdigit() else host
    if name.lower() not in _LOCAL:
        raise Forbidden(
            f"called as {name.decode('latin-1')!r}: with no client key set this gateway answers only to local names; "
            f"set FREEWAY_API_KEY to be called by others"
        )
