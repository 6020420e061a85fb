"""From a provider's quota rows to the buckets of one of its models."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import limits
import msgspec

from gateway.quota.buckets import Bucket, Window
from gateway.quota.calendars import Calendar
from providers.spec import ProviderSpec, Quota

_IN_FLIGHT = "in-flight"

ARRIVES_WITHIN = 1.0
"""
Seconds after it was debited within which a request arrives at its provider. One that arrives in the provider's next minute or
day is counted there.
"""


def buckets_of(spec: ProviderSpec, model: str) -> tuple[Bucket, ...]:
    """
    The buckets that a request to *model* debits.

    Of several rows for the same unit, period and scope, the first whose ``models`` name it counts. Raises
    ``ValueError`` for a row that cannot be read.
    """
    model = _counted_as(spec, model)
    buckets: dict[tuple[str, str, str], Bucket] = {}
    for row in spec.quota:
        if row.models and not any(fnmatchcase(model, pattern) for pattern in row.models):
            continue
        bucket = _bucket(spec.name, model if row.scope == "model" else "", _with_credit(row, spec.credit))
        buckets.setdefault((row.scope, row.unit, bucket.window_name), bucket)
    return tuple(bucket for bucket in buckets.values() if bucket.limit < math.inf)


def _with_credit(row: Quota, dollars: float | None) -> Quota:
    """*row*, with the *dollars* that a person allowed in place of its own."""
    if dollars is None or row.unit != "dollars":
        return row
    _, _, period = row.limit.partition("/")
    return msgspec.structs.replace(row, limit=f"{dollars}/{period}", source="configured")


def _counted_as(spec: ProviderSpec, model: str) -> str:
    """The model whose buckets a request to *model* debits: an alias shares those of what it stands for."""
    for pattern, name in spec.counted_as.items():
        if fnmatchcase(model, pattern):
            return name
    return model


def verify(spec: ProviderSpec) -> None:
    """Raise ``ValueError`` if a quota row of *spec* cannot be read, or it has a credit that nothing draws on."""
    if spec.credit is not None and all(row.unit != "dollars" for row in spec.quota):
        raise ValueError(f"provider {spec.name}: credit: nothing is paid from a credit there")
    for row in spec.quota:
        _bucket(spec.name, "", row)


@lru_cache(maxsize=4096)
def _bucket(provider: str, model: str, row: Quota) -> Bucket:
    amount, _, period = row.limit.partition("/")
    try:
        limit = math.inf if amount == "unlimited" else float(amount)
        seconds, name = (0.0, _IN_FLIGHT) if period == _IN_FLIGHT else _period(period)
    except ValueError as exc:
        raise ValueError(f"provider {provider}: quota limit {row.limit!r}: expected e.g. '20/minute'") from exc
    try:
        ZoneInfo(row.resets)
    except (ZoneInfoNotFoundError, ValueError) as exc:
        raise ValueError(f"provider {provider}: there is no time zone {row.resets!r}") from exc
    window: Window = "in-flight" if name == _IN_FLIGHT else row.window
    calendar: Calendar | None = None
    if window == "calendar":
        if name not in ("day", "month"):
            raise ValueError(f"provider {provider}: quota {row.limit!r}: a calendar window is a day or a month")
        calendar = cast(Calendar, name)
    return Bucket(
        key="/".join(part for part in (provider, model or "*", row.unit, name) if part),
        account=provider,
        scope=row.scope,
        unit="in-flight" if name == _IN_FLIGHT else row.unit,
        limit=limit,
        window=window,
        period=seconds,
        window_name=name,
        calendar=calendar,
        zone=row.resets,
        counts_refused=row.counts_refused,
        counts_failed=row.counts_failed,
        keeps_output=row.keeps_output,
        assumed=row.assumed,
        edge=ARRIVES_WITHIN,
        source=row.source or "configured",
    )


def _period(text: str) -> tuple[float, str]:
    """A period in the notation of ``limits`` as seconds and as a word: ``minute``, ``5 minute``."""
    item = limits.parse(f"1/{text}")
    name = item.GRANULARITY.name
    return float(item.get_expiry()), name if item.multiples == 1 else f"{item.multiples} {name}"
