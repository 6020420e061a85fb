"""What the pages say of the code is so: links lead somewhere, and what they name exists."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.request.outcome import CONSEQUENCES
from providers.spec import ErrorSign, Free, ListPrices, ModelFact, ProviderSpec, Quota, Reasoning, Timeouts
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


def test_every_way_to_be_charged_is_done_by_simulated_providers_in_the_test_that_is_named():
    text = (ROOT / "docs" / "cost.md").read_text()
    rows = re.findall(r"^\| (\d+) .+ \| (\w+) \| .+ \| `(test_\w+)` \|$", text, re.MULTILINE)
    simulations = {path: path.read_text() for path in (ROOT / "tests" / "simulation").glob("test_*.py")}

    assert [int(number) for number, _, _ in rows] == list(range(1, len(re.findall(r"^\| \d", text, re.MULTILINE)) + 1))
    assert len(rows) >= 30
    assert {lock for _, lock, _ in rows} == {"proof", "request", "answer"}
    for number, _, name in rows:
        (there,) = [text for text in simulations.values() if f"def {name}(" in text] or [""]
        body = there.partition(f"def {name}(")[2].partition("\nasync def ")[0].partition("\ndef ")[0]
        assert re.search(r"\b(assert|raises)\b", body), (number, name)
        assert re.search(r"\b(World|Inside|Source)\(", there), f"{number}: {name} has no simulated provider"


def test_every_key_of_a_providers_file_is_explained():
    text = (ROOT / "docs" / "add-a-source.md").read_text()

    assert not [name for name in ProviderSpec.__struct_fields__ if f"`{name}`" not in text]
    for part in (ModelFact, ListPrices, Quota, Reasoning, ErrorSign, Free, Timeouts):
        names = set(part.__struct_encode_fields__) - {"ids"}
        assert not [name for name in names if f"`{name}`" not in text], part


def test_the_schema_for_editors_is_that_of_the_code():
    """``python -m tests.unit.test_docs`` writes it."""
    assert json.loads(SCHEMA.read_text()) == json.loads(json.dumps(schema()))


SCHEMA = ROOT / "docs" / "provider.schema.json"


def schema() -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(ProviderSpec)}


if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(schema(), indent=1) + "\n")
