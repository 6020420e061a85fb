"""What follows from each class of failure. The whole policy is this table; the pipeline carries it out."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from gateway.words import BadRequest, GatewayError, NothingCapable, Refused, TooLong
from providers import failures as f

HOUR, DAY = 3600.0, 86_400.0


class Consequence(Struct, frozen=True):
    """
    *debit*: ``unsent`` returns all; ``refused`` and ``failed`` keep it in buckets that count refused or failed
    requests; ``kept`` keeps it in all.
    *cools*: seconds for which the deployment is left alone, doubled with each failure; 0: not at all.
    *closes_bucket*: the bucket that the provider named closes.
    *withdraws*: seconds for which the deployment (or, if the failure is account-wide, all of the account) leaves.
    *again*: the same deployment may be asked for the same request, once its pause is over.
    *tells*: the request is at fault and its caller hears it, unless another deployment may still take it (*last*).
    """

    debit: Literal["unsent", "refused", "failed", "kept"] = "unsent"
    cools: float = 0.0
    closes_bucket: bool = False
    withdraws: float = 0.0
    loses_capability: bool = False
    again: bool = False
    tells: type[GatewayError] | None = None
    last: type[GatewayError] | None = None


CONSEQUENCES: dict[type[f.ProviderFailure], Consequence] = {
    f.RateLimited: Consequence(debit="refused", closes_bucket=True, again=True),
    f.Busy: Consequence(debit="failed", cools=5.0, again=True),
    f.TooLarge: Consequence(debit="refused", last=NothingCapable),
    f.WouldCost: Consequence(withdraws=DAY),
    f.ModelGone: Consequence(withdraws=DAY),
    f.CredentialRejected: Consequence(withdraws=HOUR),
    f.NotEntitled: Consequence(withdraws=DAY),
    f.CallersFault: Consequence(tells=Refused),
    f.RefusedHere: Consequence(debit="refused", last=Refused),
    f.ContextTooLong: Consequence(last=TooLong),
    f.Unsupported: Consequence(loses_capability=True, last=BadRequest),
    f.ContentRefused: Consequence(tells=Refused),
    f.NoAnswer: Consequence(debit="kept", cools=10.0),
    f.Unreachable: Consequence(debit="failed", cools=10.0),
    f.Interrupted: Consequence(debit="kept", cools=10.0),
    f.Superseded: Consequence(debit="kept", again=True),
}
