"""Calls as a surface would make them, for tests that begin behind it."""

from __future__ import annotations

from typing import Any

from gateway.request.call import capabilities_of, media_tokens, parameters_of, text_tokens
from gateway.words import Call, Wants
from providers.chat import decode_fields, decode_request, encode
from providers.dialect import Request

_OF_WANTS = frozenset(Wants.__struct_fields__) - {"models"}  # which is one of the body's, too


def call(*models: str, deadline: float = 0.0, default_output: int = 1024, **more: Any) -> Call:
    """A chat call for *models*. *more* are fields of Wants, of Call, and of the request's body."""
    wanted = {name: more.pop(name) for name in list(more) if name in _OF_WANTS}
    wanted = {name: tuple(value) if isinstance(value, list) else value for name, value in wanted.items()}
    ours = {name: more.pop(name) for name in list(more) if name in Call.__struct_fields__}
    body = encode({"messages": [{"role": "user", "content": "Say: yes"}]} | more)
    view, fields = decode_request(body), decode_fields(body)
    media = media_tokens(view)
    wants = {
        "models": models or ("auto",),
        "capabilities": capabilities_of(view),
        "parameters": parameters_of(view, fields),
    }
    made: dict[str, Any] = {
        "id": "r",
        "prompt_tokens": text_tokens(view, fields) + media,
        "output_tokens": min(view.output_tokens or default_output, default_output) * (view.n or 1),
        "media_tokens": media,
    }
    made |= ours
    sent = Request(view, fields, made["prompt_tokens"], made["output_tokens"], view.output_tokens is not None)
    return Call(wants=Wants(**wants | wanted), request=sent, deadline=deadline, **made)
