"""What clients take of their own limits, on every store: exactly, whoever asks at the same time, and kept."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from gateway.quota.clients import Allowance, Allowances, Over, duration
from gateway.quota.ledger import Ledger
from gateway.quota.sqlite import EmbeddedStore
from gateway.settings.clients import Client
from tests.clock import FakeClock
from tests.contract.conftest import emptied
from tests.contract.replicas import Replicas


def client(*limits: str, name: str = "alice") -> Client:
    return Client(name=name, key_sha256="0" * 64, limits=limits)


async def taken(by: Allowances, who: Client, prompt: int = 10, output: int = 10, least: int = 5) -> Allowance | Over:
    try:
        return await by.take(who, prompt, output, least)
    except Over as over:
        return over


async def admitted(by: Allowances, who: Client, calls: int) -> int:
    found = await asyncio.gather(*(taken(by, who) for _ in range(calls)))
    return sum(isinstance(one, Allowance) for one in found)


async def test_of_200_calls_at_once_exactly_as_many_are_let_in_as_the_limit_says(ledger, clock):
    by = Allowances(ledger, clock, "freeway")

    assert await admitted(by, client("20/minute", "500/day"), 200) == 20
    assert await admitted(by, client("20/minute", name="bob"), 200) == 20  # whose limit is another's business
    clock.advance(61)
    assert await admitted(by, client("20/minute", "500/day"), 200) == 20


async def test_two_gateways_hold_a_limit_together_exactly(make_store, clock):
    ledgers = [Ledger(await make_store(), clock) for _ in range(2)]
    both = [Allowances(ledger, clock, "freeway") for ledger in ledgers]
    who = client("37/hour", "100000 tokens/day")

    found = await asyncio.gather(*(admitted(by, who, 200) for by in both))

    assert sum(found) == 37
    assert [round((await by.used(who))[0].used) for by in both] == [37, 37]
    for ledger in ledgers:
        await ledger.aclose()


async def test_what_was_taken_is_known_to_the_next_process_though_the_first_was_killed(make_store, clock):
    killed = Ledger(await make_store(), clock)
    assert await admitted(Allowances(killed, clock, "freeway"), client("20/minute"), 15) == 15

    again = Ledger(await make_store(), clock)
    assert await admitted(Allowances(again, clock, "freeway"), client("20/minute"), 15) == 5
    await again.aclose()
    await killed.aclose()


async def test_a_request_takes_one_exchange_with_the_store_and_its_end_goes_with_another_of_them(make_store, clock):
    store, exchanges = await make_store(), list[int]()
    exchange = store.exchange

    async def counted(entries: Any, asks: Any, *others: Any) -> Any:
        exchanges.append(len(asks))
        return await exchange(entries, asks, *others)

    store.exchange = counted
    ledger = Ledger(store, clock)
    by = Allowances(ledger, clock, "freeway")
    held = [await by.take(client("20/minute", "500/day", "9000 tokens/day"), 10, 10, 5) for _ in range(3)]
    assert exchanges == [1, 1, 1]

    for one in held:
        one.settle(5, 5)
    await ledger.flush()
    assert len(exchanges) <= 5
    await ledger.aclose()


@pytest.mark.engine
@pytest.mark.parametrize("limit", ["20/minute", "20/2 minute"])
async def test_while_redis_is_away_each_gateway_has_its_part_also_of_a_client_that_it_never_served(redis_server, limit):
    await (await emptied(redis_server.url)).aclose()
    async with Replicas(redis_server.url, 2) as replicas:
        who = client(limit)
        both = [Allowances(ledger, replicas.clock, "freeway") for ledger in replicas.ledgers]
        for one, ledger in zip(both, replicas.ledgers, strict=True):
            one.clients = lambda: [who]
            ledger._journal._buckets = one.buckets
        assert await admitted(both[0], who, 6) == 6
        await replicas.look()
        for line in replicas.lines:
            line.cut = True

        found = [await admitted(one, who, 30) for one in both]
        assert sum(found) == 14
        over = await taken(both[1], who)
        assert isinstance(over, Over)
        assert over.uncounted or 0 < over.opens_in < 121

        for line in replicas.lines:
            line.cut = False
        await replicas.look()
        assert [round((await one.used(who))[0].used) for one in both] == [20, 20]


@pytest.mark.parametrize("limit", ["3/minute", "3/hour", "3/day", "3/2 day", "60 tokens/minute"])
async def test_it_is_told_truly_when_there_is_room_again(ledger, clock, limit):
    by, who = Allowances(ledger, clock, "freeway"), client(limit)
    for _ in range(3):
        await by.take(who, 10, 10, 5)
        clock.advance(0.5)

    over = await taken(by, who)
    assert isinstance(over, Over)
    assert 0 < over.opens_in < math.inf
    clock.advance(over.opens_in - 0.01)
    assert isinstance(await taken(by, who), Over)
    clock.advance(0.02)
    assert isinstance(await taken(by, who), Allowance)


async def test_tokens_are_debited_by_estimate_and_settled_with_what_was_used(ledger, clock):
    by, who = Allowances(ledger, clock, "freeway"), client("100 tokens/day")
    first = await by.take(who, 30, 40, 10)
    assert [one.used for one in await by.used(who)] == [70]
    over = await taken(by, who, 30, 40)
    assert isinstance(over, Over)

    first.settle(5, 6)
    assert [one.used for one in await by.used(who)] == [11]
    second = await by.take(who, 30, 40, 10)
    second.keep()
    assert [one.used for one in await by.used(who)] == [81]


async def test_what_came_to_nothing_is_given_back(ledger, clock):
    by, who = Allowances(ledger, clock, "freeway"), client("1/day", "100 tokens/day")

    (await by.take(who, 30, 40, 10)).give_back()

    assert [one.used for one in await by.used(who)] == [0, 0]


async def test_an_estimate_is_cut_to_the_limit_and_what_surely_outgrows_it_is_told_so(ledger, clock):
    by, who = Allowances(ledger, clock, "freeway"), client("100 tokens/day")

    over = await taken(by, who, 200, 1024, least=120)
    assert isinstance(over, Over)
    assert over.opens_in == math.inf
    (await by.take(who, 200, 1024, 90)).settle(60, 10)
    assert [one.remaining for one in await by.used(who)] == [30]


async def test_headers_tell_of_requests_and_of_tokens_what_is_left_of_the_tightest_limit(ledger, clock):
    by, who = Allowances(ledger, clock, "freeway"), client("20/minute", "3/day", "1000 tokens/hour")

    headers = (await by.take(who, 30, 40, 10)).headers

    day = 86_400 - clock.now() % 86_400
    assert headers["x-ratelimit-limit-requests"] == "3"
    assert headers["x-ratelimit-remaining-requests"] == "2"
    assert headers["x-ratelimit-reset-requests"] == duration(day)
    assert headers["x-ratelimit-limit-tokens"] == "1000"
    assert headers["x-ratelimit-remaining-tokens"] == "930"


async def test_a_limit_that_is_changed_counts_what_was_taken_before(ledger, clock):
    by = Allowances(ledger, clock, "freeway")
    await admitted(by, client("20/minute"), 10)

    assert await admitted(by, client("12/minute"), 10) == 2


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0s"), (0.0123, "13ms"), (1, "1s"), (59.2, "1m0s"), (360, "6m0s"), (3600, "1h0m0s"), (12345, "3h25m45s")],
)
def test_durations_are_written_as_openai_writes_them(seconds, said):
    assert duration(seconds) == said


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 40), st.integers(1, 4)), max_size=40), st.integers(1, 6))
def test_in_no_minute_are_there_more_than_the_limit_allows(steps, most):
    async def run() -> None:
        clock = FakeClock()
        ledger = Ledger(EmbeddedStore(None), clock)
        by, who, at = Allowances(ledger, clock, "freeway"), client(f"{most}/minute"), list[float]()
        for pause, calls in steps:
            clock.advance(pause)
            at += [clock.now()] * await admitted(by, who, calls)
        for begin in at:
            assert sum(begin <= moment < begin + 60 for moment in at) <= most
        await ledger.aclose()

    asyncio.run(run())
