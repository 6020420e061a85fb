"""
Whether a call that has to wait will be served while its caller is still there, and when. Pure.

What can serve it gives starts: a slot in flight as often as an answer there takes, a window as many as it holds whenever it
opens. Those who go before it take theirs first. For a deadline all of this errs on the side of hope, for what is refused is
lost; for a caller who is expected to leave it does not, since what is begun too late is lost for all.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Mapping

from msgspec import Struct

from gateway.quota.buckets import Bucket, window_start
from gateway.request.plan import Plan, View
from gateway.request.tried import Tried
from gateway.routing.machines import NOT_SEEN
from gateway.routing.prices import SOON, Price
from gateway.routing.rank import works_from
from gateway.wording import duration, opens
from gateway.words import Call, Deployment, Exclusion, NoCapacity

LATELY = 30.0
"""Seconds, and up to twice as many, by which it is told how often calls come."""

_FEW = 10.0
"""Seconds that tell something of how often calls come, at least."""

_SAME = 0.1
"""Seconds within which moments are one: when an answer ends is never known so well."""

_GRACE = 0.1
"""The part of the time that is left by which a call that waits may come too late, before it is given up."""

_FEW_STARTS = 4
"""Starts in all the time that a call can wait of which one more or less cannot be foretold."""

_SOONEST = 1.0
"""Seconds after which to come back at the earliest."""

_DEAREST = 10.0
"""Short answers for which one that takes long counts at most: what is expected of it may be wrong."""

_TELLING = 1.5
"""Short answers from which on it is told for how many one counts."""


class Waiting(Struct, frozen=True):
    """Calls that wait for deployments of these *names*, in their order, each *until* a moment (unix seconds)."""

    names: frozenset[str]
    until: tuple[float, ...]


class Ahead(Struct, frozen=True):
    """
    Who goes before a call, of those who could not be served elsewhere: by *lines*; so many are its client's *own*. *coming*
    are those that may still come and go first, by client: so many at most, so many a second. *crowded*: not all could be
    served lately.
    """

    lines: tuple[Waiting, ...] = ()
    own: int = 0
    coming: tuple[tuple[int, float], ...] = ()
    crowded: bool = False

    @property
    def calls(self) -> int:
        """How many wait."""
        return sum(len(line.until) for line in self.lines)

    def within(self, seconds: float) -> float:
        """How many that are not there yet come first within so many *seconds*."""
        return sum(min(most, rate * seconds) for most, rate in self.coming)


class Arrivals:
    """How often the calls of each client begin to wait, of late. *now* is when it begins to count."""

    def __init__(self, now: float) -> None:
        self._since, self._here, self._before = now, Counter[str](), Counter[str]()

    def came(self, client: str, now: float) -> None:
        """A call of *client* waits."""
        self._roll(now)
        self._here[client] += 1

    def rates(self, now: float) -> Iterable[tuple[str, float]]:
        """Calls of each client a second."""
        self._roll(now)
        seconds = max(_FEW, now - self._since + (LATELY if self._before else 0.0))
        return [(client, count / seconds) for client, count in (self._here + self._before).items()]

    def _roll(self, now: float) -> None:
        if not 0 <= now - self._since < LATELY:
            self._before = self._here if 0 <= now - self._since < 2 * LATELY else Counter()
            self._since, self._here = now, Counter()


class Starts(Struct, frozen=True):
    """*batch* calls may start at *opens_at* (unix seconds), and as many again after each *period* seconds; 0: any number."""

    opens_at: float
    batch: float
    period: float

    def by(self, moment: float) -> float:
        """How many by *moment*."""
        if moment < self.opens_at:
            return 0.0
        if not self.period:
            return math.inf
        return self.batch * (1 + math.floor((moment - self.opens_at) / self.period))


class Supply(Struct, frozen=True):
    """
    What one deployment gives: each of its buckets, by key, some starts. A caller has an answer *seconds* after it began
    (0: it is not known when), and none begins before *opens_at*. It *costs* so many short answers of a machine of one's own.
    """

    deployment: str
    seconds: float
    opens_at: float
    buckets: tuple[tuple[str, tuple[Starts, ...]], ...]
    costs: float = 1.0

    def by(self, moment: float) -> tuple[str, float]:
        """The bucket that bounds it, and how many may start by *moment*."""
        if moment < self.opens_at:
            return self.deployment, 0.0
        given = ((sum(one.by(moment) for one in starts), key) for key, starts in self.buckets)
        most, key = min(given, default=(math.inf, self.deployment))
        return key, most

    def at_once(self) -> tuple[str, float]:
        """The bucket that bounds it, and how many it gives when it next gives something."""
        given = ((sum(one.batch if one.period else math.inf for one in starts), key) for key, starts in self.buckets)
        most, key = min(given, default=(math.inf, self.deployment))
        return key, most


class Prospect(Struct, frozen=True):
    """
    What a call that waits may expect: to begin at a moment *begins_at* (unix seconds; infinity: not known), *behind* so many
    others; its caller is expected to leave at *leaves_at* (infinity: that is not known). *hopeless*: it would not be served
    in time. *answers_in* are the seconds of the quickest answer that it may have. It *costs* so many short answers, where only
    machines of one's own can serve it: one picture takes the place of several texts.
    """

    begins_at: float
    behind: int
    leaves_at: float
    hopeless: bool
    answers_in: float = 0.0
    costs: float = 1.0

    def said(self, now: float) -> str:
        """In words."""
        told = "one other waits ahead" if self.behind == 1 else f"{self.behind} others wait ahead"
        if self.costs >= _TELLING:
            told += f"; it counts for {self.costs:.0f} short answers"
        if self.begins_at < math.inf:
            told += f"; it would begin {opens(self.begins_at, now)}"
        if self.leaves_at < math.inf:
            left = max(0.0, self.leaves_at - now)
            told += f", takes {duration(self.answers_in)}, and its caller is expected to leave in {duration(math.ceil(left))}"
        return told


def refusal(likely: Prospect, chosen: Plan, now: float) -> NoCapacity:
    """What a call is told that would wait in vain for what *chosen* leaves out."""
    said, begins_at = likely.said(now), likely.begins_at
    reasons = (Exclusion(one.deployment, "queue", f"{one.reason}; {said}", one.until) for one in chosen.unavailable)
    return NoCapacity(
        f"this request would be served too late: {said}",
        retry_after=max(_SOONEST, begins_at - now) if begins_at < math.inf else None,
        excluded=tuple(reasons),
    )


def prospect(chosen: Plan, call: Call, tried: Tried, ahead: Ahead, view: View, now: float) -> Prospect:
    """
    What *call* may expect that nothing in *chosen* can serve now, with those *ahead* of it. It is to start by its deadline,
    and to be served before its caller is expected to leave. One that has waited already is not given up for a little.

    Where not all can be served and callers leave, as many of a client wait as the next openings take: to have more stand
    there would serve all of them late, and none besides (Nichols and Jacobson, *Controlling queue delay*, ACM Queue 2012).
    """
    given, leaves_at, waited = supplies(chosen, call, view, now), tried.leaves_at, bool(tried.waits)
    quickest = min((one.seconds for one in given), default=0.0)
    latest = min(call.deadline, leaves_at - quickest)
    hopeless = latest < now
    if given and not hopeless:
        grace = _GRACE * (latest - now + 1.0) if waited else 0.0
        first = _taken(given, ahead, latest) + ahead.within(latest - now)
        starts = starts_by(given, latest + grace, leaves_at + grace)
        hope = leaves_at == math.inf and starts < _FEW_STARTS  # one ahead who gives up makes room
        hopeless = starts + hope < first + 1
        if ahead.crowded and leaves_at < math.inf and not waited:
            hopeless |= ahead.own >= _shared(one.at_once() for one in given)
    begins_at = _begins_at(given, ahead, now) if hopeless else math.inf
    costs = min((one.costs for one in given), default=1.0)
    return Prospect(begins_at, ahead.calls, leaves_at, hopeless, quickest, costs)


def starts_by(given: Iterable[Supply], moment: float, leaves_at: float = math.inf) -> float:
    """How many may start by *moment* who are served before *leaves_at*. What shares a bucket shares what it gives."""
    return _shared(supply.by(min(moment, leaves_at - supply.seconds)) for supply in given)


def _taken(given: list[Supply], ahead: Ahead, moment: float) -> int:
    """
    How many starts those *ahead* take by *moment*, those with the least choice first. What several lines share opens only so
    often before each of them gives up.
    """
    taken: list[float] = []  # until when those would wait who take one, in order
    names = frozenset[str]()
    for line in sorted(ahead.lines, key=lambda line: len(line.names)):
        names |= line.names
        theirs = [supply for supply in given if supply.deployment in line.names]
        together = [supply for supply in given if supply.deployment in names]
        most = starts_by(together, moment)
        for until in _served(theirs, line.until, moment):
            if len(taken) >= most:
                break
            if until >= moment or starts_by(together, until + _SAME) > bisect_right(taken, until):
                insort(taken, until)
    return len(taken)


def _served(given: list[Supply], waiting: tuple[float, ...], moment: float) -> list[float]:
    """Those of the *waiting*, each until a moment, who take a start by *moment*: who has to give up before takes none."""
    most = starts_by(given, moment)
    if starts_by(given, min(waiting)) >= len(waiting):
        return list(waiting)
    served: list[float] = []
    for until in waiting:
        if len(served) < most and (until >= moment or starts_by(given, until + _SAME) > len(served)):
            served.append(until)
    return served


def _shared(given: Iterable[tuple[str, float]]) -> float:
    found: dict[str, float] = {}
    for key, starts in given:
        found[key] = max(found.get(key, 0.0), starts)
    return sum(found.values())


def _begins_at(given: list[Supply], ahead: Ahead, now: float) -> float:
    """The first moment, to within a second or a tenth of the wait, by which all *ahead* and one more have started."""
    if not given:
        return math.inf
    seconds = _SOONEST
    while starts_by(given, now + seconds) < ahead.calls + ahead.within(seconds) + 1:
        if seconds > 100_000.0:
            return math.inf
        seconds *= 1.5
    low = seconds / 1.5
    while seconds - low > max(_SOONEST, 0.1 * seconds) / 2:
        middle = (low + seconds) / 2
        enough = starts_by(given, now + middle) >= ahead.calls + ahead.within(middle) + 1
        low, seconds = (low, middle) if enough else (middle, seconds)
    return now + seconds


# ── what there is ──


def awaited(chosen: Plan) -> frozenset[str]:
    """The names of those that *chosen* leaves out for now: a call may wait for them, or would, if it had the time."""
    return frozenset(
        one.deployment for one in chosen.unavailable if one.until is not None or one.when_freed or one.kind == "queue"
    )


def supplies(chosen: Plan, call: Call, view: View, now: float) -> list[Supply]:
    """
    What each of those that *chosen* leaves out gives to the like of *call*, if it opens by itself or when something is
    given back.
    """
    names = awaited(chosen)
    if not names:
        return []
    waited = {one.deployment: one for one in chosen.unavailable if one.deployment in names}
    prices = view.prices(now)
    fitting = (candidate.deployment for candidate in view.catalog.fitting(chosen.wants, now))
    return [_supply(d, waited[d.name], call, view, prices, now) for d in fitting if d.name in waited]


def _supply(
    deployment: Deployment, reason: Exclusion, call: Call, view: View, prices: Mapping[str, Price], now: float
) -> Supply:
    seconds = view.answers_in(call, deployment, whole=not call.streams)
    busy = view.answers_in(call, deployment, whole=True)
    opens_at = now if reason.until is None else max(now, reason.until)
    buckets: list[tuple[str, tuple[Starts, ...]]] = []
    for bucket in deployment.buckets:
        price = prices.get(bucket.key)
        if bucket.window == "in-flight" and deployment.proof.kind == "local":
            buckets.append((bucket.key, (Starts(works_from(deployment, prices, busy, now), 1.0, busy),)))
        elif bucket.window == "in-flight":
            buckets.append((bucket.key, _slots(bucket, price, busy, now)))
        elif 0 < bucket.period <= SOON:
            buckets.append((bucket.key, (_window(bucket, price, call, opens_at),)))
    costs = 1.0
    if deployment.proof.kind == "local":
        short = view.health.expected(view.machines.loaded(deployment.name)) or NOT_SEEN
        costs = min(_DEAREST, max(1.0, busy / short))
    return Supply(deployment.name, seconds, opens_at, tuple(buckets), costs)


def _slots(bucket: Bucket, price: Price | None, busy: float, now: float) -> tuple[Starts, ...]:
    """Each slot is free once what is under way there ends, and after each further answer."""
    limit = int(bucket.limit if price is None else min(bucket.limit, price.limit))
    under_way = () if price is None else price.under_way
    freed = sorted(max(now, began + busy) for began in under_way)[:limit]
    freed += [now] * (limit - len(freed))
    return tuple(Starts(at, 1.0, busy) for at in freed)


def _window(bucket: Bucket, price: Price | None, call: Call, opens_at: float) -> Starts:
    """A window that flows back gives a little after the other; others may give all at once."""
    limit = bucket.limit if price is None else min(bucket.limit, price.limit)
    need = {"requests": 1.0, "tokens": float(call.tokens), "prompt": float(call.prompt_tokens)}.get(bucket.unit, 0.0)
    if not need or not limit:
        return Starts(opens_at, 1.0, 0.0)
    most = max(1.0, limit / need)
    if bucket.window == "refill":
        return Starts(opens_at, 1.0, bucket.period / most)
    return Starts(window_start(bucket, opens_at) if bucket.window == "clock" else opens_at, most, bucket.period)
