"""What belongs together, and where it was served."""

from __future__ import annotations

import pytest

from gateway.api.auth import ANYBODY
from gateway.api.openai_chat import parse
from gateway.api.options import options_of
from gateway.routing.affinity import MOST, Sessions, session_of
from gateway.settings import Requests
from providers.chat import Message, Part, encode

NOW = 1_795_440_000.0
SYSTEM, FIRST = Message("system", "You count."), Message("user", "One?")


def test_each_turn_of_a_conversation_is_known_by_how_it_begins():
    turns = [[SYSTEM, FIRST]]
    for said in ("Two.", "Three."):
        turns.append([*turns[-1], Message("assistant", said), Message("user", "And then?")])

    assert len({session_of("me", "", turn) for turn in turns}) == 1


@pytest.mark.parametrize(
    ("client", "messages"),
    [
        ("you", [SYSTEM, FIRST]),
        ("me", [SYSTEM, Message("user", "Two?")]),
        ("me", [Message("system", "You spell."), FIRST]),
        ("me", [FIRST]),
        ("me", [SYSTEM, Message("user", "One?" + " " * 3000)]),
    ],
)
def test_what_begins_otherwise_is_another(client, messages):
    assert session_of(client, "", messages) != session_of("me", "", [SYSTEM, FIRST])


def test_parts_begin_a_conversation_as_text_does():
    assert session_of("me", "", [Message("user", [Part("text", text="One?")])]) == session_of("me", "", [FIRST])


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ([(b"x-session-id", b"s1")], {}),
        ([(b"x-session-affinity", b"s1")], {}),
        ([], {"session_id": "s1"}),
        ([], {"prompt_cache_key": "s1"}),
    ],
)
def test_what_a_caller_names_is_one_whatever_it_begins_with(headers, fields):
    options = options_of(headers, Requests(), ANYBODY, "me", "r", NOW)
    asked = [
        parse(encode({"messages": [{"role": "user", "content": text}], **fields}), options) for text in ("One?", "Two?")
    ]

    assert asked[0].session == asked[1].session
    assert asked[0].session.endswith("s1")


def test_a_cache_is_warm_for_a_while():
    sessions = Sessions()
    sessions.served("s", "groq/a", NOW + 600)

    assert (sessions.warm("s", NOW + 599), sessions.warm("s", NOW + 600), sessions.warm("t", NOW)) == ("groq/a", "", "")


def test_the_latest_conversations_are_remembered():
    sessions = Sessions()
    for number in range(MOST + 1):
        sessions.served(f"s{number}", "groq/a", NOW + 600)
        sessions.served("s0", "groq/a", NOW + 600)  # goes on all the time

    assert (sessions.warm("s0", NOW), sessions.warm("s1", NOW)) == ("groq/a", "")
