"""
How the site differs from the folder ``docs``: pages that stand elsewhere in the tree belong to it, too, and a link to a file that
is no page of it becomes plain text. A hook of MkDocs (``mkdocs.yml``).

Links are written for readers of the tree. A link to a file that is not there raises ``Abort``, with the page that has it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.exceptions import Abort
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
ELSEWHERE = {
    "README.md": "index.md",
    ".github/CONTRIBUTING.md": "contributing.md",
    "tests/bench/README.md": "benches.md",
}
"""Pages of the site that stand elsewhere, and what they are called there."""

ICON = "gateway/dashboard/static/icon.svg"
_LINK = re.compile(r"(?P<text>\[(?:[^\[\]]|\[[^\]]*\])*\])\((?P<target>[^)\s]+)\)")
_AWAY = re.compile(r"[a-z][a-z+.-]*:|#|//", re.IGNORECASE)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that stand elsewhere, and the icon."""
    for source, name in ELSEWHERE.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text()))
    files.append(File.generated(config, "icon.svg", content=(ROOT / ICON).read_bytes()))
    more = sorted({page.src_uri for page in files.documentation_pages()} - set(_named(config.nav)))
    if more:
        config.nav.append({"More": more})
    return files


def _named(nav: Any) -> Iterator[str]:
    """Every page that *nav* names, however deep."""
    match nav:
        case str():
            yield nav
        case dict():
            yield from _named(list(nav.values()))
        case list():
            for one in nav:
                yield from _named(one)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:  # noqa: ARG001 - MkDocs names them
    """The page with its links as the site has them."""
    name = page.file.src_uri
    source = next((one for one, called in ELSEWHERE.items() if called == name), f"docs/{name}")
    return linked(markdown, source, name, {file.src_uri for file in files})


def linked(markdown: str, source: str, name: str, pages: set[str]) -> str:
    """*markdown* of the file *source*, which is the page *name* of a site that has *pages*."""

    def turned(found: re.Match[str]) -> str:
        text, target = found["text"], found["target"]
        if _AWAY.match(target):
            return found[0]
        path, hash_, anchor = target.partition("#")
        meant = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if not (ROOT / meant).exists():
            raise Abort(f"{source} links to {target!r}, which is not there")
        called = "index.md" if meant == "docs/README.md" else ELSEWHERE.get(meant, meant.removeprefix("docs/"))
        if called not in pages:
            return text[1:-1]
        return f"{text}({posixpath.relpath(called, posixpath.dirname(name) or '.')}{hash_}{anchor})"

    return _LINK.sub(turned, markdown)
