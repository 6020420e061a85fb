"""What the dialects of OpenAI's family read, from payloads on record: answers, streams and tools."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from providers import dialects
from providers import failures as f
from providers.sse import ServerSentEvents
from tests.contract.openai_like import asked, joined, streamed, target, whole
from tests.payloads import answer, body

# ── answers ──


@pytest.mark.parametrize(
    ("name", "said", "thought", "counts"),
    [
        ("openrouter/openrouter_chat.json", "Hello there.", "The user greets me.", (42, 17, 59)),
        ("groq/groq_200.json", "Hello.", "Greet back.", (86, 31, 117)),
        ("huggingface/hf_200.json", "Hello.", "Greet.", (10, 4, 14)),
        ("cerebras/cerebras_200_headers.json", "Hello.", "Greet.", (75, 114, 189)),
        ("mistral/mistral_200_headers.json", "Hello.", None, (10, 8, 18)),
    ],
)
def test_an_answer_says_what_its_provider_said(name: str, said: str, thought: str | None, counts: tuple[int, ...]):
    completion = whole(name)
    (choice,) = completion.choices
    assert completion.usage is not None
    assert choice.message.content == said
    assert choice.message.reasoning_content == thought
    assert choice.finish_reason == "stop"
    assert (
        completion.usage.prompt_tokens,
        completion.usage.completion_tokens,
        completion.usage.total_tokens,
    ) == counts


@pytest.mark.parametrize("name", ["openrouter/openrouter_chat_tools.json", "groq/groq_chat_tools.json"])
def test_a_tool_call_comes_with_its_arguments_as_text(name: str):
    (choice,) = whole(name).choices
    (call,) = choice.message.tool_calls or []
    assert choice.finish_reason == "tool_calls"
    assert call.id
    assert call.function.name == "get_weather"
    assert msgspec.json.decode(call.function.arguments) == {"city": "Oslo"}


def test_openrouter_says_what_an_answer_cost():
    usage = whole("openrouter/openrouter_chat.json").usage

    assert usage is not None
    assert usage.cost == 0


def test_a_tier_that_no_sdk_knows_is_left_out():
    found = dialects.by_name("groq").read(target("groq"), asked(), answer("groq/groq_200.json").body)

    assert b"on_demand" not in found.data


def test_an_answer_that_needs_no_change_is_passed_on_byte_for_byte():
    content = answer("mistral/mistral_200_headers.json").body

    assert dialects.by_name("openai").read(target("mistral"), asked(), content).data == content


EMPTY_REASON = b'data: {"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":""}]}\n\n'


def test_only_a_reason_to_finish_ends_a_stream():
    """SGLang writes "" where OpenAI writes null (sgl-project/sglang#3912): it is sent on as null, and is no end."""
    begun = EMPTY_REASON % b"Hel" + EMPTY_REASON % b"lo"
    steps, reader = streamed("nvidia/x", begun)
    assert not reader.finished()
    assert [msgspec.json.decode(step.data)["choices"][0]["finish_reason"] for step in steps] == [None, None]

    _, reader = streamed("nvidia/x", begun + b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n')
    assert reader.finished()


@pytest.mark.parametrize("reason", [b'""', b"null"])
def test_a_whole_answer_without_a_reason_to_finish_came_to_its_end(reason: bytes):
    content = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":%s}]}' % reason

    assert whole("nvidia/x", content).choices[0].finish_reason == "stop"


def test_a_partial_answer_that_ends_in_an_error_is_no_answer():
    content = (
        b'{"choices":[{"finish_reason":"error","error":{"code":503,"message":"gone"},"message":{"content":"He"}}]}'
    )
    with pytest.raises(f.Busy, match="gone"):
        dialects.by_name("openrouter").read(target("openrouter"), asked(), content)


def test_a_thought_in_the_content_is_set_apart():
    content = msgspec.json.encode({"choices": [{"message": {"content": "<think>why</think>\n\nyes"}}]})
    (choice,) = whole("nvidia/-", content).choices

    assert (choice.message.reasoning_content, choice.message.content) == ("why", "yes")


def test_a_stray_closing_tag_ends_a_thought_where_the_model_thinks_and_is_text_where_it_does_not():
    content = msgspec.json.encode({"choices": [{"message": {"content": "why\n</think>\n\nyes"}}]})
    (thinker,) = whole("nvidia/-", content, capabilities=frozenset({"reasoning"})).choices
    (writer,) = whole("nvidia/-", content).choices

    assert (thinker.message.reasoning_content, thinker.message.content) == ("why", "yes")
    assert writer.message.content == "why\n</think>\n\nyes"


# ── streams ──


@pytest.mark.parametrize(
    ("name", "said", "thought", "counts"),
    [
        ("openrouter/openrouter_stream.sse", "Hello.", "The user greets.", (42, 17)),
        ("groq/groq_stream.sse", "Hello.", "Greet back.", (86, 31)),
        ("nvidia/nvidia_stream.sse", "Hello.", "Greet.", (20, 9)),
    ],
)
def test_a_stream_says_what_its_provider_said(name: str, said: str, thought: str, counts: tuple[int, int]):
    steps, reader = streamed(name)
    usage = next(step.chunk.usage for step in reversed(steps) if step.chunk.usage)
    assert reader.finished()
    assert joined(steps, "content") == said
    assert joined(steps, "reasoning_content") == thought
    assert (usage.prompt_tokens, usage.completion_tokens) == counts
    assert not any(b'"reasoning":' in step.data for step in steps)


@pytest.mark.parametrize("name", ["openrouter/openrouter_stream_tools.sse", "groq/groq_stream_tools.sse"])
def test_a_streamed_tool_call_has_one_place_one_id_and_one_name(name: str):
    steps, reader = streamed(name)
    deltas = [call for step in steps for c in step.chunk.choices for call in c.delta.tool_calls or ()]
    functions = [delta.function for delta in deltas if delta.function]
    assert reader.finished()
    assert {delta.index for delta in deltas} == {0}
    assert len([delta.id for delta in deltas if delta.id]) == 1
    assert [function.name for function in functions if function.name] == ["get_weather"]
    assert msgspec.json.decode("".join(function.arguments or "" for function in functions)) == {"city": "Oslo"}


@pytest.mark.parametrize("opens", [True, False])
def test_a_thought_that_only_a_closing_tag_ends_is_set_apart_where_it_is_known_to_be_one(opens: bool):
    steps, reader = streamed("nvidia/nvidia_stream_thinktag.sse", opens_in_reasoning=opens)

    assert reader.finished()
    assert joined(steps, "content") == ("Hello." if opens else "The user greets.\n</think>\n\nHello.")
    assert joined(steps, "reasoning_content") == ("The user greets." if opens else "")


def test_thoughts_in_a_field_of_their_own_are_believed_before_what_is_known_of_the_model():
    steps, _ = streamed("nvidia/nvidia_stream.sse", opens_in_reasoning=True)

    assert joined(steps, "content") == "Hello."
    assert joined(steps, "reasoning_content") == "Greet."


def test_an_error_in_mid_stream_is_raised_after_what_was_said():
    reader = dialects.by_name("openrouter").reader(target("openrouter"), asked())
    events = list(ServerSentEvents().feed(body("openrouter/openrouter_stream_error.sse")))
    said = [step for event in events[:-1] for step in reader.feed(event)]

    assert joined(said, "content") == "Once upon a time"
    with pytest.raises(f.Unreachable, match="disconnected"):
        reader.feed(events[-1])
    assert not reader.finished()


def test_a_stream_without_its_end_is_not_finished():
    content = body("groq/groq_stream.sse").rpartition(b'data: {"id":"chatcmpl-3c4d"')[0]
    cut = content.rpartition(b'data: {"id":"chatcmpl-3c4d"')[0]

    assert streamed("groq/-", content)[1].finished()
    assert not streamed("groq/-", cut)[1].finished()


def test_tool_calls_without_places_are_given_them_by_their_ids():
    def event(*calls: dict[str, Any], finish: str | None = None) -> bytes:
        delta = {"tool_calls": list(calls)} if calls else {}
        return b"data: " + msgspec.json.encode({"choices": [{"delta": delta, "finish_reason": finish}]}) + b"\n\n"

    content = (
        event({"id": "a", "function": {"name": "f", "arguments": '{"x":'}})
        + event({"function": {"arguments": "1}"}})
        + event({"index": None, "id": "b", "function": {"name": "g", "arguments": "{}"}})
        + event(finish="tool_calls")
    )
    steps, reader = streamed("zai/-", content)
    deltas = [call for step in steps for c in step.chunk.choices for call in c.delta.tool_calls or ()]

    assert reader.finished()
    assert [delta.index for delta in deltas] == [0, 0, 1]


def test_a_fault_that_groq_tells_within_a_chunk_is_one():
    with pytest.raises(f.Unreachable, match="overloaded"):
        streamed("groq/-", b'data: {"choices":[],"x_groq":{"id":"r","error":"overloaded"}}\n\n')


# ── what is spelled a little off ──


def completion(message: dict[str, Any], **more: Any) -> bytes:
    return msgspec.json.encode({"id": "x", "choices": [{"message": message, "finish_reason": "stop"}], **more})


@pytest.mark.parametrize(
    ("content", "said", "thought"),
    [
        (completion({"content": 42}), "42", None),
        (completion({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}), "ab", None),
        (
            completion(
                {
                    "content": [
                        {"type": "thinking", "thinking": [{"type": "text", "text": "why"}]},
                        {"type": "text", "text": "yes"},
                    ]
                }
            ),
            "yes",
            "why",
        ),
        (completion({"content": "a"}, created=1795440000.5, model=None), "a", None),
        (completion({"content": "a"}, object="", usage={"prompt_tokens": None, "completion_tokens": 2.0}), "a", None),
    ],
)
def test_an_answer_spelled_a_little_off_is_mended(content: bytes, said: str, thought: str | None):
    (choice,) = whole("cloudflare/-", content).choices

    assert (choice.message.content, choice.message.reasoning_content) == (said, thought)


def test_arguments_that_are_an_object_become_text():
    call = {"id": None, "type": None, "function": {"name": "f", "arguments": {"x": 1}}}
    (choice,) = whole("cloudflare/-", completion({"content": None, "tool_calls": [call]})).choices
    (mended,) = choice.message.tool_calls or []

    assert msgspec.json.decode(mended.function.arguments) == {"x": 1}


def test_a_chunk_spelled_a_little_off_is_mended():
    content = (
        b'data: {"id":null,"object":"","created":1.5,"choices":[{"index":null,"delta":{"content":7}}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":null,"finish_reason":"stop"}]}\n\n'
    )
    steps, reader = streamed("cloudflare/-", content)

    assert reader.finished()
    assert joined(steps, "content") == "7"


@pytest.mark.parametrize("content", [b"<html>", b"[]", b'{"choices": [{"message": 1}]}', b"7"])
def test_what_is_no_answer_is_unreachable(content: bytes):
    dialect = dialects.by_name("openai")
    with pytest.raises(f.Unreachable):
        dialect.read(target("zai"), asked(), content)
    with pytest.raises(f.Unreachable):
        dialect.reader(target("zai"), asked()).feed(content.replace(b"message", b"delta"))
