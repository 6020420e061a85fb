"""
Names of tools, as the caller offers them, as a source takes them, and as a model writes them.

A name that a source would refuse goes there under another one, and comes back under its own. A model that calls a tool
by a name that was not offered is understood where only one tool can be meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from providers.translation import fingerprint

LONGEST = 64
OPENAI_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
"""What OpenAI's API takes, and most that speak like it."""

_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]")
_MARKS = re.compile(r"<\|.*\Z|\s+\Z|\A\s+", re.DOTALL)
_SPACES = ("default_api", "functions", "tools")
"""Namespaces that models put before a name: Gemini's, OpenAI's own, and others' (see test_tool_names.py)."""


class ToolNames:
    """The names of one request's tools. *takes* is what its source takes whole."""

    def __init__(self, offered: Iterable[str], takes: re.Pattern[str] = OPENAI_NAME) -> None:
        self._takes = takes
        self._offered = dict.fromkeys(offered)
        self._sent: dict[str, str] = {}
        self._back: dict[str, str] = {}
        for name in self._offered:
            self.sent(name)

    def sent(self, name: str) -> str:
        """The name under which *name* goes out: the same each time, and another for each."""
        known = self._sent.get(name)
        if known is not None:
            return known
        made = name if self._takes.match(name) else self._made(name)
        self._sent[name] = made
        self._back.setdefault(made, name)
        return made

    def called(self, name: str) -> str:
        """The offered name that a model means by *name*; *name* itself if that cannot be told."""
        if name in self._back:
            return self._back[name]
        if not self._offered or name in self._offered:
            return name
        plain = _MARKS.sub("", name)
        for candidate in (plain, *_without_space(plain)):
            if candidate in self._back:
                return self._back[candidate]
        return name

    def _made(self, name: str) -> str:
        """A name that every source takes, for one that this one does not."""
        plain = _FOREIGN.sub("_", name) or "_"
        if not (plain[0].isalpha() or plain[0] == "_"):
            plain = f"_{plain}"
        if len(plain) <= LONGEST and plain not in self._back and plain not in self._offered:
            return plain
        return f"{plain[: LONGEST - 9]}_{fingerprint(name.encode())[:8]}"


def _without_space(name: str) -> Iterable[str]:
    for space in _SPACES:
        for separator in (".", ":", "/"):
            if name.startswith(space + separator):
                yield name.removeprefix(space + separator)
