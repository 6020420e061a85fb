"""What is left today, by capability: the forecast of every kind of request, in words."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from gateway.api.admin.views import Left
from gateway.quota.forecast import Forecast, Outlook, Supply, supply
from gateway.quota.nouns import Cost
from gateway.request.engine import Engine
from gateway.settings import AUTO
from gateway.words import Deployment, Wants
from providers.spec import Operation

PROMPT, ANSWER = 1500, 500
"""Tokens of a request of typical size: what is asked in a chat, with some of what was said before."""

_SECONDS_OF_SOUND = 60.0
_OF_SMALL = ("chat", "private")
_ALWAYS = ("chat", "tools", "vision", "private")
"""What is told also where no source has it. Others have a row as far as a source has them."""

_TALENTS = ("tools", "vision", "audio", "reasoning")
_NAMES = {
    "embed": "embeddings",
    "rerank": "rankings",
    "transcribe": "transcription",
    "speak": "speech",
    "image": "images",
    "moderate": "moderation",
}
_PRIVATE = Wants(models=(AUTO,), no_train=True)


class Stock:
    """What is left of everything at *engine*, by the levels that this process has seen."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._revision = engine, -1
        self._known: dict[str, dict[Operation, Supply]] = {}  # by deployment, for as long as no list changes

    async def left_today(self) -> list[Left]:
        """A row for each capability. Each is made in a turn of its own: with many models that takes a while."""
        engine, cache = self._engine, self._engine.ledger.cache
        now = engine.clock.now() + cache.ahead
        outlook = Outlook({key: level for key, (_, level) in {**cache.levels, **cache.parts}.items()}, now)
        deployments = engine.view.catalog.deployments()
        titles = {d.provider.name: d.provider.spec.title for d in deployments}
        local = {d.provider.name for d in deployments if d.proof.kind == "local"}
        catalog, now = self._engine.view.catalog, self._engine.clock.now()
        small = any(d.last_resort and catalog.serves(d, now) for d in deployments)
        rows = []
        for capability, offered in self._supplies(deployments).items():
            await asyncio.sleep(0)
            found = outlook.forecast(offered)
            here = bool(local.intersection(found.beyond))
            more = [titles[name] for name in found.beyond if name not in local]
            rows.append(
                Left(
                    capability=capability,
                    answers=None if here else found.answers,
                    until=None if found.until is None else found.until - cache.ahead,
                    said=said(found, here=here, more=more) if offered else nothing(small and capability in _OF_SMALL),
                )
            )
        return rows

    def _supplies(self, deployments: Iterable[Deployment]) -> Mapping[str, list[Supply]]:
        """Those of *deployments* that may be asked, by what they can do. The last resort counts for nothing: it is no quota."""
        catalog, now = self._engine.view.catalog, self._engine.clock.now()
        if self._revision != catalog.revision:
            self._revision = catalog.revision
            self._known.clear()
        found: dict[str, list[Supply]] = defaultdict(list, {name: [] for name in _ALWAYS})
        for d in deployments:
            if d.last_resort or not catalog.serves(d, now):
                continue
            known = self._known.get(d.name)
            if known is None:
                known = {one: supply(d.provider.name, d.buckets, _cost(d, one)) for one in d.operations}
                self._known[d.name] = known
            for operation, one in known.items():
                if operation != "chat":
                    found[_NAMES[operation]].append(one)
                    continue
                able = catalog.learned.capabilities(d, now)
                for name in ("chat", *(talent for talent in _TALENTS if talent in able)):
                    found[name].append(one)
                if catalog.meets(d, _PRIVATE, now):
                    found["private"].append(one)
        return found


def _cost(d: Deployment, operation: Operation) -> Cost:
    """What one request of *operation* takes: a turn of a chat, a text to embed, a minute of sound, a picture."""
    if operation == "chat":
        return d.cost(PROMPT, ANSWER)
    tokens = d.cost(ANSWER, 0)
    seconds = _SECONDS_OF_SOUND if operation == "transcribe" else 0.0
    neurons = tokens.neurons + d.neurons_each + d.neurons_a_minute * seconds / 60
    return Cost(tokens.prompt, 0.0, tokens.dollars, seconds, neurons)


def nothing(small: bool) -> str:
    """What to say where no source is counted; *small*: the last resort answers all the same."""
    return "only the small model of this machine answers" if small else "no source is in use that answers"


def said(found: Forecast, *, here: bool = False, more: list[str] | None = None) -> str:
    """*found* in words. *here*: a machine of one's own answers, too; *more* are sources of which no limit is known."""
    until = f"until {moment(found.until)}" if found.until is not None else "in a day"
    number = about(found.answers) if found.answers else "none"
    beyond = f"more from {' and '.join(more)}, which tell of no limit" if more else ""
    if here:
        elsewhere = f"; elsewhere {number} {until}" if found.answers else ""
        return f"without bound on this machine{elsewhere}"
    if not found.answers and beyond:
        return f"some {beyond.removeprefix('more ')}"
    return f"{number} {until}" + (f", and {beyond}" if beyond else "")


def about(answers: int) -> str:
    """So many, as far as that says something: three digits."""
    digits = max(0, len(str(answers)) - 3)
    return f"about {round(answers, -digits):,} answers".replace(",", " ")


def moment(at: float) -> str:
    """A moment of today or tomorrow by the clock on this machine's wall."""
    return f"{datetime.fromtimestamp(at, UTC).astimezone():%H:%M %Z}".strip()
