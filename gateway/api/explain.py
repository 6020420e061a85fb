"""``POST /v1/route/explain``: the body of a request in, what would become of it out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Protocol

from litestar import Request, Router, post
from litestar.di import NamedDependency

from gateway.api.auth import Authenticator
from gateway.api.options import Options, options_of
from gateway.request.engine import Engine
from gateway.request.explain import Explanation, explain
from gateway.words import BadRequest, Call

PATH = "/v1/route/explain"
CHAT = "/v1/chat/completions"


class Parses(Protocol):
    """What is made anew for each request of one address, and understands its body."""

    path: ClassVar[str]

    def parse(self, body: bytes, options: Options) -> Any: ...


def router(parse: Callable[[bytes, Options], Call], others: Iterable[Callable[[], Parses]], max_body: int) -> Router:
    """
    The route, for bodies that *parse* understands and, where ``?path=`` names the address of one, *others*; *max_body* bytes are
    read at most.
    """
    parsing = {made.path: one for one in others for made in (one(),)}

    @post(PATH, status_code=200)
    async def route_explain(
        request: Request[Any, Any, Any], engine: NamedDependency[Engine], authenticator: NamedDependency[Authenticator]
    ) -> Explanation:
        """Which deployment would be asked, and why no other one. Nothing is reserved and nothing is sent."""
        path = request.query_params.get("path", CHAT)
        if path not in (CHAT, *parsing):
            raise BadRequest(f"path: expected one of {', '.join((CHAT, *parsing))}, got {path!r}", param="path")
        headers = request.scope["headers"]
        client = authenticator.admit(headers)
        options = options_of(headers, engine.limits, client, client.name, "explained", engine.clock.now())
        understand = parse if path == CHAT else parsing[path]().parse
        return await explain(understand(await request.body(), options), engine)

    return Router("/", route_handlers=[route_explain], request_max_body_size=max_body)
