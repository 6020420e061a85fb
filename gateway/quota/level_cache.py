"""
The levels that a process has seen, without asking: for prices, and for the time when the store is away.

They are copies of its own, and true as of the last look; what an exchange that failed would have made of them is never
in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.quota import buckets as b
from gateway.quota.buckets import Bucket, Level
from gateway.quota.demand import Demand
from gateway.quota.exchange import in_the_way
from gateway.quota.nouns import Offer, Refusal, refusal

_EPSILON = 1e-6


class LevelCache:
    """
    *levels* are those that the store told last, by key, with their buckets; *parts* are this replica's parts of them
    while the store is away. *changed* are the keys seen since it was last emptied. Moments are those of the store's
    clock, which is *ahead* seconds of the process's; so many *replicas* use it. *demand* is what requests took. *set_aside*
    are the keys whose value in the store could not be read.
    """

    def __init__(self) -> None:
        self.levels: dict[str, tuple[Bucket, Level]] = {}
        self.parts: dict[str, tuple[Bucket, Level]] = {}
        self.changed: set[str] = set()
        self.ahead, self.replicas = 0.0, 1
        self.demand = Demand()
        self.set_aside: dict[str, None] = {}

    def see(self, bucket: Bucket, level: Level | None) -> None:
        """The store says that this is the level of *bucket* (None: it was never touched). It must not change any more."""
        if level is not None:
            self.levels[bucket.key] = (bucket, level)
        elif self.levels.pop(bucket.key, None) is None:
            return
        self.changed.add(bucket.key)

    def put_aside(self, buckets: Sequence[Bucket]) -> bool:
        """The value of *buckets* in the store could not be read; whether that is news of any."""
        known = len(self.set_aside)
        self.set_aside |= {bucket.key: None for bucket in buckets}
        return len(self.set_aside) > known

    def see_part(self, bucket: Bucket, level: Level) -> None:
        """The store is away, and this is what the replica has in its place."""
        self.parts[bucket.key] = (bucket, level)
        self.changed.add(bucket.key)

    def back(self) -> None:
        """The store is there again."""
        self.changed |= self.parts.keys()
        self.parts.clear()

    def level(self, bucket: Bucket, now: float) -> Level:
        """A copy of what is known of *bucket*, rolled to *now*."""
        seen = self.parts.get(bucket.key) or self.levels.get(bucket.key)
        level = Level() if seen is None else b.copy_of(seen[1])
        b.roll(bucket, level, now)
        return level

    def refuses(self, offer: Offer, now: float, withheld: Callable[[Bucket], float]) -> Refusal | None:
        """What is in the way of *offer* at *now* of the store's clock, by what is known here; None: nothing."""
        opens = []
        for bucket in offer.buckets:
            level = self.level(bucket, now)
            opens.append((bucket, b.opens_at(bucket, level, offer.cost.of(bucket.unit), now, withheld(bucket))))
        refused = in_the_way(opens, now)
        return None if refused is None else refusal(*refused, self.ahead)


def gave_back(bucket: Bucket, before: tuple[Bucket, Level] | None, level: Level | None, now: float) -> bool:
    """Whether *level* (None: blank) has more room than time alone has made of the one that was seen *before*."""
    if before is None:
        return False
    used = 0.0 if level is None else b.used(bucket, level)
    closed_until = 0.0 if level is None else level.closed_until
    if used >= b.used(bucket, before[1]) and closed_until >= before[1].closed_until:
        return False
    rolled = b.copy_of(before[1])
    b.roll(bucket, rolled, now)
    return used < b.used(bucket, rolled) - _EPSILON or closed_until <= now < rolled.closed_until
