"""Settings for who reads them: each key, its value as TOML, and where it comes from. Secrets are never among them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from gateway.settings.files import Keys
from gateway.settings.reading import Configured
from gateway.settings.shape import as_toml, path_of
from gateway.settings.values import OF_ENVIRONMENT
from gateway.settings.variables import KEYLESS, OWN, key_names

HIDDEN = '"***"'

_SECRETS = ("headers", "key_sha256")
_MAY_CARRY_KEYS = ("webhook",)


class Shown(Struct, frozen=True, kw_only=True):
    """The setting *key*, or the variable of that name, its *value* as TOML, and its *source*."""

    key: str
    value: str
    source: str


def shown(configured: Configured, *, everything: bool = False) -> list[Shown]:
    """What differs from what is shipped, or *everything*: tables first, then variables."""
    settings, rows = configured.settings, []
    names = [name for name in settings.__struct_fields__ if name not in OF_ENVIRONMENT]
    for keys, value in _leaves({name: msgspec.to_builtins(getattr(settings, name)) for name in names}):
        path = path_of(keys)
        source = configured.origins.get(path) or _by_variable(path, configured)
        if source or everything:
            rows.append(Shown(key=path, value=_value(keys, value), source=source or "shipped"))
    return [*rows, *_of_variables(configured)]


def _of_variables(configured: Configured) -> Iterator[Shown]:
    """The variables that are set and are no key of a table. What may be a secret is hidden."""
    settings = configured.settings
    open_ones = {
        "FREEWAY_STATE_DIR": str(settings.state_dir),
        "FREEWAY_REDIS_PREFIX": settings.redis_namespace,
        KEYLESS: "1",
    }
    addresses = {
        variable: spec.base_url
        for spec in settings.provider.values()
        for variable in (spec.base_url_env, *spec.base_url_needs.values())
        if variable
    }
    names = {name for spec in settings.provider.values() for name in key_names(spec)} | OWN.keys() | addresses.keys()
    for name in sorted(names & configured.origins.keys()):
        if name not in _TABLE_KEYS:
            value = open_ones.get(name) or addresses.get(name)
            yield Shown(key=name, value=as_toml(value) if value else HIDDEN, source=configured.origins[name])


_TABLE_KEYS = {"HOST": "server.host", "PORT": "server.port", "MODELS_DEV_URL": "catalog.database"}
"""Variables that set a key of a table, which is shown in their place."""


def _by_variable(path: str, configured: Configured) -> str | None:
    return next((configured.origins.get(name) for name, key in _TABLE_KEYS.items() if key == path), None)


def _leaves(value: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Every value that is no table, and the way to it. Lists of tables are one value: they are replaced as a whole."""
    if isinstance(value, Mapping) and value and not (keys and keys[-1] in _SECRETS):
        for name, one in value.items():
            yield from _leaves(one, (*keys, name))
    else:
        yield keys, value


def _value(keys: Keys, value: Any) -> str:
    if keys[-1] in _SECRETS:
        return HIDDEN if value else as_toml(value)
    if keys[-1] in _MAY_CARRY_KEYS and value:
        return as_toml("{0.scheme}://{0.hostname}/***".format(urlsplit(value)))
    return as_toml(_without_secrets(value))


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: "***" if name in _SECRETS else _without_secrets(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(one) for one in value]
    return value
