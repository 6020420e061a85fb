"""The state of several gateways: hashes in Redis (or Valkey), all with one hash tag, so that a cluster keeps them together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from uuid import uuid4

from redis.exceptions import ResponseError

from gateway.state.redis_client import FAILURES, disconnect, why
from gateway.state.store import BACKEND, StateFailure

_PATIENCE = 3.0
"""Seconds for one operation, which may have to connect first. No request waits for it."""

_ASIDE_FOR = 86_400
"""Seconds for which a value that cannot be read is kept under another name."""

_NO_EXPIRY = -1

_WRITE = """
local gone = tonumber(ARGV[4])
for place = 5, 4 + gone do redis.call('HDEL', KEYS[1], ARGV[place]) end
for place = 5 + gone, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[place], ARGV[place + 1]) end
redis.call('HINCRBY', KEYS[2], ARGV[1], 1)
redis.call('HSETNX', KEYS[2], ARGV[2], ARGV[3])
"""
"""All of it at once, of whatever kind the client is: redis-py's transactions in a cluster connect in a loop of their own."""

_COUNT = """
redis.call('HSET', KEYS[1], ARGV[1], '')
for place = 2, #ARGV, 2 do
  local counted = redis.pcall('HINCRBYFLOAT', KEYS[2], ARGV[place], ARGV[place + 1])
  if type(counted) == 'table' and counted.err then
    if string.find(counted.err, 'WRONGTYPE') or string.find(counted.err, 'OOM') then return counted end
    redis.call('HSET', KEYS[2], ARGV[place], ARGV[place + 1])
  end
end
"""
"""A counter whose value is no number begins anew; the others are counted once."""

_T = TypeVar("_T")


class RedisState:
    """
    See ``StateBackend``. *client* is redis-py's, of whatever kind. Gateways of one *namespace* share it.

    A key of another type than ours is set aside for a day, and begins anew: one odd value is not to end the state of all.
    """

    def __init__(self, client: Any, namespace: str = "freeway") -> None:
        self._client = client
        self._prefix = f"{namespace}:{{state}}:"
        self._groups, self._revisions = f"{self._prefix}groups", f"{self._prefix}revisions"

    async def write(self, topic: str, entries: Mapping[str, bytes | None]) -> None:
        gone = [key for key, value in entries.items() if value is None]
        kept = {key: value for key, value in entries.items() if value is not None}

        changed = [*gone, *(part for entry in kept.items() for part in entry)]
        keys, named = (self._entries(topic), self._revisions), (topic, BACKEND, uuid4().hex, len(gone))
        await self._soon(lambda: self._client.eval(_WRITE, len(keys), *keys, *named, *changed), topic)

    async def read(self, topic: str) -> dict[str, bytes]:
        found = await self._soon(lambda: self._client.hgetall(self._entries(topic)), topic)
        return {key.decode(errors="replace"): value for key, value in found.items()}

    async def revisions(self) -> dict[str, str]:
        found = await self._soon(lambda: self._client.hgetall(self._revisions))
        return {topic.decode(errors="replace"): number.decode(errors="replace") for topic, number in found.items()}

    async def count(self, amounts: Mapping[str, float], group: str = "") -> None:
        keys, told = (self._groups, self._counters(group)), [part for each in amounts.items() for part in each]
        await self._soon(lambda: self._client.eval(_COUNT, len(keys), *keys, group, *told), group=group)

    async def counters(self, group: str = "") -> dict[str, float]:
        found = await self._soon(lambda: self._client.hgetall(self._counters(group)), group=group)
        return {
            key.decode(errors="replace"): number for key, text in found.items() if (number := _number(text)) is not None
        }

    async def counter_groups(self) -> list[str]:
        """An earlier version did not write down that there is the group without a name."""
        found = await self._soon(lambda: self._client.hgetall(self._groups))
        return sorted({"", *(name.decode(errors="replace") for name in found)})

    async def forget_counters(self, first: str, last: str) -> None:
        async def run() -> None:
            groups = await self._client.hgetall(self._groups)
            for name in [name for name in groups if first.encode() <= name < last.encode()]:
                await self._client.delete(self._counters(name.decode(errors="replace")))
                await self._client.hdel(self._groups, name)

        await self._soon(run)

    async def claim(self, what: str, seconds: float) -> bool:
        key, milliseconds = f"{self._prefix}claim:{what}", max(1, round(seconds * 1000))

        async def run() -> bool:
            if await self._client.set(key, b"1", nx=True, px=milliseconds):
                return True
            if await self._client.pttl(key) == _NO_EXPIRY:  # not one of ours: it would never end
                await self._client.pexpire(key, milliseconds)
            return False

        return await self._soon(run)

    async def aclose(self) -> None:
        await disconnect(self._client)

    def _entries(self, topic: str) -> str:
        return f"{self._prefix}entries:{topic}"

    def _counters(self, group: str) -> str:
        return f"{self._prefix}counters:{group}" if group else f"{self._prefix}counters"

    async def _soon(self, run: Callable[[], Awaitable[_T]], topic: str = "", group: str = "") -> _T:
        """What comes of *run*, within the patience; what Redis refuses is tried once more without odd values."""
        try:
            async with asyncio.timeout(_PATIENCE):
                try:
                    return await run()
                except ResponseError:
                    await self._set_aside(topic, group)
                    return await run()
        except TimeoutError as exc:
            raise StateFailure(f"no answer within {_PATIENCE:g} s") from exc
        except FAILURES as exc:
            raise StateFailure(why(exc)) from exc

    async def _set_aside(self, topic: str, group: str) -> None:
        for key in (self._entries(topic), self._counters(group), self._revisions, self._groups):
            if await self._client.type(key) not in (b"hash", b"none"):
                await self._client.rename(key, f"{key}:aside")
                await self._client.expire(f"{key}:aside", _ASIDE_FOR)
        revision = await self._client.hget(self._revisions, topic)
        if revision is not None and not revision.isdigit():
            await self._client.hdel(self._revisions, topic)


def _number(text: bytes) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
