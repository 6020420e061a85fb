"""What changed between two lists of a provider, and the history of all changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gateway.events import Changed, ChangeKind, Event
from gateway.state.store import StateStore
from gateway.words import Deployment

KEPT = 500
"""Changes that are remembered; older ones are forgotten."""

_TOPIC = "changes"


def between(
    before: Mapping[str, Deployment], after: Mapping[str, Deployment], listed: Iterable[str], at: float
) -> list[Changed]:
    """
    What is different *after*, by deployment name. *listed* are all ids that the provider still lists: one of them that
    is not among the free ones any more became paid.
    """
    still = frozenset(listed)
    found = []
    for name, deployment in before.items():
        if name not in after:
            paid = deployment.target.model in still
            kind: ChangeKind = "became paid" if paid else "vanished"
            found.append(Changed(kind, name, "nothing proves that it is free any more" if paid else "not listed", at))
    for name, deployment in after.items():
        known = before.get(name)
        if known is None:
            found.append(Changed("appeared", name, deployment.proof.because, at))
        else:
            found += _differences(known, deployment, at)
    return found


def _differences(before: Deployment, after: Deployment, at: float) -> list[Changed]:
    found = []
    if gained := after.capabilities - before.capabilities:
        found.append(Changed("capability gained", after.name, ", ".join(sorted(gained)), at))
    if lost := before.capabilities - after.capabilities:
        found.append(Changed("capability lost", after.name, ", ".join(sorted(lost)), at))
    for what in ("context", "max_output"):
        was, now = getattr(before, what), getattr(after, what)
        if was != now:
            found.append(Changed("limit changed", after.name, f"{what}: {_size(was)}, now {_size(now)}", at))
    return found


def of_limits(account: str, before: Mapping[str, float], after: Mapping[str, float], at: float) -> list[Changed]:
    """What an account may do by what its provider says of it: *before* and *after*, by ``unit/window``."""
    return [
        Changed("limit changed", account, f"{what}: {before[what]:g}, now {limit:g}", at)
        for what, limit in after.items()
        if what in before and before[what] != limit
    ]


def _size(tokens: int | None) -> str:
    return f"{tokens:,}" if tokens else "unknown"


class History:
    """An observer that keeps what changed, for all gateways of one store and across restarts."""

    def __init__(self, state: StateStore) -> None:
        self._state = state
        state.watch(_TOPIC, Changed, lambda _: None)

    def __call__(self, event: Event) -> None:
        if not isinstance(event, Changed):
            return
        self._state.set(_TOPIC, event.key, event)
        for old in self.changes()[KEPT:]:
            self._state.set(_TOPIC, old.key, None)

    def changes(self) -> Sequence[Changed]:
        """What is remembered and can be read, the latest first."""
        found = self._state.entries(_TOPIC, Changed).values()
        return sorted(found, key=lambda change: (-change.at, change.name))
