"""What the pages say of the code is so: links lead somewhere, and what they name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.request.outcome import CONSEQUENCES
from tests.conftest import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / ".github" / "CONTRIBUTING.md",
    ROOT / "tests" / "bench" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
FOLDERS = (
    "charts",
    "config",
    "deploy",
    "docs",
    "gateway",
    "providers",
    "requirements",
    "tests",
    "tools",
    ".ci",
    ".github",
)
CODE = "\n".join(path.read_text() for folder in ("gateway", "providers") for path in (ROOT / folder).rglob("*.py"))


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def words(text: str) -> list[str]:
    """What stands in backticks, outside of blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text(), flags=re.MULTILINE)
            assert anchor in map(slug, headings), link


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_path_in_backticks_exists(page: Path):
    for word in words(page.read_text()):
        if word.startswith(tuple(f"{folder}/" for folder in FOLDERS)) and not re.search(r"[<>*…, ]", word):
            assert (ROOT / word).exists(), word


def test_the_way_of_a_request_names_functions_that_are_there():
    text = (ROOT / "docs" / "request-path.md").read_text()
    names = [w.partition("(")[0] for w in words(text) if re.fullmatch(r"[A-Za-z_.]+(\(.*\))?", w) and "/" not in w]
    assert len(names) > 50
    for name in names:
        last = name.rpartition(".")[-1]
        assert re.search(rf"\b{last}\b", CODE), name


def test_the_way_of_a_request_tells_what_follows_from_every_failure():
    text = (ROOT / "docs" / "request-path.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, flags=re.MULTILINE))
    for failure, follows in CONSEQUENCES.items():
        said = rows[failure.__name__]
        assert (f"cools {follows.cools:g} s" in said) >= bool(follows.cools), failure
        assert ("leaves for" in said) == bool(follows.withdraws), failure
        assert ("loses the capability" in said) == follows.loses_capability, failure
        assert ("told at once" in said) == bool(follows.tells), failure
        assert ("if all say so" in said) == bool(follows.last), failure
        assert ("the same one" in said) == (follows.again and failure.__name__ != "Superseded"), failure


def test_every_decision_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text()
    for record in sorted((ROOT / "docs" / "decisions").glob("*.md")):
        assert f"(decisions/{record.name})" in index
