"""
The embedded ledger: one SQLite file, shared by all processes of this machine, true after ``kill -9``.

One row for each bucket; every verb is one short transaction. The write-ahead log is not forced to the disk at every
commit (``synchronous = NORMAL``): a power cut may lose the last moments, a crash of the process loses nothing
(https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from uuid import uuid4

import msgspec

from gateway.ledger import buckets as b
from gateway.ledger.buckets import Bucket, Level
from gateway.ledger.ledger import Cost, LevelView, NoRoom, Reservation, Wanted
from providers.dialect import Observation

LEASE = 900.0
"""Seconds after which an unfinished request no longer counts as in flight: its process must have died."""

LEARNED_FOR = 86_400.0
"""Seconds for which a limit that a provider stated overrides the configured one, unless it is stated again."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS bucket (key TEXT PRIMARY KEY, level BLOB NOT NULL) WITHOUT ROWID;
"""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Level).decode


class EmbeddedLedger:
    """See ``Ledger``. *path* None keeps it in memory, for tests and simulations."""

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=1.0, cached_statements=64)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)
        self._shares: dict[str, float] = {}
        self._run, self._numbers = uuid4().hex[:12], count()

    def reserve(self, wanted: Iterable[Wanted], now: float) -> Reservation | NoRoom:
        lease = (f"{self._run}-{next(self._numbers)}", now + LEASE)
        refusals = []
        with self._begun():
            for place, want in enumerate(wanted):
                levels = self._load(want.buckets, now)
                refusal = _refusal(want, levels, now)
                if refusal is not None:
                    refusals.append(refusal)
                    continue
                for bucket, level in zip(want.buckets, levels, strict=True):
                    b.debit(bucket, level, want.cost.of(bucket.unit), now, lease)
                self._save(want.buckets, levels, now)
                return Reservation(lease[0], place, want, now)
        return NoRoom(tuple(refusals))

    def settle(self, held: Reservation, true: Cost, now: float, said: Sequence[Observation] = ()) -> None:
        wanted = held.wanted
        self._end(held, [_difference(bucket, wanted.cost, true) for bucket in wanted.buckets], now, said)

    def refund(self, held: Reservation, now: float, *, refused: bool = False) -> None:
        wanted = held.wanted
        self._end(held, [0.0 if refused and u.counts_refused else -wanted.cost.of(u.unit) for u in wanted.buckets], now)

    def _end(self, held: Reservation, changes: Sequence[float], now: float, said: Sequence[Observation] = ()) -> None:
        if held.ended:
            return
        held.ended = True
        told = _told(held.wanted.buckets, said)
        changed = [
            (bucket, change)
            for bucket, change in zip(held.wanted.buckets, changes, strict=True)
            if change or bucket.window == "in-flight" or bucket.key in told
        ]
        if not changed:
            return
        concerned = [bucket for bucket, _ in changed]
        with self._begun():
            levels = self._load(concerned, now)
            for (bucket, change), level in zip(changed, levels, strict=True):
                if bucket.key in told:
                    _learn(bucket, level, told[bucket.key], now)
                b.correct(bucket, level, change, held.at, held.id)
            self._save(concerned, levels, now)

    def observe(self, buckets: Sequence[Bucket], said: Sequence[Observation], now: float) -> None:
        told = _told(buckets, said)
        if not told:
            return
        concerned = [bucket for bucket in buckets if bucket.key in told]
        with self._begun():
            levels = self._load(concerned, now)
            for bucket, level in zip(concerned, levels, strict=True):
                _learn(bucket, level, told[bucket.key], now)
            self._save(concerned, levels, now)

    def close(self, bucket: Bucket, until: float | None, because: str, now: float) -> None:
        with self._begun():
            (level,) = self._load([bucket], now)
            until = b.reopens_at(bucket, now) if until is None else until
            if until > level.closed_until:
                level.closed_until, level.closed_because = until, because
            self._save([bucket], [level], now)

    def open(self, bucket: Bucket) -> None:
        with self._begun():
            (level,) = self._load([bucket], 0.0)
            level.closed_until, level.closed_because = 0.0, ""
            self._save([bucket], [level], 0.0)

    def levels(self, buckets: Sequence[Bucket], now: float) -> Mapping[str, LevelView]:
        views = {}
        for bucket, level in zip(buckets, self._load(buckets, now), strict=True):
            closed = level.closed_until > now
            learned = level.limit is not None and now < level.limit_until
            views[bucket.key] = LevelView(
                bucket=bucket.key,
                unit=bucket.unit,
                window=bucket.window_name,
                used=b.used(bucket, level),
                limit=b.limit_of(bucket, level, now),
                limit_from=level.limit_source if learned else bucket.source,
                resets_at=b.refilled_at(bucket, level, now),
                closed_until=level.closed_until if closed else None,
                closed_because=level.closed_because if closed else "",
            )
        return views

    def shares(self) -> Mapping[str, float]:
        return self._shares

    def aclose(self) -> None:
        self._db.close()

    def _begun(self) -> sqlite3.Connection:
        """A transaction: ``with`` it, and it is committed at the end, or rolled back by what is raised."""
        self._db.execute("BEGIN IMMEDIATE")
        return self._db

    def _load(self, buckets: Sequence[Bucket], now: float) -> list[Level]:
        """The levels of *buckets*, rolled to *now*."""
        levels = []
        for bucket in buckets:
            row = self._db.execute("SELECT level FROM bucket WHERE key = ?", (bucket.key,)).fetchone()
            level = _decode(row[0]) if row else Level()
            b.roll(bucket, level, now)
            levels.append(level)
        return levels

    def _save(self, buckets: Sequence[Bucket], levels: Sequence[Level], now: float) -> None:
        self._db.executemany(
            "INSERT INTO bucket VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET level = excluded.level",
            [(bucket.key, _encode(level)) for bucket, level in zip(buckets, levels, strict=True)],
        )
        for bucket, level in zip(buckets, levels, strict=True):
            self._shares[bucket.key] = b.used(bucket, level) / max(b.limit_of(bucket, level, now), 1e-9)


def _difference(bucket: Bucket, reserved: Cost, true: Cost) -> float:
    """What *bucket* is still to be debited, once it is known what a request took; negative: what comes back."""
    if bucket.keeps_output:
        true = Cost(true.prompt, max(true.output, reserved.output), true.dollars)
    return true.of(bucket.unit) - reserved.of(bucket.unit)


def _refusal(want: Wanted, levels: Sequence[Level], now: float) -> tuple[Bucket, float] | None:
    """The bucket that opens last, if any has no room."""
    latest: tuple[Bucket, float] | None = None
    for bucket, level in zip(want.buckets, levels, strict=True):
        opens = b.opens_at(bucket, level, want.cost.of(bucket.unit), now)
        if opens > now and (latest is None or opens > latest[1]):
            latest = (bucket, opens)
    return latest


def _told(buckets: Sequence[Bucket], said: Sequence[Observation]) -> dict[str, Observation]:
    """Which of *buckets*, by key, an observation is about."""
    return {u.key: o for o in said for u in buckets if u.unit == o.unit and u.window_name == o.window}


def _learn(bucket: Bucket, level: Level, said: Observation, now: float) -> None:
    if said.limit is not None and said.limit != bucket.limit:
        level.limit, level.limit_until, level.limit_source = said.limit, now + LEARNED_FOR, "observed"
    elif said.limit is not None:
        level.limit, level.limit_until, level.limit_source = None, 0.0, ""
    limit = b.limit_of(bucket, level, now)
    if said.remaining is not None:
        # Requests of ours that are on their way are not in the provider's count yet: believe the higher of the two.
        b.set_used(bucket, level, max(b.used(bucket, level), limit - said.remaining), now)
