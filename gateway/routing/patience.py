"""
How long the callers of a client stay, learned from those who left while they waited, where none of them says it.

A caller who was served, or told that nothing will come, would have stayed for longer, and it is not known for how much: such
a call tells only that callers stay so long at least. What both together say is the estimate of Kaplan and Meier (*Nonparametric
estimation from incomplete observations*, JASA 1958), by the latest calls of a client. It is held back by a doubt of two
callers who stay for ever: one who leaves teaches nothing of the others. What was seen is forgotten within an hour, so that
no caller is turned away for long by what has changed.

It survives a restart and reaches the other replicas, under a digest of the client's name: that may be an address. All moments
come in as arguments.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from math import inf

from msgspec import Struct

from gateway.state.store import StateStore

FLOOR = 5.0
"""Seconds that each caller is taken to stay at least. Who leaves sooner teaches that they stay no longer."""

FOR = 3600.0
"""Seconds for which a stay is believed."""

LATEST = 64
"""Stays of a client that are remembered: the latest."""

CLIENTS = 256
"""Clients that are remembered: the latest."""

LIKELY, SURELY = 0.5, 0.8
"""A caller is expected to be there for as long as that part of those like it is; where not all can be served, as this part."""

_DOUBT = 2.0

_CAUTION = 0.95
"""The part of the time that callers stay within which they are to be served: at the last moment is too late for half."""

_TOPIC = "patience"


class Stay(Struct, frozen=True, array_like=True, order=True):
    """A call that ended *at* a moment (unix seconds) had stayed for *seconds*, and then *left*, or had no need to."""

    at: float
    seconds: float
    left: bool


Curve = tuple[tuple[float, float], ...]
"""After so many seconds, that part of callers is still there; in the order of the seconds."""


class Patience:
    """Of every client, by name. *state* is what it is shared through; without it, it is this process's own."""

    def __init__(self, state: StateStore | None = None) -> None:
        self._state = state
        self._stays: OrderedDict[str, tuple[Stay, ...]] = OrderedDict()  # by the digest of a name
        self._curves: dict[str, Curve] = {}
        self._untold: set[str] = set()
        if state is not None:
            state.watch(_TOPIC, list[Stay], self._hear)
            state.gather(self._gather)

    def leaves_after(self, client: str, stayed: float = 0.0, there: float = LIKELY) -> float:
        """
        Seconds after which a caller of *client* is expected to leave, who has *stayed* for some already: no more than the part
        *there* of those is left then. Infinity: none is known to leave.
        """
        if not self._curves:
            return inf
        curve = self._curves.get(_digest(client))
        if curve is None:
            return inf
        now_there = min((part for seconds, part in curve if seconds <= stayed), default=1.0)
        return next((max(FLOOR, _CAUTION * seconds) for seconds, part in curve if part <= there * now_there), inf)

    def stayed(self, client: str, seconds: float, now: float, *, left: bool) -> None:
        """A call of *client* that had to wait stayed for *seconds* in all, and then *left* or was told something."""
        if seconds < FLOOR and not left:
            return  # that callers stay so long is known
        name = _digest(client)
        self._learn(name, (*self._stays.get(name, ()), Stay(now, max(FLOOR, seconds), left)), now)
        self._untold.add(name)

    def _learn(self, name: str, stays: Iterable[Stay], now: float) -> None:
        fresh = sorted(one for one in stays if now - FOR <= one.at <= now + FOR)[-LATEST:]
        self._curves.pop(name, None)
        self._stays.pop(name, None)
        if not fresh:
            return
        self._stays[name] = tuple(fresh)
        if any(one.left for one in fresh):
            self._curves[name] = curve_of(fresh)
        if len(self._stays) > CLIENTS:
            oldest, _ = self._stays.popitem(last=False)
            self._curves.pop(oldest, None)

    # ── with the others ──

    def _hear(self, heard: dict[str, list[Stay]]) -> None:
        """What others saw is added to what was seen here; where they have not seen that, they are told again."""
        for name, stays in heard.items():
            together = {*self._stays.get(name, ()), *stays}
            self._learn(name, together, max((one.at for one in together), default=0.0))
            if not {*self._stays.get(name, ())} <= {*stays}:
                self._untold.add(name)

    def _gather(self, now: float) -> None:
        """Tell the others; forget what is old."""
        assert self._state is not None  # it is what calls
        for name in [name for name, stays in self._stays.items() if stays[0].at < now - FOR]:
            self._learn(name, self._stays[name], now)
            self._untold.add(name)
        for name in self._untold:
            self._state.set(_TOPIC, name, self._stays.get(name))
        self._untold.clear()


def curve_of(stays: Iterable[Stay]) -> Curve:
    """What *stays* say together."""
    by_length = sorted(stays, key=lambda one: (one.seconds, not one.left))
    there, curve = 1.0, []
    for before, one in enumerate(by_length):
        if one.left:
            there *= 1 - 1 / (len(by_length) - before + _DOUBT)
            curve.append((one.seconds, there))
    return tuple(curve)


def _digest(client: str) -> str:
    return hashlib.blake2b(client.encode(), digest_size=8).hexdigest()
