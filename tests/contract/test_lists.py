"""Model lists are read entry by entry: an odd one costs no other, and nothing odd gets past the reading."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from providers import dialects
from providers import failures as f
from providers.dialect import HttpResponse, Listing
from providers.listing import is_model_id, tokens_of
from tests.payloads import account

GOOD: dict[str, Any] = {
    "groq": {"id": "acme/good", "context_window": 131_072},
    "openrouter": {
        "id": "acme/good:free",
        "context_length": 131_072,
        "pricing": {"prompt": "0", "completion": "0"},
        "supported_parameters": ["tools"],
    },
    "huggingface": {
        "id": "acme/good",
        "providers": [
            {"provider": "here", "status": "live", "context_length": 131_072, "pricing": {"input": 1, "output": 1}}
        ],
    },
    "google": {
        "name": "models/good",
        "inputTokenLimit": 131_072,
        "supportedGenerationMethods": ["generateContent"],
    },
    "ollama": {
        "model": "good:8b",
        "capabilities": ["completion"],
        "details": {"context_length": 131_072},
    },
    "mistral": {"id": "good", "max_context_length": 131_072},
}
NAMED = {"google": "name", "ollama": "model"}
KEY = {"google": "models", "ollama": "models"}


def listing(provider: str, entries: object) -> Listing:
    """What discovery makes of a list of *entries*; whatever else it asks is not found."""
    of = account(provider)
    of = replace(of, spec=replace(of.spec, static_models=()))
    discovery = dialects.by_name(of.spec.dialect).discover(of)
    answer = HttpResponse(200, {}, msgspec.json.encode({KEY.get(provider, "data"): entries}))
    try:
        asked = next(discovery)
        if asked.url.endswith("/api/version"):
            discovery.send(HttpResponse(404, {}, b"{}"))
        while True:
            discovery.send(answer)
            answer = HttpResponse(404, {}, b"{}")
    except StopIteration as stop:
        found: Listing = stop.value
        return found


@pytest.mark.parametrize("provider", list(GOOD))
@pytest.mark.parametrize("odd", [None, 7, "text", [], {}, {"id": None, "name": 5, "model": []}])
def test_an_entry_that_cannot_be_read_is_skipped_and_counted(provider: str, odd: object):
    found = listing(provider, [odd, GOOD[provider], odd])

    assert [model.context for model in found.models] == [131_072]
    assert found.skipped in (2, 0)  # Hugging Face leaves out what nobody serves


@pytest.mark.parametrize("provider", list(GOOD))
@pytest.mark.parametrize("name", ["a\r\nx-api-key: b", "a\x00", "", " a", "a\u2028b", "x" * 500])
def test_a_name_that_is_none_never_becomes_a_model(provider: str, name: str):
    entry = {**GOOD[provider], NAMED.get(provider, "id"): name}
    found = listing(provider, [entry, GOOD[provider]])

    assert len(found.models) == 1
    assert found.skipped == 1


@pytest.mark.parametrize("provider", list(GOOD))
def test_sizes_told_as_text_are_read(provider: str):
    as_text = msgspec.json.decode(msgspec.json.encode(GOOD[provider]).replace(b"131072", b'"131072"'))

    assert [model.context for model in listing(provider, [as_text]).models] == [131_072]


@pytest.mark.parametrize("provider", list(GOOD))
@pytest.mark.parametrize("size", ["lots", -1, 0, 1.5, True, None, [], {}, "1e99", 10**30])
def test_a_size_that_is_none_is_left_out_and_the_model_stays(provider: str, size: object):
    odd = msgspec.json.decode(msgspec.json.encode(GOOD[provider]).replace(b"131072", msgspec.json.encode(size)))

    assert [model.context for model in listing(provider, [odd]).models] == [None]


@pytest.mark.parametrize("provider", list(GOOD))
@pytest.mark.parametrize("entries", [None, 7, "text", {"a": 1}, [None, None]])
def test_what_is_no_list_keeps_the_last_good_one(provider: str, entries: object):
    with pytest.raises(f.Unreachable):
        listing(provider, entries)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("provider", list(GOOD))
@settings(max_examples=40)
@given(data=st.data())
def test_no_value_of_any_field_costs_the_list(provider: str, data: st.DataObject):
    """Whatever stands in one field of one entry, the others are read."""
    field = data.draw(st.sampled_from([name for name in GOOD[provider] if name != NAMED.get(provider, "id")]))
    odd = {**GOOD[provider], NAMED.get(provider, "id"): "models/odd" if provider == "google" else "odd"}
    odd[field] = data.draw(JSON)

    found = listing(provider, [odd, GOOD[provider]])

    assert any(model.context == 131_072 and "good" in model.id for model in found.models)
    for model in found.models:
        assert is_model_id(model.id)
        assert model.context is None or isinstance(model.context, int)


def test_a_key_that_tells_its_use_as_text_costs_nothing():
    """OpenRouter's GET /key: a number sent as text once ended discovery for good."""
    of = account("openrouter")
    discovery = dialects.by_name("openrouter").discover(of)
    told = {"usage": "1.25", "limit": "0.5", "free_model_daily_requests": {"limit": "50", "remaining": "-1"}}
    next(discovery)
    discovery.send(HttpResponse(200, {}, msgspec.json.encode({"data": [GOOD["openrouter"]]})))
    with pytest.raises(StopIteration) as stopped:
        discovery.send(HttpResponse(200, {}, msgspec.json.encode({"data": told})))

    (daily,) = stopped.value.value.observed
    assert (daily.limit, daily.remaining) == (50.0, 0.0)
    assert any("1.25 dollars" in remark for remark in stopped.value.value.remarks)


@given(st.integers(1, 10**9))
def test_a_number_of_tokens_is_one_however_it_is_told(count: int):
    assert tokens_of(count) == tokens_of(str(count)) == tokens_of(float(count)) == count
