"""OpenRouter's routing fields mean what they mean there; a mistake in them is told."""

from __future__ import annotations

import pytest

from gateway.api.auth import ANYBODY
from gateway.api.openai_request import parse
from gateway.api.options import Manner, manner_of
from gateway.settings import Client, Requests
from gateway.words import Ask, BadRequest
from providers.chat import encode

MANNER = Manner(max_wait=30, substitute=False, priority=0, resume=False, trace=False, spares=True)


def parsed(client: Client = ANYBODY, **body) -> Ask:
    body = {"messages": [{"role": "user", "content": "hi"}]} | body
    return parse(encode(body), client, "me", MANNER, 0.0)


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


def test_a_preference_that_means_nothing_here_is_ignored_and_null_is_none():
    odd = {"zzz": 1, "quantizations": ["fp8"], "order": None, "only": None, "sort": None, "allow_fallbacks": None}
    ask = parsed(models=None, provider=odd)

    assert (ask.models, ask.order, ask.only, ask.fallbacks, ask.prefer) == (("auto",), (), (), True, None)


def test_models_follow_the_model():
    assert parsed(model="a", models=["b", "a", "c"]).models == ("a", "b", "c")
    assert parsed(models=["b", "c"]).models == ("b", "c")


@pytest.mark.parametrize(
    ("sort", "prefer"), [("throughput", "speed"), ("latency", "speed"), ("price", None), (None, None)]
)
def test_throughput_and_latency_are_speed_and_all_prices_are_the_same(sort, prefer):
    assert parsed(provider={"sort": sort}).prefer == prefer


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
    ask = parsed(provider=provider)

    assert (ask.only, ask.fallbacks) == (only, fallbacks)


def test_a_clients_key_bounds_what_it_may_ask_for():
    client = Client(name="c", key_sha256="0" * 64, models=("a*",), providers=("groq",), max_wait=5)
    ask = parsed(client)

    assert (ask.allowed_models, ask.allowed_providers) == (("a*",), ("groq",))
    assert manner_of([(b"x-freeway-max-wait", b"60")], Requests(), client).max_wait == 5
    assert manner_of([(b"x-freeway-max-wait", b"2")], Requests(), client).max_wait == 2


@pytest.mark.parametrize(
    ("spare", "priority", "spares"),
    [(True, "normal", True), (True, "low", True), (True, "high", False), (False, "normal", False)],
)
def test_who_goes_before_others_need_not_spare_them(spare, priority, spares):
    client = Client(name="me", key_sha256="0" * 64, priority=priority)

    assert manner_of([], Requests(spare=spare), client).spares == spares
