"""
The shared store: levels in Redis (or Valkey), for any number of replicas. Its clock is the only one that counts.

An exchange is one script and one round trip. Keys of one account share a hash tag, so a Redis Cluster keeps them on one
node; there, an exchange takes one trip for each account that it has to ask. Every key expires when its level is no
different from one that was never touched. The calls of a process are numbered, and the store remembers the last of each:
so one whose answer was lost can be repeated, or found out about, and a store that has lost its memory is noticed.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import msgspec
from msgspec import Struct

from gateway.quota.buckets import WHEN_FREED, Bucket, Level, calendar_window, copy_of
from gateway.quota.degraded import ALIVE, PART_FOR
from gateway.quota.exchange import (
    Ask,
    AskResult,
    ExchangeResult,
    Heartbeat,
    Orphan,
    StoreFailure,
    StoreForgot,
    Withheld,
)
from gateway.quota.operations import Entry
from gateway.quota.redis_script import Client, Script, within
from gateway.redis_client import FAILURES, connect, disconnect, ready

PATIENCE = 0.25
"""Seconds that a request waits for Redis. Time in which this process did not get to look whether the answer is there is not
counted, and a connection is there already: they are made beside the heartbeats."""

MOST_PATIENCE = 1.0
"""Seconds that a request waits at most for a Redis that is far away: up to _TRIPS of the shortest of the last round trips."""

_TRIPS, _REMEMBERED_TRIPS = 4, 8

_CONNECT_PATIENCE = 3.0
"""Seconds for making connections: three round trips and, with TLS, two more, of a Redis that may be far. No request waits."""

_HEARTBEAT_PATIENCE = 1.0

_GIVEN_UP = ALIVE + PART_FOR
"""Seconds after its last heartbeat for which a replica that did not sign off is told as missing."""

_LISTEN_AGAIN = 1.0
"""Seconds after which a process that has lost the line on which it hears of others tries again."""

_EXCHANGE, _FENCE, _HEARTBEAT = (
    Path(__file__).with_name(name).read_text("utf-8") for name in ("redis.lua", "fence.lua", "heartbeat.lua")
)
_SIGN_OFF = "return redis.call('ZREM', KEYS[1], ARGV[1])"
_REPLICAS = "freeway:{replicas}:heard"

_encode = msgspec.msgpack.Encoder().encode

_DONE, _ELSEWHEN, _FORGOT, _LATE = 0, -2, -3, -4
"""What became of a call; see redis.lua."""

_NEVER, _FREED = -1.0, -2.0


class _Reply(Struct, array_like=True):
    now: float
    status: int
    answers: list[tuple[int, list[tuple[int, float]]]]
    levels: list[tuple[int, Level]]
    calls: tuple[str, int]
    set_aside: list[int]


_decode = msgspec.msgpack.Decoder(_Reply).decode

_Rule = tuple[str, float, float, tuple[float, ...], float]


class _Call(Struct, eq=False):
    """One call of an exchange: all that goes to one node. *tag* is whose calls are numbered together."""

    number: int
    tag: str
    entries: Sequence[Entry]
    asks: Sequence[Ask]
    asked: list[_Asked]


class _Places:
    """
    The buckets of one call, *asked* once for each of their *keys*, and numbered from one on, as Lua counts. *same* are
    those whose key another has, too: their account has the same credential under another name.
    """

    def __init__(self, asking: Callable[[Bucket], _Asked]) -> None:
        self._asking = asking
        self.asked: list[_Asked] = []
        self.keys: dict[str, int] = {}
        self.same: list[tuple[int, Bucket]] = []
        self._found: dict[str, int] = {}

    def of(self, bucket: Bucket) -> int:
        """The number of *bucket*."""
        found = self._found.get(bucket.key)
        if found is None:
            found = self._found[bucket.key] = self._add(bucket)
        return found

    def _add(self, bucket: Bucket) -> int:
        asking = self._asking(bucket)
        found = self.keys.get(asking.key)
        if found is None:
            self.asked.append(asking)
            found = self.keys[asking.key] = len(self.asked)
        else:
            self.same.append((found, bucket))
        return found


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
        self._accounts, self._channel = accounts, f"{namespace}:freed"
        self._ours = ",".join(sorted(set(accounts.values())))
        self._exchange, self._fence = Script(_EXCHANGE), Script(_FENCE)
        self._heartbeat, self._sign_off = Script(_HEARTBEAT), Script(_SIGN_OFF)
        self._asked: dict[str, _Asked] = {}
        self._number = 0
        self._answered: dict[str, int] = {}
        self._seen: dict[str, tuple[str, int]] = {}  # how many calls a tag has had
        self._doubt: _Call | None = None
        self._orphans: list[Orphan] = []
        self._trips: deque[float] = deque(maxlen=_REMEMBERED_TRIPS)

    async def exchange(
        self, entries: Sequence[Entry], asks: Sequence[Ask], looks: Sequence[Bucket], now: float, withheld: Withheld
    ) -> ExchangeResult:
        result = ExchangeResult(now, [AskResult(-1, []) for _ in asks], [])
        if not self._cluster:
            await self._call(result, "*", entries, list(enumerate(asks)), looks, withheld)
            return result
        tags = dict.fromkeys([*(self._tag(entry.bucket) for entry in entries), *(self._tag(look) for look in looks)])
        for tag in tags:
            told = [entry for entry in entries if self._tag(entry.bucket) == tag]
            seen = [bucket for bucket in looks if self._tag(bucket) == tag]
            await self._call(result, tag, told, [], seen, withheld)
        for index, ask in enumerate(asks):
            await self._ask_in_cluster(result, index, ask, withheld)
        return result

    async def _ask_in_cluster(self, result: ExchangeResult, index: int, ask: Ask, withheld: Withheld) -> None:
        passed = 0
        for tag, run in groupby(ask.offers, key=lambda offer: self._tag(offer.buckets[0]) if offer.buckets else ""):
            offers = list(run)
            answer = result.answers[index]
            await self._call(result, tag, [], [(index, Ask(ask.lease, offers))], [], withheld)
            if answer.place >= 0:
                answer.place += passed
                return
            passed += len(offers)

    async def _call(
        self,
        result: ExchangeResult,
        tag: str,
        entries: Sequence[Entry],
        asks: Sequence[tuple[int, Ask]],
        looks: Sequence[Bucket],
        withheld: Withheld,
    ) -> None:
        """One call of an exchange, whose answers go to *result*; each of *asks* comes with its index there."""
        now = result.now
        places = _Places(lambda bucket: self._asking(bucket, now))
        place, asked = places.of, places.asked
        told = [(place(entry.bucket), entry.operation) for entry in entries]
        offered = [
            (ask.lease, [[(place(u), offer.cost.of(u.unit)) for u in offer.buckets] for offer in ask.offers])
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
        rules = [a.rule if not (amount := withheld(a.bucket)) else (*a.rule[:4], amount) for a in asked]
        known = self._answered.get(tag, 0), self._seen.get(tag, ("", 0))
        body = (-1.0 if self._own_time else now, call.number, *known, rules, told, offered)
        self._doubt = call
        beside = [_process_key(tag, self.name), f"freeway:{{{tag}}}:calls", f"freeway:{{{tag}}}:waiting"]
        args = (self._patience(), [*beside, *places.keys], _encode(body), self._channel)
        reply = _decoded(await self._timed(self._exchange, *args))
        self._doubt = None
        result.now = reply.now
        if reply.status == _ELSEWHEN:
            await self._call(result, tag, entries, asks, looks, withheld)
            return
        self._check(reply, call)
        for (index, _), (placed, refused) in zip(asks, reply.answers, strict=True):
            answer = result.answers[index]
            answer.place = placed
            answer.refusals += [(asked[key - 1].bucket, _opens(opens, reply.now)) for key, opens in refused]
        result.levels += [(asked[key - 1].bucket, level) for key, level in reply.levels]
        result.set_aside += [asked[key - 1].bucket for key in reply.set_aside]
        levels = dict(reply.levels) if places.same else {}
        result.levels += [(bucket, copy_of(levels[key])) for key, bucket in places.same if key in levels]

    def _check(self, reply: _Reply, call: _Call) -> None:
        """Take down that *call* was answered, unless it was refused."""
        if reply.status == _FORGOT:
            self._answered.pop(call.tag, None)
            self._seen.pop(call.tag, None)
            raise StoreForgot("it has lost its memory")
        if reply.status == _LATE:
            raise StoreFailure("a call came after a later one")
        self._answered[call.tag], self._seen[call.tag] = call.number, reply.calls
        for entry in call.entries:
            entry.done = True

    async def _timed(self, script: Script, patience: float, keys: Sequence[str], *args: Any) -> Any:
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
            key = _process_key(call.tag, self.name)
            last, answer = await self._fence.call(self._client, _HEARTBEAT_PATIENCE, [key], self._number)
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
        args = (self._member(name), _GIVEN_UP, -1.0 if self._own_time else now)
        await within(_CONNECT_PATIENCE, ready(self._client))
        heard = await self._timed(self._heartbeat, _HEARTBEAT_PATIENCE, [_REPLICAS], *args)
        ago = {peer: float(seconds) for member, seconds in heard if (peer := self._sharing(member)) is not None}
        peers = sorted(member for member, seconds in ago.items() if seconds < ALIVE)
        missing = tuple((member, seconds) for member, seconds in ago.items() if seconds >= ALIVE)
        return Heartbeat(peers.index(name), tuple(peers), missing)

    async def sign_off(self, name: str) -> None:
        await self._sign_off.call(self._client, _HEARTBEAT_PATIENCE, [_REPLICAS], self._member(name))

    def _member(self, name: str) -> str:
        """How *name* and the accounts that it uses are told to the others."""
        return f"{name} {self._ours}"

    def _sharing(self, member: bytes) -> str | None:
        """The name of a process that uses an account of ours; None: it does not."""
        name, _, accounts = member.decode(errors="replace").partition(" ")
        return name if accounts == self._ours or set(accounts.split(",")) & set(self._ours.split(",")) else None

    async def listen(self, freed: Callable[[], None]) -> None:
        while True:
            try:
                await self._listen(freed)
            except FAILURES:
                await asyncio.sleep(_LISTEN_AGAIN)

    async def _listen(self, freed: Callable[[], None]) -> None:
        own = self.name.encode()
        async with self._client.pubsub() as heard:
            await heard.subscribe(self._channel)
            async for message in heard.listen():
                if message["type"] == "message" and not message["data"].endswith(own):
                    freed()

    async def aclose(self) -> None:
        await disconnect(self._client)

    def _asking(self, bucket: Bucket, now: float) -> _Asked:
        """How the script is asked for *bucket*."""
        found = self._asked.get(bucket.key)
        if found is None or found.bucket is not bucket or not found.since <= now < found.until:
            found = self._asked[bucket.key] = _asked(bucket, self._key(bucket), now)
        return found

    def _tag(self, bucket: Bucket) -> str:
        """Whose levels lie on one node of a cluster: those of one credential."""
        return self._accounts.get(bucket.account, bucket.account)

    def _key(self, bucket: Bucket) -> str:
        """Where the level of *bucket* is: it says nothing of a provider whose account's credential is known."""
        if bucket.account not in self._accounts:
            return f"freeway:{{{bucket.account}}}:{bucket.key}"
        return f"freeway:{{{self._tag(bucket)}}}:{bucket.key.removeprefix(bucket.account + '/')}"


def _decoded(answer: bytes) -> _Reply:
    try:
        return _decode(answer)
    except msgspec.DecodeError as exc:
        raise StoreFailure(f"an answer cannot be read: {exc}") from exc


def _process_key(tag: str, name: str) -> str:
    return f"freeway:{{{tag}}}:process:{name}"


def _opens(opens_in: float, now: float) -> float:
    if opens_in == _NEVER:
        return math.inf
    return WHEN_FREED if opens_in == _FREED else now + opens_in


class _Asked(Struct, frozen=True):
    """The key of *bucket*, and its rule, which holds from *since* to *until*."""

    bucket: Bucket
    key: str
    rule: _Rule
    since: float = 0.0
    until: float = float("inf")


def _asked(bucket: Bucket, key: str, now: float) -> _Asked:
    """*bucket* as the script wants it: a calendar with the windows around *now*, whatever time it is in Redis."""
    if bucket.calendar is None:
        return _Asked(bucket, key, (bucket.window, bucket.period, bucket.limit, (), 0.0))
    start, end = calendar_window(bucket.calendar, bucket.zone, now)
    before, _ = calendar_window(bucket.calendar, bucket.zone, start - 1.0)
    _, after = calendar_window(bucket.calendar, bucket.zone, end)
    rule = (bucket.window, bucket.period, bucket.limit, (before, start, end, after), 0.0)
    return _Asked(bucket, key, rule, start, end)


def open_store(url: str, accounts: Mapping[str, str] = MappingProxyType({}), namespace: str = "freeway") -> SharedStore:
    """
    The store at *url*, which has not been called yet; see ``SharedStore``. Raises ``ValueError`` if it is no address that
    ``connect`` knows.
    """
    client, cluster = connect(url)
    return SharedStore(client, cluster=cluster, accounts=accounts, namespace=namespace)
