"""A list with prices of its own spelling is data: a model is proved to be free by what stands there now, and by nothing less."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.proof import prove
from providers import dialects
from providers.dialect import HttpResponse, Listed
from providers.listing import priced
from providers.spec import ListPrices
from tests.payloads import SPECS, account

NOVITA = SPECS["novita"]
FREE = {
    "id": "inclusionai/ling-3.0-flash-fin", "object": "model", "created": 1789000000, "title": "Ling 3.0 Flash Fin",
    "input_token_price_per_m": 0, "output_token_price_per_m": 0, "context_size": 262144, "max_output_tokens": 32768,
    "pricing": {"prompt": {"price_per_m": 0}, "completion": {"price_per_m": 0}},
}  # fmt: skip


def listed(**changed: Any) -> Listed | None:
    """What Novita's list makes of a model, beside one that is sound."""
    entry = {name: value for name, value in {**FREE, **changed}.items() if value is not ...}
    content = msgspec.json.encode({"data": [{**FREE, "id": "inclusionai/ling-other"}, entry]})
    found, _ = dialects.by_name(NOVITA.dialect).list_models(account("novita"), HttpResponse(200, {}, content))  # type: ignore[attr-defined]
    return next((model for model in found if model.id == entry["id"]), None)


def is_free(**changed: Any) -> bool:
    model = listed(**changed)
    return model is not None and prove(NOVITA, model, 0.0, 7200.0) is not None


def test_what_is_priced_at_zero_is_free_and_its_sizes_are_read():
    assert is_free()
    assert is_free(input_token_price_per_m="0", output_token_price_per_m="0.0")
    model = listed()
    assert model is not None
    assert (model.context, model.max_output) == (262_144, 32_768)


@pytest.mark.parametrize("price", [1, "1", 0.1, "0.0000001", -1, "-1", True, False, None, "", "free", [], {}, ...])
@pytest.mark.parametrize("field", ["input_token_price_per_m", "output_token_price_per_m"])
def test_anything_but_a_zero_in_either_place_is_no_proof(field: str, price: Any):
    assert not is_free(**{field: price})


@pytest.mark.parametrize(
    "more",
    [
        {"pricing": {"prompt": {"price_per_m": 0}, "input_cache_read": {"price_per_m": 2}}},
        {"request_price": "0.01"},
        {"tiers": [{"from": 0, "price": 0}, {"from": 32_768, "price": 5}]},
        {"image_price": -1},
    ],
)
def test_another_price_beside_two_zeros_is_a_price(more: dict[str, Any]):
    assert not is_free(**more)


def test_only_models_that_were_looked_at_are_free_whatever_their_price():
    assert not is_free(id="acme/embeds-for-nothing")


def test_a_price_is_told_in_dollars_for_a_token():
    model = listed(input_token_price_per_m=3900, output_token_price_per_m=3900)
    assert model is not None
    assert model.prompt_price == pytest.approx(0.39 / 1e6)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_whatever_a_list_holds_there_a_price_is_a_number_or_none(found: Any):
    model = priced(Listed(id="m"), {"id": "m", "a": found, "b": {"c": found}}, ListPrices(prompt="a", output="b.c"))

    assert model.prompt_price is None or model.prompt_price >= 0
    assert model.prompt_price == model.output_price
