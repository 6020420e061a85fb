"""
What requests cost, which must be nothing, and what they would have cost where the same models are paid for.

Counters of all gateways of one store, by month, provider and model.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from msgspec import Struct

from gateway.events import Counted, Event
from gateway.state.store import StateStore


class Spending(Struct, kw_only=True):
    """
    Dollars of a month at a provider for a model: *spent* (money), taken from a free monthly *credit*, and *saved*: the
    price of the same tokens where the model is paid for, as far as such a price is known (*unpriced* requests have none).
    """

    month: str
    provider: str
    model: str
    requests: int = 0
    spent: float = 0.0
    credit: float = 0.0
    saved: float = 0.0
    unpriced: int = 0


class Costs:
    """An observer that adds up. What it knows lasts across restarts."""

    def __init__(self, state: StateStore) -> None:
        self._state = state

    def __call__(self, event: Event) -> None:
        if not isinstance(event, Counted):
            return
        where = f"{datetime.fromtimestamp(event.at, UTC):%Y-%m}|{event.provider}|{event.model}"
        self._state.count(f"{where}|requests", 1)
        for what, dollars in (("credit", event.credit), ("spent", event.spent)):
            if dollars:
                self._state.count(f"{where}|{what}", dollars)
        if event.saved is None:
            self._state.count(f"{where}|unpriced", 1)
        else:
            self._state.count(f"{where}|saved", event.saved)

    async def report(self) -> list[Spending]:
        """All there is, the latest month first. Raises StateFailure."""
        (counters,) = await self._state.counters("")
        return _costs(counters)


def _costs(counters: Mapping[str, float]) -> list[Spending]:
    found: dict[tuple[str, str, str], Spending] = {}
    for counter, amount in counters.items():
        month, _, rest = counter.partition("|")
        provider, _, rest = rest.partition("|")
        model, _, what = rest.rpartition("|")
        cost = found.setdefault((month, provider, model), Spending(month=month, provider=provider, model=model))
        if what in ("requests", "unpriced"):
            setattr(cost, what, round(amount))
        elif what in ("spent", "credit", "saved"):
            setattr(cost, what, amount)
    return sorted(found.values(), key=lambda cost: (cost.month, cost.saved), reverse=True)
