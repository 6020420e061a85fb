"""
Moving what gateways know from one store to another: every entry and every counter, as they are kept.

What is moved twice is there once: entries are set anew, and counters only ever raised to what they were.
"""

from __future__ import annotations

from msgspec import Struct

from gateway.state.store import BACKEND, StateBackend


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
    ours, theirs = await source.counters(), await target.counters()
    missing = {name: amount - theirs.get(name, 0.0) for name, amount in ours.items()}
    missing = {name: amount for name, amount in missing.items() if amount > 0}
    if missing:
        await target.count(missing)
    moved.counters = len(ours)
    return moved
