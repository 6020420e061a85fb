"""
The shared store: levels in Redis (or Valkey), for any number of replicas. Its clock is the only one that counts.

An exchange is one script and one round trip. Keys of one account share a hash tag, so a Redis Cluster keeps them on one
node; there, an exchange takes one trip for each account that it has to ask. Every key expires when its level is no
different from one that was never touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from hashlib import sha1
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import msgspec
from msgspec import Struct
from redis.exceptions import NoScriptError, RedisError

from gateway.quota.buckets import Bucket, Level, calendar_window
from gateway.quota.exchange import Beat, Outcome, StoreFailure
from gateway.quota.nouns import Wanted
from gateway.quota.operations import Happening
from gateway.redis_client import connect, disconnect

PATIENCE = 0.25
"""Seconds that a request waits for Redis at most, a new connection included."""

_BEAT_PATIENCE = 1.0
_ALIVE = 5.0
"""Seconds after its last beat for which a replica counts as alive."""

_FIRST, _MORE = 8, 64
"""Deployments that are offered in the first call of an exchange, and in each further one if none of them has room."""

_HAPPENED = 256
"""What happened that is told in one call."""

_EXCHANGE = Path(__file__).with_name("redis.lua").read_text("utf-8")
_BEAT = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('EXPIRE', KEYS[1], 3600)
redis.call('SET', KEYS[2], ARGV[1] .. time[1], 'NX')
redis.call('EXPIRE', KEYS[2], 86400)
return { redis.call('ZLEXCOUNT', KEYS[1], '-', '(' .. ARGV[1]), redis.call('ZCARD', KEYS[1]), redis.call('GET', KEYS[2]) }
"""
_REPLICAS, _AGE = "freeway:{replicas}", "freeway:{replicas}:age"

_encode = msgspec.msgpack.Encoder().encode


_ELSEWHEN = -2
"""A place that says: by the clock of Redis it is another day than all that we sent, and nothing was done."""


class _Reply(Struct, array_like=True):
    now: float
    place: int
    refused: list[tuple[int, float]]
    levels: list[tuple[int, Level]]


_decode = msgspec.msgpack.Decoder(_Reply).decode

_Rule = tuple[str, float, float, tuple[float, ...]]


class Client(Protocol):
    """What is needed of redis-py's clients."""

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Awaitable[Any]: ...
    def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Awaitable[Any]: ...
    def aclose(self) -> Awaitable[None]: ...


class _Script:
    def __init__(self, text: str) -> None:
        self.text, self.sha = text, sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def call(self, client: Client, patience: float, keys: Sequence[str], *args: Any) -> Any:
        """Raises StoreFailure; after *patience* seconds at the latest."""
        try:
            async with asyncio.timeout(patience):
                try:
                    return await client.evalsha(self.sha, len(keys), *keys, *args)
                except NoScriptError:
                    return await client.eval(self.text, len(keys), *keys, *args)
        except TimeoutError as exc:
            raise StoreFailure(f"no answer within {patience:g} s") from exc
        except (RedisError, OSError) as exc:
            raise StoreFailure(f"{type(exc).__name__}: {exc}") from exc


class SharedStore:
    """
    See ``Store``. *cluster*: each account is asked by itself. *own_time* False takes the caller's moments instead of
    those of Redis, for simulations.
    """

    title, shared = "redis", True

    def __init__(self, client: Client, *, cluster: bool = False, own_time: bool = True) -> None:
        self.name = uuid4().hex[:12]
        self._client, self._cluster, self._own_time = client, cluster, own_time
        self._exchange, self._beat = _Script(_EXCHANGE), _Script(_BEAT)
        self._asked: dict[str, _Asked] = {}

    async def exchange(
        self,
        happened: Sequence[tuple[Bucket, Happening]],
        wanted: Iterable[Wanted],
        lease: str,
        now: float,
        look_at: Sequence[Bucket] = (),
    ) -> Outcome:
        outcome = Outcome(now, None, [], [])
        offered = 0
        for events, wants, looks in self._calls(happened, wanted, look_at):
            await self._call(outcome, offered, events, wants, looks, lease)
            if outcome.placed is not None:
                break
            offered += len(wants)
        return outcome

    async def _call(
        self,
        outcome: Outcome,
        offered: int,
        events: Sequence[tuple[Bucket, Happening]],
        wants: Sequence[Wanted],
        looks: Sequence[Bucket],
        lease: str,
    ) -> None:
        """One call of an exchange, which goes on with *outcome* after *offered* deployments."""
        now = outcome.now
        places: dict[str, int] = {}  # from one, as Lua counts
        asked: list[_Asked] = []

        def place(bucket: Bucket) -> int:
            found = places.get(bucket.key)
            if found is None:
                asked.append(self._asking(bucket, now))
                found = places[bucket.key] = len(asked)
            return found

        told = [(place(bucket), event) for bucket, event in events]
        offer = [[(place(bucket), want.cost.of(bucket.unit)) for bucket in want.buckets] for want in wants]
        for bucket in looks:
            place(bucket)
        if not asked:  # no bucket at all: there is nothing to ask
            if wants:
                outcome.placed = (offered, wants[0])
            return
        body = _encode((-1.0 if self._own_time else now, lease, [a.rule for a in asked], told, offer))
        reply = _decode(await self._exchange.call(self._client, PATIENCE, [a.key for a in asked], body))
        outcome.now = reply.now
        if reply.place == _ELSEWHEN:
            await self._call(outcome, offered, events, wants, looks, lease)
            return
        outcome.levels += [(asked[key - 1].bucket, level) for key, level in reply.levels]
        for key, opens_in in reply.refused:
            opens_at = float("inf") if opens_in < 0 else reply.now + opens_in
            outcome.refusals.append((asked[key - 1].bucket, opens_at))
        if reply.place >= 0:
            outcome.placed = (offered + reply.place, wants[reply.place])

    async def beat(self, name: str) -> Beat:
        rank, count, age = await self._beat.call(self._client, _BEAT_PATIENCE, [_REPLICAS, _AGE], name, _ALIVE)
        return Beat(int(rank), int(count), str(age))

    async def aclose(self) -> None:
        await disconnect(self._client)

    def _asking(self, bucket: Bucket, now: float) -> _Asked:
        """How the script is asked for *bucket*."""
        found = self._asked.get(bucket.key)
        if found is None or found.bucket is not bucket or not found.since <= now < found.until:
            found = self._asked[bucket.key] = _asked(bucket, now)
        return found

    def _calls(
        self, happened: Sequence[tuple[Bucket, Happening]], wanted: Iterable[Wanted], look_at: Sequence[Bucket]
    ) -> Iterator[tuple[Sequence[tuple[Bucket, Happening]], Sequence[Wanted], Sequence[Bucket]]]:
        """An exchange as calls: as few as can be, and the first goes with whatever else there is to say."""
        if self._cluster:
            yield from self._calls_by_account(happened, wanted, look_at)
            return
        for start in range(_HAPPENED, len(happened), _HAPPENED):
            yield happened[start : start + _HAPPENED], (), ()
        offers = iter(wanted)
        first = list(islice(offers, _FIRST))
        if happened or first or look_at:
            yield happened[:_HAPPENED], first, look_at
        while more := list(islice(offers, _MORE)):
            yield (), more, ()

    def _calls_by_account(
        self, happened: Sequence[tuple[Bucket, Happening]], wanted: Iterable[Wanted], look_at: Sequence[Bucket]
    ) -> Iterator[tuple[Sequence[tuple[Bucket, Happening]], Sequence[Wanted], Sequence[Bucket]]]:
        accounts = dict.fromkeys([*(bucket.account for bucket, _ in happened), *(u.account for u in look_at)])
        for account in accounts:
            events = [event for event in happened if event[0].account == account]
            looks = [bucket for bucket in look_at if bucket.account == account]
            for start in range(0, max(len(events), 1), _HAPPENED):
                yield events[start : start + _HAPPENED], (), looks if start == 0 else ()
        for _, run in groupby(wanted, key=lambda want: want.buckets[0].account if want.buckets else ""):
            while more := list(islice(run, _FIRST)):
                yield (), more, ()


class _Asked(Struct, frozen=True):
    """The key of *bucket*, and its rule, which holds from *since* to *until*."""

    bucket: Bucket
    key: str
    rule: _Rule
    since: float = 0.0
    until: float = float("inf")


def _asked(bucket: Bucket, now: float) -> _Asked:
    """*bucket* as the script wants it: a calendar with the windows around *now*, whatever time it is in Redis."""
    key = f"freeway:{{{bucket.account}}}:{bucket.key}"
    if bucket.calendar is None:
        return _Asked(bucket, key, (bucket.window, bucket.period, bucket.limit, ()))
    start, end = calendar_window(bucket.calendar, bucket.zone, now)
    before, _ = calendar_window(bucket.calendar, bucket.zone, start - 1.0)
    _, after = calendar_window(bucket.calendar, bucket.zone, end)
    rule = (bucket.window, bucket.period, bucket.limit, (before, start, end, after))
    return _Asked(bucket, key, rule, start, end)


def open_store(url: str) -> SharedStore:
    """The store at *url*, which nobody has called yet. Raises ``ValueError`` if it is no address that ``connect`` knows."""
    client, cluster = connect(url)
    return SharedStore(client, cluster=cluster)
