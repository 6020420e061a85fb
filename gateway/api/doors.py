"""What one method of one path is: a row of ``/openapi.json``."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

Json = dict[str, Any]

SSE, LINES = "text/event-stream", "application/x-ndjson"


class Door(Struct, frozen=True, kw_only=True):
    """
    One *method* at one *path*: what it is for, the type of its *body*, which is all of several for fields that are shared, and
    the schema of its *answer*. *errors* names how errors are spelled, *stream* the type of an answer that comes piece by piece.
    *many*: the answer is a list of such. *query* are the parameters after the path, with their schemas.
    """

    path: str
    method: str
    about: str
    errors: str
    body: tuple[Any, ...] = ()
    answer: Json | type = {}
    many: bool = False
    query: Json = {}
    stream: str | None = None
    media: str = "application/json"
    form: bool = False  # the body is a form, with a file
    codes: tuple[int, ...] = (200,)
    keyless: bool = False
    endless: bool = False  # a stream that does not end by itself
