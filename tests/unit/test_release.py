"""A release: one version everywhere, and never the wrong one."""

from __future__ import annotations

import pytest

from gateway import __version__
from tools.release import CHANGELOG, PLACES, ROOT, CannotRelease, named, notes, released, texts

FILES = {
    CHANGELOG: "# Changelog\n\n## Unreleased\n\n### Added\n\n- A thing.\n\n## 1.2.3 - 2026-01-01\n\n- Another.\n",
    "gateway/__init__.py": '__version__ = "1.2.3"\n',
    "compose.yaml": "image: ${FREEWAY_IMAGE:-freeway:1.2.3}\n",
    "charts/freeway/Chart.yaml": "version: 1.2.3\nappVersion: 1.2.3\nkubeVersion: '>=1.30.0-0'\n",
    "README.md": "freeway:1.2.3 dist/freeway_gateway-1.2.3-py3 dist/freeway-1.2.3.tgz\n",
    "docs/home.md": "freeway:1.2.3 freeway-1.2.3-amd64.tar.gz freeway_gateway-1.2.3-py3\n",
    "deploy/casaos/docker-compose.yml": "# `docker load` freeway:1.2.3\nimage: freeway:1.2.3\n",
    "deploy/home-assistant/config.yaml": "version: 1.2.3\n",
    "deploy/home-assistant/Dockerfile": "FROM python:3.13-slim\nARG FREEWAY=freeway-gateway==1.2.3\n",
    "deploy/podman/freeway.container": "# podman build -t freeway:1.2.3\nImage=localhost/freeway:1.2.3\n",
    "deploy/umbrel/docker-compose.yml": 'version: "3.7"\nimage: freeway:1.2.3\n',
    "deploy/umbrel/umbrel-app.yml": 'manifestVersion: 1\nversion: "1.2.3"\n',
    "deploy/unraid/freeway.xml": "load freeway:1.2.3 <Repository>freeway:1.2.3</Repository>\n",
}


def test_every_place_names_the_same_version():
    places = named(texts(ROOT))
    assert {version for _, version in places} == {__version__}, places
    assert {path for path, _ in places} >= {path for path, _ in PLACES if (ROOT / path).exists()}


def test_a_release_changes_every_place():
    after = released(FILES, "1.3.0", "2026-02-01")
    assert {version for _, version in named(after)} == {"1.3.0"}
    assert len(named(after)) == len(PLACES) + 1
    assert "1.30.0-0" in after["charts/freeway/Chart.yaml"]


def test_what_was_unreleased_comes_under_the_new_heading():
    after = released(FILES, "1.3.0", "2026-02-01")[CHANGELOG]
    assert "## Unreleased\n\n## 1.3.0 - 2026-02-01\n\n### Added\n\n- A thing.\n\n## 1.2.3" in after


@pytest.mark.parametrize(
    ("version", "why"),
    [("1.3", "no version"), ("v1.3.0", "no version"), ("1.2.2", "older"), ("1.2.3", "released before")],
)
def test_a_wrong_version_is_refused(version: str, why: str):
    with pytest.raises(CannotRelease, match=why):
        released(FILES, version, "2026-02-01")


def test_nothing_new_is_no_release():
    nothing = {**FILES, CHANGELOG: FILES[CHANGELOG].replace("### Added\n\n- A thing.\n\n", "")}
    with pytest.raises(CannotRelease, match="nothing"):
        released(nothing, "1.3.0", "2026-02-01")


def test_what_is_told_of_a_release_is_its_part_of_the_changelog():
    told = notes(released(FILES, "1.3.0", "2026-02-01")[CHANGELOG], "1.3.0", "registry.example.com/ai")
    assert "- A thing." in told
    assert "- Another." not in told
    assert "registry.example.com/ai/freeway:1.3.0" in told
    with pytest.raises(CannotRelease, match="says nothing"):
        notes(FILES[CHANGELOG], "1.3.0", "x")
