"""
``make release VERSION=1.2.3``: one version wherever it is named, and what was unreleased under its heading.

Changes files alone. What comes before and after stands in docs/releasing.md.
"""

from __future__ import annotations

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
)
"""Each place that names the version: a file, and where in it."""


class CannotRelease(Exception):
    """Says why not."""


def texts(root: Path) -> dict[str, str]:
    """Every file that a release changes. The chart may be missing: it is not in the source distribution."""
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


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def main() -> None:
    _, version, day = sys.argv
    try:
        changed = released(texts(ROOT), version, day)
    except CannotRelease as exc:
        sys.exit(f"not released: {exc}")
    for path, text in changed.items():
        (ROOT / path).write_text(text)
    sys.stdout.write(
        f"Freeway {version}: {', '.join(changed)}. Look at `git diff`; docs/releasing.md says what is next.\n"
    )


if __name__ == "__main__":
    main()
