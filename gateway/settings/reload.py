"""
What is set anew is taken in while requests go on: keys, clients, sources, names. It is read and checked first; where there is a
mistake all of it stays as it was, and every mistake is told.

    a file changed · SIGHUP · POST /admin/v1/reload ──► read ──► mistakes? told, the old settings stay
                                                                └► each part takes the new ones, in one turn of the loop

A request that has begun keeps what it began with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Struct

from gateway.background import Background
from gateway.clock import Clock
from gateway.events import Event, Reloaded, ReloadRefused
from gateway.settings import BadSettings, Configured, Settings
from gateway.settings.shown import shown
from gateway.settings.variables import ADMIN_KEY, CLIENT_KEY

EVERY = 0.25
"""Seconds between two looks at the files. One that changes is read once it has stayed as it is from one look to the next."""

AT_START = ("responses", "cache", "ledger", "embedded", "names")
"""Tables of which another value counts with the next start."""

_CATALOG_AT_START, _SERVER_ANY_TIME = ("probes", "webhook", "database"), ("origins",)
_VARIABLES_AT_START = ("state_dir", "redis_url", "redis_namespace", "admin_key")

Taker = Callable[[Settings], None]
"""What takes new settings: at once, without waiting, and it may not fail."""


class Changes(Struct, frozen=True):
    """The keys and variables that are set otherwise now; *later* are those that count with the next start."""

    now: tuple[str, ...] = ()
    later: tuple[str, ...] = ()


class Reload:
    """*configured* is what the gateway was started with, *read* finds what is set now. Raises BadSettings, as *read* does."""

    def __init__(self, configured: Configured, read: Callable[[], Configured] | None = None) -> None:
        self.configured = configured
        self._read = read or (lambda: configured)
        self._takers: list[Taker] = []
        self._asked = False
        self._reading = asyncio.Lock()
        self._seen = _signature(configured.files)

    def add(self, *takers: Taker) -> None:
        """*takers* hear of new settings, in this order, after those that were added before."""
        self._takers.extend(takers)

    def wake(self) -> None:
        """Have it read soon, whether or not a file has changed. May be called by a signal's handler."""
        self._asked = True

    async def now(self, tell: Callable[[Event], None]) -> Changes:
        """Read what is set, and take it in. Raises BadSettings, with all mistakes; then everything stays as it was."""
        async with self._reading:
            before = self.configured
            try:
                found = await asyncio.to_thread(self._read)
            except BadSettings as exc:
                tell(ReloadRefused(tuple(str(mistake) for mistake in exc.mistakes)))
                raise
            changes = await asyncio.to_thread(changed, before, found)
            settings = _as_started(found.settings, before.settings)
            self.configured = msgspec.structs.replace(found, settings=settings)
            if changes.now:
                for take in self._takers:
                    take(settings)
            if changes != Changes():
                tell(Reloaded(changes.now, changes.later))
            return changes

    def serve(self, background: Background, clock: Clock, tell: Callable[[Event], None]) -> None:
        """From now on look at the files, if there may be any."""
        if self.configured.files:
            background.run("configuration", partial(self.watch_forever, clock, tell))

    async def watch_forever(self, clock: Clock, tell: Callable[[Event], None]) -> None:
        """The background loop: read whenever a file has changed, or somebody asked for it."""
        last = self._seen
        while True:
            found = await asyncio.to_thread(_signature, self.configured.files)
            if self._asked or (found == last and found != self._seen):
                self._asked, self._seen = False, found
                with suppress(BadSettings):  # it is told, and looked at again once a file is another one
                    await self.now(tell)
            last = found
            await clock.sleep(EVERY)


def _signature(files: Iterable[Path]) -> tuple[object, ...]:
    """Something that is another one once any of *files* was written, came or went."""
    found: list[object] = []
    for path in files:
        try:
            status = path.stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)


def changed(before: Configured, after: Configured) -> Changes:
    """What is set otherwise *after* than *before*."""
    old, new = _values(before), _values(after)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    later = tuple(sorted(name for name in names if _at_start(name)))
    return Changes(tuple(sorted(name for name in names if not _at_start(name))), later)


def _values(configured: Configured) -> Mapping[str, object]:
    """Every value by its key, or by its variable; what is not shown is compared all the same."""
    settings = configured.settings
    found: dict[str, object] = {row.key: row.value for row in shown(configured, everything=True)}
    found |= {settings.provider[name].key_env or name: key for name, key in settings.keys.items()}
    found |= {f"provider.{name}.headers": spec.headers for name, spec in settings.provider.items() if spec.headers}
    found |= {CLIENT_KEY: settings.client_key, ADMIN_KEY: settings.admin_key, "client": settings.client}
    found |= {"FREEWAY_REDIS_URL": settings.redis_url, "FREEWAY_STATE_DIR": str(settings.state_dir)}
    return found


def _at_start(key: str) -> bool:
    """Whether another value of *key* counts with the next start only."""
    table, _, name = key.partition(".")
    if key in (ADMIN_KEY, "FREEWAY_REDIS_URL", "FREEWAY_STATE_DIR", "FREEWAY_REDIS_PREFIX") or table in AT_START:
        return True
    return (table == "server" and name not in _SERVER_ANY_TIME) or (table == "catalog" and name in _CATALOG_AT_START)


def _as_started(found: Settings, before: Settings) -> Settings:
    """*found*, with that as it was *before* which counts with the next start only."""
    server = msgspec.structs.replace(before.server, **_fields(found.server, _SERVER_ANY_TIME))
    catalog = msgspec.structs.replace(found.catalog, **_fields(before.catalog, _CATALOG_AT_START))
    kept = _fields(before, (*(name for name in AT_START if name != "embedded"), *_VARIABLES_AT_START))
    return msgspec.structs.replace(found, server=server, catalog=catalog, **kept)


def _fields(values: Struct, names: Sequence[str]) -> dict[str, object]:
    return {name: getattr(values, name) for name in names}
