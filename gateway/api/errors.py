"""
Errors: OpenAI's shape, the headers that go with an error in any shape, and what Litestar's own routes answer with.

A surface with another shape renders its errors itself; headers, hints and the traceback of a bug are the same for all.
"""

from __future__ import annotations

import math
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from difflib import get_close_matches
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.enums import MediaType
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from gateway.events import Bug, Event
from gateway.words import GatewayError, Internal, NoCapacity, NoSource, NothingCapable, Stopping, WrongMethod
from providers.redaction import redacted

_MAX_NAMED = 50  # exclusions that an error lists
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
            "excluded": error.excluded[:_MAX_NAMED],
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


# ── for the routes that Litestar handles itself ──


def handlers(tell: Callable[[Event], None], paths: Collection[str] = ()) -> ExceptionHandlersMap:
    """
    What Litestar does with an exception: what is wrong with a path or a method is told in the shape of the path's family,
    every other error in OpenAI's, and *tell* hears of each bug. *paths* are those that a caller of a path that does not
    exist may have meant.
    """

    def on_gateway_error(_: Request[Any, Any, Any], error: GatewayError) -> Response[bytes]:
        return _response(error.status, render(error), headers(error))

    def on_http_exception(request: Request[Any, Any, Any], exc: HTTPException) -> Response[bytes]:
        if exc.status_code >= 500:
            return on_bug(request, exc)
        path, method = str(request.scope["path"])[:_LONGEST_PATH], request.scope["method"]
        message = {404: _no_such_path(path, paths), 405: f"{method} is not possible at {path}"}.get(exc.status_code)
        body = _in_its_family(path, exc.status_code, message or exc.detail or "the request cannot be understood")
        return _response(exc.status_code, msgspec.json.encode(body), exc.headers or {})

    def on_bug(request: Request[Any, Any, Any], exc: Exception) -> Response[bytes]:
        tell(bug(exc, f"{request.scope['method']} {str(request.scope['path'])[:_LONGEST_PATH]}"))
        return on_gateway_error(request, Internal())

    return {GatewayError: on_gateway_error, HTTPException: on_http_exception, Exception: on_bug}


def _in_its_family(path: str, status: int, message: str) -> dict[str, Any]:
    """An error of *path* as the clients of its family read one: Ollama's, Gemini's, Anthropic's, or else OpenAI's."""
    if path.startswith("/api/") and not path.startswith("/api/v1/"):
        return {"error": message}
    if path.startswith("/v1beta/") or ":" in path.rpartition("/")[2]:
        return {"error": {"code": status, "message": message, "status": _GOOGLE.get(status, "INVALID_ARGUMENT")}}
    if "/messages" in path:
        return {"type": "error", "error": {"type": _ANTHROPIC.get(status, "invalid_request_error"), "message": message}}
    return {"error": _error(message, "invalid_request_error")}


_GOOGLE = {404: "NOT_FOUND", 405: "UNIMPLEMENTED"}
_ANTHROPIC = {404: "not_found_error"}


def _no_such_path(path: str, paths: Collection[str]) -> str:
    """Clients are often told an address with ``/v1`` and add it once more, or the other way round."""
    bare = path.rstrip("/")
    while bare.startswith("/v1/"):
        bare = bare.removeprefix("/v1")
    meant = f"/v1{bare}" if f"/v1{bare}" in paths else next(iter(get_close_matches(path, paths, cutoff=0.8)), None)
    return f"there is no {path} here" + (f"; did you mean {meant}?" if meant else "")


def _response(status: int, body: bytes, more: dict[str, str]) -> Response[bytes]:
    return Response(body, status_code=status, headers=more, media_type=MediaType.JSON)


def _error(message: str, kind: str, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    return {"message": message, "type": kind, "param": param, "code": code}
