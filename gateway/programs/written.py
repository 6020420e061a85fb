"""
Files of other programs, written so that every byte can be had back: a copy of what was there is kept in a folder of ours, with a record
of what was written and made.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import msgspec
from msgspec import Struct

_RECORD = "record.json"


class CannotUndo(Exception):
    """Nothing was undone, and why."""


class Kept(Struct, frozen=True, kw_only=True):
    """What was at *path*: the file *copy* beside the record with its *mode*, or nothing (None). *wrote* is the hash of what is there now."""

    path: str
    copy: str | None
    mode: int | None
    wrote: str


class Record(Struct, frozen=True, kw_only=True):
    """The *files* that were written, and the *folders* that were made for them, outermost first."""

    files: list[Kept]
    folders: list[str]


def before(folder: Path, path: Path) -> bytes | None:
    """
    What is to be written into at *path* (None: there is no file): what is there, or, where that is what we wrote ourselves, what was
    there before, so that writing twice is undone by one undo.
    """
    here = _read(path)
    for one in _record(folder).files:
        if one.path == str(path) and here is not None and _hash(here) == one.wrote:
            return None if one.copy is None else (folder / one.copy).read_bytes()
    return here


def write(folder: Path, texts: Mapping[Path, bytes]) -> None:
    """Write *texts*, and keep what was there in *folder*. Raises OSError; nothing is changed then."""
    old = _record(folder)
    fresh = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True, mode=0o700)
    made = [*old.folders, *(str(one) for path in texts for one in _missing(path.parent))]
    kept: list[Kept] = []
    for number, (path, text) in enumerate(texts.items()):
        there, mode = before(folder, path), _mode(path)
        copy = None if there is None else f"{number}-{path.name}"
        if copy is not None:
            _put(fresh / copy, there or b"", 0o600)
        kept.append(Kept(path=str(path), copy=copy, mode=mode, wrote=_hash(text)))
    others = [one for one in old.files if Path(one.path) not in texts]
    for number, one in enumerate(others):
        if one.copy is not None:
            shutil.copy2(folder / one.copy, fresh / f"o{number}-{one.copy}")
            others[number] = msgspec.structs.replace(one, copy=f"o{number}-{one.copy}")
    record = Record(files=[*kept, *others], folders=list(dict.fromkeys(made)))
    _put(fresh / _RECORD, msgspec.json.encode(record), 0o600)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    here = {path: _read(path) for path in texts}
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            _put(path, text, _mode(path) or 0o600)
    except OSError:
        _put_back(here, made)
        raise


def undo(folder: Path, *, force: bool = False) -> list[Path]:
    """
    Put everything back as *folder* has it, and forget it; gives what was put back. Raises CannotUndo if there is nothing to undo, or
    if a file was changed since and not *force*.
    """
    record = _record(folder)
    if not record.files:
        raise CannotUndo("there is nothing to undo: it was not connected from here")
    changed = [one for one in record.files if (here := _read(Path(one.path))) is not None and _hash(here) != one.wrote]
    if changed and not force:
        told = "; ".join(f"{one.path} ({_copy(folder, one)})" for one in changed)
        raise CannotUndo(
            f"changed since it was written: {told}. --force puts back what was there before, and drops those changes"
        )
    _put_back(
        {Path(one.path): None if one.copy is None else (folder / one.copy).read_bytes() for one in record.files},
        record.folders,
    )
    for one in record.files:
        if one.copy is not None and one.mode is not None:
            Path(one.path).chmod(one.mode)
    shutil.rmtree(folder)
    return [Path(one.path) for one in record.files]


def _copy(folder: Path, one: Kept) -> str:
    return "there was none before" if one.copy is None else f"what was there before is in {folder / one.copy}"


def _put_back(files: Mapping[Path, bytes | None], folders: list[str]) -> None:
    for path, content in files.items():
        if content is None:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            _put(path, content, _mode(path) or 0o600)
    for made in sorted(folders, key=len, reverse=True):
        try:
            Path(made).rmdir()
        except OSError:
            continue  # not empty, or gone: what another put into it is its own


def _record(folder: Path) -> Record:
    found = _read(folder / _RECORD)
    return Record(files=[], folders=[]) if found is None else msgspec.json.decode(found, type=Record)


def _missing(folder: Path) -> list[Path]:
    """*folder* and those above it that are not there, outermost first."""
    return [one for one in (*reversed(folder.parents), folder) if not one.exists()]


def _put(path: Path, content: bytes, mode: int) -> None:
    """*content* at *path*, whole or not at all."""
    new = path.with_name(f".{path.name}.freeway")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        new.chmod(mode)
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:
        return None


def _hash(content: bytes) -> str:
    return sha256(content).hexdigest()
