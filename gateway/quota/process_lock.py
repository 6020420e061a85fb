"""
Which processes of this machine live: each holds a lock on a file of its own, which its end gives up, however it ends.

(A process number says less: it is given again, and in a container it is always the same.)
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

if sys.platform != "win32":
    import fcntl


class ProcessLock:
    """The lock of one process, by *name*, until it is closed. *folder* is where those of the others are."""

    def __init__(self, folder: Path) -> None:
        self.name = uuid4().hex[:12]
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / self.name
        self._file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        _lock(self._file)

    def dead(self) -> list[str]:
        """The names of processes that live no more. Each is told once: the process that hears it has to bury them."""
        found = []
        for path in self._folder.iterdir():
            if path == self._path:
                continue
            with suppress(OSError):
                file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    if _lock(file):
                        path.unlink()
                        found.append(path.name)
                finally:
                    os.close(file)
        return found

    def living(self) -> list[str]:
        """The names of the processes that live, in order."""
        names = {self.name}
        for path in self._folder.iterdir():
            with suppress(OSError):
                file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    if path == self._path or not _lock(file):
                        names.add(path.name)
                finally:
                    os.close(file)
        return sorted(names)

    def close(self) -> None:
        """Live no more."""
        with suppress(OSError):
            self._path.unlink()
            os.close(self._file)


def _lock(file: int) -> bool:
    """Whether *file* could be locked. Where there is no such lock every process is taken to live."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
