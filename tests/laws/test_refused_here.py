"""A 400 that one source means and another would not is that source's alone."""

from __future__ import annotations

import pytest

from tests.laws.sources import Said, Scene, Source, error

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
