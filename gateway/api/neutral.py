"""
What the surfaces share that do not spell a request as OpenAI does: from their words to the neutral call, ids for calls
where an API has none, the calls of a stream put together, and how much a model is told to think.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from gateway.api.openai import Routing, chat_call, chat_fields, decoded, drop_no_bounds, embed_call, routing_of
from gateway.api.options import Options
from gateway.api.spellings import is_otherwise
from gateway.api.turns import in_turns
from gateway.catalog.fitness import barred
from gateway.request.engine import Engine
from gateway.settings.clients import Client
from gateway.words import Call, Deployment, Wants
from providers.chat import ChatRequest, Chunk, Fields, Step, decode_fields, encode, raw
from providers.embeddings import Embeddings, decode_embedding_request, spelled
from providers.spec import Operation

decode = msgspec.json.Decoder().decode

Number = int | float | None
"""A count as programs send it: some write ``100.0`` for 100."""


def whole_number(value: Number) -> Number:
    """*value* as an integer if it is one, however it is written."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def chat_of(asked: dict[str, Any], options: Options, *, hides_reasoning: bool = False) -> Call:
    """
    The call for *asked*, the fields of a neutral chat request, of which some may be JSON already. *hides_reasoning*: what the
    model thinks is not shown. Raises BadRequest, naming the field.
    """
    asked = {name: value for name, value in asked.items() if value is not None}
    fields = {name: value if isinstance(value, Raw) else raw(value) for name, value in asked.items()}
    values = {name: decode(value) if isinstance(value, Raw) else value for name, value in asked.items()}
    view, fields = _understood(values, fields)
    return chat_call(view, fields, _routing(values, fields), options, hides_reasoning=hides_reasoning)


def _understood(values: dict[str, Any], fields: Fields) -> tuple[ChatRequest, Fields]:
    """The request with these *values*, which are *fields* as JSON: read as JSON only where it is spelled oddly, or wrong."""
    try:
        view = msgspec.convert(values, ChatRequest)
    except msgspec.ValidationError:
        return chat_fields(_body_of(fields))
    if is_otherwise(view, fields):
        return chat_fields(_body_of(fields))
    drop_no_bounds(view, fields)
    return view, fields


def _routing(values: dict[str, Any], fields: Fields) -> Routing:
    try:
        return msgspec.convert(values, Routing)
    except msgspec.ValidationError:
        return routing_of(_body_of({name: fields[name] for name in Routing.__struct_fields__ if name in fields}))


def _body_of(fields: Fields) -> bytes:
    return b"{%b}" % b",".join(b'"%b":%b' % (name.encode(), value) for name, value in fields.items())


def embed_of(model: str, texts: Sequence[str], dimensions: Number, options: Options) -> Call:
    """The call for vectors of *texts*, as numbers. Raises BadRequest, naming the field."""
    asked: dict[str, Any] = {"model": model, "input": texts, "encoding_format": "float"}
    body = encode(asked if dimensions is None else {**asked, "dimensions": dimensions})
    view = decoded(decode_embedding_request, body)
    return embed_call(view, decoded(decode_fields, body), routing_of(body), options)


def vectors_of(found: Embeddings) -> list[Raw]:
    """The vectors as JSON."""
    return [spelled(vector) for vector in found.vectors]


def untagged(name: str) -> str:
    """The model that Ollama's programs mean by *name*: they put ``:latest`` after one that has no tag."""
    return name if "/" in name else name.removesuffix(":latest")


def effort_of(budget: float) -> str:
    """A budget of tokens to think, as the word for it: Gemini's own table ("OpenAI compatibility"), read backwards."""
    if budget <= 0:
        return "none"
    return "low" if budget <= 1024 else "medium" if budget <= 8192 else "high"


class Unrendered:
    """What a surface need not say that asks no model (its ``parse`` is Ready), or never asks one for a stream."""

    whole_type: str = "application/json"
    stream_type: str = ""
    comment: bytes = b""

    def render_whole(self, whole: Any) -> bytes | Awaitable[bytes]:
        raise NotImplementedError

    def render_event(self, step: Step) -> bytes:
        raise NotImplementedError

    def render_end(self) -> bytes:
        raise NotImplementedError


class CallIds:
    """
    Ids for the calls of a conversation in an API that has none, or may leave them out, and which call a result answers.

    The same conversation gets the same ids each time, and those that are given are kept.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._open: list[tuple[str, str]] = []  # the calls without a result: name and id

    def called(self, name: str, given: str | None) -> str:
        """The id of the next call, which is of the function *name*."""
        number = len(self._taken)
        made = given or f"call_{number}"
        while made in self._taken:
            number += 1
            made = f"call_{number}"
        self._taken.add(made)
        self._open.append((name, made))
        return made

    def answered(self, name: str | None, given: str | None) -> str:
        """The id of the call that the next result is for: the one given, else the first of that name, else the first."""
        by_id = [one for one in self._open if one[1] == given]
        by_name = [one for one in self._open if one[0] == name]
        found = next(iter(by_id or ([] if given else by_name or ([] if name else self._open))), None)
        if found is None:
            return given or self.called(name or "", None)
        self._open.remove(found)
        return found[1]


class WholeCall(Struct):
    """A call of a stream, put together from its pieces."""

    id: str = ""
    name: str = ""
    arguments: str = ""
    extra: Any = None

    def input(self) -> Any:
        """Its arguments as the object that they should be; text that is none is put into one."""
        try:
            found = msgspec.json.decode(self.arguments or "{}")
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            found = self.arguments
        return found if isinstance(found, dict) else {"arguments": found}


class StreamedAnswer:
    """Puts the calls of a stream together, by choice, for APIs that tell of a call as a whole."""

    def __init__(self) -> None:
        self._calls: dict[int, dict[int, WholeCall]] = {}

    def add(self, chunk: Chunk) -> None:
        """Take the pieces of calls in *chunk*."""
        for choice in chunk.choices:
            for place, piece in enumerate(choice.delta.tool_calls or ()):
                index = piece.index if isinstance(piece.index, int) else place
                call = self._calls.setdefault(choice.index, {}).setdefault(index, WholeCall())
                call.id = call.id or piece.id or ""
                call.extra = call.extra or piece.extra_content
                if piece.function is not None:
                    call.name += piece.function.name or ""
                    call.arguments += piece.function.arguments or ""

    def take(self, choice: int) -> list[WholeCall]:
        """The calls of *choice*, which is over, in their order; once."""
        return [call for _, call in sorted(self._calls.pop(choice, {}).items())]


# ── what is served, for lists of models ──


class Abilities(Struct, frozen=True):
    """What the deployments that serve a name can do together, and the most that one of them holds and says."""

    operations: frozenset[str]
    capabilities: frozenset[str]
    context: int | None
    max_output: int | None


def abilities_of(served: Iterable[Deployment]) -> Abilities:
    """What *served* can do: the union, and the largest."""
    served = list(served)
    return Abilities(
        frozenset[str]().union(*(d.operations for d in served)),
        frozenset[str]().union(*(d.capabilities for d in served)),
        max((d.context for d in served if d.context), default=None),
        max((d.max_output for d in served if d.max_output), default=None),
    )


_KINDS: tuple[Operation, ...] = ("chat", "embed")
"""What the surfaces that are not OpenAI's have models for."""


def serving_as(name: str, engine: Engine, client: Client) -> list[Deployment]:
    """The deployments that serve *name* to *client* now, whichever kind of name it is; none: the name is unknown."""
    catalog, now = engine.view.catalog, engine.clock.now()
    allowed = Wants(
        models=(name,),
        allowed_models=client.models,
        allowed_providers=client.providers,
        no_train=client.no_train,
    )
    kinds = [msgspec.structs.replace(allowed, operation=kind) for kind in _KINDS]
    found = [one.deployment for wants in kinds for one in catalog.fitting(wants, now)]
    return [d for d in found if d.proof.fresh(now) and catalog.learned.withdrawn(d, now) is None]


async def all_served(engine: Engine, client: Client) -> dict[str, list[Deployment]]:
    """Every name that *client* can ask for a chat or vectors now, and the deployments that serve it."""
    catalog, now = engine.view.catalog, engine.clock.now()
    rule = Wants(models=(), allowed_models=client.models, allowed_providers=client.providers, no_train=client.no_train)
    standing = catalog.standing_for()
    required = [(name, msgspec.structs.replace(w, operation=kind)) for name, w in standing.items() for kind in _KINDS]
    virtual: dict[str, list[Deployment]] = {name: [] for name in standing}
    by_model: dict[str, list[Deployment]] = {}
    async for d in in_turns(catalog.deployments()):
        if not d.operations.isdisjoint(_KINDS) and catalog.serves(d, now) and not barred(d, rule, catalog.learned, now):
            by_model.setdefault(d.model, []).append(d)
            for name, wants in required:
                if catalog.meets(d, wants, now):
                    virtual[name].append(d)
    await asyncio.sleep(0)
    names = sorted(by_model)
    await asyncio.sleep(0)
    found = {name: served for name, served in virtual.items() if served}
    async for name in in_turns(names):
        found.setdefault(name, by_model[name])
    async for name, meanings in in_turns(catalog.aliases().items()):
        meant = next((one for one in meanings if one in found), None)
        if served := found[meant] if meant is not None else serving_as(name, engine, client):
            found.setdefault(name, served)
    return found
