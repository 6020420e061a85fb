"""
JSON with comments and trailing commas, as editors keep their settings: what it says, and edits that change nothing else of it.

A text is read into nodes that know where they stand; an edit replaces a part of the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

_TRIVIA = re.compile(r"(?:\s|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_SCALAR = re.compile(r"-?\d[\d.eE+-]*|true|false|null")
_INDENT = re.compile(r"^([ \t]+)\S", re.MULTILINE)
_DEEPEST = 100


class Node(Struct):
    """A value in the text from *start* to *end*. *members* are of an object, *items* of an array; *comma*: one comes last."""

    start: int
    end: int
    value: Any
    members: dict[str, Node] | None = None
    items: list[Node] | None = None
    comma: bool = False


class Edit(Struct, frozen=True):
    """The text from *start* to *end* is replaced."""

    start: int
    end: int
    text: str


def read(text: str) -> Node:
    """What *text* says. Raises ValueError."""
    node = _Reader(text).value(_after(text, 0), 0)
    if _after(text, node.end) != len(text):
        raise ValueError(f"more follows its value, at character {node.end}")
    return node


def _after(text: str, at: int) -> int:
    """Where the blanks and comments from *at* end."""
    found = _TRIVIA.match(text, at)
    return found.end() if found else at


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text

    def value(self, at: int, depth: int) -> Node:
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
        if self._text.startswith("{", at):
            return self._object(at, depth)
        if self._text.startswith("[", at):
            return self._array(at, depth)
        found = _STRING.match(self._text, at) or _SCALAR.match(self._text, at)
        if found is None:
            raise ValueError(f"expected a value at character {at}")
        return Node(at, found.end(), json.loads(found[0]))

    def _object(self, start: int, depth: int) -> Node:
        members: dict[str, Node] = {}
        at, comma = _after(self._text, start + 1), False
        while not self._text.startswith("}", at):
            if members and not comma:
                raise ValueError(f"expected a comma at character {at}")
            name = _STRING.match(self._text, at)
            if name is None:
                raise ValueError(f"expected a name at character {at}")
            colon = _after(self._text, name.end())
            if not self._text.startswith(":", colon):
                raise ValueError(f"expected a colon at character {colon}")
            node = self.value(_after(self._text, colon + 1), depth + 1)
            members[json.loads(name[0])] = node
            at, comma = self._next(node.end)
        value = {name: node.value for name, node in members.items()}
        return Node(start, at + 1, value, members=members, comma=comma)

    def _array(self, start: int, depth: int) -> Node:
        items: list[Node] = []
        at, comma = _after(self._text, start + 1), False
        while not self._text.startswith("]", at):
            if items and not comma:
                raise ValueError(f"expected a comma at character {at}")
            items.append(self.value(at, depth + 1))
            at, comma = self._next(items[-1].end)
        return Node(start, at + 1, [node.value for node in items], items=items, comma=comma)

    def _next(self, at: int) -> tuple[int, bool]:
        """Where what follows a value that ended *at* begins, and whether a comma was before it."""
        at = _after(self._text, at)
        if self._text.startswith(",", at):
            return _after(self._text, at + 1), True
        if at >= len(self._text):
            raise ValueError("it ends in the middle")
        return at, False


# ── written ──


class Editor:
    """Puts values into *text*: into what is there already where both are tables, and into lists *by* a field that names an item."""

    def __init__(self, text: str, by: str) -> None:
        self._text, self._by = text, by
        found = _INDENT.search(text)
        self._indent = found[1] if found else "  "
        self._line = "\r\n" if "\r\n" in text else "\n"

    def edited(self, wanted: Any) -> str:
        """The text with *wanted* in it. Raises ValueError if it cannot be read."""
        text = self._text
        for edit in sorted(self._edits(read(text), wanted, 0), key=lambda one: (one.start, one.end), reverse=True):
            text = text[: edit.start] + edit.text + text[edit.end :]
        return text

    def _edits(self, node: Node, wanted: Any, depth: int) -> Iterator[Edit]:
        if node.members is not None and isinstance(wanted, Mapping):
            new = [(name, value) for name, value in wanted.items() if name not in node.members]
            for name, value in wanted.items():
                if name in node.members:
                    yield from self._edits(node.members[name], value, depth + 1)
            if new:
                texts = [
                    f"{json.dumps(name, ensure_ascii=False)}: {self.shown(value, depth + 1)}" for name, value in new
                ]
                yield self._added(node, list(node.members.values()), texts, depth)
        elif self._by and node.items is not None and isinstance(wanted, list):
            here = {one.value.get(self._by): one for one in node.items if isinstance(one.value, dict)}
            for item in wanted:
                if item[self._by] in here:
                    yield from self._edits(here[item[self._by]], item, depth + 1)
            if new_items := [item for item in wanted if item[self._by] not in here]:
                yield self._added(node, node.items, [self.shown(item, depth + 1) for item in new_items], depth)
        elif not same(node.value, wanted):
            yield Edit(node.start, node.end, self.shown(wanted, depth))

    def _added(self, node: Node, there: list[Node], texts: list[str], depth: int) -> Edit:
        """*texts* after those that are *there*: what stands between the last of them and the end stays before the new ones."""
        last = max((one.end for one in there), default=node.start + 1)
        between = self._text[last : node.end - 1]
        kept = between.rstrip()
        comma = "," if there and not node.comma else ""
        begins = self._line + self._indent * (depth + 1)
        added = begins + f",{begins}".join(texts)
        ends = between[len(kept) :] if "\n" in between[len(kept) :] else self._line + self._indent * depth
        return Edit(last, node.end - 1, comma + kept + added + ends)

    def shown(self, value: Any, depth: int) -> str:
        lines = json.dumps(value, indent=self._indent, ensure_ascii=False).split("\n")
        return f"{self._line}{self._indent * depth}".join(lines)


def same(one: Any, other: Any) -> bool:
    """Whether two values of JSON are equal: 1 is not true."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
