"""``POST /v1/route/explain``: the body of a chat request in, what would become of it out."""

from __future__ import annotations

from typing import Any

from litestar import Request, Router, post
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException

from gateway.api import errors as openai_errors
from gateway.api.auth import Doorkeeper
from gateway.api.openai_request import parse
from gateway.api.options import options_of
from gateway.request.engine import Engine
from gateway.request.explain import Explanation, explain
from gateway.words import GatewayError


@post("/route/explain", status_code=200)
async def route_explain(
    request: Request[Any, Any, Any], engine: NamedDependency[Engine], doorkeeper: NamedDependency[Doorkeeper]
) -> Explanation:
    """Who would be asked, and why nobody else. Nothing is reserved and nothing is sent."""
    headers = request.scope["headers"]
    client = doorkeeper.admit(headers)
    options = options_of(headers, engine.limits, client, client.name, "explained", engine.clock.now())
    return await explain(parse(await request.body(), options), engine)


def router(max_body: int) -> Router:
    """The route, with errors in OpenAI's shape; *max_body* bytes are read at most."""
    return Router(
        "/v1",
        route_handlers=[route_explain],
        request_max_body_size=max_body,
        exception_handlers={
            GatewayError: openai_errors.on_gateway_error,
            HTTPException: openai_errors.on_http_exception,
        },
    )
