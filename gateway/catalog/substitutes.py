"""When a model is there no more: which of those that are comes nearest. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from msgspec import Struct

from gateway.words import Deployment

_MISSING = 0.3  # a capability less weighs as much as so much quality
_SHORTER = 0.2  # so does a context of half the length
_OTHER_FAMILY = 0.1
_WORSE = 2.0  # quality that is lost weighs more than quality that is gained


class Profile(Struct, frozen=True, kw_only=True):
    """What matters of a model to a request that has to do without it."""

    model: str
    quality: float
    capabilities: frozenset[str] = frozenset()
    context: int | None = None
    since: float = 0.0  # when it was last seen, in unix seconds

    @classmethod
    def of(cls, served: Iterable[Deployment], since: float = 0.0) -> Self:
        """The profile of one model, as those who serve it do together."""
        deployments = list(served)
        return cls(
            model=deployments[0].model,
            quality=max(d.quality for d in deployments),
            capabilities=frozenset().union(*(d.capabilities for d in deployments)),
            context=max((d.context for d in deployments if d.context), default=None),
            since=since,
        )


def nearest(gone: Profile, present: Iterable[Profile]) -> Profile | None:
    """The model of *present* that comes nearest to *gone* in what it can do and how well; None if there is none."""
    return next(iter(by_nearness(gone, present)), None)


def by_nearness(gone: Profile, present: Iterable[Profile]) -> list[Profile]:
    """The models of *present*, those first that come nearest to *gone*."""
    return sorted(present, key=lambda one: (_distance(gone, one), one.model))


def _distance(gone: Profile, other: Profile) -> float:
    worse = gone.quality - other.quality
    distance = worse * _WORSE if worse > 0 else -worse
    distance += _MISSING * len(gone.capabilities - other.capabilities)
    if gone.context and other.context and other.context < gone.context:
        distance += _SHORTER * (gone.context / other.context - 1)
    if _family(gone.model) != _family(other.model):
        distance += _OTHER_FAMILY
    return distance


def _family(model: str) -> str:
    """``gemini-3.8-flash`` and ``gemini-3.7-flash`` are of one family: the letters that the name begins with."""
    return model[: next((place for place, letter in enumerate(model) if not letter.isalpha()), len(model))]
