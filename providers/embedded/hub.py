"""
Weights from a hub that speaks as Hugging Face does, checked by their hash; what was cut off goes on where it stopped.

Sources: the hub's API (https://huggingface.co/docs/hub/api: ``/api/models/REPO?blobs=true`` tells each file's size and SHA-256) and
the addresses of its files (``/REPO/resolve/REVISION/FILE``), which lead to another host.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import httpx
import msgspec

from providers.embedded.weights import EmbeddedUnavailable, HubFile, Progress

HUB = "https://huggingface.co"
_PIECE = 1 << 20
_TRIES = 4  # of a transfer that breaks, each from where the last one stopped
_REDIRECTS = 5
_REPO = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def described(asking: httpx.Client, hub: str, repo: str, file: str, sha256: str | None) -> HubFile:
    """
    *file* of *repo* as the *hub* describes it. Its hash is *sha256*, if that is known from elsewhere.

    Raises EmbeddedUnavailable: there is none, or nothing tells its hash.
    """
    if not _REPO.fullmatch(repo) or not file.endswith(".gguf") or ".." in file.split("/"):
        raise EmbeddedUnavailable(f"expected OWNER/REPO and the name of a GGUF file in it, got {repo} {file}")
    try:
        reply = asking.get(f"{hub}/api/models/{repo}", params={"blobs": "true"})
        reply.raise_for_status()
        listed = msgspec.json.decode(reply.content, type=dict[str, Any]).get("siblings")
    except httpx.HTTPStatusError as exc:
        raise EmbeddedUnavailable(f"{hub} answered {exc.response.status_code} for {repo}") from exc
    except (httpx.HTTPError, msgspec.DecodeError) as exc:
        raise EmbeddedUnavailable(f"{hub} could not be asked about {repo}: {_plain(exc)}") from exc
    entries = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    names = [str(one.get("rfilename")) for one in entries]
    if file not in names:
        there = [name for name in names if name.endswith(".gguf")]
        raise EmbeddedUnavailable(f"{repo} has no {file}; it has {', '.join(there) or 'no GGUF file at all'}")
    entry = entries[names.index(file)]
    told = entry.get("lfs")
    told = told if isinstance(told, dict) else {}
    size, digest = told.get("size", entry.get("size")), sha256 or told.get("sha256")
    if (
        not isinstance(size, int)
        or size <= 0
        or not isinstance(digest, str)
        or not re.fullmatch(r"[0-9a-f]{64}", digest)
    ):
        raise EmbeddedUnavailable(f"{hub} does not tell the hash of {file}: give it with --sha256")
    return HubFile(repo=repo, file=file, bytes=size, sha256=digest)


def path_of(cache: Path, wanted: HubFile) -> Path:
    """Where *wanted* lies once it is here: files of one name from two places are kept apart."""
    return cache / "models" / wanted.repo.replace("/", "--") / Path(wanted.file).name


def fetch(asking: httpx.Client, hub: str, wanted: HubFile, cache: Path, progress: Progress) -> Path:
    """
    The file *wanted*, below *cache*; one that is there already is checked and taken.

    Raises EmbeddedUnavailable. What was read of a transfer that broke is kept, and the next call goes on there; nothing that has
    another hash is.
    """
    path = path_of(cache, wanted)
    part = path.with_name(f".{wanted.sha256[:16]}.part")
    try:
        if path.is_file() and path.stat().st_size == wanted.bytes and _digest(path, wanted, progress) == wanted.sha256:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        _room_for(wanted, part)
        for left in reversed(range(_TRIES)):
            try:
                if _transferred(asking, hub, wanted, part, progress):
                    break
            except (httpx.TransportError, httpx.InvalidURL) as exc:
                if not left:
                    raise EmbeddedUnavailable(f"{wanted.file}: {_plain(exc)}; {_goes_on(part, wanted)}") from exc
        else:
            raise EmbeddedUnavailable(f"{wanted.file} was cut off again and again; {_goes_on(part, wanted)}")
        digest = _digest(part, wanted, progress)
        if digest != wanted.sha256:
            part.unlink()
            raise EmbeddedUnavailable(
                f"{wanted.file} is not what it should be: its hash is {digest}, not {wanted.sha256}"
            )
        part.replace(path)
    except OSError as exc:
        part.unlink(missing_ok=True)  # what fills a disk is not left there
        raise EmbeddedUnavailable(f"{wanted.file} cannot be kept in {path.parent}: {exc.strerror or exc}") from exc
    return path


def _room_for(wanted: HubFile, part: Path) -> None:
    needed = wanted.bytes - _size(part)
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise EmbeddedUnavailable(
            f"{wanted.file} takes {needed / 1e9:.1f} GB more, and {free / 1e9:.1f} GB are free in {part.parent}"
        )


def _transferred(asking: httpx.Client, hub: str, wanted: HubFile, part: Path, progress: Progress) -> bool:
    """Whether *part* is whole, after it was read on from where it ends. Raises EmbeddedUnavailable, httpx.TransportError, OSError."""
    done = _size(part)
    if done > wanted.bytes:
        done = 0
    if done == wanted.bytes:
        return True
    url = f"{hub}/{wanted.repo}/resolve/{quote(wanted.revision)}/{quote(wanted.file)}"
    with ExitStack() as open_until_read:
        reply = _answer(asking, url, done, open_until_read)
        goes_on = reply.headers.get("content-range", "").startswith(f"bytes {done}-")
        if reply.status_code == 416 or (reply.status_code == 206 and not goes_on):
            part.unlink(missing_ok=True)  # there is no such place in it: what is here is of another file
            return False
        if reply.status_code not in (200, 206):
            raise EmbeddedUnavailable(f"{hub} answered {reply.status_code} for {wanted.file} of {wanted.repo}")
        if reply.status_code == 200:
            done = 0  # it does not go on, but begins
        with part.open("ab" if done else "wb") as file:
            for piece in reply.iter_raw():
                done += len(piece)
                if done > wanted.bytes:
                    break
                file.write(piece)
                progress(f"fetching {Path(wanted.file).name}", done, wanted.bytes)
    if done > wanted.bytes:
        part.unlink()
        raise EmbeddedUnavailable(f"{wanted.file} is longer than the {wanted.bytes} bytes that it should have")
    return done == wanted.bytes


def _answer(asking: httpx.Client, url: str, done: int, open_until_read: ExitStack) -> httpx.Response:
    """The answer that *url* leads to. To another host the way is encrypted, or not gone."""
    for _ in range(_REDIRECTS):
        headers = {"accept-encoding": "identity", **({"range": f"bytes={done}-"} if done else {})}
        reply = open_until_read.enter_context(asking.stream("GET", url, headers=headers, follow_redirects=False))
        if not reply.has_redirect_location:
            return reply
        there = urljoin(url, reply.headers["location"])
        if urlsplit(there).netloc != urlsplit(url).netloc and urlsplit(there).scheme != "https":
            raise EmbeddedUnavailable(
                f"{urlsplit(url).netloc} leads to another host without encryption: {urlsplit(there).netloc}"
            )
        url = there
    raise EmbeddedUnavailable(f"{urlsplit(url).netloc} leads in circles")


def _digest(path: Path, wanted: HubFile, progress: Progress) -> str:
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            done += len(piece)
            progress("checking", done, wanted.bytes)
    return digest.hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _goes_on(part: Path, wanted: HubFile) -> str:
    return f"{_size(part) / 1e6:.0f} of {wanted.bytes / 1e6:.0f} MB are here, and the next try goes on there"


def _plain(exc: Exception) -> str:
    return str(exc) or type(exc).__name__
