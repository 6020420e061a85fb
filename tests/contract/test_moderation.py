"""What holds of every provider that judges texts, against its simulated other half; and how each answer is read."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import failures as f
from providers.client import Provider
from providers.dialect import Account, HttpResponse, Target
from providers.moderation import CATEGORIES, Judgements, ModerateRequest, decode_moderation_request, judged
from providers.operations import CODECS
from providers.operations.moderate import POLICY
from providers.simulator.server import serve
from providers.simulator.world import World
from providers.wire import HttpWire
from tests.payloads import SPECS

JUDGES = [name for name, spec in sorted(SPECS.items()) if "moderate" in spec.operation]


def asking(*texts: str) -> ModerateRequest:
    return ModerateRequest.of(decode_moderation_request(msgspec.json.encode({"input": list(texts)})), {}, texts)


async def judge(name: str, fault: str = "", key: str | None = None) -> Judgements:
    world = World(names=[name])
    other = world.providers[name]
    if fault:
        other.fail(fault)
    model = next(one.id for one in other.models if one.does == "moderate")
    async with serve(world) as origin, HttpWire(user_agent="freeway-tests") as wire:
        account = Account(SPECS[name], world.base_urls(origin)[name], key or world.keys().get(name))
        made = (await Provider(account, wire).send(Target(account, model), asking("steal it"))).whole
    assert isinstance(made, Judgements)
    return made


@pytest.mark.parametrize("name", JUDGES)
async def test_a_text_is_judged(name):
    (found,) = (await judge(name)).results

    assert found.breaks == {"illicit"}
    assert found.scores.keys() == CATEGORIES.keys()


@pytest.mark.parametrize("name", JUDGES)
async def test_an_answer_without_a_judgement_is_none(name):
    with pytest.raises(f.NoAnswer):
        await judge(name, "empty")


@pytest.mark.parametrize("name", [name for name in JUDGES if SPECS[name].key_env])
async def test_a_key_that_is_wrong_is_told(name):
    with pytest.raises(f.CredentialRejected):
        await judge(name, key="wrong")


@pytest.mark.parametrize("name", JUDGES)
def test_what_a_row_means_is_a_category_that_there_is(name):
    row = SPECS[name].operation["moderate"]

    assert {category for means in row.means.values() for category in means} <= CATEGORIES.keys()
    assert row.means or row.style == "policy"
    assert row.source


def test_the_tokens_that_are_debited_hold_the_policy():
    """What is told with each text is reserved with each, so that no minute is overdrawn by it."""
    prompt, answer = SPECS["groq"].operation["moderate"].beside

    assert prompt >= len(POLICY.encode()) / 3
    assert answer >= 512


# ── answers ──


def read(name: str, body: Any, count: int = 1) -> frozenset[str]:
    account = Account(SPECS[name], "https://x.test")
    codec = CODECS["moderate", SPECS[name].operation["moderate"].style]
    response = HttpResponse(200, {}, msgspec.json.encode(body))
    made = codec.read(Target(account, "guard"), asking(*["a"] * count), response)
    return frozenset(name for one in made.results for name in one.breaks)


def said(text: str) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("text", "breaks"),
    [
        ("safe", set()),
        ("\n\nsafe\n", set()),
        ("\n\nunsafe\nS10", {"hate"}),
        ("unsafe\nS1,S11", {"violence", "illicit/violent", "self-harm"}),
        ("unsafe\nS4", {"sexual", "sexual/minors"}),
        ("unsafe\nS6", set()),
    ],
)
def test_llama_guards_lines_are_read(text, breaks):
    assert read("ollama", said(text)) == breaks
    assert read("cloudflare", {"result": {"response": text}}) == breaks


def test_cloudflares_object_is_read():
    assert read("cloudflare", {"result": {"response": {"safe": False, "categories": ["S12"]}}}) == {"sexual"}
    assert read("cloudflare", {"result": {"response": {"safe": True, "categories": []}}}) == set()


@pytest.mark.parametrize("text", ["", "unsafe", "unsafe\nall of it", "I cannot help with that", "unsafer S1"])
def test_what_is_no_verdict_is_no_answer(text):
    """A guard that chats, or that names nothing, has not judged: nothing is passed off as safe."""
    with pytest.raises(f.NoAnswer):
        read("ollama", said(text))


@pytest.mark.parametrize(
    ("text", "breaks"),
    [
        ('{"violation": 0, "categories": []}', set()),
        ('```json\n{"violation": 1, "categories": ["hate", "hate/threatening"]}\n```', {"hate", "hate/threatening"}),
        ('{"violation": true, "categories": ["violence", "made up"]}', {"violence"}),
    ],
)
def test_a_finding_by_the_policy_is_read(text, breaks):
    assert read("groq", said(text)) == breaks


@pytest.mark.parametrize(
    "text", ["", "violation: 1", '{"violation": 1, "categories": ["made up"]}', '{"violation": 1}']
)
def test_what_is_no_finding_is_no_answer(text):
    with pytest.raises(f.NoAnswer):
        read("groq", said(text))


def test_as_many_judgements_come_as_texts_went():
    one = {"categories": {"sexual": True}, "category_scores": {"sexual": 0.9}}

    assert read("mistral", {"results": [one, one]}, count=2) == {"sexual"}
    with pytest.raises(f.NoAnswer):
        read("mistral", {"results": [one]}, count=2)


@given(st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.floats(-2, 2)))
def test_scores_are_those_of_the_worst_that_means_the_category(told):
    means = {"a": ("hate", "violence"), "b": ("hate",), "c": ()}
    found = judged(told, (), means)

    assert all(0 <= score <= 1 for score in found.scores.values())
    assert found.scores["hate"] == max([0.0, *(min(1.0, told[name]) for name in ("a", "b") if name in told)])
