"""Files and folders that only the user who runs the gateway may read: what it learned and counted is for the gateway alone."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

_BESIDE = ("-wal", "-shm")
"""What SQLite keeps beside a database. It gives them the permissions of the database when it makes them."""


_TRIES, _PAUSE = 100, 0.02
"""Of a log that others begin, too, and seconds between two: it takes them milliseconds."""


def private_folder(folder: Path) -> None:
    """
    Make *folder*, readable for its owner only, if it is not there. The permissions of one that is there are its owner's
    choice: it may be a volume, or hold other things too. Raises OSError.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def private_file(path: Path) -> None:
    """
    Make *path* an empty file for its owner only if it is not there; else take away what others may do with it, if it is
    ours to take. Raises OSError.
    """
    private_folder(path.parent)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        for file in (path, *(path.with_name(path.name + end) for end in _BESIDE)):
            if file.is_file():
                with suppress(PermissionError, FileNotFoundError):
                    file.chmod(0o600)


def write_ahead(db: sqlite3.Connection) -> None:
    """
    Have *db* write ahead into a log, so that who reads waits for nobody. Where two processes begin a file at once SQLite refuses one
    of them without waiting for the other, so that is tried again. Raises sqlite3.Error.
    """
    for left in reversed(range(_TRIES)):
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if not left:
                raise
            time.sleep(_PAUSE)
        else:
            return
