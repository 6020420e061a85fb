"""
How each deployment fares: its cooldowns, with growing back-off and one recovery trial at a time, and its pace.

What concerns all of a provider, such as an address that refuses connections, is one cooldown under the provider's name: it
keeps requests from all deployments there, and one request finds out when it is over.

Both reach every replica and survive a restart, through the state store. A cooldown is told at once; what is learned of pace is
gathered for some seconds, and each replica has a note of its own, so that none overwrites what another learned. No
request waits for any of it, but the one that finds out whether a cooldown is over. All moments come in as arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from gateway.quota.nouns import LONGEST_REASON
from gateway.routing.latency import Pace, Point
from gateway.routing.silence import Asked, Silence
from gateway.state.store import StateStore
from gateway.words import Exclusion

MAX_COOLING = 600.0
"""Seconds that back-off grows to at most, so that a recovered source is found again."""

LONGEST = 86_400.0
"""Seconds that a provider may keep us away by what it says."""

SILENT = 10.0
"""Seconds for which a deployment that was silent to the end is left alone at first."""

TRIAL_FOR = 120.0
"""Seconds after which a trial that was never heard of again no longer keeps others away."""

FORGET_AFTER = 3600.0
"""Seconds after its end for which a cooldown that was followed by no trial still makes the next one longer."""

PACE_FOR = 7 * 86_400.0
"""Seconds for which a replica that tells nothing more is believed."""

MOST_REPLICAS = 16
MOST_NAMES = 512
"""Notes on pace that are kept, and deployments in each: the latest."""

_COOLDOWNS, _PACES = "outages", "paces"


class Cooldown(Struct, frozen=True):
    """A deployment is left alone *until* a moment (unix seconds), then tried by one request. *failures* in a row led to it."""

    until: float
    because: str
    failures: int


class _Trial(Struct, frozen=True):
    """A request finds out whether a deployment has recovered, until a moment; *ours*: until when only this replica may."""

    until: float
    ours: float = 0.0


def _keys(name: str) -> tuple[str, ...]:
    """Under which names cooldowns of the deployment *name* may stand: its own, and its provider's."""
    provider, slash, _ = name.partition("/")
    return (name, provider) if slash else (name,)


class Health:
    """
    Of every deployment that was ever tried, by name (``provider/model``), and of providers. *replica* is ours alone; *freed*
    hears of the end of a trial.
    """

    def __init__(self, state: StateStore, replica: str, freed: Callable[[], None] = lambda: None) -> None:
        self._state, self._replica, self._freed = state, replica, freed
        self.silence = Silence()
        self._cooldowns: dict[str, Cooldown] = {}
        self._trials: dict[str, _Trial] = {}
        self._mine: dict[str, Pace] = {}
        self._others: dict[str, dict[str, Pace]] = {}
        self._paces: dict[str, Pace] = {}
        self._expected: dict[str, float | None] = {}
        self._untold = False
        self._answered: dict[str, float] = {}  # by provider, the moment of the last answer here
        self._overdue: set[str] = set()  # deployments that cool down for what is under way here
        self._empty: dict[str, int] = {}  # answers in a row that were none
        state.watch(_COOLDOWNS, Cooldown, self._hear_cooldowns)
        state.watch(_PACES, dict[str, Pace], self._hear_paces)
        state.gather(self._gather)

    # ── what is known: every request asks ──

    def blocked(self, name: str, now: float) -> Exclusion | None:
        """
        Why *name* should be left alone, and until when; None if it may be tried. A recovery trial has no moment: what the
        others wait for is its end, whatever it comes to.
        """
        if not self._cooldowns:
            return None
        trying = False
        for key in _keys(name):
            cooldown = self._cooldowns.get(key)
            if cooldown is None:
                continue
            if now < cooldown.until:
                return Exclusion(name, "cooling", f"cooling: {cooldown.because}", cooldown.until)
            trial = self._trials.get(key)
            trying |= trial is not None and now < trial.until
        if not trying:
            return None
        return Exclusion(name, "cooling", "another request is finding out whether it has recovered", when_freed=True)

    def ailing(self, name: str) -> bool:
        """Whether *name* or its provider failed, and no request has found out since that it has recovered."""
        return any(key in self._cooldowns for key in _keys(name))

    def expected(self, name: str) -> float | None:
        """Seconds that a typical answer takes, with what failures cost; None if unknown."""
        return self._expected.get(name)

    def pace(self, name: str) -> Pace | None:
        """What all replicas learned."""
        return self._paces.get(name)

    # ── what happens ──

    def trying(self, name: str, now: float) -> bool:
        """
        A request is about to be sent. The first after a cooldown is a trial and keeps the others here away until it ends.

        True if others elsewhere must be kept away, too, by ``claim``.
        """
        unclaimed = False
        for key in _keys(name):
            if key in self._cooldowns:
                ours = self._trials[key].ours if key in self._trials else 0.0
                self._trials[key] = _Trial(now + TRIAL_FOR, ours)
                unclaimed |= ours <= now
        return unclaimed

    async def claim(self, name: str, now: float) -> bool:
        """
        Whether the recovery trial of *name*, and that of its provider, is ours and not another replica's. Asks the store,
        if it is there.
        """
        for key in _keys(name):
            if not await self._claim(key, now):
                return False
        return True

    async def _claim(self, key: str, now: float) -> bool:
        cooldown = self._cooldowns.get(key)
        if cooldown is None or (key in self._trials and now < self._trials[key].ours):
            return True
        claimed = await self._state.claim(f"probe {key} {cooldown.until!r}", TRIAL_FOR)
        heard = self._cooldowns.get(key)
        if heard != cooldown:  # while we asked
            return heard is None
        self._trials[key] = _Trial(now + TRIAL_FOR, now + TRIAL_FOR if claimed else 0.0)
        return claimed

    def failed(self, name: str, because: str, base: float, now: float, until: float | None = None) -> None:
        """
        It failed: leave it alone until *until* if that is known, else for *base* seconds, doubled with each failure.

        What was under way already when a cooldown began is part of it.
        """
        known = self._cooldowns.get(name)
        goes_on = known is not None and now < known.until
        before = known.failures - goes_on if known is not None else 0
        if until is None:
            until = now + min(MAX_COOLING, base * 2 ** min(before, 30))
        if known is not None and goes_on:
            until = max(until, known.until)
        cooldown = Cooldown(min(until, now + LONGEST), because[:LONGEST_REASON], before + 1)
        self._tell_cooldown(name, cooldown)
        self._learn(name, self._known(name, now).after(answered=False, now=now))

    def sent(self, asked: Asked) -> None:
        """A request is sent."""
        self.silence.sent(asked)

    def heard(self, asked: Asked, now: float) -> None:
        """Something came in answer to *asked*, be it a refusal: its provider is there."""
        waited_for = self.silence.heard(asked, now)
        provider = _keys(asked.deployment)[-1]
        if provider in self._cooldowns and provider != asked.deployment:
            self._tell_cooldown(provider, None)
        if asked.deployment in self._overdue:
            self._overdue.discard(asked.deployment)
            self._tell_cooldown(asked.deployment, None)
        if waited_for:
            self._freed()

    def overdue(self, asked: Asked, now: float) -> None:
        """
        *asked* is overdue and under way: unless something has come meanwhile, all replicas leave its deployment alone until
        something does, or one of them finds out.
        """
        name = asked.deployment
        if self.silence.silent(asked) and name not in self._cooldowns:
            self._overdue.add(name)
            self._tell_cooldown(name, Cooldown(now + SILENT, f"silent for {now - asked.at:.0f} s", 1))

    def unheard(self, asked: Asked, now: float) -> None:
        """*asked* is over, and nothing came: its caller left, or another was quicker. If it was overdue, that is a failure."""
        failed = self.silence.ended(asked, now)
        self._overdue.difference_update(failed)
        for name in failed:
            self.failed(name, f"silent for {now - asked.at:.0f} s", SILENT, now)
        if not failed:
            self.left(asked.deployment)

    def disappointed(self, name: str, now: float) -> int:
        """It answered with nothing that is an answer: how many times in a row by now."""
        self._empty[name] = self._empty.get(name, 0) + 1
        self._learn(name, self._known(name, now).after(answered=False, now=now))
        return self._empty[name]

    def left(self, name: str) -> None:
        """An attempt ended without saying anything about the deployment."""
        for key in _keys(name):
            trial = self._trials.get(key)
            if trial is not None:
                self._trials[key] = _Trial(0.0, trial.ours)
                self._freed()

    def served(self, name: str, now: float) -> None:
        """It answered."""
        self._empty.pop(name, None)
        self._answered[name.partition("/")[0]] = now
        for key in _keys(name):
            if key in self._cooldowns:
                self._tell_cooldown(key, None)
        self._learn(name, self._known(name, now).after(answered=True, now=now))

    def answered_since(self, provider: str, moment: float) -> bool:
        """Whether some deployment of *provider* answered a request here since *moment*."""
        return self._answered.get(provider, 0.0) >= moment

    def reached(self, provider: str) -> None:
        """Its address answers: what concerned all of *provider* is over."""
        if provider in self._cooldowns:
            self._tell_cooldown(provider, None)

    def acquitted(self, name: str) -> None:
        """Its failure was the request's: what followed from it is undone."""
        if name in self._cooldowns:
            self._tell_cooldown(name, None)

    def timed(self, name: str, points: Iterable[Point], now: float) -> None:
        """An answer came as quickly as *points* tell."""
        pace = self._known(name, now)
        for point in points:
            pace = pace.with_point(point, now)
        self._learn(name, pace)

    # ── with the others ──

    def _tell_cooldown(self, name: str, cooldown: Cooldown | None) -> None:
        tried = self._trials.pop(name, None) is not None
        if cooldown is not None:
            if cooldown == self._cooldowns.get(name):
                return
            self._cooldowns[name] = cooldown
        else:
            self._cooldowns.pop(name, None)
        if tried or cooldown is None:
            self._freed()
        self._state.set(_COOLDOWNS, name, cooldown)

    def _hear_cooldowns(self, heard: dict[str, Cooldown]) -> None:
        changed = heard != self._cooldowns
        self._trials = {name: one for name, one in self._trials.items() if heard.get(name) == self._cooldowns.get(name)}
        self._cooldowns = heard
        if changed:
            self._freed()

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
        for name, cooldown in list(self._cooldowns.items()):
            if not now - FORGET_AFTER <= cooldown.until <= now + LONGEST:
                self._tell_cooldown(name, None)
        told = {
            replica: max((one.at for one in known.values()), default=0.0) for replica, known in self._others.items()
        }
        for place, replica in enumerate(sorted(told, key=lambda replica: -told[replica]), 1):
            if place >= MOST_REPLICAS or not now - PACE_FOR <= told[replica] <= now + LONGEST:
                del self._others[replica]  # what it taught is out of the sum when that is next made
                self._state.set(_PACES, replica, None)
