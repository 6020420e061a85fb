"""An answer in one piece, however many requests it takes, for each operation."""

from __future__ import annotations

from gateway.request.embed import embed
from gateway.request.engine import Engine, Served
from gateway.request.pipeline import answer
from gateway.request.resume import StreamSession
from gateway.words import Call
from providers.embeddings import EmbedRequest


async def in_one_piece(call: Call, engine: Engine) -> Served:
    """The whole answer to *call*. Raises a GatewayError that says what was missing, or when to come back."""
    if isinstance(call.request, EmbedRequest):
        return await embed(call, call.request, engine)
    session = StreamSession(await answer(call, engine), engine)
    made = await session.whole()
    return Served(made, session.answer, session.answer.deployment.model)
