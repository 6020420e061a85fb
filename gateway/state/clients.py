"""
The clients that were made by a command or by the admin API: kept in the state, so that every gateway of one store admits
them. Of their keys only hashes are kept.

One that was revoked stays known as such: its key is told what became of it, and a gateway does not stand open because the last
key was taken away.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct

from gateway.clock import Clock
from gateway.settings.clients import Client, verify
from gateway.state.store import StateStore

TOPIC = "clients"

RESERVED = frozenset({"anybody", "network", "default", "page"})
"""Names of those who call without a key of their own."""

_NO_KEY = "0" * 64
"""The hash of no text that anybody knows."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@+-]{0,63}")


class Kept(Struct, frozen=True, kw_only=True):
    """A *client*, since when (unix seconds), and since when its key is not taken any more."""

    client: Client
    made_at: float
    revoked_at: float | None = None


class KeptClients:
    """
    The clients in *state*. *declared* are the names that the configuration has: none of them can be made here. What is
    changed is known here at once, and elsewhere within about a second.
    """

    def __init__(self, state: StateStore, clock: Clock, declared: Callable[[], frozenset[str]] = frozenset) -> None:
        self._state, self._clock, self._declared = state, clock, declared
        self._kept: Mapping[str, Kept] = {}
        self._watchers: list[Callable[[Mapping[str, Kept]], None]] = []
        state.watch(TOPIC, Kept, self._read)

    def watch(self, watcher: Callable[[Mapping[str, Kept]], None]) -> None:
        """*watcher* hears all of them, the revoked ones too, by name: now, and whenever one changes."""
        self._watchers.append(watcher)
        watcher(self._kept)

    @property
    def any(self) -> bool:
        """Whether there is or was one."""
        return bool(self._kept)

    def all(self) -> list[Client]:
        """Those that may call, by name."""
        return [kept.client for _, kept in sorted(self._kept.items()) if kept.revoked_at is None]

    def get(self, name: str) -> Client | None:
        """The one called *name*, unless it was revoked."""
        kept = self._kept.get(name)
        return None if kept is None or kept.revoked_at is not None else kept.client

    def add(self, name: str, **allowed: Any) -> str:
        """
        Make the client *name*, with what is *allowed* to it (fields of ``Client``); returns its key, which is not kept.

        Raises ``ValueError`` if the name is taken or is none, or a field is not as it should be.
        """
        if not _NAME.fullmatch(name) or name in RESERVED:
            raise ValueError(
                f"{name[:80]!r} is no name for a client: letters, digits, blanks and . _ @ + - (64 at most), and not "
                f"{', '.join(sorted(RESERVED))}"
            )
        if name in self._declared():
            raise ValueError(
                f"the configuration file has a client {name!r} already: choose another name, or change it there"
            )
        if self.get(name) is not None:
            raise ValueError(f"there is a client {name!r} already: change its limits, rotate its key, or revoke it")
        key = _new_key()
        self._set(Kept(client=_made({**allowed, "name": name, "key_sha256": _hash(key)}), made_at=self._clock.now()))
        return key

    def change(self, name: str, **changes: Any) -> Client:
        """Change fields of the client *name*. Raises ``KeyError`` if there is none, ``ValueError`` as ``add`` does."""
        kept = self._kept_as(name)
        fields = msgspec.structs.asdict(kept.client) | changes
        client = _made({**fields, "name": name, "key_sha256": kept.client.key_sha256})
        self._set(msgspec.structs.replace(kept, client=client))
        return client

    def rotate(self, name: str) -> str:
        """Give the client *name* another key; the one that it had is not taken any more. Raises ``KeyError``."""
        kept, key = self._kept_as(name), _new_key()
        client = msgspec.structs.replace(kept.client, key_sha256=_hash(key))
        self._set(msgspec.structs.replace(kept, client=client))
        return key

    def revoke(self, name: str) -> None:
        """The key of the client *name* is not taken any more. Raises ``KeyError``."""
        self._set(msgspec.structs.replace(self._kept_as(name), revoked_at=self._clock.now()))

    def forget(self) -> list[str]:
        """Forget those that were revoked, or cannot be read; returns their names. Their keys are as wrong as any from then on."""
        names = sorted(name for name, kept in self._kept.items() if kept.revoked_at is not None)
        for name in names:
            self._state.set(TOPIC, name, None)
        self._hear({name: kept for name, kept in self._kept.items() if kept.revoked_at is None})
        return names

    def _kept_as(self, name: str) -> Kept:
        if self.get(name) is None:
            where = ": it stands in the configuration file, and is changed there" if name in self._declared() else ""
            raise KeyError(f"no client {name[:80]!r} is kept here{where}")
        return self._kept[name]

    def _set(self, kept: Kept) -> None:
        self._state.set(TOPIC, kept.client.name, kept)
        self._hear({**self._kept, kept.client.name: kept})

    def _read(self, kept: Mapping[str, Kept]) -> None:
        """Of a client that cannot be read it is known that there is one: the gateway is not open, and its key is not taken."""
        unread = {
            name: Kept(client=Client(name=name, key_sha256=_NO_KEY), made_at=0.0, revoked_at=0.0)
            for name in self._state.unread(TOPIC)
        }
        self._hear({**unread, **kept})

    def _hear(self, kept: Mapping[str, Kept]) -> None:
        self._kept = kept
        for watcher in self._watchers:
            watcher(kept)


def _made(fields: Mapping[str, Any]) -> Client:
    """A client of *fields*. Raises ``ValueError``, naming the field."""
    try:
        client = msgspec.convert(fields, Client)
    except msgspec.ValidationError as exc:
        what, _, where = str(exc).partition(" - at `$.")
        raise ValueError(f"{where.rstrip('`') + ': ' if where else ''}{what[:1].lower()}{what[1:]}") from exc
    verify(client)
    return client


def _new_key() -> str:
    return f"fw-{secrets.token_urlsafe(32)}"


def _hash(key: str) -> str:
    return sha256(key.encode()).hexdigest()
