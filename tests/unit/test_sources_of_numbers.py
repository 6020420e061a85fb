"""Every number in ``config/providers/`` says where it is from and as of when: beside it, or in the heading that it stands under."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CONFIG

FILES = sorted((CONFIG / "providers").glob("*.toml"))
DATED = re.compile(r"20\d\d-\d\d")
OURS = ("[timeouts]", "[[errors]]")
"""Tables whose numbers are our own patience; what a refusal means is shown by a payload (tests/contract/test_failure_payloads.py)."""


def tables(text: str) -> Iterator[tuple[str, str, str]]:
    """Each table of *text*: its header, what it says with the comment right above it, and the section heading that it is under."""
    heading, comment, header, body = "", list[str](), "", list[str]()
    for line in [*text.splitlines(), "[end]"]:
        if line.startswith("#"):
            comment.append(line)
        elif line.startswith("["):
            yield header, "\n".join(body), heading
            if comment and "──" in comment[0]:
                heading, comment = "\n".join(comment), []
            header, body, comment = line.partition("#")[0].strip(), [*comment, line], []
        elif line.strip():
            body += [*comment, line]
            comment = []
        elif comment and "──" in comment[0]:
            yield header, "\n".join(body), heading
            heading, comment, body, header = "\n".join(comment), [], [], ""


def has_a_number(found: Any) -> bool:
    if isinstance(found, dict | list):
        return any(map(has_a_number, found.values() if isinstance(found, dict) else found))
    return not isinstance(found, bool) and (
        isinstance(found, int | float) or (isinstance(found, str) and re.match(r"\d+(\.\d+)?/", found) is not None)
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_table_with_a_number_or_an_ability_says_where_it_is_from_and_as_of_when(path: Path):
    if tomllib.loads(path.read_text())["free"]["kind"] == "local":
        return  # what runs here is not told by others
    undated = [
        body
        for header, body, heading in tables(path.read_text())
        if header not in ("", *OURS)
        if has_a_number(tomllib.loads(body)) or "capabilities" in body
        if not DATED.search(body + heading)
    ]
    assert undated == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_number_of_the_provider_itself_says_so_on_its_line_or_right_above(path: Path):
    if tomllib.loads(path.read_text())["free"]["kind"] == "local":
        return
    head = path.read_text().partition("\n[")[0].splitlines()
    undated = [
        line
        for above, line in zip(["", *head], head, strict=False)
        if re.match(r"(prompt_cache|most_stops|ranges)\b", line) and not DATED.search(above + line)
    ]
    assert undated == []


def test_a_number_without_a_date_is_found():
    assert [header for header, *_ in tables('title = "x"\n# ── told 2026-01 ──\n\n[[models]]\ncontext = 5\n')] == [
        "",
        "",
        "[[models]]",
    ]
    assert has_a_number({"limit": "20/minute"})
    assert not has_a_number({"ids": ["gpt-4"], "keyless": True})
