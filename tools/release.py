"""
``make release VERSION=1.2.3``: one version wherever it is named, and what was unreleased under its heading.

Changes files alone. What comes before and after stands in docs/releasing.md. ``--notes 1.2.3`` prints what is told of a release
instead.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHANGELOG = "CHANGELOG.md"
UNRELEASED = "## Unreleased\n"
VERSION = r"\d+\.\d+\.\d+"

PLACES = (
    ("gateway/__init__.py", rf'(?<=^__version__ = "){VERSION}'),
    ("compose.yaml", rf"(?<=freeway:){VERSION}"),
    ("charts/freeway/Chart.yaml", rf"(?<=^version: ){VERSION}"),
    ("charts/freeway/Chart.yaml", rf"(?<=^appVersion: ){VERSION}"),
    ("deploy/casaos/docker-compose.yml", rf"(?<=image: freeway:){VERSION}"),
    ("deploy/home-assistant/config.yaml", rf"(?<=^version: ){VERSION}"),
    ("deploy/home-assistant/Dockerfile", rf"(?<=^ARG FREEWAY=freeway-gateway==){VERSION}"),
    ("deploy/podman/freeway.container", rf"(?<=^Image=localhost/freeway:){VERSION}"),
    ("deploy/umbrel/docker-compose.yml", rf"(?<=image: freeway:){VERSION}"),
    ("deploy/umbrel/umbrel-app.yml", rf'(?<=^version: "){VERSION}'),
    ("README.md", rf"(?<=freeway:){VERSION}"),
    ("README.md", rf"(?<=dist/freeway_gateway-){VERSION}"),
    ("README.md", rf"(?<=dist/freeway-){VERSION}"),
    ("docs/home.md", rf"(?<=freeway:){VERSION}"),
    ("docs/home.md", rf"(?<=freeway-){VERSION}(?=-amd64)"),
    ("docs/home.md", rf"(?<=freeway_gateway-){VERSION}"),
    ("deploy/podman/freeway.container", rf"(?<=podman build -t freeway:){VERSION}"),
    ("deploy/unraid/freeway.xml", rf"(?<=load freeway:){VERSION}"),
    ("deploy/casaos/docker-compose.yml", rf"(?<=`docker load` freeway:){VERSION}"),
    ("deploy/unraid/freeway.xml", rf"(?<=<Repository>freeway:){VERSION}"),
)
"""Each place that names the version: a file, and where in it."""


class CannotRelease(Exception):
    """Says why not."""


def texts(root: Path) -> dict[str, str]:
    """Every file that a release changes. Some may be missing where not all of it is at hand."""
    paths = {CHANGELOG, *(path for path, _ in PLACES)}
    return {path: (root / path).read_text() for path in sorted(paths) if (root / path).exists()}


def named(files: Mapping[str, str]) -> list[tuple[str, str]]:
    """Each place that names the version, and the version that it names; of the changelog, the newest that was released."""
    found = [
        (path, match)
        for path, where in PLACES
        if path in files
        for match in re.findall(where, files[path], re.MULTILINE)
    ]
    released = re.search(rf"^## ({VERSION})", files[CHANGELOG], re.MULTILINE)
    return [*found, (CHANGELOG, released[1])] if released else found


def released(files: Mapping[str, str], version: str, day: str) -> dict[str, str]:
    """*files* after the release of *version* on *day* (2026-01-31). Raises CannotRelease."""
    if not re.fullmatch(VERSION, version):
        raise CannotRelease(f"{version!r} is no version like 1.2.3")
    newest = max((each for _, each in named(files)), key=_parts)
    if _parts(version) < _parts(newest):
        raise CannotRelease(f"{version} is older than {newest}")
    changelog = files[CHANGELOG]
    if f"## {version} " in changelog:
        raise CannotRelease(f"{version} was released before")
    _, found, rest = changelog.partition(UNRELEASED)
    if not found or not re.split(r"^## ", rest, maxsplit=1, flags=re.MULTILINE)[0].strip():
        raise CannotRelease(f"{CHANGELOG} has nothing that is unreleased")
    changed = {**files, CHANGELOG: changelog.replace(UNRELEASED, f"{UNRELEASED}\n## {version} - {day}\n", 1)}
    for path, where in PLACES:
        if path in changed:
            changed[path] = re.sub(where, version, changed[path], flags=re.MULTILINE)
    return changed


NOTES = """\
Run it (`docker run`, Compose, Helm and others: README):

```sh
docker run -d --name freeway -p 127.0.0.1:8000:8000 -v freeway:/data -e FREEWAY_API_KEY=$(openssl rand -hex 32) {home}/freeway:{version}
helm install freeway oci://{home}/charts/freeway --version {version}
```

Image and chart are signed: `cosign verify {home}/freeway:{version} --certificate-oidc-issuer \
https://token.actions.githubusercontent.com --certificate-identity-regexp '/release.yml@refs/tags/v{version}$'`.

"""


def notes(changelog: str, version: str, home: str) -> str:
    """What is told of the release of *version*, published below *home*. Raises CannotRelease."""
    found = re.search(rf"^## {re.escape(version)} .*?\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if found is None or not found[1].strip():
        raise CannotRelease(f"{CHANGELOG} says nothing of {version}")
    return NOTES.format(home=home, version=version) + found[1].strip() + "\n"


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("version")
    asked.add_argument("day", nargs="?", help="of the release, like 2026-01-31")
    asked.add_argument("--notes", action="store_true", help="print what is told of the release, and change nothing")
    asked.add_argument("--home", default="ghcr.io/OWNER", help="below which image and chart were published")
    told = asked.parse_args()
    try:
        if told.notes:
            sys.stdout.write(notes((ROOT / CHANGELOG).read_text(), told.version, told.home))
            return
        changed = released(texts(ROOT), told.version, told.day or "")
    except CannotRelease as exc:
        sys.exit(f"not released: {exc}")
    for path, text in changed.items():
        (ROOT / path).write_text(text)
    sys.stdout.write(
        f"Freeway {told.version}: {', '.join(changed)}. Look at `git diff`; docs/releasing.md says what is next.\n"
    )


if __name__ == "__main__":
    main()
