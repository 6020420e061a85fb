"""
What a process knows of levels without asking, and the shares that follow from it: ranking asks for those all the time.

Whoever takes from a bucket hears its level; how dear it is changes with the time of day, too, and with what is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gateway.quota import buckets as b
from gateway.quota.buckets import Bucket, Level
from gateway.quota.demand import Demand
from gateway.quota.prices import Share, share_of

_STALE = 30.0
"""Seconds after which a share is made anew, though nobody took anything: days end, and prices with them."""

_AT_ONCE = 100
"""Shares that are made anew on the way of one request."""


class Known:
    """
    The *levels* that were seen last, with their buckets, and the *shares* of all, by key. Moments are those of the
    store's clock, which is *ahead* seconds of the shares'; so many *processes* use it.
    """

    def __init__(self) -> None:
        self.levels: dict[str, tuple[Bucket, Level]] = {}
        self.shares: dict[str, Share] = {}
        self.demand = Demand()
        self.ahead, self.processes = 0.0, 1
        self._most: dict[str, tuple[float, float]] = {}  # that one request should take, and when that was found out
        self._renewed, self._since = 0, 0.0

    def share(self, bucket: Bucket, level: Level, now: float) -> None:
        """Have the share of *bucket* be that of *level*, which was rolled to *now*."""
        most = self._most_of(bucket, level, now) if bucket.calendar is not None else math.inf
        self.shares[bucket.key] = share_of(bucket, level, now, self.ahead, most)

    def _most_of(self, bucket: Bucket, level: Level, now: float) -> float:
        most, at = self._most.get(bucket.key, (math.inf, -math.inf))
        if now >= at + _STALE:
            left = b.limit_of(bucket, level, now) - b.used(bucket, level)
            most = self.demand.most(bucket, left, b.window_end(bucket, now), now, self.processes)
            self._most[bucket.key] = most, now
        return most

    def blank(self, bucket: Bucket, now: float) -> None:
        """The store has nothing of *bucket*: it is as if nobody had ever touched it."""
        share = self.shares.get(bucket.key)
        if self.levels.pop(bucket.key, None) is None and share is not None and share.at >= now - self.ahead - _STALE:
            return
        self._renew(bucket, now)

    def renew(self, buckets: Sequence[Bucket], now: float) -> None:
        """Make some of the shares of *buckets* anew, and all of them within a while."""
        if self._renewed >= len(buckets):
            if now < self._since + _STALE:
                return
            self._renewed, self._since = 0, now
        for bucket in buckets[self._renewed : self._renewed + _AT_ONCE]:
            self._renew(bucket, now)
        self._renewed += _AT_ONCE

    def _renew(self, bucket: Bucket, now: float) -> None:
        seen = self.levels.get(bucket.key)
        level = Level() if seen is None else b.copy_of(seen[1])
        b.roll(bucket, level, now)
        self.share(bucket, level, now)
