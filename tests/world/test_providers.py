"""Each kind of trouble is met by who calls, in the words of the provider."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.world import catalogue as c
from tests.world import clock, truth
from tests.world.callers import Heard
from tests.world.http import ConnectionBroken, ConnectionRefused, Request
from tests.world.models import Fault
from tests.world.subjects import _CHAT
from tests.world.world import World


def body(model: str, words: int = 30, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": truth.prompt("t1", words, 60)}], **more}


def asked(source: Any, *bodies: dict[str, Any], path: str = "", seed: int = 1) -> list[tuple[int, bytes, float]]:
    """What *source* answers to *bodies*, one after the other, and the seconds that each took."""

    async def main() -> list[tuple[int, bytes, float]]:
        world, found = World([source], seed), []
        for one in bodies:
            began = clock.now()
            url = world.address(source.name) + (path or _CHAT.get(source.name, "/chat/completions"))
            response = await world.exchange(
                Request("POST", url, {"authorization": f"Bearer {source.key}"}, json.dumps(one).encode())
            )
            said = b"".join([piece async for piece in response.pieces])
            found.append((response.status, said, clock.now() - began))
        return found

    return clock.run(main)


def text(said: bytes, *, stream: bool = False, status: int = 200) -> Heard:
    heard = Heard(status=status)

    async def take() -> None:
        heard.take(said, stream=stream)
        if not stream:
            heard.whole()

    clock.run(take)
    return heard


GROQ = "openai/gpt-oss-20b"
GEMINI = "gemini-3.5-flash-lite"


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_the_one_that_was_asked_for_and_takes_its_time(stream):
    ((status, said, took),) = asked(c.groq(), body(GROQ, stream=stream))

    assert status == 200
    assert text(said, stream=stream).text == truth.answer("t1", 30)
    assert 0.2 < took < 5.0


def test_gemini_and_ollama_answer_in_their_own_formats():
    contents = [{"role": "user", "parts": [{"text": truth.prompt("t1", 30, 60)}]}]
    ((_, said, _),) = asked(c.google(), {"contents": contents}, path=f"/models/{GEMINI}:generateContent")
    assert json.loads(said)["candidates"][0]["content"]["parts"][-1]["text"]
    ((_, said, _),) = asked(c.machine(), {**body("qwen3.8:8b"), "stream": False}, path="/api/chat")
    assert json.loads(said)["message"]["content"] == truth.answer("t1", 30)


@pytest.mark.parametrize(("kind", "raised"), [("refuse", ConnectionRefused), ("hang", ConnectionBroken)])
def test_an_address_refuses_connections_or_says_nothing_for_minutes(kind, raised):
    with pytest.raises(raised):
        asked(c.groq(Fault(kind=kind)), body(GROQ))


@pytest.mark.parametrize(("kind", "status"), [("down", 503), ("busy", 429), ("revoked", 401)])
def test_a_source_fails_as_long_as_it_is_said_to(kind, status):
    source = c.groq(Fault(kind=kind, end=1.0))
    first, *_, last = (found[0] for found in asked(source, *[body(GROQ, max_tokens=90)] * 30))

    assert (first, last) == (status, 200)


def test_quota_is_refused_in_the_words_of_the_provider():
    *_, (status, said, _) = asked(c.groq(), *[body(GROQ, max_tokens=1000)] * 8)
    assert status == 429
    assert b"tokens per minute (TPM)" in said
    contents = {"contents": [{"role": "user", "parts": [{"text": truth.prompt("t1", 5, 60)}]}]}
    answers = asked(c.google(), *[contents] * 16, path=f"/models/{GEMINI}:generateContent")
    refused = [said for status, said, _ in answers if status == 429]
    assert b"PerMinutePerProjectPerModel" in refused[0]


def test_a_hidden_cap_refuses_without_a_hint():
    answers = asked(c.nvidia(cold=0.0), *[body("moonshotai/kimi-k2.6", words=5)] * 9)

    assert b'{"status": 429, "title": "Too Many Requests"}' in [said for _, said, _ in answers]


def test_a_lie_about_schemas_is_prose_and_a_thing_that_cannot_be_done_a_400():
    wanted: Any = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": truth.SCHEMA}}}
    ((status, said, _),) = asked(c.nvidia(cold=0.0), body("openai/gpt-oss-20b", **wanted))
    assert status == 200
    assert text(said).text.startswith("t1:")
    ((status, _, _),) = asked(c.zai(), body("glm-4.5-flash", **wanted))
    assert status == 400


def test_a_machine_does_one_after_the_other_loads_models_and_turns_away_what_is_too_much():
    machine = c.machine(queue=2)

    async def main() -> Any:
        world = World([machine], 1)

        async def ask(model: str, after: float) -> tuple[int, float]:
            await asyncio.sleep(after)
            url = world.address("ollama") + "/v1/chat/completions"
            response = await world.exchange(Request("POST", url, {}, json.dumps(body(model)).encode()))
            return response.status, clock.now() - world.begin

        return await asyncio.gather(
            ask("qwen3.8:8b", 0.0), ask("qwen3.8:8b", 0.1), ask("gemma4:12b", 0.2), ask("qwen3.8:8b", 0.3)
        )

    first, second, third, fourth = clock.run(main)
    assert [first[0], second[0], third[0], fourth[0]] == [200, 200, 200, 503]
    assert first[1] > machine.load
    assert second[1] - first[1] < machine.load < third[1] - second[1]


def test_a_machine_cuts_the_beginning_of_a_long_prompt_and_says_nothing():
    long = {"model": "qwen3.8:8b", "messages": [{"role": "user", "content": truth.prompt("t1", 30, 6000)}]}
    ((status, said, _), (_, whole, _)) = asked(
        c.machine(),
        {**long, "stream": False},
        {**long, "stream": False, "options": {"num_ctx": 8192}},
        path="/api/chat",
    )
    assert status == 200
    assert not json.loads(said)["message"]["content"].startswith("t1")
    assert json.loads(whole)["message"]["content"].startswith("t1")


def test_streams_break_in_the_middle_and_thoughts_may_be_all_there_is():
    broken = 0
    for seed in range(30):
        try:
            asked(c.groq(breaks=0.5), body(GROQ, stream=True), seed=seed)
        except ConnectionBroken:
            broken += 1
    assert 5 < broken < 25


def test_what_broke_is_continued_where_it_is_asked_to_be():
    said = truth.answer("t1", 30)[:60]
    again = body(GROQ)
    again["messages"].append({"role": "assistant", "content": said})

    ((_, rest, _),) = asked(c.groq(), again)
    assert said + text(rest).text == truth.answer("t1", 30)
