"""
Stored responses of several gateways: in Redis (or Valkey), which lets each expire.

Those that are listed are in a sorted set for each place besides, by when they expire.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from gateway.api.responses_store import KEPT_FOR, ResponsesLost
from gateway.clock import Clock
from gateway.quota.redis_levels import fingerprint
from gateway.state.redis_client import FAILURES, disconnect, why

_PATIENCE = 1.0
"""Seconds for one operation."""

_T = TypeVar("_T")


class RedisResponses:
    """See ``ResponseStore``. *client* is redis-py's, of whatever kind. Gateways of one *namespace* share it."""

    def __init__(self, client: Any, clock: Clock, namespace: str = "freeway") -> None:
        self._client, self._clock, self._namespace = client, clock, namespace

    async def keep(self, key: str, value: bytes) -> None:
        await _soon(self._client.set(self._at(key), value, ex=int(KEPT_FOR)))
        await self._list(key)

    async def find(self, key: str) -> bytes | None:
        found: bytes | None = await _soon(self._client.getex(self._at(key), ex=int(KEPT_FOR)))
        if found is not None:
            await self._list(key)
        return found

    async def drop(self, key: str) -> bool:
        place, _, name = key.rpartition("/")
        if "/" in place:
            await _soon(self._client.zrem(self._index(place), name))
        return bool(await _soon(self._client.delete(self._at(key))))

    async def names(self, place: str) -> list[str]:
        found = await _soon(self._client.zrangebyscore(self._index(place), self._clock.now(), "+inf"))
        return sorted(name.decode() for name in found)

    async def look(self, keys: Sequence[str]) -> list[bytes | None]:
        return list(await _soon(asyncio.gather(*(self._client.get(self._at(key)) for key in keys))))

    async def _list(self, key: str) -> None:
        """Have *key* in the list of its place, if that has one, for as long as it is kept; what has expired leaves it."""
        place, _, name = key.rpartition("/")
        if "/" in place:
            now, index = self._clock.now(), self._index(place)
            await _soon(self._client.zadd(index, {name: now + KEPT_FOR}))
            await _soon(self._client.zremrangebyscore(index, "-inf", now))
            await _soon(self._client.expire(index, int(KEPT_FOR)))

    async def aclose(self) -> None:
        with suppress(*FAILURES):
            await disconnect(self._client)

    def _at(self, key: str) -> str:
        return f"{self._namespace}:response:{_nameless(key)}"

    def _index(self, place: str) -> str:
        return f"{self._namespace}:responses:{_nameless(place)}"


def _nameless(key: str) -> str:
    """*key* without the name of its client, as no names are in Redis."""
    client, _, rest = key.partition("/")
    return f"{fingerprint(client)}/{rest}"


async def _soon(operation: Awaitable[_T]) -> _T:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await operation
    except TimeoutError as exc:
        raise ResponsesLost(f"no answer within {_PATIENCE:g} s") from exc
    except FAILURES as exc:
        raise ResponsesLost(why(exc)) from exc
