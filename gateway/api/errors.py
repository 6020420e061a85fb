"""Errors in OpenAI's shape, for every path under ``/v1``."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.enums import MediaType
from litestar.exceptions import HTTPException

from gateway.words import GatewayError, NoCapacity, NoSource, NothingCapable, Stopping

_MAX_NAMED = 50  # exclusions that an error lists


def render(error: GatewayError) -> bytes:
    """
    ``{error: {message, type, param, code}}``, and, where nobody could serve the request, why: when to come back, how
    many deployments were left out for which kind of reason, and the first of them.
    """
    body: dict[str, Any] = {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }
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
    if isinstance(error, Stopping):
        found["connection"] = "close"  # the next one may reach another gateway
    return found


def on_gateway_error(_: Request[Any, Any, Any], error: GatewayError) -> Response[bytes]:
    """For routes that Litestar handles."""
    return Response(render(error), status_code=error.status, headers=headers(error), media_type=MediaType.JSON)


def on_http_exception(_: Request[Any, Any, Any], exc: HTTPException) -> Response[bytes]:
    """Litestar's own errors take our shape too."""
    kind = "invalid_request_error" if exc.status_code < 500 else "server_error"
    body = {"error": {"message": exc.detail or "unknown path", "type": kind, "param": None, "code": None}}
    return Response(msgspec.json.encode(body), status_code=exc.status_code, media_type=MediaType.JSON)
