"""
Where this machine gets Python packages from, and the addresses of one file there.

Machines that may not ask PyPI name an index of their own, for pip, uv or both, in the environment or in a file. What is
fetched here is known by its hash, so every place that either of them names will do, in whatever order.

Sources: pip's configuration (https://pip.pypa.io/en/stable/topics/configuration/), uv's
(https://docs.astral.sh/uv/reference/environment/ and /settings/), and the simple repository API
(https://packaging.python.org/en/latest/specifications/simple-repository-api/).
"""

from __future__ import annotations

import configparser
import ssl
import tomllib
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit
from urllib.request import url2pathname

import httpx
import msgspec
from msgspec import Struct

PYPI = "https://pypi.org/simple"
"""Asked where neither pip nor uv is told otherwise."""

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"


class Places(Struct, frozen=True, kw_only=True):
    """Indexes, and folders or pages with *links* to files; *certificates* is a file with those to trust, if one is named."""

    links: tuple[str, ...] = ()
    indexes: tuple[str, ...] = (PYPI,)
    certificates: str = ""


class _File(Struct, frozen=True):
    url: str
    hashes: dict[str, str] = {}


class _Page(Struct, frozen=True):
    files: list[_File]


def places(environ: Mapping[str, str], home: Path, prefix: Path) -> Places:
    """
    What pip and uv would use here: *prefix* is the Python environment's own folder, which may hold a ``pip.conf``.

    A file that cannot be read counts as none: what it would have named is then missing among the places that are told.
    """
    pip, uv = _pip(environ, home, prefix), _uv(environ, home)
    links = (*_words(pip.get("find-links")), *_listed(uv.get("find-links")))
    certificates = pip.get("cert", "")
    if any(str(each.get("no-index", "")).lower() in {"1", "true", "yes", "on"} for each in (pip, uv)):
        return Places(links=links, indexes=(), certificates=certificates)
    named = [each for each in uv.get("index", ()) if isinstance(each, dict) and isinstance(each.get("url"), str)]
    instead = (*(each["url"] for each in named if each.get("default")), *_listed(uv.get("index-url")))
    instead = (*instead, *_words(pip.get("index-url"))) or (PYPI,)
    beside = (
        *_words(pip.get("extra-index-url")),
        *_listed(uv.get("extra-index-url")),
        *(each["url"] for each in named if not each.get("default")),
    )
    return Places(links=links, indexes=tuple(dict.fromkeys((*instead, *beside))), certificates=certificates)


def _pip(environ: Mapping[str, str], home: Path, prefix: Path) -> dict[str, str]:
    """What pip is set to, by long names: files for all, for this user, for this environment, then variables."""
    own = environ.get("PIP_CONFIG_FILE", "")
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    files = [
        *(Path(each) / "pip" / "pip.conf" for each in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if each),
        Path("/Library/Application Support/pip/pip.conf"),
        Path(environ.get("PROGRAMDATA", "/")) / "pip" / "pip.ini",
        Path("/etc/pip.conf"),
        home / ".pip" / "pip.conf",
        home / "Library" / "Application Support" / "pip" / "pip.conf",
        Path(environ.get("APPDATA", "/")) / "pip" / "pip.ini",
        config / "pip" / "pip.conf",
        prefix / "pip.conf",
        prefix / "pip.ini",
        *([Path(own)] if own else []),
    ]
    found: dict[str, str] = {}
    for path in files if own != "/dev/null" else []:
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue
        for section in ("global", "install", "download"):
            if parser.has_section(section):
                found |= dict(parser.items(section))
    return found | _variables(environ, "PIP_")


def _uv(environ: Mapping[str, str], home: Path) -> dict[str, Any]:
    """What uv is set to, by the names in ``uv.toml``; variables come first."""
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    own = environ.get("UV_CONFIG_FILE")
    found: dict[str, Any] = {}
    for path in [Path(own)] if own else [Path("/etc/uv/uv.toml"), config / "uv" / "uv.toml"]:
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        found |= {**tables, **tables.get("pip", {})}
    told = _variables(environ, "UV_")
    if "default-index" in told:
        found["index-url"] = told["default-index"]
        found["index"] = [each for each in found.get("index", ()) if not each.get("default")]
    for name in ("index-url", "no-index"):
        found |= {name: told[name]} if name in told else {}
    for name, separator in (("extra-index-url", None), ("find-links", ",")):
        found |= {name: told[name].split(separator)} if name in told else {}
    if "index" in told:  # name=url, or a url
        urls = [each.partition("=")[2] if "=" in each.partition("://")[0] else each for each in told["index"].split()]
        found["index"] = [*({"url": url} for url in urls), *found.get("index", ())]
    return found


def _variables(environ: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {
        name.removeprefix(prefix).lower().replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith(prefix) and value
    }


def _words(text: str | None) -> tuple[str, ...]:
    return tuple((text or "").split())


def _listed(value: Any) -> tuple[str, ...]:
    """A setting that is one text or a list of them."""
    return (value,) if isinstance(value, str) else tuple(each for each in value or () if isinstance(each, str))


# ── what lies there ──


def client(where: Places) -> httpx.Client:
    """For asking them; proxies are those of the environment."""
    verify = ssl.create_default_context(cafile=where.certificates) if where.certificates else True
    return httpx.Client(verify=verify, follow_redirects=True, timeout=30.0)


def wheels(asking: httpx.Client, place: str, project: str | None, prefix: str, sha256: str) -> Iterator[str]:
    """
    The addresses at *place* of files whose names begin with *prefix*, less those that are said to have another hash. It is an index
    if *project* is given, else a folder or a page with links. Raises OSError, ValueError or httpx.HTTPError.
    """
    for url, hashes in _files(asking, place, project):
        name = unquote(urlsplit(url).path.rpartition("/")[2])
        if name.startswith(prefix) and name.endswith(".whl") and hashes.get("sha256", sha256) == sha256:
            yield url


def _files(asking: httpx.Client, place: str, project: str | None) -> list[tuple[str, dict[str, str]]]:
    address = place if project is None else f"{place.rstrip('/')}/{project}/"
    folder = local(address)
    if folder is None:
        reply = asking.get(address, headers={"accept": ACCEPT}).raise_for_status()
        return listed(reply.content, reply.headers.get("content-type", ""), str(reply.url))
    if project is None and folder.is_dir():
        return [(path.resolve().as_uri(), {}) for path in sorted(folder.iterdir())]
    page = folder / "index.html" if folder.is_dir() else folder
    return listed(page.read_bytes(), "text/html", page.resolve().as_uri())


def local(address: str) -> Path | None:
    """The path that *address* names, if it is one of this machine."""
    parts = urlsplit(address)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return Path(address).expanduser() if "://" not in address else None


def listed(page: bytes, media_type: str, base: str) -> list[tuple[str, dict[str, str]]]:
    """The files that *page* of a simple index names, with their hashes. Raises ValueError: it is no such page."""
    if media_type.partition(";")[0].strip().endswith("json"):
        return [(urljoin(base, file.url), file.hashes) for file in msgspec.json.decode(page, type=_Page).files]
    parser = _Anchors()
    parser.feed(page.decode(errors="replace"))
    found = []
    for href in parser.hrefs:
        try:
            parts = urlsplit(urljoin(urljoin(base, parser.base), href))
        except ValueError:  # it is no address
            continue
        kind, _, digest = parts.fragment.partition("=")
        found.append((urlunsplit(parts._replace(fragment="")), {kind: digest} if digest else {}))
    return found


class _Anchors(HTMLParser):
    """The links of a page, and what they are relative to."""

    def __init__(self) -> None:
        super().__init__()
        self.base, self.hrefs = "", list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what links."""
        href = dict(attrs).get("href")
        if href and tag == "a":
            self.hrefs.append(href)
        elif href and tag == "base":
            self.base = href


def shown(address: str) -> str:
    """*address* as it may be told: without a name and a password."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.netloc else address
