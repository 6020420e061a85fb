"""
A program's settings with ours among them: a text in, a text out, and nothing of what was there is lost, comments included.

Every result is read again before it is returned: it says what was there with ours over it, or ``CannotMerge`` is raised. YAML has no
parser here, so there only what is plain is edited.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any, Literal

import tomlkit
import tomlkit.exceptions
from tomlkit.items import AoT, Array

from gateway.programs import jsonc, yaml_lines

Format = Literal["json", "toml", "yaml", "text"]
_BOM = "\ufeff"


class CannotMerge(Exception):
    """A file cannot be written into without a risk for what is in it, and why."""


def merged(text: str | None, form: Format, wanted: Any, by: str = "") -> str:
    """
    *text* (None: there is no file) in the format *form* with *wanted* in it: tables are merged, and lists whose items *by* names;
    all else is replaced. Raises CannotMerge.
    """
    if form == "text":
        return f"{wanted}\n"
    bom = _BOM if text and text.startswith(_BOM) else ""
    body = (text or "").removeprefix(_BOM)
    try:
        return bom + (_WRITERS[form](body, wanted, by) if body.strip() else _fresh(form, wanted))
    except (ValueError, tomlkit.exceptions.TOMLKitError) as exc:
        raise CannotMerge(str(exc)) from exc


def over(there: Any, wanted: Any, by: str) -> Any:
    """The value *there* with *wanted* over it: what every merge comes to."""
    if isinstance(there, Mapping) and isinstance(wanted, Mapping):
        return {**there, **{name: over(there.get(name), value, by) for name, value in wanted.items()}}
    if by and isinstance(there, list) and _has_names(wanted, by):
        ours = {item[by]: item for item in wanted}
        kept = [_item_over(one, ours, by) for one in there]
        names = {one.get(by) for one in there if isinstance(one, Mapping)}
        return [*kept, *(item for item in wanted if item[by] not in names)]
    return wanted


def _has_names(wanted: Any, by: str) -> bool:
    return isinstance(wanted, list) and all(isinstance(item, Mapping) and by in item for item in wanted)


def _item_over(one: Any, ours: Mapping[Any, Any], by: str) -> Any:
    return over(one, ours[one[by]], by) if isinstance(one, Mapping) and one.get(by) in ours else one


def without_present(text: str | None, form: Format, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Of *wanted* what *text* has not: the rest is for new files alone. Raises CannotMerge."""
    if not text or not text.strip():
        return dict(wanted)
    try:
        if form == "json":
            there = jsonc.read(text.removeprefix(_BOM)).value
            return {name: value for name, value in wanted.items() if name not in there}
    except ValueError as exc:
        raise CannotMerge(str(exc)) from exc
    return {
        name: value
        for name, value in wanted.items()
        if not any(line.startswith(f"{name}:") for line in text.splitlines())
    }


def _fresh(form: Format, wanted: Any) -> str:
    if form == "toml":
        return tomlkit.dumps(wanted)
    if form == "yaml":
        return "\n".join(yaml_lines.shown(wanted)) + "\n"
    return jsonc.Editor("", "").shown(wanted, 0) + "\n"


def _json(text: str, wanted: Any, by: str) -> str:
    made = jsonc.Editor(text, by).edited(wanted)
    if not jsonc.same(jsonc.read(made).value, over(jsonc.read(text).value, wanted, by)):
        raise ValueError("a name stands in it more than once")
    return made


def _toml(text: str, wanted: Any, by: str) -> str:
    there = tomllib.loads(text)
    document = tomlkit.parse(text)
    _put(document, wanted)
    made = tomlkit.dumps(document)
    if "\r\n" in text:
        made = made.replace("\r\n", "\n").replace("\n", "\r\n")
    if tomllib.loads(made) != over(there, wanted, by):
        raise ValueError("its tables are written in a way that cannot be added to")
    return made


def _put(table: Any, wanted: Mapping[str, Any]) -> None:
    for name, value in wanted.items():
        there = table.get(name)
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            _put(there, value)
        elif there is None or isinstance(there, Array | AoT) or there != value:
            table[name] = value


def _yaml(text: str, wanted: Any, by: str) -> str:
    return yaml_lines.edited(text, wanted, by)


_WRITERS = {"json": _json, "toml": _toml, "yaml": _yaml}
