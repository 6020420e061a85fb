"""Clients of Redis (or Valkey) by address, for the stores that live there: the quota ledger's and the state's."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster, Sentinel
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

CONNECTIONS = 8
"""Connections that one client makes at most. A command beyond them waits for one, and is not refused."""

_READY = 2
"""Connections that are kept made: one for the exchange of the requests, one for what goes on beside it."""

_SENTINEL_PATIENCE = 1.0
"""Seconds that a sentinel may take to say where the master is. No request waits for it."""

FAILURES = (RedisError, RedisClusterException, OSError)
"""What clients raise that cannot reach Redis, or are refused. A cluster that is gone is no ``RedisError`` to redis-py."""

_EXPECTED = "expected redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"
_URL = re.compile(r"(?:(?P<credentials>[^/]*)@)?(?P<hosts>[^/@]+)(?P<path>/.*)?", re.DOTALL)
_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.%]+)\]|(?P<name>[^\[\]:]+))(?::(?P<port>\d{1,5}))?")


def _yes_or_no(text: str) -> bool:
    if text.lower() not in ("yes", "no", "true", "false", "1", "0"):
        raise ValueError("expected yes or no")
    return text.lower() in ("yes", "true", "1")


def _one_of_certificates(text: str) -> str:
    if text not in ("required", "optional", "none"):
        raise ValueError("expected required, optional or none")
    return text


def _authorities(text: str) -> str:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(text)
    except OSError as exc:  # a file that has no certificate, too
        raise ValueError(f"expected a file of certificates ({exc.strerror or exc})") from exc
    return text


def _file(text: str) -> str:
    if not Path(text).is_file():
        raise ValueError("expected a file")
    return text


def _folder(text: str) -> str:
    if not Path(text).is_dir():
        raise ValueError("expected a folder")
    return text


_OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "db": int,
    "username": str,
    "password": str,
    "ssl_ca_certs": _authorities,
    "ssl_ca_path": _folder,
    "ssl_certfile": _file,
    "ssl_keyfile": _file,
    "ssl_password": str,
    "ssl_cert_reqs": _one_of_certificates,
    "ssl_check_hostname": _yes_or_no,
}
_OF_SENTINELS: Mapping[str, Callable[[str], Any]] = {"sentinel_username": str, "sentinel_password": str}


_BLAMED = (
    (
        r"((?:Hostname|IP address) mismatch[^(]*)",
        "ssl_check_hostname: the server's certificate is of another host ({})",
    ),
    (r"verify failed: ([^(]*)", "ssl_ca_certs: the server's certificate is not of these authorities ({})"),
    (
        r"no sentinel.*(?:invalid username-password|Authentication required)",
        "sentinel_username or sentinel_password: the sentinels refuse them",
    ),
    (r"invalid username-password", "username or password: Redis refuses them"),
    (r"Authentication required", "password: Redis wants one"),
)
"""What a failure says that the address is to blame for, and how that is told: with the option's name first."""


class _Sentinels(Sentinel):
    """Sentinels that say what keeps them from telling where the master is: redis-py tells the kinds of errors alone."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        try:
            found: tuple[str, int] = await super().discover_master(service_name)
        except MasterNotFoundError as exc:
            for sentinel in self.sentinels:
                try:
                    await sentinel.ping()
                except (RedisError, OSError) as refused:
                    raise MasterNotFoundError(f"no sentinel can be asked: {refused}") from exc
            raise MasterNotFoundError(f"no sentinel knows a master called {service_name}") from exc
        return found


class _SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the master that sentinels name, as bounded as those of a single server."""


def connect(url: str) -> tuple[Any, bool]:
    """
    A client for *url*, not yet connected, and whether it is one of a cluster.

    ``redis://``, ``rediss://`` and ``unix://`` are redis-py's; ``redis+sentinel://[user:password@]host:port,…/master[/db]``
    asks sentinels where the master is; ``redis+cluster://host:port`` is any node of a cluster (``rediss+…`` with TLS).
    Raises ``ValueError``, which names what is wrong, for anything else and for an option that is not one of ours: what
    answers look like and how long they take is not the address's business.
    """
    address, _, query = url.partition("?")
    scheme, separator, rest = address.partition("://")
    transport, _, kind = scheme.partition("+")
    if not separator or transport not in ("redis", "rediss", "unix") or kind not in ("", "sentinel", "cluster"):
        raise ValueError(_EXPECTED)
    if transport == "unix" and kind:
        raise ValueError(_EXPECTED)
    options = _options(query, tls=transport == "rediss", sentinel=kind == "sentinel")
    if kind == "sentinel":
        return _sentinel_master(rest, options, tls=transport == "rediss"), False
    plain = f"{transport}://{rest}"
    _verify(plain, cluster=kind == "cluster")
    if kind == "cluster":
        if options.pop("db", 0):
            raise ValueError("the option db: a cluster has no database but 0")
        nodes: Any = RedisCluster.from_url(
            plain.removesuffix("/0"), retry=Retry(NoBackoff(), 2), socket_timeout=None, protocol=2, **options
        )
        return nodes, True
    if transport != "unix":
        options["socket_keepalive"] = True
    pool: Any = BlockingConnectionPool.from_url(plain, **_pooled(), **options)
    return Redis.from_pool(pool), False


async def ready(client: Any) -> None:
    """Have connections of *client* made, so that no request waits for that: a new one takes three round trips or more."""
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        if isinstance(client, RedisCluster):
            await asyncio.gather(*(client.ping(target_nodes=RedisCluster.PRIMARIES) for _ in range(_READY)))
        return
    made = await asyncio.gather(*(pool.get_connection() for _ in range(_READY)), return_exceptions=True)
    for one in made:
        if not isinstance(one, BaseException):
            await pool.release(one)
    for one in made:
        if isinstance(one, BaseException):
            raise one


def why(failure: BaseException) -> str:
    """Why Redis could not be used, in one sentence; if the address is to blame, with the name of the option."""
    text = " ".join(str(failure).split())
    for pattern, told in _BLAMED:
        if found := re.search(pattern, text):
            return "the option " + told.format(*(group.strip(" .,'") for group in found.groups()))
    return f"{type(failure).__name__}: {text}"


async def disconnect(client: Any) -> None:
    """Close the connections of *client*, those to the sentinels that it asked included, which redis-py leaves open."""
    await client.aclose()
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    for sentinel in manager.sentinels if manager is not None else ():
        await sentinel.aclose()


def _pooled() -> dict[str, Any]:
    """What all of our pools have in common. Who waits for a connection has a patience of their own."""
    return {
        "max_connections": CONNECTIONS,
        "timeout": None,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": None,
        "protocol": 2,
    }


def _options(query: str, *, tls: bool, sentinel: bool) -> dict[str, Any]:
    known = {**_OPTIONS, **(_OF_SENTINELS if sentinel else {})}
    found: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise ValueError(f"the option {name} is not known; these are: {', '.join(known)}")
        if name.startswith("ssl_") and not tls:
            raise ValueError(f"the option {name} needs TLS: write rediss in place of redis")
        try:
            found[name] = known[name](text)
        except ValueError as exc:
            because = "expected a number" if known[name] is int else str(exc)
            raise ValueError(f"the option {name}: {because}, got {text!r}") from exc
    if found.get("db", 0) < 0:
        raise ValueError(f"the option db: expected a number from 0 on, got {found['db']}")
    return found


def _verify(plain: str, *, cluster: bool) -> None:
    """Raise ``ValueError`` for what redis-py would pass over: it takes database 0 for one that it cannot read."""
    parts = urlsplit(plain)
    if parts.scheme == "unix":
        if not parts.path:
            raise ValueError("expected the path of a socket: unix:///run/redis.sock")
        return
    if not parts.hostname:
        raise ValueError("expected a host: redis://host:6379/0")
    try:
        _ = parts.port
    except ValueError as exc:
        raise ValueError("the port: expected a number from 0 to 65535") from exc
    _database(parts.path.strip("/"))
    if cluster and parts.path.strip("/") not in ("", "0"):
        raise ValueError("the database: a cluster has none but 0")


def _database(text: str) -> int:
    if text and not text.isdecimal():
        raise ValueError(f"the database: expected a number, got {text!r}")
    return int(text or 0)


def _sentinel_master(rest: str, options: dict[str, Any], *, tls: bool) -> Any:
    parts = _URL.fullmatch(rest)
    if parts is None:
        raise ValueError("expected the sentinels: redis+sentinel://host:26379,host:26379/mymaster")
    user, _, password = (parts["credentials"] or "").partition(":")
    service, _, db = (parts["path"] or "").strip("/").partition("/")
    if not service:
        raise ValueError("expected the master's name: redis+sentinel://host:26379/mymaster")
    access = {name: unquote(text) for name, text in (("username", user), ("password", password)) if text}
    master = {"db": _database(db), "socket_keepalive": True, **access, **options, **_pooled()}
    sentinels = {
        **{name: options[name] for name in options if name.startswith("ssl_")},
        "username": master.pop("sentinel_username", None),
        "password": master.pop("sentinel_password", None),
        "socket_timeout": _SENTINEL_PATIENCE,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "ssl": tls,
    }
    hosts = [_host(each) for each in parts["hosts"].split(",")]
    found: Any = _Sentinels(hosts, sentinel_kwargs=sentinels)  # type: ignore[no-untyped-call]
    return found.master_for(unquote(service), connection_pool_class=_SentinelPool, ssl=tls, **master)


def _host(text: str) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    if found is None or int(found["port"] or 26379) > 65535:
        raise ValueError(f"a sentinel: expected host:26379 or [::1]:26379, got {text!r}")
    return found["v6"] or found["name"], int(found["port"] or 26379)
