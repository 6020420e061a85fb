"""
``GET /openapi.json``: what is served here, as an OpenAPI 3.1 document.

Bodies are described by the very types that read them, so that the document cannot say otherwise; answers by what client programs
rely on. A field that is not in it may be sent: what is not known here is passed on or passed over, and never a 400.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from litestar import Response, Router, get

from gateway import __version__
from gateway.api import anthropic, key, ollama, ollama_models, openai_completions, openai_models, stored_chats
from gateway.api import gemini_request as gemini
from gateway.api.admin import described as admin
from gateway.api.admin.access import COOKIE
from gateway.api.doors import LINES, SSE, Door, Json
from gateway.api.health import Report
from gateway.api.openai import Routing
from gateway.api.responses_input import Ask
from gateway.request.explain import Explanation
from providers.chat import ChatRequest, Completion, encode
from providers.dialects.ollama import MARK
from providers.embeddings import EmbeddingRequest
from providers.images import PictureRequest
from providers.moderation import ModerationRequest
from providers.reranking import RankingRequest
from providers.sound import SpeechRequest

PATH = "/openapi.json"

_OPEN = re.compile(r"{(\w+)}")
_TEXT: Json = {"type": "string"}
_WHOLE: Json = {"type": "integer", "minimum": 0}


def _object(required: Json, **more: Any) -> Json:
    """An object with the fields that *required* has schemas for, and *more* that may be left out."""
    return {"type": "object", "properties": {**required, **more}, "required": list(required)}


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


_RESPONSE = _object(
    {
        "id": _TEXT,
        "object": {"const": "response"},
        "created_at": {"type": "number"},
        "model": _TEXT,
        "status": {"enum": ["completed", "incomplete", "failed", "in_progress"]},
        "output": _list(_object({"type": _TEXT, "id": _TEXT})),
        "tools": _list({"type": "object"}),
        "parallel_tool_calls": {"type": "boolean"},
    }
)
_ITEMS = _object({"object": {"const": "list"}, "data": _list(_object({"id": _TEXT})), "has_more": {"type": "boolean"}})
_COUNTED = _object({"object": {"const": "response.input_tokens"}, "input_tokens": _WHOLE})
_DELETED = _object({"id": _TEXT, "object": _TEXT, "deleted": {"const": True}})
_MESSAGE = _object(
    {
        "id": _TEXT,
        "type": {"const": "message"},
        "role": {"const": "assistant"},
        "model": _TEXT,
        "content": _list(_object({"type": {"enum": ["text", "thinking", "redacted_thinking", "tool_use"]}})),
        "stop_reason": {"enum": ["end_turn", "max_tokens", "tool_use", "refusal"]},
        "usage": _object({"input_tokens": _WHOLE, "output_tokens": _WHOLE}),
    }
)
_TEXT_COMPLETION = _object(
    {
        "id": _TEXT,
        "object": {"const": "text_completion"},
        "created": _WHOLE,
        "model": _TEXT,
        "choices": _list(_object({"text": _TEXT, "index": _WHOLE, "finish_reason": {"type": ["string", "null"]}})),
    }
)
_VECTORS = _object(
    {"object": {"const": "list"}, "model": _TEXT, "data": _list(_object({"index": _WHOLE, "embedding": {}}))}
)
_RANKED = _object({"results": _list(_object({"index": _WHOLE, "relevance_score": {"type": "number"}}))})
_PICTURES = _object({"created": _WHOLE, "data": _list(_object({"b64_json": _TEXT}))})
_JUDGED = _object(
    {
        "id": _TEXT,
        "model": _TEXT,
        "results": _list(
            _object(
                {
                    "flagged": {"type": "boolean"},
                    "categories": {"type": "object", "additionalProperties": {"type": "boolean"}},
                    "category_scores": {"type": "object", "additionalProperties": {"type": "number"}},
                    "category_applied_input_types": {"type": "object", "additionalProperties": _list(_TEXT)},
                }
            )
        ),
    }
)
_FORM = _object({"file": {"type": "string", "format": "binary"}}, model=_TEXT, language=_TEXT, response_format=_TEXT)
_MODELS = _object({"object": {"const": "list"}, "data": _list({"$ref": "#/components/schemas/OpenAIEntry"})})
_DONE = {"done": {"type": "boolean"}}
_OLLAMA = _object({"model": _TEXT, "created_at": _TEXT, **_DONE})
_OLLAMA_MODEL = _object({"name": _TEXT, "model": _TEXT, "modified_at": _TEXT, "size": _WHOLE, "digest": _TEXT})
_SHOWN = _object({"capabilities": _list(_TEXT), "model_info": {"type": "object"}, "details": {"type": "object"}})
_GENERATED = _object({"candidates": _list({"type": "object"}), "modelVersion": _TEXT})
_GEMINI_MODEL = _object({"name": _TEXT, "supportedGenerationMethods": _list(_TEXT)})
_GEMINI_NUMBERS = _object({"values": _list({"type": "number"})})

ERRORS: dict[str, Json] = {
    "OpenAI": _object({"error": _object({"message": _TEXT, "type": _TEXT, "param": {}, "code": {}})}),
    "Anthropic": _object({"type": {"const": "error"}, "error": _object({"type": _TEXT, "message": _TEXT})}),
    "Ollama": _object({"error": _TEXT}),
    "Gemini": _object({"error": _object({"code": _WHOLE, "message": _TEXT, "status": _TEXT})}),
}
ERRORS[admin.FAMILY] = ERRORS["OpenAI"]
"""How each family of addresses spells an error."""


def _openai() -> list[Door]:
    one, models = "/v1/responses/{response_id}", (openai_models.PATH, f"{openai_models.PATH}/{{model}}")
    return [
        _ask("/v1/chat/completions", "Answer a conversation", "OpenAI", (ChatRequest, Routing), Completion, SSE),
        _ask(
            "/v1/completions", "Answer a prompt", "OpenAI", (openai_completions.Legacy, Routing), _TEXT_COMPLETION, SSE
        ),
        _ask("/v1/responses", "Answer items with items", "OpenAI", (Ask, Routing), _RESPONSE, SSE),
        _ask("/v1/embeddings", "Vectors of texts", "OpenAI", (EmbeddingRequest, Routing), _VECTORS),
        _ask("/v1/rerank", "Documents by how well they answer", "OpenAI", (RankingRequest, Routing), _RANKED),
        _ask("/v2/rerank", "The same", "OpenAI", (RankingRequest, Routing), _RANKED),
        _ask("/v1/images/generations", "A picture", "OpenAI", (PictureRequest, Routing), _PICTURES),
        _ask(
            "/v1/moderations", "What texts are about that may do harm", "OpenAI", (ModerationRequest, Routing), _JUDGED
        ),
        _told("/v1/audio/transcriptions", "What is said"),
        _told("/v1/audio/translations", "What is said, in English"),
        Door(
            path="/v1/audio/speech",
            method="post",
            about="A text read aloud",
            errors="OpenAI",
            body=(SpeechRequest, Routing),
            answer=_TEXT,
            media="audio/*",
        ),
        Door(
            path="/v1/route/explain",
            method="post",
            about="What would serve a request, and why: a conversation, or what the path is the address of",
            errors="OpenAI",
            body=(ChatRequest, Routing),
            answer=Explanation,
            query={"path": _TEXT},
        ),
        _look(one, "A response that was kept", "OpenAI", _RESPONSE, stream=SSE),
        Door(path=one, method="delete", about="Forget a response", errors="OpenAI", answer=_DELETED),
        _look(f"{one}/input_items", "What a response answers", "OpenAI", _ITEMS),
        _ask("/v1/responses/input_tokens", "How long a request is", "OpenAI", (Ask, Routing), _COUNTED),
        *_stored_chats("/v1/chat/completions"),
        _look(
            models[0], "What can be asked for", "OpenAI", _MODELS, query={"all": {"type": "boolean", "default": False}}
        ),
        _look(models[1], "One of them", "OpenAI", openai_models.Entry),
        _look(key.PATH, "What the key is good for, and was used for", "OpenAI", key.Key),
    ]


def _stored_chats(path: str) -> list[Door]:
    one, listed = f"{path}/{{completion_id}}", _object({"object": {"const": "list"}, "has_more": {"type": "boolean"}})
    narrowed = {"limit": {"type": "integer", "minimum": 1}, "order": {"enum": ["asc", "desc"]}, "after": _TEXT}
    return [
        _look(path, "The completions that were kept", "OpenAI", listed, query={**narrowed, "model": _TEXT}),
        _look(one, "A completion that was kept", "OpenAI", Completion),
        _ask(one, "Change its metadata", "OpenAI", (stored_chats.Changed,), Completion),
        Door(path=one, method="delete", about="Forget it", errors="OpenAI", answer=_DELETED),
        _look(f"{one}/messages", "What it answers", "OpenAI", listed, query=narrowed),
    ]


def _anthropic() -> list[Door]:
    asked, counted = anthropic.Messages.path, _object({"input_tokens": _WHOLE})
    return [
        _ask(asked, "Answer a conversation", "Anthropic", (anthropic.Asked,), _MESSAGE, SSE),
        _ask(anthropic.CountTokens.path, "How long a conversation is", "Anthropic", (anthropic.Asked,), counted),
    ]


def _ollama() -> list[Door]:
    named = (ollama_models.Named,)
    vectors = _list(_list({"type": "number"}))
    return [
        _ask("/api/chat", "Answer a conversation", "Ollama", (ollama.AskedChat,), _OLLAMA, LINES),
        _ask("/api/generate", "Answer a prompt", "Ollama", (ollama.AskedGenerate,), _OLLAMA, LINES),
        _ask("/api/embed", "Vectors of texts", "Ollama", (ollama.AskedEmbed,), _object({"embeddings": vectors})),
        _ask(
            "/api/embeddings", "The vector of a text", "Ollama", (ollama.AskedEmbed,), _object({"embedding": _list({})})
        ),
        _ask("/api/show", "What a model can do", "Ollama", named, _SHOWN),
        Door(
            path="/api/pull", method="post", about="Whether a model is there", errors="Ollama", body=named, media=LINES
        ),
        _look("/api/tags", "Every model", "Ollama", _object({"models": _list(_OLLAMA_MODEL)})),
        _look("/api/ps", "The models that are loaded: none", "Ollama", _object({"models": _list({})})),
        _look("/api/version", "The version", "Ollama", _object({"version": _TEXT, MARK: _TEXT}), keyless=True),
        _look("/", "'Ollama is running'", "OpenAI", _TEXT, media="text/plain", keyless=True),
    ]


def _gemini() -> list[Door]:
    found, numbers = [], {"embeddings": _list(_GEMINI_NUMBERS)}
    for version in ("/v1beta", "/v1"):
        asked = f"{version}/models/{{model}}:"
        found += [
            _ask(f"{asked}generateContent", "Answer a conversation", "Gemini", (gemini.Generate,), _GENERATED),
            Door(
                path=f"{asked}streamGenerateContent",
                method="post",
                about="The same, piece by piece; events with alt=sse",
                errors="Gemini",
                body=(gemini.Generate,),
                answer=_list(_GENERATED),
                stream=SSE,
            ),
            _ask(
                f"{asked}countTokens", "How long it is", "Gemini", (gemini.Generate,), _object({"totalTokens": _WHOLE})
            ),
            _ask(
                f"{asked}embedContent", "A vector", "Gemini", (gemini.Embed,), _object({"embedding": _GEMINI_NUMBERS})
            ),
            _ask(f"{asked}batchEmbedContents", "Vectors", "Gemini", (gemini.Embeds,), _object(numbers)),
        ]
    return [
        *found,
        _look("/v1beta/models", "What can be asked for", "Gemini", _object({"models": _list(_GEMINI_MODEL)})),
        _look("/v1beta/models/{model}", "One of them", "Gemini", _GEMINI_MODEL),
    ]


def _own() -> list[Door]:
    status = _object({"status": _TEXT})
    return [
        _look("/health", "How every source fares", "OpenAI", Report, keyless=True),
        _look("/health/liveness", "Whether the process runs", "OpenAI", status, keyless=True),
        Door(
            path="/health/readiness",
            method="get",
            about="Whether a request would be taken",
            errors="OpenAI",
            answer=status,
            codes=(200, 503),
            keyless=True,
        ),
        _look("/metrics", "Figures for Prometheus", "OpenAI", _TEXT, media="text/plain", keyless=True),
        _look("/page/{name}", "A file of the page", "OpenAI", _TEXT, media="text/*", keyless=True),
        _look(PATH, "This document", "OpenAI", {"type": "object"}, keyless=True),
    ]


def _ask(
    path: str, about: str, errors: str, body: tuple[Any, ...], answer: Json | type, stream: str | None = None
) -> Door:
    return Door(path=path, method="post", about=about, errors=errors, body=body, answer=answer, stream=stream)


def _told(path: str, about: str) -> Door:
    """Of a recording, which comes in a form: as JSON, or as text in some shape."""
    return Door(
        path=path,
        method="post",
        about=about,
        errors="OpenAI",
        body=(_FORM,),
        form=True,
        answer=_object({"text": _TEXT}),
        stream="text/plain",
    )


def _look(path: str, about: str, errors: str, answer: Json | type, **more: Any) -> Door:
    return Door(path=path, method="get", about=about, errors=errors, answer=answer, **more)


DOORS = (*_openai(), *_anthropic(), *_ollama(), *_gemini(), *_own(), *admin.DOORS)
"""Every method of every path, but for other spellings of a path and for ``HEAD``."""


# ── the document ──


def document(doors: Iterable[Door] = DOORS) -> Json:
    """The document that describes *doors*."""
    doors = tuple(doors)
    schemas = {f"{name}Error": schema for name, schema in ERRORS.items()}
    for family in ERRORS:
        named = [kind for door in doors if door.errors == family for kind in (*door.body, door.answer)]
        _add_types(schemas, family, {kind for kind in named if isinstance(kind, type)})
    paths: Json = {}
    for door in doors:
        paths.setdefault(door.path, {})[door.method] = _operation(door)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Freeway", "version": __version__, "description": (__doc__ or "").strip()},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "admin": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
            },
        },
    }


def _add_types(schemas: Json, family: str, types: set[type]) -> None:
    """Add those of *types* to *schemas*, which names of *family* they begin with."""
    ordered = sorted(types, key=lambda kind: kind.__qualname__)
    _, found = msgspec.json.schema_components(ordered, ref_template=f"#/components/schemas/{family}{{name}}")
    schemas |= {f"{family}{name}": schema for name, schema in found.items()}


def _operation(door: Door) -> Json:
    answer = _schema(door.answer, door.errors)
    content: Json = {door.media: {"schema": _list(answer) if door.many else answer}}
    if door.stream is not None:
        content[door.stream] = {"schema": _TEXT}
    failed = {"description": "What was wrong", "content": {"application/json": {"schema": _ref(f"{door.errors}Error")}}}
    made: Json = {
        "summary": door.about,
        "operationId": f"{door.method} {door.path}",
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": _TEXT} for name in _OPEN.findall(door.path)),
            *({"name": name, "in": "query", "schema": schema} for name, schema in door.query.items()),
        ],
        "responses": {
            **{
                str(code): {"description": door.about, **({} if code == 204 else {"content": content})}
                for code in door.codes
            },
            "default": failed,
        },
        "security": _security(door),
    }
    if door.endless:
        made["x-endless"] = True
    if door.body:
        bodies = [_schema(kind, door.errors) for kind in door.body]
        schema = bodies[0] if len(bodies) == 1 else {"allOf": bodies}
        kind = "multipart/form-data" if door.form else "application/json"
        made["requestBody"] = {"required": True, "content": {kind: {"schema": schema}}}
    return made


def _security(door: Door) -> list[Json]:
    if door.keyless:
        return [{}]
    schemes = ("admin", "session") if door.errors == admin.FAMILY else ("bearer", "key")
    return [{scheme: []} for scheme in schemes]


def _schema(kind: Json | type, family: str) -> Json:
    return _ref(f"{family}{kind.__name__}") if isinstance(kind, type) else kind


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def router() -> Router:
    """The route."""
    page: list[bytes] = []

    @get(PATH)
    async def openapi() -> Response[bytes]:
        """The document, made when it is first asked for. It needs no key: it says nothing of this gateway alone."""
        if not page:
            page.append(encode(document()))
        return Response(page[0], media_type="application/json")

    return Router("/", route_handlers=[openapi])
