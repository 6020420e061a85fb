"""The shared store on a real Redis, and all that can happen to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gateway.clock import WallClock
from gateway.quota import buckets as b
from gateway.quota import redis as shared
from gateway.quota.buckets import Bucket
from gateway.quota.exchange import Ask, StoreFailure, nothing_withheld
from gateway.quota.ledger import Ledger
from gateway.quota.nouns import Cost, NoRoom, Offer, Reservation
from gateway.quota.redis import PATIENCE, open_store
from tests import containers
from tests.clock import FakeClock, eventually

pytestmark = pytest.mark.engine

HOUR = Bucket(key="a/m/hour", account="a", unit="requests", limit=30, window="rolling", period=3600, window_name="hour")
DAY = Bucket(key="a/*/day", account="a", unit="requests", limit=90, window="rolling", period=86_400, window_name="day")
FLIGHT = Bucket(key="b/*/flight", account="b", unit="in-flight", limit=3, window="in-flight")
DAY_OF_MANY = Bucket(key="a/*/many", account="a", unit="requests", limit=1e6, window="rolling", period=86_400)
BUCKETS = [HOUR, DAY, FLIGHT]
SOON = 4.0
"""Seconds within which a request must be answered, on a machine that does other things besides."""


@pytest.fixture
def own_server():
    """A Redis that a test may kill."""
    with containers.redis() as server:
        yield server


@pytest.fixture
async def client(redis_server) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_server.url, decode_responses=True) as client:
        await client.flushall()
        yield client


class Replica:
    """A ledger on the Redis at *url*, that looks at it every now and then."""

    def __init__(self, url: str, clock=None) -> None:
        self.ledger = Ledger(open_store(url), clock or WallClock(), buckets=lambda: BUCKETS)

    async def __aenter__(self):
        await self.ledger.serve()
        return self

    async def __aexit__(self, *_):
        await self.ledger.aclose()

    async def take(self, *buckets) -> Reservation | NoRoom:
        began = time.monotonic()
        found = await self.ledger.reserve([Offer("d", buckets, Cost(1))])
        assert time.monotonic() - began < SOON
        return found

    async def take_all(self, *buckets) -> int:
        taken = 0
        while isinstance(await self.take(*buckets), Reservation):
            taken += 1
        return taken

    async def used(self, bucket) -> float:
        return (await self.ledger.levels([bucket]))[bucket.key].used

    def seen(self) -> tuple[int, float]:
        """What it knows without asking: how many replicas there are, and how much of HOUR is used."""
        seen = self.ledger.cache.levels.get(HOUR.key)
        return self.ledger.condition().replicas, 0.0 if seen is None else b.used(*seen)

    def lost(self) -> str | None:
        return self.ledger.condition().lost

    async def back(self) -> None:
        await eventually(lambda: self.lost() is None, within=20)


# ── whose time, how many trips, how much memory ──


async def test_replicas_with_skewed_clocks_agree(redis_server, client):
    minute = Bucket(key="a/minute", account="a", unit="requests", limit=8, window="rolling", period=60)
    midnight = Bucket(
        key="a/day", account="a", unit="requests", limit=8, window="calendar", calendar="day", zone="Asia/Tokyo"
    )
    now = time.time()
    clocks = [FakeClock(now), FakeClock(now - 3 * 3600), FakeClock(now + 26 * 3600), FakeClock(now - 80 * 86_400)]
    ledgers = [Ledger(open_store(redis_server.url), clock) for clock in clocks]

    for ledger in ledgers * 2:
        assert isinstance(await ledger.reserve([Offer("d", (minute, midnight), Cost(1))]), Reservation)

    for ledger, clock in zip(ledgers, clocks, strict=True):
        first = await ledger.reserve([Offer("d", (minute,), Cost(1))])
        second = await ledger.reserve([Offer("d", (midnight,), Cost(1))])
        assert isinstance(first, NoRoom)
        assert isinstance(second, NoRoom)
        assert first.opens_at - clock() == pytest.approx(60, abs=2)
        until_midnight = 86_400 - (now + 9 * 3600) % 86_400
        assert second.opens_at - clock() == pytest.approx(until_midnight, abs=2)
        assert (await ledger.levels([midnight]))[midnight.key].resets_at == pytest.approx(second.opens_at, abs=1)
        await ledger.aclose()


async def test_a_request_takes_one_trip_and_what_ended_before_goes_with_it(redis_server, client):
    ledger = Ledger(open_store(redis_server.url), WallClock())
    held = await ledger.reserve([Offer("d", (HOUR, DAY), Cost(1))])
    before = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]

    for _ in range(10):
        assert isinstance(held, Reservation)
        ledger.settle(held, Cost(1))
        held = await ledger.reserve([Offer(name, (HOUR, DAY, FLIGHT), Cost(1)) for name in "abcd"])
        assert isinstance(held, Reservation)
        ledger.refund(held)
        held = await ledger.reserve([Offer("d", (HOUR, DAY), Cost(1))])

    assert (await client.info("commandstats"))["cmdstat_evalsha"]["calls"] - before == 20
    await ledger.aclose()


async def test_every_key_is_small_and_expires(redis_server, client):
    ledger = Ledger(open_store(redis_server.url), FakeClock())
    for number in range(200):
        held = await ledger.reserve([Offer("d", (Bucket(**{**_fields(DAY), "limit": 1e6}), FLIGHT), Cost(1))])
        assert isinstance(held, Reservation)
        ledger.settle(held, Cost(1))
        ledger.close(HOUR, 5, f"closed {number}")
    await ledger.reserve([Offer("d", (FLIGHT,), Cost(1))])
    await ledger.flush()

    keys = await client.keys()
    assert (
        len(keys) == 3 + 4
    )  # and of the process its last call and its debits, how many calls there were, what they changed
    for key in keys:
        assert await client.memory_usage(key) < 2000
        assert 0 < await client.ttl(key) <= (90 if key.endswith(":debited") else 2) * 86_400
    await ledger.aclose()


def _fields(bucket):
    return {name: getattr(bucket, name) for name in bucket.__struct_fields__}


async def test_a_caller_who_leaves_in_the_middle_leaves_no_debit(redis_server, client):
    async with Replica(redis_server.url) as replica:
        await replica.take(DAY)
        await client.client_pause(100, all=True)
        leaving = [asyncio.create_task(replica.take(HOUR, FLIGHT)) for _ in range(3)]
        await asyncio.sleep(0.02)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)

        async with asyncio.timeout(SOON):
            while await replica.used(HOUR) or await replica.used(FLIGHT):  # noqa: ASYNC110 - what is waited for knows nothing of us
                await asyncio.sleep(0.02)
        assert await client.exists("freeway:{a}:a/m/hour") == 0


def _full(number: int) -> Offer:
    minute = Bucket(key=f"a/m{number}/minute", account="a", unit="requests", limit=1, window="rolling", period=60)
    return Offer(f"d{number}", (minute, DAY_OF_MANY), Cost(1))


async def test_what_is_known_to_be_full_is_not_asked_again_but_what_others_gave_back_is_found_at_once(
    redis_server, client
):
    offers = [_full(number) for number in range(300)]
    one, other = (Ledger(open_store(redis_server.url), WallClock()) for _ in range(2))
    held = [await other.reserve([offer]) for offer in offers]
    assert isinstance(await one.reserve(offers), NoRoom)  # sees all of them

    before = await client.info("all")
    for _ in range(10):
        found = await one.reserve(offers)
        assert isinstance(found, NoRoom)
        assert [refusal.bucket for refusal in found.refusals] == [offer.buckets[0] for offer in offers]
    after = await client.info("all")
    assert after["cmdstat_evalsha"]["calls"] - before["cmdstat_evalsha"]["calls"] == 20  # an ask for four, and a look
    assert after["keyspace_hits"] - before["keyspace_hits"] < 10 * 25  # 600 levels for each would be 6000

    assert isinstance(held[250], Reservation)
    other.refund(held[250])
    await other.flush()
    found = await one.reserve(offers)
    assert isinstance(found, Reservation)
    assert found.place == 250
    assert found.offer.deployment == "d250"
    await one.aclose()
    await other.aclose()


async def test_a_look_reads_what_has_changed_since_the_last_one_and_misses_none(redis_server, client):
    offers = [_full(number) for number in range(300)]
    buckets = [offer.buckets[0] for offer in offers]
    one, other = (Ledger(open_store(redis_server.url), WallClock(), buckets=lambda: buckets) for _ in range(2))
    for offer in offers[:200]:
        await other.reserve([offer])
    await one._journal.look()
    before = await client.info("stats")
    await one._journal.look()
    assert (await client.info("stats"))["keyspace_hits"] - before["keyspace_hits"] < 10
    await asyncio.gather(*(other.reserve([offer]) for offer in offers[200:230]))

    before = await client.info("stats")
    await one._journal.look()

    assert (await client.info("stats"))["keyspace_hits"] - before["keyspace_hits"] < 31 + 10
    assert {key for key, (bucket, level) in one.cache.levels.items() if b.used(bucket, level)} == {
        bucket.key for bucket in buckets[:230]
    }
    await one.aclose()
    await other.aclose()


async def test_where_more_has_changed_than_a_look_tells_it_begins_anew(redis_server, client):
    one, other = (Ledger(open_store(redis_server.url), WallClock()) for _ in range(2))
    many = [_full(number) for number in range(4100)]
    await one.levels([offer.buckets[0] for offer in many])
    for start in range(0, len(many), 60):
        await asyncio.gather(*(other.reserve([offer]) for offer in many[start : start + 60]))

    seen = await one.levels([offer.buckets[0] for offer in many])

    assert sum(view.used for view in seen.values()) == len(many)
    await one.aclose()
    await other.aclose()


async def test_the_patience_is_one_for_all_exchanges_of_a_request(redis_server, client, monkeypatch):
    store = open_store(redis_server.url)
    ledger = Ledger(store, WallClock())
    offers = [_full(number) for number in range(10)]
    await asyncio.gather(*(ledger.reserve([offer]) for offer in offers))
    waited: list[float] = []
    exchange, look = store.exchange, store.look

    async def exchanging(*args):
        waited.append(args[-1])
        return await exchange(*args)

    async def looking(*args):
        waited.append(args[-1])
        return await look(*args)

    monkeypatch.setattr(store, "exchange", exchanging)
    monkeypatch.setattr(store, "look", looking)
    store._known.forget()  # nothing is known to be full: a request has to ask for all of them
    assert isinstance(await ledger.reserve(offers), NoRoom)
    assert len(waited) >= 2
    assert waited[0] == 0.0
    assert waited == sorted(waited)
    assert waited[-1] > 0.0

    monkeypatch.setattr(shared, "PATIENCE", 60.0)
    monkeypatch.setattr(store, "exchange", exchange)
    await client.client_pause(5_000, all=False)  # else an answer that is there at once is taken
    with pytest.raises(StoreFailure, match="no answer within"):
        await store.exchange((), [Ask("x", offers)], (), time.time(), nothing_withheld, 60.0)
    await client.client_unpause()
    await store.clear_doubt()
    await ledger.aclose()


# ── trouble ──


async def test_a_flushed_script_is_sent_again(redis_server, client):
    async with Replica(redis_server.url) as replica:
        await replica.take(HOUR)
        await client.script_flush()

        assert isinstance(await replica.take(HOUR), Reservation)
        assert (replica.lost(), await replica.used(HOUR)) == (None, 2)


async def test_nobody_waits_for_a_redis_that_hangs(own_server):
    async with Replica(own_server.url) as replica:
        await replica.take(HOUR)
        own_server.signal("STOP")
        began = time.monotonic()

        found = await asyncio.gather(*(replica.take(HOUR) for _ in range(40)))

        assert time.monotonic() - began < SOON
        assert sum(isinstance(one, Reservation) for one in found) == 29
        assert replica.lost() == f"no answer within {PATIENCE:g} s"
        own_server.signal("CONT")
        await replica.back()
        assert await replica.used(HOUR) >= 30


async def test_a_redis_that_was_killed_and_forgot_everything_is_told(own_server):
    async with Replica(own_server.url) as one, Replica(own_server.url) as other:
        for _ in range(5):
            await one.take(HOUR, DAY)
            await other.take(HOUR, FLIGHT) if await other.used(FLIGHT) < 3 else await other.take(HOUR)
        await eventually(lambda: one.seen() == other.seen() == (2, 10))
        own_server.signal("KILL")
        meanwhile = [await each.take_all(HOUR) for each in (one, other)]
        assert meanwhile == [1, 1]  # of an hour's 30, a part is one
        own_server.start_again()
        await one.back()
        await other.back()

        assert await one.used(HOUR) == 10 + sum(meanwhile)
        assert (await one.used(DAY), await other.used(FLIGHT)) == (5, 3)
        assert isinstance(await one.take(FLIGHT), NoRoom)


@pytest.mark.parametrize(
    ("broken", "mended", "because"),
    [
        ({"maxmemory": "1"}, {"maxmemory": "0"}, "OutOfMemoryError"),
        ({"replicaof": "127.0.0.1 9"}, {"replicaof": "no one"}, "ReadOnlyError"),
        ({"min-replicas-to-write": "1"}, {"min-replicas-to-write": "0"}, "NOREPLICAS"),
    ],
    ids=["out of memory", "a read-only replica", "too few replicas"],
)
async def test_a_redis_that_cannot_be_written_to_is_done_without(own_server, broken, mended, because):
    async with Redis.from_url(own_server.url) as client, Replica(own_server.url) as replica:
        await replica.take(HOUR)
        await _configure(client, broken)

        assert isinstance(await replica.take(HOUR), Reservation)

        assert because.lower() in replica.lost().lower()
        await _configure(client, mended)
        await replica.back()
        assert await replica.used(HOUR) == 2


async def _configure(client, options):
    for name, value in options.items():
        if name == "replicaof":
            await client.replicaof(*value.split())
        else:
            await client.config_set(name, value)


async def test_a_gateway_starts_without_its_redis_and_finds_it_later():
    with containers.redis() as server:
        server.signal("KILL")
        async with Replica(server.url) as replica:
            assert isinstance(await replica.take(HOUR), Reservation)
            assert replica.lost() is not None
            server.start_again()
            await replica.back()

            assert await replica.used(HOUR) == 1


# ── many servers ──


async def test_a_failover_by_sentinels_is_survived():
    with containers.sentinels() as servers:
        async with Replica(f"redis+sentinel://127.0.0.1:{servers.port}/ours") as replica:
            for _ in range(7):
                await replica.take(HOUR)
            await replica.take(DAY)
            servers.master.signal("KILL")

            taken = 0
            async with asyncio.timeout(30):
                while replica.lost() is None:
                    taken += isinstance(await replica.take(HOUR), Reservation)
                    await asyncio.sleep(0.01)
            await replica.back()

            assert "role:master" in servers.replica.cli("info", "replication")
            assert await replica.used(HOUR) == 7 + taken
            assert await replica.used(DAY) == 1


async def test_a_cluster_keeps_each_account_on_one_node_and_may_move_it():
    with containers.cluster() as nodes:
        async with Replica(f"redis+cluster://127.0.0.1:{nodes[0].port}") as replica:
            both = [Offer("one", (HOUR, DAY), Cost(1)), Offer("other", (FLIGHT,), Cost(1))]
            held = []
            while isinstance(found := await replica.ledger.reserve(both), Reservation):
                held.append(found)
            assert [one.offer.deployment for one in held] == ["one"] * 30 + ["other"] * 3

            slot = int(nodes[0].cli("cluster", "keyslot", "{a}"))
            _move(nodes, slot)
            assert isinstance(await replica.take(HOUR), NoRoom)
            await replica.back()  # where finding the new place took too long
            replica.ledger.refund(held[0])
            replica.ledger.settle(held[1], Cost(1))

            assert (await replica.used(HOUR), await replica.used(DAY)) == (29, 29)
            assert isinstance(await replica.ledger.reserve(both), Reservation)
            assert replica.lost() is None


def _move(nodes, slot):
    """Move *slot* with its keys to another node, as an operator's reshard does."""
    ids = {node.port: node.cli("cluster", "myid") for node in nodes}
    owner = next(node for node in nodes if node.cli("cluster", "countkeysinslot", slot) != "0")
    other = next(node for node in nodes if node is not owner)
    other.cli("cluster", "setslot", slot, "importing", ids[owner.port])
    owner.cli("cluster", "setslot", slot, "migrating", ids[other.port])
    keys = owner.cli("cluster", "getkeysinslot", slot, 100).split()
    owner.cli("migrate", "127.0.0.1", other.port, "", 0, 5000, "keys", *keys)
    for node in (other, owner, *nodes):
        node.cli("cluster", "setslot", slot, "node", ids[other.port])


async def test_a_loop_that_is_kept_busy_does_not_take_a_redis_that_is_well_for_lost(redis_server, client, monkeypatch):
    """The answer was there in time; this process did not get to look."""
    monkeypatch.setattr(shared, "PATIENCE", 0.25)
    async with Replica(redis_server.url) as replica:
        await replica.take(HOUR)
        for _ in range(5):
            taking = asyncio.create_task(replica.ledger.reserve([Offer("d", (HOUR,), Cost(1))]))
            for _ in range(6):
                await asyncio.sleep(0)  # until it has been sent
            time.sleep(0.6)  # noqa: ASYNC251 - that is the point
            assert isinstance(await taking, Reservation)
        assert replica.lost() is None
