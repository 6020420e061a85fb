"""What follows where money is spent: nothing more leaves for that account, from any replica, until a person lets it back in."""

from __future__ import annotations

from collections.abc import Callable

from gateway.catalog.catalog import Catalog
from gateway.events import Changed, Event, Withdrawn
from gateway.quota.ledger import Ledger

QUARANTINE = 7 * 86_400.0
"""Seconds that an account is out after it has cost money, unless a person lets it back in."""


def quarantine(
    account: str, sign: str, catalog: Catalog, ledger: Ledger, now: float, tell: Callable[[Event], None]
) -> None:
    """Leave *account* alone, because of *sign*, and say so aloud."""
    catalog.learned.withdraw(account, now + QUARANTINE, sign)
    for bucket in catalog.buckets():
        if bucket.account == account:
            ledger.close(bucket, QUARANTINE, sign)
    tell(Withdrawn(account, sign, now + QUARANTINE, alarm=True))
    tell(Changed("charged", account, sign, now))
