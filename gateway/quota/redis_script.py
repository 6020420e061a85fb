"""Scripts of Redis, each called within a patience: what goes wrong, or takes too long, is a StoreFailure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Coroutine, Sequence
from hashlib import sha1
from typing import Any, Protocol, TypeVar

from redis.exceptions import NoScriptError

from gateway.quota.exchange import StoreFailure
from gateway.state.redis_client import FAILURES, why

_SLICES = 5

_T = TypeVar("_T")


class Client(Protocol):
    """What is needed of redis-py's clients."""

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Awaitable[Any]: ...
    def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Awaitable[Any]: ...
    def pubsub(self) -> Any: ...
    def aclose(self) -> Awaitable[None]: ...


class Patience:
    """How many *seconds* Redis is waited for, in all calls that are made with it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.waited = 0.0

    @property
    def left(self) -> float:
        """What is left of them."""
        return max(0.0, self.seconds - self.waited)


class Script:
    def __init__(self, text: str) -> None:
        self.text, self.sha = text, sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def call(self, client: Client, patience: Patience, keys: Sequence[str], *args: Any) -> Any:
        """Raises StoreFailure once the *patience* is over; the time in which this process was busy is not of it."""
        return await within(patience, self._call(client, keys, args))

    async def _call(self, client: Client, keys: Sequence[str], args: tuple[Any, ...]) -> Any:
        try:
            return await client.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await client.eval(self.text, len(keys), *keys, *args)


async def within(patience: Patience, work: Coroutine[Any, Any, _T]) -> _T:
    """What comes of *work*. Raises StoreFailure; see ``_patiently``."""
    calling = asyncio.ensure_future(work)
    try:
        await _patiently(calling, patience)
        return calling.result()
    except (TimeoutError, asyncio.InvalidStateError) as exc:
        raise StoreFailure(f"no answer within {patience.seconds:g} s") from exc
    except FAILURES as exc:
        raise StoreFailure(why(exc)) from exc
    finally:
        if not calling.done():
            calling.cancel()
            await asyncio.wait([calling])


async def _patiently(calling: asyncio.Future[Any], patience: Patience) -> None:
    """
    Return when *calling* is done, or *patience* is over. It is counted in slices, each for no more than its length: in
    one that took longer, this process was kept from looking, and the answer may have been there all the time.
    """
    slice_ = patience.left / _SLICES
    for _ in range(_SLICES):
        began = time.monotonic()
        await asyncio.wait([calling], timeout=slice_)
        patience.waited += min(slice_, time.monotonic() - began)
        if calling.done():
            return
