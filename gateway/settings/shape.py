"""
Whether tables have the shape of settings: every key that is not known, is missing or has a value of a wrong kind, each with what
would be right. Pure.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from gateway.settings.files import Keys
from gateway.settings.values import OF_ENVIRONMENT, Settings
from providers.spec import ProviderSpec

_SHOWN = 40  # characters of a value
_KINDS = {
    "int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "array": "a list", "object": "a table",
    "null": "nothing",
}  # fmt: skip
_REMEDIES = {"key_sha256": "`printf %s KEY | sha256sum` prints it"}
_MANY = 14  # names that are listed at most


_NEVER_WRITTEN: dict[type[Struct], tuple[str, ...]] = {Settings: OF_ENVIRONMENT, ProviderSpec: ("name",)}


class Fault(Struct, frozen=True):
    """*what* is wrong at *keys*, and what would be right."""

    keys: Keys
    what: str
    remedy: str


def misshapen(value: Any, kind: Any, keys: Keys = (), example: Any = msgspec.UNSET) -> Iterator[Fault]:
    """All that is wrong with *value*, which stands at *keys* and should be a *kind*. *example* is a value that would do."""
    kind, table = _plain(kind), _table_of(kind)
    if table is not None:
        yield from _of_table(value, table, keys, example)
        return
    inner = get_args(kind)
    if get_origin(kind) is dict and isinstance(value, dict) and _is_deep(inner[1]):
        for name, one in value.items():
            known = example.get(name, msgspec.UNSET) if isinstance(example, Mapping) else msgspec.UNSET
            yield from misshapen(one, inner[1], (*keys, name), known)
        return
    if get_origin(kind) is tuple and isinstance(value, list) and inner[-1:] == (...,) and _is_deep(inner[0]):
        for number, one in enumerate(value):
            yield from misshapen(one, inner[0], (*keys, number))
        return
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        yield _of_value(value, kind, keys, _in_words(str(exc).partition(" - at `$")[0]), example)


def nearest(name: str, known: Iterator[str] | tuple[str, ...] | list[str]) -> str | None:
    """The one of *known* that *name* was meant to be, as far as spelling tells."""
    among = {one.lower(): one for one in known}
    found = get_close_matches(str(name).lower(), among, 1, 0.6)
    return among[found[0]] if found else None


def suggestion(name: str, known: list[str], kind: str) -> str:
    """What to say to who wrote *name* and not one of *known*, which are *kind*."""
    near = nearest(name, known)
    if near:
        return f"did you mean `{near}`?"
    shown = ", ".join(sorted(known)[:_MANY]) + (", …" if len(known) > _MANY else "")
    return f"{kind}: {shown}"


def _of_table(value: Any, table: type[Struct], keys: Keys, example: Any) -> Iterator[Fault]:
    if not isinstance(value, dict):
        name = ".".join(str(key) for key in keys)
        yield Fault(keys, f"expected a table, got {_said(value)}", f"write [{name}] and its keys below")
        return
    fields = {one.encode_name: one for one in _fields(table) if one.name not in _NEVER_WRITTEN.get(table, ())}
    for name in value.keys() - fields.keys():
        yield Fault(
            (*keys, name), f"unknown key `{name}`", _elsewhere(name) or suggestion(name, [*fields], "its table knows")
        )
    for name, one in fields.items():
        if name not in value:
            if one.required:
                yield Fault(keys, f"missing key `{name}`", f"add `{name} = …`")
            continue
        default = one.default if one.default is not msgspec.NODEFAULT else msgspec.UNSET
        shipped = getattr(example, one.name, msgspec.UNSET) if isinstance(example, table) else default
        yield from misshapen(value[name], one.type, (*keys, name), shipped)


def _of_value(value: Any, kind: Any, keys: Keys, what: str, example: Any) -> Fault:
    choices = [one for part in _parts(kind) if get_origin(part) is Literal for one in get_args(part)]
    if choices and all(isinstance(one, str) for one in choices):
        near = nearest(str(value), choices)
        remedy = f"did you mean `{near}`?" if near else f"for example `{keys[-1]} = {as_toml(choices[0])}`"
        return Fault(keys, f"expected one of {', '.join(choices)}, got {_said(value)}", remedy)
    what = f"{what}, got {_said(value)}"
    name = str(keys[-1]) if keys else ""
    shown = msgspec.to_builtins(example) if example not in (msgspec.UNSET, None) else None
    if shown is not None and not isinstance(shown, dict):
        return Fault(keys, what, f"for example `{name} = {as_toml(shown)}`")
    return Fault(keys, what, _REMEDIES.get(name, f"give `{name}` a value of that kind, or leave it out"))


def _in_words(said: str) -> str:
    """What msgspec says of a value, for people: without what it was, which is shown."""
    said = said.partition(", got")[0]
    for name, words in _KINDS.items():
        said = said.replace(f"`{name}`", words)
    return said[:1].lower() + said[1:]


def as_toml(value: Any) -> str:
    """*value* as TOML writes it, in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(name)} = {as_toml(one)}" for name, one in value.items() if one is not None) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, int) and not isinstance(value, bool) and value >= 10_000:
        return f"{value:_}"
    return msgspec.json.encode(value).decode()


def path_of(keys: Keys) -> str:
    """*keys* as TOML writes them: ``provider.groq.credit``, ``client[0].name``."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{_key(key)}" for key in keys).lstrip(".")


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else msgspec.json.encode(name).decode()


def _said(value: Any) -> str:
    """*value* as it was written, if it is short; a long one may be a secret."""
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    written = as_toml(value) if not isinstance(value, str) else repr(value)
    return written if len(written) <= _SHOWN else f"{written[:8]}…"


@cache
def _fields(table: type[Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(table)


def _elsewhere(name: str) -> str:
    """Where a key of this name belongs, if that is in another table."""
    tables = [
        one.name
        for one in _fields(Settings)
        if (table := _table_of(_plain(one.type))) is not None and name in table.__struct_encode_fields__
    ]
    return f"it belongs below [{tables[0]}]" if len(tables) == 1 else ""


def _plain(kind: Any) -> Any:
    while get_origin(kind) is Annotated and _table_of(get_args(kind)[0]) is not None:
        kind = get_args(kind)[0]
    return kind


def _parts(kind: Any) -> list[Any]:
    """*kind*, or what it is a union of."""
    if get_origin(kind) in (Union, types.UnionType):
        return [part for one in get_args(kind) for part in _parts(one)]
    return [kind]


def _table_of(kind: Any) -> type[Struct] | None:
    tables = [part for part in _parts(kind) if isinstance(part, type) and issubclass(part, Struct)]
    return tables[0] if len(tables) == 1 else None


def _is_deep(kind: Any) -> bool:
    """Whether mistakes may be anywhere below a value of *kind*."""
    return _table_of(kind) is not None or get_origin(kind) in (dict, Union, types.UnionType, Literal)
