"""A caller's bound on the answer's length is the caller's: no source is lost for it, and no cut is seen that it did not ask for."""

from __future__ import annotations

import json
import math
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from gateway.quota.buckets import Bucket
from gateway.request.bounds import Bound, as_sent, bound_of, expected
from gateway.request.call import Offers
from gateway.routing.calibration import ENOUGH, Calibration
from providers.dialect import Request
from tests.calls import call
from tests.deployments import deployment
from tests.laws.sources import Said, Scene, Source, completion, events

WORDS = [f"word{number} " for number in range(40)]
STORY = "".join(WORDS)
AGENT = 32_000
SMALL_QUOTA = '[{ limit = "8000/minute", unit = "tokens", window = "refill", keeps_output = true }]'
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "it", "schema": {"type": "object"}}}


def tokens(limit: float, *, keeps_output: bool = False) -> Bucket:
    return Bucket(
        key="t", unit="tokens", limit=limit, window="refill", period=60, window_name="minute", keeps_output=keeps_output
    )


def teller(body: dict[str, Any]) -> Said:
    """It tells the story, a token a word, as far as its bound allows, and goes on where it was cut."""
    bound = body.get("max_tokens") or body.get("max_completion_tokens") or 10_000
    said = [message["content"] for message in body["messages"] if message["role"] == "assistant"]
    begun = len(said[-1].split()) if said else 0
    left = WORDS[begun:]
    text, reason = "".join(left[:bound]), "length" if len(left) > bound else "stop"
    return Said(200, told(body, text, reason))


def told(body: dict[str, Any], text: str, reason: str, **message: Any) -> Any:
    whole = completion(body, text)
    whole["usage"] = {"prompt_tokens": 10, "completion_tokens": len(text.split()) or 1}
    whole["choices"][0]["message"] |= message
    whole["choices"][0]["finish_reason"] = reason
    if not body.get("stream"):
        return whole
    kind = {"object": "chat.completion.chunk"}
    delta = {"role": "assistant", "content": text, **message}
    said = {**whole, **kind, "usage": None, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    end = {**whole, **kind, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    return events([said, end])


def limited(name: str, most: int) -> Source:
    """A source whose model's longest answer has so many tokens."""
    return Source(name=name, rule=teller, more=f'models = [{{ ids = ["*"], max_output = {most} }}]')


def answer_of(told: Any) -> tuple[str, list[str]]:
    """The text that a caller got, and why it ended; AssertionError if there was an error."""
    body = told.heard.body.decode()
    if body.startswith("{"):
        choice = json.loads(body)["choices"][0]
        return choice["message"]["content"], [choice["finish_reason"]]
    chunks = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]
    assert not any("error" in chunk for chunk in chunks), body
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    return text, [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


def in_order(*names: str) -> dict[str, Any]:
    return {"provider": {"order": list(names)}}


# ── what is sent, and what is reserved ──


class Case(Struct, frozen=True):
    """A deployment, and what is asked of it."""

    asked: int | None
    prompt: int
    limit: int
    longest: int | None
    context: int | None
    keeps: bool
    choices: int
    learned: int


CASES = st.builds(
    Case,
    asked=st.none() | st.integers(1, 100_000),
    prompt=st.integers(1, 50_000),
    limit=st.integers(1, 50_000),
    longest=st.none() | st.integers(1, 50_000),
    context=st.none() | st.integers(1, 100_000),
    keeps=st.booleans(),
    choices=st.integers(1, 3),
    learned=st.integers(0, 20_000),
)


@settings(deadline=None)
@given(CASES)
def test_what_is_sent_fits_where_it_is_sent_and_what_is_reserved_is_never_more(case):
    held = (tokens(case.limit, keeps_output=case.keeps),)
    one = replace(deployment("groq/m"), buckets=held, max_output=case.longest, context=case.context)
    wanted = call(n=case.choices, **({} if case.asked is None else {"max_tokens": case.asked}))
    calibration = Calibration()
    for _ in range(ENOUGH if case.learned else 0):
        calibration.answered("m", case.learned, tools=False)
    likely = expected(wanted, "m", calibration)

    bound = bound_of(one, wanted, case.prompt, likely, lambda bucket: bucket.limit)

    if bound.sent is None:
        assert case.asked is None
        assert case.prompt + bound.reserved <= case.limit
    else:
        assert bound.sent == 1 or case.prompt + bound.sent * case.choices <= case.limit
        maybe = min(
            likely, (case.context or 0) - wanted.least_tokens
        )  # where the estimate leaves less than an answer takes
        assert bound.sent == 1 or bound.sent * case.choices <= max((case.context or math.inf) - case.prompt, maybe)
        assert bound.sent <= min(case.longest or bound.sent, case.asked or bound.sent)
        assert bound.reserved <= bound.sent * case.choices
        assert not case.keeps or bound.reserved == bound.sent * case.choices
    assert bound.ours == (bound.sent != case.asked)


def test_what_is_not_charged_at_admission_is_reserved_as_far_as_answers_were_seen_to_go():
    one = replace(deployment("groq/m"), buckets=(tokens(100_000),))
    wanted, calibration = call(max_tokens=AGENT), Calibration()
    for length in (900, *[2_000] * ENOUGH):
        calibration.answered("m", length, tools=False)

    (offer,) = Offers([one], wanted, calibration, lambda bucket: bucket.limit, {})

    assert offer.cost.output == 2_500


def test_the_money_of_all_that_may_come_is_held():
    """What a credit does not cover would have to be paid."""
    one = replace(deployment("groq/m"), output_price=0.001)

    (offer,) = Offers([one], call(max_tokens=AGENT), Calibration(), lambda bucket: bucket.limit, {})

    assert offer.cost.dollars == pytest.approx(AGENT * 0.001)


def test_the_request_as_sent_tells_the_bound_in_the_callers_own_field():
    asked = call(max_completion_tokens=AGENT)

    sent = as_sent(deployment("groq/m"), asked, cast(Request, asked.request), Bound(700, 700, 700, ours=True))

    assert isinstance(sent, Request)
    assert sent.view.output_tokens == 700
    assert bytes(sent.fields["max_completion_tokens"]) == b"700"
    assert "max_tokens" not in sent.fields
    assert (sent.bounded_by_caller, sent.bounded_by_us) == (False, True)


async def test_an_agent_reaches_a_source_of_8000_tokens_a_minute(tmp_path):
    seen: list[int] = []

    def answers(body: dict[str, Any]) -> None:
        seen.append(body["max_tokens"])

    scene = await Scene(tmp_path, Source(name="a", quota=SMALL_QUOTA, rule=answers)).open()

    heard = await scene.one(max_tokens=AGENT)

    assert heard.status == 200, heard
    assert 7_000 < seen[0] < 8_000


# ── an answer that our bound cut ──


@pytest.mark.parametrize("stream", [False, True])
async def test_a_text_that_our_bound_cut_is_continued_and_nothing_is_repeated_or_lost(tmp_path, stream):
    scene = await Scene(tmp_path, limited("a", 20), limited("b", 30)).open()

    heard = await scene.one(max_tokens=AGENT, stream=stream, **in_order("a", "b"))

    assert answer_of(heard) == (STORY, ["stop"])


async def test_after_thoughts_that_broke_a_text_that_our_bound_cut_is_continued_too(tmp_path):
    """The source that thought was bounded by nobody: what is cut is the answer of the next."""
    choice = {"index": 0, "delta": {"reasoning_content": "Let me see."}, "finish_reason": None}
    thought = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    broke = Said(200, events([thought]).removesuffix(b"data: [DONE]\n\n"))
    scene = await Scene(tmp_path, Source(name="thinks", script=[broke]), limited("a", 20), limited("b", 30)).open()

    heard = await scene.one(max_tokens=AGENT, stream=True, **in_order("thinks", "a", "b"))

    assert "Let me see." in heard.heard.body.decode()
    assert answer_of(heard) == (STORY, ["stop"])


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cut_that_the_caller_asked_for_is_the_callers(tmp_path, stream):
    a = limited("a", 20)
    scene = await Scene(tmp_path, a).open()

    heard = await scene.one(max_tokens=12, stream=stream)

    assert answer_of(heard) == ("".join(WORDS[:12]), ["length"])
    assert len(a.calls) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_the_parts_together_are_no_longer_than_the_caller_allows(tmp_path, stream):
    scene = await Scene(tmp_path, limited("a", 20), limited("b", 1000)).open()

    heard = await scene.one(max_tokens=33, stream=stream, **in_order("a", "b"))

    assert answer_of(heard) == ("".join(WORDS[:33]), ["length"])


@pytest.mark.parametrize("stream", [False, True])
async def test_the_usage_is_that_of_all_parts(tmp_path, stream):
    scene = await Scene(tmp_path, limited("a", 20), limited("b", 1000)).open()
    more = {"stream_options": {"include_usage": True}} if stream else {}

    heard = await scene.one(max_tokens=AGENT, stream=stream, **in_order("a", "b"), **more)

    lines = heard.heard.body.decode().splitlines()
    usage = [json.loads(line.removeprefix("data: ")).get("usage") for line in lines if line.endswith("}")]
    assert [one["completion_tokens"] for one in usage if one] == [40]


@pytest.mark.parametrize("form", [{"response_format": SCHEMA}, {"tools": [TOOL]}], ids=["schema", "tool call"])
async def test_json_and_calls_that_our_bound_cut_are_asked_for_again_elsewhere(tmp_path, form):
    def answers(body: dict[str, Any]) -> Said:
        bound = body["max_tokens"]
        if "tools" in body:
            made = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
            return Said(200, told(body, "", "length" if bound < 1000 else "tool_calls", tool_calls=[made]))
        return Said(200, told(body, '{"a":' if bound < 1000 else '{"a": 1}', "length" if bound < 1000 else "stop"))

    able = 'capabilities = ["tools", "json_schema"]'
    a, b = (
        Source(name=name, rule=answers, more=f'models = [{{ ids = ["*"], max_output = {most}, {able} }}]')
        for name, most in (("a", 500), ("b", 5000))
    )
    scene = await Scene(tmp_path, a, b).open()

    heard = await scene.one(max_tokens=AGENT, **in_order("a", "b"), **form)

    assert (heard.status, heard.heard.headers["x-freeway-provider"]) == (200, "b"), heard


async def test_a_streamed_call_that_our_bound_cut_all_the_same_is_one_error_event(tmp_path):
    def answers(body: dict[str, Any]) -> Said:
        made = {"index": 0, "id": "c", "type": "function", "function": {"name": "look", "arguments": '{"a'}}
        return Said(200, told(body, "", "length", tool_calls=[made]))

    a = Source(name="a", rule=answers, more='models = [{ ids = ["*"], max_output = 500, capabilities = ["tools"] }]')
    scene = await Scene(tmp_path, a).open()

    heard = await scene.one(max_tokens=AGENT, stream=True, tools=[TOOL])

    text = heard.heard.body.decode()
    assert text.count('"error"') == 1, text
    assert "[DONE]" not in text
    assert '"length"' not in text


async def test_a_streamed_call_goes_where_answers_as_long_as_the_learned_ones_have_room(tmp_path):
    """It could not be continued; what nothing is known of is tried."""
    models = 'models = [{ ids = ["*"], max_output = %d, capabilities = ["tools"] }]'
    a, b = (Source(name=name, more=models % most) for name, most in (("a", 500), ("b", 5000)))
    scene = await Scene(tmp_path, a, b).open()
    more = {"max_tokens": AGENT, "tools": [TOOL], "stream": True, **in_order("a", "b")}

    before = await scene.one(**more)
    for _ in range(ENOUGH):
        scene.gateway.engine.view.calibration.answered("free-model", 2_000, tools=True)
    after = await scene.one(**more)

    assert [told.heard.headers["x-freeway-provider"] for told in (before, after)] == ["a", "b"]
