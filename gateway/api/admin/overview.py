"""``GET overview``: whether all is well, what is left today, what was spent and saved, and the one thing to do next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from litestar import get
from litestar.di import NamedDependency
from msgspec import Struct

from gateway import __version__
from gateway.api.admin.left import Stock
from gateway.api.admin.views import Overview
from gateway.api.health import Report, report_of
from gateway.background import Background
from gateway.catalog.standing import Judgement, Sources
from gateway.observe.recent import Recent
from gateway.observe.usage import Costs, Spending
from gateway.request.engine import Engine
from gateway.settings import EMBEDDED
from gateway.state.store import StateFailure, StateStore

_COSTS_FOR = 10.0
"""Seconds for which what was spent is not counted anew: that reads all counters."""

SET_UP = "set a free key: freeway setup"
ONE_MORE = "set a key of a second free source, so that the limits of one are not yours: freeway setup"


class Desk(Struct):
    """What the overview is made of, and since when there is a gateway."""

    engine: Engine
    sources: Sources
    background: Background
    state: StateStore
    costs: Costs
    recent: Recent
    stock: Stock
    origins: Callable[[], Mapping[str, str]]  # where each variable that is set comes from
    started: float
    bill: Sequence[Spending] = ()
    billed_at: float = -_COSTS_FOR

    async def overview(self) -> Overview:
        """The gateway as it is now."""
        engine, now = self.engine, self.engine.clock.now()
        report = report_of(engine, self.sources, self.background, self.state)
        await self._count(now)
        sources = self.sources
        judged = {
            sources.spec(name).title: sources.judgement(name, now) for name in sources.names() if name != EMBEDDED
        }
        absent = {sources.spec(name).title for name in sources.asked() if _never_was(name, sources)}
        return Overview(
            version=__version__,
            now=now,
            started=self.started,
            status=report.status,
            problems=problems(report, {title: one for title, one in judged.items() if title not in absent}),
            next_step=next_step(judged, has_key=any(map(sources.has_key, sources.names()))),
            left=await self.stock.left_today(),
            spent=sum(cost.spent for cost in self.bill),
            credit=sum(cost.credit for cost in self.bill),
            saved=sum(cost.saved for cost in self.bill),
            store=report.ledger.store,
            replicas=report.ledger.replicas,
            live=self.recent.live,
            waiting=engine.queue.waiting,
        )

    async def _count(self, now: float) -> None:
        if 0 <= now - self.billed_at < _COSTS_FOR:
            return
        self.billed_at = now
        try:
            self.bill = await self.costs.report()
        except StateFailure:
            return  # told as a problem; what was known last is shown


def problems(report: Report, judged: dict[str, Judgement]) -> list[str]:
    """What is not well, in words; *judged* by title."""
    bad = [f"{title}: {one.reason}" for title, one in judged.items() if one.state in ("key refused", "shut", "failing")]
    if report.ledger.lost is not None:
        bad.append(
            f"the ledger's store is lost, and every quota is shared by what was known last: {report.ledger.lost}"
        )
    if report.state_lost is not None:
        bad.append(f"what other gateways learn is not heard: {report.state_lost}")
    bad += [f"{loop.loop} keeps failing: {loop.failure}" for loop in report.failing_loops if loop.dying]
    if report.unreadable_entries:
        bad.append(f"{report.unreadable_entries} entries of the state cannot be read and are left out")
    return bad


def next_step(judged: dict[str, Judgement], *, has_key: bool) -> str:
    """The one thing that would help most; empty: there is none. *judged* are the sources beside the embedded model, by title."""
    states = [one.state for one in judged.values()]
    for state in ("key refused", "shut"):
        for title, one in judged.items():
            if one.state == state:
                return f"{title}: {one.remedy}"
    if "on" not in states:
        return "" if has_key else SET_UP
    return ONE_MORE if states.count("on") == 1 and "no key" in states else ""


def _never_was(name: str, sources: Sources) -> bool:
    """Whether *name* is looked for on this machine, as it may be there, and never was: nothing is wrong with that."""
    return sources.spec(name).free.kind == "local" and sources.read_at(name) is None


@get("/overview")
async def overview(desk: NamedDependency[Desk]) -> Overview:
    """What the page and ``freeway quota`` begin with."""
    return await desk.overview()


HANDLERS = (overview,)
