"""The documentation as a site: no link is broken, every page has its place, and it loads nothing from elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytest.importorskip("mkdocs", reason="MkDocs is not installed: make docs installs it, and builds the site")


def build(into: Path, tree: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(into)]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("site")
    built = build(into)
    assert built.returncode == 0, built.stderr
    return into


def test_every_page_of_the_site_loads_its_own_files_alone(site: Path):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        loaded = re.findall(r"<(?:script|img|iframe)[^>]*\ssrc=[\"']?([^\"' >]+)", page.read_text())
        loaded += re.findall(
            r"<link[^>]*rel=[\"']?(?:stylesheet|icon|preconnect)[^>]*href=[\"']?([^\"' >]+)", page.read_text()
        )

        assert [one for one in loaded if re.match(r"(https?:)?//", one)] == [], page


def test_its_first_page_is_the_readme_whose_links_lead_into_the_site(site: Path):
    text = (site / "index.html").read_text()

    assert "Never a cent." in text
    assert 'href="request-path/"' in text
    assert "config/gateway.toml" in text
    assert 'href="config/gateway.toml"' not in text
    assert (site / "contributing/index.html").exists()


@pytest.mark.parametrize(
    "link", ["[gone](gone.md)", "[gone](../providers/gone.py)", "[gone](redis.md#no-such-heading)"]
)
def test_a_broken_link_is_an_error(link: str, tmp_path: Path):
    """It is built from a copy of the pages, beside all else that is in the tree."""
    tree = tmp_path / "tree"
    for entry in ROOT.iterdir():
        if entry.name in ("docs", "tools"):
            shutil.copytree(entry, tree / entry.name)
        else:
            tree.mkdir(exist_ok=True)
            (tree / entry.name).symlink_to(entry)
    assert build(tmp_path / "whole", tree).returncode == 0
    with (tree / "docs/redis.md").open("a") as page:
        page.write(f"\n{link}\n")

    assert build(tmp_path / "broken", tree).returncode != 0
