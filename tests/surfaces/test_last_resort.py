"""The small model on this machine beside others: after all of them, only where it is allowed, and always named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from providers.simulator.server import serve
from providers.simulator.world import World

ASK = {"model": "auto", "messages": [{"role": "user", "content": "hi there"}], "max_tokens": 20}
MODEL = "mistral-small-latest"
"""What stands for the small model."""


@pytest.fixture
async def beside(start, tmp_path: Path) -> AsyncIterator[Callable[[str], Any]]:
    """``await beside("on")`` gives a gateway with a key of Groq's, and the embedded model enabled or not."""
    small = World(names=("mistral",))
    own = tmp_path / "own.toml"
    async with serve(small) as origin:

        async def begin(enabled: str) -> Any:
            own.write_text(
                f'[embedded]\nenabled = "{enabled}"\n[provider.embedded]\nbase_url = "{origin}/mistral/v1"\n'
                f'static_models = ["{MODEL}"]\nheaders = {{ authorization = "Bearer {small.keys()["mistral"]}" }}\n'
            )
            return await start(("groq",), FREEWAY_CONFIG=str(own))

        yield begin


async def asked(demo: Any, **more: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=30) as client:
        return await client.post("/v1/chat/completions", json={**ASK, **more}, headers={"x-freeway-max-wait": "0"})


def use_up(demo: Any) -> None:
    """From now on Groq refuses every request."""
    demo.world.providers["groq"].fail("rate_limited:day", times=1000)


async def test_as_long_as_another_has_room_it_is_not_asked(beside):
    answer = await asked(await beside("on"))

    assert answer.headers["x-freeway-provider"] == "groq"
    assert "x-freeway-notice" not in answer.headers


async def test_when_all_keys_are_used_up_it_answers_where_it_is_on_and_is_named(beside):
    demo = await beside("on")
    use_up(demo)
    answers = [await asked(demo) for _ in range(3)]

    assert {answer.status_code for answer in answers} == {200}
    for answer in answers:
        assert answer.headers["x-freeway-provider"] == "embedded"
        assert answer.headers["x-freeway-model"] == answer.json()["model"] == MODEL
        assert (
            answer.headers["x-freeway-notice"] == "no other source has room: the small model on this machine answered"
        )


async def test_a_caller_can_do_without_it_or_have_it_alone(beside):
    demo = await beside("on")
    alone = await asked(demo, model=f"embedded/{MODEL}")
    use_up(demo)
    without = await asked(demo, provider={"ignore": ["embedded"]})

    assert alone.headers["x-freeway-provider"] == "embedded"
    assert without.status_code in (429, 503)
    assert "embedded" not in without.headers.get("x-freeway-provider", "")


async def test_where_it_is_not_allowed_to_a_caller_is_told_when_to_come_back(beside):
    demo = await beside("auto")
    use_up(demo)
    answer = await asked(demo)

    assert answer.status_code in (429, 503)
    assert "x-freeway-provider" not in answer.headers


async def test_what_it_cannot_do_is_not_given_to_it_when_all_keys_are_used_up(beside):
    demo = await beside("on")
    use_up(demo)
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    answer = await asked(demo, tools=[tool])

    assert answer.status_code in (429, 503)
    assert "embedded" not in answer.headers.get("x-freeway-provider", "")
