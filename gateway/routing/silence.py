"""
What silence says: which deployments and providers took a request and have sent nothing since. Pure but for its own record.

       sent ──► late ─────────────────► overdue ─────────────────────► it ends unheard
                others wait for it,      one more may find out,         that counts as a failure
                or go elsewhere          twice as long after each

A request that hangs says little, a deployment from which nothing has come since it was sent says much. So whatever comes from a deployment
excuses all requests that are under way there. A request is *late* after twice the time that it should have taken, and
*overdue* when hedging loses patience. A call that has no other way and no time to wait is sent all the same.
"""

from __future__ import annotations

from itertools import chain

from msgspec import Struct

from gateway.routing.latency import TYPICAL, Pace
from gateway.words import Exclusion

LATE_FACTOR = 2.0
"""How many times its expected seconds a request may be silent before it is late."""

LEAST_LATE = 1.0
"""Seconds of silence that make no request late."""

_UNHEARD = float("-inf")


class Asked(Struct, eq=False):
    """A request that was sent to *deployment* *at* a moment: it is late and overdue after so many seconds of silence."""

    deployment: str
    at: float
    late_in: float
    overdue_in: float

    def late(self, now: float) -> bool:
        return now >= self.at + self.late_in

    def overdue(self, now: float) -> bool:
        return now >= self.at + self.overdue_in


def late_in(pace: Pace | None, tokens: int) -> float:
    """
    Seconds of silence after which a request is late at a deployment of such a *pace*. *tokens* is how long an answer in
    one piece may be; 0: it comes as a stream.
    """
    if pace is None or pace.first_content is None:
        return max(LEAST_LATE, LATE_FACTOR * min(tokens, TYPICAL) * Pace(0.0).a_token)
    return max(LEAST_LATE, LATE_FACTOR * (pace.first_content + tokens * pace.a_token))


class Silence:
    """The requests that no answer has come to, nor to any that their deployment got at the same time. By names."""

    def __init__(self) -> None:
        self._asked: dict[str, dict[str, dict[Asked, None]]] = {}  # by provider, then by deployment; the oldest first
        self._ended: dict[str, dict[str, float]] = {}  # by provider: deployments that were overdue to the end, and when
        self._heard: dict[str, float] = {}  # of providers, when something last came

    def sent(self, asked: Asked) -> None:
        """A request is sent."""
        provider = asked.deployment.partition("/")[0]
        self._asked.setdefault(provider, {}).setdefault(asked.deployment, {})[asked] = None

    def heard(self, asked: Asked, now: float) -> bool:
        """Something came in answer to *asked*. Whether others may have waited for that."""
        provider = asked.deployment.partition("/")[0]
        self._heard[provider] = now
        self._ended.pop(provider, None)
        excused = self._asked.get(provider, {}).pop(asked.deployment, {})
        self._forget(provider)
        return any(one.late(now) for one in chain(excused, (asked,)))

    def ended(self, asked: Asked, now: float) -> tuple[str, ...]:
        """
        *asked* is over, and nothing came. The names that have failed by that: none if it was not overdue or the
        deployment was heard since, else the deployment, and its provider if that is the second one there.
        """
        provider = asked.deployment.partition("/")[0]
        here = self._asked.get(provider, {}).get(asked.deployment, {})
        if asked not in here:
            return ()
        del here[asked]
        self._forget(provider, asked.deployment)
        if not asked.overdue(now):
            return ()
        ended = self._ended.setdefault(provider, {})
        ended[asked.deployment] = now
        silent = {name for name, at in ended.items() if now - at <= asked.overdue_in}
        silent |= {one for one, here in self._asked.get(provider, {}).items() if next(iter(here)).overdue(now)}
        return (asked.deployment, provider) if len(silent) > 1 else (asked.deployment,)

    def doubt(self, name: str, now: float) -> Exclusion | None:
        """Why no other request should be sent to the deployment *name* before one of those that are silent is answered."""
        if not self._asked:
            return None
        provider = name.partition("/")[0]
        there = self._asked.get(provider)
        if there is None:
            return None
        here, since = there.get(name), self._heard.get(provider, _UNHEARD)
        if here and next(iter(here)).late(now) and (held := _held(name, "it", list(here), now)) is not None:
            return held
        silent = [one for one in there.values() if (first := next(iter(one))).late(now) and first.at >= since]
        if len(silent) < 2:
            return None
        asked = sorted(chain.from_iterable(silent), key=lambda one: one.at)
        return _held(name, f"{provider}, asked for {len(silent)} models,", asked, now)

    def quiet(self, now: float) -> frozenset[str]:
        """The providers at which a request is late: others are asked first."""
        if not self._asked:
            return frozenset()
        return frozenset(
            provider
            for provider, there in self._asked.items()
            if any(next(iter(here)).late(now) for here in there.values())
        )

    def _forget(self, provider: str, deployment: str = "") -> None:
        there = self._asked.get(provider)
        if there is not None:
            if not there.get(deployment, True):
                del there[deployment]
            if not there:
                del self._asked[provider]


def _held(name: str, what: str, asked: list[Asked], now: float) -> Exclusion | None:
    """What keeps others from *name*, until one may find out: after as long as patience lasts, doubled with each."""
    newest = asked[-1]
    trial_at = newest.at + newest.overdue_in * 2.0 ** (len(asked) - 1)
    if now >= trial_at:
        return None
    said = f"{what} has been silent for {now - asked[0].at:.1f} s: waiting for that answer"
    return Exclusion(name, "cooling", said, trial_at, when_freed=True)
