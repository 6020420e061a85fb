"""The state of several gateways: hashes in Redis (or Valkey), all with one hash tag, so that a cluster keeps them together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar
from uuid import uuid4

from redis.exceptions import RedisError

from gateway.redis_client import disconnect
from gateway.state.store import BACKEND, StateFailure

_PATIENCE = 3.0
"""Seconds for one operation, which may have to connect first. No request waits for it."""

# The names of the first version: replicas of two versions share them while one replaces the other.
_ENTRIES, _COUNTERS, _REVISIONS, _CLAIM = (
    f"freeway:{{memory}}:{name}" for name in ("notes:", "counters", "editions", "claim:")
)

_T = TypeVar("_T")


class RedisState:
    """See ``StateBackend``. *client* is redis-py's, of whatever kind."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def write(self, topic: str, entries: Mapping[str, bytes | None]) -> None:
        gone = [key for key, value in entries.items() if value is None]
        kept = {key: value for key, value in entries.items() if value is not None}
        pipe = self._client.pipeline(transaction=True)
        if gone:
            pipe.hdel(_ENTRIES + topic, *gone)
        if kept:
            pipe.hset(_ENTRIES + topic, mapping=kept)
        pipe.hincrby(_REVISIONS, topic, 1)
        pipe.hsetnx(_REVISIONS, BACKEND, uuid4().hex)
        await _soon(pipe.execute())

    async def read(self, topic: str) -> dict[str, bytes]:
        found = await _soon(self._client.hgetall(_ENTRIES + topic))
        return {key.decode(errors="replace"): value for key, value in found.items()}

    async def revisions(self) -> dict[str, str]:
        found = await _soon(self._client.hgetall(_REVISIONS))
        return {topic.decode(errors="replace"): number.decode(errors="replace") for topic, number in found.items()}

    async def count(self, amounts: Mapping[str, float]) -> None:
        pipe = self._client.pipeline(transaction=True)
        for counter, amount in amounts.items():
            pipe.hincrbyfloat(_COUNTERS, counter, amount)
        await _soon(pipe.execute())

    async def counters(self) -> dict[str, float]:
        found = await _soon(self._client.hgetall(_COUNTERS))
        return {key.decode(errors="replace"): float(value) for key, value in found.items()}

    async def claim(self, what: str, seconds: float) -> bool:
        return bool(await _soon(self._client.set(_CLAIM + what, b"1", nx=True, px=max(1, round(seconds * 1000)))))

    async def aclose(self) -> None:
        await disconnect(self._client)


async def _soon(operation: Awaitable[_T]) -> _T:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await operation
    except TimeoutError as exc:
        raise StateFailure(f"no answer within {_PATIENCE:g} s") from exc
    except (RedisError, OSError) as exc:
        raise StateFailure(f"{type(exc).__name__}: {exc}") from exc
