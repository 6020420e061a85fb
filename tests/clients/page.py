"""What ``docs/programs.md`` tells people to write, so that the tests do just that."""

from __future__ import annotations

import re
from pathlib import Path

from msgspec import Struct

from tests.conftest import ROOT

ADDRESS = "http://127.0.0.1:8000"
"""The gateway's, on the page."""

PAGE = ROOT / "docs/programs.md"
_SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"In `([^`]+)`[^\n]*(?:\n[^\n`]+)*:\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
_EXPORT = re.compile(r"^export (\w+)=(.+)$", re.MULTILINE)


class Snippets(Struct, frozen=True):
    """What a section has: texts of *files* by their path, and *variables* to export."""

    files: dict[str, str]
    variables: dict[str, str]

    def write(self, home: Path, project: Path, told: dict[str, str]) -> dict[str, str]:
        """Do what the page says, with the words of *told* in place of others; gives the variables."""
        for path, text in self.files.items():
            file = home / path.removeprefix("~/") if path.startswith("~/") else project / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_replaced(text, told))
        return {name: _replaced(value, told) for name, value in self.variables.items()}


def snippets(section: str) -> Snippets:
    """Those of the *section* with that heading."""
    text = dict(_SECTION.findall(PAGE.read_text()))[section]
    return Snippets(dict(_FILE.findall(text)), dict(_EXPORT.findall(text)))


def _replaced(text: str, told: dict[str, str]) -> str:
    for old, new in told.items():
        text = text.replace(old, new)
    return text
