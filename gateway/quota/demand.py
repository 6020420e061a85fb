"""
What short requests will still take of a bucket until its window ends, and so how many of them a long one displaces.

Where tokens are counted, one long request takes the place of many short ones. It displaces none as long as enough is left
for those that are to come, by the rate at which they came lately: Littlewood's rule for two fares (K. Littlewood,
*Forecasting and control of passenger bookings*, 1972), with requests served for each token in place of money for each
seat. Where nothing but long requests comes, or nothing but short ones, none is displaced. Pure: moments come in as arguments.
"""

from __future__ import annotations

import math

from msgspec import Struct

from gateway.quota.buckets import Bucket

SHORTER = 3
"""Octaves: a request displaces those of an eighth of its size and less; others are its like."""

_HALF_LIFE = 3 * 3600.0
"""Seconds after which what was taken counts half. An evening's rate says little of the next morning's."""

_RATE = math.log(2) / _HALF_LIFE
_UNITS = frozenset({"tokens", "prompt"})


class Step(Struct, frozen=True):
    """
    A request *longer_than* so much displaces shorter ones with what it takes beyond *spare*: *each* is how many of them
    for each token.
    """

    longer_than: float
    spare: float
    each: float


class Demand:
    """What was taken lately of each bucket, by the octave of the request's size. As one process sees it."""

    def __init__(self) -> None:
        self._taken: dict[str, dict[int, tuple[float, float]]] = {}

    def took(self, bucket: Bucket, size: float, amount: float, now: float) -> None:
        """A request for which *size* was reserved of *bucket*, which ``counts``, took *amount*."""
        if size < 1:
            return
        octaves = self._taken.setdefault(bucket.key, {})
        octave = math.frexp(size)[1]
        before, at = octaves.get(octave, (0.0, now))
        octaves[octave] = (before * _faded(now - at) + amount, now)

    def steps(self, bucket: Bucket, left: float, until: float, now: float, processes: int = 1) -> tuple[Step, ...]:
        """
        Whom a request displaces that takes of what is *left* of *bucket*, which must last *until* then: no other, where
        that is more than enough for all. *processes* see as much as this one.
        """
        octaves = self._taken.get(bucket.key)
        if not octaves:
            return ()
        steps: list[Step] = []
        coming = 0.0
        for octave in sorted(octaves):
            amount, at = octaves[octave]
            coming += amount * _faded(now - at) * _RATE * (until - now) * processes
            spare = max(0.0, left - coming)
            steps.append(Step(max(spare, 2.0 ** (octave + SHORTER)), spare, 1.0 / 2.0**octave))
        return tuple(steps)


def counts(bucket: Bucket) -> bool:
    """Whether long requests take more of *bucket* than short ones, and what is taken is gone for a day or longer."""
    return bucket.calendar is not None and bucket.unit in _UNITS


def _faded(seconds: float) -> float:
    return math.exp(-_RATE * max(0.0, seconds))
