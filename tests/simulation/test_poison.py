"""A request that breaks whoever answers it is stopped, and shuts no source for others."""

from __future__ import annotations

import pytest

from gateway.request.poison import is_poisonous, looks_poisoned
from providers import failures as f
from providers.streaming import unreadable
from tests.simulation.test_failures import Bench, opened

__all__ = ["opened"]  # a fixture

THREE = ("groq", "openrouter", "nvidia")


def cooling(bench: Bench) -> list[str]:
    engine = bench.gateway.engine
    return [d.name for d in engine.view.catalog.deployments() if engine.view.health.blocked(d.name, bench.clock())]


@pytest.mark.parametrize(("fault", "stream"), [("html", False), ("bad_json", False), ("bad_json", True)])
async def test_a_request_that_breaks_two_that_are_well_is_stopped_and_cools_nobody(opened, fault, stream):
    bench = await opened(*THREE)
    bench.recover()
    for name in THREE:
        bench.world.providers[name].fail(fault, times=9)

    heard = await bench.ask(stream=stream)

    assert heard.status == 400
    assert b"this request seems to break those that answer it" in heard.body
    assert bench.calls() == 2
    assert cooling(bench) == []


async def test_where_nothing_shows_that_they_were_well_it_is_their_trouble(opened):
    bench = await opened(*THREE)
    bench.recover()
    bench.clock.advance(61)
    for name in THREE:
        bench.world.providers[name].fail("html", times=9)

    heard = await bench.ask()

    assert heard.status == 503
    assert bench.calls() > 2
    assert cooling(bench)


@pytest.mark.parametrize("fault", ["busy", "rate_limited:minute"])
async def test_limits_overload_and_silence_are_never_the_requests_doing(opened, fault):
    bench = await opened(*THREE)
    bench.recover()
    for name in THREE[:2]:
        for _ in range(9):
            bench.world.providers[name].fail(fault)

    heard = await bench.ask()

    assert heard.status != 400


def failed(kind: type[f.ProviderFailure], status: int | None, reached: f.Reached) -> f.ProviderFailure:
    failure = kind("", status=status)
    failure.reached = reached
    return failure


def test_what_may_be_a_requests_doing():
    assert looks_poisoned(failed(f.Unreachable, 500, "refused"))
    assert looks_poisoned(failed(f.Unreachable, 502, "refused"))
    assert looks_poisoned(unreadable(ValueError("no JSON")))
    assert not looks_poisoned(failed(f.Unreachable, None, "unsent"))
    assert not looks_poisoned(failed(f.Unreachable, None, "accepted"))
    assert not looks_poisoned(failed(f.Unreachable, 408, "refused"))
    assert not looks_poisoned(failed(f.Busy, 503, "refused"))
    assert not looks_poisoned(failed(f.RateLimited, 429, "refused"))


def test_it_takes_two_providers():
    assert not is_poisonous([])
    assert not is_poisonous(["groq", "groq"])
    assert is_poisonous(["groq", "nvidia"])
