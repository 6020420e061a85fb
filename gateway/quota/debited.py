"""
How many calls were debited, by *run* (a process's life, by its store's name): counted by the store in the very exchange that debits
them, so that the receipts of a run can be compared with it, whatever became of the process and of its files.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from msgspec import Struct

from gateway.quota.exchange import Ask, StoreFailure

KEPT_FOR = 90 * 86_400.0
"""Seconds after its last debit for which a run is counted; as in redis.lua."""

TABLE = "CREATE TABLE IF NOT EXISTS debited (run TEXT PRIMARY KEY, calls INTEGER, since REAL, at REAL) WITHOUT ROWID;"
COUNT = """
INSERT INTO debited VALUES (?, ?, ?, ?) ON CONFLICT (run) DO UPDATE SET calls = calls + excluded.calls, at = excluded.at
"""
SWEEP = "DELETE FROM debited WHERE at < ?"


class Debited(Struct, frozen=True):
    """
    So many *calls* of a run were debited, the first and the last of them *took* so many seconds, where that is known. *lives*: its
    process says so.
    """

    calls: int
    took: float = 0.0
    lives: bool = False


def counted(asks: Iterable[Ask], places: Iterable[int]) -> int:
    """How many calls were debited for *asks*, whose offers at *places* (-1: none) were."""
    return sum(place >= 0 and ask.offers[place].counted for ask, place in zip(asks, places, strict=True))


def debited_in_file(path: Path) -> dict[str, Debited]:
    """By run, what the ledger in the file at *path* has. Raises StoreFailure."""
    if not path.exists():
        return {}
    try:
        with closing(sqlite3.connect(path, timeout=5)) as db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'debited'").fetchone():
                return {}
            rows = db.execute("SELECT run, calls, at - since FROM debited").fetchall()
    except sqlite3.Error as exc:
        raise StoreFailure(f"{path}: {exc}") from exc
    return {run: Debited(calls, took) for run, calls, took in rows}
