"""What the shared store makes of values that are odd, old or gone: it names them, counts no less, and degrades nobody."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from gateway.catalog.learned import Learned
from gateway.clock import WallClock
from gateway.quota.buckets import Bucket
from gateway.quota.degraded import ALIVE
from gateway.quota.ledger import Condition, Ledger
from gateway.quota.nouns import Cost, NoRoom, Offer, Reservation
from gateway.quota.redis import SharedStore, open_store
from gateway.quota.redis_levels import FORMAT, level_in
from gateway.state.redis import RedisState
from gateway.state.store import StateStore
from providers.observations import Observation
from tests import containers
from tests.clock import FakeClock, eventually
from tests.contract.replicas import BUCKETS, CLOCK, DAY, FLIGHT, NOON, QUIET, REFILL, ROLLING, Replicas

pytestmark = pytest.mark.engine

OTHER = msgspec.structs.replace(ROLLING, key="z/other", account="z")
PACK = msgspec.msgpack.encode
LEVEL = [0.0, 0.0, "", [], 0, 0.0, 0.0, "", -1.0, 0.0, "", "", 0.0]

ODD = {
    "garbage": b"\xff\x00garbage",
    "empty": b"",
    "nil": PACK(None),
    "a number": b"17",
    "an old version's": PACK(LEVEL),
    "a newer version's": PACK([FORMAT + 1, "rolling", LEVEL]),
    "too short": PACK([FORMAT, "rolling", LEVEL[:5]]),
    "text for a number": PACK([FORMAT, "rolling", ["5", *LEVEL[1:]]]),
    "no number": PACK([FORMAT, "rolling", [float("nan"), *LEVEL[1:]]]),
    "odd slots": PACK([FORMAT, "rolling", [0.0, 0.0, "1", *LEVEL[3:]]]),
    "odd slots of the version before": PACK([FORMAT - 1, "rolling", [0.0, 0.0, [1], *LEVEL[3:]]]),
}


@pytest.fixture
async def client(redis_server):
    async with Redis.from_url(redis_server.url) as client:
        await client.flushall()
        yield client


def _ledger(url: str, told: list[Condition], **more: Any) -> tuple[Ledger, FakeClock]:
    clock = FakeClock(NOON)
    store = SharedStore(Redis.from_url(url), own_time=False, **more)
    return Ledger(store, clock, buckets=lambda: [*BUCKETS, OTHER], tell=told.append), clock


async def _take(ledger: Ledger, *buckets: Any) -> Reservation | NoRoom:
    return await ledger.reserve([Offer("d", buckets, Cost(1.0))])


async def _take_all(ledger: Ledger, *buckets: Any) -> int:
    taken = 0
    while isinstance(await _take(ledger, *buckets), Reservation):
        taken += 1
    return taken


# ── odd values ──


@pytest.mark.parametrize("value", [*ODD.values(), None], ids=[*ODD, "of another type"])
@pytest.mark.parametrize("bucket", BUCKETS, ids=lambda bucket: bucket.key)
async def test_an_odd_level_closes_its_bucket_until_what_it_counted_is_over_and_nothing_else(
    redis_server, client, bucket, value
):
    key = f"freeway:{{a}}:{bucket.key}"
    await (client.rpush(key, "x") if value is None else client.set(key, value))
    told: list[Condition] = []
    ledger, clock = _ledger(redis_server.url, told)

    refused = await ledger.reserve([Offer("odd", (bucket,), Cost(1.0)), Offer("other", (OTHER,), Cost(1.0))])

    assert isinstance(refused, Reservation)
    assert refused.offer.deployment == "other"
    assert [condition.set_aside for condition in told] == [(bucket.key,)]
    assert ledger.condition().lost is None
    assert await client.exists(f"{key}:aside") == 1
    assert 0 < await client.ttl(f"{key}:aside") <= 86_400
    view = (await ledger.levels([bucket]))[bucket.key]
    assert view.closed_because == "its value could not be read"
    assert view.closed_until
    clock.advance(view.closed_until - clock() - 0.5)
    assert isinstance(await _take(ledger, bucket), NoRoom)
    clock.advance(0.6)
    assert isinstance(await _take(ledger, bucket), Reservation)
    await ledger.aclose()


async def test_a_bucket_that_was_closed_for_an_odd_value_is_opened_by_hand(redis_server, client):
    await client.set("freeway:{a}:a/day", b"?")
    ledger, _ = _ledger(redis_server.url, [])
    assert isinstance(await _take(ledger, DAY), NoRoom)

    ledger.open(DAY)

    assert isinstance(await _take(ledger, DAY), Reservation)
    await ledger.aclose()


@pytest.mark.parametrize("odd", ["process", "calls", "changed", "waiting", "heard"])
@pytest.mark.parametrize("kind", ["list", "garbage"])
async def test_what_stands_beside_the_levels_may_be_odd_and_nobody_is_degraded(redis_server, client, odd, kind):
    told: list[Condition] = []
    ledger, clock = _ledger(redis_server.url, told)
    for _n in range(3):
        assert isinstance(await _take(ledger, DAY), Reservation)
    store = ledger._journal._store
    key = {
        "process": f"freeway:{{*}}:process:{store.name}",
        "calls": "freeway:{*}:calls",
        "changed": "freeway:{*}:changed",
        "waiting": "freeway:{*}:waiting",
        "heard": "freeway:{replicas}:heard",
    }[odd]
    await client.delete(key)
    await (client.rpush(key, "x") if kind == "list" else client.set(key, b"\xc1garbage"))

    await ledger._journal.look()
    taken = await _take_all(ledger, DAY)
    clock.advance(QUIET)  # what is gone may have been memory
    assert taken + await _take_all(ledger, DAY) == 17
    ledger.close(DAY, 1, "so")
    await ledger._journal.look()

    assert (ledger.condition().lost, told) == (None, [])
    await ledger.aclose()


async def test_what_may_have_arrived_in_the_next_minute_is_kept_until_that_is_over(redis_server, client):
    ledger, clock = _ledger(redis_server.url, [])
    minute = msgspec.structs.replace(CLOCK, edge=1.0)
    clock.advance(59.5)
    held = await _take(ledger, minute)
    assert isinstance(held, Reservation)

    ledger.settle(held, Cost(1.0))
    await ledger.flush()

    assert 60_500 <= await client.pttl(f"freeway:{{a}}:{minute.key}") <= 62_500
    await ledger.aclose()


async def test_odd_values_of_the_state_are_set_aside_and_the_rest_goes_on(redis_server, client):
    state = RedisState(Redis.from_url(redis_server.url))
    await state.write("topic", {"a": b"1"})
    keys = [key async for key in client.scan_iter("freeway:*")]
    for key in keys:
        await client.delete(key)
        await client.rpush(key, "x")
    await client.hset(state._counters(""), mapping={"odd": "x", "good": "2"})

    await state.write("topic", {"a": b"1", "b": None})
    await state.count({"odd": 1.5, "good": 1.5})

    assert await state.read("topic") == {"a": b"1"}
    assert (await state.counters())["good"] == 3.5
    assert "topic" in await state.revisions()
    await state.aclose()


async def test_a_claim_that_would_never_end_ends(redis_server, client):
    state = RedisState(Redis.from_url(redis_server.url))
    await client.rpush("freeway:{state}:claim:x", "odd")

    assert not await state.claim("x", 0.05)
    assert 0 < await client.pttl("freeway:{state}:claim:x") <= 50
    await state.aclose()


# ── kinds of windows ──


KINDS = [CLOCK, ROLLING, REFILL, DAY, msgspec.structs.replace(DAY, zone="Pacific/Kiritimati")]


@pytest.mark.parametrize("before", KINDS, ids=lambda bucket: f"{bucket.window}-{bucket.zone}")
@pytest.mark.parametrize("after", KINDS, ids=lambda bucket: f"{bucket.window}-{bucket.zone}")
async def test_gateways_that_take_one_bucket_for_windows_of_two_kinds_count_together(
    redis_server, client, before, after
):
    ours = msgspec.structs.replace(before, key="a/same", period=86_400.0)
    theirs = msgspec.structs.replace(after, key="a/same", period=86_400.0)
    (one, _), (other, _) = _ledger(redis_server.url, []), _ledger(redis_server.url, [])

    taken = 0
    for _n in range(15):
        taken += isinstance(await _take(one, ours), Reservation) + isinstance(await _take(other, theirs), Reservation)

    assert taken == 20
    assert one.condition().set_aside == other.condition().set_aside == ()
    await one.aclose()
    await other.aclose()


def _as_before(value: bytes, bucket: Bucket) -> bytes:
    """*value* as the version before kept it: the slots of a rolling window in a list, and days without their zone."""
    level = level_in(value, bucket)
    assert level is not None
    slots = [number for slot in level.slots for number in slot]
    told = [level.used, level.since, slots, *msgspec.structs.astuple(level)[3:]]
    return PACK([FORMAT - 1, bucket.window, told])


@pytest.mark.parametrize("bucket", [ROLLING, CLOCK, REFILL, DAY], ids=lambda bucket: bucket.window)
async def test_what_the_version_before_has_counted_is_counted_on(redis_server, client, bucket):
    (old, _), (new, _) = _ledger(redis_server.url, []), _ledger(redis_server.url, [])
    for _n in range(3):
        await _take(old, bucket)
    (key,) = [key async for key in client.scan_iter("freeway:{*") if key.endswith(bucket.key.encode())]
    await client.set(key, _as_before(await client.get(key), bucket))

    assert await _take_all(new, bucket) == bucket.limit - 3
    assert new.condition().set_aside == ()
    assert level_in(await client.get(key), bucket) is not None  # it is kept as this version does
    await old.aclose()
    await new.aclose()


async def test_a_day_that_the_version_before_has_counted_is_over_when_it_is(redis_server, client):
    (old, _), (new, clock) = _ledger(redis_server.url, []), _ledger(redis_server.url, [])
    await _take_all(old, DAY)
    (key,) = [key async for key in client.scan_iter("freeway:{*") if key.endswith(DAY.key.encode())]
    await client.set(key, _as_before(await client.get(key), DAY))
    clock.advance(86_400)

    assert await _take_all(new, DAY) == DAY.limit
    await old.aclose()
    await new.aclose()


# ── lost memory ──


@pytest.mark.parametrize("times", [1, 2])
async def test_a_shard_that_comes_back_empty_is_noticed_by_all_who_saw_it(times):
    """Each gateway took half of one account; after the shard lost it, neither may take it again."""
    with containers.cluster() as nodes:
        url = f"redis+cluster://127.0.0.1:{nodes[0].port}"
        accounts = [msgspec.structs.replace(DAY, key=f"{name}/day", account=name) for name in "abcdef"]
        ledgers = [Ledger(open_store(url), WallClock(), buckets=lambda: accounts) for _ in range(2)]
        for bucket in accounts:
            for number in range(20):
                assert isinstance(await _take(ledgers[number % 2], bucket), Reservation)
        for ledger in ledgers:
            await ledger._journal.look()

        for _n in range(times):
            for node in nodes:
                node.cli("flushall")
            taken = [await _take_all(ledger, bucket) for bucket in accounts for ledger in ledgers]
            await asyncio.sleep(QUIET)
            taken += [await _take_all(ledger, bucket) for bucket in accounts for ledger in ledgers]
            assert taken == [0] * len(taken)
        for ledger in ledgers:
            await ledger.aclose()


async def test_an_older_snapshot_is_noticed_by_those_whose_calls_it_holds(tmp_path):
    with containers.redis() as server:
        async with Redis.from_url(server.url) as client, Replicas(server.url, 2) as replicas:
            await replicas.take(0, DAY)
            await replicas.take(1, DAY)
            await client.save()
            for _ in range(15):
                assert isinstance(await replicas.take(1, DAY), Reservation)
            await replicas.look()
            server.signal("KILL")
            server.start_again()
            await replicas.look()
            await replicas.look()  # the first found its connection broken
            replicas.clock.advance(QUIET)

            assert len(await replicas.take_all(0, DAY)) + len(await replicas.take_all(1, DAY)) == 3


async def test_a_count_of_calls_that_is_lower_than_it_was_seen_is_a_memory_that_was_lost(redis_server, client):
    """Also where what is remembered of this process itself is still there, as where only some keys were restored."""
    ledger, clock = _ledger(redis_server.url, [])
    await _take(ledger, DAY)
    older = await client.get("freeway:{*}:calls"), await client.get("freeway:{a}:a/day")
    for _n in range(17):
        await _take(ledger, DAY)

    await client.mset({"freeway:{*}:calls": older[0], "freeway:{a}:a/day": older[1]})

    assert await _take_all(ledger, DAY) == 0
    clock.advance(QUIET)
    assert await _take_all(ledger, DAY) == 2
    await ledger.aclose()


# ── what one gives back ──


async def test_what_one_gateway_gives_back_wakes_the_others_within_100_ms(redis_server, client):
    woken: list[float] = []
    loop_time = WallClock().now
    one = Ledger(open_store(redis_server.url), WallClock())
    other = Ledger(open_store(redis_server.url), WallClock(), freed=lambda: woken.append(loop_time()))
    await one.serve()
    await other.serve()
    held = [await _take(one, FLIGHT) for _ in range(4)]
    while (await client.pubsub_numsub("freeway:freed"))[0][1] < 2:  # noqa: ASYNC110 - it is another's
        await asyncio.sleep(0.01)
    assert isinstance(await _take(other, FLIGHT), NoRoom)
    woken.clear()

    gave_back_at = loop_time()
    assert isinstance(held[0], Reservation)
    one.settle(held[0], Cost(1.0))
    await eventually(lambda: woken, within=0.5)

    assert woken[0] - gave_back_at < 0.1
    assert isinstance(await _take(other, FLIGHT), Reservation)
    await one.aclose()
    await other.aclose()


async def test_a_cluster_wakes_others_too_and_one_that_is_gone_is_done_without():
    woken: list[int] = []
    with containers.cluster() as nodes:
        url = f"redis+cluster://127.0.0.1:{nodes[0].port}"
        one = Ledger(open_store(url), WallClock(), buckets=lambda: [DAY])
        other = Ledger(open_store(url), WallClock(), buckets=lambda: [DAY], freed=lambda: woken.append(1))
        await one.serve()
        await other.serve()
        await asyncio.sleep(0.3)  # until it listens
        held = [await _take(one, FLIGHT) for _ in range(4)]
        assert isinstance(await _take(other, FLIGHT), NoRoom)
        woken.clear()
        assert isinstance(held[0], Reservation)
        one.settle(held[0], Cost(1.0))
        await eventually(lambda: woken, within=0.5)

        for node in nodes:
            node.signal("KILL")
        assert isinstance(await _take(other, DAY), Reservation)
        assert other.condition().lost is not None
        await one.aclose()
        await other.aclose()
    late = Ledger(open_store(url), WallClock(), buckets=lambda: [DAY])
    await late.serve()
    assert isinstance(await _take(late, DAY), Reservation)
    await late.aclose()


async def test_what_a_gateway_held_that_died_is_given_back_after_its_heartbeat(redis_server, client):
    async with Replicas(redis_server.url, 2) as replicas:
        for _ in range(4):
            assert isinstance(await replicas.take(1, FLIGHT), Reservation)
        await replicas.look()
        for _ in range(int(ALIVE)):
            assert isinstance(await replicas.take(0, FLIGHT), NoRoom)
            await replicas.look(0)  # the other is gone

        assert isinstance(await replicas.take(0, FLIGHT), Reservation)


async def test_a_reservation_that_died_does_not_keep_a_provider_from_being_believed(redis_server, client):
    async with Replicas(redis_server.url, 2) as replicas:
        for _ in range(9):
            await replicas.take(1, DAY)  # which never end
        for _ in range(int(ALIVE) + 2):
            held = await replicas.take(0, DAY)
            assert isinstance(held, Reservation)
            replicas.ledgers[0].refund(held)
            await replicas.look(0)
        ledger, asked_at = replicas.ledgers[0], replicas.clock()
        ledger.observe([DAY], [Observation("requests", "day", remaining=18)], asked_at)
        await ledger.flush()

        assert await replicas.used(DAY) == 2


# ── whose count it is ──


async def test_two_environments_share_the_count_of_one_credential_and_of_nothing_else(redis_server, client):
    same, own = {"a": "f1"}, {"a": "f2"}
    one, _ = _ledger(redis_server.url, [], accounts=same, namespace="x")
    other, _ = _ledger(redis_server.url, [], accounts=same, namespace="y")
    third, _ = _ledger(redis_server.url, [], accounts=own, namespace="x")

    for _n in range(10):
        assert isinstance(await _take(one, DAY), Reservation)

    assert (await other.levels([DAY]))[DAY.key].used == 10
    assert (await third.levels([DAY]))[DAY.key].used == 0
    for ledger in (one, other, third):
        await ledger._journal.look()
    for ledger in (one, other, third):
        await ledger._journal.look()
    assert [ledger.condition().replicas for ledger in (one, other, third)] == [2, 2, 1]
    for ledger in (one, other, third):
        await ledger.aclose()


async def test_another_key_that_is_taken_up_counts_with_those_that_have_it_and_gives_nothing_back_to_them(
    redis_server, client
):
    """What the first key had under way ends as what it was: the count of the second does not fall by it."""
    moving, clock = _ledger(redis_server.url, [], accounts={"a": "first"})
    there, _ = _ledger(redis_server.url, [], accounts={"a": "second"})
    moving.belong({"a": "first"})
    held = [await _take(moving, DAY) for _n in range(3)]
    for _n in range(5):
        assert isinstance(await _take(there, DAY), Reservation)

    moving.belong({"a": "second"})
    clock.advance(1.0)
    assert isinstance(await _take(moving, DAY), Reservation)
    for one in held:
        assert isinstance(one, Reservation)
        moving.refund(one)
    await moving.flush()

    assert (await there.levels([DAY]))[DAY.key].used == 6
    assert (await moving.levels([DAY]))[DAY.key].used == 6
    back, _ = _ledger(redis_server.url, [], accounts={"a": "first"})
    assert (await back.levels([DAY]))[DAY.key].used == 3
    for ledger in (moving, there, back):
        await ledger._journal.look()
    for ledger in (moving, there, back):
        await ledger._journal.look()
    assert [ledger.condition().replicas for ledger in (moving, there)] == [2, 2]
    for ledger in (moving, there, back):
        await ledger.aclose()


async def test_two_providers_of_one_credential_count_together(redis_server, client):
    twin = msgspec.structs.replace(DAY, key="b/day", account="b")
    ledger, _ = _ledger(redis_server.url, [], accounts={"a": "f", "b": "f"})

    taken = 0
    for _n in range(15):
        found = await ledger.reserve([Offer("a", (DAY,), Cost(1.0)), Offer("b", (twin,), Cost(1.0))])
        taken += isinstance(found, Reservation)
        taken += isinstance(await _take(ledger, twin), Reservation)

    assert taken == 20
    levels = await ledger.levels([DAY, twin])
    assert levels[DAY.key].used == levels[twin.key].used == 20
    await ledger.aclose()


async def test_a_key_that_one_gateway_has_refused_does_not_shut_out_another_key(redis_server, client):
    clock = FakeClock(NOON)
    states = [StateStore(RedisState(Redis.from_url(redis_server.url)), clock) for _ in range(3)]
    rotated, old, unmoved = (
        Learned(state, {"groq": fingerprint}) for state, fingerprint in zip(states, ("new", "old", "old"), strict=True)
    )
    old.withdraw("groq", NOON + 3600, "key refused")
    old.withdraw("groq/a", NOON + 3600, "gone", gone=True)
    for _n in range(2):
        for state in states:
            await state.exchange()

    assert rotated.out(clock()).keys() == {"groq/a"}
    assert unmoved.out(clock()).keys() == {"groq", "groq/a"}
    clock.advance(3601)
    rotated.sweep(clock())
    for state in states:
        await state.flush()
    assert await states[0]._backend.read("withdrawn") == {}
    for state in states:
        await state.aclose()
