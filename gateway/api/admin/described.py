"""The rows of the admin API in ``/openapi.json``."""

from __future__ import annotations

from typing import Any

from gateway.api.admin.access import SessionView, SignIn
from gateway.api.admin.changes import ATOM
from gateway.api.admin.views import Change
from gateway.api.doors import Door, Json

FAMILY = "Admin"
"""What its types are called after, and how its errors are spelled: as OpenAI does."""

_BEGINS = "/admin/v1"


def _look(path: str, about: str, answer: Json | type, **more: Any) -> Door:
    return Door(path=f"{_BEGINS}{path}", method="get", about=about, errors=FAMILY, answer=answer, **more)


def _do(path: str, about: str, answer: Json | type = {}, *, method: str = "post", **more: Any) -> Door:  # noqa: B006 - never changed
    """One that changes something. Without an *answer* it is 204."""
    codes = (200,) if answer else (204,)
    return Door(
        path=f"{_BEGINS}{path}", method=method, about=about, errors=FAMILY, answer=answer, **{"codes": codes, **more}
    )


def _whole(least: int, most: int, default: int) -> Json:
    return {"type": "integer", "minimum": least, "maximum": most, "default": default}


DOORS = (
    _look("/session", "Whether one is signed in", SessionView, keyless=True),
    _do("/session", "Sign in with the admin key", body=(SignIn,), keyless=True),
    _do("/session", "Sign out", method="delete", keyless=True),
    _look(
        "/changes", "What appeared, vanished or became paid", Change, many=True, query={"limit": _whole(1, 1000, 100)}
    ),
    Door(
        path="/changes.atom",
        method="get",
        about="The same as a feed",
        errors=FAMILY,
        answer={"type": "string"},
        media=ATOM,
    ),
)
