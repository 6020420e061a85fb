"""The last requests: bounded, cheap, and nothing but what may be shown."""

from __future__ import annotations

from time import process_time
from typing import Any

from gateway.events import Attempted, Began, Ended, Event, Leaving
from gateway.observe.recent import Recent
from providers.chat import Usage


def ended(name: str, **more: Any) -> Ended:
    fields: dict[str, Any] = {
        "request": name, "client": "alice", "asked": "auto", "outcome": "served", "status": 200, "deployment": "groq/a",
        "attempts": 1, "first_content": 0.1, "took": 0.5, "usage": Usage(prompt_tokens=812, completion_tokens=96), "at": 100.5,
    }  # fmt: skip
    return Ended(**{**fields, **more})


def test_a_request_is_seen_from_its_beginning_to_its_end():
    recent = Recent()
    told: list[str] = []
    recent.changed = told.append
    recent(Began("r", "alice", "auto", "chat", 100.0))
    seen = recent.get("r")
    assert seen is not None
    assert (seen.state, recent.live) == ("waiting", 1)

    recent(Leaving("groq/b", "r"))
    assert (seen.state, seen.deployment) == ("serving", "groq/b")
    recent(Attempted("r", "groq/b", "Busy", "overloaded"))
    assert (seen.state, seen.deployment) == ("waiting", None)
    recent(Leaving("groq/a", "r"))
    recent(ended("r"))

    assert recent.live == 0
    assert (seen.state, seen.deployment, seen.took) == ("served", "groq/a", 0.5)
    assert seen.attempts == [("groq/b", "Busy", "overloaded")]
    assert (seen.prompt_tokens, seen.output_tokens) == (812, 96)
    assert told == ["r"] * 5


def test_what_was_refused_before_it_was_understood_is_seen_too():
    recent = Recent()
    recent(ended("r", outcome="invalid_api_key", status=401, deployment=None, usage=None, client="?", asked="?"))
    seen = recent.get("r")

    assert seen is not None
    assert (seen.at, seen.state, seen.status) == (100.0, "invalid_api_key", 401)


def test_of_many_the_last_are_kept_and_of_a_name_or_a_message_its_beginning():
    recent = Recent(kept=100)
    for n in range(1000):
        recent(Began(str(n), "a", "m" * 10_000, "chat", float(n)))
        recent(Attempted(str(n), "groq/a", "Busy", "x" * 10_000))
        recent(ended(str(n), asked="m" * 10_000))

    assert sorted(int(one.id) for one in recent.all()) == list(range(900, 1000))
    assert recent.get("1") is None
    assert max(len(one.asked) for one in recent.all()) <= 200
    assert max(len(one.attempts[0][2]) for one in recent.all()) <= 200


def test_events_of_no_request_are_passed_over():
    recent = Recent()
    recent(Leaving("groq/a"))
    recent(Attempted("unknown", "groq/a", "Busy", ""))

    assert recent.all() == []


def test_it_takes_some_microseconds_a_request():
    """Ten is the bound, and several times what is measured on a machine that has nothing else to do: the least of some rounds counts."""
    recent = Recent()
    events: list[Event] = []
    for n in range(2000):
        name = f"r{n}"
        events += [Began(name, "a", "auto", "chat", 1.0), Leaving("groq/a", name), ended(name)]
    rounds = []
    for _ in range(7):
        began = process_time()
        for event in events:
            recent(event)
        rounds.append((process_time() - began) / 2000)

    assert min(rounds) < 10e-6, rounds
