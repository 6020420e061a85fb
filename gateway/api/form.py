"""A form with a recording: its fields are read, and its file goes to the disk as it comes."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

from msgspec import Struct
from multipart import MultipartError, MultipartSegment, PushMultipartParser
from tinytag import TinyTag, TinyTagException

from gateway.api.body import Left
from gateway.words import BadRequest, TooBig
from providers.sound import Recording

_BOUNDARY = re.compile(rb'multipart/form-data\s*;.*?boundary="?([^";\s]{1,200})"?', re.IGNORECASE | re.DOTALL)
_LONGEST_FIELD = 64 * 1024
_MOST_FIELDS = 50
_SLOWEST = 2000.0
"""Bytes for a second of speech at the least, of formats that do not tell how long they play: 16 kbit/s."""


_PREFIX = "freeway-recording-"
"""Of the folders of recordings; the number of their process follows."""


def sweep(folder: Path | None = None) -> None:
    """
    Delete the recordings that gateways left behind which were killed, in *folder*; None: where they are put. A process that begins
    has none of its own: what bears its number is of one before it, as in a container.
    """
    for left in (folder or Path(tempfile.gettempdir())).glob(f"{_PREFIX}*"):
        number = left.name.removeprefix(_PREFIX).partition("-")[0]
        if number.isdigit() and (int(number) == os.getpid() or not _runs(int(number))):
            shutil.rmtree(left, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is someone else's
        return True
    return True


class Form(Struct):
    """The *fields* of a form, those that come several times as lists, and its *file*, which lies in *folder*."""

    fields: dict[str, str | list[str]]
    file: Recording
    folder: tempfile.TemporaryDirectory[str]

    def close(self) -> None:
        """Delete the file."""
        self.folder.cleanup()


async def read_form(receive: Callable[[], Awaitable[Any]], headers: Iterable[tuple[bytes, bytes]], limit: int) -> Form:
    """
    The form that comes, whose file has *limit* bytes at most.

    Raises TooBig, BadRequest (naming the field) or Left.
    """
    told = next((value for name, value in headers if name == b"content-type"), b"")
    boundary = _BOUNDARY.match(told.strip())
    if boundary is None:
        raise BadRequest("content-type: expected multipart/form-data with a boundary", param="content-type")
    folder = tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-")
    try:
        path = Path(folder.name) / "recording"
        with path.open("wb") as file, PushMultipartParser(boundary[1], max_segment_count=_MOST_FIELDS) as parser:
            reader = _Reader(file, limit)
            while not parser.closed:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Left
                for part in parser.parse(message.get("body", b"")):
                    reader.take(part)
                if not message.get("more_body", False):
                    break
        return Form(reader.fields, reader.recording(path), folder)
    except MultipartError as exc:
        folder.cleanup()
        raise BadRequest(f"the form cannot be read: {exc}") from exc
    except BaseException:
        folder.cleanup()
        raise


class _Reader:
    """What came of a form so far."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self.fields: dict[str, str | list[str]] = {}
        self._file, self._limit, self._size = file, limit, 0
        self._name = self._type = ""
        self._segment: MultipartSegment | None = None
        self._text = bytearray()

    def take(self, part: MultipartSegment | bytes | bytearray | None) -> None:
        """A segment begins, goes on, or (None) ends."""
        if isinstance(part, MultipartSegment):
            self._segment, self._text = part, bytearray()
            if part.filename is not None:
                self._name, self._type = part.filename, part.content_type or "application/octet-stream"
        elif self._segment is None:
            return
        elif part is None:
            self._end(self._segment)
        elif self._segment.filename is not None:
            self._size += len(part)
            if self._size > self._limit:
                raise TooBig(f"the file is longer than {self._limit} bytes")
            self._file.write(part)
        else:
            self._text += part
            if len(self._text) > _LONGEST_FIELD:
                raise TooBig(f"{self._segment.name}: the field is longer than {_LONGEST_FIELD} bytes")

    def _end(self, segment: MultipartSegment) -> None:
        if segment.filename is not None:
            return
        name, text = segment.name, self._text.decode(errors="replace")
        if name.endswith("[]"):
            known = self.fields.setdefault(name.removesuffix("[]"), [])
            if isinstance(known, list):
                known.append(text)
        else:
            self.fields[name] = text

    def recording(self, path: Path) -> Recording:
        """The file, which lies at *path*. Raises BadRequest if there was none."""
        if not self._size:
            raise BadRequest("file: expected a recording, got none", param="file")
        return Recording(path, self._name or "recording", self._type, self._size, _seconds(path, self._name))


def _seconds(path: Path, name: str) -> float:
    """How long the recording at *path* plays, or an upper estimate by its size."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            found = TinyTag.get(filename=name or None, file_obj=file).duration
    except (TinyTagException, OSError, ValueError, LookupError, OverflowError):
        found = None
    return found or size / _SLOWEST
