"""What a source took upon itself it keeps, or another is asked: a schema, a call that had to be made."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.request.promises import keeps_schema
from tests.laws.sources import Said, Scene, Source, completion

SHAPE = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "it", "schema": SHAPE}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
ORDER = {"provider": {"order": ["a", "b"]}}
ABLE = 'models = [{ ids = ["*"], capabilities = ["tools", "json_schema"] }]'


def saying(name: str, text: str, *, calls: bool = False) -> Source:
    def answers(body: dict[str, Any]) -> Said:
        whole = completion(body, text)
        if calls and body.get("tools"):
            made = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
            whole["choices"][0] |= {
                "message": {"role": "assistant", "tool_calls": [made]},
                "finish_reason": "tool_calls",
            }
        return Said(200, whole)

    return Source(name=name, rule=answers, more=ABLE)


@pytest.mark.parametrize("broken", ["Here you are: 1", '{"b": 1}', "[1]", '{"a": 1'])
async def test_a_schema_that_a_source_breaks_is_asked_of_another_from_then_on(tmp_path, broken):
    a = saying("a", broken)
    scene = await Scene(tmp_path, a, saying("b", '{"a": 1}')).open()

    shaped = [await scene.one(response_format=SCHEMA, **ORDER) for _ in range(2)]
    plain = await scene.one(**ORDER)

    providers = [told.heard.headers["x-freeway-provider"] for told in (*shaped, plain)]
    assert providers == ["b", "b", "a"]
    assert len(a.calls) == 2


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "look"}}], ids=str)
async def test_a_call_that_has_to_be_made_is_made_or_another_is_asked(tmp_path, choice):
    a = saying("a", "I would rather not.")
    scene = await Scene(tmp_path, a, saying("b", "", calls=True)).open()

    forced = await scene.one(tools=[TOOL], tool_choice=choice, **ORDER)
    free = await scene.one(tools=[TOOL], tool_choice="auto", **ORDER)

    assert forced.heard.headers["x-freeway-provider"] == "b"
    assert free.heard.headers["x-freeway-provider"] == "a"


async def test_a_bound_of_the_callers_own_breaks_no_promise(tmp_path):
    def cut(body: dict[str, Any]) -> Said:
        whole = completion(body, '{"a"')
        whole["choices"][0]["finish_reason"] = "length"
        return Said(200, whole)

    scene = await Scene(tmp_path, Source(name="a", rule=cut, more=ABLE)).open()

    assert (await scene.one(response_format=SCHEMA, max_tokens=3)).status == 200


@given(st.dictionaries(st.text(), st.integers()), st.lists(st.text(), max_size=3))
def test_an_object_keeps_a_schema_exactly_if_it_has_all_that_is_required(found, required):
    schema = {"type": "object", "required": required}

    assert keeps_schema(json.dumps(found), schema) == (set(required) <= found.keys())
