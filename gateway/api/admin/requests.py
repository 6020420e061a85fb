"""The requests that are being served and the last ones that were, never with a prompt."""

from __future__ import annotations

from heapq import nlargest
from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from gateway.api.admin.sources import NotHere
from gateway.api.admin.views import Attempt, RequestView
from gateway.observe.recent import Recent, Seen

_IN_PIECES = 0.1
"""An answer whose later pieces took so much of the time to its first one, or more, came as a stream."""


def request_view(seen: Seen) -> RequestView:
    """*seen* as it is shown."""
    attempts = [Attempt(deployment=name, outcome=failure, message=told) for name, failure, told in seen.attempts]
    if seen.state == "served" and seen.deployment is not None:
        attempts.append(Attempt(deployment=seen.deployment, outcome="served", message=""))
    return RequestView(
        id=seen.id,
        at=seen.at,
        client=seen.client,
        asked=seen.asked,
        operation=seen.operation,
        state=seen.state,
        status=seen.status,
        deployment=seen.deployment,
        model=seen.model,
        attempts=attempts,
        waited=seen.waited,
        first_content=seen.first_content,
        took=seen.took,
        prompt_tokens=seen.prompt_tokens,
        output_tokens=seen.output_tokens,
        tokens_per_second=_speed(seen),
    )


def _speed(seen: Seen) -> float | None:
    """Tokens of the answer for each second in which it came: of a stream from its first piece on."""
    if not seen.output_tokens or seen.took is None or seen.first_content is None:
        return None
    rest = seen.took - seen.waited - seen.first_content
    seconds = rest if rest > _IN_PIECES * seen.first_content else seen.first_content
    return seen.output_tokens / seconds if seconds > 0 else None


@get("/requests")
async def requests(
    recent: NamedDependency[Recent],
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
    before: FromQuery[float | None] = None,
    client: FromQuery[str | None] = None,
    provider: FromQuery[str | None] = None,
) -> list[RequestView]:
    """The latest first: those that came *before* a moment (unix seconds), of a *client*, served by a *provider*."""
    found = (
        one
        for one in recent.all()
        if (before is None or one.at < before)
        and client in (None, one.client)
        and (provider is None or (one.deployment or "").partition("/")[0] == provider)
    )
    return [request_view(one) for one in nlargest(limit, found, key=lambda one: one.at)]


@get("/requests/{request_id:str}")
async def one_request(recent: NamedDependency[Recent], request_id: FromPath[str]) -> RequestView:
    """One of them, by its ``x-request-id``. Raises NotHere."""
    if (found := recent.get(request_id)) is None:
        raise NotHere(f"no request {request_id[:100]!r} is remembered here: the last {recent.kept} are")
    return request_view(found)


HANDLERS = (requests, one_request)
