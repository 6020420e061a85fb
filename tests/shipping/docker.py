"""The container engine, as its own command line knows it."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BARE = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
"""How every container here is run: nothing to write to but the volume, and no rights."""


def docker(*arguments: str, check: bool = True, program: str = "docker", timeout: float = 60) -> str:
    """What ``docker`` prints, errors too; raises AssertionError with it where the command fails."""
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=timeout, check=False)
    said = done.stdout + done.stderr
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}:\n{said}"
    return said.strip()


@cache
def builder() -> str:
    """A ``docker`` that builds with BuildKit: a newer one needs the plugin buildx for it, and not every machine has it."""
    os.environ["DOCKER_BUILDKIT"] = "1"
    for folder in os.get_exec_path():
        program = Path(folder) / "docker"
        if program.is_file() and "--secret" in docker("build", "--help", check=False, program=str(program)):
            return str(program)
    raise AssertionError("no docker on this machine builds with BuildKit: install docker-buildx")


def build(tag: str, *options: str) -> None:
    """Build the image of this checkout as *tag*. What was built before is used again, unless *options* say otherwise."""
    docker("build", "--network", "host", *options, "--tag", tag, str(ROOT), program=builder(), timeout=900)


def inspect(name: str, kind: str = "container") -> Any:
    """All that the engine knows of *name*."""
    return json.loads(docker(kind, "inspect", name))[0]


@contextmanager
def running(*arguments: str, name: str = "") -> Iterator[str]:
    """A container of ``docker run`` with *arguments*: its name. It is gone afterwards, with its volumes."""
    name = name or f"freeway-{uuid.uuid4().hex[:8]}"
    try:
        docker("run", "--detach", "--name", name, *arguments)
        yield name
    finally:
        docker("rm", "--force", "--volumes", name, check=False)


@contextmanager
def network() -> Iterator[str]:
    """A network that only its containers are in."""
    name = f"freeway-{uuid.uuid4().hex[:8]}"
    docker("network", "create", name)
    try:
        yield name
    finally:
        docker("network", "rm", name, check=False)


def until(what: Callable[[], bool], name: str, timeout: float = 60) -> None:
    """Wait for *what*; what the container *name* says tells why it did not come."""
    deadline = time.monotonic() + timeout
    while not what():
        assert time.monotonic() < deadline, docker("logs", name, check=False)
        time.sleep(0.2)


def healthy(name: str) -> bool:
    """Whether the container's own check says that it is well."""
    return bool(inspect(name)["State"]["Health"]["Status"] == "healthy")
