"""
The shared store: levels in Redis (or Valkey), for any number of replicas. Its clock is the only one that counts.

An exchange is one script and one round trip. Keys of one account share a hash tag, so a Redis Cluster keeps them on one
node; there, an exchange takes one trip for each account that it has to ask. Every key expires when its level is no
different from one that was never touched. The calls of a process are numbered, and the store remembers the last of each:
so one whose answer was lost can be repeated, or found out about, and a store that has lost its memory is noticed.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import msgspec
from msgspec import Raw, Struct

from gateway.quota import redis_peers
from gateway.quota.buckets import Bucket, Level, roll
from gateway.quota.debited import counted
from gateway.quota.exchange import (
    Ask,
    AskResult,
    ExchangeResult,
    Heartbeat,
    Look,
    Orphan,
    StoreFailure,
    StoreForgot,
    Withheld,
)
from gateway.quota.operations import Entry
from gateway.quota.redis_levels import (
    Asked,
    Names,
    Places,
    as_told,
    batched,
    calls_key,
    changed_key,
    fingerprint,
    level_in,
    opens_at,
    process_key,
    unwrapped,
)
from gateway.quota.redis_peers import RedisPeers
from gateway.quota.redis_script import Client, Patience, Script
from gateway.state.redis_client import connect, disconnect

PATIENCE = 0.25
"""Seconds that a request waits for Redis. Time in which this process did not get to look whether the answer is there is not
counted, and a connection is there already: they are made beside the heartbeats."""

MOST_PATIENCE = 1.0
"""Seconds that a request waits at most for a Redis that is far away: up to _TRIPS of the shortest of the last round trips."""

_TRIPS, _REMEMBERED_TRIPS = 4, 8

_SEEN_AT_ONCE = 1000
"""Levels that one look asks for at most, besides those that changed."""

_EXCHANGE, _LOOK, _FENCE = (
    Path(__file__).with_name(name).read_text("utf-8") for name in ("redis.lua", "look.lua", "fence.lua")
)

_encode = msgspec.msgpack.Encoder().encode

_DONE, _ELSEWHEN, _FORGOT, _LATE = 0, -2, -3, -4
"""What became of a call; see redis.lua."""


class _Reply(Struct, array_like=True):
    now: float
    status: int
    answers: list[tuple[int, list[tuple[int, float]]]]
    levels: list[tuple[int, Raw]]
    calls: tuple[str, int]
    set_aside: list[int]


class _Seen(Struct, array_like=True):
    now: float
    calls: tuple[str, int]
    anew: bool
    levels: list[tuple[str, Raw]]


_decode = msgspec.msgpack.Decoder(_Reply).decode

_decode_seen = msgspec.msgpack.Decoder(_Seen).decode


class _Call(Struct, eq=False):
    """One call of an exchange: all that goes to one node. *tag* is whose calls are numbered together."""

    number: int
    tag: str
    entries: Sequence[Entry]
    asks: Sequence[Ask]
    asked: list[Asked]


class _Known:
    """What a process has seen of the levels, and up to which call."""

    def __init__(self) -> None:
        self.levels: set[str] = set()  # the buckets, by key, that are as they were seen but for what changes since
        self.changes: dict[str, tuple[str, int]] = {}  # the calls of each tag of which it has seen what they changed
        self._at: dict[str, int] = {}  # the call after which each level was seen last

    def see(self, key: str, call: int) -> bool:
        """The level at *key* as it is after that *call*: whether that is not older than what was seen of it."""
        if call < self._at.get(key, 0):
            return False
        self._at[key] = call
        return True

    def begin_anew(self) -> None:
        """Too much has changed since it was seen."""
        self.levels.clear()
        self.changes.clear()

    def forget(self) -> None:
        """What was seen is no more, and calls are counted from one on again."""
        self.begin_anew()
        self._at.clear()


class _Making(Struct, eq=False):
    """An exchange that is under way: what came of it so far, and how long it may take."""

    result: ExchangeResult
    withheld: Withheld
    patience: Patience


class SharedStore:
    """
    See ``Store``. *cluster*: each account is asked by itself. *own_time* False takes the caller's moments instead of
    those of Redis, for simulations. *accounts* are the fingerprints of the credentials by account: levels are kept under
    them, so that gateways with the same credential count together, whatever *namespace* they tell each other more in.
    """

    title, shared = "redis", True

    def __init__(
        self,
        client: Client,
        *,
        cluster: bool = False,
        own_time: bool = True,
        accounts: Mapping[str, str] = MappingProxyType({}),
        namespace: str = "freeway",
    ) -> None:
        self.name = uuid4().hex[:12]
        self._client, self._cluster, self._own_time = client, cluster, own_time
        self._names, self._known, self._channel = Names(accounts), _Known(), f"{namespace}:freed"
        self._peers = RedisPeers(client, self.name, self._channel, accounts)
        self._exchange, self._look, self._fence = Script(_EXCHANGE), Script(_LOOK), Script(_FENCE)
        self._number = 0
        self._answered, self._debited = dict[str, int](), dict[str, int]()  # the last call, and all counted for us
        self._seen: dict[str, tuple[str, int]] = {}  # how many calls a tag has had
        self._doubt: _Call | None = None
        self._orphans: list[Orphan] = []
        self._trips: deque[float] = deque(maxlen=_REMEMBERED_TRIPS)

    async def exchange(
        self,
        entries: Sequence[Entry],
        asks: Sequence[Ask],
        looks: Sequence[Bucket],
        now: float,
        withheld: Withheld,
        waited: float = 0.0,
    ) -> ExchangeResult:
        result = ExchangeResult(now, [AskResult(-1, []) for _ in asks], [])
        making = _Making(result, withheld, Patience(max(0.0, self._patience() - waited)))
        if not self._cluster:
            await self._call(making, "*", entries, list(enumerate(asks)), looks)
        else:
            tag = self._names.tag
            for each in dict.fromkeys([*(tag(entry.bucket) for entry in entries), *(tag(look) for look in looks)]):
                told = [entry for entry in entries if tag(entry.bucket) == each]
                await self._call(making, each, told, [], [bucket for bucket in looks if tag(bucket) == each])
            for index, ask in enumerate(asks):
                await self._ask_in_cluster(making, index, ask)
        result.waited = making.patience.waited
        return result

    async def _ask_in_cluster(self, making: _Making, index: int, ask: Ask) -> None:
        passed, tag_of = 0, self._names.tag
        for tag, run in groupby(ask.offers, key=lambda offer: tag_of(offer.buckets[0]) if offer.buckets else ""):
            offers = list(run)
            answer = making.result.answers[index]
            await self._call(making, tag, [], [(index, Ask(ask.lease, offers, ask.turn))], [])
            if answer.place >= 0:
                answer.place += passed
                return
            passed += len(offers)

    async def _call(
        self,
        making: _Making,
        tag: str,
        entries: Sequence[Entry],
        asks: Sequence[tuple[int, Ask]],
        looks: Sequence[Bucket],
    ) -> None:
        """One call of an exchange, whose answers go to its result; each of *asks* comes with its index there."""
        result, now = making.result, making.result.now
        places = Places(lambda bucket: self._names.asked(bucket, now))
        place, asked = places.of, places.asked
        told = [(place(entry.bucket), as_told(entry.operation)) for entry in entries]
        offered = [
            (
                ask.lease,
                [[(place(u), offer.cost.of(u.unit)) for u in offer.buckets] for offer in ask.offers],
                fingerprint(ask.turn.client),
                ask.turn.waiting,
                ask.turn.priority,
                ask.offers[0].call if ask.offers else False,
            )
            for _, ask in asks
        ]
        for bucket in looks:
            place(bucket)
        if not asked:  # no bucket at all: there is nothing to ask
            for index, ask in asks:
                result.answers[index].place = 0 if ask.offers else -1
            return
        self._number += 1
        call = _Call(self._number, tag, entries, [ask for _, ask in asks], asked)
        rules = [a.rule if not (amount := making.withheld(a.bucket)) else (*a.rule[:-1], amount) for a in asked]
        known = self._answered.get(tag, 0), self._seen.get(tag, ("", 0))
        body = (-1.0 if self._own_time else now, call.number, *known, rules, told, offered, self._debited.get(tag, 0))
        self._doubt = call
        beside = (calls_key(tag), f"freeway:{{{tag}}}:waiting", changed_key(tag), f"freeway:{{{tag}}}:turns")
        args = [process_key(tag, self.name), *beside, *places.keys], _encode(body), self._channel
        reply = _decoded(await self._timed(self._exchange, making.patience, *args))
        self._doubt = None
        result.now = reply.now
        if reply.status == _ELSEWHEN:
            await self._call(making, tag, entries, asks, looks)
            return
        self._check(reply, call)
        for (index, _), (placed, refused) in zip(asks, reply.answers, strict=True):
            answer = result.answers[index]
            answer.place = placed
            answer.refusals += [(asked[key - 1].bucket, opens_at(opens, reply.now)) for key, opens in refused]
        for key, value in reply.levels:
            levels, _ = self._read(asked[key - 1].key, unwrapped(value), reply.calls[1], reply.now)
            result.levels += levels
        result.set_aside += [asked[key - 1].bucket for key in reply.set_aside]

    def _read(
        self, key: str, value: bytes, call: int, now: float
    ) -> tuple[list[tuple[Bucket, Level | None]], list[Bucket]]:
        """The levels, rolled to *now*, of the buckets at *key*, whose *value* was that after *call*; and those that no look tells."""
        levels: list[tuple[Bucket, Level | None]] = []
        again: list[Bucket] = []
        if not self._known.see(key, call):
            return levels, again
        for bucket in self._names.called(key):
            level = level_in(value, bucket) if value else None
            if level is not None:
                roll(bucket, level, now)
            elif value:
                again.append(bucket)
                continue
            self._known.levels.add(bucket.key)
            levels.append((bucket, level))
        return levels, again

    async def look(self, buckets: Sequence[Bucket], now: float, waited: float = 0.0) -> Look:
        by_tag: dict[str, Sequence[Bucket]] = {"*": buckets} if buckets else {}
        if self._cluster:
            tag_of = self._names.tag
            by_tag = {tag: [*some] for tag, some in groupby(sorted(buckets, key=tag_of), key=tag_of)}
        seconds = max(0.0, self._patience() - waited)
        made = await asyncio.gather(
            *(self._look_at(tag, some, now, Patience(seconds)) for tag, some in by_tag.items()), return_exceptions=True
        )
        found = Look(now)
        for one in made:
            if isinstance(one, BaseException):
                raise one
            found.levels += one.levels
            found.again += one.again
            found.now, found.waited = one.now, max(found.waited, one.waited)
        return found

    async def _look_at(self, tag: str, buckets: Sequence[Bucket], now: float, patience: Patience) -> Look:
        """A look at what is on one node. Where memory was lost, only an exchange tells: of any bucket."""
        unseen = dict.fromkeys(self._names.asked(b, now).key for b in buckets if b.key not in self._known.levels)
        found, seen = Look(now), self._seen.get(tag, ("", 0))
        for some in batched([*unseen], _SEEN_AT_ONCE) or [[]]:
            keys = [calls_key(tag), changed_key(tag), *some]
            reply = _decode_seen(await self._timed(self._look, patience, keys, *self._known.changes.get(tag, ("", -1))))
            if seen[0] and (reply.calls[0] != seen[0] or reply.calls[1] < seen[1]):
                return Look(now, again=[buckets[0]])
            if reply.anew:
                self._known.begin_anew()
                return await self._look_at(tag, buckets, now, patience)
            self._known.changes[tag] = reply.calls
            found.now, found.waited = reply.now if self._own_time else now, patience.waited
            for key, value in reply.levels:
                levels, again = self._read(key, unwrapped(value), reply.calls[1], found.now)
                found.levels += levels
                found.again += again
        return found

    def seen(self, buckets: Sequence[Bucket]) -> bool:
        return all(bucket.key in self._known.levels for bucket in buckets)

    def _check(self, reply: _Reply, call: _Call) -> None:
        """Take down that *call* was answered, unless it was refused."""
        if reply.status == _FORGOT:
            self._answered.pop(call.tag, None)
            self._seen.pop(call.tag, None)
            self._known.forget()
            raise StoreForgot("it has lost its memory")
        if reply.status == _LATE:
            raise StoreFailure("a call came after a later one")
        self._answered[call.tag], self._seen[call.tag] = call.number, reply.calls
        self._known.changes.setdefault(call.tag, reply.calls)
        self._debited[call.tag] = self._debited.get(call.tag, 0) + counted(call.asks, [p for p, _ in reply.answers])
        for entry in call.entries:
            entry.done = True

    async def _timed(self, script: Script, patience: Patience, keys: Sequence[str], *args: Any) -> Any:
        sent_at = time.monotonic()
        answer = await script.call(self._client, patience, keys, *args)
        self._trips.append(time.monotonic() - sent_at)
        return answer

    def _patience(self) -> float:
        """How long a request waits: longer where every round trip is long. One of ours that was late makes no difference."""
        return max(PATIENCE, min(MOST_PATIENCE, _TRIPS * min(self._trips, default=0.0)))

    async def clear_doubt(self) -> list[Orphan]:
        call = self._doubt
        if call is not None:
            self._number += 1
            key = process_key(call.tag, self.name)
            last, answer = await self._fence.call(
                self._client, Patience(redis_peers.HEARTBEAT_PATIENCE), [key], self._number
            )
            self._doubt = None
            if last == call.number and (reply := _decoded(answer)).status == _DONE:
                self._check(reply, call)
                self._orphans += [
                    Orphan(ask.lease, ask.offers[place], reply.now)
                    for ask, (place, _) in zip(call.asks, reply.answers, strict=True)
                    if place >= 0
                ]
        orphans, self._orphans = self._orphans, []
        return orphans

    async def heartbeat(self, name: str, now: float) -> Heartbeat:
        sent_at = time.monotonic()
        beat = await self._peers.heartbeat(name, None if self._own_time else now)
        self._trips.append(time.monotonic() - sent_at)
        return beat

    def belong(self, accounts: Mapping[str, str]) -> None:
        self._names.belong(accounts)
        self._peers.belong(accounts)

    async def sign_off(self, name: str) -> None:
        await self._peers.sign_off(name)

    async def listen(self, freed: Callable[[], None]) -> None:
        await self._peers.listen(freed)

    async def aclose(self) -> None:
        await disconnect(self._client)


def _decoded(answer: bytes) -> _Reply:
    try:
        return _decode(answer)
    except msgspec.DecodeError as exc:
        raise StoreFailure(f"an answer cannot be read: {exc}") from exc


def open_store(url: str, accounts: Mapping[str, str] = MappingProxyType({}), namespace: str = "freeway") -> SharedStore:
    """
    The store at *url*, which has not been called yet; see ``SharedStore``. Raises ``ValueError`` if it is no address that
    ``connect`` knows.
    """
    client, cluster = connect(url)
    return SharedStore(client, cluster=cluster, accounts=accounts, namespace=namespace)
