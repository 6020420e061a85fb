"""Bytes to events, nothing else: server-sent events and lines of JSON, however they were cut on their way."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

MAX_EVENT = 8 * 1024 * 1024
"""Bytes that one event may have. More is not an answer but an accident."""


class EventTooLong(ValueError):
    """One event outgrew MAX_EVENT."""


class Lines:
    """Newline-delimited JSON: yields each line that is not blank."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > MAX_EVENT:
            raise EventTooLong
        for line in lines:
            if line := line.strip():
                yield line

    def end(self) -> Iterator[bytes]:
        """What was left when the body ended: a last line needs no line end."""
        rest, self._rest = self._rest.strip(), b""
        if rest:
            yield rest


class ServerSentEvents:
    """
    The ``data`` of each event that has any; comments and ids are left out (HTML Living Standard, 9.2.6).

    Left out as well is what servers put into data lines to keep a stream alive: ``null``, and comments
    (anomalyco/opencode#50871, NousResearch/hermes-agent#80822). What an event called ``error`` carries is an error: it
    is given as ``{"error": …}``, whatever its shape.

    An event cut off before its blank line is given by :meth:`end`, since some servers leave out the last one; whether
    it is whole is for its reader to see.
    """

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._is_error = False
        self._size = 0  # of the lines
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > MAX_EVENT:
            raise EventTooLong
        for line in lines:
            if line.endswith(b"\r"):  # its line end was cut in two
                line = line[:-1]  # noqa: PLW2901 - the same line
            if line.startswith(b"data:"):
                self._lines.append(line[6:] if line[5:6] == b" " else line[5:])
                self._size += len(line)
                if self._size > MAX_EVENT:
                    raise EventTooLong
            elif not line:
                yield from self._event()
            elif line.startswith(b"event:"):
                self._is_error = line[6:].strip() == b"error"

    def end(self) -> Iterator[bytes]:
        yield from self.feed(b"\n")
        yield from self._event()

    def _event(self) -> Iterator[bytes]:
        lines, self._lines, self._size = self._lines, [], 0
        if not lines:
            self._is_error = False
            return
        data = lines[0] if len(lines) == 1 else b"\n".join(lines)
        if data[:1] != b"{" and _says_nothing(data):
            self._is_error = False
        elif self._is_error:
            self._is_error = False
            yield _as_error(data)
        else:
            yield data


def _says_nothing(data: bytes) -> bool:
    stripped = data.strip()
    return stripped in (b"", b"null") or stripped.startswith(b":")


def _as_error(data: bytes) -> bytes:
    """*data* as an object that has an ``error``."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        found = data.decode(errors="replace")
    if isinstance(found, dict) and found.get("error"):
        return data
    return msgspec.json.encode({"error": found or "the provider gave up"})
