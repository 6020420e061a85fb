"""Anthropic's own package, through the gateway."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from anthropic import AsyncAnthropic, BadRequestError, NotFoundError, RateLimitError

from providers.simulator.brain import Saying
from tests.surfaces.test_anthropic import HELLO, SAID, WEATHER


@pytest.fixture
async def demo(start):
    return await start(("groq",))


@pytest.fixture
async def anthropic(demo):
    async with AsyncAnthropic(base_url=demo.base_url, api_key="any", max_retries=0) as made:
        yield made


async def test_the_package_asks_streams_counts_and_lists(anthropic):
    answer = await anthropic.messages.create(**HELLO)
    async with anthropic.messages.stream(**HELLO) as stream:
        streamed = await stream.get_final_message()
    counted = await anthropic.messages.count_tokens(model="auto", messages=HELLO["messages"])
    models = await anthropic.models.list()

    assert answer.content[0].text == streamed.content[0].text == SAID
    assert answer.stop_reason == streamed.stop_reason == "end_turn"
    assert answer.usage.input_tokens == streamed.usage.input_tokens > 0
    assert counted.input_tokens > 0
    assert "auto" in [model.id for model in models.data]


async def test_the_package_streams_thoughts_and_calls_and_replays_them(anthropic, demo):
    demo.world.providers["groq"].brain = lambda view: (
        Saying("done") if view.turns[-1].is_result else Saying("I look", "Hm.", [("get_weather", {"city": "Oslo"})])
    )
    asked = HELLO | {"tools": [WEATHER], "thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000}
    async with anthropic.messages.stream(**asked) as stream:
        said = await stream.get_final_message()
    call = said.content[-1]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "rainy"}]
    turns = [
        *HELLO["messages"],
        {"role": "assistant", "content": said.content},
        {"role": "user", "content": results},
    ]
    answer = await anthropic.messages.create(**asked | {"messages": turns})

    assert [block.type for block in said.content] == ["thinking", "text", "tool_use"]
    assert (call.name, call.input, said.stop_reason) == ("get_weather", {"city": "Oslo"}, "tool_use")
    assert answer.content[-1].text == "done"


async def test_the_package_hears_of_errors_with_the_id(anthropic):
    with pytest.raises(NotFoundError) as caught:
        await anthropic.messages.create(**HELLO | {"model": "no-such-model"})

    assert cast(Any, caught.value.body)["error"]["type"] == "not_found_error"
    assert (caught.value.request_id or "").startswith("req_")


async def test_the_package_asks_the_beta_of_the_same(anthropic):
    """``?beta=true``, with versions of features that are not known here."""
    answer = await anthropic.beta.messages.create(**HELLO, betas=["context-management-2025-06-27", "none-such-2030"])
    counted = await anthropic.beta.messages.count_tokens(model="auto", messages=HELLO["messages"])
    listed = await anthropic.beta.models.list()
    found = await anthropic.models.retrieve("auto")

    assert answer.content[0].text == SAID
    assert counted.input_tokens > 0
    assert listed.data[0].id == found.id == "auto"
    assert found.max_input_tokens
    assert found.max_input_tokens > 1000


async def test_the_package_reads_structured_output(anthropic):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    answer = await anthropic.messages.create(
        **HELLO, output_config={"format": {"type": "json_schema", "schema": schema}}
    )

    assert '"city"' in answer.content[0].text


async def test_the_package_raises_for_an_overflow_what_agents_know(anthropic):
    long = [{"role": "user", "content": "many words " * 400_000}]
    with pytest.raises(BadRequestError, match=r"prompt is too long: \d+ tokens > \d+ maximum"):
        await anthropic.messages.create(**HELLO | {"messages": long})


async def test_the_package_hears_when_to_come_back(anthropic, demo):
    demo.world.providers["groq"].fail("rate_limited:minute", times=1000)
    asked = [anthropic.messages.create(**HELLO, extra_headers={"x-freeway-max-wait": "0"}) for _ in range(60)]
    with pytest.raises(RateLimitError) as caught:
        await asyncio.gather(*asked)

    assert cast(Any, caught.value.body)["error"]["type"] == "rate_limit_error"
    assert int(caught.value.response.headers["retry-after"]) >= 1
