"""How client programs are pointed at the gateway: ``config/programs/*.toml`` as values, and what comes of them for one gateway. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gateway.api.admin.views import ConnectView
from gateway.programs.merge import Format, merged, without_present

_NUMBER = re.compile(r"\{(context|output)\}")
_THIS_MACHINE = re.compile(r"//(127\.0\.0\.1|localhost|\[::1\])(?=[:/]|$)")

PLACEHOLDER = "any"
"""A key for a gateway that wants none: most programs send one all the same."""


class Target(Struct, frozen=True, kw_only=True):
    """
    The gateway at *origin*, and what is asked of it: a *model* that holds *context* tokens and answers with *output* at most.
    *key* is a client's; empty: the gateway wants none.
    """

    origin: str
    key: str = ""
    model: str = "auto"
    context: int = 131_072
    output: int = 8_192

    def words(self) -> dict[str, Any]:
        """What stands for the names in braces of a program's file."""
        reachable = _THIS_MACHINE.sub("//host.docker.internal", self.origin)
        return {
            "origin": self.origin,
            "base": f"{self.origin}/v1",
            "base_from_containers": f"{reachable}/v1",
            "origin_of_keyless": f"{self.origin}/k/{self.key}" if self.key else self.origin,
            "key": self.key or PLACEHOLDER,
            "model": self.model,
            "context": self.context,
            "output": self.output,
        }


class File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    A file of a program: what it has to have is *content* (a table), *items* (a list) or *text* (all of it); *default* only where it
    has nothing of that name. *app*: its folder is that of the settings of an application of that name, which each system has
    elsewhere. Of *or_else* the first that exists is used instead. *by* names the items of lists: those are added to, not replaced.
    """

    path: str
    format: Format
    app: str = ""
    moved_by: str = ""
    or_else: tuple[str, ...] = ()
    content: dict[str, Any] = {}
    items: list[dict[str, Any]] = []
    text: str = ""
    default: dict[str, Any] = {}
    by: str = ""

    def written(self, there: str | None, target: Target) -> str:
        """The file's text, which was *there* (None: there is no file), for *target*. Raises CannotMerge."""
        content: Any = self.text or self.items or self.content
        if self.default:
            content = {**without_present(there, self.format, self.default), **content}
        return merged(there, self.format, _filled(content, target.words()), self.by)


class Program(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A program: what it is called, what it reads, and the *steps* that a person takes."""

    title: str
    docs: str
    steps: tuple[str, ...]
    file: tuple[File, ...] = ()
    environment: dict[str, str] = {}

    def variables(self, target: Target) -> dict[str, str]:
        return {name: str(_filled(value, target.words())) for name, value in self.environment.items()}

    def texts(self, target: Target) -> dict[str, str]:
        """What each file has to have, as a file of its own."""
        return {one.path if not one.app else f"{one.app}/{one.path}": one.written(None, target) for one in self.file}

    def to_do(self, target: Target) -> list[str]:
        return [str(_filled(step, target.words())) for step in self.steps]


def programs(config: Path) -> dict[str, Program]:
    """Every program, by the name that a person types, as the folder *config* has them."""
    return {
        path.stem: msgspec.toml.decode(path.read_bytes(), type=Program)
        for path in sorted((config / "programs").glob("*.toml"))
    }


def near(name: str, known: Collection[str]) -> str:
    """What to say after that there is no program *name*: the nearest one, or all that there are."""
    found = get_close_matches(name, known, n=1, cutoff=0.4)
    return f"; did you mean {found[0]}?" if found else f". There are {', '.join(known)}"


def view(name: str, program: Program, target: Target) -> ConnectView:
    """What *program* is to be told, for a page or a program to show."""
    return ConnectView(
        program=name,
        title=program.title,
        files=program.texts(target),
        environment=program.variables(target),
        steps=program.to_do(target),
    )


def _filled(value: Any, words: Mapping[str, Any]) -> Any:
    """*value* with *words* in place of the names in braces. A text that is nothing but the name of a number is that number."""
    if isinstance(value, str):
        number = _NUMBER.fullmatch(value)
        return words[number[1]] if number else value.format_map(words)
    if isinstance(value, Mapping):
        return {str(_filled(name, words)): _filled(inner, words) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(inner, words) for inner in value]
    return value
