"""What the README and the pages in docs/ tell people to type does what it says."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest

from gateway.cli import freeway
from gateway.settings import load
from providers.simulator.server import serve
from providers.simulator.world import World
from tests.acceptance.process import environment, serving
from tests.conftest import CONFIG, ROOT

README = (ROOT / "README.md").read_text()
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}
CALLS = ["README.md", "docs/quick-start.md", "docs/routing.md"]


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_is_there(page: str):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))

    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", PAGES[page], flags=re.MULTILINE)) <= targets


@pytest.mark.parametrize("page", PAGES)
def test_every_freeway_command_is_there(page: str):
    told = "\n".join(blocks("sh", PAGES[page]))
    typed = set(re.findall(r"^(?:\.venv/bin/)?freeway ([a-z]+)", told, flags=re.MULTILINE))
    named = set(re.findall(r"`freeway ([a-z]+)", PAGES[page]))

    assert typed | named <= set(freeway.list_commands(click.Context(freeway)))
    assert page != "README.md" or len(typed) >= 6


def test_every_variable_is_one_that_is_read():
    known = {spec.key_env for spec in load(CONFIG, {}, Path()).provider.values()}
    told = set(re.findall(r"^\| [^|]+ \| `([A-Z_]+)`", README, flags=re.MULTILINE))

    assert told - {"OLLAMA_HOST"} == known - {None}


def test_every_link_leads_somewhere():
    for path in re.findall(r"\]\(([^)#]+)\)", README):
        assert path.startswith("http") or (ROOT / path).exists(), path


def test_the_settings_are_taken(tmp_path: Path):
    (example,) = blocks("toml")
    own = tmp_path / "own.toml"
    own.write_text(example)
    settings = load(CONFIG, {"FREEWAY_CONFIG": str(own), "ACME_API_KEY": "key"}, tmp_path)

    assert tomllib.loads(example)["requests"]["max_wait"] == settings.requests.max_wait
    assert "acme" in settings.active()


@pytest.mark.parametrize(("page", "language"), [*((page, "sh") for page in CALLS), ("README.md", "python")])
async def test_the_first_call_gets_an_answer(page: str, language: str, tmp_path: Path):
    example = next(block for block in blocks(language, PAGES[page]) if "Say hello." in block)
    world = World(names=["groq"])
    async with serve(world) as others:
        command = (
            [part for part in shlex.split(example) if part != "\n"]
            if language == "sh"
            else [sys.executable, "-c", example]
        )
        answered = await _run(command, tmp_path, world.environment(others))

    assert '"chosen":"groq/' in answered if "explain" in example else "You said: Say hello." in answered


async def _run(command: list[str], home: Path, variables: dict[str, Any]) -> str:
    """*command* against a gateway on a free port; what it printed."""

    def act() -> str:
        with serving(home, **variables) as (origin, _, _log):
            told = [part.replace("http://127.0.0.1:8000", origin) for part in command]
            ended = subprocess.run(told, env=environment(home), capture_output=True, text=True, timeout=60, check=False)
            return ended.stdout + ended.stderr

    return await asyncio.to_thread(act)
