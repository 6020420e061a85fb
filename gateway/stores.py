"""Where things are kept: files in the state folder, or Redis, as settings say. Chosen once, when the gateway starts."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from gateway.api.responses_archive import Archive
from gateway.api.responses_store import SqliteResponses
from gateway.clock import Clock
from gateway.events import Event
from gateway.quota.debited import Debited, debited_in_file
from gateway.quota.exchange import Store, StoreFailure
from gateway.quota.sqlite import EmbeddedStore
from gateway.settings import BadSettings, Settings
from gateway.state.private_files import private_file
from gateway.state.sqlite import SqliteState
from gateway.state.store import StateBackend, StateFailure
from gateway.state.vectors import NoVectors, SqliteVectors, Vectors, bytes_of

STATE_FILE = "memory.sqlite"
"""In the state folder. The first version called it so, and what it learned goes on being known."""


LEDGER_FILE = "ledger.sqlite"
"""There, too."""


def make_store(settings: Settings) -> Store:
    """
    Where the ledger keeps its levels: Redis if an address is set, else a file.

    Raises BadSettings if the address is none, or the file cannot be used.
    """
    if settings.redis_url is None:
        path = settings.state_dir / LEDGER_FILE
        try:
            private_file(path)
            return EmbeddedStore(path)
        except (OSError, StoreFailure) as exc:
            raise BadSettings(f"FREEWAY_STATE_DIR: {exc}") from exc
    from gateway.quota.redis import open_store  # noqa: PLC0415 - a tenth of a second, for those who have Redis

    try:
        return open_store(settings.redis_url, settings.accounts(), settings.redis_namespace)
    except ValueError as exc:
        raise BadSettings(f"FREEWAY_REDIS_URL: {exc}") from exc


async def debited(settings: Settings) -> dict[str, Debited]:
    """How many calls the ledger counts as debited, by run. Raises StoreFailure."""
    if settings.redis_url is None:
        return debited_in_file(settings.state_dir / LEDGER_FILE)
    from gateway.quota import redis_peers  # noqa: PLC0415 - see make_store
    from gateway.state.redis_client import connect, disconnect  # noqa: PLC0415

    client, _ = connect(settings.redis_url)
    try:
        return await redis_peers.debited(client, settings.redis_namespace)
    finally:
        await disconnect(client)


def make_state(settings: Settings, clock: Clock, tell: Callable[[Event], None]) -> StateBackend:
    """
    What remembers everything else: the same Redis, or another file. *tell* hears of one that was damaged.

    Raises BadSettings if the file cannot be used.
    """
    if settings.redis_url is None:
        try:
            return SqliteState(settings.state_dir / STATE_FILE, clock, tell)
        except StateFailure as exc:
            raise BadSettings(f"FREEWAY_STATE_DIR: {exc}") from exc
    from gateway.state.redis import RedisState  # noqa: PLC0415
    from gateway.state.redis_client import connect  # noqa: PLC0415 - see make_store

    return RedisState(connect(settings.redis_url)[0], settings.redis_namespace)


def make_vectors(settings: Settings) -> Vectors:
    """
    What keeps vectors that were made, if any are kept: a file, and Redis, too, where that is asked for.

    Raises BadSettings if the file cannot be used, or there is no Redis.
    """
    own = _own_vectors(settings)
    if not settings.cache.shared or not settings.cache.embeddings:
        return own
    if settings.redis_url is None:
        raise BadSettings(
            "cache.shared: there is no Redis to share vectors in: set FREEWAY_REDIS_URL, or shared = false"
        )
    from gateway.state.redis_client import connect  # noqa: PLC0415 - see make_store
    from gateway.state.shared_vectors import SharedVectors  # noqa: PLC0415

    return SharedVectors(own, connect(settings.redis_url)[0], settings.redis_namespace, bytes_of(settings.cache.shared))


def _own_vectors(settings: Settings) -> Vectors:
    size = bytes_of(settings.cache.embeddings) if settings.cache.embeddings else 0
    if not size:
        return NoVectors()
    try:
        return SqliteVectors(settings.state_dir / "vectors.sqlite", size)
    except (OSError, sqlite3.Error) as exc:
        raise BadSettings(f"FREEWAY_STATE_DIR: {exc}") from exc


def make_archive(settings: Settings, clock: Clock) -> Archive:
    """
    What keeps responses and chat completions, if any are kept: in the same Redis, or in a third file.

    Raises BadSettings if the file cannot be used.
    """
    if not settings.responses.store:
        return Archive(None, settings)
    if settings.redis_url is None:
        try:
            return Archive(SqliteResponses(settings.state_dir / "responses.sqlite", clock), settings)
        except (OSError, sqlite3.Error) as exc:
            raise BadSettings(f"FREEWAY_STATE_DIR: {exc}") from exc
    from gateway.api.responses_redis import RedisResponses  # noqa: PLC0415 - see make_store
    from gateway.state.redis_client import connect  # noqa: PLC0415

    return Archive(RedisResponses(connect(settings.redis_url)[0], clock, settings.redis_namespace), settings)
