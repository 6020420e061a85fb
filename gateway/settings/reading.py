"""
Settings are read: the shipped ``config/``, then ``config.toml``, ``keys.env``, a working folder's ``.env``, the environment, and
what was said on the command line. All mistakes are told at once.

Nothing here looks at the machine: files and environment come in as arguments.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gateway.settings.files import Keys, Toml, read_toml, read_variables
from gateway.settings.sense import exposed, meant_provider, resolved, senseless, unsaid
from gateway.settings.shape import Fault, misshapen, path_of
from gateway.settings.values import OF_ENVIRONMENT, SHORTEST_KEY, BadSettings, Mistake, Settings
from gateway.settings.variables import (
    ADMIN_KEY,
    CLIENT_KEY,
    ENVIRONMENT,
    Layer,
    Layers,
    layer_at_home,
    layer_of_folder,
    near_misses,
    strangers,
    with_variables,
)

FOLDER, CONFIG_FILE, KEYS_FILE = "freeway", "config.toml", "keys.env"

_SHIPPED = ("gateway.toml", "aliases.toml", "models.toml", "not_free.toml")
_NAMES = "names.toml"


class Configured(Struct, frozen=True, kw_only=True):
    """
    The *settings*, and where each comes from that is not as it was shipped: *origins* by the key (``server.port``) or by the
    variable. *files* are those that are read, were they there; *notes* are for who asks whether all is well.
    """

    settings: Settings
    origins: Mapping[str, str]
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    near_misses: Mapping[str, tuple[str, ...]] = {}  # by source: what is set for it and will not do

    @property
    def keys_file(self) -> Path:
        """Where keys are kept."""
        return self.files[1]


def load(config: Path, environ: Mapping[str, str], home: Path, source: Path | None = None) -> Settings:
    """The settings alone, as ``read`` finds them without a working folder. Raises BadSettings."""
    return read(config, environ, home, source=source).settings


def folder_of(environ: Mapping[str, str], home: Path) -> Path:
    """The folder that holds a person's own configuration."""
    return (Path(environ["XDG_CONFIG_HOME"]) if environ.get("XDG_CONFIG_HOME") else home / ".config") / FOLDER


def read(
    config: Path,
    environ: Mapping[str, str],
    home: Path,
    *,
    here: Path | None = None,
    source: Path | None = None,
    flags: Mapping[str, str] | None = None,
) -> Configured:
    """
    The shipped *config* folder and what lies over it: the folder ``freeway`` in that of *environ*, or in *home*; the ``.env`` of
    the folder *here*; *environ*; *flags*, which are variables, too. The provider in the file *source* is then the only one.

    Raises BadSettings with all mistakes that there are.
    """
    folder = folder_of(environ, home)
    named = environ.get("FREEWAY_CONFIG", "").strip()
    own = Path(named) if named else folder / CONFIG_FILE
    tables, files = _shipped(config), [read_toml(own) if named or own.exists() else Toml(own)]
    shipped = frozenset(tables["provider"])
    _merge(tables, files[0].tables)
    if source is not None:
        files.insert(0, _as_provider(read_toml(source), source.stem))
        tables["provider"] = dict(files[0].tables["provider"])
    mistakes = [mistake for file in files for mistake in file.mistakes]
    settings = _settings(tables, files, mistakes)

    at_home, notes = read_variables(folder / KEYS_FILE), list[str]()
    layers = [Layer(ENVIRONMENT, environ), layer_at_home(at_home, settings, mistakes)]
    if flags:
        layers.insert(0, Layer("flag", flags))
    if here is not None:
        layers.insert(-1, layer_of_folder(read_variables(here / ".env"), settings, notes))
    settings, origins = with_variables(settings, Layers(layers), environ, home, mistakes)
    mistakes.extend(_too_short(settings, origins))
    if mistakes:
        raise BadSettings(*sorted(mistakes, key=_place))
    notes.extend(strangers(environ, settings))
    notes.extend(_too_open(at_home.path))
    told = {path_of(keys): f"{file.path.name}:{line}" for file in files for keys, line in _leaves(file)}
    watched = (own, at_home.path, *([here / ".env"] if here is not None else []))
    near = near_misses(environ, settings)
    notes.extend(one for told_of in near.values() for one in told_of)
    notes.extend(unsaid(settings, shipped))
    return Configured(settings=settings, origins=told | origins, files=watched, notes=tuple(notes), near_misses=near)


def _shipped(config: Path) -> dict[str, Any]:
    tables: dict[str, Any] = {"provider": {}}
    for name in _SHIPPED:
        _merge(tables, _read(config / name))
    tables["names"] = _read(config / _NAMES)
    for path in sorted((config / "providers").glob("*.toml")):
        tables["provider"][path.stem] = _read(path)
    return tables


def _read(path: Path) -> dict[str, Any]:
    """A file that is shipped: whoever broke it hears of one mistake."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise BadSettings(f"{path}: cannot be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise BadSettings(f"{path}: is not TOML: {exc}") from exc


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Tables are merged key by key; everything else, lists too, is replaced."""
    for key, value in more.items():
        if isinstance(value, dict):
            under = into[key] if isinstance(into.get(key), dict) else {}
            into[key] = under
            _merge(under, value)
        else:
            into[key] = list(value) if isinstance(value, list) else value


def _as_provider(file: Toml, name: str) -> Toml:
    """*file*, which describes one provider, as if it were a table of the settings."""
    at: Keys = ("provider", name)
    lines = {at: 1} | {(*at, *keys): line for keys, line in file.lines.items()}
    return Toml(file.path, {"provider": {name: file.tables}}, lines, file.mistakes)


def _settings(tables: dict[str, Any], files: list[Toml], mistakes: list[Mistake]) -> Settings:
    """*tables* as settings, without what is wrong with them, which is added to *mistakes*."""
    try:
        found = msgspec.convert(tables, Settings)
    except msgspec.ValidationError:
        found = _without_faults(tables, files, mistakes)
    for name in OF_ENVIRONMENT:
        if name in tables:
            fault = Fault(
                (name,), "is set by the environment, not in a file", "docs/configuration.md names the variable"
            )
            mistakes.append(_placed(fault, files))
    named = {name: msgspec.structs.replace(spec, name=name) for name, spec in found.provider.items()}
    found = msgspec.structs.replace(found, provider=named)
    nonsense = [*senseless(found)]
    mistakes.extend(_placed(fault, files) for fault in nonsense)
    return found if nonsense else msgspec.structs.replace(found, alias=resolved(found.alias))


def _without_faults(tables: dict[str, Any], files: list[Toml], mistakes: list[Mistake]) -> Settings:
    faults = [*misshapen(tables, Settings)]
    mistakes.extend(_placed(fault, files) for fault in _gathered(faults, tables))
    while faults:  # what is left out may leave a table without what it needs
        for fault in sorted(faults, key=lambda fault: [str(key).zfill(9) for key in fault.keys], reverse=True):
            _leave_out(tables, fault.keys)
        faults = [*misshapen(tables, Settings)]
    return msgspec.convert(tables, Settings)


def _gathered(faults: list[Fault], tables: Mapping[str, Any]) -> Iterator[Fault]:
    """*faults*, of which those of a provider that lacks what it needs are one."""
    incomplete: dict[Keys, list[str]] = {}
    for fault in faults:
        if fault.what.startswith("missing key ") and len(fault.keys) == 2 and fault.keys[0] == "provider":
            incomplete.setdefault(fault.keys, []).append(fault.what.removeprefix("missing key "))
        else:
            yield fault
    for keys, missing in incomplete.items():
        others = [name for name in tables["provider"] if ("provider", name) not in incomplete]
        yield Fault(keys, f"missing keys {', '.join(missing)}", meant_provider(str(keys[1]), others))


def _leave_out(tables: Any, keys: Keys) -> None:
    for key in keys[:-1]:
        try:
            tables = tables[key]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(tables, dict):
        tables.pop(keys[-1], None)
    elif isinstance(tables, list) and isinstance(keys[-1], int) and keys[-1] < len(tables):
        del tables[keys[-1]]


def _placed(fault: Fault, files: list[Toml]) -> Mistake:
    """*fault* with its place: in the file that says most of the way to it."""

    def says(file: Toml) -> int:
        return next((end for end in range(len(fault.keys), 0, -1) if fault.keys[:end] in file.lines), 0)

    return Mistake(max(files, key=says).where(fault.keys), path_of(fault.keys), fault.what, fault.remedy)


def _place(mistake: Mistake) -> tuple[str, int]:
    """File and line, to sort by."""
    file, _, line = mistake.where.rpartition(":")
    return (file, int(line)) if line.isdigit() else (mistake.where, 0)


def _leaves(file: Toml) -> Iterator[tuple[Keys, int]]:
    """Each key of *file* that has a value, and its line. A list is one value."""

    def below(table: Mapping[str, Any], keys: Keys) -> Iterator[tuple[Keys, int]]:
        for name, value in table.items():
            here = (*keys, name)
            if isinstance(value, dict):
                yield from below(value, here)
            elif here in file.lines:
                yield here, file.lines[here]

    yield from below(file.tables, ())


def _too_short(settings: Settings, origins: Mapping[str, str]) -> Iterator[Mistake]:
    """Keys that can be guessed, where others can reach the gateway."""
    places = exposed(settings.server)
    for name, key in ((CLIENT_KEY, settings.client_key), (ADMIN_KEY, settings.admin_key)):
        if places and key is not None and len(key) < SHORTEST_KEY:
            what = f"has only {len(key)} characters, which can be guessed, and {places[0]} can be reached by others"
            remedy = f"set it to {SHORTEST_KEY} or more, for example to what `openssl rand -hex 32` prints"
            yield Mistake(origins.get(name, ENVIRONMENT), name, what, remedy)


def _too_open(keys: Path) -> Iterator[str]:
    """What to say of a file of keys that others on this machine may read."""
    if keys.exists() and keys.stat().st_mode & 0o077:
        yield f"{keys}: others on this machine may read it: chmod 600 {keys}"
