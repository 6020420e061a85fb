"""
What silence says: which deployments and providers took a request and have sent nothing since. Pure but for its own record.

       sent ──► slow ────────────► late ─────────────────► overdue ─────────────────────► it ends unheard
                others go elsewhere,   others wait for it      one more may find out,         that counts as a failure
                where there is room                            twice as long after each

A request that hangs says little; a deployment from which nothing has come since it was sent says much. So whatever comes
from a deployment excuses all requests that are under way there. A request is *slow* after twice the time that it should
have taken. Then it is *late*, too, if that time is known, for an idle source is not withheld on a guess. It is *overdue*
when hedging loses patience. A call that has no other way and no time to wait is sent all the same.

Which requests are slow or late is known to this process alone. That one is overdue is a cooldown, which replicas share (see
health.py): it ends when something comes.
"""

from __future__ import annotations

from itertools import chain

from msgspec import Struct

from gateway.routing.latency import TYPICAL, Pace
from gateway.words import Exclusion

SLOW_FACTOR = 2.0
"""How many times its expected seconds a request may be silent before it is slow."""

LEAST_SLOW = 1.0
"""Seconds of silence that make no request slow."""

UNKNOWN_LATE = 6.0
"""Seconds of silence after which a request is late at a deployment of which it is not known how long it takes."""

FIRST_WORD = 0.5
"""
Seconds for which those who waited for a window let the first of them ask a provider that was not heard of lately: a
refusal comes within them, and one is enough to learn that a key was revoked.
"""

LATELY = 10.0
"""Seconds for which a provider that was heard of is as it was."""

_UNHEARD = float("-inf")


class Asked(Struct, eq=False):
    """A request that was sent to *deployment* *at* a moment: it is slow, late, overdue after so many seconds of silence."""

    deployment: str
    at: float
    slow_in: float
    late_in: float
    overdue_in: float
    heard: bool = False  # something has come in answer

    @classmethod
    def of(cls, deployment: str, at: float, pace: Pace | None, tokens: int, overdue_in: float) -> Asked:
        """One at a deployment of such a *pace*. *tokens*: how long an answer in one piece may be; 0: it comes as a stream."""
        known = pace is not None and pace.first_content is not None
        slow_in = min(_slow_in(pace or Pace(0.0), tokens if known else min(tokens, int(TYPICAL))), overdue_in)
        late_in = slow_in if known else min(max(slow_in, UNKNOWN_LATE), overdue_in)
        return cls(deployment, at, slow_in, late_in, overdue_in)

    def slow(self, now: float) -> bool:
        return now >= self.at + self.slow_in

    def late(self, now: float) -> bool:
        return now >= self.at + self.late_in

    def overdue(self, now: float) -> bool:
        return now >= self.at + self.overdue_in


def _slow_in(pace: Pace, tokens: int) -> float:
    return max(LEAST_SLOW, SLOW_FACTOR * ((pace.first_content or 0.0) + tokens * pace.a_token))


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
        asked.heard = True
        provider = asked.deployment.partition("/")[0]
        first_word = self._heard.get(provider, _UNHEARD) < asked.at - LATELY
        self._heard[provider] = now
        self._ended.pop(provider, None)
        excused = self._asked.get(provider, {}).pop(asked.deployment, {})
        self._forget(provider)
        return first_word or any(one.late(now) for one in chain(excused, (asked,)))

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

    def silent(self, asked: Asked) -> bool:
        """Whether nothing came since *asked* was sent, in answer to it or to another that was under way there."""
        return asked in self._asked.get(asked.deployment.partition("/")[0], {}).get(asked.deployment, {})

    def spoke(self, provider: str, since: float) -> bool:
        """Whether something has come from *provider* since then."""
        return self._heard.get(provider, _UNHEARD) >= since

    def doubt(self, name: str, now: float, *, waited: bool = False) -> Exclusion | None:
        """
        Why no other request should be sent to the deployment *name* before one of those that are silent is answered.
        *waited*: for capacity, and so others may have, too.
        """
        if not self._asked:
            return None
        provider = name.partition("/")[0]
        there = self._asked.get(provider)
        if there is None:
            return None
        here, since = there.get(name), self._heard.get(provider, _UNHEARD)
        if waited and since < now - LATELY:
            first_at = min((next(iter(one)).at for one in there.values()), default=now)
            if now < first_at + FIRST_WORD:
                said = f"the first request to {provider} after a while is under way: waiting for what it says"
                return Exclusion(name, "cooling", said, first_at + FIRST_WORD, when_freed=True)
        if here and next(iter(here)).late(now) and (held := _held(name, "it", list(here), now)) is not None:
            return held
        silent = [one for one in there.values() if (first := next(iter(one))).late(now) and first.at >= since]
        if len(silent) < 2:
            return None
        asked = sorted(chain.from_iterable(silent), key=lambda one: one.at)
        return _held(name, f"{provider}, asked for {len(silent)} models,", asked, now)

    def quiet(self, now: float) -> frozenset[str]:
        """The providers at which a request is slow: others are asked first."""
        if not self._asked:
            return frozenset()
        return frozenset(
            provider
            for provider, there in self._asked.items()
            if any(next(iter(here)).slow(now) for here in there.values())
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
