"""
Moving what was debited from one store to another, whichever way it goes and how often: of what they know of each other, pure.

Both stores keep a note of what of their levels the other knows, so that only what came since is counted there.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from gateway.quota import buckets as b
from gateway.quota.buckets import Bucket, Level
from gateway.quota.operations import Correct, Entry, Restore


class Note(Struct):
    """What the other store knows of the *levels* of this one, by bucket, as they were *at* that moment (unix seconds)."""

    at: float
    levels: dict[str, Level]


def moved_levels(
    levels: Iterable[tuple[Bucket, Level]], ours: Note | None, theirs: Note | None, now: float
) -> tuple[list[Entry], Note, Note]:
    """
    What the other store is to be told of *levels*, which are rolled to *now*, and the notes of both from then on.

    *ours* and *theirs* are the notes of before. Where there are none, the other one may know all of it from elsewhere, and the
    higher count holds. What is in flight ends in its own store.
    """
    entries, our_note, their_note = list[Entry](), Note(now, {}), Note(now, {})
    for bucket, found in levels:
        level, blank = msgspec.structs.replace(found, leases=[], open=0), Level()
        our_note.levels[bucket.key] = level
        if ours is None or theirs is None:
            their_note.levels[bucket.key] = level
            entries.append(Entry(bucket, Restore(b.copy_of(level))))
            continue
        known = ours.levels.get(bucket.key, blank)
        b.roll(bucket, known, now)
        more, at = b.used(bucket, level) - b.used(bucket, known), max(level.last, level.said_at, level.since)
        entries.append(Entry(bucket, Restore(msgspec.structs.replace(level, used=0.0, since=0.0, slots=[]))))
        of_theirs = their_note.levels[bucket.key] = b.copy_of(theirs.levels.get(bucket.key, blank))
        b.roll(bucket, of_theirs, now)
        if more > 0:
            entries.append(Entry(bucket, Correct(more, at)))
            b.correct(bucket, of_theirs, more, at)
    return entries, our_note, their_note
