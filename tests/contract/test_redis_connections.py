"""How a gateway is connected with its Redis: near and far, by every way there is, and told in a sentence what is wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.api.responses_redis import RedisResponses
from gateway.clock import WallClock
from gateway.quota import redis_peers
from gateway.quota.buckets import Bucket
from gateway.quota.ledger import Ledger
from gateway.quota.nouns import Cost, Offer, Reservation
from gateway.quota.redis import MOST_PATIENCE, PATIENCE, open_store
from gateway.quota.redis_peers import debited
from gateway.state.redis import RedisState
from gateway.state.redis_client import CONNECTIONS, connect, disconnect, ready
from gateway.state.store import StateStore
from tests import containers
from tests.delay import delayed

engine = pytest.mark.engine

DAY = Bucket(key="a/*/day", account="a", unit="requests", limit=2000, window="rolling", period=86_400)


@pytest.fixture
def server() -> Iterator[containers.Server]:
    """A Redis of which nobody has seen anything, and that is lost as soon as the stated patience is over."""
    with containers.redis() as server:
        yield server


async def _taken(ledger: Ledger, count: int) -> int:
    found = await asyncio.gather(*(ledger.reserve([Offer("d", (DAY,), Cost(1))]) for _ in range(count)))
    return sum(isinstance(one, Reservation) for one in found)


# ── many at once, and far away ──


@engine
async def test_a_thousand_requests_and_a_thousand_claims_at_once_do_not_lose_a_healthy_store(server):
    ledger = Ledger(open_store(server.url), WallClock(), buckets=lambda: [DAY])
    state = RedisState(connect(server.url)[0])
    await ledger.serve()

    taken, *claimed = await asyncio.gather(_taken(ledger, 1000), *(state.claim(f"{n}", 60) for n in range(1000)))

    assert (taken, all(claimed), ledger.condition().lost) == (1000, True, None)
    async with Redis.from_url(server.url) as client:
        assert (await client.info("clients"))["connected_clients"] <= 2 * CONNECTIONS + 1
    await ledger.aclose()
    await state.aclose()


@engine
async def test_a_redis_100_ms_away_is_not_degraded(server):
    async with delayed(server.port, 0.1) as port:
        ledger = Ledger(open_store(f"redis://127.0.0.1:{port}"), WallClock(), buckets=lambda: [DAY])
        await ledger.serve()
        await ledger.reserve([Offer("d", (DAY,), Cost(1))])  # brings the script there

        for _ in range(25):  # while its heart beats twice
            began = time.monotonic()
            assert await _taken(ledger, 5) == 5
            assert time.monotonic() - began < 0.25  # one trip: nothing is connected meanwhile
            assert ledger.condition().lost is None
        await ledger.aclose()


@engine
async def test_the_patience_follows_the_round_trip_between_its_bounds(server):
    store = open_store(server.url)
    assert store._patience() == PATIENCE
    store._trips.extend([0.1, 5.0, 0.12])  # a trip that was late once makes no difference
    assert store._patience() == pytest.approx(0.4)
    store._trips.clear()
    store._trips.extend([3.0, 5.0])
    assert store._patience() == MOST_PATIENCE
    await store.aclose()


@engine
async def test_a_redis_beyond_the_bound_is_lost_within_it(server, monkeypatch):
    monkeypatch.setattr(redis_peers, "HEARTBEAT_PATIENCE", 4.0)
    async with delayed(server.port, 1.5) as port:
        ledger = Ledger(open_store(f"redis://127.0.0.1:{port}"), WallClock(), buckets=lambda: [DAY])
        began = time.monotonic()
        assert await _taken(ledger, 5) == 5
        assert time.monotonic() - began < 2 * MOST_PATIENCE
        assert ledger.condition().lost is not None
        await ledger.aclose()


# ── ways to connect ──


async def _works(url: str) -> None:
    client, _ = connect(url)
    try:
        async with asyncio.timeout(10):
            await ready(client)
            assert await client.set("freeway:x", "1")
            assert await client.get("freeway:x") == b"1"
    finally:
        await disconnect(client)


@engine
async def test_a_unix_socket_and_ipv6_are_ways_to_connect(tmp_path):
    with containers.redis("--unixsocket", f"{tmp_path}/s", "--bind", "127.0.0.1", "::1") as server:
        await _works(f"unix://{tmp_path}/s?db=3")
        await _works(f"redis://[::1]:{server.port}/2")


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("http://localhost", "expected redis://"),
        ("redis", "expected redis://"),
        ("unix+cluster:///x", "expected redis://"),
        ("redis://", "expected a host"),
        ("unix://", "expected the path"),
        ("redis://h:6379x/0", "the port"),
        ("redis://h/zero", "the database"),
        ("redis+cluster://h/3", "the database"),
        ("redis+cluster://h?db=3", "the option db"),
        ("redis://h?db=one", "the option db"),
        ("redis://h?db=-1", "the option db"),
        ("redis://h?decode_responses=yes", "the option decode_responses"),
        ("redis://h?socket_timeout=1", "the option socket_timeout"),
        ("redis://h?protocol=3", "the option protocol"),
        ("redis://h?max_connections=1", "the option max_connections"),
        ("redis://h?ssl_ca_certs=/x", "the option ssl_ca_certs needs TLS"),
        ("rediss://h?ssl_cert_reqs=maybe", "the option ssl_cert_reqs"),
        ("rediss://h?ssl_ca_certs=/nowhere", "the option ssl_ca_certs: expected a file of certificates"),
        (f"rediss+cluster://h?ssl_ca_certs={__file__}", "the option ssl_ca_certs: expected a file of certificates"),
        ("rediss+sentinel://h/m?ssl_keyfile=/nowhere", "the option ssl_keyfile: expected a file"),
        ("rediss://h?ssl_ca_path=/nowhere", "the option ssl_ca_path: expected a folder"),
        ("redis://h?sentinel_password=x", "the option sentinel_password"),
        ("redis+sentinel://h:1", "the master's name"),
        ("redis+sentinel://h:1/m/x", "the database"),
        ("redis+sentinel://h:1,::1:2/m", "a sentinel: expected"),
        ("redis+sentinel://h:99999/m", "a sentinel: expected"),
    ],
)
def test_an_address_that_is_wrong_is_told_in_one_sentence_that_names_what(url, named):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as told:
        connect(url)
    assert named in str(told.value)


def test_sentinels_may_be_at_addresses_of_every_kind():
    client, _ = connect("redis+sentinel://u:p%2Fw@h:1,[::1]:2,10.0.0.1/m/3")
    pool = client.connection_pool
    found = [sentinel.connection_pool.connection_kwargs for sentinel in pool.sentinel_manager.sentinels]

    assert [(one["host"], one["port"]) for one in found] == [("h", 1), ("::1", 2), ("10.0.0.1", 26379)]
    told = {name: pool.connection_kwargs[name] for name in ("username", "password", "db")}
    assert told == {"username": "u", "password": "p/w", "db": 3}


# ── what a gateway may do in Redis ──


@engine
async def test_the_documented_acl_suffices(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "redis.md").read_text("utf-8")
    line = next(line for line in text.splitlines() if line.startswith("user freeway "))
    rules = [line.replace("PASSWORD", "secret"), "user admin on >x ~* &* +@all", "user default off"]
    (tmp_path / "acl").write_text("\n".join(rules))
    with containers.redis("--aclfile", f"{tmp_path}/acl") as server:
        url = f"redis://freeway:secret@127.0.0.1:{server.port}"
        clock = WallClock()
        ledger = Ledger(open_store(url), clock, buckets=lambda: [DAY])
        state = StateStore(RedisState(connect(url)[0]), clock)
        async with Redis(port=server.port, username="admin", password="x") as admin:
            for odd in (
                "freeway:{a}:a/*/day",
                "freeway:{*}:calls",
                "freeway:{replicas}:heard",
                "freeway:{state}:counters",
            ):
                await admin.rpush(odd, "x")
            await ledger.serve()
            assert await _taken(ledger, 3) == 0
            ledger.open(DAY)
            assert await _taken(ledger, 3) == 3
            await admin.script_flush()
            assert await _taken(ledger, 3) == 3
            state.set("topic", "key", 1)
            state.count("counter", 1.5)
            await state.exchange()
            state.set("topic", "key", None)
            state.count("counter", 2.5, "use 2026-11-27")
            assert await state.counters("", "use 2026-11-27") == [{"counter": 1.5}, {"counter": 2.5}]
            await state.forget_counters("use ", "use 2026-11-28")
            assert await state.claim("x", 60)
            assert not await state.claim("x", 60)
            responses = RedisResponses(connect(url)[0], WallClock())
            await responses.keep("x", b"1")
            assert await responses.find("x") == b"1"
            assert await responses.drop("x")
            auditor = connect(url)[0]
            assert (await debited(auditor, "freeway"))[ledger.run].calls == 6
            await disconnect(auditor)
            assert ledger.condition().lost is None
            for one in (ledger, state, responses):
                await one.aclose()
            assert await admin.acl_log() == []
