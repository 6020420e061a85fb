"""
Vectors that gateways share through Redis: one that another gateway has made is not asked for again.

Only where the owner wants it, since they take the memory that the ledger needs: there are never more than so many bytes of them,
and those that were made first go first. What is kept on this machine is asked before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from gateway.state.redis_client import FAILURES, disconnect
from gateway.state.vectors import Vectors

_T = TypeVar("_T")

_PATIENCE = 1.0
"""Seconds for one exchange: a vector that is not there in time is made."""

_AT_ONCE = 100
"""Vectors in one exchange."""

KEPT_FOR = 30 * 86_400
"""Seconds."""

# KEYS     those that were made, by their order; then that of each vector: all in one slot
# ARGV[1]  bytes of all of them at most
# ARGV[2]  seconds
# ARGV[3…] the vectors
# A member of the order is the key of a vector, and its size before that.
_PUT = """
local order, most, kept_for, sizes = KEYS[1], tonumber(ARGV[1]), ARGV[2], KEYS[1] .. ':sizes'
for place = 2, #KEYS do
  if redis.call('SET', KEYS[place], ARGV[place + 1], 'NX', 'EX', kept_for) then
    redis.call('ZADD', order, redis.call('HINCRBY', sizes, 'made', 1), #ARGV[place + 1] .. ' ' .. KEYS[place])
    redis.call('HINCRBY', sizes, 'held', #ARGV[place + 1])
  end
end
while tonumber(redis.call('HGET', sizes, 'held') or 0) > most do
  local oldest = redis.call('ZRANGE', order, 0, 0)[1]
  if not oldest then
    redis.call('DEL', sizes)
    break
  end
  local size, key = oldest:match('^(%d+) (.*)$')
  redis.call('DEL', key)
  redis.call('ZREM', order, oldest)
  redis.call('HINCRBY', sizes, 'held', -size)
end
redis.call('EXPIRE', order, kept_for)
redis.call('EXPIRE', sizes, kept_for)
"""


class SharedVectors:
    """
    Those of *own*, and those of all gateways of one *namespace* at redis-py's *client*, of whatever kind: of no more than *size* bytes
    together.
    """

    def __init__(self, own: Vectors, client: Any, namespace: str, size: int) -> None:
        self._own, self._client, self._size = own, client, size
        self._order = f"{namespace}:{{vectors}}"

    async def get(self, keys: Collection[bytes]) -> dict[bytes, bytes]:
        found = await self._own.get(keys)
        missing = [key for key in keys if key not in found]
        theirs: dict[bytes, bytes] = {}
        for first in range(0, len(missing), _AT_ONCE):
            some = missing[first : first + _AT_ONCE]
            values = await _soon(self._client.mget([self._key(key) for key in some]))
            if values is None:
                break
            theirs |= {key: value for key, value in zip(some, values, strict=True) if value is not None}
        if theirs:
            await self._own.put(theirs)
        return found | theirs

    async def put(self, vectors: Mapping[bytes, bytes]) -> None:
        await self._own.put(vectors)
        made = list(vectors.items())
        for first in range(0, len(made), _AT_ONCE):
            some = made[first : first + _AT_ONCE]
            keys = [self._order, *(self._key(key) for key, _ in some)]
            values = [value for _, value in some]
            await _soon(self._client.eval(_PUT, len(keys), *keys, self._size, KEPT_FOR, *values))

    async def aclose(self) -> None:
        await self._own.aclose()
        with suppress(*FAILURES):
            await disconnect(self._client)

    def _key(self, key: bytes) -> str:
        return f"{self._order}:{key.hex()}"


async def _soon(exchange: Awaitable[_T]) -> _T | None:
    """What *exchange* gives; None: it failed, or took too long."""
    with suppress(TimeoutError, *FAILURES):
        async with asyncio.timeout(_PATIENCE):
            return await exchange
    return None
