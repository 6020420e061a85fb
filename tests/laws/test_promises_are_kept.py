"""What a source took upon itself it keeps, or another is asked: a schema, a call that had to be made."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.schemas import keeps_schema
from tests.laws.sources import Said, Scene, Source, completion, events

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


@pytest.mark.parametrize("broken", ["Here you are: 1", '{"b": 1}', "[1]", '{"a"'])
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

    assert keeps_schema(found, schema) == (set(required) <= found.keys())


# ── as text, and in streams ──

WRITTEN = '<tool_call>{"name": "look", "arguments": {}}</tool_call>'


def streaming(name: str, *texts: str, reason: str = "stop") -> Source:
    """A source that says *texts*, a piece each."""

    def answers(body: dict[str, Any]) -> Said:
        whole = completion(body)
        kind = {**whole, "object": "chat.completion.chunk", "usage": None}
        said = [{**kind, "choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]
        end = {**kind, "usage": whole["usage"], "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
        return Said(200, events([*said, end]))

    return Source(name=name, rule=answers, more=ABLE)


async def test_a_call_that_was_written_as_text_is_a_call_and_the_trace_says_so(tmp_path):
    scene = await Scene(tmp_path, saying("a", WRITTEN), streaming("b", *WRITTEN)).open()

    whole = await scene.one(tools=[TOOL], provider={"only": ["a"]}, trace=True)
    streamed = await scene.one(tools=[TOOL], provider={"only": ["b"]}, stream=True)

    (choice,) = json.loads(whole.heard.body)["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (None, "tool_calls")
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "look", "arguments": "{}"}
    assert whole.trace["mended"] == ["a call that was written as text"]
    assert b'"name":"look"' in streamed.heard.body
    assert b"tool_call>" not in streamed.heard.body


@pytest.mark.parametrize("first", ["Sure", "  \n Sure: ", "```"])
async def test_a_stream_that_promised_json_is_asked_of_another_before_its_caller_sees_a_word(tmp_path, first):
    a = streaming("a", first, '{"a": 1}')
    scene = await Scene(tmp_path, a, streaming("b", " ", '{"a"', ": 1}")).open()

    shaped = [await scene.one(response_format=SCHEMA, stream=True, **ORDER) for _ in range(2)]

    assert [told.heard.headers["x-freeway-provider"] for told in shaped] == ["b", "b"]
    assert len(a.calls) == 1


async def test_json_that_breaks_its_schema_when_the_stream_is_over_is_no_whole_answer_and_is_learned(tmp_path):
    a = streaming("a", '{"b"', ": 1}")
    scene = await Scene(tmp_path, a, streaming("b", '{"a": 1}')).open()

    broken, whole = [await scene.one(response_format=SCHEMA, stream=True, **ORDER) for _ in range(2)]

    assert b"[DONE]" not in broken.heard.body
    assert b'"error"' in broken.heard.body
    assert whole.heard.headers["x-freeway-provider"] == "b"


async def test_a_call_that_has_to_be_made_in_a_stream_is_made_or_another_is_asked(tmp_path):
    scene = await Scene(tmp_path, streaming("a", "I would", " rather not."), streaming("b", WRITTEN)).open()

    forced = await scene.one(tools=[TOOL], tool_choice="required", stream=True, **ORDER)

    assert forced.heard.headers["x-freeway-provider"] == "b"
    assert b"rather" not in forced.heard.body


async def test_a_call_that_lacks_what_its_tool_requires_is_asked_of_one_more_source_and_then_told(tmp_path):
    needs = {"type": "function", "function": {"name": "look", "parameters": SHAPE}}
    sources = [saying(name, "", calls=True) for name in "abc"]
    scene = await Scene(tmp_path, *sources).open()

    told = await scene.one(tools=[needs], trace=True)

    assert json.loads(told.heard.body)["choices"][0]["message"]["tool_calls"]
    assert [failed["kind"] for failed in told.trace["failed"]] == ["NoAnswer"]
    assert sum(len(source.calls) for source in sources) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_one_call_at_a_time_is_kept_by_a_source_that_knows_no_such_thing(tmp_path, stream):
    scene = await Scene(tmp_path, streaming("a", WRITTEN, WRITTEN) if stream else saying("a", WRITTEN + WRITTEN)).open()

    told = await scene.one(tools=[TOOL], parallel_tool_calls=False, stream=stream)

    assert told.heard.body.count(b'"look"') == 1
