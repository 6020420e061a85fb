"""
Moving what gateways know from one store to another: every entry and every counter, as they are kept.

What is moved twice is there once: entries are set anew, and counters only ever raised to what they were. The source notes when it
was moved, so that what nobody used since then is not moved over what is newer.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from gateway.state.store import BACKEND, StateBackend

_MOVES = "moves"


async def moved_at(source: StateBackend, target: str) -> float:
    """When all of *source* was moved to the store called *target* (unix seconds); 0: never. Raises StateFailure."""
    noted = (await source.read(_MOVES)).get(target)
    return msgspec.json.decode(noted, type=float) if noted else 0.0


async def note_move(source: StateBackend, target: str, at: float) -> None:
    """Note that all of *source* was moved to the store called *target*. Raises StateFailure."""
    await source.write(_MOVES, {target: msgspec.json.encode(at)})


class Moved(Struct):
    """How much there was."""

    entries: int = 0
    counters: int = 0


async def move(source: StateBackend, target: StateBackend) -> Moved:
    """Set in *target* what *source* has. Raises StateFailure."""
    moved = Moved()
    for topic in await source.revisions():
        if topic == BACKEND:
            continue
        entries = await source.read(topic)
        if entries:
            await target.write(topic, dict(entries))
        moved.entries += len(entries)
    for group in await source.counter_groups():
        ours, theirs = await source.counters(group), await target.counters(group)
        missing = {name: amount - theirs.get(name, 0.0) for name, amount in ours.items()}
        missing = {name: amount for name, amount in missing.items() if amount > 0}
        if missing:
            await target.count(missing, group)
        moved.counters += len(ours)
    return moved
