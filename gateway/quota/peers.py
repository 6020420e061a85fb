"""The processes that share a store with this one: how many there are, which rank is ours, and what is left alone for others."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.quota.buckets import Bucket
from gateway.quota.degraded import PART_FOR, WithheldParts
from gateway.quota.exchange import Heartbeat
from gateway.quota.level_cache import LevelCache
from gateway.quota.operations import Entry


class Peers:
    """*least* is how many there are at least: one that never saw the others goes by that."""

    def __init__(self, least: int, cache: LevelCache) -> None:
        self._least, self._cache = least, cache
        self.rank = 0
        self.count = self.sharing = least  # those that live; those that may
        self._heard_at: float | None = None  # when our own heartbeat was last confirmed
        self.withheld = WithheldParts()

    def meet(self, beat: Heartbeat) -> None:
        """*beat* tells of them."""
        self.rank, self.count = beat.rank, max(len(beat.peers), self._least)
        self.sharing = max(len(beat.peers) + len(beat.missing), self._least)
        self._cache.replicas = self.count

    def heard(self, beat: Heartbeat, sent_at: float, buckets: Sequence[Bucket], now: float) -> list[Entry]:
        """They have heard of us, too. Returns what gives back what those held that are gone; *now* is the store's."""
        self._heard_at = sent_at
        self.meet(beat)
        return self.withheld.see(beat, buckets, self._cache, now)

    def part_ends(self, now: float) -> float:
        """When our part of everything ends if the store is lost *now*; infinity: there are no others who could go on."""
        if self.sharing <= 1:
            return float("inf")
        return (now if self._heard_at is None else self._heard_at) + PART_FOR
