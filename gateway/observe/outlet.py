"""
Where log lines leave the process: a file descriptor that may be closed, full, or a pipe that is not read.

The writer of a line never waits for it. A thread takes the lines from a bounded queue; those that find it full, or cannot be
written, are dropped and counted, and the next line that gets through says how many.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque

_MOST = 4 * 1024 * 1024
"""Bytes of lines that wait to be written."""

_AT_ONCE = 64 * 1024


class Outlet:
    """Text for *descriptor*. It is a file as far as loggers need one."""

    def __init__(self, descriptor: int, most: int = _MOST) -> None:
        self.dropped = 0
        self._descriptor, self._most = descriptor, most
        self._lines: deque[bytes] = deque()
        self._held = self._told = 0
        self._closing = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)
        self._thread.start()

    def write(self, text: str) -> int:
        """Have *text* written some time, or dropped."""
        line = text.encode(errors="replace")
        with self._change:
            if self._held + len(line) > self._most:
                self.dropped += 1
            else:
                self._lines.append(line)
                self._held += len(line)
                self._change.notify()
        return len(text)

    def flush(self) -> None:
        """Nothing: a line is never waited for."""

    def close(self, patience: float) -> None:
        """Write what is there, but do not wait longer than *patience* seconds for it."""
        with self._change:
            self._closing = True
            self._change.notify()
        self._thread.join(patience)

    def _work(self) -> None:
        while True:
            with self._change:
                while not self._lines and not self._closing:
                    self._change.wait()
                if not self._lines:
                    return
                taken = self._take()
            if not self._put(b"".join(taken)):
                with self._change:
                    self.dropped += len(taken)

    def _take(self) -> list[bytes]:
        """Some of the lines, after one that says how many were dropped since that was last said."""
        taken, size = [], 0
        if self.dropped > self._told:
            taken.append(b"%d log lines were dropped: they could not be written\n" % (self.dropped - self._told))
            self._told = self.dropped
        while self._lines and size < _AT_ONCE:
            line = self._lines.popleft()
            size += len(line)
            taken.append(line)
        self._held -= size
        return taken

    def _put(self, data: bytes) -> bool:
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # another process made it non-blocking
                select.select([], [self._descriptor], [], 1.0)
            except (OSError, ValueError):
                return False
        return True


def hold_standard_files() -> None:
    """
    Put nothing in the place of a standard file that was closed: the next file to be opened would get its number, and the log
    would be written into the ledger.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
