"""
What taking from a bucket costs those who come later: a shadow price, 0 where nobody would miss it and 1 for the last of
it; and a little below 0 for what is lost if nobody takes it now.

A window with an end is as dear as it would be used up at its end, if all went on as it did so far, and no dearer than
what is left would last: so at half its price when it is used up just in time, and free when nobody uses it or when it
ends before it is used up. It rises and falls steeply on both sides of that, so that all windows that are wanted are used
up in time. That is the bid price of network revenue management, by the pace alone. What flows back all
the time is dear once some of it is used, since until then the inflow is lost; what leaves a rolling window, as it is
used: Mehta, Saberi, Vazirani and Vazirani, *AdWords and generalized online matching*, JACM 2007. What is back within two
minutes costs nobody more than a wait. What will be lost, because its day is about to end or because it is full and more
flows in, goes first. The price falls until somebody looks again. Pure.
"""

from __future__ import annotations

import math

from msgspec import Struct

from gateway.quota import buckets as b
from gateway.quota.buckets import Bucket, Level

SOON = 120.0
"""Seconds. Windows that are no longer cost nothing, until they are full."""

_STEEP = 4
"""How steeply: a window that is used at 1.3 times its pace costs three times what one at 0.8 times does."""

_STORED = 4
"""How much sooner than it is used up what flows back becomes dear."""

_LOST = 0.15
"""What is lost anyway goes before what is better by no more than that (by quality, on its scale from 0 to 1)."""

_NEARLY_FULL = 0.05
"""The used part up to which what flows back counts as about to be full."""


_LEAST = {"requests": 1.0, "in-flight": 1.0}
"""What every request takes, at least."""


class Share(Struct, frozen=True):
    """
    A bucket as ranking sees it. *used* was the used part of its limit at the moment *at*, *price* what it cost then, and
    *fall* is how much cheaper it becomes each second. Nothing fits before *full_until*; and what takes more than *most*
    should leave it to shorter requests *until* then. Moments are unix seconds.
    """

    used: float
    at: float
    price: float
    fall: float = 0.0
    full_until: float = 0.0
    most: float = math.inf
    until: float = 0.0


def share_of(bucket: Bucket, level: Level, now: float, ahead: float, most: float = math.inf) -> Share:
    """The share of a level that was rolled to *now*, by a clock that is *ahead* seconds of the share's."""
    limit = b.limit_of(bucket, level, now)
    used = b.used(bucket, level) / limit if limit else 1.0
    back_in = b.refilled_at(bucket, level, now) - now
    full_for = b.opens_at(bucket, level, _LEAST.get(bucket.unit, 0.0), now) - now
    price = 0.0 if 0 < bucket.period <= SOON or bucket.window == "in-flight" else _price(bucket, used, now, back_in)
    at = now - ahead
    fall = price / back_in if price > 0 else 0.0
    return Share(used, at, price, fall, at + full_for if full_for else 0.0, most, at + back_in)


def _price(bucket: Bucket, used: float, now: float, back_in: float) -> float:
    if used >= 1:
        return 1.0
    match bucket.window:
        case "clock" | "calendar":
            start = b.window_start(bucket, now)
            gone = (now - start) / (now + back_in - start)
            pace = min(used / gone if gone else used, (1 - gone) / (1 - used))
            steep = pace**_STEEP
            price = steep / (1 + steep)
            return price - _LOST * gone * gone * max(0.0, 1 - 2 * price)
        case "refill":
            return 1 - (1 - used) ** _STORED - _LOST * max(0.0, 1 - used / _NEARLY_FULL)
        case _:
            return used
