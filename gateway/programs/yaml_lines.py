"""
Edits of YAML by its lines, for files that are written as people write them: names at the left edge, lists in block style.

There is no parser here. What is not plain enough to be sure is refused, and the person is told what to add.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./:-]*[A-Za-z0-9_]")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
_NAME = re.compile(r"([A-Za-z_][\w.-]*):(?:[ \t]+(.*?))?[ \t]*")
_ITEM = re.compile(r"( *)-(?: |$)")
_OPEN = re.compile(r"[\[{|>&*!'\"]")
"""What begins a value that may go on in the next line, or that means more than its text."""


def edited(text: str, wanted: Mapping[str, Any] | Sequence[Mapping[str, Any]], by: str) -> str:
    """*text* with *wanted* in it; into lists *by* the field that names an item. Raises ValueError if that is not sure to be right."""
    end = "\r\n" if "\r\n" in text else "\n"
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    _refuse_what_is_not_plain(lines)
    if isinstance(wanted, Mapping):
        for name, value in wanted.items():
            lines = _with(lines, name, value, by)
    else:
        lines = _with_items(lines, 0, len(lines), wanted, by, "")
    return "".join(f"{line}{end}" for line in lines)


def shown(value: Any, indent: str = "") -> list[str]:
    """*value* as lines of block style."""
    if isinstance(value, Mapping) and value:
        lines: list[str] = []
        for name, inner in value.items():
            lines += _entry(_scalar(name), inner, indent)
        return lines
    if isinstance(value, list) and value:
        return [line for item in value for line in _item(item, indent)]
    return [f"{indent}{_scalar(value)}"]


def _entry(name: str, value: Any, indent: str) -> list[str]:
    if isinstance(value, Mapping | list) and value:
        return [f"{indent}{name}:", *shown(value, f"{indent}  ")]
    return [f"{indent}{name}: {_scalar(value)}"]


def _item(item: Any, indent: str) -> list[str]:
    first, *rest = shown(item, f"{indent}  ")
    return [f"{indent}- {first.strip()}", *rest]


def _scalar(value: Any) -> str:
    """As YAML has it; JSON's spelling of a text is one of YAML's."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS and ": " not in value:
        return value
    return json.dumps(value, ensure_ascii=False)


def _refuse_what_is_not_plain(lines: Sequence[str]) -> None:
    for number, line in enumerate(lines, 1):
        if (
            line.startswith(("---", "...", "%", "{", "[", "&", "!", "? ", '"', "'"))
            or "\t" in line[: len(line) - len(line.lstrip())]
        ):
            raise ValueError(f"line {number} is more than a plain list of names")
        if line[:1] not in (" ", "#", "-", "") and not _NAME.fullmatch(_without_comment(line)):
            raise ValueError(f"line {number} is more than a plain list of names")


def _without_comment(line: str) -> str:
    return re.sub(r"\s+#.*$", "", line)


def _with(lines: list[str], name: str, value: Any, by: str) -> list[str]:
    """*lines* with *value* under the *name* at the left edge."""
    if next((line for line in lines if line.strip() and not line.lstrip().startswith("#")), "").startswith("-"):
        raise ValueError("it is a list, and not a table")
    at = [number for number, line in enumerate(lines) if (found := _NAME.match(line)) and found[1] == name]
    if len(at) > 1:
        raise ValueError(f"{name} stands in it more than once")
    if not at:
        return [*lines, *_entry(name, value, "")]
    begin, end = at[0], _end_of(lines, at[0])
    found = _NAME.fullmatch(_without_comment(lines[begin]))
    rest = (found[2] or "") if found else ""
    if isinstance(value, list) and by:
        if rest not in ("", "[]"):
            raise ValueError(f"{name} is written in one line")
        head = [f"{name}:"] if rest else [lines[begin]]
        inner = lines[begin + 1 : end]
        return [*lines[:begin], *head, *_with_items(inner, 0, len(inner), value, by, "  "), *lines[end:]]
    if (_OPEN.match(rest) and not re.fullmatch(r"\"[^\"\\]*\"|'[^']*'", rest)) or any(
        line.strip() for line in lines[begin + 1 : end]
    ):
        raise ValueError(f"{name} has a value that goes over several lines")
    first, *more = _entry(name, value, "")
    comment = lines[begin][len(_without_comment(lines[begin])) :]
    return [*lines[:begin], first + comment, *more, *lines[begin + 1 :]]


def _end_of(lines: Sequence[str], begin: int) -> int:
    """The line after the last of those that belong to the name in line *begin*: what is at the left edge does not, but for items."""
    end = begin + 1
    while end < len(lines) and (not lines[end].strip() or lines[end][0] in " -#"):
        end += 1
    while end > begin + 1 and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
        end -= 1
    return end


def _with_items(
    lines: list[str], begin: int, end: int, wanted: Sequence[Mapping[str, Any]], by: str, indent: str
) -> list[str]:
    """The list in *lines* with the items *wanted*, each in place of the one that has the same name, else after all others."""
    starts = [number for number in range(begin, end) if _ITEM.match(lines[number])]
    if starts:
        indent = min(" " * (len(lines[number]) - len(lines[number].lstrip())) for number in starts)
        starts = [number for number in starts if lines[number].startswith(f"{indent}-")]
    inside = [line for line in lines[begin:end] if line.strip() and not line.lstrip().startswith("#")]
    if any(not line.startswith((f"{indent}-", f"{indent} ")) for line in inside):
        raise ValueError("its list is not in block style")
    blocks = [lines[a:b] for a, b in zip(starts, [*starts[1:], end], strict=True)]
    head = lines[begin : starts[0] if starts else end]
    for item in wanted:
        found = [number for number, block in enumerate(blocks) if _is_called(block, by, str(item[by]))]
        if len(found) > 1:
            raise ValueError(f"two of its items are called {item[by]}")
        if found:
            blocks[found[0]] = [*_item(item, indent), *_trailing(blocks[found[0]])]
        else:
            blocks.append(_item(item, indent))
    return [*lines[:begin], *head, *(line for block in blocks for line in block), *lines[end:]]


def _is_called(block: Sequence[str], by: str, name: str) -> bool:
    """Whether the item in *block* has the field *by*, at its own level, with the value *name*."""
    first = re.match(r" *- *", block[0])
    column = first.end() if first else 0
    fields = [" " * column + block[0][column:], *block[1:]]
    wanted = re.compile(rf" {{{column}}}{re.escape(by)}: +(?P<quote>[\"']?){re.escape(name)}(?P=quote) *")
    return any(wanted.fullmatch(_without_comment(line)) for line in fields)


def _trailing(block: Sequence[str]) -> list[str]:
    """The blank lines and comments at the end of *block*: they are of what follows."""
    kept = len(block)
    while kept > 1 and (not block[kept - 1].strip() or block[kept - 1].lstrip().startswith("#")):
        kept -= 1
    return list(block[kept:])
