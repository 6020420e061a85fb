"""Clients of Redis (or Valkey) by address, for the stores that live there: the quota ledger's and the state's."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

_SENTINEL_PATIENCE = 0.25
"""Seconds that a sentinel may take to say where the master is."""


def connect(url: str) -> tuple[Any, bool]:
    """
    A client for *url*, not yet connected, and whether it is one of a cluster.

    ``redis://``, ``rediss://`` and ``unix://`` are redis-py's; ``redis+sentinel://[user:password@]host:port,…/master[/db]``
    asks sentinels where the master is; ``redis+cluster://host:port`` is any node of a cluster (``rediss+…`` with TLS).
    Raises ``ValueError`` for anything else.
    """
    parts = urlsplit(url)
    scheme, _, kind = parts.scheme.partition("+")
    once = Retry(NoBackoff(), 0)
    if scheme not in ("redis", "rediss", "unix") or kind not in ("", "sentinel", "cluster"):
        raise ValueError("expected redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://")
    if kind == "cluster":
        nodes: Any = RedisCluster.from_url(
            url.replace("+cluster", "", 1), retry=Retry(NoBackoff(), 2), socket_timeout=None, protocol=2
        )
        return nodes, True
    if kind == "sentinel":
        return _sentinel_master(parts.netloc, parts.path, ssl=scheme == "rediss"), False
    client: Any = Redis.from_url(url, retry=once, socket_timeout=None, protocol=2)
    return client, False


async def disconnect(client: Any) -> None:
    """Close the connections of *client*, those to the sentinels that it asked included, which redis-py leaves open."""
    await client.aclose()
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    for sentinel in manager.sentinels if manager is not None else ():
        await sentinel.aclose()


def _sentinel_master(netloc: str, path: str, *, ssl: bool) -> Any:
    credentials, _, hosts = netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    service, _, db = path.strip("/").partition("/")
    if not service:
        raise ValueError("expected the master's name: redis+sentinel://host:26379/mymaster")
    access = {"username": unquote(user) or None, "password": unquote(password) or None, "ssl": ssl}
    sentinels = [(host, int(port or 26379)) for host, _, port in (each.partition(":") for each in hosts.split(","))]
    once = Retry(NoBackoff(), 0)
    found: Any = Sentinel(  # type: ignore[no-untyped-call]
        sentinels,
        sentinel_kwargs={"ssl": ssl, "socket_timeout": _SENTINEL_PATIENCE, "retry": once},
        socket_timeout=None,
        retry=once,
        protocol=2,
        **access,
    )
    return found.master_for(service, db=int(db or 0))
