"""
Whether a request itself breaks the source that answers it. Such a one must not go on from source to source and shut each
of them for all callers. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from providers import failures as f

LATELY = 60.0
"""Seconds for which an answer to another request shows that a provider is well."""

_UNREADABLE = (msgspec.DecodeError, ValueError, TypeError, LookupError, RecursionError)


def looks_poisoned(failure: f.ProviderFailure) -> bool:
    """
    Whether *failure* may be the request's doing: a 5xx, or an answer that cannot be read. Never a limit, overload, a
    connection that is refused or breaks, nor silence.
    """
    if type(failure) is not f.Unreachable or failure.reached == "unsent":
        return False
    if failure.status is not None:
        return failure.status >= 500
    return isinstance(failure.__cause__, _UNREADABLE) and not isinstance(failure.__cause__, OSError)


def is_poisonous(broke: Iterable[str]) -> bool:
    """Whether it is: *broke* has the provider of each attempt that looked so, and that had answered another request lately."""
    return len(set(broke)) > 1
