"""
The one place that says which deployments may serve a call, in which order, why the others may not, and when that changes.

    names → deployments that fit → usable now? → has room, as far as is known? → ranked
                                       │ no            │ no
                                       └───────────────┴──► unavailable → when to try again

Pure: the pipeline, hedging, explaining and the benches all ask it, and what it says can be replayed. It compares a short
list, and goes on beyond it before it says that none can: while the ledger refuses those it names, the next plan names
others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from operator import itemgetter

import msgspec
from msgspec import Struct, field

from gateway.catalog.catalog import Catalog
from gateway.request.bounds import (
    answers_in,
    expected,
    has_no_room,
    holds_together,
    is_cramped,
    is_small,
    learned,
    reasons_anyway,
)
from gateway.request.tried import FOREVER, Tried
from gateway.routing.affinity import LONG, Sessions
from gateway.routing.calibration import Calibration
from gateway.routing.health import Health
from gateway.routing.machines import NOT_SEEN, Machines, displaces
from gateway.routing.patience import LIKELY, SURELY, Patience
from gateway.routing.prices import Price
from gateway.routing.rank import TYPICAL, Bid, price_of, score, works_from
from gateway.routing.talents import Talents, unneeded
from gateway.wording import duration
from gateway.words import Call, Deployment, Exclusion, Wants

SHORTLIST = 20
"""
Deployments that are compared with each other. The best two of each account come first, so that those beyond the first so
many with room and health hardly ever win; and no decision costs more in a larger catalog.
"""

_BADLY = 2.0
"""
What a deployment is worth less whose answer would be cut: more than any other difference between two that the caller
prefers alike.
"""
_THINKS = 0.4
"""
What a deployment is worth less that thinks before a small answer, where the best of the others is dear: an answer that may
be nothing but thoughts is poor, but what others need more would be lost to them.
"""
_DEAR = 0.3
"""
The price of a request of typical size from which a deployment is left to those that need it more: it would be used up a
little before its time. However small a call, many of them use up what is dear.
"""


_HASTE = 0.3
"""
What a deployment is worth less whose answer may come when its caller has left: less than the last way to a talent, and more than most
differences in quality.
"""
_SLOW = 1.4
"""How many times as long as it mostly takes an answer may well take."""

ABOUT_TO = 60.0
"""Seconds within which those come who are about to wait."""

_Row = tuple[tuple[int, int], float, int, Deployment]
"""What a deployment is ranked by: its preference, its value (less is better), its place in the list; and itself."""


class View(Struct, frozen=True):
    """What choosing goes by: what this process knows, without asking anybody. *prices* are by bucket key, at a moment."""

    catalog: Catalog
    health: Health
    prices: Callable[[float], Mapping[str, Price]]
    affinity: Sessions
    calibration: Calibration
    talents: Talents = field(default_factory=Talents)
    patience: Patience = field(default_factory=Patience)
    fetches: bool = False  # images that are named by an address are fetched for those that take bytes alone
    machines: Machines = field(default_factory=Machines)

    def bid(self, call: Call, wants: Wants, now: float) -> Bid:
        """What *call* brings to the ranking."""
        prefer = "speed" if call.chore else wants.prefer or self.catalog.prefers(wants.models[0])
        warm = self.affinity.warm(call.session, now) if call.prompt_tokens >= LONG or call.in_turn else ""
        last_ways = self.talents.last_ways(self.catalog.deployments(), self.prices(now), now)
        return Bid(prefer, call.tokens, warm, wants.capabilities, last_ways, call.chore, call.sparing)

    def leaves_at(self, call: Call, came_at: float, now: float, *, surely: bool) -> float:
        """
        When the caller of *call*, who *came_at* a moment, is expected to leave before an answer has come; *surely*: until when
        it is there most probably. Infinity: that is not known.
        """
        there = SURELY if surely else LIKELY
        return min(call.gives_up_at, came_at + self.patience.leaves_after(call.alike, now - came_at, there))

    def expected(self, deployment: Deployment, tried: Tried) -> float | None:
        """
        Seconds of a typical answer; where a model must be loaded, with its share of that: those who wait have theirs. One that
        was not seen yet is taken to be as quick as the one that is loaded.
        """
        seconds = self.health.expected(deployment.name)
        if deployment.proof.kind != "local" or not (loading := self.machines.loading(deployment.name)):
            return seconds
        if seconds is None:
            seconds = self.health.expected(self.machines.loaded(deployment.name)) or NOT_SEEN
        return seconds + loading / (1 + tried.others)

    def answers_in(self, call: Call, deployment: Deployment, *, whole: bool) -> float:
        """
        Seconds in which *deployment* answers the like of *call* once it begins: all of it if it is to be *whole*, else so much
        that its caller sees something; 0: that is not known. Where another model is loaded, that comes first.
        """
        loading, pace = self.machines.loading(deployment.name), self.health.pace(deployment.name)
        return loading + answers_in(call, deployment, self.calibration, pace, whole=whole)


class Retry(Struct, frozen=True):
    """When to try again: *at* a moment (unix seconds; infinity: at none), and, maybe before, *when_freed*; else never."""

    at: float = FOREVER
    when_freed: bool = False


class Plan(Struct, frozen=True):
    """
    The deployments that could serve a call now, best first, and why others could not for a while. *wants* is what was
    looked for: with another model in place of one that is gone. *full* are those of the unavailable that look full by the
    levels known here, are silent, or refused this call: one that cannot wait asks them all the same. *retry* is when one
    of the unavailable is worth another try; it is that of all of them where *ranked* is empty.
    """

    wants: Wants
    ranked: list[Deployment]
    unavailable: list[Exclusion]
    full: list[Deployment]
    retry: Retry


def plan(call: Call, tried: Tried, view: View, now: float) -> Plan:
    """
    The plan for *call* at *now*, after what was *tried* for it.

    Those that look full are not ranked: whether the levels known here are still right is for the ledger to say, which is
    asked before a request is refused. Where a provider has failed for this call, or is silent, others are asked first, whatever
    the caller's order, and so where it could not answer while its caller is there, but a provider that failed before the last ways
    to what the call does not need; the last resort comes after all others.
    """
    wants = _as_can_be(view.catalog.standing_in(call, now), view, now)
    prices, bid, silence = view.prices(now), view.bid(call, wants, now), view.health.silence
    quiet = silence.quiet(now)
    scored: list[_Row] = []
    failed: list[_Row] = []
    later: list[_Row] = []
    poor: list[_Row] = []
    last: list[Deployment] = []
    crowded: list[Deployment] = []
    unavailable: list[Exclusion] = []
    for candidate in view.catalog.fitting(wants, now):
        deployment = candidate.deployment
        if deployment.name in tried.over:
            continue
        reason = (
            view.catalog.unusable(deployment, call, now)
            or tried.too_long_for(deployment)
            or view.health.blocked(deployment.name, now)
            or tried.full.get(deployment.name)
            or _without_room(deployment, call, view)
            or _left_to_others(deployment, call, tried, view, now)
        )
        if reason is not None:
            unavailable.append(reason)
        elif deployment.last_resort:
            last.append(deployment)
        else:
            price, busy = price_of(deployment, prices, now, bid.tokens)
            busy = busy or silence.doubt(deployment.name, now, waited=bool(tried.waits)) or tried.refuses(deployment)
            if busy is not None:
                crowded.append(deployment)
                unavailable.append(busy)
                continue
            haste, provider = _haste(deployment, call, tried, view, now), deployment.provider.name
            value = score(candidate, price, view.expected(deployment, tried), bid)
            if provider in quiet or haste == FOREVER:
                rows = later
            else:
                rows, value = failed if provider in tried.failed_at else scored, value - haste
            if rows is scored and _fits_badly(deployment, call, view):
                rows = poor  # beyond the first so many there may be others that fit well
            place = len(scored) + len(failed) + len(later) + len(poor)
            rows.append((candidate.preference, -value, place, deployment))
            if len(scored) == SHORTLIST:
                break
    ranked = _in_order([*scored, *_worth_less(poor, scored, call, view, now)], failed, later, bid)
    return Plan(wants, ranked + last, unavailable, crowded, _retry(unavailable))


def _in_order(scored: list[_Row], failed: list[_Row], later: list[_Row], bid: Bid) -> list[Deployment]:
    """
    Those that are *scored*, then those of providers that *failed*, then those to be asked *later*. A last way to a talent that is not
    needed comes after those that failed.
    """

    def is_kept(row: _Row) -> bool:
        return bool(failed and unneeded(row[-1], bid.needs, bid.last_ways))

    turns = [(2 * is_kept(row), row) for row in scored]
    turns += [(1 + 2 * is_kept(row), row) for row in failed]
    turns += [(4, row) for row in later]
    return [row[-1] for _, row in sorted(turns)]


def _as_can_be(wants: Wants, view: View, now: float) -> Wants:
    """
    *wants* without what can be made up: where no deployment that fits takes a JSON schema, its model can be told in words, and
    held to it; images can be fetched.
    """
    spared = {"image_url"} & wants.capabilities if view.fetches else set[str]()
    if "json_schema" in wants.capabilities and not view.catalog.fitting(_less(wants, spared), now):
        spared |= {"json_schema"}
    return _less(wants, spared)


def _less(wants: Wants, spared: AbstractSet[str]) -> Wants:
    return msgspec.structs.replace(wants, capabilities=wants.capabilities - spared) if spared else wants


def _without_room(deployment: Deployment, call: Call, view: View) -> Exclusion | None:
    """
    Why *deployment* may not begin a stream that could not be continued: a call of a tool and JSON must hold together. Only
    what is known of its answers counts.
    """
    if not (call.streams and (holds_together(call) or "tools" in call.wants.capabilities)):
        return None
    likely = learned(call, deployment.model, view.calibration)
    if not likely or not has_no_room(deployment, call, likely):
        return None
    reason = f"has no room for an answer of {likely} tokens beside the prompt"
    return Exclusion(deployment.name, "size", reason)


def _haste(deployment: Deployment, call: Call, tried: Tried, view: View, now: float) -> float:
    """
    What *deployment* is worth less to a caller who may have left when it has answered what it would begin now; infinity: who is
    expected to.
    """
    if tried.stays_until == FOREVER:
        return 0.0
    begins_at = now
    if deployment.proof.kind == "local":
        begins_at = works_from(deployment, view.prices(now), view.answers_in(call, deployment, whole=True), now)
    takes = view.answers_in(call, deployment, whole=not call.streams)
    if begins_at + takes > tried.leaves_at:
        return FOREVER
    return _HASTE if begins_at + _SLOW * takes > tried.stays_until else 0.0


def held_back(deployment: Deployment, call: Call, tried: Tried, bid: Bid, view: View, now: float) -> list[str]:
    """In words, why *deployment* is asked later than its score would have it, or what its score is less for."""
    said, provider = list[str](), deployment.provider.name
    if provider in view.health.silence.quiet(now):
        said.append(f"nothing has come from {provider} for longer than usual")
    if haste := _haste(deployment, call, tried, view, now):
        come, stays = "would mostly" if haste == FOREVER else "may", duration(max(0.0, tried.stays_until - now))
        said.append(f"its answer {come} come after the caller has left, who most probably stays for {stays}")
    if talents := unneeded(deployment, bid.needs, bid.last_ways):
        said.append(f"it is one of the last ways to {' and '.join(sorted(talents))}, which this request does not need")
    if _fits_badly(deployment, call, view):
        said.append("its answer would mostly be cut, or be nothing but thoughts")
    return said


def _left_to_others(deployment: Deployment, call: Call, tried: Tried, view: View, now: float) -> Exclusion | None:
    """Why *deployment* is left to those who wait for it, too. One that is idle is not withheld on a guess."""
    loading = view.machines.loading(deployment.name) if deployment.proof.kind == "local" else 0.0
    if loading and _costs_more(deployment, loading, tried, view, now):
        loaded = view.machines.loaded(deployment.name)
        reason = f"would have to be loaded, for {loading:.0f} s, and others wait who can use {loaded}"
        return Exclusion(deployment.name, "queue", reason, when_freed=True)
    if deployment.name not in tried.awaited or _haste(deployment, call, tried, view, now) < FOREVER:
        return None
    left = max(0.0, tried.leaves_at - now)
    reason = f"would answer too late for a caller who is expected to leave in {left:.0f} s, and others wait for it"
    return Exclusion(deployment.name, "queue", reason)


def _costs_more(deployment: Deployment, loading: float, tried: Tried, view: View, now: float) -> bool:
    """Whether *loading* the model of *deployment* costs others more than it gives. Not where nothing is to do."""
    loaded = view.machines.loaded(deployment.name)
    there = view.health.expected(loaded) or NOT_SEEN
    if loaded not in tried.awaited and works_from(deployment, view.prices(now), there, now) == now:
        return False
    return displaces(loading, view.health.expected(deployment.name) or there, there, tried.others, ABOUT_TO)


def _fits_badly(deployment: Deployment, call: Call, view: View) -> bool:
    """Whether an answer of *deployment* would mostly be cut, or be nothing but reasoning."""
    if reasons_anyway(deployment) and is_small(call):
        return True
    return is_cramped(deployment, call, expected(call, deployment.model, view.calibration))


def _worth_less(poor: list[_Row], scored: list[_Row], call: Call, view: View, now: float) -> Iterator[_Row]:
    """The rows of *poor*, which fit badly, less what that makes of them beside those that are *scored*."""
    if not poor:
        return
    best = min(scored, key=itemgetter(1), default=None)
    dear = best is not None and price_of(best[-1], view.prices(now), now, TYPICAL)[0] >= _DEAR
    for preference, value, place, deployment in poor:
        cut = is_cramped(deployment, call, expected(call, deployment.model, view.calibration))
        yield preference, value + (_THINKS if dear and not cut else _BADLY), place, deployment


def _retry(unavailable: Iterable[Exclusion]) -> Retry:
    moments = [reason.until for reason in unavailable if reason.until is not None]
    return Retry(min(moments, default=FOREVER), any(reason.when_freed for reason in unavailable))
