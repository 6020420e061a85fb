"""A share of scarce quotas: beyond it a client yields to others where others ask, and is refused nothing else."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace

from gateway.api.options import options_of
from gateway.api.shares import ASKS, Shares
from gateway.quota.buckets import Bucket
from gateway.request.ticket import Ticket
from gateway.routing.rank import Bid, score
from gateway.settings import Requests
from gateway.settings.clients import PRIORITIES, Client
from gateway.words import Candidate
from providers.simulator.world import World
from tests.clock import FakeClock
from tests.deployments import deployment
from tests.simulation.flowing import Caller
from tests.simulation.inside import Inside

MODEL = "groq/openai/gpt-oss-120b"
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}


class Known(Struct):
    today: dict[str, dict[tuple[str, str], tuple[float, float]]] = {}
    seen: dict[str, float] = {}


def agent(share: float | None = 0.5, **fields: Any) -> Client:
    return Client(name="agent", key_sha256=sha256(b"agent").hexdigest(), share=share, **fields)


@pytest.fixture
async def inside(tmp_path, clock: FakeClock) -> Inside:
    file = tmp_path / "own.toml"
    rows = [("agent", "share = 0.02"), ("house", ""), ("other", "")]
    file.write_text(
        "\n".join(
            f'[[client]]\nname = "{n}"\nkey_sha256 = "{sha256(n.encode()).hexdigest()}"\n{row}' for n, row in rows
        )
    )
    made = Inside(World(clock, names=["groq"]), clock, tmp_path, FREEWAY_CONFIG=str(file))
    await made.look("groq")
    return made


def shares(inside: Inside, known: Known) -> Shares:
    return Shares(known, inside.engine.view.catalog, inside.ledger, inside.clock)


def headers(name: str, wait: str) -> dict[str, Any]:
    return {"authorization": f"Bearer {name}", "x-freeway-max-wait": wait}


NAME = "groq/gpt-oss-120b"


def used(requests: float, tokens: float = 0.0, who: str = "agent") -> dict[str, Any]:
    return {who: {("groq", "gpt-oss-120b"): (requests, tokens)}}


async def test_a_share_is_of_what_a_model_gives_a_day_and_counts_only_while_others_ask(inside, clock):
    known = Known()
    by = shares(inside, known)
    a_day = {unit: bucket.limit for unit, bucket in by.a_day()[NAME].items()}
    known.today = used(a_day["requests"] / 2)
    assert not by.over(agent(), 0.5)  # nobody else asks

    known.seen["house"] = clock.now()
    assert by.over(agent(), 0.5) == {NAME}
    assert not by.over(agent(), 0.6)
    known.today = used(0, a_day["tokens"] / 2)
    assert by.over(agent(), 0.5) == {NAME}

    clock.advance(ASKS)
    assert not by.over(agent(), 0.5)


async def test_of_an_account_whose_models_share_a_day_a_share_is_of_all_of_them(tmp_path, clock):
    inside = Inside(World(clock, names=["openrouter"]), clock, tmp_path)
    await inside.look("openrouter")
    known = Known(
        {"agent": {("openrouter", "a"): (13.0, 0.0), ("openrouter", "b"): (12.0, 0.0)}}, {"house": clock.now()}
    )
    by = shares(inside, known)
    a_day = by.a_day()["openrouter"]["requests"].limit

    assert by.over(agent(), 25 / a_day) == {"openrouter"}
    assert not by.over(agent(), 26 / a_day)


async def test_its_own_requests_are_no_others(inside, clock):
    known = Known(today=used(1e9), seen={"agent": clock.now()})

    assert not shares(inside, known).over(agent(), 0.5)


@pytest.mark.parametrize(("priority", "goes"), [("high", -1), ("normal", -1), ("low", -3)])
async def test_beyond_its_share_it_goes_behind_all_of_normal_priority(inside, clock, priority, goes):
    known = Known(today=used(1e9), seen={"house": clock.now()})
    client = agent(priority=priority)
    said = options_of([(b"x-freeway-priority", b"high")], Requests(), client, "agent", "r", clock.now())

    applied = shares(inside, known).applied(said)

    assert (applied.priority, applied.sparing) == (goes, {NAME})
    assert applied.priority < PRIORITIES["normal"]
    assert replace(applied, priority=said.priority, sparing=frozenset()) == said
    without = replace(said, client=replace(client, share=None))
    assert shares(inside, known).applied(without) is without


def test_what_is_scarce_is_worth_less_beyond_a_share_and_nothing_else_is():
    def giving(a_day: float) -> Candidate:
        bucket = Bucket(key="k", unit="requests", limit=a_day, window="rolling", period=86_400, window_name="day")
        return Candidate(replace(deployment("groq/m"), buckets=(bucket,)), 1.0, (0, 0))

    def loses(candidate: Candidate, *sparing: str) -> float:
        return score(candidate, 0.0, 1.0, Bid()) - score(candidate, 0.0, 1.0, Bid(sparing=frozenset(sparing)))

    assert loses(giving(25), "groq/m") == loses(giving(25), "groq") > 0.3
    assert loses(giving(14_400), "groq/m") < 0.01
    assert loses(giving(25), "google", "groq/n") == 0


async def test_where_requests_wait_others_go_before_a_client_that_is_beyond_its_share(inside, clock, monkeypatch):
    caller, queue, tried, done = Caller(inside), inside.engine.queue, list[str](), inside.engine.queue.done

    def told(ticket: Ticket, *, through: bool) -> None:
        tried.append(ticket.client)
        done(ticket, through=through)

    async def ask(name: str, wait: str) -> None:
        heard = await caller.ask(ASK, **headers(name, wait))
        assert heard.status == 200, heard.body

    await ask("house", "0")  # who asks, too
    for _ in range(29):
        await ask("agent", "0")
    assert inside.shares.over(agent(), 0.02) == {NAME}

    waiting = [asyncio.create_task(ask(name, "300")) for name in ("agent", "agent", "house", "other")]
    for _ in range(200):
        await asyncio.sleep(0)
    assert queue.waiting == 4
    monkeypatch.setattr(queue, "done", told)
    clock.advance(15)  # after which each looks again, one after the other
    for _ in range(200):
        await asyncio.sleep(0)
    assert tried[:4] == ["house", "other", "agent", "agent"]

    while not all(task.done() for task in waiting):  # and none is refused for it
        clock.advance(1)
        for _ in range(50):
            await asyncio.sleep(0)
    await asyncio.gather(*waiting)


async def test_where_nobody_else_asks_it_may_take_all_there_is(inside, clock):
    caller = Caller(inside)

    statuses = [(await caller.ask(ASK, **headers("agent", "0"))).status for _ in range(30)]

    assert statuses == [200] * 30
