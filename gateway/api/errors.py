"""
Errors: OpenAI's shape, the headers that go with an error in any shape, and what Litestar's own routes answer with.

A surface with another shape renders its errors itself; headers, hints and the traceback of a bug are the same for all.
"""

from __future__ import annotations

import math
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.enums import MediaType
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from gateway.events import Bug, Event, KeyRefused
from gateway.words import (
    BadRequest,
    GatewayError,
    Internal,
    NoCapacity,
    NoSource,
    NothingCapable,
    Stopping,
    Unauthorized,
    WrongMethod,
)
from providers.redaction import redacted

_FEW, _MANY = 5, 50  # exclusions that an error lists, and those that it lists for a caller that has itself traced
_LONGEST_PATH = 200
_LONGEST_TRACEBACK = 20_000
_MOST_CAUSES = 5  # exceptions that led to one another


def render(error: GatewayError) -> bytes:
    """
    OpenAI's ``{error: {message, type, param, code}}``, and, where no deployment could serve the request, why: when to
    come back, how many deployments were left out for which kind of reason, and the first of them.
    """
    body = _error(error.message, error.type, param=error.param, code=error.code)
    if error.excluded or isinstance(error, NoCapacity | NoSource | NothingCapable):
        body["availability"] = {
            "code": error.code,
            "retryable": error.retry_after is not None,
            "retry_after": error.retry_after,
            "excluded_by": Counter(out.kind for out in error.excluded),
            "excluded": error.excluded[: _MANY if error.traced else _FEW],
        }
    return msgspec.json.encode({"error": body})


def headers(error: GatewayError) -> dict[str, str]:
    """What an error answer says beside its body."""
    found = {"content-type": "application/json"}
    if error.retry_after is not None:
        found["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, WrongMethod):
        found["allow"] = error.allowed
    if isinstance(error, Stopping):
        found["connection"] = "close"  # the next one may reach another gateway
    return found


def bug(exc: BaseException, where: str, request: str = "", texts: Iterable[str] = ()) -> Bug:
    """What is to be told of *exc*, without what its message quotes of *texts*, which are a prompt's."""
    told: list[str] = []
    texts, seen = tuple(texts), 0
    one: BaseException | None = exc
    while one is not None and seen < _MOST_CAUSES:
        said = redacted(str(one), None, texts)
        told[:0] = [
            "Traceback (most recent call last):\n",
            *traceback.format_tb(one.__traceback__),
            f"{type(one).__qualname__}: {said}\n",
        ]
        one, seen = one.__cause__ or one.__context__, seen + 1
    return Bug(where, "".join(told)[-_LONGEST_TRACEBACK:].rstrip(), request)


def noted(error: GatewayError, scope: Any, tell: Callable[[Event], None], *, traced: bool = False) -> None:
    """
    Have *error*, of the request with the ASGI *scope*, name all that was left out if it is *traced*; *tell* of a client's key that
    was refused.
    """
    error.traced = traced
    if isinstance(error, Unauthorized):
        peer = scope.get("client")
        tell(KeyRefused(str(scope["path"])[:_LONGEST_PATH], str(peer[0]) if peer else "?"))


# ── for the routes that Litestar handles itself ──


Render = Callable[[GatewayError], bytes]
"""How one API spells an error."""


def handlers(
    tell: Callable[[Event], None], paths: Collection[str] = (), shapes: Mapping[str, Render] = MappingProxyType({})
) -> ExceptionHandlersMap:
    """
    What Litestar does with an exception: every error is told in OpenAI's shape, or in that which *shapes* has for the
    beginning of the path, and *tell* hears of each bug. *paths* are those that a caller of a path that does not exist may
    have meant.
    """

    def on_gateway_error(request: Request[Any, Any, Any], error: GatewayError) -> Response[bytes]:
        noted(error, request.scope, tell)
        path = str(request.scope["path"])
        with_v1 = f"/v1{_without_v1(path)}"
        shape = next(
            (shape for begins, shape in shapes.items() if path.startswith(begins) or with_v1.startswith(begins)), render
        )
        return _response(error.status, shape(error), headers(error))

    def on_http_exception(request: Request[Any, Any, Any], exc: HTTPException) -> Response[bytes]:
        if exc.status_code >= 500:
            return on_bug(request, exc)
        path, method = str(request.scope["path"])[:_LONGEST_PATH], request.scope["method"]
        message = {404: _no_such_path(path, paths), 405: f"{method} is not possible at {path}"}.get(exc.status_code)
        error = BadRequest(message or exc.detail or "the request cannot be understood")
        error.status = exc.status_code
        response = on_gateway_error(request, error)
        response.headers.update(exc.headers or {})
        return response

    def on_bug(request: Request[Any, Any, Any], exc: Exception) -> Response[bytes]:
        tell(bug(exc, f"{request.scope['method']} {str(request.scope['path'])[:_LONGEST_PATH]}"))
        return on_gateway_error(request, Internal())

    return {GatewayError: on_gateway_error, HTTPException: on_http_exception, Exception: on_bug}


def _no_such_path(path: str, paths: Collection[str]) -> str:
    """
    Clients are often told an address with ``/v1`` and add it once more, or the other way round. A key in the path is not
    repeated: programs log what they are told.
    """
    if path.startswith("/k/"):
        return "there is no /k/… here: keys in the path are taken only with [server] path_keys = true"
    paths = [one for one in paths if one.startswith("/admin") == path.startswith("/admin")]
    bare = _without_v1(path.rstrip("/"))
    meant = f"/v1{bare}" if f"/v1{bare}" in paths else next(iter(get_close_matches(path, paths, cutoff=0.8)), None)
    return f"there is no {path} here" + (f"; did you mean {meant}?" if meant else "")


def _without_v1(path: str) -> str:
    while path.startswith("/v1/"):
        path = path.removeprefix("/v1")
    return path


def _response(status: int, body: bytes, more: dict[str, str]) -> Response[bytes]:
    return Response(body, status_code=status, headers=more, media_type=MediaType.JSON)


def _error(message: str, kind: str, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    return {"message": message, "type": kind, "param": param, "code": code}
