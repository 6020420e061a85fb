"""Stored responses of several gateways: in Redis (or Valkey), which lets each expire."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, TypeVar

from redis.exceptions import RedisError

from gateway.api.responses_store import KEPT_FOR, ResponsesLost
from gateway.redis_client import disconnect

_PATIENCE = 1.0
"""Seconds for one operation."""

_T = TypeVar("_T")


class RedisResponses:
    """See ``ResponseStore``. *client* is redis-py's, of whatever kind."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def keep(self, key: str, value: bytes) -> None:
        await _soon(self._client.set(_redis_key(key), value, ex=int(KEPT_FOR)))

    async def find(self, key: str) -> bytes | None:
        found: bytes | None = await _soon(self._client.getex(_redis_key(key), ex=int(KEPT_FOR)))
        return found

    async def drop(self, key: str) -> bool:
        return bool(await _soon(self._client.delete(_redis_key(key))))

    async def aclose(self) -> None:
        with suppress(RedisError, OSError):
            await disconnect(self._client)


def _redis_key(key: str) -> str:
    return f"freeway:response:{key}"


async def _soon(operation: Awaitable[_T]) -> _T:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await operation
    except TimeoutError as exc:
        raise ResponsesLost(f"no answer within {_PATIENCE:g} s") from exc
    except (RedisError, OSError) as exc:
        raise ResponsesLost(f"{type(exc).__name__}: {exc}") from exc
