"""A JSON schema where no free model takes one: the model is told in words, and the answer is held to it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.chat import decode_fields, decode_request, encode
from providers.dialect import Account, Request, Target
from providers.instructed import by_instruction
from providers.simulator.brain import Saying
from tests.deployments import deployment

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FORM = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
ASK: dict[str, Any] = {
    "model": "gpt-oss-20b",
    "messages": [{"role": "user", "content": "Where?"}],
    "response_format": FORM,
}
BLIND = """
[[provider.groq.models]]
ids = ["*"]
capabilities = ["tools"]
"""


@pytest.fixture
async def demo(start, tmp_path):
    """Groq, none of whose models takes a schema."""
    own = tmp_path / "own.toml"
    own.write_text(BLIND)
    return await start(("groq",), FREEWAY_CONFIG=str(own))


def saying(demo: Any, *texts: str) -> list[dict[str, Any]]:
    """Have the model say *texts*, one after the other; what it was asked is added to what is returned."""
    left = list(texts)
    demo.world.providers["groq"].brain = lambda _: Saying(left.pop(0) if len(left) > 1 else left[0])
    return [json.loads(call.body) for call in demo.world.providers["groq"].calls if call.body]


async def post(demo: Any, **more: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as client:
        return await client.post("/v1/chat/completions", json=ASK | more, headers={"x-freeway-trace": "true"})


@pytest.mark.parametrize(
    ("stream", "written"),
    [(False, '{"city": "Oslo"}'), (False, '```json\n{"city": "Oslo"}\n```'), (True, '{"city": "Oslo"}')],
)
async def test_the_model_is_told_in_words_and_the_trace_says_so(demo, stream, written):
    saying(demo, written)
    response = await post(demo, stream=stream)
    heard = json.loads(demo.world.providers["groq"].calls[-1].body)

    assert response.status_code == 200
    assert "JSON schema by instruction" in json.loads(response.headers["x-freeway-trace"])["made_up"]
    assert heard.get("response_format", {}).get("type") != "json_schema"
    assert '"required":["city"]' in heard["messages"][0]["content"]
    if not stream:
        assert json.loads(response.json()["choices"][0]["message"]["content"]) == {"city": "Oslo"}
    else:
        chunks = [json.loads(line[6:]) for line in response.text.split("\n\n") if line.startswith("data: {")]
        text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
        assert json.loads(text) == {"city": "Oslo"}


async def test_an_answer_that_does_not_keep_it_is_none(demo):
    saying(demo, "It is Oslo.")
    response = await post(demo)

    assert response.status_code >= 400
    assert "schema" in response.text


async def test_a_model_that_takes_a_schema_is_given_it(start):
    demo = await start(("groq",))
    saying(demo, '{"city": "Oslo"}')
    response = await post(demo)

    assert "made_up" not in json.loads(response.headers["x-freeway-trace"])
    assert json.loads(demo.world.providers["groq"].calls[-1].body)["response_format"]["type"] == "json_schema"


async def test_explaining_says_that_it_can_be_served(demo):
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        told = (await client.post("/v1/route/explain", json=ASK)).json()

    assert told["chosen"].startswith("groq/")


CONTENTS = st.text(max_size=5) | st.lists(st.builds(lambda text: {"type": "text", "text": text}, st.text(max_size=5)))
MESSAGES = st.lists(
    st.builds(
        lambda role, content: {"role": role, "content": content},
        st.sampled_from(["system", "developer", "user", "assistant"]),
        CONTENTS,
    ),
    min_size=1,
    max_size=4,
)


@given(MESSAGES, st.booleans())
def test_whatever_the_conversation_is_it_is_told_once_and_nothing_else_changes(messages, has_mode):
    body = encode({"messages": messages, "response_format": FORM, "odd": 1})
    account: Account = deployment("groq/m").target.account
    target = Target(account, "m", frozenset({"json_object"} if has_mode else ()))
    sent = by_instruction(target, Request(decode_request(body), decode_fields(body)))
    spelled = json.loads(bytes(sent.fields["messages"]))

    assert sum("city" in str(message) for message in spelled) == 1
    assert spelled[0]["role"] in ("system", "developer")
    assert [encode(message) for message in sent.view.messages] == [
        encode(decode_request(encode({"messages": [message]})).messages[0]) for message in spelled
    ]
    assert spelled[1:][-len(messages) + 1 :] == messages[1:] or len(messages) == 1
    assert ("response_format" in sent.fields) == has_mode
    assert bytes(sent.fields["odd"]) == b"1"
