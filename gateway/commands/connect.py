"""``freeway connect``: point a client program at the gateway, and take that back."""

from __future__ import annotations

import difflib
import ipaddress
import shlex
from pathlib import Path
from typing import Any

import click
import httpx
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gateway.cli import Surroundings
from gateway.commands.address import Failed, KeyRefused, address, said
from gateway.programs import written
from gateway.programs.merge import CannotMerge
from gateway.programs.program import File, Program, Target, near, programs, view


class _Listed(Struct):
    """What the gateway says of a model, as far as programs want to know it."""

    context_length: int | None = None
    max_output_tokens: int | None = None


@click.command("connect")
@click.argument("program", required=False)
@click.option("--dry-run", is_flag=True, help="Show what would be written; change nothing.")
@click.option("--undo", is_flag=True, help="Put every file back as it was.")
@click.option("--force", is_flag=True, help="With --undo: also what was changed since, which is lost.")
@click.option(
    "--gateway", metavar="URL", help="The gateway's address. Else FREEWAY_GATEWAY, or the configuration's own."
)
@click.option(
    "--key", metavar="KEY", help="A client's key, which is written. Else FREEWAY_API_KEY; none for an open gateway."
)
@click.option("--model", default="auto", show_default=True, help="The model that the program asks for.")
@click.option(
    "--context",
    type=click.IntRange(1024),
    help="Tokens that the model holds. Else what the gateway says, 131072 for auto.",
)
@click.option(
    "--output", type=click.IntRange(1), help="Tokens of an answer at most. Else what the gateway says, 8192 for auto."
)
@click.option("--json", "as_json", is_flag=True, help="What is to be written as one JSON object; nothing is changed.")
@click.pass_obj
def command(
    around: Surroundings, /, program: str | None, dry_run: bool, undo: bool, force: bool, as_json: bool, **how: Any
) -> None:
    """Point PROGRAM at the gateway: its configuration is written, and what was there is kept. Without PROGRAM, list the programs."""
    known = programs(around.config)
    if program is None:
        width = max(map(len, known))
        for name, one in known.items():
            click.echo(f"{name:<{width}}  {one.title}" + ("" if one.file else " (steps to do by hand)"))
        return
    if program not in known:
        raise click.BadParameter(f"no program is called {program!r} here{near(program, known)}", param_hint="PROGRAM")
    folder = _state_dir(around) / "connect" / program
    if undo:
        _undo(folder, known[program], force=force)
        return
    target, note = _target(around, **how)
    if as_json:
        click.echo(msgspec.json.encode(view(program, known[program], target)))
        return
    texts = _texts(around, folder, known[program], target)
    if dry_run:
        _show(known[program], target, texts)
    else:
        _write(folder, known[program], target, texts)
    if note:
        click.echo(note, err=True)


def _state_dir(around: Surroundings) -> Path:
    return around.settings().state_dir


# ── the gateway ──


def _target(
    around: Surroundings, gateway: str | None, key: str | None, model: str, context: int | None, output: int | None
) -> tuple[Target, str]:
    """What is written, and what to know about it. Raises Failed if the gateway refuses the key, or knows no such model."""
    where = address(around, gateway)
    key = key or around.environ.get("FREEWAY_API_KEY", "").strip()
    target = Target(origin=where.origin, key=key, model=model)
    target = replace(target, context=context or target.context, output=output or target.output)
    try:
        listed = _asked(target)
    except httpx.TransportError:
        if not key and not _is_this_machine(where.origin):
            raise KeyRefused(f"{where.origin} wants a client's key: --key, or FREEWAY_API_KEY") from None
        return target, f"No gateway answers at {where.origin} yet: `freeway serve` starts one."
    if model.partition(":")[0] != "auto":
        target = replace(
            target,
            context=context or listed.context_length or target.context,
            output=output or listed.max_output_tokens or target.output,
        )
    return target, ""


def _asked(target: Target) -> _Listed:
    headers = {"authorization": f"Bearer {target.key}"} if target.key else {}
    answer = httpx.get(f"{target.origin}/v1/models/{target.model}", headers=headers, timeout=10)
    if answer.status_code == 401:
        what = "takes this key not" if target.key else "wants a client's key: --key, or FREEWAY_API_KEY"
        raise KeyRefused(f"the gateway at {target.origin} {what}; `freeway clients add NAME` makes one")
    if answer.status_code == 404:
        raise Failed(f"the gateway at {target.origin} says: {said(answer)}")
    try:
        return msgspec.json.decode(answer.content, type=_Listed)
    except msgspec.DecodeError:
        return _Listed()  # a gateway that has just started: what is usual is written


def _is_this_machine(origin: str) -> bool:
    host = httpx.URL(origin).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# ── the files ──


def _place(around: Surroundings, file: File) -> Path:
    """Where *file* is on this machine; of several that exist the first."""
    moved = around.environ.get(file.moved_by, "").strip() if file.moved_by else ""
    places = [_expanded(around, file, path) for path in (file.path, *file.or_else)]
    if moved:
        places = [Path(moved) / path.name for path in places]
    chosen = next((path for path in places if path.exists()), places[0])
    return chosen.resolve()


def _expanded(around: Surroundings, file: File, path: str) -> Path:
    if file.app:
        return Path(click.get_app_dir(file.app)) / path
    config = around.environ.get("XDG_CONFIG_HOME", "").strip()
    if config and path.startswith("~/.config/"):
        return Path(config) / path.removeprefix("~/.config/")
    return around.home / path.removeprefix("~/")


def _texts(
    around: Surroundings, folder: Path, program: Program, target: Target
) -> dict[Path, tuple[bytes | None, bytes]]:
    """Of every file what is there, and what is to be. Raises Failed if one cannot be merged into: then none is written."""
    found: dict[Path, tuple[bytes | None, bytes]] = {}
    for file in program.file:
        path = _place(around, file)
        try:
            here = written.before(folder, path)
            text = None if here is None else here.decode()
            found[path] = here, file.written(text, target).encode()
        except (CannotMerge, UnicodeDecodeError) as exc:
            raise Failed(
                f"{path} is left as it is, as nothing can be added to it safely: {exc}.\nAdd this to it:\n\n{file.written(None, target)}"
            ) from exc
        except OSError as exc:
            raise Failed(f"{path}: {exc.strerror}") from exc
    return found


def _write(folder: Path, program: Program, target: Target, texts: dict[Path, tuple[bytes | None, bytes]]) -> None:
    try:
        written.write(folder, {path: text for path, (_, text) in texts.items()})
    except OSError as exc:
        raise Failed(f"nothing was changed: {exc.filename}: {exc.strerror}") from exc
    for path, (here, _) in texts.items():
        click.echo(f"{'Wrote' if here is None else 'Added to'} {path}")
    if texts:
        click.echo(f"What was there is kept in {folder}; --undo puts it back.")
    _steps(program, target)


def _show(program: Program, target: Target, texts: dict[Path, tuple[bytes | None, bytes]]) -> None:
    for path, (here, text) in texts.items():
        old = (here or b"").decode().splitlines(keepends=True)
        new = text.decode().splitlines(keepends=True)
        click.echo("".join(difflib.unified_diff(old, new, str(path) if here is not None else "/dev/null", str(path))))
    _steps(program, target)


def _steps(program: Program, target: Target) -> None:
    for name, value in program.variables(target).items():
        click.echo(f"export {name}={shlex.quote(value)}")
    for number, step in enumerate(program.to_do(target), 1):
        click.echo(f"{number}. {step}" if len(program.steps) > 1 else step)
    click.echo(f"More: {program.docs}")


def _undo(folder: Path, program: Program, *, force: bool) -> None:
    try:
        for path in written.undo(folder, force=force):
            click.echo(f"{path} is as it was." if path.exists() else f"{path} is gone, as before.")
    except written.CannotUndo as exc:
        raise Failed(f"{program.title}: {exc}") from exc
    except OSError as exc:
        raise Failed(f"{exc.filename}: {exc.strerror}") from exc
