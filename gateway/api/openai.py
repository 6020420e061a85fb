"""
What the surfaces in OpenAI's spelling have in common: the routing fields of a request, from fields to a Call, and how a
stream and an error look. What one operation has for itself is in its own module.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, ClassVar, Literal, TypeVar

import msgspec
from msgspec import Struct

from gateway.api import errors
from gateway.api.options import Options
from gateway.api.spellings import harmless, is_otherwise, respelled
from gateway.request.call import BYTES_PER_TOKEN, capabilities_of, is_chore, media_tokens, parameters_of, text_tokens
from gateway.routing.affinity import in_turn, session_of
from gateway.settings import AUTO
from gateway.words import BadRequest, Call, GatewayError, Wants
from providers.chat import ChatRequest, Fields, decode_fields, decode_request
from providers.dialect import FILLS, OtherRequest, Request
from providers.embeddings import EmbeddingRequest, EmbedRequest
from providers.spec import Operation

T = TypeVar("T")


STREAM_TYPE = "text/event-stream; charset=utf-8"
COMMENT = b": waiting\n\n"
DONE = b"data: [DONE]\n\n"


class OpenAISurface:
    """The part of a Surface that does not depend on the operation."""

    whole_type: str = "application/json"
    stream_type: ClassVar[str] = STREAM_TYPE
    comment: ClassVar[bytes] = COMMENT

    def render_end(self) -> bytes:
        """Nothing follows."""
        return DONE

    def render_error(self, error: GatewayError) -> bytes:
        """As the body of an answer."""
        return errors.render(error)

    def render_broken(self, error: GatewayError) -> bytes:
        """As the last event of a stream: no end is pretended."""
        return event(errors.render(error))


def event(data: bytes) -> bytes:
    """*data* as a server-sent event."""
    return b"data: " + data + b"\n\n"


# ── read ──


class Preferences(Struct, forbid_unknown_fields=True):
    """
    OpenRouter's ``provider`` field. All is free, so that to *sort* by price changes nothing; throughput and latency are both speed.
    The last five are OpenRouter's, too, and mean nothing here; any other name is a slip, which would go unnoticed.
    """

    order: tuple[str, ...] | None = None
    only: tuple[str, ...] | None = None
    ignore: tuple[str, ...] | None = None
    allow_fallbacks: bool | None = None
    require_parameters: bool | None = None
    data_collection: Literal["allow", "deny"] | None = None
    zdr: bool | None = None  # only where nothing is kept: what is not kept is not trained on
    sort: Literal["price", "throughput", "latency"] | None = None
    max_price: Any = None
    quantizations: Any = None
    enforce_distillable_text: Any = None
    preferred_min_throughput: Any = None
    preferred_max_latency: Any = None

    def may_serve(self) -> tuple[str, ...]:
        """The providers that may be asked; none: all. Without fallbacks those to be tried first are the only ones."""
        only, order = self.only or (), self.order or ()
        if self.allow_fallbacks is not False or not order:
            return only
        both = tuple(name for name in order if name in only) if only else order
        if not both:
            raise BadRequest(
                "provider: without fallbacks only those in 'order' may be tried, and 'only' leaves them out",
                param="provider.order",
            )
        return both


class Routing(Struct):
    """The fields of a request that are for us and not for a provider."""

    model: str = ""
    models: tuple[str, ...] | None = None
    provider: Preferences | None = None
    session_id: str | None = None  # OpenRouter's, and OpenAI's: what belongs together
    prompt_cache_key: str | None = None

    def names(self) -> tuple[str, ...]:
        """All names asked for, best first; none at all means any model."""
        return tuple(dict.fromkeys(name for name in (self.model, *(self.models or ())) if name)) or (AUTO,)


_decode_routing = msgspec.json.Decoder(Routing).decode


def decoded(decode: Callable[[bytes], T], body: bytes) -> T:
    """*body* as *decode* has it. Raises BadRequest, naming the field."""
    try:
        return decode(body)
    except msgspec.ValidationError as exc:
        what, _, where = str(exc).partition(" - at `$.")
        param = where.rstrip("`") or None
        field, named, rest = what.partition(": ")
        if param is None and named and field.isidentifier():  # by a rule about several fields, or about a whole one
            param, what = field, rest
        raise BadRequest(f"{param or 'body'}: {what[:1].lower()}{what[1:]}", param=param) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadRequest(f"the body is not JSON: {exc}") from exc


def routing_of(body: bytes) -> Routing:
    """The routing fields of *body*. Raises BadRequest, naming the field."""
    try:
        return decoded(_decode_routing, body)
    except BadRequest:
        pass
    try:
        return decoded(_decode_routing, harmless(body) or body)
    except BadRequest as error:
        slip = _UNKNOWN.search(error.message)
        if error.param != "provider" or slip is None:
            raise
        known = Preferences.__struct_fields__
        close = get_close_matches(slip[1], known, n=1)
        meant = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
        raise BadRequest(
            f"provider: there is no {slip[1]!r} in it, here or at OpenRouter; {meant}", param=f"provider.{slip[1]}"
        ) from None


_UNKNOWN = re.compile(r"unknown field `(.*)`")


def wants_of(
    routing: Routing,
    options: Options,
    *,
    operation: Operation = "chat",
    capabilities: frozenset[str] = frozenset(),
    parameters: frozenset[str] = frozenset(),
) -> Wants:
    """What a request with these routing fields and needs asks for, within what its client's key allows."""
    client, preferences = options.client, routing.provider or Preferences()
    return Wants(
        models=routing.names(),
        operation=operation,
        capabilities=capabilities,
        parameters=parameters,
        strict=preferences.require_parameters is True,
        prefer="speed" if preferences.sort in ("throughput", "latency") else None,
        only=preferences.may_serve(),
        ignore=preferences.ignore or (),
        order=preferences.order or (),
        fallbacks=preferences.allow_fallbacks is not False or bool(preferences.order),
        allowed_models=client.models,
        allowed_providers=client.providers,
        no_train=client.no_train or preferences.data_collection == "deny" or preferences.zdr is True,
        substitute=options.substitute,
    )


def embed_call(view: EmbeddingRequest, fields: Fields, routing: Routing, options: Options) -> Call:
    """
    The call for an embeddings request. Raises BadRequest for several models: vectors of two do not fit into one index, and
    nothing in them tells which model made them. One that names none means the same as always, of the same client.
    """
    if routing.models:
        raise BadRequest(
            "models: embeddings are made by one model, for vectors of two do not fit together; name it in 'model'",
            param="models",
        )
    if routing.model.startswith(f"{AUTO}:"):
        raise BadRequest(
            f"model: {routing.model!r} does not name one model, and vectors of two models do not fit together; name a model that embeds (GET /v1/models lists them), or 'auto', and stay with it for the whole index",
            param="model",
        )
    return other_call(EmbedRequest.of(view, fields, view.items()), routing, options)


def other_call(request: OtherRequest, routing: Routing, options: Options) -> Call:
    """The call for *request*, of an operation that is not chat. Its session is its client's: one index, one model."""
    return Call(
        id=options.id,
        wants=wants_of(routing, options, operation=request.operation),
        request=request,
        prompt_tokens=request.prompt_tokens,
        output_tokens=request.output_tokens,
        deadline=options.deadline,
        gives_up_at=options.gives_up_at,
        says_wait=options.says_wait,
        client=options.caller,
        priority=options.priority,
        sparing=options.sparing,
        session=options.client.name,
        traced=options.traced,
    )


def filling(call: Call, suffix: str | None) -> Call:
    """*call*, whose answer comes before *suffix*, if there is one: only a model that fills gaps may serve it."""
    if not suffix or not isinstance(call.request, Request):
        return call
    wants = msgspec.structs.replace(call.wants, capabilities=call.wants.capabilities | {FILLS})
    request = msgspec.structs.replace(call.request, suffix=suffix)
    more = math.ceil(len(suffix.encode("utf-8", "replace")) / BYTES_PER_TOKEN)
    return msgspec.structs.replace(call, wants=wants, request=request, prompt_tokens=call.prompt_tokens + more)


def chat_fields(body: bytes) -> tuple[ChatRequest, Fields]:
    """A chat request, understood and as it was spelled. Raises BadRequest, naming the field."""
    try:
        view = decoded(decode_request, body)
    except BadRequest:
        body = harmless(body) or body
        view = decoded(decode_request, body)
    fields = decoded(decode_fields, body)
    if is_otherwise(view, fields):
        today = respelled(body)
        view, fields = decoded(decode_request, today), decoded(decode_fields, today)
    drop_no_bounds(view, fields)
    return view, fields


def drop_no_bounds(view: ChatRequest, fields: Fields) -> None:
    """Take bounds out of a request that are none: LM Studio's clients say -1 for that."""
    for name in _BOUNDS:
        if (bound := getattr(view, name)) is not None and bound < 1:
            setattr(view, name, None)
            del fields[name]


_BOUNDS = ("max_tokens", "max_completion_tokens")


def chat_call(
    view: ChatRequest, fields: Fields, routing: Routing, options: Options, *, hides_reasoning: bool = False
) -> Call:
    """The call for a chat request. *hides_reasoning*: of its answer what the model thinks is not shown."""
    capabilities, parameters = capabilities_of(view), parameters_of(view, fields)
    given = options.session or routing.session_id or routing.prompt_cache_key or ""
    media = media_tokens(view)
    prompt, bound = text_tokens(view, fields) + media, view.output_tokens
    output = min(bound or options.output_tokens, options.output_tokens) * (view.n or 1)
    return Call(
        id=options.id,
        wants=wants_of(routing, options, capabilities=capabilities, parameters=parameters),
        request=Request(view, fields, prompt, output, bounded_by_caller=bound is not None),
        prompt_tokens=prompt,
        output_tokens=output,
        media_tokens=media,
        deadline=options.deadline,
        gives_up_at=math.inf if view.stream else options.gives_up_at,  # a stream is never silent for so long
        says_wait=options.says_wait,
        client=options.caller,
        priority=options.priority,
        sparing=options.sparing,
        session=session_of(options.client.name, given, view.messages),
        in_turn=in_turn(view.messages),
        hides_reasoning=hides_reasoning or _leaves_reasoning_out(fields),
        chore=is_chore(view, options.chores),
        resume=options.resume,
        traced=options.traced,
    )


_WITHOUT_REASONING = (("include_reasoning", b"false"), ("reasoning_format", b'"hidden"'))


def _leaves_reasoning_out(fields: Fields) -> bool:
    """Whether a request says, in OpenRouter's or Groq's words, that it wants no reasoning in its answer."""
    if any(name in fields and bytes(fields[name]) == value for name, value in _WITHOUT_REASONING):
        return True
    try:
        return "reasoning" in fields and msgspec.json.decode(fields["reasoning"], type=_Reasoning).exclude
    except msgspec.ValidationError:
        return False


class _Reasoning(Struct):
    exclude: bool = False
