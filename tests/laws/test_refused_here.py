"""A 400 that one source means and another would not is that source's alone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.laws.sources import Said, Scene, Source, completion, error, router

A_SAYS = "temperature must be between 0 and 1"
B_SAYS = "temperature: Input should be less than or equal to 1"


def refusing(name: str, sentence: str) -> Source:
    """A source that takes no such temperature."""
    said = Said(400, error(sentence, type="invalid_request_error", param="temperature"), counted=False)
    return Source(name=name, rule=lambda body: said if body.get("temperature", 0) > 1 else None)


def in_order(*names: str) -> dict[str, object]:
    return {"temperature": 1.7, "provider": {"order": list(names)}}


@pytest.mark.parametrize("refuse", [1, 2])
async def test_a_request_that_some_sources_refuse_is_served_by_the_next(tmp_path, refuse):
    sources = [refusing("a", A_SAYS), refusing("b", B_SAYS)][:refuse]
    scene = await Scene(tmp_path, *sources, Source(name="c")).open()

    told = await scene.one(**in_order("a", "b", "c"))

    assert told.status == 200, told
    assert told.heard.headers["x-freeway-provider"] == "c"
    assert [len(source.calls) for source in sources] == [1] * refuse


async def test_it_is_told_when_two_providers_have_refused_it_in_an_upstreams_own_words(tmp_path):
    a, b = refusing("a", A_SAYS), refusing("b", B_SAYS)
    scene = await Scene(tmp_path, a, b).open()

    told = await scene.one(**in_order("a", "b"))

    assert (len(a.calls), len(b.calls)) == (1, 1)
    assert told.status == 400, told
    assert A_SAYS in told.heard.body.decode() or B_SAYS in told.heard.body.decode()


async def test_a_refused_request_cools_no_deployment(tmp_path):
    """The next request, without what was refused, goes to the same source at once."""
    a = refusing("a", A_SAYS)
    scene = await Scene(tmp_path, a, Source(name="b")).open()
    await scene.one(**in_order("a", "b"))

    told = await scene.one(wait=0, provider={"order": ["a", "b"]})

    assert (told.status, told.heard.headers["x-freeway-provider"]) == (200, "a")


TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


def choosy(name: str, field: str, **told: str) -> Source:
    """A source that refuses a request with *field*, and does not say what it does not take."""
    said = Said(400, error("Provider returned error", type="invalid_request_error", **told), counted=False)
    return Source(name=name, rule=lambda body: said if field in body else None)


async def test_the_one_thing_that_a_second_provider_took_is_learned_of_the_first(tmp_path):
    a = choosy("a", "tools")
    scene = await Scene(tmp_path, a, Source(name="b")).open()
    order = {"provider": {"order": ["a", "b"]}}

    first = await scene.one(tools=[TOOL], **order)
    again = await scene.one(tools=[TOOL], **order)
    plain = await scene.one(**order)

    providers = [told.heard.headers["x-freeway-provider"] for told in (first, again, plain)]
    assert providers == ["b", "b", "a"]
    assert len(a.calls) == 2  # the first, and the one without tools


async def test_what_openrouter_cannot_route_is_learned_from_who_serves_it(tmp_path, store):
    """It says that no endpoint takes the parameters, and not which."""
    said = Said(404, error("No endpoints found that can handle the requested parameters.", code=404), counted=False)
    routes = router(lambda body: said if "tools" in body else None, supported_parameters=["tools"])
    scene = await Scene(tmp_path, routes, Source(name="b"), store=store).open()
    order = {"tools": [TOOL], "provider": {"order": ["router", "b"]}}

    answers = [await scene.one(**order) for _ in range(3)]

    assert [told.heard.headers["x-freeway-provider"] for told in answers] == ["b"] * 3
    assert len(routes.calls) == 1
    await scene.close()


@pytest.mark.parametrize(
    ("told", "temperature", "learns"),
    [
        ({}, 0.5, True),
        ({}, 1.7, False),
        ({"param": "tools"}, 1.7, True),
        ({"param": "temperature"}, 1.7, False),
    ],
    ids=["a value that every source takes", "a value that may be refused", "named", "a value that was named"],
)
async def test_a_value_that_may_be_what_was_refused_is_suspected_first(tmp_path, store, told, temperature, learns):
    a = choosy("a", "tools", **told)
    scene = await Scene(tmp_path, a, Source(name="b"), store=store).open()
    more = {"tools": [TOOL], "temperature": temperature, "provider": {"order": ["a", "b"]}}

    await scene.one(**more)
    await scene.one(**more)

    assert len(a.calls) == (1 if learns else 2)
    await scene.close()


def obliging(body: dict[str, Any], refuses: Said | None = None) -> Said | None:
    """It takes whatever it is asked, but for tools with JSON if it *refuses* that."""
    if "response_format" not in body:
        return None
    return refuses if refuses and "tools" in body else Said(200, completion(body, '{"a": 1}'))


@pytest.mark.parametrize("status", [400, 415, 422])
async def test_of_several_things_it_is_learned_that_they_are_not_taken_together(tmp_path, store, status):
    said = Said(status, error("Provider returned error"), counted=False)
    a, b = Source(name="a", rule=lambda body: obliging(body, said)), Source(name="b", rule=obliging)
    scene = await Scene(tmp_path, a, b, store=store).open()
    order = {"provider": {"order": ["a", "b"]}}
    both = {"tools": [TOOL], "response_format": {"type": "json_object"}}

    told = [await scene.one(**both, **order) for _ in range(3)]
    alone = [await scene.one(**{name: value}, **order) for name, value in both.items()]

    assert [one.heard.headers["x-freeway-provider"] for one in told] == ["b", "b", "b"]
    assert [one.heard.headers["x-freeway-provider"] for one in alone] == ["a", "a"]
    assert len(a.calls) == 3  # one that was refused, and the two that each want one of them
    await scene.close()


async def test_it_is_told_in_words_what_is_not_taken_together(tmp_path):
    said = Said(400, error("Provider returned error"), counted=False)
    a, b = Source(name="a", rule=lambda body: obliging(body, said)), Source(name="b", rule=obliging)
    scene = await Scene(tmp_path, a, b).open()
    both = {"tools": [TOOL], "response_format": {"type": "json_object"}}
    await scene.one(**both, provider={"order": ["a", "b"]})

    told = await scene.one(**both, provider={"only": ["a"]})

    assert (told.status, len(a.calls)) == (400, 1)
    assert "does not take json_object and tools in one request" in told.heard.body.decode()


async def test_nothing_is_learned_from_a_request_that_everybody_refuses(tmp_path):
    a, b = choosy("a", "tools"), choosy("b", "tools")
    scene = await Scene(tmp_path, a, b).open()

    await scene.one(tools=[TOOL])
    heard = await scene.one(tools=[TOOL])

    assert (len(a.calls), len(b.calls)) == (2, 2)
    assert heard.status == 400


# ── longer than the context ──


def forgetful(name: str, tokens: int) -> Source:
    """A source whose model holds fewer tokens than anybody knows."""
    words = f"This model's maximum context length is {tokens} tokens. However, your messages are longer."
    said = Said(400, error(words, code="context_length_exceeded"), counted=False)
    return Source(name=name, rule=lambda body: said if len(str(body["messages"])) > 3 * tokens else None)


async def test_a_context_that_its_source_states_is_known_from_then_on(tmp_path):
    a = forgetful("a", 2048)
    scene = await Scene(tmp_path, a, Source(name="b")).open()
    long, order = "word " * 4000, {"provider": {"order": ["a", "b"]}}

    first = await scene.one(long, **order)
    again = await scene.one(long, **order)
    short = await scene.one("hi", **order)

    assert [told.heard.headers["x-freeway-provider"] for told in (first, again, short)] == ["b", "b", "a"]
    assert len(a.calls) == 2


async def test_a_conversation_that_is_too_long_for_all_is_told_in_the_words_that_programs_match(tmp_path):
    scene = await Scene(tmp_path, forgetful("a", 2048), forgetful("b", 4096)).open()

    for _ in range(2):  # found out, and then known
        told = await scene.one("word " * 4000)

        assert told.status == 400
        body = told.heard.body.decode()
        assert "maximum context length is 4096 tokens" in body, body
        assert "reduce the length of the messages" in body
        assert '"code":"context_length_exceeded"' in body
        assert '"param":"messages"' in body


@pytest.mark.parametrize(("turns", "code"), [(1, "unsupported"), (30, "context_length_exceeded")])
async def test_a_conversation_beyond_every_quota_is_too_long_and_one_question_is_not(tmp_path, turns, code):
    quota = '[{ limit = "8000/minute", unit = "tokens", window = "refill", keeps_output = true }]'
    scene = await Scene(tmp_path, Source(name="a", quota=quota)).open()
    messages = [{"role": "user", "content": "word " * (48_000 // turns)}] * turns

    told = await scene.one(messages=messages, max_tokens=32_000)

    assert (told.status, f'"code":"{code}"' in told.heard.body.decode()) == (400, True), told
