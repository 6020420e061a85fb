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


class Presence:
    """One that lives, by *name*, for as long as it is not closed. *folder* is where the others are."""

    def __init__(self, folder: Path) -> None:
        self.name = uuid4().hex[:12]
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / self.name
        self._file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        _lock(self._file)

    def dead(self) -> list[str]:
        """The names of those that live no more. Each is told once: whoever hears it has to bury them."""
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

    def place(self) -> tuple[int, int]:
        """Its rank, from zero, among those that live, and how many they are."""
        names = []
        for path in self._folder.iterdir():
            with suppress(OSError):
                file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    if path == self._path or not _lock(file):
                        names.append(path.name)
                finally:
                    os.close(file)
        return sum(name < self.name for name in names), max(1, len(names))

    def close(self) -> None:
        """Live no more."""
        with suppress(OSError):
            self._path.unlink()
            os.close(self._file)


def _lock(file: int) -> bool:
    """Whether *file* could be locked. Where there is no such lock everybody is taken to live."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
