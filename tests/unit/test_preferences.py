"""OpenRouter's routing fields mean what they mean there; a mistake in them is told."""

from __future__ import annotations

import pytest

from gateway.api.auth import ANYBODY
from gateway.api.openai_chat import parse
from gateway.api.options import Options, options_of
from gateway.settings import Client, Requests
from gateway.words import BadRequest, Call
from providers.chat import encode

DEFAULTS = Requests()


def options(client: Client, *headers: tuple[bytes, bytes]) -> Options:
    return options_of(headers, DEFAULTS, client, "me", "r", 0.0)


def parsed(client: Client = ANYBODY, **body) -> Call:
    body = {"messages": [{"role": "user", "content": "hi"}]} | body
    return parse(encode(body), options(client))


@pytest.mark.parametrize(
    ("provider", "param"),
    [
        ({"order": "groq"}, "provider.order"),
        ({"only": [1]}, "provider.only[0]"),
        ({"allow_fallbacks": "no"}, "provider.allow_fallbacks"),
        ({"require_parameters": 1}, "provider.require_parameters"),
        ({"data_collection": "dney"}, "provider.data_collection"),
        ({"sort": "cheapest"}, "provider.sort"),
        ({"order": ["groq"], "only": ["google"], "allow_fallbacks": False}, "provider.order"),
        (["groq"], "provider"),
    ],
)
def test_a_preference_of_the_wrong_type_is_told_with_its_name(provider, param):
    with pytest.raises(BadRequest) as caught:
        parsed(provider=provider)

    assert caught.value.param == param


def test_a_preference_of_openrouter_that_means_nothing_here_is_ignored_and_null_is_none():
    odd = {
        "max_price": {"prompt": 0},
        "quantizations": ["fp8"],
        "order": None,
        "only": None,
        "sort": None,
        "allow_fallbacks": None,
    }
    wants = parsed(models=None, provider=odd).wants

    assert (wants.models, wants.order, wants.only, wants.fallbacks, wants.prefer) == (("auto",), (), (), True, None)


@pytest.mark.parametrize(
    ("slip", "meant"), [("data_colection", "'data_collection'"), ("ordr", "'order'"), ("zzzz", "there are order, only")]
)
def test_a_preference_that_nobody_knows_is_a_slip_that_is_told(slip: str, meant: str):
    """Else a request that must not be trained on would be, for the want of a letter."""
    with pytest.raises(BadRequest, match=meant) as told:
        parsed(provider={slip: "deny", "sort": {"by": "price"}})
    assert told.value.param == f"provider.{slip}"


def test_models_follow_the_model():
    assert parsed(model="a", models=["b", "a", "c"]).wants.models == ("a", "b", "c")
    assert parsed(models=["b", "c"]).wants.models == ("b", "c")


@pytest.mark.parametrize(
    ("sort", "prefer"), [("throughput", "speed"), ("latency", "speed"), ("price", None), (None, None)]
)
def test_throughput_and_latency_are_speed_and_all_prices_are_the_same(sort, prefer):
    assert parsed(provider={"sort": sort}).wants.prefer == prefer


@pytest.mark.parametrize(
    ("provider", "only", "fallbacks"),
    [
        ({"order": ["b", "a"]}, (), True),
        ({"order": ["b", "a"], "allow_fallbacks": False}, ("b", "a"), True),
        ({"order": ["b", "a"], "only": ["a", "c"], "allow_fallbacks": False}, ("a",), True),
        ({"only": ["a", "c"], "allow_fallbacks": False}, ("a", "c"), False),
        ({"allow_fallbacks": False}, (), False),
    ],
)
def test_without_fallbacks_it_is_those_in_order_or_one_try(provider, only, fallbacks):
    wants = parsed(provider=provider).wants

    assert (wants.only, wants.fallbacks) == (only, fallbacks)


def test_a_clients_key_bounds_what_it_may_ask_for():
    client = Client(name="c", key_sha256="0" * 64, models=("a*",), providers=("groq",), max_wait=5)
    wants = parsed(client).wants

    assert (wants.allowed_models, wants.allowed_providers) == (("a*",), ("groq",))
    assert options(client, (b"x-freeway-max-wait", b"60")).deadline == 5
    assert options(client, (b"x-freeway-max-wait", b"2")).deadline == 2


@pytest.mark.parametrize(
    ("allowed", "header", "waits"),
    [
        ({}, None, 30),
        ({}, b"7200", 3600),
        ({"wait": 600}, None, 600),
        ({"wait": 600}, b"7200", 3600),
        ({"wait": 7200}, None, 7200),
        ({"wait": 7200}, b"9000", 7200),
        ({"max_wait": 5}, None, 5),
        ({"max_wait": 86_400}, None, 30),
        ({"max_wait": 86_400}, b"50000", 50_000),
        ({"wait": 600, "max_wait": 7200}, b"9000", 7200),
        ({"wait": 600, "max_wait": 7200}, b"2", 2),
    ],
)
def test_a_client_waits_as_long_as_it_says_else_as_its_key_says_and_never_longer_than_that_allows(
    allowed, header, waits
):
    client = Client(name="c", key_sha256="0" * 64, **allowed)
    found = options(client, *([(b"x-freeway-max-wait", header)] if header else []))

    assert found.deadline == waits
    assert found.says_wait == (header is not None or "wait" in allowed)
