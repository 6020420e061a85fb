"""
What requests cost, which must be nothing, and what they would have cost where the same models are paid for.

Counters of all gateways of one store, by month, provider and model.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from msgspec import Struct

from gateway.state.store import StateStore
from gateway.words import Deployment
from providers.chat import Usage


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
    """Adds up. Lasts across restarts."""

    def __init__(self, state: StateStore) -> None:
        self._state = state

    def add(self, deployment: Deployment, usage: Usage, at: float) -> None:
        """A request was answered by *deployment*."""
        where = f"{datetime.fromtimestamp(at, UTC):%Y-%m}|{deployment.provider.name}|{deployment.model}"
        self._state.count(f"{where}|requests", 1)
        if deployment.proof.kind == "credit":
            dollars = usage.prompt_tokens * deployment.prompt_price + usage.completion_tokens * deployment.output_price
            self._state.count(f"{where}|credit", dollars)
        elif usage.cost:
            self._state.count(f"{where}|spent", usage.cost)
        saved = saved_by(deployment, usage)
        if saved is None:
            self._state.count(f"{where}|unpriced", 1)
        else:
            self._state.count(f"{where}|saved", saved)

    async def report(self) -> list[Spending]:
        """All there is, the latest month first. Raises StateFailure."""
        return _costs(await self._state.counters())


def saved_by(deployment: Deployment, usage: Usage) -> float | None:
    """Dollars that *usage* would have cost where the model of *deployment* is paid for, if that is known."""
    return (
        None
        if deployment.list_price is None
        else deployment.list_price.of(usage.prompt_tokens, usage.completion_tokens)
    )


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
