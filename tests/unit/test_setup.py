"""``freeway setup`` leads from nothing to a key that is stored, and the question about sources without keys is asked once."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import settings as s
from gateway.commands.keyless import WITHIN, ask_once
from gateway.commands.setup import Desk, instructions, next_step, walk
from gateway.settings.files import read_variables
from gateway.settings.storing import store
from tests.conftest import CONFIG


class Person:
    """Answers what was prepared, by the variable that is asked for; a provider takes keys that end in ``right``."""

    def __init__(self, home: Path, answers: dict[str, list[str]], **environ: str) -> None:
        self.home, self.answers, self.environ = home, answers, environ
        self.told: list[str] = []
        self.asked: list[tuple[str, bool]] = []
        self.tried: list[tuple[str, str]] = []

    def configured(self) -> s.Configured:
        return s.read(CONFIG, self.environ, self.home)

    def ask(self, question: str, secret: bool) -> str:
        self.asked.append((question.strip(), secret))
        answers = self.answers.get(question.split(maxsplit=1)[0].rstrip(","), [])
        return answers.pop(0) if answers else ""

    def try_key(self, spec, key):
        self.tried.append((spec.name, key))
        return key.endswith("right"), "taken" if key.endswith("right") else "Groq refuses it: Invalid API Key"

    def walk(self, only: str | None = None) -> dict[str, str]:
        configured = self.configured()
        desk = Desk(
            self.ask, self.told.append, self.try_key, lambda name, value: store(configured.keys_file, name, value)
        )
        walk(configured, desk, only)
        return read_variables(configured.keys_file).values


def test_every_source_without_a_key_is_described_and_asked_for_as_a_secret(tmp_path):
    person = Person(tmp_path, {}, MISTRAL_API_KEY="m")
    assert person.walk() == {}

    specs = person.configured().settings.provider
    variables = {spec.key_env for name, spec in specs.items() if spec.key_env and name != "mistral"}
    assert {question for question, secret in person.asked if secret} == variables
    text = "\n".join(person.told)
    for spec in specs.values():
        assert (spec.get_a_key in text) == (spec.key_env in variables and bool(spec.get_a_key)) or spec.key_env is None
    assert "a day" in text
    assert "train" in text


def test_a_refused_key_is_asked_for_again_and_only_the_right_one_is_stored(tmp_path):
    person = Person(tmp_path, {"GROQ_API_KEY": ["gsk_wrong", "gsk_right"]})

    assert person.walk("groq") == {"GROQ_API_KEY": "gsk_right"}
    assert person.tried == [("groq", "gsk_wrong"), ("groq", "gsk_right")]
    assert any("Invalid API Key" in line for line in person.told)
    assert not any("gsk_" in line for line in person.told)


def test_a_key_of_another_source_is_tried_and_stored_there_and_sent_nowhere_else(tmp_path):
    person = Person(tmp_path, {"GROQ_API_KEY": ["nvapi-right", ""]})

    assert person.walk("groq") == {"NVIDIA_API_KEY": "nvapi-right"}
    assert person.tried == [("nvidia", "nvapi-right")]


def test_what_belongs_to_a_key_is_asked_for_too(tmp_path):
    person = Person(tmp_path, {"CLOUDFLARE_API_TOKEN": ["right"], "CLOUDFLARE_ACCOUNT_ID": ["abc"]})
    assert person.walk("cloudflare") == {"CLOUDFLARE_API_TOKEN": "right", "CLOUDFLARE_ACCOUNT_ID": "abc"}

    half = Person(tmp_path / "half", {"CLOUDFLARE_ACCOUNT_ID": ["abc"]}, CLOUDFLARE_API_TOKEN="t")
    assert half.walk()["CLOUDFLARE_ACCOUNT_ID"] == "abc"


def test_who_has_had_enough_is_asked_nothing_more(tmp_path):
    first = Person(tmp_path, {})
    first.walk()
    variable = first.asked[0][0]
    person = Person(tmp_path, {variable: ["q"]})
    person.walk()

    assert len(person.asked) == 1


def test_without_a_terminal_it_is_said_what_to_set_and_where(tmp_path):
    configured = Person(tmp_path, {}, GROQ_KEY="x").configured()
    text = "\n".join(instructions(configured))

    assert str(configured.keys_file) in text
    assert "GEMINI_API_KEY" in text
    assert "GROQ_KEY is set, and GROQ_API_KEY is what is read" in text
    assert text.splitlines()[-1].startswith("Next: make a free key at https://console.groq.com")


@pytest.mark.parametrize(("running", "told"), [(True, "takes the keys up by itself"), (False, "freeway serve")])
def test_it_ends_with_the_one_thing_to_do_next(tmp_path, running, told):
    assert told in next_step(Person(tmp_path, {}, GROQ_API_KEY="gsk").configured(), running)


# ── sources that need no key ──


@pytest.mark.parametrize(
    ("answer", "stored"), [("y\n", "1"), ("YES\n", "1"), ("n\n", "0"), ("\n", "0"), ("what?\n", "0"), (None, "0")]
)
def test_the_question_is_asked_once_names_who_gets_prompts_and_silence_means_no(tmp_path, answer, stored):
    person, waited = Person(tmp_path, {}), list[float]()

    def typed(seconds: float) -> str | None:
        waited.append(seconds)
        return answer

    assert ask_once(person.configured(), person.told.append, typed)
    assert read_variables(person.configured().keys_file).values == {"FREEWAY_KEYLESS": stored}
    assert "OVHcloud AI Endpoints" in person.told[0]
    assert waited == [WITHIN] == [10.0]
    assert ("ovhcloud" in person.configured().settings.active()) == (stored == "1")
    assert not ask_once(person.configured(), person.told.append, typed)
    assert len(waited) == 1


def test_who_decided_before_is_not_asked(tmp_path):
    for decided in ("0", "1"):
        person = Person(tmp_path, {}, FREEWAY_KEYLESS=decided)
        assert not ask_once(person.configured(), person.told.append, lambda _: pytest.fail("asked"))
