"""What is reserved for a prompt comes near to what it takes, and errs upward."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.request import outcome
from gateway.request import stream as relay
from gateway.request.call import Offers
from gateway.routing.calibration import MOST, Calibration
from gateway.words import Deployment, FreeProof
from providers.chat import Usage
from tests.calls import call
from tests.deployments import deployment


def taught(*counts: int, model: str = "m") -> Calibration:
    calibration = Calibration()
    for true in counts:
        calibration.saw(model, 100, true)
    return calibration


def test_what_nobody_has_counted_is_taken_as_estimated():
    assert taught(150, model="other").factor("m") == 1.0


def test_a_longer_prompt_raises_the_factor_at_once():
    assert taught(130).factor("m") == 1.3
    assert taught(*[110] * 500, 190).factor("m") == 1.9


def test_shorter_prompts_lower_it_slowly():
    assert 1.45 < taught(150, 110).factor("m") < 1.5
    assert 1.1 < taught(150, *[110] * 500).factor("m") < 1.11


def test_what_was_estimated_is_reserved_at_least_however_short_prompts_were():
    assert taught(*[50] * 500).factor("m") == 1.0


@given(st.lists(st.integers(1, 100_000), max_size=60))
def test_it_stays_within_its_bounds_whatever_a_provider_counts(counts):
    assert 1 <= taught(*counts).factor("m") <= MOST


@given(st.lists(st.integers(50, 200), min_size=1, max_size=60))
def test_it_is_never_below_what_was_seen_last(counts):
    assert taught(*counts).factor("m") >= counts[-1] / 100


def test_one_long_prompt_in_ten_is_still_reserved_for_most_of_the_way():
    calibration = taught(*([110] * 9 + [180]) * 20)

    assert taught(*([110] * 9 + [180]) * 20 + [110] * 9).factor("m") > 1.5
    assert calibration.factor("m") == 1.8


def test_short_prompts_and_missing_counts_tell_nothing():
    calibration = Calibration()
    calibration.saw("m", 10, 20)
    calibration.saw("m", 100, 0)

    assert calibration.factor("m") == 1.0


def test_images_are_reserved_for_in_full_whatever_is_known_of_text():
    asked = call(prompt_tokens=3_100, media_tokens=3_000, output_tokens=7)
    calibration = taught(160, model="m")

    (want,) = Offers([deployment("groq/m")], asked, calibration, lambda bucket: bucket.limit, {})

    assert (want.cost.prompt, want.cost.output) == (3_160, 7)


def test_an_answer_teaches_unless_it_came_from_this_machine_or_to_an_image(monkeypatch):
    monkeypatch.setattr(outcome, "settle", lambda *_: None)
    engine = SimpleNamespace(view=SimpleNamespace(calibration=Calibration(), catalog=None))
    local = replace(deployment("ollama/m"), proof=FreeProof("local", "", "", 0, 1e12))

    def answered(one: Deployment, prompt_tokens: int, media_tokens: int = 0) -> float:
        asked = call(prompt_tokens=prompt_tokens, media_tokens=media_tokens)
        answer = SimpleNamespace(deployment=one, slot=None, call=asked, reply=SimpleNamespace(mended=()))
        relay._settle(cast(Any, answer), Usage(prompt_tokens=180), (), cast(Any, engine))
        return engine.view.calibration.factor("m")

    assert answered(local, 100) == 1.0
    assert answered(deployment("groq/m"), 200, media_tokens=100) == 1.0
    assert answered(deployment("groq/m"), 100) == 1.8
