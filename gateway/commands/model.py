"""``freeway model``: better weights for the model on this machine, from a hub, checked by their hash."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

import click
import httpx
from rich.console import Console

from gateway.app import USER_AGENT
from gateway.cli import Surroundings
from gateway.commands.small import own, spec_of, told
from gateway.settings import folder_of
from providers.embedded import hub, weights
from providers.embedded.gguf import called
from providers.embedded.weights import EmbeddedSpec, HubFile

console = Console(highlight=False)


@click.group("model")
def command() -> None:
    """Weights for the model on this machine, which answers where nothing else does."""


@command.command("list")
@click.pass_obj
def listed(around: Surroundings) -> None:
    """The models that `get` knows by name, and where those lie that are here."""
    spec = spec_of(around)
    rows = [(spec.model, spec.bytes, spec.license, weights.weights_path(around.cache, spec))]
    rows += [(one.name, one.bytes, one.license, hub.path_of(around.cache, one)) for one in spec.hub]
    known = {path for *_, path in rows}
    others = (path for path in sorted((around.cache / "models").glob("*/*.gguf")) if path not in known)
    rows += [(called(path), path.stat().st_size, "", path) for path in others]
    width = max(len(name) for name, *_ in rows)
    for name, size, licence, path in rows:
        click.echo(f"{name:<{width}}  {size / 1e9:4.1f} GB  {licence}".rstrip())
        if path.is_file():
            click.echo(f"  {path}")


@command.command("get")
@click.argument("name")
@click.argument("file", required=False)
@click.option(
    "--sha256", metavar="HASH", help="The file's SHA-256, where the hub does not tell it, or is not trusted to."
)
@click.pass_obj
def get(around: Surroundings, name: str, file: str | None, sha256: str | None) -> None:
    """
    Fetch the weights of NAME, one of those that `freeway model list` names; or FILE of the repository NAME (OWNER/REPO) on Hugging
    Face, whose hash is the hub's own, or --sha256.

    HF_ENDPOINT names another hub. A transfer that was cut off goes on where it stopped.
    """
    origin = (around.environ.get("HF_ENDPOINT", "").strip() or hub.HUB).rstrip("/")
    with httpx.Client(timeout=30.0, headers={"user-agent": USER_AGENT}) as asking, told() as progress:
        wanted = _wanted(asking, origin, spec_of(around), name, file, sha256)
        path = hub.fetch(asking, origin, wanted, around.cache, progress)
    found = own(path)
    console.print(f"{found.model} is in {path}.", soft_wrap=True, markup=False)
    console.print(
        "To have it answer on this machine, set in the file below, and start the gateway anew:", soft_wrap=True
    )
    console.print(f"  {_own_file(around)}", soft_wrap=True, markup=False)
    console.print(f'  [embedded]\n  weights = "{path.as_posix()}"', soft_wrap=True, markup=False)


def _wanted(
    asking: httpx.Client, origin: str, spec: EmbeddedSpec, name: str, file: str | None, sha256: str | None
) -> HubFile:
    """The file that is meant. Raises EmbeddedUnavailable, click.ClickException."""
    if file is not None:
        return hub.described(asking, origin, name, file, sha256.lower() if sha256 else None)
    found = next((one for one in spec.hub if one.name == name), None)
    if found is not None:
        return found
    names = [one.name for one in spec.hub]
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    meant = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
    raise click.ClickException(f"no model is called {name!r}: {meant} Or name a repository, and a file in it")


def _own_file(around: Surroundings) -> Path:
    named = around.environ.get("FREEWAY_CONFIG", "").strip()
    return Path(named) if named else folder_of(around.environ, around.home) / "config.toml"
