"""
Settings are read once: the shipped ``config/``, then a file of one's own, then the environment.

Nothing here looks at the machine: files and environment come in as arguments.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gateway.quota import configured as quotas
from gateway.settings.values import BadSettings, Secret, Server, Settings, Virtual
from providers import dialects
from providers.located import located
from providers.spec import ProviderSpec

T = TypeVar("T")

_SHIPPED = ("gateway.toml", "aliases.toml", "models.toml", "not_free.toml")
_NAMES = "names.toml"

_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://[^/\s?#@*]+", re.IGNORECASE)
_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def load(config: Path, environ: Mapping[str, str], home: Path, source: Path | None = None) -> Settings:
    """
    Read the shipped *config* folder, the file that ``FREEWAY_CONFIG`` names, and *environ*. The provider in *source* is then the
    only one. Raises BadSettings.
    """
    tables: dict[str, Any] = {"provider": {}}
    for name in _SHIPPED:
        _merge(tables, _read(config / name))
    tables["names"] = _read(config / _NAMES)
    for path in sorted((config / "providers").glob("*.toml")):
        tables["provider"][path.stem] = _read(path)
    shipped = _settings(tables, str(config))
    own = environ.get("FREEWAY_CONFIG")
    if own:
        _merge(tables, _read(Path(own)))
        shipped = _settings(tables, own)
    if source is not None:
        tables["provider"] = {source.stem: _read(source)}
        shipped = _settings(tables, str(source))
    return _with_environment(shipped, environ, home)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise BadSettings(f"{path}: cannot be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise BadSettings(f"{path}: is not TOML: {exc}") from exc


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Tables are merged key by key; everything else, lists too, is replaced."""
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _settings(tables: dict[str, Any], origin: str) -> Settings:
    only_environment = {
        "keys",
        "useless_keys",
        "state_dir",
        "client_key",
        "admin_key",
        "redis_url",
        "redis_namespace",
    } & tables.keys()
    if only_environment:
        raise BadSettings(f"{origin}: {min(only_environment)}: is set by the environment, not in a file")
    for name, table in tables["provider"].items():
        if isinstance(table, dict):
            table["name"] = name
        _converted(table, ProviderSpec, origin, f"provider.{name}")
    for name, table in tables.get("virtual", {}).items():
        _converted(table, Virtual, origin, f'virtual."{name}"')
    found = _converted(tables, Settings, origin)
    try:
        for spec in found.provider.values():
            quotas.verify(spec)
            dialects.verify(spec)
        _check_server(found.server)
    except ValueError as exc:
        raise BadSettings(f"{origin}: {exc}") from exc
    return found


def _check_server(server: Server) -> None:
    for origin in server.origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ValueError(f"server.origins: expected an origin like https://chat.example:8443, or *, got {origin!r}")
    for network in server.ollama_networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as exc:
            raise ValueError(f"server.ollama_networks: expected networks like 192.168.1.0/24: {exc}") from exc
    if server.ollama:
        server.ollama_address()


def _converted(table: Any, kind: type[T], origin: str, below: str = "") -> T:
    """*table*, which stands *below* a key of *origin*, as a *kind*; raises BadSettings naming file and key."""
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as exc:
        what, _, where = str(exc).partition(" - at `$")
        key = f"{below}{where.rstrip('`')}".lstrip(".")
        raise BadSettings(f"{origin}: {key or 'top level'}: {what[:1].lower()}{what[1:]}") from exc


def _with_environment(settings: Settings, environ: Mapping[str, str], home: Path) -> Settings:
    keys, providers = {}, {}
    for name, spec in settings.provider.items():
        variables = (spec.key_env, *spec.key_env_also) if spec.key_env else ()
        found = next((variable for variable in variables if environ.get(variable, "").strip()), None)
        if found is not None:
            keys[name] = Secret(_plain(environ[found].strip(), found))
        try:
            providers[name] = located(spec, environ)
        except ValueError as exc:
            raise BadSettings(str(exc)) from exc
    client_key = environ.get("FREEWAY_API_KEY", "").strip() or None
    admin_key = environ.get("FREEWAY_ADMIN_KEY", "").strip() or None
    catalog = msgspec.structs.replace(
        settings.catalog, database=environ.get("MODELS_DEV_URL", settings.catalog.database).strip()
    )
    redis_url = environ.get("FREEWAY_REDIS_URL", "").strip()
    prefix = environ.get("FREEWAY_REDIS_PREFIX", "").strip()
    if prefix and not _PREFIX.fullmatch(prefix):
        raise BadSettings(f"FREEWAY_REDIS_PREFIX: expected letters, digits, '-', '_' and '.', got {prefix!r}")
    state = environ.get("FREEWAY_STATE_DIR")
    data_home = environ.get("XDG_DATA_HOME")
    default_state = (Path(data_home) if data_home else home / ".local" / "share") / "freeway"
    server = msgspec.structs.replace(
        settings.server,
        host=environ.get("HOST") or settings.server.host,
        port=_port(environ.get("PORT")) if environ.get("PORT") else settings.server.port,
    )
    return msgspec.structs.replace(
        settings,
        server=server,
        catalog=catalog,
        provider=providers,
        keys=keys,
        useless_keys=tuple(key for one in settings.not_free for key in one.keys if environ.get(key, "").strip()),
        state_dir=Path(state) if state else default_state,
        client_key=Secret(client_key) if client_key else None,
        admin_key=Secret(admin_key) if admin_key else None,
        redis_url=Secret(redis_url) if redis_url else None,
        redis_namespace=f"freeway:{prefix}" if prefix else "freeway",
    )


def _plain(key: str, variable: str | None) -> str:
    if not key.isascii() or not key.isprintable() or " " in key:
        raise BadSettings(f"{variable}: a key has only printable ASCII characters and no blanks")
    return key


def _port(text: str | None) -> int:
    try:
        port = int(text or "")
    except ValueError:
        port = -1
    if not 0 <= port <= 65535:
        raise BadSettings(f"PORT: expected a number from 0 to 65535, got {text!r}")
    return port
