"""
Embeddings, through as many requests as it takes: those that are known are not asked for, and the rest in parts of the size
that its source takes.

    texts ─► known? ──────────────────────────────► vectors, in the order of the texts
               └ no ─► under way? ─► wait ──────────┤
                          └ no ─► answer(part) ─► keep ┘  until none is missing

What was made is kept at once: a call that asks again after a failure starts where the first one ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import msgspec

from gateway.request.engine import Answer, Engine, Served
from gateway.request.pipeline import answer
from gateway.request.stream import whole
from gateway.settings import AUTO
from gateway.state.vectors import key_of
from gateway.words import Call
from providers.chat import Usage
from providers.embeddings import CONTROLS, Embeddings, EmbedRequest, tokens_of


async def embed(call: Call, request: EmbedRequest, engine: Engine) -> Served:
    """
    The vectors that *call* asks for with *request*, and the last source that made some of them, if any had to be made.

    Raises a GatewayError if one cannot be made before the deadline, which starts anew with each part.
    """
    call = _named(call, engine)
    model = _model(call, engine)
    space = f"{model} {request.view.dimensions or ''} {request.view.input_type or ''}"
    keys = [key_of(space, item) for item in request.items]
    wanted = dict(zip(keys, request.items, strict=True))
    may = engine.view.catalog.fitting(
        call.wants, engine.clock.now()
    )  # else what was kept is not for this client, either
    known = await engine.vectors.get(wanted) if may else {}
    usage, last, patience = Usage(), None, call.deadline - engine.clock.now()
    if len(known) < len(wanted) and not request.prompts:
        await _see_whose(call, request, model, engine)
    while missing := [key for key in wanted if key not in known]:
        ours = [key for key in missing if key not in engine.coming]
        if not ours:
            known |= await _others({engine.coming[key] for key in missing})
            continue
        part = EmbedRequest.of(request.view, request.fields, [wanted[key] for key in ours])
        deadline = engine.clock.now() + patience
        longest = max(map(tokens_of, part.items))  # each text has the context to itself
        asked = msgspec.structs.replace(call, request=part, prompt_tokens=longest, deadline=deadline)
        last, made = await _part(asked, ours, engine)
        known |= zip(ours, made.vectors, strict=False)
        usage = _sum(usage, made.usage)
    return Served(Embeddings([known[key] for key in keys], model, usage), last, model)


async def _see_whose(call: Call, request: EmbedRequest, model: str, engine: Engine) -> None:
    """Have a host of *model* compared by a text, unless one was: token numbers alone do not tell whose vectors they become."""
    if not any(map(engine.spaces.compared, engine.view.catalog.spelled(model))):
        text = EmbedRequest.of(request.view, request.fields, CONTROLS[:1])
        whole(
            await answer(msgspec.structs.replace(call, request=text, prompt_tokens=text.prompt_tokens), engine), engine
        )


async def _part(call: Call, keys: Sequence[bytes], engine: Engine) -> tuple[Answer, Embeddings]:
    """The first of *keys*, as many as their source took, which others need not ask for meanwhile."""
    future: asyncio.Future[dict[bytes, bytes]] = asyncio.get_running_loop().create_future()
    engine.coming.update(dict.fromkeys(keys, future))
    vectors: dict[bytes, bytes] = {}
    try:
        found = await answer(call, engine)
        made = whole(found, engine)
        assert isinstance(made, Embeddings)
        vectors.update(zip(keys, made.vectors, strict=False))
        await engine.vectors.put(vectors)
        return found, made
    finally:
        for key in keys:
            engine.coming.pop(key, None)
        future.set_result(vectors)


async def _others(parts: Iterable[asyncio.Future[dict[bytes, bytes]]]) -> dict[bytes, bytes]:
    """What the first of *parts* that others asked for has brought: nothing, if it failed."""
    done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
    return {key: vector for part in done for key, vector in part.result().items()}


def _named(call: Call, engine: Engine) -> Call:
    """
    *call*, with the one model that it means: what an alias stands for, of several the first, whether it is served now or not; or
    what its client means who names none.
    """
    catalog, now = engine.view.catalog, engine.clock.now()
    name = catalog.meant(call.wants.models[0])
    if name.partition(":")[0] != AUTO:
        return msgspec.structs.replace(call, wants=msgspec.structs.replace(call.wants, models=(name,)))
    may = [one for one in catalog.deployments() if catalog.meets(one, call.wants, now)]
    model = engine.spaces.chosen(call.session, may or catalog.deployments())
    return msgspec.structs.replace(call, wants=msgspec.structs.replace(call.wants, models=(model,)))


def _model(call: Call, engine: Engine) -> str:
    """The one model that *call* names, by its canonical name."""
    (name,) = call.wants.models
    spelled = engine.view.catalog.spelled(name)
    return spelled[0].model if spelled else name


def _sum(one: Usage, other: Usage | None) -> Usage:
    if other is None:
        return one
    return Usage(prompt_tokens=one.prompt_tokens + other.prompt_tokens, cost=_plus(one.cost, other.cost))


def _plus(one: float | None, other: float | None) -> float | None:
    return other if one is None else one + (other or 0.0)
