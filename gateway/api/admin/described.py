"""The rows of the admin API in ``/openapi.json``."""

from __future__ import annotations

from typing import Any

from gateway.api.admin.access import SessionView, SignIn
from gateway.api.admin.changes import ATOM
from gateway.api.admin.clients import ClientChange, NewChoice, NewClient
from gateway.api.admin.configuration import NewSourceKey, Taken
from gateway.api.admin.models import Readmission
from gateway.api.admin.plots import MOST_HOURS
from gateway.api.admin.sources import Opening
from gateway.api.admin.views import (
    Change,
    ClientView,
    ConfigRow,
    ConnectView,
    EmbeddingChoice,
    Forgotten,
    KeyTried,
    Model,
    NewKey,
    Overview,
    RequestView,
    Series,
    SetupSource,
    Source,
    UsageRow,
)
from gateway.api.doors import SSE, Door, Json
from gateway.api.openai import Routing
from gateway.quota.nouns import LevelView
from gateway.request.explain import Explanation
from providers.chat import ChatRequest

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


_TEXT: Json = {"type": "string"}

DOORS = (
    _look("/session", "Whether one is signed in", SessionView, keyless=True),
    _do("/session", "Sign in with the admin key", body=(SignIn,), keyless=True),
    _do("/session", "Sign out", method="delete", keyless=True),
    _look("/overview", "What is left today, and what to do next", Overview),
    _look("/sources", "How every source stands", Source, many=True),
    _look("/sources/{name}", "How one stands", Source),
    _do("/sources/{name}/refresh", "Ask it for its list now", Source),
    _do("/sources/{name}/readmit", "Let it in again", Source),
    _do("/buckets/open", "Lift the close of a bucket", LevelView, body=(Opening,)),
    _look(
        "/models",
        "What each model can do, and why it does not serve",
        Model,
        many=True,
        query={"q": {"type": "string", "maxLength": 200}, "available": {"type": "boolean"}},
    ),
    _do("/models/readmit", "Let a model or an account in again", body=(Readmission,)),
    _do("/explain", "What would serve a conversation, and why", Explanation, body=(ChatRequest, Routing)),
    _look(
        "/requests",
        "The last requests, never with a prompt",
        RequestView,
        many=True,
        query={
            "limit": _whole(1, 1000, 100),
            "before": {"type": "number"},
            "client": {"type": "string"},
            "provider": {"type": "string"},
        },
    ),
    _look("/requests/{request_id}", "One of them", RequestView),
    _look("/events", "What happens, as it happens", {"type": "string"}, media=SSE, endless=True),
    _look(
        "/series",
        "What happened, in points of five minutes",
        Series,
        query={"hours": {"type": "number", "exclusiveMinimum": 0, "maximum": MOST_HOURS, "default": 24}},
    ),
    _look(
        "/changes", "What appeared, vanished or became paid", Change, many=True, query={"limit": _whole(1, 1000, 100)}
    ),
    _look(
        "/connect", "How client programs are pointed at this gateway", ConnectView, many=True, query={"model": _TEXT}
    ),
    _look("/connect/{program}", "How one of them is", ConnectView, query={"model": _TEXT}),
    _look("/config", "What is set, and where it comes from", ConfigRow, many=True, query={"all": {"type": "boolean"}}),
    _do("/reload", "Read what is set, and take it in", Taken),
    _look("/setup", "What each source would give", SetupSource, many=True),
    _do("/sources/{name}/key", "Try a key, and store it", KeyTried, method="put", body=(NewSourceKey,)),
    _do("/sources/{name}/key", "Forget a key", method="delete"),
    _look("/clients", "Who may call, and how much", ClientView, many=True),
    _do("/clients", "Make a client and its key", NewKey, body=(NewClient,)),
    _do("/clients/{name}", "Change what a client may do", ClientView, method="patch", body=(ClientChange,)),
    _do("/clients/{name}", "Take a client's key away", method="delete"),
    _do("/clients/{name}/rotate", "Give a client another key", NewKey),
    _do(
        "/clients/{name}/embeddings",
        "Change the model that it makes vectors with",
        EmbeddingChoice,
        method="put",
        body=(NewChoice,),
    ),
    _do("/revoked-clients/forget", "Forget the clients that were revoked", Forgotten),
    _look(
        "/usage",
        "What was used",
        UsageRow,
        many=True,
        query={"by": {"enum": ["client", "model", "provider", "day"], "default": "client"}, "days": _whole(1, 90, 7)},
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
