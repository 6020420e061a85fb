"""The ledger counts the calls that it debits, by run, in the very exchange that debits them; and every one of them ends once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.quota import redis_peers
from gateway.quota.debited import KEPT_FOR, Debited, debited_in_file
from gateway.quota.exchange import Store, StoreFailure
from gateway.quota.ledger import Ledger
from gateway.quota.nouns import Cost, NoRoom, Offer, Reservation
from gateway.quota.redis import SharedStore
from gateway.quota.sqlite import EmbeddedStore
from tests.clock import FakeClock
from tests.contract.conftest import emptied
from tests.contract.replicas import CLOCK, DAY, FLIGHT, Replicas

Make = Callable[[], Awaitable[Store]]


async def counts(store: Store) -> dict[str, Debited]:
    """By run, as an auditor reads it."""
    if isinstance(store, EmbeddedStore):
        (_, _, file) = store._db.execute("PRAGMA database_list").fetchone()
        return debited_in_file(Path(file))
    assert isinstance(store, SharedStore)
    return await redis_peers.debited(store._client, "freeway")


async def calls(store: Store) -> int:
    found = (await counts(store)).get(store.name)
    return 0 if found is None else found.calls


async def take(ledger: Ledger, *buckets, call: bool = True) -> Reservation | NoRoom:
    return await ledger.reserve([Offer("d", buckets, Cost(1.0), call)])


async def test_what_is_debited_is_counted_and_what_is_refused_or_a_clients_own_limit_is_not(make_store: Make, clock):
    store = await make_store()
    ledger = Ledger(store, clock)
    held = [await take(ledger, FLIGHT, CLOCK) for _ in range(6)]
    given = [one for one in held if isinstance(one, Reservation)]
    await take(ledger, DAY, call=False)
    await take(ledger)

    assert (len(given), ledger.ended, ledger.run) == (4, 0, store.name)
    assert await calls(store) == 4
    ledger.refund(given[0])
    ledger.settle(given[1], Cost(1.0))
    ledger.settle(given[1], Cost(1.0))
    await ledger.flush()
    assert (ledger.ended, await calls(store)) == (2, 4)
    await ledger.aclose()


@pytest.mark.parametrize("seed", range(4))
async def test_what_is_counted_has_ended_or_is_held_whatever_callers_do(make_store: Make, clock, seed: int):
    """Callers leave while the ledger is asked for them; some answers are never heard."""
    chance, store = random.Random(seed), await make_store()
    ledger, held = Ledger(store, clock), list[Reservation]()
    for _ in range(60):
        clock.advance(chance.choice((0.0, 0.5, 20.0)))
        asking = [asyncio.ensure_future(take(ledger, *chance.choice(((FLIGHT, DAY), (CLOCK,), ())))) for _ in range(3)]
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        for one in asking:
            if chance.random() < 0.3:
                one.cancel()
        found = await asyncio.gather(*asking, return_exceptions=True)
        held += [one for one in found if isinstance(one, Reservation)]
        while held and chance.random() < 0.6:
            over = held.pop(chance.randrange(len(held)))
            ledger.refund(over) if chance.random() < 0.5 else ledger.settle(over, Cost(1.0))
    await ledger.flush()

    assert await calls(store) == ledger.ended + sum(still.counted for still in held)
    assert ledger.ended > 20
    await ledger.aclose()


async def test_each_run_is_counted_by_itself_and_the_next_one_finds_it(make_store: Make, clock):
    one, other = await make_store(), await make_store()
    first, second = Ledger(one, clock), Ledger(other, clock)
    for _ in range(3):
        await take(first, DAY)
    await take(second, DAY)
    await first.aclose()

    assert {run: found.calls for run, found in (await counts(other)).items()} == {one.name: 3, other.name: 1}
    await second.aclose()


async def test_a_file_keeps_a_run_for_three_months(tmp_path: Path, clock: FakeClock):
    store = EmbeddedStore(tmp_path / "ledger.sqlite")
    ledger = Ledger(store, clock)
    await take(ledger, DAY)
    clock.advance(30)
    await take(ledger, DAY)
    assert (await counts(store))[store.name] == Debited(2, took=30.0)
    clock.advance(KEPT_FOR + 1)
    await take(ledger, FLIGHT, call=False)
    assert await counts(store) == {}
    await ledger.aclose()


async def test_a_file_of_before_counts_nothing_and_one_that_is_none_is_told(tmp_path: Path):
    assert debited_in_file(tmp_path / "none") == {}
    with closing(EmbeddedStore(tmp_path / "ledger.sqlite")._db) as db:
        db.execute("DROP TABLE debited")
    assert debited_in_file(tmp_path / "ledger.sqlite") == {}
    (tmp_path / "odd").write_bytes(b"no database at all, but long enough to be looked at" * 30)
    with pytest.raises(StoreFailure):
        debited_in_file(tmp_path / "odd")


# ── Redis ──


@pytest.fixture
async def two(redis_server):
    await (await emptied(redis_server.url)).aclose()
    async with Replicas(redis_server.url, 2) as replicas:
        yield replicas


async def counted_in(replicas: Replicas, number: int) -> int:
    line = replicas.lines[number]
    found = await redis_peers.debited(line._client, "freeway")
    return found.get(replicas.stores[number].name, Debited(0)).calls


@pytest.mark.engine
async def test_a_debit_whose_answer_was_lost_is_counted_and_ends(two: Replicas):
    two.lines[0].deaf = True
    found = await two.take(0, DAY)
    assert isinstance(found, Reservation)
    assert not found.counted  # it was made without the store
    assert (await counted_in(two, 0), two.ledgers[0].ended) == (1, 0)
    two.lines[0].deaf = False
    await two.look(0)
    assert two.ledgers[0].condition().lost is None
    assert (await counted_in(two, 0), two.ledgers[0].ended) == (1, 1)
    two.ledgers[0].settle(found, Cost(1.0))
    await two.take(0, DAY)
    assert (await counted_in(two, 0), two.ledgers[0].ended) == (2, 1)


@pytest.mark.engine
async def test_what_is_debited_without_redis_is_not_counted_as_seen_by_it(two: Replicas):
    two.lines[0].cut = True
    held = [one for one in [await two.take(0, DAY) for _ in range(3)] if isinstance(one, Reservation)]
    two.lines[0].cut = False
    await two.look(0)
    for one in held:
        two.ledgers[0].settle(one, Cost(1.0))
    await two.take(0, DAY)

    assert held
    assert await counted_in(two, 0) == two.ledgers[0].ended + 1


@pytest.mark.engine
async def test_a_redis_that_lost_its_memory_goes_on_counting_where_it_was(two: Replicas, redis_server):
    for _ in range(3):
        await two.take(0, DAY)
    client = Redis.from_url(redis_server.url)
    await client.flushall()
    await client.aclose()
    await two.look(0, 1)
    two.clock.advance(5)
    assert isinstance(await two.take(0, FLIGHT), Reservation)

    assert await counted_in(two, 0) == 4


@pytest.mark.engine
async def test_who_lives_is_told_and_gateways_of_another_namespace_are_not(two: Replicas, redis_server):
    await two.take(0, DAY)
    other = SharedStore(Redis.from_url(redis_server.url), own_time=False, namespace="other")
    elsewhere = Ledger(other, two.clock)
    await take(elsewhere, DAY)
    client = Redis.from_url(redis_server.url)
    now, _ = await client.time()
    await client.delete("freeway:{replicas}:heard")
    await client.zadd("freeway:{replicas}:heard", {f"{two.stores[0].name}-0a0b0c x": now})
    found = await redis_peers.debited(client, "freeway")
    theirs = await redis_peers.debited(client, "other")

    assert found == {two.stores[0].name: Debited(1, lives=True)}
    assert theirs == {other.name: Debited(1)}
    assert 0 < await client.ttl(f"freeway:{{*}}:process:{other.name}:debited") <= KEPT_FOR
    await client.aclose()
    await elsewhere.aclose()
