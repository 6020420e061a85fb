"""
Several gateways with one real Redis, in a world whose time is not Redis' own.

The ledger's scripts take the gateways' moments (``own_time=False``). What expires in Redis by itself would outlive its time
here, since minutes of the world pass in a moment: of what a gateway relies on that is so of claims alone, and those are
kept by the world's time beside it. All other state is in Redis as ever.
"""

from __future__ import annotations

import asyncio
import inspect
from contextlib import AbstractContextManager, AsyncExitStack
from typing import Any
from unittest.mock import patch

from redis.asyncio import Redis

from gateway import app as gateway_app
from gateway.quota.redis import SharedStore
from gateway.settings import Settings
from gateway.state.redis import RedisState
from tests import containers
from tests.bench.harvest_gateway import Gateway
from tests.world import clock

_GRACE = 0.0003
"""Real seconds that a message of Redis to somebody who listens may take."""

_ENDLESS = ("listen",)


class Outside:
    """*inner*, whose answers come from outside of the world: while somebody waits for one, no time passes there."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name in _ENDLESS or not inspect.iscoroutinefunction(found):
            return found

        async def asking(*given: Any, **more: Any) -> Any:
            with _loop().waiting_outside():
                return await found(*given, **more)

        return asking


class State(RedisState):
    """Redis' state, with *claims* (until when, by what is claimed) on the world's time."""

    def __init__(self, client: Any, claims: dict[str, float]) -> None:
        super().__init__(client)
        self._claims = claims

    async def claim(self, what: str, seconds: float) -> bool:
        free = self._claims.get(what, 0.0) <= clock.now()
        if free:
            self._claims[what] = clock.now() + seconds
        return free


class Replicas(Gateway):
    """As many gateways as asked for, which share a Redis that is started for them."""

    def prepare(self, stack: AsyncExitStack) -> None:
        self._claims: dict[str, float] = {}
        self._url = stack.enter_context(containers.redis()).url
        _loop().grace = _GRACE

    def store(self, settings: Settings) -> Any:
        return Outside(SharedStore(Redis.from_url(self._url), own_time=False, accounts=settings.accounts()))

    def in_place(self) -> AbstractContextManager[Any]:
        def state(*_: Any) -> Any:
            return Outside(State(Redis.from_url(self._url), self._claims))

        return patch.object(gateway_app, "make_state", state)


def _loop() -> clock.Loop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, clock.Loop)
    return loop
