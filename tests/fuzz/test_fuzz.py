"""The fuzzers' short form: the same cases each time. ``make fuzz`` tries many more."""

from __future__ import annotations

from random import Random

import pytest

from gateway.cli import shipped_config
from providers.spec import load
from providers.sse import ServerSentEvents
from tests.fuzz import bend
from tests.fuzz.__main__ import run
from tests.fuzz.answers import Answers
from tests.fuzz.doors import Doors
from tests.fuzz.requests import RequestsIn

COUNT = 500
ANSWERS = Answers(shipped_config())


def test_whatever_a_provider_answers_is_an_answer_or_a_failure_of_it():
    assert run("answers", ANSWERS.try_one, COUNT, 0) == {}


def test_whatever_a_caller_sends_is_a_call_or_an_error_below_500():
    assert run("requests", RequestsIn(load(shipped_config() / "providers")).try_one, COUNT, 0) == {}


def test_whatever_comes_to_any_door_is_answered_without_an_error_of_the_gateways_own():
    doors = Doors()
    try:
        assert run("doors", doors.try_one, COUNT, 0) == {}
    finally:
        doors.close()


@pytest.mark.parametrize(("provider", "data"), ANSWERS.streams(), ids=lambda one: one if isinstance(one, str) else "")
def test_a_stream_has_the_same_events_wherever_it_is_cut(provider: str, data: bytes):
    framing = ServerSentEvents()
    expected = [*framing.feed(data), *framing.end()]

    for at in range(len(data)):
        framing = ServerSentEvents()
        assert [*framing.feed(data[:at]), *framing.feed(data[at:]), *framing.end()] == expected


def test_a_finding_is_told_once_with_the_number_that_shows_it_again():
    def broken(chance: Random) -> None:
        if chance.random() < 0.5:
            raise KeyError("choices")

    (kind, (times, first, told)), *others = run("broken", broken, 100, 7).items()

    assert not others
    assert "KeyError: 'choices'" in kind
    assert 20 < times < 80
    with pytest.raises(KeyError):
        broken(Random(f"broken {first}"))
    assert "Traceback" in told


def test_what_is_bent_is_bytes_and_often_another():
    chance, data = Random(1), b'{"choices": [{"delta": {"content": "x"}, "finish_reason": null}]}'

    assert len({bend.document(data, chance) for _ in range(200)}) > 50
    for cut in (bend.pieces(data, chance) for _ in range(50)):
        assert b"".join(cut) == data
