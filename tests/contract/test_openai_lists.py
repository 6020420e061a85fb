"""What the lists of OpenAI's family of providers say, from payloads on record."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest

from providers import dialects
from providers import failures as f
from providers.dialect import HttpResponse, Listed, Listing
from tests.payloads import SPECS, account, answer, body


def discovered(provider: str, *pages: HttpResponse | bytes | str, key: str | None = "key") -> tuple[Listing, list[str]]:
    """What *provider*'s discovery makes of these answers, and the addresses that it asked."""
    of = account(provider, key)
    discovery = dialects.by_name(of.spec.dialect).discover(of)
    asked, waiting = [], list(pages)
    try:
        call = next(discovery)
        while True:
            asked.append(call.url.removeprefix(of.base_url))
            page = waiting.pop(0)
            content = (
                page
                if isinstance(page, HttpResponse)
                else HttpResponse(200, {}, body(page) if isinstance(page, str) else page)
            )
            call = discovery.send(content)
    except StopIteration as stop:
        listing: Listing = stop.value
        return listing, asked


def listed(provider: str, *pages: HttpResponse | bytes | str, key: str | None = "key") -> dict[str, Listed]:
    unlisted = SPECS["huggingface"].static_models  # make vectors, and are in no list
    return {one.id: one for one in discovered(provider, *pages, key=key)[0].models if one.id not in unlisted}


def test_openrouter_tells_prices_abilities_and_sizes():
    models = listed("openrouter", "openrouter/openrouter_models.json", key=None)
    free = {
        name for name, m in models.items() if not m.prompt_price and not m.output_price and not m.other_prices
    }  # fmt: skip

    assert len(models) == 10
    assert free == {
        "nvidia/nemotron-3-super-120b-a12b:free",
        "poolside/laguna-s-2.1:free",
        "google/gemma-4-31b-it:free",
        "liquid/lfm-2.5-2.6b:free",
        "qwen/qwen3.8-27b:free",
        "stealth/space-bunny-alpha",
        "openrouter/free",
    }
    assert models["liquid/lfm-2.5-2.6b:free"].capabilities == frozenset()
    assert models["qwen/qwen3.8-27b:free"] == Listed(
        id="qwen/qwen3.8-27b:free",
        operations=frozenset({"chat"}),
        capabilities=frozenset({"tools", "json_object", "json_schema", "reasoning", "vision", "image_url"}),
        context=131072,
        max_output=32768,
        prompt_price=0.0,
        output_price=0.0,
        released="2026-08-06",
        ends_at=datetime(2026, 12, 6, tzinfo=UTC).timestamp(),  # the end of the day that the list names
    )
    assert models["nvidia/nemotron-3-super-120b-a12b"].prompt_price == 1e-7
    assert models["openrouter/auto"].other_prices


@pytest.mark.parametrize(
    "pricing",
    [
        {},
        {"prompt": "0"},
        {"prompt": "0", "completion": "-1"},
        {"prompt": "0", "completion": "0", "request": "0.001"},
        {"prompt": "0", "completion": "0", "image": "0.1"},
        {"prompt": "0", "completion": "0", "something_new": "0.1"},
        {"prompt": "0", "completion": "0", "request": "free"},
        {"prompt": "0", "completion": "0", "overrides": [{"min_prompt_tokens": 200000, "prompt": "0.1"}]},
        {"prompt": None, "completion": "0"},
        {"prompt": "0.0000001", "completion": "0"},
    ],
)
def test_a_model_of_openrouter_with_any_price_or_none_told_is_not_free(pricing: dict[str, Any]):
    page = msgspec.json.encode({"data": [{"id": "acme/m", "pricing": pricing}]})
    model = listed("openrouter", page, key=None)["acme/m"]

    assert model.prompt_price or model.output_price or model.other_prices


def test_conditions_and_discounts_are_no_prices():
    override = {"min_prompt_tokens": 200000, "utc_start": "00:00", "prompt": "0"}
    pricing = {"prompt": "0", "completion": "0", "request": "0", "discount": 0.5, "overrides": [override]}
    page = msgspec.json.encode({"data": [{"id": "acme/m", "pricing": pricing}]})

    assert not listed("openrouter", page, key=None)["acme/m"].other_prices


def test_openrouters_list_is_read_to_its_last_page_and_never_from_another_host():
    def page(name: str, following: Any) -> bytes:
        return msgspec.json.encode({"data": [{"id": name}], "links": {"next": following}})

    relative, asked = discovered(
        "openrouter", page("a", "/api/v1/models?offset=1"), page("b", None), key=None
    )  # fmt: skip
    elsewhere, stayed = discovered("openrouter", page("a", "https://evil.example/models"), key=None)

    assert [model.id for model in relative.models] == ["a", "b"]
    assert asked == ["/models", "/models?offset=1"]
    assert [model.id for model in elsewhere.models] == ["a"]
    assert stayed == ["/models"]


def test_kilos_list_tells_what_is_free_by_its_prices():
    found = listed("kilo", "kilo/kilo_models.json", key=None)

    assert {name for name, m in found.items() if m.prompt_price == m.output_price == 0 and not m.other_prices} == {
        "kilo-auto/free",
        "nvidia/nemotron-3-super-120b-a12b:free",
    }


def test_a_list_that_goes_round_ends():
    page = b'{"data": [{"id": "a"}], "links": {"next": "/api/v1/models?offset=%d"}}'
    listing, asked = discovered("openrouter", *(page % (place % 2) for place in range(40)), key=None)

    assert [model.id for model in listing.models] == ["a"]
    assert len(asked) == 20


def test_openrouters_key_tells_the_days_quota_and_that_it_could_spend():
    listing, asked = discovered("openrouter", "openrouter/openrouter_models.json", "openrouter/openrouter_key.json")
    (observed,) = listing.observed

    assert asked == ["/models", "/key"]
    assert (observed.unit, observed.window, observed.limit, observed.remaining) == ("requests", "day", 50, 38)
    assert any("spending limit" in remark for remark in listing.remarks)
    assert listing.standing.can_pay is False  # it never bought credits


@pytest.mark.parametrize(
    ("told", "can_pay"),
    [
        ({"limit": None, "is_free_tier": False}, True),
        ({"limit": 5, "is_free_tier": False}, True),
        ({"limit": 0.001, "is_free_tier": False}, False),
        ({"limit": 0, "is_free_tier": False}, False),
        ({"limit": True, "is_free_tier": False}, True),
        ({"limit": "much", "is_free_tier": False}, True),
        ({"limit": None, "is_free_tier": True}, False),
        ({"limit": None}, None),
        ({"limit": None, "is_free_tier": "false"}, None),
    ],
)
def test_openrouters_key_tells_whether_money_is_behind_it(told: dict[str, Any], can_pay: bool | None):
    page = msgspec.json.encode({"data": told})
    listing, _ = discovered("openrouter", "openrouter/openrouter_models.json", page)

    assert listing.standing.can_pay is can_pay
    assert any("0.001" in remark for remark in listing.remarks) == (told["limit"] not in (0.001, 0))


def test_an_older_server_tells_no_quota_and_that_the_key_has_spent():
    listing, _ = discovered("openrouter", "openrouter/openrouter_models.json", "openrouter/openrouter_key_old.json")

    assert listing.observed == ()
    assert any("0.002 dollars" in remark for remark in listing.remarks)


def test_more_requests_than_there_are_leave_none():
    key = b'{"data": {"limit": 0.001, "free_model_daily_requests": {"limit": 1000, "remaining": -60, "used": 1060}}}'
    listing, _ = discovered("openrouter", "openrouter/openrouter_models.json", key)

    assert listing.observed[0].remaining == 0
    assert listing.remarks == ()


def test_a_key_that_is_refused_is_told_though_the_list_is_public():
    with pytest.raises(f.CredentialRejected):
        discovered("openrouter", "openrouter/openrouter_models.json", answer("openrouter/openrouter_401.json"))


def test_a_list_stands_where_the_keys_state_cannot_be_had():
    listing, _ = discovered("openrouter", "openrouter/openrouter_models.json", HttpResponse(500, {}, b""))

    assert listing.models
    assert listing.remarks == ("GET /key: HTTP 500",)


def test_hugging_face_pins_the_cheapest_live_provider_with_tools():
    models = listed("huggingface", "huggingface/hf_models.json", key=None)

    assert models.keys() == {
        "openai/gpt-oss-120b:groq",
        "Qwen/Qwen3.8-27B:novita",
        "google/gemma-4-31B-it:scaleway",
        "zai-org/GLM-5.3-Flash:zai-org",
    }
    assert models["openai/gpt-oss-120b:groq"] == Listed(
        id="openai/gpt-oss-120b:groq",
        operations=frozenset({"chat"}),
        capabilities=frozenset({"tools", "json_object", "json_schema"}),
        context=131072,
        prompt_price=cast(Any, pytest.approx(0.15e-6)),
        output_price=cast(Any, pytest.approx(0.6e-6)),
    )
    assert models["Qwen/Qwen3.8-27B:novita"].capabilities == {"tools", "vision"}
    assert models["google/gemma-4-31B-it:scaleway"].prompt_price == 0
    assert models["zai-org/GLM-5.3-Flash:zai-org"].context == 204800


def test_tools_go_before_a_lower_price():
    offers = [
        {"provider": "a", "status": "live", "pricing": {"input": 0.1, "output": 0.1}},
        {"provider": "b", "status": "live", "pricing": {"input": 0.2, "output": 0.2}, "supports_tools": True},
        {"provider": "c", "status": "live", "pricing": {"input": 0.3, "output": 0.3}, "supports_tools": True},
        {"provider": "d", "status": "error", "pricing": {"input": 0.0, "output": 0.0}, "supports_tools": True},
        {"provider": "e", "status": "live", "supports_tools": True},
    ]
    page = msgspec.json.encode({"data": [{"id": "x/y", "providers": offers}]})

    assert listed("huggingface", page, key=None).keys() == {"x/y:b"}


def test_groq_tells_sizes():
    model = listed("groq", "groq/groq_models.json")["openai/gpt-oss-120b"]

    assert (model.context, model.max_output) == (131072, 65536)


def test_an_alias_is_no_model_of_its_own():
    page = msgspec.json.encode({"data": [{"id": "m-2512", "aliases": ["m-latest"]}, {"id": "m-latest"}, {"id": "n"}]})

    assert listed("mistral", page).keys() == {"m-2512", "n"}


def test_mistral_tells_sizes():
    assert listed("mistral", "mistral/mistral_models.json")["ministral-8b-2512"].context == 262144


def test_nvidia_tells_names():
    assert "openai/gpt-oss-20b" in listed("nvidia", "nvidia/nvidia_models.json")


def test_models_that_a_list_leaves_out_are_added_and_where_there_is_no_list_none_is_asked():
    zai, asked = discovered("zai", b'{"data": [{"id": "glm-5"}, {"id": "glm-4.5-flash"}]}')
    cloudflare, nothing = discovered("cloudflare")

    assert [model.id for model in zai.models] == ["glm-5", "glm-4.5-flash", "glm-4.7-flash", "glm-4.6v-flash"]
    assert asked == ["/models"]
    assert nothing == []
    assert "@cf/openai/gpt-oss-20b" in {model.id for model in cloudflare.models}


@pytest.mark.parametrize("provider", ["openrouter", "groq", "nvidia", "huggingface", "mistral"])
@pytest.mark.parametrize("content", [b"<html>", b"[]", b"{}", b'{"data": 7}', b'{"data": ["x"]}'])
def test_what_is_no_list_is_unreachable(provider: str, content: bytes):
    with pytest.raises(f.Unreachable):
        discovered(provider, content, key=None)


@pytest.mark.parametrize("provider", ["openrouter", "groq", "nvidia", "huggingface", "mistral"])
def test_an_entry_without_a_name_does_not_spoil_the_list(provider: str):
    offer = {"provider": "p", "status": "live", "pricing": {"input": 1, "output": 1}}
    page = msgspec.json.encode({"data": [{"id": None}, {"object": "model"}, {"id": "a/b", "providers": [offer]}]})

    assert [name.partition(":")[0] for name in listed(provider, page, key=None)] == ["a/b"]


def test_a_key_never_shows_in_what_is_printed():
    call = dialects.by_name("groq").discover(account("groq", "gsk_secret")).__next__()

    assert "gsk_secret" not in f"{call!r} {account('groq', 'gsk_secret')!r}"
