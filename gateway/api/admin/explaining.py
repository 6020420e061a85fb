"""``POST explain``: what would serve a chat request, and why nothing else. The prompt is kept nowhere."""

from __future__ import annotations

from typing import Any

from litestar import Request, post
from litestar.di import NamedDependency

from gateway.api import openai_chat
from gateway.api.auth import PAGE
from gateway.api.options import options_of
from gateway.request.engine import Engine
from gateway.request.explain import Explanation, explain


@post("/explain", status_code=200)
async def explained(request: Request[Any, Any, Any], engine: NamedDependency[Engine]) -> Explanation:
    """The same as ``/v1/route/explain``, for whoever runs the gateway. Nothing is reserved and nothing is sent."""
    options = options_of(request.scope["headers"], engine.limits, PAGE, PAGE.name, "explained", engine.clock.now())
    return await explain(openai_chat.parse(await request.body(), options), engine)


HANDLERS = (explained,)
