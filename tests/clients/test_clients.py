"""The short form of ``python -m tests.clients``: a program for each door, drawn with a fixed seed; and all recorded calls."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.programs.program import Target, programs
from providers.simulator.brain import Saying, View
from tests.clients import model
from tests.clients.installed import NotToBeHad
from tests.clients.page import PAGE, snippets
from tests.clients.programs import CONNECTED, PROGRAMS, Program, perform
from tests.clients.recorded import RECORDED, chat_with_tools
from tests.clients.stage import SCENARIOS, Scenario, staged
from tests.conftest import ROOT

SEED = 302
"""For the draw of the short form: four agents are in it, and a conversation that is too long."""


def drawn(seed: int) -> Iterator[tuple[Program, str]]:
    """A program for each door, each in another scenario."""
    chance = random.Random(seed)
    doors = list(dict.fromkeys(program.door for program in PROGRAMS))
    scenarios = [name for name in SCENARIOS if name != "connect"]
    for door, scenario in zip(doors, chance.sample(scenarios, len(doors)), strict=True):
        yield chance.choice([program for program in PROGRAMS if program.door == door]), scenario


@pytest.mark.parametrize(
    ("program", "scenario"),
    [pytest.param(p, s, id=f"{p.name}, {p.door}: {s}".replace(" ", "-")) for p, s in drawn(SEED)],
)
def test_a_program_finishes_its_task(program: Program, scenario: str, tmp_path: Path):
    try:
        program.find()
    except NotToBeHad as exc:
        pytest.skip(str(exc))
    with staged(tmp_path, SCENARIOS[scenario]) as stage:
        wrong = perform(program, scenario, stage)

        assert not wrong, f"{wrong}\n{stage.requests()[-5:]}"


@pytest.mark.parametrize("name", ["codex", "llm"])  # the quickest; `make test-clients` has all of them
def test_what_connect_writes_is_enough_for_a_task_and_is_undone(name: str, tmp_path: Path):
    program = next(program for program in CONNECTED if program.connect == name)
    try:
        program.find()
    except NotToBeHad as exc:
        pytest.skip(str(exc))
    with staged(tmp_path, SCENARIOS["connect"]) as stage:
        wrong = perform(program, "connect", stage)

        assert not wrong, f"{wrong}\n{stage.requests()[-5:]}"


def test_every_program_that_can_be_set_up_is_tried_or_has_steps_for_a_person():
    tried = {program.connect for program in CONNECTED}

    assert set(programs(ROOT / "config")) - tried == {"home-assistant", "n8n", "open-webui", "zed"}


@pytest.mark.parametrize("name", ["n8n", "open-webui", "zed"])
async def test_address_key_and_model_of_programs_that_are_servers_or_editors_do_a_tool_turn(name: str, start):
    """They cannot be installed here: what is written for them is read, and a recorded call is made with it."""
    seen: list[View] = []

    def work(view: View) -> Saying:
        seen.append(view)
        if view.turns[-1].is_result:
            return Saying(model.DONE)
        return Saying(calls=[("write_file", {"file_path": "hello.txt", "content": model.TEXT})])

    def employ(world):
        for provider in world.providers.values():
            provider.brain = work

    key = "a-key-of-a-client-that-is-long"
    demo = await start(("openrouter",), arrange=employ, FREEWAY_API_KEY=key)
    told = programs(ROOT / "config")[name]
    target = Target(origin=str(demo.base_url).rstrip("/"), key=key)
    written = {path: json.loads(text) for path, text in told.texts(target).items()}
    variables = told.variables(target)
    match name:
        case "n8n":
            (credential,) = written["~/.n8n/freeway-credential.json"]
            base, sent, asked = credential["data"]["url"], credential["data"]["apiKey"], "gpt-5-mini"
        case "open-webui":
            base, sent, asked = (
                variables["OPENAI_API_BASE_URL"],
                variables["OPENAI_API_KEY"],
                variables["DEFAULT_MODELS"],
            )
        case _:
            settings = written["~/.config/zed/settings.json"]
            provider = settings["language_models"]["openai_compatible"][settings["agent"]["default_model"]["provider"]]
            base, sent, asked = (
                provider["api_url"],
                variables["FREEWAY_API_KEY"],
                provider["available_models"][0]["name"],
            )

    assert await chat_with_tools(base, sent, asked) == {"file_path": "hello.txt", "content": model.TEXT}
    assert seen[-1].turns[-1].is_result


def test_a_task_that_no_quota_holds_is_told_so_at_once(tmp_path: Path):
    """Codex' tools and instructions alone are longer than what Groq's free plan takes in a minute: waiting would not help."""
    codex = next(program for program in PROGRAMS if program.name == "Codex")
    try:
        codex.find()
    except NotToBeHad as exc:
        pytest.skip(str(exc))
    with staged(tmp_path, Scenario(("groq",))) as stage:
        said = codex.ask(stage, codex.set_up(stage))

        assert said.status == 1
        assert "no free source has a quota" in said.printed


@pytest.mark.parametrize("providers", [("openrouter",), ("google",), ("ollama",)], ids=lambda names: names[0])
@pytest.mark.parametrize("program", RECORDED)
async def test_recorded_calls_are_served(program: str, providers: tuple[str, ...], start):
    seen: list[View] = []

    def work(view: View) -> Saying:
        seen.append(view)
        if view.turns[-1].is_result:
            return Saying(model.DONE)
        return Saying(calls=[("write_file", {"file_path": "hello.txt", "content": model.TEXT})])

    def employ(world):
        for provider in world.providers.values():
            provider.brain = work
            provider.models = [one for one in provider.models if one.status == "live" and one.tools]

    demo = await start(providers, arrange=employ)
    written = await RECORDED[program](demo.base_url)

    assert written == {"file_path": "hello.txt", "content": model.TEXT}
    assert seen[-1].turns[-1].is_result
    assert all("write_file" in view.tools for view in seen)


def test_every_program_is_set_up_by_what_the_page_says():
    for program in PROGRAMS:
        told = snippets(program.section)

        assert told.files or told.variables, program.section
        words = [*told.files.values(), *told.variables.values()]
        assert any("http://127.0.0.1:8000" in text for text in words), program.section


def test_every_block_of_the_page_is_one_that_is_used():
    blocks = len(re.findall(r"^```\w+$", PAGE.read_text(), flags=re.MULTILINE))
    sections = re.findall(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    used = sum(len(snippets(section).files) + bool(snippets(section).variables) for section in sections)

    assert used == blocks
