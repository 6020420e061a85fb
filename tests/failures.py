"""What a failure tells, by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from providers.failures import ProviderFailure


def told(failure: ProviderFailure, marks: Iterable[str]) -> dict[str, Any]:
    """The attributes *marks* of *failure*; ``limit`` is what it says of the bucket that it names."""
    return {mark: _limit(failure) if mark == "limit" else getattr(failure, mark) for mark in marks}


def _limit(failure: Any) -> float | None:
    of_it = [o.limit for o in failure.observed if (o.unit, o.window) == (failure.unit, failure.window)]
    return of_it[0] if of_it else None
