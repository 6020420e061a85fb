"""
Moving what gateways know from one store to another: every entry and every counter, as they are kept.

What is moved twice is there once: entries are set anew, and counters only ever raised to what they were. Each store keeps a note
of its own on every other one that it was moved to or from.
"""

from __future__ import annotations

from msgspec import Struct

from gateway.state.store import BACKEND, StateBackend

_MOVES = "moves"
"""The topic of the notes, which is of one store alone and not moved."""


async def name_of(backend: StateBackend) -> str:
    """What tells *backend* from any other, and from itself once it has forgotten everything. Raises StateFailure."""
    await backend.write(_MOVES, {})
    return (await backend.revisions())[BACKEND]


async def note_of(backend: StateBackend, other: str) -> bytes | None:
    """The note of *backend* on the one called *other*; None: they have never met. Raises StateFailure."""
    return (await backend.read(_MOVES)).get(other)


async def write_note(backend: StateBackend, other: str, note: bytes) -> None:
    """Raises StateFailure."""
    await backend.write(_MOVES, {other: note})


class Moved(Struct):
    """How much there was."""

    entries: int = 0
    counters: int = 0


async def move(source: StateBackend, target: StateBackend) -> Moved:
    """Set in *target* what *source* has. Raises StateFailure."""
    moved = Moved()
    for topic in await source.revisions():
        if topic in (BACKEND, _MOVES):
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
