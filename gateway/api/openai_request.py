"""A chat request as OpenAI and OpenRouter spell it: bytes in, a Call out. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from gateway.api.options import Options
from gateway.catalog.catalog import AUTO
from gateway.request.call import capabilities_of, media_tokens, parameters_of, text_tokens
from gateway.routing.affinity import session_of
from gateway.words import BadRequest, Call, Wants
from providers.chat import decode_fields, decode_request
from providers.dialect import Request


class Preferences(Struct):
    """
    OpenRouter's ``provider`` field, as far as it means something here. All is free, so that to *sort* by price changes
    nothing; throughput and latency are both speed.
    """

    order: tuple[str, ...] | None = None
    only: tuple[str, ...] | None = None
    ignore: tuple[str, ...] | None = None
    allow_fallbacks: bool | None = None
    require_parameters: bool | None = None
    data_collection: Literal["allow", "deny"] | None = None
    sort: Literal["price", "throughput", "latency"] | None = None

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


class _Routing(Struct):
    """The fields of a request that are for us and not for a provider."""

    model: str = ""
    models: tuple[str, ...] | None = None
    provider: Preferences | None = None
    session_id: str | None = None  # OpenRouter's, and OpenAI's: what belongs together
    prompt_cache_key: str | None = None


_decode_routing = msgspec.json.Decoder(_Routing).decode


def parse(body: bytes, options: Options) -> Call:
    """What *body* asks for, to be served as *options* say. Raises BadRequest, naming the field."""
    try:
        fields = decode_fields(body)
        view = decode_request(body)
        routing = _decode_routing(body)
    except msgspec.ValidationError as exc:
        what, _, where = str(exc).partition(" - at `$.")
        param = where.rstrip("`") or None
        raise BadRequest(f"{param or 'body'}: {what[:1].lower()}{what[1:]}", param=param) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadRequest(f"the body is not JSON: {exc}") from exc
    client = options.client
    preferences = routing.provider or Preferences()
    wants = Wants(
        models=_names(routing),
        capabilities=capabilities_of(view),
        parameters=parameters_of(view, fields),
        strict=preferences.require_parameters is True,
        prefer="speed" if preferences.sort in ("throughput", "latency") else None,
        only=preferences.may_serve(),
        ignore=preferences.ignore or (),
        order=preferences.order or (),
        fallbacks=preferences.allow_fallbacks is not False or bool(preferences.order),
        allowed_models=client.models,
        allowed_providers=client.providers,
        no_train=client.no_train or preferences.data_collection == "deny",
        substitute=options.substitute,
    )
    given = options.session or routing.session_id or routing.prompt_cache_key or ""
    media = media_tokens(view)
    prompt, bound = text_tokens(view, fields) + media, view.output_tokens
    output = (bound or options.output_tokens) * (view.n or 1)
    return Call(
        id=options.id,
        wants=wants,
        request=Request(view, fields, prompt, output, bounded_by_caller=bound is not None),
        prompt_tokens=prompt,
        output_tokens=output,
        media_tokens=media,
        deadline=options.deadline,
        client=options.caller,
        priority=options.priority,
        session=session_of(client.name, given, view.messages),
        resume=options.resume,
        traced=options.traced,
    )


def _names(routing: _Routing) -> tuple[str, ...]:
    """All names asked for, best first; none at all means any model."""
    return tuple(dict.fromkeys(name for name in (routing.model, *(routing.models or ())) if name)) or (AUTO,)
