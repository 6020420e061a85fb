"""What chat programs ask for themselves is served, and by what there is plenty of."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.cli import shipped_config
from gateway.request.call import is_chore
from gateway.settings import load
from providers.chat import decode_request, encode
from tests.laws.sources import Scene, Source

OPEN_WEBUI = (
    "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.\n### Guidelines:\n- The title "
    "should clearly represent the main theme.\n### Chat History:\n<chat_history>\nUSER: Why is the sky blue?\n</chat_history>"
)
TAGS = "### Task:\nGenerate 1-3 broad tags categorizing the main themes of the chat history, along with 1-3 more specific tags."
FOLLOW_UPS = "### Task:\nSuggest 3-5 relevant follow-up questions or prompts that the user might naturally ask next."
OPENCODE = [
    {"role": "system", "content": "You are a title generator. You output ONLY a thread title. Nothing else."},
    {"role": "user", "content": "Generate a title for this conversation:\n"},
    {"role": "user", "content": "fix the tests"},
]


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize(
    "messages",
    [user(OPEN_WEBUI), user(TAGS), user(FOLLOW_UPS), OPENCODE],
    ids=["title", "tags", "follow-ups", "OpenCode"],
)
async def test_a_chore_leaves_what_is_scarce_to_others(tmp_path, messages):
    few, many = Source(name="a", quota='[{ limit = "20/day" }]'), Source(name="b", quota='[{ limit = "10000/day" }]')
    scene = await Scene(tmp_path, few, many).open()

    asked = await scene.one("Why is the sky blue?")
    chores = [await scene.one(messages=messages) for _ in range(3)]

    assert asked.heard.headers["x-freeway-provider"] == "a"
    assert {told.heard.headers["x-freeway-provider"] for told in chores} == {"b"}


async def test_a_chore_is_served_by_what_is_scarce_where_nothing_else_is_there(tmp_path):
    scene = await Scene(tmp_path, Source(name="a", quota='[{ limit = "20/day" }]')).open()

    assert (await scene.one(messages=user(OPEN_WEBUI))).status == 200


def test_what_is_no_chore_is_none(tmp_path):
    chores = load(shipped_config(), {}, tmp_path).requests.chores
    tool = {"type": "function", "function": {"name": "look"}}
    far = "word " * 200 + OPEN_WEBUI

    assert chores
    for asked in (
        {"messages": user("Write a poem about titles.")},
        {"messages": user(OPEN_WEBUI), "tools": [tool]},
        {"messages": user(far)},
    ):
        assert not is_chore(decode_request(encode(asked)), chores)
    assert is_chore(decode_request(encode({"messages": user(OPEN_WEBUI)})), chores)
    assert not is_chore(decode_request(encode({"messages": user(OPEN_WEBUI)})), ())
