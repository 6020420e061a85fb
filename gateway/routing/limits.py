"""
Limits that no provider tells, learned from refusals that say nothing but no.

    refused, without a hint ──► what was served in the window before is the limit for now
    a window was used up to it ──► one more is tried ── refused ──► as before, for longer and longer
                                        └── served ──► one more again, in the next window

Where nothing tells whose limit it is, it is taken for the model's, until its account is seen to refuse. The same holds for how many requests may be under way at a time: those that were, when one more was refused.

That is additive increase, as TCP does it (Chiu and Jain, *Analysis of the increase and decrease algorithms*, 1989), and of
the decrease we know the end. The limits themselves are in the ledger, where all replicas see them; here is only when to try.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

import msgspec
from msgspec import Struct

from gateway.quota import buckets as b
from gateway.quota.buckets import Bucket
from gateway.quota.level_cache import LevelCache

LONGEST = 120.0
"""Seconds of the longest window whose limit is learned: a wrong belief about a day would cost the day."""

SAID_BY = "a refusal without a hint"
HINTED_BY = "a refusal of a model beside it"

IN_A_ROW = 3
"""Models of an account that refuse, with none served between, from which on it is the account that does: two may be in demand."""

UNLIKELY = 0.25
"""
The part of the configured limit below which one refusal alone is taken for a hiccup; and that of what was served in a window
lately below which none is about a limit.
"""

PATIENT = 5.0
"""Windows within which a second one is none."""

SOONER = 0.1
"""Of its window, how much sooner a bucket may open than what was served leaves it: what is told is rounded."""

FIRST_PAUSE, PAUSE_AFTER, LONGEST_PAUSE = 1.0, 10.0, 160.0
"""Windows until one more is tried: at first, after that was refused (then doubled), and at most."""


AT_ONCE = 10.0
"""Seconds that stand for a window where it is learned how many requests may be under way: most answers are over by then."""


class _Learned(Struct):
    limit: float
    try_at: float
    pause: float = FIRST_PAUSE
    lowered_at: float = 0.0
    hint: bool = False  # it is that of a bucket beside it: doubled where it is reached
    before: _Learned | None = None


class LearnedLimits:
    """Of buckets of requests with short windows, or under way, by key. All moments are arguments, by the process's clock."""

    def __init__(self) -> None:
        self._learned: dict[str, _Learned] = {}
        self._served: dict[str, list[float]] = {}  # when what was served had been sent
        self._most: dict[str, tuple[float, float]] = {}  # that were served in a window, or under way then, and when
        self._doubted_at: dict[str, float] = {}
        self._refusing: dict[str, dict[str, float]] = {}  # by bucket of an account: models that refuse, and since when
        self._blamed_at: dict[str, float] = {}  # when an account was found to be what refused

    def served(self, bucket: Bucket, cache: LevelCache, sent_at: float, now: float) -> float | None:
        """A request that was sent *sent_at* was served on *bucket*. The limit to try from now on, if it is another."""
        if not _learnable(bucket):
            return None
        if refusing := self._refusing.get(bucket.key):
            self._refusing[bucket.key] = {name: at for name, at in refusing.items() if at >= sent_at}
        if bucket.unit == "in-flight":
            used = seen = self._in_flight(bucket, cache, now)
        else:
            moments = [*(at for at in self._served.get(bucket.key, ()) if at > now - bucket.period), sent_at]
            self._served[bucket.key] = moments
            used, seen = self._in_window(bucket, cache, now), float(len(moments))
        if seen >= self._most_lately(bucket, now):
            self._most[bucket.key] = seen, now
        return self._raised(bucket, used, cache, now)

    def _raised(self, bucket: Bucket, used: float, cache: LevelCache, now: float) -> float | None:
        known = self._learned.get(bucket.key) or self._recalled(bucket, cache, now)
        if known is None or now < known.try_at or used < known.limit:
            return None
        known.limit, known.try_at = 2 * known.limit if known.hint else known.limit + 1, now + _span(bucket)
        if known.limit >= bucket.limit:
            del self._learned[bucket.key]
        return min(known.limit, bucket.limit)

    def of_account(
        self, bucket: Bucket, deployment: str, models: int, sent_at: float, now: float
    ) -> Mapping[str, float]:
        """
        The deployments that have refused without a hint, *deployment* the last, for what was *sent_at* a moment, and when, if
        that is about *bucket*, which all *models* of their account share: so many have since the last was served that the limit
        is none of theirs. Else none. What is sent after that was found is judged anew: its window has opened since.
        """
        if sent_at <= self._blamed_at.get(bucket.key, -inf):
            return {deployment: now}
        since = now - bucket.period
        refusing = {name: at for name, at in self._refusing.get(bucket.key, {}).items() if at > since}
        refusing[deployment] = now
        if len(refusing) < min(models, IN_A_ROW):
            self._refusing[bucket.key] = refusing
            return {}
        self._refusing.pop(bucket.key, None)
        self._blamed_at[bucket.key] = now
        return refusing

    def forgiven(self, bucket: Bucket, since: float) -> float | None:
        """What was learned of *bucket* from then on was not its doing: its limit as it was before, if it was another."""
        known = self._learned.get(bucket.key)
        if known is None or known.lowered_at < since:
            return None
        if known.before is None:
            del self._learned[bucket.key]
            return bucket.limit
        self._learned[bucket.key] = known.before
        return known.before.limit

    def refused(self, bucket: Bucket, cache: LevelCache, now: float, until: float | None = None) -> float | None:
        """
        *bucket* is used up, *until* a moment if that was said. What its limit is for now; None: that cannot be told, as
        where it opens sooner than what was served can leave the window.
        """
        if not _learnable(bucket) or (
            until is not None and until < self._leaves_at(bucket, now) - SOONER * bucket.period
        ):
            return None
        served, known = self._in_window(bucket, cache, now), self._learned.get(bucket.key)
        if served < UNLIKELY * self._most_lately(bucket, now):
            return None  # it serves more: something else is wrong
        if known is None and served < UNLIKELY * bucket.limit and (until is not None or not self._again(bucket, now)):
            return None
        return self._lowered(bucket, served, now)

    def hinted(self, bucket: Bucket, limit: float, cache: LevelCache, now: float) -> bool:
        """
        Whether the *limit* that was learned of a bucket like *bucket* at the same account may be that of *bucket*, too. It is not
        where more was served already, or more is known; and it is soon tried upwards, each time by as much again.
        """
        if bucket.key in self._learned or not limit < bucket.limit or self._in_window(bucket, cache, now) > limit:
            return False
        self._learned[bucket.key] = _Learned(limit, now + _span(bucket), lowered_at=now, hint=True)
        return True

    def crowded(self, bucket: Bucket, cache: LevelCache, now: float, lease: str) -> float | None:
        """
        All places of *bucket*, which counts what is under way, are taken, and so the reservation *lease* was refused. How
        many are ours for now; None: none but that one was under way, or more were lately: others have taken them.
        """
        under_way = self._in_flight(bucket, cache, now, but=lease)
        if (
            bucket.key not in self._learned
            and under_way < self._most_lately(bucket, now)
            and not self._again(bucket, now)
        ):
            return None
        return self._lowered(bucket, under_way, now)

    def _most_lately(self, bucket: Bucket, now: float) -> float:
        """How many were served in one window lately, or were under way at the same time."""
        most, at = self._most.get(bucket.key, (0.0, 0.0))
        return most if now < at + PATIENT * _span(bucket) else 0.0

    def _again(self, bucket: Bucket, now: float) -> bool:
        """Whether a refusal that may be a hiccup is the second one lately."""
        before = self._doubted_at.get(bucket.key)
        self._doubted_at[bucket.key] = now
        return before is not None and now <= before + PATIENT * _span(bucket)

    def _lowered(self, bucket: Bucket, served: float, now: float) -> float | None:
        if served < 1 or served >= bucket.limit:
            return None
        known, pause = self._learned.get(bucket.key), FIRST_PAUSE
        if known is not None:
            served = min(served, known.limit)
            at_the_same_time = now < known.lowered_at + _span(bucket)
            least = 0.0 if bucket.unit == "in-flight" else PAUSE_AFTER
            pause = known.pause if at_the_same_time else min(LONGEST_PAUSE, max(least, 2 * known.pause))
        before = known and msgspec.structs.replace(known, before=None)
        self._learned[bucket.key] = _Learned(served, now + pause * _span(bucket), pause, now, before=before)
        return served

    @staticmethod
    def _in_flight(bucket: Bucket, cache: LevelCache, now: float, but: str = "") -> float:
        return float(sum(lease != but for lease, _ in cache.level(bucket, now + cache.ahead).leases))

    def _leaves_at(self, bucket: Bucket, now: float) -> float:
        """When the first of what was served leaves the window that holds *now*, as *bucket* has it."""
        if bucket.window == "clock":
            return b.window_end(bucket, now)
        moments = [at for at in self._served.get(bucket.key, ()) if at > now - bucket.period]
        return (moments[0] if moments else now) + bucket.period

    def _in_window(self, bucket: Bucket, cache: LevelCache, now: float) -> float:
        """The requests that were served in the window that holds *now*, here or, as far as the store tells, anywhere."""
        since = b.window_start(bucket, now) if bucket.window == "clock" else now - bucket.period
        ours = sum(1 for moment in self._served.get(bucket.key, ()) if moment >= since)
        level = cache.level(bucket, now + cache.ahead)
        return max(float(ours), b.used(bucket, level) - level.open)

    def _recalled(self, bucket: Bucket, cache: LevelCache, now: float) -> _Learned | None:
        """What another replica learned, or this one before it was started again."""
        seen = cache.levels.get(bucket.key)
        if seen is None or seen[1].limit_by not in (SAID_BY, HINTED_BY) or not 0 <= seen[1].limit < bucket.limit:
            return None
        hint = seen[1].limit_by == HINTED_BY
        return self._learned.setdefault(bucket.key, _Learned(seen[1].limit, now + _span(bucket), hint=hint))


def alike(bucket: Bucket, others: Iterable[Bucket]) -> list[Bucket]:
    """Those of *others* that count for another model of the same account what *bucket* counts, by the same rule."""
    if bucket.scope != "model":
        return []
    rule = msgspec.structs.replace(bucket, key="")
    return [one for one in others if one.key != bucket.key and msgspec.structs.replace(one, key="") == rule]


def _learnable(bucket: Bucket) -> bool:
    if bucket.unit == "in-flight":
        return True
    return bucket.unit == "requests" and 0 < bucket.period <= LONGEST and bucket.window in ("clock", "rolling")


def _span(bucket: Bucket) -> float:
    return bucket.period or AT_ONCE
