"""How a stream that is silent, or breaks, looks in the APIs that are not OpenAI's: no end is pretended, and all of it is readable."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

WORDS = [{"role": "user", "content": "hello there"}]
PARTS = {"contents": [{"role": "user", "parts": [{"text": "hello there"}]}]}
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "messages": ("/v1/messages", {"model": "groq/compound", "max_tokens": 99, "messages": WORDS, "stream": True}),
    "chat": ("/api/chat", {"model": "groq/compound", "messages": WORDS}),
    "generate": ("/api/generate", {"model": "groq/compound", "prompt": "hello there"}),
    "sse": ("/v1beta/models/compound:streamGenerateContent?alt=sse", PARTS),
    "array": ("/v1beta/models/compound:streamGenerateContent", PARTS),
}
ENDS = ("message_stop", "message_delta", '"done":true', "finishReason")


def read(name: str, text: str) -> list[Any]:
    """What a program of that API reads: each event, line or member."""
    if name == "array":
        return json.loads(text)
    if name in ("chat", "generate"):
        return [json.loads(line) for line in text.splitlines()]
    events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(event) for event in events]


async def asked(url: str, name: str, **headers: str) -> httpx.Response:
    path, body = ASKED[name]
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        return await client.post(path, json=body, headers=headers)


@pytest.mark.parametrize("name", ASKED)
async def test_a_stream_that_breaks_ends_in_one_error_and_pretends_no_end(start, name):
    demo = await start(("groq",))
    demo.world.providers["groq"].fail("cut", times=1)

    response = await asked(demo.base_url, name)
    events = read(name, response.text)

    assert response.status_code == 200
    assert ["error" in event for event in events] == [False] * (len(events) - 1) + [True]

    assert not any(end in response.text for end in ENDS)


@pytest.mark.parametrize("name", ASKED)
async def test_what_keeps_a_silent_stream_alive_is_read_as_nothing(start, tmp_path, name):
    own = tmp_path / "own.toml"
    own.write_text("[server]\nkeep_alive = 0.02\n[provider.groq.timeouts]\nhead = 0.2\n")
    demo = await start(("groq",), FREEWAY_CONFIG=str(own))
    demo.world.providers["groq"].fail("hang_stream", times=9)

    response = await asked(demo.base_url, name, **{"x-freeway-max-wait": "0"})
    *comments, last = read(name, response.text)

    assert response.status_code == 200
    assert "error" in last
    for comment in comments:
        silent = comment.get("message", {}).get("content", comment.get("response")) == ""
        assert comment == {"type": "ping"} or (silent and comment["done"] is False)
