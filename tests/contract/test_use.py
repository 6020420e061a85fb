"""What clients used: of all gateways of one state, by client, provider, model and day, for 90 days."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.events import Ended
from gateway.observe.use import KEPT, Use
from gateway.state.redis import RedisState
from gateway.state.sqlite import SqliteState
from gateway.state.store import StateBackend, StateStore
from providers.chat import Usage
from tests.clock import FakeClock

DAY = 86_400


def ended(client: str = "alice", deployment: str | None = "groq/gpt", *, tokens: int = 5, **fields: Any) -> Ended:
    known: dict[str, Any] = {
        "request": "r", "asked": "made-up-by-a-caller", "outcome": "served", "status": 200, "attempts": 1,
        "model": None if deployment is None else "gpt-oss", "first_content": 0.1, "took": 1.0, "saved": 0.25,
        "usage": Usage(prompt_tokens=tokens, completion_tokens=2 * tokens),
    }  # fmt: skip
    return Ended(**(known | {"client": client, "deployment": deployment} | fields))


FAILED: dict[str, Any] = {"deployment": None, "outcome": "no_capacity", "status": 429, "usage": None, "saved": 0.0}


@pytest.fixture(params=["embedded", pytest.param("redis", marks=pytest.mark.engine)])
async def replicas(request, tmp_path, clock: FakeClock):
    """Two gateways."""
    if request.param == "embedded":
        made: list[StateBackend] = [SqliteState(tmp_path / "state.sqlite", clock) for _ in range(2)]
    else:
        url = request.getfixturevalue("redis_server").url
        made = [RedisState(Redis.from_url(url)) for _ in range(2)]
        client = Redis.from_url(url)
        await client.flushall()
        await client.aclose()
    yield [(StateStore(backend, clock), clock) for backend in made]
    for backend in made:
        await backend.aclose()


async def test_what_all_gateways_served_is_added_up_by_each_of_the_names(replicas):
    (one_state, clock), (other_state, _) = replicas
    one, other = Use(one_state, clock), Use(other_state, clock)
    one(ended())
    one(ended("bob", "google/gemini", tokens=7, model="gemini"))
    one(ended(**FAILED))
    one(ended("?", **(FAILED | {"status": 401})))  # nobody's
    clock.advance(DAY)
    other(ended())
    other(ended("bob", "groq/gpt", outcome="left", status=499, usage=None))
    await one_state.exchange()

    def told(rows) -> dict[str, tuple[int, int, int, int]]:
        return {row.name: (row.requests, row.failed, row.prompt_tokens, row.output_tokens) for row in rows}

    assert told(await other.rows("client", 2)) == {"alice": (3, 1, 10, 20), "bob": (2, 0, 7, 14)}
    assert told(await other.rows("model", 2)) == {"gpt-oss": (3, 0, 10, 20), "gemini": (1, 0, 7, 14), "": (1, 1, 0, 0)}
    assert told(await other.rows("provider", 2)) == {"groq": (3, 0, 10, 20), "google": (1, 0, 7, 14), "": (1, 1, 0, 0)}
    days = await other.rows("day", 2)
    assert [(row.requests, round(row.saved, 2)) for row in days] == [(2, 0.5), (3, 0.5)]
    assert days[0].name > days[1].name  # the latest first
    assert told(await other.rows("client", 1)) == {"alice": (1, 0, 5, 10), "bob": (1, 0, 0, 0)}


async def test_a_caller_makes_up_no_name(replicas):
    (state, clock), _ = replicas
    use = Use(state, clock)
    for _ in range(3):
        use(ended(**FAILED))

    assert "made-up" not in str([await use.rows(by, 1) for by in ("client", "model", "provider", "day")])


async def test_it_is_forgotten_after_ninety_days_and_not_before(replicas):
    (state, clock), _ = replicas
    use = Use(state, clock)
    for _ in range(KEPT + 10):
        use(ended())
        await use.look()
        clock.advance(DAY)
    clock.advance(-DAY)
    await use.look()

    assert len(await use.rows("day", 1000)) == KEPT
    clock.advance(-20 * DAY)  # what is older is not only not shown
    assert len(await use.rows("day", 1000)) == KEPT - 20


async def test_of_the_last_day_requests_and_tokens_and_when_a_client_asked_last_are_known_everywhere(replicas):
    (one_state, clock), (other_state, _) = replicas
    one, other = Use(one_state, clock), Use(other_state, clock)
    for _ in range(30):
        one(ended())
        clock.advance(3600)
    one(ended("bob"))
    at = clock.now()
    one_state._gather()
    await one_state.exchange()
    await other_state.exchange()

    lately = await other.lately()
    assert (lately["alice"].requests, lately["alice"].tokens) == (23, 23 * 15)
    assert (lately["bob"].requests, lately["bob"].last_seen) == (1, at)
    assert lately["alice"].last_seen == at - 3600


async def test_what_is_used_today_is_known_at_once_here_and_soon_elsewhere(replicas):
    (one_state, clock), (other_state, _) = replicas
    one, other = Use(one_state, clock), Use(other_state, clock)
    one(ended())
    assert one.today["alice"]["groq", "gpt-oss"] == (1, 15)
    await one.look()
    await other.look()
    other(ended())

    assert one.today == {"alice": {("groq", "gpt-oss"): (1, 15)}}
    assert other.today == {"alice": {("groq", "gpt-oss"): (2, 30)}}


async def test_a_crash_loses_no_more_than_what_was_not_exchanged(tmp_path, clock):
    state = StateStore(SqliteState(tmp_path / "state.sqlite", clock), clock)
    use = Use(state, clock)
    use(ended())
    await state.exchange()
    use(ended())  # killed before the next exchange, a second later at most

    again = Use(StateStore(SqliteState(tmp_path / "state.sqlite", clock), clock), clock)
    assert [row.requests for row in await again.rows("client", 1)] == [1]
