"""
The limits of clients as buckets, which are debited like a provider's.

A window of up to an hour rolls: in no minute are there more than its limit allows. A day and a month are those of the
calendar, in UTC, as people mean them; longer ones begin where the clock has a multiple of them.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2s

from gateway.quota.buckets import Bucket
from gateway.quota.calendars import Calendar
from gateway.settings.clients import Client, Limit, limits_of

_HOUR = 3600.0
_CALENDARS: dict[str, Calendar] = {"day": "day", "month": "month"}


@lru_cache(maxsize=1024)
def buckets_of(client: Client, namespace: str) -> tuple[tuple[Limit, Bucket], ...]:
    """
    What a request of *client* debits, by its limits. Gateways of one *namespace* count together; the name is not told to
    their store.
    """
    account = f"client-{blake2s(f'{namespace} {client.name}'.encode(), digest_size=8).hexdigest()}"
    return tuple((limit, _bucket(account, limit)) for limit in limits_of(client))


def _bucket(account: str, limit: Limit) -> Bucket:
    calendar = _CALENDARS.get(limit.window)
    return Bucket(
        key=f"{account}/{limit.unit}/{limit.window}",
        account=account,
        unit=limit.unit,
        limit=limit.amount,
        window="calendar" if calendar else "rolling" if limit.seconds <= _HOUR else "clock",
        period=limit.seconds,
        window_name=limit.window,
        calendar=calendar,
        source="client",
    )
