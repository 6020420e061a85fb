"""
What an estimate of a prompt's length may decide, and what only the provider may. It errs upward by a third and more, so that
agents, who go by the provider's own count, would be refused long before they shorten a conversation.
"""

from __future__ import annotations

import httpx
import pytest

from providers.simulator.base import SimulatedModel
from providers.simulator.world import World

CONTEXT = 10_000
FITS, LONGER, FAR_LONGER = 36_000, 44_000, 60_000
"""Bytes of a prompt: 9 000 tokens, 11 000, 15 000, by the simulated providers' count; a third more by the gateway's."""

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


def holding(**contexts: int):
    """Arranges a world in which each provider has one model that holds so many tokens."""

    def arrange(world: World) -> None:
        for name, context in contexts.items():
            model = next(one for one in world.providers[name].models if one.status == "live" and one.tools)
            world.providers[name].models = [SimulatedModel(id=model.id, context=context)]

    return arrange


async def post(demo, size: int, **more) -> httpx.Response:
    words = "word " * (size // 5)
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": words},
        {"role": "user", "content": "on"},
    ]
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as client:
        return await client.post("/v1/chat/completions", json={"model": "auto", "messages": messages} | more)


def asked(demo, name: str) -> int:
    return sum(call.method == "POST" for call in demo.world.providers[name].calls)


@pytest.mark.parametrize("more", [{}, {"max_tokens": 32_000}, {"tools": [TOOL], "stream": True, "max_tokens": 32_000}])
async def test_a_prompt_that_may_fit_is_sent_and_its_answer_has_room(start, more):
    demo = await start(("openrouter",), arrange=holding(openrouter=CONTEXT))
    answer = await post(demo, FITS, **more)
    (call,) = [call for call in demo.world.providers["openrouter"].calls if call.path.endswith("/chat/completions")]

    assert answer.status_code == 200
    assert b'"max_tokens":1024' in call.body or not more.get("max_tokens")


async def test_one_that_the_provider_finds_too_long_is_told_in_the_words_by_which_agents_shorten_it(start):
    demo = await start(("openrouter",), arrange=holding(openrouter=CONTEXT))
    error = (await post(demo, LONGER)).json()["error"]

    assert error["code"] == "context_length_exceeded"
    assert f"maximum context length is {CONTEXT} tokens" in error["message"]
    assert asked(demo, "openrouter") == 1


async def test_one_that_is_surely_too_long_is_sent_nowhere(start):
    demo = await start(("openrouter",), arrange=holding(openrouter=CONTEXT))
    answer = await post(demo, FAR_LONGER)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert asked(demo, "openrouter") == 0


async def test_where_a_longer_context_was_too_short_shorter_ones_are_not_asked(start):
    demo = await start(("openrouter", "google"), arrange=holding(openrouter=CONTEXT, google=CONTEXT - 500))
    pinned = {"provider": {"order": ["openrouter", "google"]}}
    answer = await post(demo, LONGER, **pinned)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert (asked(demo, "openrouter"), asked(demo, "google")) == (1, 0)


async def test_the_longer_context_is_asked_first_where_the_shorter_may_not_hold_it(start):
    demo = await start(("openrouter", "google"), arrange=holding(openrouter=CONTEXT, google=10 * CONTEXT))
    answer = await post(demo, FITS)

    assert answer.status_code == 200
    assert (asked(demo, "openrouter"), asked(demo, "google")) == (0, 1)
