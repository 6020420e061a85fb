"""Looks at a store: what has become of levels, by whomever. One at a time, and those who want one meanwhile share the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import chain

from gateway.clock import Clock
from gateway.quota.buckets import Bucket
from gateway.quota.exchange import Look, Store, StoreFailure
from gateway.quota.level_cache import LevelCache, gave_back


class Looks:
    """What they show goes to *cache*; *freed* is called where something was given back."""

    def __init__(self, store: Store, clock: Clock, cache: LevelCache, freed: Callable[[], None]) -> None:
        self._store, self._clock, self._cache, self._freed = store, clock, cache, freed
        self._under_way = asyncio.Lock()
        self._next: asyncio.Task[Look | StoreFailure] | None = None
        self._wanted: list[Sequence[Bucket]] = []

    async def at(self, buckets: Sequence[Bucket], waited: float) -> Look:
        """A look that has not begun yet. Raises StoreFailure; who asks has *waited* so long for the store before."""
        self._wanted.append(buckets)
        if self._next is None:
            self._next = asyncio.create_task(self._look(waited))
        look = await asyncio.shield(self._next)
        if isinstance(look, StoreFailure):
            raise look
        return look

    async def _look(self, waited: float) -> Look | StoreFailure:
        async with self._under_way:
            self._next = None
            buckets, self._wanted = [*chain.from_iterable(self._wanted)], []
            try:
                look = await self._store.look(buckets, self._clock.now(), waited)
            except StoreFailure as failure:
                return failure
        if self._store.shared:
            self._cache.ahead = look.now - self._clock.now()
        freed = False
        for bucket, level in look.levels:
            freed = freed or gave_back(bucket, self._cache.levels.get(bucket.key), level, look.now)
            self._cache.see(bucket, level)
        if freed:
            self._freed()
        return look
