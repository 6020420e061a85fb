"""
The files that settings are read from, and where in them each key stands. A byte order mark and Windows' line ends are fine.

Every mistake of a file is found: a line that cannot be read is told, left out, and the rest is read.
"""

from __future__ import annotations

import io
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream
from msgspec import Struct, field

from gateway.settings.values import Mistake

Keys = tuple[str | int, ...]
"""The way to a value: names of tables and keys, and places in lists."""

_MOST_TOLD = 20
_AT = re.compile(r" \(at line (\d+), column (\d+)\)$|\(at end of document\)$")


class Toml(Struct):
    """What the file at *path* holds, and the *lines* at which its keys stand."""

    path: Path
    tables: dict[str, Any] = field(default_factory=dict)
    lines: dict[Keys, int] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def where(self, keys: Keys) -> str:
        """File and line of *keys*, or of the table that they belong to."""
        for end in range(len(keys), 0, -1):
            if line := self.lines.get(keys[:end]):
                return f"{self.path}:{line}"
        return str(self.path)


class Variables(Struct):
    """What a file of variables at *path* says: values, and the *lines* at which they stand."""

    path: Path
    values: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def where(self, name: str) -> str:
        """File and line."""
        return f"{self.path}:{self.lines[name]}"


def read_toml(path: Path) -> Toml:
    """The file at *path*. What is wrong with it is in ``mistakes``."""
    found = Toml(path)
    text = _text(path, found.mistakes)
    lines = text.replace("\r\n", "\n").split("\n")
    for _ in range(_MOST_TOLD):
        try:
            found.tables = tomllib.loads("\n".join(lines))
            break
        except tomllib.TOMLDecodeError as exc:
            number = _told_line(exc, lines)
            what, remedy = _AT.sub("", str(exc)), "TOML has `key = value`, with text in quotes, below a [table]"
            found.mistakes.append(Mistake(f"{path}:{number}", "", f"is not TOML: {what[:1].lower()}{what[1:]}", remedy))
            if _stands_alone(lines[number - 1]):
                break  # the fault began before: what follows would be told in vain
            _drop(lines, number - 1)
    if not text:
        return found
    found.lines = _lines_of(lines)
    return found


def read_variables(path: Path) -> Variables:
    """The file of variables at *path*, as python-dotenv reads it; none is filled in from another. A file that is not there is empty."""
    found = Variables(path)
    text = _text(path, found.mistakes) if path.exists() else ""
    for binding in parse_stream(io.StringIO(text)):
        skipped = len(binding.original.string) - len(binding.original.string.lstrip())
        line = binding.original.line + binding.original.string[:skipped].count("\n")
        if binding.error or (binding.key and binding.value is None):
            remedy = "write NAME=value, one a line"
            found.mistakes.append(Mistake(f"{path}:{line}", "", "is no variable", remedy))
        elif binding.key and binding.value is not None:
            found.values[binding.key], found.lines[binding.key] = binding.value.strip(), line
    return found


def _text(path: Path, mistakes: list[Mistake]) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        mistakes.append(Mistake(str(path), "", f"cannot be read: {exc.strerror}", "name a file that can be read"))
    except UnicodeDecodeError as exc:
        line = path.read_bytes()[: exc.start].count(b"\n") + 1
        mistakes.append(Mistake(f"{path}:{line}", "", "is not UTF-8", "save the file as UTF-8"))
    return ""


def _told_line(exc: tomllib.TOMLDecodeError, lines: list[str]) -> int:
    told = _AT.search(str(exc))
    number = int(told[1]) if told and told[1] else len(lines)
    while number > 1 and not lines[number - 1].strip():
        number -= 1
    return min(number, len(lines))


def _stands_alone(line: str) -> bool:
    try:
        tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _drop(lines: list[str], at: int) -> None:
    """Leave out the line *at*, and with the head of a table all that stands below it: it would belong elsewhere."""
    end = at + 1
    if lines[at].lstrip().startswith("["):
        while end < len(lines) and not lines[end].lstrip().startswith("["):
            end += 1
    lines[at:end] = [""] * (end - at)


def _lines_of(lines: list[str]) -> dict[Keys, int]:
    """
    Where each key stands. The parser of the standard library does not tell: so it is given one statement after the other, which is
    as many lines as it takes to be read.
    """
    found: dict[Keys, int] = {}
    here: Keys = ()
    listed: Counter[Keys] = Counter()
    statement, began = "", 0
    for number, line in enumerate(lines, 1):
        if not statement:
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            began = number
        statement += line + "\n"
        try:
            part = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        if statement.lstrip().startswith("["):
            here = _header(part, listed)
            for end in range(1, len(here) + 1):
                found.setdefault(here[:end], began)
        else:
            _note(part, here, began, found)
        statement = ""
    return found


def _header(part: Mapping[str, Any], listed: Counter[Keys]) -> Keys:
    """The way to the table that the header *part* begins; *listed* counts the tables of each list so far."""
    here: Keys = ()
    value: Any = part
    while isinstance(value, dict) and value:
        name, value = next(iter(value.items()))
        here = (*here, name)
        if isinstance(value, list):
            listed[here] += 1
            return (*here, listed[here] - 1)
        if listed[here]:
            here = (*here, listed[here] - 1)
    return here


def _note(part: Any, here: Keys, line: int, found: dict[Keys, int]) -> None:
    """All keys of *part*, which stands at *here*, are at *line*."""
    for key, value in part.items() if isinstance(part, dict) else enumerate(part):
        found.setdefault((*here, key), line)
        if isinstance(value, dict | list):
            _note(value, (*here, key), line, found)
