"""``GET usage``: what was used, by client, model, provider or day."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from gateway.api.admin.views import UsageRow
from gateway.observe.use import KEPT, By, Use
from gateway.state.store import StateFailure
from gateway.words import GatewayError


class StateAway(GatewayError):
    """What all gateways know cannot be read now."""

    status, code = 503, "state_away"


@get("/usage")
async def usage(
    use: NamedDependency[Use], by: FromQuery[By] = "client", days: Annotated[int, QueryParameter(ge=1, le=KEPT)] = 7
) -> list[UsageRow]:
    """What was used on the last *days*, today (UTC) included: the most first, days the latest first."""
    try:
        rows = await use.rows(by, days)
    except StateFailure as exc:
        raise StateAway(f"what was used cannot be read now: {exc}", retry_after=5.0) from exc
    return [msgspec.convert(msgspec.structs.asdict(row), UsageRow) for row in rows]


HANDLERS = (usage,)
