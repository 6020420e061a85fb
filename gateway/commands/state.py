"""``freeway state``: back up, restore and move what the gateway keeps: the ledger of quotas, what was learned, the receipts."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import zipfile
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from msgspec import Struct

from gateway import __version__
from gateway.app import RECEIPTS, make_parts, make_providers
from gateway.cli import Surroundings
from gateway.clock import WallClock
from gateway.events import Announcer
from gateway.quota.buckets import Bucket, Level
from gateway.quota.exchange import Store, StoreFailure
from gateway.quota.moving import Note, moved_levels
from gateway.quota.operations import Entry
from gateway.quota.process_lock import ProcessLock
from gateway.settings import Settings
from gateway.state.moving import Moved, move, name_of, note_of, write_note
from gateway.state.private_files import private_file, private_folder
from gateway.state.store import StateBackend, StateFailure
from gateway.stores import LEDGER_FILE, STATE_FILE, make_state, make_store
from providers.wire import HttpWire

RESPONSES = "responses.sqlite"
_DATABASES = (STATE_FILE, RESPONSES, LEDGER_FILE)
"""What is copied, in this order: what was debited meanwhile is then in the ledger rather than not. Vectors can be made again."""

_ABOUT = "about.json"
_ENTRIES_AT_ONCE = 200
_TRIES = 3

_T = TypeVar("_T")


class About(Struct, frozen=True):
    """What a backup says of itself: which Freeway made it, and when (unix seconds)."""

    freeway: str
    at: float


@click.group("state")
def command() -> None:
    """
    Back up, restore and move what the gateway keeps.

    That is the ledger of quotas, what was learned, kept responses and the receipts: in FREEWAY_STATE_DIR, the first two in Redis if
    FREEWAY_REDIS_URL is set.
    """


@command.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def backup(around: Surroundings, file: Path) -> None:
    """Copy all of it to FILE, also while the gateway runs. Of Redis, the ledger and what was learned are in it, too."""
    settings = around.settings()
    with tempfile.TemporaryDirectory(prefix="freeway-backup-") as made:
        folder = Path(made)
        for name in _DATABASES if settings.redis_url is None else ():
            _copy(settings.state_dir / name, folder / name)
        if settings.redis_url is not None:
            _with_stores(_move(settings, _of_one_machine(settings, folder)))
        (folder / _ABOUT).write_bytes(msgspec.json.encode(About(__version__, WallClock().now())))
        private_file(file)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in (folder / name for name in (_ABOUT, *_DATABASES)):
                if path.exists():
                    archive.write(path, path.name)
            for path in sorted((settings.state_dir / RECEIPTS).glob("*")):
                archive.write(path, f"{RECEIPTS}/{path.name}")
    click.echo(
        f"{file}: {file.stat().st_size} bytes. Keep it as safe as your keys: it has your usage and kept responses."
    )


@command.command("restore")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--replace", is_flag=True, help="Also where there is something: it is kept in a folder replaced-… beside it."
)
@click.pass_obj
def restore(around: Surroundings, file: Path, replace: bool) -> None:
    """
    Put back what `freeway state backup` wrote to FILE, while no gateway runs.

    What was used of each quota since then is not in it: where that may be much, wait for the next day of the providers.
    """
    settings = around.settings()
    with tempfile.TemporaryDirectory(prefix="freeway-restore-") as made:
        folder = Path(made)
        about = _unpacked(file, folder)
        if settings.redis_url is None:
            _put_in_place(folder, settings.state_dir, replace=replace)
        else:
            _with_stores(_move(_of_one_machine(settings, folder), settings))
    click.echo(f"Restored what Freeway {about.freeway} had at {_when(about.at)}.")


@command.command("migrate")
@click.argument("source", type=click.Choice(["sqlite", "redis"]))
@click.argument("target", type=click.Choice(["sqlite", "redis"]))
@click.pass_obj
def migrate(around: Surroundings, source: str, target: str) -> None:
    """
    Take the ledger and what was learned from SOURCE to TARGET: `sqlite` is FREEWAY_STATE_DIR, `redis` is FREEWAY_REDIS_URL.

    Twice is as good as once: what TARGET has counted itself since then stays counted, and of SOURCE only what it has counted since
    is added. A SOURCE that nobody used since it was moved is left alone. Stop the gateways of SOURCE before. Kept responses, which last a day, and receipts stay where they are.
    """
    settings = around.settings()
    if settings.redis_url is None:
        raise click.ClickException("set FREEWAY_REDIS_URL to the address of the Redis that is meant")
    if source == target:
        raise click.ClickException(f"{source} is where it is already")
    files = _of_one_machine(settings, settings.state_dir)
    of, to = (files, settings) if source == "sqlite" else (settings, files)
    levels, moved, since = _with_stores(_migrate(of, to))
    if since:
        click.echo(f"{source} was moved to {target} at {_when(since)} and not used since: nothing is to do.")
        return
    click.echo(
        f"{levels} levels, {moved.entries} entries and {moved.counters} counters are in {target}. Nothing was taken away."
    )


def _of_one_machine(settings: Settings, folder: Path) -> Settings:
    """*settings* with the store in *folder*."""
    return msgspec.structs.replace(settings, redis_url=None, state_dir=folder)


# ── from one store to another ──


def _with_stores(work: Coroutine[Any, Any, _T]) -> _T:
    try:
        return asyncio.run(work)
    except (StoreFailure, StateFailure) as exc:
        raise click.ClickException(f"a store cannot be reached: {exc}") from exc


async def _migrate(source: Settings, target: Settings) -> tuple[int, Moved, float]:
    """How much was moved; or since when nothing is to be moved, as nothing was debited in *source* since then."""
    clock = WallClock()
    async with _states(source, target) as (ours, theirs):
        us, them = await name_of(ours), await name_of(theirs)
        our_note, their_note = _read(await note_of(ours, them)), _read(await note_of(theirs, us))
        levels = await _levels(source)
        if our_note and their_note and max((level.last for _, level in levels), default=0.0) <= our_note.at:
            return 0, Moved(), our_note.at
        moved = await move(ours, theirs)
        entries, our_note, their_note = moved_levels(levels, our_note, their_note, clock.now())
        await _tell(target, entries)
        await write_note(theirs, us, msgspec.json.encode(their_note))
        await write_note(ours, them, msgspec.json.encode(our_note))
    return len(levels), moved, 0.0


def _read(note: bytes | None) -> Note | None:
    return None if note is None else msgspec.json.decode(note, type=Note)


async def _move(source: Settings, target: Settings) -> None:
    """As from a copy: of what *target* knows itself, the higher count holds."""
    async with _states(source, target) as (ours, theirs):
        await move(ours, theirs)
    entries, _, _ = moved_levels(await _levels(source), None, None, WallClock().now())
    await _tell(target, entries)


@asynccontextmanager
async def _states(source: Settings, target: Settings) -> AsyncIterator[tuple[StateBackend, StateBackend]]:
    async with AsyncExitStack() as stack:
        ours, theirs = (make_state(settings, WallClock(), lambda _: None) for settings in (source, target))
        stack.push_async_callback(ours.aclose)
        stack.push_async_callback(theirs.aclose)
        yield ours, theirs


async def _tell(target: Settings, entries: Sequence[Entry]) -> None:
    store = make_store(target)
    try:
        for first in range(0, len(entries), _ENTRIES_AT_ONCE):
            await _exchanged(store, entries[first : first + _ENTRIES_AT_ONCE], WallClock())
    finally:
        await store.aclose()


async def _levels(settings: Settings) -> list[tuple[Bucket, Level]]:
    """What is counted of every bucket that is known there."""
    clock, tell = WallClock(), Announcer(())
    parts = make_parts(settings, clock, store := make_store(settings), make_state(settings, clock, tell), tell)
    try:
        async with HttpWire(user_agent="") as wire:
            await parts.open(make_providers(settings, wire, {}))
        result = await store.exchange([], [], parts.engine.view.catalog.buckets(), clock.now(), lambda _: 0.0)
    finally:
        await parts.aclose()
    return [(bucket, level) for bucket, level in result.levels if level is not None]


async def _exchanged(store: Store, entries: Sequence[Entry], clock: WallClock) -> None:
    """Restore *entries* there. A store that does not know a new process is asked again, as the journal would."""
    for tries_left in reversed(range(_TRIES)):
        try:
            await store.exchange(entries, [], [], clock.now(), lambda _: 0.0)
        except StoreFailure:
            if not tries_left:
                raise
        else:
            return


def _when(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


# ── files ──


def _copy(source: Path, target: Path) -> None:
    """A copy of a database as it is at one moment, whoever writes to it."""
    if not source.exists():
        return
    try:
        with closing(sqlite3.connect(source, timeout=10)) as ours, closing(sqlite3.connect(target)) as copy:
            ours.backup(copy)
    except sqlite3.Error as exc:
        raise click.ClickException(f"{source} cannot be copied: {exc}") from exc


def _unpacked(file: Path, into: Path) -> About:
    try:
        with zipfile.ZipFile(file) as archive:
            archive.extractall(into)
        about = msgspec.json.decode((into / _ABOUT).read_bytes(), type=About)
    except (OSError, zipfile.BadZipFile, msgspec.DecodeError) as exc:
        raise click.ClickException(f"{file} is no backup of `freeway state backup`: {exc}") from exc
    return about


def _put_in_place(folder: Path, state: Path, *, replace: bool) -> None:
    private_folder(state)
    lock = ProcessLock((state / LEDGER_FILE).with_suffix(".processes"))
    try:
        if len(lock.living()) > 1:
            raise click.ClickException(f"a gateway runs on {state}: stop it first")
    finally:
        lock.close()
    there = list(_state_in(state))
    if there and not replace:
        raise click.ClickException(
            f"{state} has a state already: name another folder in FREEWAY_STATE_DIR, or add --replace"
        )
    aside = state / f"replaced-{datetime.fromtimestamp(WallClock().now(), UTC):%Y-%m-%dT%H%M%S}"
    for path in there:
        private_folder(aside)
        path.rename(aside / path.name)
    for path in _state_in(folder):
        for file in path.rglob("*") if path.is_dir() else [path]:
            target = state / file.relative_to(folder)
            private_file(target)
            target.write_bytes(file.read_bytes())


def _state_in(folder: Path) -> Iterable[Path]:
    for name in (*(f"{name}{end}" for name in _DATABASES for end in ("", "-wal", "-shm")), RECEIPTS):
        if (folder / name).exists():
            yield folder / name
