# ruff: noqa: RUF001 - the marks of DeepSeek are what they are
"""
A call that a model wrote as text is a call to its caller, whole and streamed, in every spelling; and text that is no call
stays text.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from providers.chat import Completion, Step, decode_fields, decode_request
from providers.dialect import Account, Request, Target
from providers.dialects.openai import OpenAI
from providers.failures import NoAnswer
from providers.refine import refined
from providers.refined_stream import RefinedReader
from tests.payloads import SPECS

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
]
OSLO = {"city": "Oslo"}
SPEC = SPECS["nvidia"]
TARGET = Target(Account(SPEC, "http://x"), "m")

SPELLINGS = {
    "hermes": '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>',
    "hermes, never closed": '<tool_call>{"name": "get_weather", "arguments": {"city": "Oslo"}}',
    "hermes, a brace is missing": '<tool_call>{"name": "get_weather", "arguments": {"city": "Oslo"}</tool_call>',
    "qwen coder": "<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n</function>\n</tool_call>",
    "function": '<function=get_weather>{"city": "Oslo"}</function>',
    "glm": "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n</tool_call>",
    "minimax": (
        '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Oslo</parameter>\n</invoke>\n'
        "</minimax:tool_call>"
    ),
    "invoke": '<function_calls><invoke name="get_weather"><parameter name="city">Oslo</parameter></invoke></function_calls>',
    "deepseek 3": (
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{"city": "Oslo"}\n```'
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    ),
    "deepseek 3.2": (
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="get_weather">\n<｜DSML｜parameter name="city" string="true">Oslo'
        "</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>"
    ),
    "kimi": (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
        '{"city": "Oslo"}<|tool_call_end|><|tool_calls_section_end|>'
    ),
    "harmony": '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Oslo"}<|call|>',
    "harmony, its start too": (
        '<|start|>assistant<|channel|>commentary to=functions.get_weather<|message|>{"city": "Oslo"}<|call|>'
    ),
    "gemma": '<|tool_call>call:get_weather{city:<|"|>Oslo<|"|>}<tool_call|>',
    "function gemma": "<start_function_call>call:get_weather{city:<escape>Oslo<escape>}<end_function_call>",
    "mistral": '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Oslo"}}]',
    "mistral, since 2025": '[TOOL_CALLS]get_weather[ARGS]{"city": "Oslo"}',
    "llama": '<|python_tag|>{"name": "get_weather", "parameters": {"city": "Oslo"}}',
    "lm studio": '[TOOL_REQUEST]\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n[END_TOOL_REQUEST]',
    "fenced": '```json\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n```',
    "fenced as a call": "```tool_call\n{'name': 'get_weather', 'arguments': {'city': 'Oslo'}}\n```",
    "bare": '{"name": "get_weather", "parameters": {"city": "Oslo"}}',
    "bare, as the API has it": '{"type": "function", "function": {"name": "get_weather", "arguments": "{\\"city\\": \\"Oslo\\"}"}}',
}

TEXTS = [
    "Hermes models write <tool_call> and </tool_call> around JSON.",
    "In HTML, 1 < 2 and a[0] are `fine`.",
    '```json\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n```\nis how a call looks.',
    '```json\n{"name": "Ann", "arguments": {"for": "peace"}}\n```',
    "```python\nprint('<tool_call>')\n```\nprints a mark.",
    '{"name": "Ann", "age": 3}',
    '{"city": "Oslo"}',
    '<tool_call>{"name": "unknown", "arguments": {}}</tool_call>',
    "{not JSON at all",
    "a <",
    "",
]


def request(tools: list[dict[str, Any]] | None = TOOLS, **more: Any) -> Request:
    fields = {"messages": [{"role": "user", "content": "hi"}], **({"tools": tools} if tools else {}), **more}
    body = json.dumps(fields).encode()
    return Request(decode_request(body), decode_fields(body))


def whole(
    content: str, asked: Request, *, native: list[dict[str, Any]] | None = None, reason: str = "stop"
) -> Completion:
    message = {"role": "assistant", "content": content, **({"tool_calls": native} if native else {})}
    body = {"id": "a", "choices": [{"index": 0, "message": message, "finish_reason": reason}]}
    found = OpenAI().read(TARGET, asked, json.dumps(body).encode())
    return refined(TARGET, asked, found)[0].completion


def reader(asked: Request) -> RefinedReader:
    return RefinedReader(OpenAI().reader(TARGET, asked), TARGET, asked)


def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return json.dumps({"id": "a", "object": "chat.completion.chunk", "choices": [choice]}).encode()


def streamed(pieces: list[str], asked: Request, reason: str = "stop") -> tuple[str, list[tuple[str, Any]], str | None]:
    """What a caller makes of *pieces* of text: text, calls by name and arguments, and the reason to finish."""
    one = reader(asked)
    steps = [step for piece in pieces for step in one.feed(chunk({"content": piece}))]
    return heard([*steps, *one.feed(chunk({}, reason))])


def heard(steps: list[Step]) -> tuple[str, list[tuple[str, Any]], str | None]:
    text, calls, reason = "", dict[int, list[str]](), None
    for step in steps:
        for choice in step.chunk.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
            for call in choice.delta.tool_calls or []:
                assert isinstance(call.index, int)
                told = calls.setdefault(call.index, ["", ""])
                assert call.function is not None
                told[0] += call.function.name or ""
                told[1] += call.function.arguments or ""
    return text, [(name, json.loads(arguments)) for name, arguments in calls.values()], reason


def cut(content: str, places: list[int]) -> list[str]:
    marks = sorted({0, len(content), *(place % (len(content) + 1) for place in places)})
    return [content[start:end] for start, end in pairwise(marks)]


@pytest.mark.parametrize("before", ["", "I shall look.\n\n"], ids=["alone", "after text"])
@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_a_call_that_was_written_is_a_call(spelling: str, before: str):
    if before and spelling.startswith("{"):
        return  # bare JSON within text may be anything
    (choice,) = whole(before + spelling, request()).choices
    (call,) = choice.message.tool_calls or []

    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", OSLO)
    assert (choice.message.content or "").strip() == before.strip()
    assert choice.finish_reason == "tool_calls"
    assert call.id


@given(st.sampled_from([*SPELLINGS.values()]), st.lists(st.integers(0, 400), max_size=20))
def test_so_it_is_in_a_stream_wherever_it_is_cut(spelling: str, places: list[int]):
    text, calls, reason = streamed(cut(spelling, places), request())

    assert (text.strip(), calls, reason) == ("", [("get_weather", OSLO)], "tool_calls")


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_letter_by_letter_it_is_the_same(spelling: str):
    assert streamed([*spelling], request()) == ("", [("get_weather", OSLO)], "tool_calls")


@given(st.sampled_from(TEXTS), st.lists(st.integers(0, 400), max_size=20))
def test_text_that_is_no_call_stays_as_it_is_whole_and_streamed(text: str, places: list[int]):
    assert whole(text, request()).choices[0].message.content == text
    assert streamed(cut(text, places), request()) == (text, [], "stop")


@given(
    st.text(alphabet='<>{}[]`"|:/=_ \nabtool_callfunctionname', max_size=80), st.lists(st.integers(0, 80), max_size=9)
)
@example("<<", [1])  # the end of it may begin a thought, and a call
def test_whatever_is_written_nothing_of_it_is_lost(text: str, places: list[int]):
    """Nor is anything said twice."""
    try:
        said, calls, _ = streamed(cut(text, places), request())
    except NoAnswer:
        return
    assert calls or said == text


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("asked", [request(None), request(tool_choice="none")], ids=["no tools", "no choice"])
def test_where_no_tool_may_be_called_it_stays_text(asked: Request, spelling: str):
    assert whole(spelling, asked).choices[0].message.content == spelling
    assert streamed([*spelling], asked) == (spelling, [], "stop")


def test_values_between_tags_have_the_types_that_the_tool_wants():
    text = "<tool_call><function=get_weather><parameter=city>12</parameter><parameter=days>3</parameter></function></tool_call>"
    (call,) = whole(text, request()).choices[0].message.tool_calls or []

    assert json.loads(call.function.arguments) == {"city": "12", "days": 3}


def test_several_calls_are_several():
    text = SPELLINGS["hermes"] + "\n" + '<tool_call>{"name": "now", "arguments": {}}</tool_call>'

    assert streamed([*text], request())[1] == [("get_weather", OSLO), ("now", {})]
    assert [call.function.name for call in whole(text, request()).choices[0].message.tool_calls or []] == [
        "get_weather",
        "now",
    ]


@pytest.mark.parametrize("text", [
    '<tool_call>{"name": "get_weather", "arguments": {"town": "Oslo"}}</tool_call>',
    '<tool_call>{"name": "get_weather", "arguments": 3}</tool_call>',
])  # fmt: skip
def test_a_call_that_is_of_no_use_is_no_answer(text: str):
    with pytest.raises(NoAnswer, match="get_weather"):
        whole(text, request())
    with pytest.raises(NoAnswer, match="get_weather"):
        streamed([*text], request())


def test_thoughts_before_a_call_are_thoughts():
    text = "<think>I must look.</think>\n" + SPELLINGS["hermes"]
    (choice,) = whole(text, request()).choices

    assert choice.message.reasoning_content == "I must look."
    assert [call.function.name for call in choice.message.tool_calls or []] == ["get_weather"]
    assert streamed([*text], request()) == ("", [("get_weather", OSLO)], "tool_calls")


@pytest.mark.parametrize(
    ("written", "thought", "said"),
    [
        (
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
            "Hm.",
            "Yes.",
        ),
        ("<|channel>thought\nHm.<channel|>Yes.", "Hm.", "Yes."),
        ("<mm:think>Hm.</mm:think>\n\nYes.", "Hm.", "Yes."),
        ("[THINK]Hm.[/THINK]Yes.", "Hm.", "Yes."),
        ("◁think▷Hm.◁/think▷Yes.", "Hm.", "Yes."),
        ("<think>Hm.</think><think>Hm.</think>Yes.", "Hm.Hm.", "Yes."),
        ("<|channel|>final<|message|>Yes.", "", "Yes."),
    ],
)
def test_thoughts_are_told_apart_in_every_dialect(written: str, thought: str, said: str):
    message = whole(written, request(None)).choices[0].message
    one = reader(request(None))
    steps = [step for letter in written for step in one.feed(chunk({"content": letter}))]
    steps += one.feed(chunk({}, "stop"))

    assert (message.reasoning_content or "", message.content) == (thought, said)
    assert heard(steps) == (said, [], "stop")
    told = "".join(choice.delta.reasoning_content or "" for step in steps for choice in step.chunk.choices)
    assert told == thought


# ── calls that came as calls ──


def native(arguments: str, name: str = "get_weather", place: int = 0) -> dict[str, Any]:
    return {"index": place, "id": f"c{place}", "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    "arguments", ['{"city": "Oslo"', "{'city': 'Oslo'}", '{"city": "Oslo",}', '```json\n{"city": "Oslo"}\n```']
)
def test_arguments_a_little_off_are_repaired(arguments: str):
    (call,) = whole("", request(), native=[native(arguments)], reason="tool_calls").choices[0].message.tool_calls or []

    assert json.loads(call.function.arguments) == OSLO


def test_arguments_that_are_none_are_no_answer():
    with pytest.raises(NoAnswer, match="get_weather"):
        whole("", request(), native=[native("Oslo, please")], reason="tool_calls")


def test_arguments_that_stop_in_a_stream_are_closed():
    one = reader(request())
    steps = [*one.feed(chunk({"tool_calls": [native('{"city": "Os')]})), *one.feed(chunk({}, "tool_calls"))]

    assert heard(steps) == ("", [("get_weather", {"city": "Os"})], "tool_calls")
    assert one.mended == ["JSON that was repaired"]


def test_arguments_in_a_stream_that_nothing_closes_break_it():
    one = reader(request())
    one.feed(chunk({"tool_calls": [native("Oslo, please")]}))

    with pytest.raises(NoAnswer):
        one.feed(chunk({}, "tool_calls"))


# ── promises ──


def test_one_call_at_a_time_is_one_call_whatever_the_source_can():
    asked = request(parallel_tool_calls=False)
    both = [native('{"city": "Oslo"}'), native("{}", "now", 1)]
    one = reader(asked)
    steps = [*one.feed(chunk({"tool_calls": both})), *one.feed(chunk({}, "tool_calls"))]
    written = SPELLINGS["hermes"] + '<tool_call>{"name": "now", "arguments": {}}</tool_call>'

    assert heard(steps)[1] == [("get_weather", OSLO)]
    assert len(whole("", asked, native=both, reason="tool_calls").choices[0].message.tool_calls or []) == 1
    assert streamed([*written], asked)[1] == [("get_weather", OSLO)]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "now"}}], ids=str)
def test_a_stream_says_nothing_until_the_call_is_made_that_has_to_be(choice: Any):
    one = reader(request(tool_choice=choice))

    assert one.feed(chunk({"role": "assistant", "content": "Let me"})) == []
    with pytest.raises(NoAnswer) as broke:
        one.feed(chunk({}, "stop"))
    assert broke.value.breaks == "tool_choice"


def test_what_came_before_the_call_is_said_with_it():
    one = reader(request(tool_choice="required"))
    held = one.feed(chunk({"role": "assistant", "content": "Let me"}))
    steps = [*held, *one.feed(chunk({"tool_calls": [native('{"city": "Oslo"}')]})), *one.feed(chunk({}, "tool_calls"))]

    assert held == []
    assert heard(steps) == ("Let me", [("get_weather", OSLO)], "tool_calls")


def test_another_tool_than_the_one_that_has_to_be_called_is_no_answer():
    asked = request(tool_choice={"type": "function", "function": {"name": "now"}})

    with pytest.raises(NoAnswer):
        whole("", asked, native=[native('{"city": "Oslo"}')], reason="tool_calls")
    with pytest.raises(NoAnswer):
        reader(asked).feed(chunk({"tool_calls": [native('{"city": "Oslo"}')]}))


def test_bare_arguments_of_the_tool_that_has_to_be_called_are_a_call_of_it():
    asked = request(tool_choice={"type": "function", "function": {"name": "get_weather"}})

    assert streamed([*'{"city": "Oslo"}'], asked) == ("", [("get_weather", OSLO)], "tool_calls")
    (choice,) = whole('{"city": "Oslo"}', asked).choices
    assert [call.function.name for call in choice.message.tool_calls or []] == ["get_weather"]


SCHEMA = {"type": "json_schema", "json_schema": {"name": "it", "schema": WEATHER}}


@pytest.mark.parametrize("shape", [SCHEMA, {"type": "json_object"}], ids=["schema", "object"])
@pytest.mark.parametrize("first", ["Here", "\n\n Here", "```json", "3"])
def test_a_stream_that_promised_json_and_begins_otherwise_is_no_answer_before_a_word_of_it_is_seen(
    first: str, shape: Any
):
    one = reader(request(None, response_format=shape))

    with pytest.raises(NoAnswer) as broke:
        one.feed(chunk({"content": first}))
    assert broke.value.breaks == shape["type"]


def test_thoughts_and_blanks_are_held_back_until_the_json_begins():
    one = reader(request(None, response_format=SCHEMA))
    early = [*one.feed(chunk({"reasoning_content": "Hm."})), *one.feed(chunk({"content": " \n"}))]
    steps = one.feed(chunk({"content": '{"city": '}))

    assert early == []
    assert [choice.delta.content for step in steps for choice in step.chunk.choices][-2:] == [" \n", '{"city": ']
    assert (
        heard([*steps, *one.feed(chunk({"content": '"Oslo"'})), *one.feed(chunk({}, "stop"))])[0]
        == ' \n{"city": "Oslo"}'
    )


@pytest.mark.parametrize("text", ['{"town": 1}', '{"city": "Oslo"} I hope that helps'])
def test_json_in_a_stream_that_breaks_its_schema_at_the_end_breaks_the_stream(text: str):
    with pytest.raises(NoAnswer) as broke:
        streamed([*text], request(None, response_format=SCHEMA))
    assert broke.value.breaks == "json_schema"


@pytest.mark.parametrize("text", ['```json\n{"city": "Oslo"}\n```', "Here: {'city': 'Oslo'}", '{"city": "Oslo"'])
def test_json_a_little_off_is_repaired_once_in_a_whole_answer(text: str):
    assert json.loads(whole(text, request(None, response_format=SCHEMA)).choices[0].message.content or "") == OSLO


def test_what_its_own_bound_cut_is_left_as_it_is():
    text = '{"city": "Os'

    assert whole(text, request(None, response_format=SCHEMA), reason="length").choices[0].message.content == text
    assert streamed([*text], request(None, response_format=SCHEMA), "length") == (text, [], "length")
