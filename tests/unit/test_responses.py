"""The Responses API's items and events, and where responses are kept, without a gateway around them."""

from __future__ import annotations

import base64
import json
import sqlite3
from contextlib import suppress
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.auth import ANYBODY
from gateway.api.openai_responses import Responses
from gateway.api.options import options_of
from gateway.api.responses_archive import Archive, page
from gateway.api.responses_input import Item, decode_ask, items_of, understood
from gateway.api.responses_output import Writer, delta_of
from gateway.api.responses_store import KEPT_FOR, SqliteResponses
from gateway.settings import Requests, Settings
from gateway.words import BadRequest, Broken, Call
from providers import dialects
from providers.chat import (
    AnswerMessage,
    Chunk,
    ChunkChoice,
    Delta,
    FunctionCall,
    FunctionDelta,
    Message,
    Step,
    ToolCall,
    ToolCallDelta,
    decode_fields,
    encode,
)
from providers.dialect import Request, Target
from providers.sse import ServerSentEvents
from tests.clock import FakeClock
from tests.payloads import account


def parsed(**body: Any) -> Any:
    surface = Responses(Archive(None, Settings()), FakeClock())
    call = surface.parse(encode({"input": "hi"} | body), options_of([], Requests(), ANYBODY, "me", "req_1", 0.0))
    assert isinstance(call, Call)
    return call


def messages(items: list[dict[str, Any]] | str) -> list[Message]:
    return list(parsed(input=items).request.view.messages)


# ── any conversation keeps its meaning ──

texts = st.text(st.characters(codec="utf-8"), max_size=20)
said = texts.filter(bool)
objects = st.dictionaries(st.text(max_size=5), st.integers() | texts, max_size=3).map(json.dumps)
signatures = st.none() | st.just({"google": {"thought_signature": "c2ln"}})


@st.composite
def turns(draw: st.DrawFn) -> list[Message]:
    """A conversation of a user, an assistant that thinks, speaks and calls, and its tools."""
    found, count = [Message("user", draw(said))], 0
    for _ in range(draw(st.integers(0, 4))):
        calls = []
        for _ in range(draw(st.integers(0, 3))):
            count += 1
            function = FunctionCall(draw(st.sampled_from(["look", "write"])), draw(objects))
            calls.append(ToolCall(function, f"call_{count}", extra_content=draw(signatures)))
        spoken = draw(said if not calls else st.none() | said)
        answer = Message("assistant", spoken, tool_calls=calls or None, reasoning_content=draw(st.none() | said))
        details = draw(st.none() | st.just([{"type": "reasoning.encrypted", "data": "x"}]))
        answer.reasoning_details = details
        found.append(answer)
        found += [Message("tool", draw(texts), tool_call_id=call.id) for call in calls]
        found.append(Message("user", draw(said)))
    return found


def as_items(conversation: list[Message]) -> list[dict[str, Any]]:
    """The conversation as a client has it that replays what this API answered."""
    items: list[dict[str, Any]] = []
    for n, message in enumerate(conversation):
        if message.role == "assistant":
            writer = Writer({"id": "resp_x"}, f"x{n}", streams=False)
            answer = AnswerMessage(
                content=message.text() or None,
                reasoning_content=message.reasoning_content,
                tool_calls=message.tool_calls,
            )
            writer.take(delta_of(answer), list(message.reasoning_details or ()))
            writer.end("stop", None, 0)
            items += json.loads(encode(writer.resource["output"]))
        elif message.role == "tool":
            output = message.text()
            items.append({"type": "function_call_output", "call_id": message.tool_call_id, "output": output})
        else:
            items.append({"role": message.role, "content": [{"type": "input_text", "text": message.text()}]})
    return items


@given(turns())
def test_any_tool_conversation_keeps_its_meaning(conversation):
    assert json.loads(encode(messages(as_items(conversation)))) == json.loads(encode(conversation))


@given(turns(), st.data())
def test_a_conversation_says_the_same_whether_it_is_sent_or_remembered(conversation, data):
    items = as_items(conversation)
    cut = data.draw(st.integers(0, len(items)))
    before, after = items_of(encode(items[:cut])), items_of(encode(items[cut:]))
    ask = decode_ask(encode({"input": items}))

    assert understood(ask, {}, [*before, *after]).fields == understood(ask, {}, ask.items()).fields


# ── any stream tells what the whole tells ──


@st.composite
def streams(draw: st.DrawFn) -> list[Delta]:
    """Pieces of an answer, its calls begun in order and their pieces mixed as some providers do."""
    deltas = [Delta(reasoning_content=text) for text in draw(st.lists(said, max_size=3))]
    deltas += [Delta(content=text) for text in draw(st.lists(said, max_size=3))]
    calls = draw(st.lists(objects, max_size=3))
    pieces: list[list[Delta]] = []
    for index, arguments in enumerate(calls):
        first = ToolCallDelta(index, f"call_{index}", function=FunctionDelta("look", ""))
        at = draw(st.integers(0, len(arguments)))
        parts = [part for part in (arguments[:at], arguments[at:]) if part]
        rest = [ToolCallDelta(index, function=FunctionDelta(arguments=part)) for part in parts]
        pieces.append([Delta(tool_calls=[piece]) for piece in (first, *rest)])
    if draw(st.booleans()):  # all are begun, then go on in turn
        deltas += [parts[0] for parts in pieces]
        rests = [parts[1:] for parts in pieces]
        deltas += [part for row in zip(*rests, strict=False) for part in row]
        deltas += [part for rest in rests for part in rest[min(map(len, rests), default=0) :]]
    else:
        deltas += [part for parts in pieces for part in parts]
    return deltas


def told(deltas: list[Delta], finish: str = "stop") -> tuple[list[dict[str, Any]], dict[str, Any]]:
    writer = Writer({"id": "resp_x"}, "x", streams=True)
    writer.begin("m")
    events = writer.events()
    for delta in deltas:
        writer.take(delta, [])
        events += writer.events()
    writer.end(finish, None, 1)
    writer.tell_end()
    events += writer.events()
    return [json.loads(event.split(b"\ndata: ")[1]) for event in events], json.loads(encode(writer.resource))


def whole(deltas: list[Delta]) -> AnswerMessage:
    """What the pieces come to."""
    calls: dict[int, ToolCall] = {}
    for piece in (piece for delta in deltas for piece in delta.tool_calls or ()):
        assert isinstance(piece.index, int)
        call = calls.setdefault(piece.index, ToolCall(FunctionCall("look"), f"call_{piece.index}"))
        call.function.arguments += (piece.function.arguments or "") if piece.function else ""
    return AnswerMessage(
        content="".join(delta.content or "" for delta in deltas) or None,
        reasoning_content="".join(delta.reasoning_content or "" for delta in deltas) or None,
        tool_calls=list(calls.values()) or None,
    )


@given(streams())
def test_however_an_answer_comes_its_items_are_those_of_the_whole(deltas):
    assert told(deltas)[1]["output"] == told([delta_of(whole(deltas))])[1]["output"]


@given(streams())
def test_every_event_is_in_its_place(deltas):
    """Numbers have no gap; an item is added, grows and is done, once each; nothing follows its being done."""
    events, response = told(deltas)
    added, done, grown = dict[Any, Any](), dict[Any, Any](), dict[int, str]()
    for number, event in enumerate(events):
        assert event["sequence_number"] == number
        index = event.get("output_index")
        if event["type"] == "response.output_item.added":
            assert index == len(added)
            added[index], grown[index] = event["item"], ""
        elif event["type"] == "response.output_item.done":
            assert index not in done
            done[index] = event["item"]
        elif index is not None:
            assert index in added
            assert index not in done
            assert event["item_id"] == added[index]["id"]
            grown[index] += event["delta"] if event["type"].endswith(".delta") else ""
    assert [done[n] for n in sorted(done)] == response["output"] == events[-1]["response"]["output"]
    assert all(item["status"] == "completed" for item in response["output"])
    for n, item in enumerate(response["output"]):
        parts = [*item.get("content", ()), *item.get("summary", ())]
        assert grown[n] == item.get("arguments", "") + "".join(part["text"] for part in parts)


def answered(pieces: list[bytes]) -> bytes:
    """What a client is sent when a provider's stream comes in *pieces*."""
    surface = Responses(Archive(None, Settings()), FakeClock())
    tools = [{"type": "function", "name": "look"}]
    body = encode({"input": "hi", "stream": True, "tools": tools})
    call = surface.parse(body, options_of([], Requests(), ANYBODY, "me", "req_1", 0.0))
    assert isinstance(call, Call)
    assert isinstance(call.request, Request)
    reader = dialects.by_name("openai").reader(Target(account("nvidia"), "acme/model"), call.request)
    framing = ServerSentEvents()
    events = [event for piece in pieces for event in framing.feed(piece)] + list(framing.end())
    sent = b"".join(surface.render_event(step) for event in events for step in reader.feed(event))
    end = surface.render_end()
    assert isinstance(end, bytes)
    return sent + end


@given(streams(), st.lists(st.integers(0, 10**6), max_size=20))
def test_however_a_providers_stream_is_cut_the_events_are_the_same(deltas, places):
    chunks = [Chunk(id="c", created=1, model="m", choices=[ChunkChoice(0, delta)]) for delta in deltas]
    chunks.append(Chunk(id="c", created=1, model="m", choices=[ChunkChoice(0, Delta(), "stop")]))
    data = b"".join(b"data: " + encode(chunk) + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    marks = sorted({0, len(data), *(place % len(data) for place in places)})

    assert answered([data[a:b] for a, b in pairwise(marks)]) == answered([data])


def test_refusals_and_a_cut_have_events_and_statuses_of_their_own():
    events, response = told([Delta(refusal="I will "), Delta(refusal="not.")], "content_filter")
    kinds = [event["type"].removeprefix("response.") for event in events]

    assert kinds[3:7] == ["content_part.added", "refusal.delta", "refusal.delta", "refusal.done"]
    assert kinds[-1] == "incomplete"
    assert response["incomplete_details"] == {"reason": "content_filter"}
    assert response["output"][0]["content"] == [{"type": "refusal", "refusal": "I will not."}]
    assert response["output"][0]["status"] == "incomplete"


def test_a_stream_that_breaks_ends_in_response_failed_with_its_numbers_going_on():
    surface = Responses(Archive(None, Settings()), FakeClock())
    surface.parse(encode({"input": "hi", "stream": True}), options_of([], Requests(), ANYBODY, "me", "req_1", 0.0))
    chunk = Chunk(model="m", choices=[ChunkChoice(0, Delta(content="so"))])
    text = (surface.render_event(Step(chunk, encode(chunk))) + surface.render_broken(Broken("it broke"))).decode()
    events = [json.loads(block.split("\ndata: ")[1]) for block in text.strip().split("\n\n")]

    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"] == {"code": "server_error", "message": "it broke"}


# ── what items mean ──


def test_parts_of_a_message_become_parts_of_a_chat_message():
    text = base64.b64encode(b"a,b\n1,2").decode()
    pdf = "data:application/pdf;base64," + base64.b64encode(b"%PDF-1.7 x").decode()
    parts = [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"},
        {"type": "input_file", "filename": "t.csv", "file_data": f"data:text/csv;base64,{text}"},
        {"type": "input_file", "filename": "t.pdf", "file_data": pdf},
    ]
    (message,) = messages([{"role": "user", "content": parts}])

    assert [part.type for part in message.parts()] == ["text", "image_url", "text", "file"]
    assert message.parts()[2].text == "File t.csv:\n\na,b\n1,2"
    assert {"vision", "file"} <= parsed(input=[{"role": "user", "content": parts}]).wants.capabilities


def test_fields_mean_what_they_mean_in_a_chat_request():
    schema = {"type": "json_schema", "name": "city", "schema": {"type": "object"}, "strict": True}
    call = parsed(
        instructions="Be kind.",
        max_output_tokens=100.0,
        reasoning={"effort": "low"},
        text={"format": schema},
        tools=[{"type": "function", "name": "look", "parameters": {}}, {"type": "local_shell"}, {"type": "namespace"}],
        tool_choice={"type": "function", "name": "look"},
        parallel_tool_calls=False,
    )
    view = call.request.view

    assert [(message.role, message.content) for message in view.messages] == [("system", "Be kind."), ("user", "hi")]
    assert (view.output_tokens, view.reasoning_effort, view.parallel_tool_calls) == (100, "low", False)
    assert msgspec.to_builtins(view.response_format)["json_schema"]["name"] == "city"
    assert [one.name for one in view.functions()] == ["look"]
    assert view.tool_choice == {"type": "function", "function": {"name": "look"}}
    assert call.dropped == ("local_shell", "namespace")


@pytest.mark.parametrize(
    ("choice", "meant", "offered"),
    [
        ("auto", "auto", 2),
        ("any", "required", 2),
        ("none", "none", 2),
        ({"type": "auto"}, "auto", 2),
        ({"type": "function", "function": {"name": "a"}}, {"type": "function", "function": {"name": "a"}}, 2),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "b"}]}, "required", 1),
        ({"type": "web_search"}, None, 2),
    ],
)
def test_a_choice_among_tools_in_any_spelling(choice, meant, offered):
    view = parsed(tools=[{"type": "function", "name": name} for name in "ab"], tool_choice=choice).request.view

    assert (view.tool_choice, len(view.functions())) == (meant, offered)


def test_what_others_left_in_a_history_is_understood_or_named():
    items = [
        {"role": "user", "content": "x"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "of another maker"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
        {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": "*** Begin"},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "done"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "ok", "annotations": []}]},
    ]
    call = parsed(input=items)
    roles = [message.role for message in call.request.view.messages]

    assert roles == ["user", "assistant", "tool", "assistant"]
    assert call.dropped == ("web_search_call",)


@given(st.recursive(st.none() | st.booleans() | st.integers() | texts, lambda inner: st.lists(inner, max_size=3)))
def test_junk_where_items_belong_is_a_bad_request(junk):
    for body in ({"input": junk}, {"input": [{"role": "user", "content": junk}]}, {"tools": junk}, {"text": junk}):
        with suppress(BadRequest):  # or it has a meaning; nothing else is raised
            parsed(**body)


def test_nothing_that_is_passed_through_is_spelled_anew():
    ask = b'{"input": "x", "temperature": 0.70}'
    fields = understood(decode_ask(ask), decode_fields(ask), [Item(role="user", content="x")]).fields

    assert bytes(fields["temperature"]) == b"0.70"


# ── where responses are kept ──


@pytest.fixture
async def store(tmp_path, clock):
    made = SqliteResponses(tmp_path / "responses.sqlite", clock, most=1000)
    yield made
    await made.aclose()


async def test_a_response_is_kept_for_a_day_after_its_last_use(store, clock):
    await store.keep("me/a", b"A")
    clock.advance(KEPT_FOR - 1)
    assert await store.find("me/a") == b"A"
    clock.advance(KEPT_FOR - 1)
    assert await store.find("me/a") == b"A"
    clock.advance(KEPT_FOR)
    assert await store.find("me/a") is None


async def test_all_together_stay_below_their_bound_and_those_longest_unused_go_first(store, clock):
    for name in "abc":
        await store.keep(name, b"x" * 300)
        clock.advance(1)
    await store.find("a")
    clock.advance(1)
    await store.keep("d", b"x" * 300)

    assert [name for name in "abcd" if await store.find(name)] == ["a", "c", "d"]


async def test_what_is_deleted_or_out_of_date_is_not_in_the_file(store, clock, tmp_path):
    await store.keep("a", b"Mrs Featherstone")
    assert await store.drop("a")
    assert not await store.drop("a")
    await store.keep("b", b"Mrs Featherstone")
    clock.advance(KEPT_FOR + 1)
    await store.keep("c", b"other")
    with sqlite3.connect(tmp_path / "responses.sqlite") as db:
        kept = db.execute("SELECT value FROM response").fetchall()
    db.close()

    assert kept == [(b"other",)]


async def test_a_damaged_file_is_replaced(tmp_path, clock):
    path = tmp_path / "responses.sqlite"
    path.write_bytes(b"this is no database" * 1000)
    made = SqliteResponses(path, clock)
    await made.keep("a", b"A")

    assert await made.find("a") == b"A"
    await made.aclose()


async def test_what_is_kept_in_a_place_is_listed_in_order_and_no_other_place_is(store, clock):
    for key in ("me/chats/b", "me/chats/a", "me/c", "me/chats2/d", "you/chats/e", "me/chatr/f"):
        await store.keep(key, key.encode())

    assert await store.names("me/chats") == ["a", "b"]
    assert await store.look(["me/chats/b", "me/chats/e", "me/c"]) == [b"me/chats/b", None, b"me/c"]
    clock.advance(KEPT_FOR - 1)
    await store.look(["me/chats/a"])  # no use of it
    await store.find("me/chats/b")
    clock.advance(2)
    assert await store.names("me/chats") == ["b"]
    assert await store.look(["me/chats/a", "me/chats/b"]) == [None, b"me/chats/b"]


@pytest.mark.parametrize(("limit", "count"), [(None, 20), ("3", 3), ("0", 20), ("-5", 20), ("1000", 100)])
def test_a_page_has_as_many_rows_as_are_asked_for_within_reason(limit: str | None, count: int):
    rows = [(f"{number}", {"id": f"{number}"}) for number in range(200)]
    query = {"after": "2"} | ({"limit": limit} if limit is not None else {})
    found = page(rows, query, newest_first=False)

    assert [row["id"] for row in found["data"]] == [f"{number}" for number in range(3, 3 + count)]
    assert found["has_more"]
