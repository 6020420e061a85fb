"""``POST /v1/route/explain``: the body of a chat request in, what would become of it out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from litestar import Request, Router, post
from litestar.di import NamedDependency

from gateway.api.auth import Authenticator
from gateway.api.options import Options, options_of
from gateway.request.engine import Engine
from gateway.request.explain import Explanation, explain
from gateway.words import Call

PATH = "/v1/route/explain"


def router(parse: Callable[[bytes, Options], Call], max_body: int) -> Router:
    """The route, for bodies that *parse* understands; *max_body* bytes are read at most."""

    @post(PATH, status_code=200)
    async def route_explain(
        request: Request[Any, Any, Any], engine: NamedDependency[Engine], authenticator: NamedDependency[Authenticator]
    ) -> Explanation:
        """Which deployment would be asked, and why no other one. Nothing is reserved and nothing is sent."""
        headers = request.scope["headers"]
        client = authenticator.admit(headers)
        options = options_of(headers, engine.limits, client, client.name, "explained", engine.clock.now())
        return await explain(parse(await request.body(), options), engine)

    return Router("/", route_handlers=[route_explain], request_max_body_size=max_body)
