"""
How each deployment fares: its outages, with growing back-off and one probe at a time, and its pace.

Both reach every replica and survive a restart, through the state store. An outage is told at once; what is learned of pace is
gathered for some seconds, and each replica has a note of its own, so that nobody overwrites what another learned. No
request waits for any of it, but the one that finds out whether an outage is over. All moments come in as arguments.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from gateway.routing.latency import Pace, Point
from gateway.state.store import StateStore

MAX_COOLING = 600.0
"""Seconds that back-off grows to at most, so that a recovered source is found again."""

LONGEST = 86_400.0
"""Seconds that a provider may keep us away by what it says."""

PROBE_FOR = 120.0
"""Seconds after which a probe that was never heard of again no longer keeps others away."""

FORGET_AFTER = 3600.0
"""Seconds after its end for which an outage that nobody probed still makes the next one longer."""

PACE_FOR = 7 * 86_400.0
"""Seconds for which a replica that tells nothing more is believed."""

MOST_REPLICAS = 16
MOST_NAMES = 512
"""Notes on pace that are kept, and deployments in each: the latest."""

_OUTAGES, _PACES = "outages", "paces"


class Outage(Struct, frozen=True):
    """A deployment is left alone *until* a moment (unix seconds), and then probed. *failures* in a row led to it."""

    until: float
    because: str
    failures: int


class _Probe(Struct, frozen=True):
    """Somebody finds out, until a moment; *ours*: until when nobody but we may."""

    until: float
    ours: float = 0.0


class Health:
    """Of every deployment that was ever tried, by name. *replica* is ours alone."""

    def __init__(self, state: StateStore, replica: str) -> None:
        self._state, self._replica = state, replica
        self._outages: dict[str, Outage] = {}
        self._probes: dict[str, _Probe] = {}
        self._mine: dict[str, Pace] = {}
        self._others: dict[str, dict[str, Pace]] = {}
        self._paces: dict[str, Pace] = {}
        self._expected: dict[str, float | None] = {}
        self._untold = False
        state.watch(_OUTAGES, Outage, self._hear_outages)
        state.watch(_PACES, dict[str, Pace], self._hear_paces)
        state.gather(self._gather)

    # ── what is known: every request asks ──

    def blocked_until(self, name: str, now: float) -> tuple[float, str] | None:
        """Until when *name* should be left alone, and why; None if it may be tried."""
        outage = self._outages.get(name)
        if outage is None:
            return None
        if now < outage.until:
            return outage.until, outage.because
        probe = self._probes.get(name)
        if probe is not None and now < probe.until:
            return probe.until, "another request is finding out whether it has recovered"
        return None

    def ailing(self, name: str) -> bool:
        """Whether *name* failed, and nobody has found out since that it has recovered."""
        return name in self._outages

    def expected(self, name: str) -> float | None:
        """Seconds that a typical answer takes, with what failures cost; None if unknown."""
        return self._expected.get(name)

    def pace(self, name: str) -> Pace | None:
        """What all replicas learned."""
        return self._paces.get(name)

    # ── what happens ──

    def trying(self, name: str, now: float) -> bool:
        """
        A request is about to be sent. The first after an outage is a probe and keeps the others here away until it ends.

        True if others elsewhere must be kept away, too, by ``claim``.
        """
        if name not in self._outages:
            return False
        ours = self._probes[name].ours if name in self._probes else 0.0
        self._probes[name] = _Probe(now + PROBE_FOR, ours)
        return ours <= now

    async def claim(self, name: str, now: float) -> bool:
        """Whether it is for us to probe *name*, and not for another replica. Asks the store, if it is there."""
        outage = self._outages.get(name)
        if outage is None:
            return True
        claimed = await self._state.claim(f"probe {name} {outage.until!r}", PROBE_FOR)
        heard = self._outages.get(name)
        if heard != outage:  # while we asked
            return heard is None
        self._probes[name] = _Probe(now + PROBE_FOR, now + PROBE_FOR if claimed else 0.0)
        return claimed

    def failed(self, name: str, because: str, base: float, now: float, until: float | None = None) -> None:
        """
        It failed: leave it alone until *until* if that is known, else for *base* seconds, doubled with each failure.

        What was under way already when an outage began is part of it.
        """
        known = self._outages.get(name)
        goes_on = known is not None and now < known.until
        before = known.failures - goes_on if known is not None else 0
        if until is None:
            until = now + min(MAX_COOLING, base * 2 ** min(before, 30))
        if known is not None and goes_on:
            until = max(until, known.until)
        outage = Outage(min(until, now + LONGEST), because, before + 1)
        self._tell_outage(name, outage)
        self._learn(name, self._known(name, now).after(answered=False, now=now))

    def left(self, name: str) -> None:
        """An attempt ended without saying anything about the deployment."""
        probe = self._probes.get(name)
        if probe is not None:
            self._probes[name] = _Probe(0.0, probe.ours)

    def served(self, name: str, now: float) -> None:
        """It answered."""
        if name in self._outages:
            self._tell_outage(name, None)
        self._learn(name, self._known(name, now).after(answered=True, now=now))

    def timed(self, name: str, points: Iterable[Point], now: float) -> None:
        """An answer came as quickly as *points* tell."""
        pace = self._known(name, now)
        for point in points:
            pace = pace.with_point(point, now)
        self._learn(name, pace)

    # ── with the others ──

    def _tell_outage(self, name: str, outage: Outage | None) -> None:
        self._probes.pop(name, None)
        if outage is not None:
            if outage == self._outages.get(name):
                return
            self._outages[name] = outage
        else:
            self._outages.pop(name, None)
        self._state.set(_OUTAGES, name, outage)

    def _hear_outages(self, heard: dict[str, Outage]) -> None:
        self._probes = {name: one for name, one in self._probes.items() if heard.get(name) == self._outages.get(name)}
        self._outages = heard

    def _known(self, name: str, now: float) -> Pace:
        return self._mine.get(name) or Pace(now)

    def _learn(self, name: str, pace: Pace) -> None:
        self._mine[name] = pace
        self._untold = True
        self._add_up(name)

    def _hear_paces(self, heard: dict[str, dict[str, Pace]]) -> None:
        heard.pop(self._replica, None)
        self._others = heard
        for name in {*self._paces, *(name for known in heard.values() for name in known)}:
            self._add_up(name)

    def _add_up(self, name: str) -> None:
        """What is known of *name* altogether, found when it changes and not when it is asked for."""
        found = self._mine.get(name)
        for known in self._others.values():
            other = known.get(name)
            if other is not None:
                found = other if found is None else found.plus(other)
        if found is None:
            self._paces.pop(name, None)
            self._expected.pop(name, None)
        else:
            self._paces[name], self._expected[name] = found, found.expected

    def _gather(self, now: float) -> None:
        """Note what was learned; forget what is old, or can only come of a clock that is wrong."""
        if self._untold:
            self._untold = False
            latest = sorted(self._mine.items(), key=lambda item: item[1].at)[-MOST_NAMES:]
            self._mine = dict(latest)
            self._state.set(_PACES, self._replica, self._mine)
        for name, outage in list(self._outages.items()):
            if not now - FORGET_AFTER <= outage.until <= now + LONGEST:
                self._tell_outage(name, None)
        told = {
            replica: max((one.at for one in known.values()), default=0.0) for replica, known in self._others.items()
        }
        for place, replica in enumerate(sorted(told, key=lambda replica: -told[replica]), 1):
            if place >= MOST_REPLICAS or not now - PACE_FOR <= told[replica] <= now + LONGEST:
                del self._others[replica]  # what it taught is out of the sum when that is next made
                self._state.set(_PACES, replica, None)
