"""An answer in one piece, however many requests it takes, for each operation."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.request.embed import embed
from gateway.request.engine import Engine, Served
from gateway.request.pipeline import answer, first_lists
from gateway.request.recordings import divisible
from gateway.request.resume import StreamSession
from gateway.request.stream import whole
from gateway.words import BadRequest, Call
from providers.dialect import Request
from providers.embeddings import EmbedRequest
from providers.images import ImageRequest
from providers.moderation import ModerateRequest
from providers.sound import TranscribeRequest
from providers.spec import Operation

InParts = ImageRequest | ModerateRequest | TranscribeRequest
"""A request that may take several."""

_MEANS: dict[Operation, str] = {
    "embed": "makes embeddings",
    "rerank": "ranks documents",
    "transcribe": "writes down what is said",
    "speak": "reads aloud",
    "image": "makes pictures",
    "moderate": "judges texts",
}


async def in_one_piece(call: Call, engine: Engine) -> Served:
    """The whole answer to *call*. Raises a GatewayError that says what was missing, or when to come back."""
    if not isinstance(call.request, Request):
        await _see_that_one_can(call, engine)
    if isinstance(call.request, EmbedRequest):
        return await embed(call, call.request, engine)
    if isinstance(call.request, ImageRequest | ModerateRequest):
        return await _in_parts(call, call.request, engine)
    if isinstance(call.request, TranscribeRequest):
        return await _in_parts(call, await divisible(call, call.request, engine), engine)
    session = StreamSession(await answer(call, engine), engine)
    made = await session.whole()
    return Served(made, session.answer, session.answer.deployment.model)


async def _in_parts(call: Call, request: InParts, engine: Engine) -> Served:
    """
    The answer to *request*, whose parts are asked for one after another: each source takes as much as it can of what is left, and
    where one fails, another takes as much as that can. The deadline starts anew with each part.
    """
    left: InParts | None = request
    parts: list[tuple[Any, Any]] = []
    patience = call.deadline - engine.clock.now()
    while left is not None:
        deadline = engine.clock.now() + patience
        last = await answer(msgspec.structs.replace(call, request=left, deadline=deadline), engine)
        sent: Any = last.slot.request  # the first of what was left
        parts.append((sent, whole(last, engine)))
        left = left.after(sent)
    return Served(type(parts[0][1]).joined(parts), last, last.deployment.model)


async def _see_that_one_can(call: Call, engine: Engine) -> None:
    """Raises BadRequest if no configured source has any model for the operation of *call*: a key would bring one."""
    catalog, operation = engine.view.catalog, call.wants.operation
    if any(operation in d.operations for d in catalog.deployments()):
        return
    if not catalog.complete.is_set():
        await first_lists(call, engine)
        if any(operation in d.operations for d in catalog.deployments()):
            return
    titles = engine.offering.get(operation, ())
    raise BadRequest(
        f"model: no source that is configured {_MEANS[operation]}; a key for {' or '.join(titles)} brings one",
        param="model",
    )
