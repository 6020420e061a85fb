"""A stream that breaks goes on elsewhere, if that is wanted and possible; if not, it ends in one error."""

from __future__ import annotations

import json

import httpx
import pytest

from providers.simulator.brain import Saying

STORY = "".join(f"word{n} " for n in range(40)) + "end."
ASK = {"model": "auto", "messages": [{"role": "user", "content": "tell"}], "stream": True}
RESUME = {"x-freeway-resume": "true"}


def teller(repeats: int):
    """A model that, asked to go on, says *repeats* characters again."""

    def tell(view):
        said = [turn.text for turn in view.turns if turn.role in ("assistant", "model")]
        return Saying(STORY[max(0, len(said[-1]) - repeats) :] if said else STORY, "Let me think.")

    return tell


async def told(demo, body=ASK, **headers) -> list[dict]:
    """The events of an answer, without its end; the end is there or an error is."""
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as client:
        response = await client.post("/v1/chat/completions", json=body, headers=headers or RESUME)
    *events, last = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
    if last == "[DONE]":
        return [json.loads(event) for event in events]
    return [json.loads(event) for event in (*events, last)]


def text_of(events) -> str:
    return "".join(c["delta"].get("content") or "" for event in events for c in event.get("choices", ()))


def finishes(events) -> list[str]:
    return [c["finish_reason"] for event in events for c in event.get("choices", ()) if c["finish_reason"]]


def spoil(world, times=1, repeats=0, fault="cut"):
    for provider in world.providers.values():
        provider.brain = teller(repeats)
        provider.fail(fault, times=times)


@pytest.mark.parametrize("repeats", [0, 9, 10_000])
@pytest.mark.parametrize("names", [("groq", "google"), ("nvidia", "ollama"), ("openrouter", "huggingface")])
async def test_another_source_continues_and_nothing_is_repeated_or_lost(start, names, repeats):
    demo = await start(names)
    spoil(demo.world, repeats=repeats)

    events = await told(demo, ASK | {"stream_options": {"include_usage": True}})

    assert text_of(events) == STORY
    assert finishes(events) == ["stop"]
    assert len({event["id"] for event in events}) == 1
    assert not any("error" in event for event in events)


async def test_the_models_of_the_chunks_are_those_that_wrote_them(start):
    demo = await start(("groq",))
    spoil(demo.world)

    models = [event["model"] for event in await told(demo)]

    assert len(set(models)) == 2
    assert models == sorted(models, key=models.index)  # one after the other


async def test_who_does_not_want_it_gets_one_error(start):
    demo = await start(("groq",))
    spoil(demo.world)

    events = await told(demo, **{"x-freeway-resume": "false"})

    assert [event["error"]["code"] for event in events if "error" in event] == ["interrupted"]
    assert "error" in events[-1]
    assert STORY.startswith(text_of(events))
    assert not finishes(events)


async def test_the_setting_is_for_those_who_say_nothing(start, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("[requests]\nresume = true\n")
    demo = await start(("groq",), FREEWAY_CONFIG=str(own))
    spoil(demo.world)

    assert text_of(await told(demo, ASK, accept="*/*")) == STORY


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
SHAPED = {
    "a tool call": {"tools": [TOOL]},
    "JSON": {"response_format": {"type": "json_object"}},
    "a schema": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    },
}


@pytest.mark.parametrize("more", SHAPED.values(), ids=SHAPED.keys())
async def test_what_must_hold_together_is_not_continued(start, more):
    demo = await start(("nvidia",))
    nvidia = demo.world.providers["nvidia"]
    nvidia.fail("cut")
    nvidia.brain = lambda view: (
        Saying(calls=[("f", {"a": "b" * 90})]) if "tools" in more else Saying('{"a": "' + "b" * 90)
    )

    events = await told(demo, ASK | more)

    assert events[-1]["error"]["code"] == "interrupted"
    assert len([call for call in nvidia.calls if "completions" in call.path]) == 1


async def test_it_ends_when_the_attempts_are_used_up(start, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("[requests]\nmax_attempts = 3\n")
    demo = await start(("groq", "nvidia"), FREEWAY_CONFIG=str(own))
    spoil(demo.world, times=50)

    events = await told(demo)
    calls = [call for one in demo.world.providers.values() for call in one.calls if "completions" in call.path]

    assert len([call for call in calls if call.status == 200]) == 3  # a refusal that came at once is no attempt
    assert "error" in events[-1]
    assert STORY.startswith(text_of(events))
    assert len(text_of(events)) > len(STORY) * 2 // 3  # each went on from where the one before it broke
    assert not finishes(events)


async def test_where_no_other_source_can_it_ends_in_one_error(start):
    demo = await start(("groq",))
    spoil(demo.world)

    events = await told(demo, ASK | {"model": "groq/openai/gpt-oss-20b"})

    assert [event["error"]["code"] for event in events if "error" in event] == ["interrupted"]


async def test_usage_is_what_all_parts_say_and_every_reservation_ends(start):
    demo = await start(("google",))  # tells of tokens as it goes
    spoil(demo.world)

    events = await told(demo, ASK | {"stream_options": {"include_usage": True}, "max_tokens": 500})
    usages = [event["usage"] for event in events if event.get("usage")]

    assert len(usages) == 1
    assert usages[0]["total_tokens"] == usages[0]["prompt_tokens"] + usages[0]["completion_tokens"]
    bodies = [json.loads(call.body) for call in demo.world.providers["google"].calls if "Content" in call.path]
    bounds = [body["generationConfig"]["maxOutputTokens"] for body in bodies]
    assert len(bounds) == 2
    assert bounds[1] < bounds[0]


async def test_an_answer_that_said_its_end_before_the_connection_broke_is_whole(start):
    demo = await start(("groq",))
    groq = demo.world.providers["groq"]
    groq.closing = lambda body, usage, wanted: [b": one more\n\n"] * 400  # the middle comes after the finish
    spoil(demo.world)

    events = await told(demo, **{"x-freeway-resume": "false"})

    assert text_of(events) == STORY
    assert finishes(events) == ["stop"]
    assert not any("error" in event for event in events)
