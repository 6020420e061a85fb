"""
What variables say: of the environment, of ``keys.env`` in the folder of the configuration, of a working folder's ``.env``.

Of the last only keys are read: a folder that was copied from somewhere must not say where keys and prompts go. Files and
environment come in as arguments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from gateway.settings.files import Variables
from gateway.settings.shape import suggestion
from gateway.settings.values import Mistake, Secret, Settings
from providers.located import located
from providers.spec import ProviderSpec

ENVIRONMENT = "environment"

CLIENT_KEY, ADMIN_KEY, KEYLESS = "FREEWAY_API_KEY", "FREEWAY_ADMIN_KEY", "FREEWAY_KEYLESS"

OWN: dict[str, str] = {
    "HOST": "where the gateway listens: `server.host`",
    "PORT": "the port there: `server.port`",
    "FREEWAY_CONFIG": "the file that is read in place of `config.toml`",
    CLIENT_KEY: "a key that callers must send; on an address that others can reach there must be one, of 16 characters or more",
    ADMIN_KEY: "the key of the page and of `/admin/v1`",
    "FREEWAY_STATE_DIR": "the folder of the ledger and of what is learned; else `freeway` in `XDG_DATA_HOME`, or in `~/.local/share`",
    "FREEWAY_REDIS_URL": "the Redis that replicas share, as `redis://…`; none: files in the state folder",
    "FREEWAY_REDIS_PREFIX": "what sets this gateway's keys in Redis apart from another one's",
    "FREEWAY_HINT": "what is said where no source has a key: for packages, which know how one is set there",
    KEYLESS: "`1`: prompts may go to sources that need no key",
    "FREEWAY_GATEWAY": "the gateway that commands ask, as `http://host:port`; else the address that is configured",
    "MODELS_DEV_URL": "the models database: `catalog.database`",
    "XDG_CONFIG_HOME": "where the folder `freeway` of the configuration lies; else `~/.config`",
}
"""The variables that are read beside those of the providers, and what each says."""

_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Layer(Struct, frozen=True):
    """Variables of one kind of place, its *title*, and the *file* that they stand in, if it is one."""

    title: str
    values: Mapping[str, str]
    file: Variables | None = None

    def where(self, name: str) -> str:
        """The place of the variable *name*, with its line."""
        return self.title if self.file is None else self.file.where(name)

    def origin(self, name: str) -> str:
        """The same in short."""
        return self.title if self.file is None else f"{self.title}:{self.file.lines[name]}"


class Layers:
    """Variables of several places, of which the first has the last word. A blank one says nothing."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers

    def find(self, *names: str) -> tuple[str, str, Layer] | None:
        """The first of *names* that the first place has: name, value and place."""
        for layer in self._layers:
            for name in names:
                if value := layer.values.get(name, "").strip():
                    return name, value, layer
        return None

    def get(self, name: str) -> str:
        """The value of *name*; "" if there is none."""
        found = self.find(name)
        return found[1] if found else ""

    def together(self) -> dict[str, str]:
        """All of them."""
        names = {name for layer in self._layers for name in layer.values}
        return {name: self.get(name) for name in names}


def key_names(spec: ProviderSpec) -> tuple[str, ...]:
    """The variables that may hold the key of *spec*."""
    return (spec.key_env, *spec.key_env_also) if spec.key_env else ()


def keys_in_folder(settings: Settings) -> set[str]:
    """What is read of a working folder's ``.env``."""
    return {CLIENT_KEY, *(name for spec in settings.provider.values() for name in key_names(spec))}


def keys_at_home(settings: Settings) -> set[str]:
    """What ``keys.env`` may hold: keys, what belongs to them, and whether prompts may go where none is needed."""
    belonging = {name for spec in settings.provider.values() for name in spec.base_url_needs.values()}
    return keys_in_folder(settings) | belonging | {ADMIN_KEY, KEYLESS}


def layer_at_home(file: Variables, settings: Settings, mistakes: list[Mistake]) -> Layer:
    """``keys.env``, which may hold nothing else than it should."""
    known = keys_at_home(settings)
    for name in file.values.keys() - known:
        told = f"{suggestion(name, sorted(known), 'it holds')} What is no key belongs into the environment"
        mistakes.append(Mistake(file.where(name), name, "is no key that is known", told))
    mistakes.extend(file.mistakes)
    return Layer("keys.env", {name: value for name, value in file.values.items() if name in known}, file)


def layer_of_folder(file: Variables, settings: Settings, notes: list[str]) -> Layer:
    """A working folder's ``.env``: others write it for their programs, too, so that nothing in it is a mistake."""
    known = keys_in_folder(settings)
    ours = {*OWN, *keys_at_home(settings), *(spec.base_url_env or "" for spec in settings.provider.values())} - known
    unread = sorted(file.values.keys() & ours)
    notes.extend(f"{file.where(name)}: {name} is not read: of a working folder's .env only keys are" for name in unread)
    return Layer(".env", {name: value for name, value in file.values.items() if name in known}, file)


def with_variables(
    settings: Settings, layers: Layers, environ: Mapping[str, str], home: Path, mistakes: list[Mistake]
) -> tuple[Settings, dict[str, str]]:
    """*settings* with what variables say, and where each of those comes from. What is wrong is added to *mistakes*."""
    origins: dict[str, str] = {}
    keys, together = {}, layers.together()
    providers: dict[str, ProviderSpec] = {}
    for name, spec in settings.provider.items():
        if found := layers.find(*key_names(spec)):
            variable, value, layer = found
            keys[name], origins[variable] = Secret(value), layer.origin(variable)
            if not value.isascii() or not value.isprintable() or " " in value:
                what = "a key has only printable ASCII characters and no blanks"
                mistakes.append(
                    Mistake(layer.where(variable), variable, what, f"copy it anew from {spec.get_a_key or spec.docs}")
                )
        try:
            providers[name] = located(spec, together)
        except ValueError as exc:
            variable, _, what = str(exc).partition(": ")
            mistakes.append(Mistake(ENVIRONMENT, variable, what, "correct it, or leave it out"))
            providers[name] = spec
        for other in filter(None, (spec.base_url_env, spec.hub_env, *spec.base_url_needs.values())):
            if found := layers.find(other):
                origins[other] = found[2].origin(other)
    for variable in OWN:
        if found := layers.find(variable):
            origins[variable] = found[2].origin(variable)
    _check(layers, mistakes)
    server, database = settings.server, environ.get("MODELS_DEV_URL", settings.catalog.database).strip()
    state, client, admin, redis = (
        layers.get(name) for name in ("FREEWAY_STATE_DIR", CLIENT_KEY, ADMIN_KEY, "FREEWAY_REDIS_URL")
    )
    prefix, data_home = layers.get("FREEWAY_REDIS_PREFIX"), environ.get("XDG_DATA_HOME")
    found_settings = msgspec.structs.replace(
        settings,
        server=msgspec.structs.replace(
            server, host=layers.get("HOST") or server.host, port=_port(layers.get("PORT"), server.port)
        ),
        catalog=msgspec.structs.replace(settings.catalog, database=database),
        provider=providers,
        keys=keys,
        useless_keys=tuple(key for one in settings.not_free for key in one.keys if layers.get(key)),
        state_dir=Path(state) if state else (Path(data_home) if data_home else home / ".local" / "share") / "freeway",
        client_key=Secret(client) if client else None,
        admin_key=Secret(admin) if admin else None,
        redis_url=Secret(redis) if redis else None,
        redis_namespace=f"freeway:{prefix}" if prefix else "freeway",
        hint=layers.get("FREEWAY_HINT") or settings.hint,
    )
    return found_settings, origins


def _check(layers: Layers, mistakes: list[Mistake]) -> None:
    if (port := layers.find("PORT")) and _port(port[1], -1) < 0:
        what = f"expected a number from 0 to 65535, got {port[1]!r}"
        mistakes.append(Mistake(port[2].where("PORT"), "PORT", what, "for example PORT=8000"))
    if (prefix := layers.find("FREEWAY_REDIS_PREFIX")) and not _PREFIX.fullmatch(prefix[1]):
        what = f"expected letters, digits, '-', '_' and '.', got {prefix[1]!r}"
        remedy = "for example FREEWAY_REDIS_PREFIX=home"
        mistakes.append(Mistake(prefix[2].where("FREEWAY_REDIS_PREFIX"), "FREEWAY_REDIS_PREFIX", what, remedy))


def _port(text: str, otherwise: int) -> int:
    """The port that *text* says; *otherwise* if it says none."""
    return int(text) if text.isascii() and text.isdigit() and int(text) <= 65535 else otherwise


def meant_for(key: str, name: str, specs: Mapping[str, ProviderSpec]) -> str | None:
    """The other provider that *key*, by how it begins, is one of; None: it may well be one of *name*."""
    if any(key.startswith(prefix) for prefix in specs[name].key_prefixes):
        return None
    return next((other for other, spec in specs.items() if any(key.startswith(one) for one in spec.key_prefixes)), None)


def near_misses(environ: Mapping[str, str], settings: Settings) -> dict[str, tuple[str, ...]]:
    """What is set for a source and will not do, in words, by the source."""
    found: dict[str, tuple[str, ...]] = {}
    known = keys_at_home(settings)
    for name, spec in settings.provider.items():
        told = []
        if spec.key_env and name not in settings.keys:
            stem = spec.key_env.partition("_")[0]
            alike = (one for one in environ if one.startswith(f"{stem}_") and one.endswith(("KEY", "TOKEN")))
            told = [
                f"{one} is set, and {spec.key_env} is what is read"
                for one in alike
                if one not in known and environ[one].strip()
            ]
        if name in settings.keys:
            lacking = [one for key, one in spec.base_url_needs.items() if f"{{{key}}}" in spec.base_url]
            told = [f"{spec.key_env} is set, and {one} is not" for one in lacking]
            other = meant_for(settings.keys[name], name, settings.provider)
            told += [f"{spec.key_env} holds what looks like a key of {settings.provider[other].title}"] if other else []
        if told:
            found[name] = tuple(told)
    return found


def strangers(environ: Mapping[str, str], settings: Settings) -> Iterator[str]:
    """What to say of variables of *environ* that look like ours and are none."""
    known = {*OWN, *keys_at_home(settings)}
    for name in sorted(environ):
        if name.startswith("FREEWAY_") and name not in known and not _KUBERNETES.search(name):
            yield f"environment: {name} is not read; {suggestion(name, sorted(known), 'known are')}"


_KUBERNETES = re.compile(r"_(SERVICE|PORT)(_|$)")
"""What Kubernetes sets in each container for a service of this name."""
