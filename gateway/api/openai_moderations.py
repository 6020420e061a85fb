"""``POST /v1/moderations``: which of OpenAI's categories texts belong to, as free models judge them."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from gateway.api.neutral import Unrendered
from gateway.api.openai import OpenAISurface, decoded, other_call, routing_of
from gateway.api.options import Options
from gateway.words import Call
from providers.chat import decode_fields, encode
from providers.embeddings import tokens_of
from providers.moderation import CATEGORIES, Judged, Judgements, ModerateRequest, decode_moderation_request

_APPLIED = {name: ["text"] for name in CATEGORIES}


class Moderations(OpenAISurface, Unrendered):
    """One request."""

    path: ClassVar[str] = "/v1/moderations"
    expects: ClassVar[str] = "a moderation request"

    def parse(self, body: bytes, options: Options) -> Call:
        """What *body* asks for. Raises BadRequest, naming the field."""
        view, fields = decoded(decode_moderation_request, body), decoded(decode_fields, body)
        self._id = options.id.replace("req_", "modr-")
        call = other_call(ModerateRequest.of(view, fields, view.texts()), routing_of(body), options)
        longest = max(tokens_of(text) for text in view.texts())  # each text has the context to itself
        return msgspec.structs.replace(call, prompt_tokens=longest)

    def render_whole(self, whole: Judgements) -> bytes:
        """A result for each text, in their order."""
        return encode({"id": self._id, "model": whole.model, "results": [_result(one) for one in whole.results]})


def _result(found: Judged) -> dict[str, Any]:
    return {
        "flagged": bool(found.breaks),
        "categories": {name: name in found.breaks for name in CATEGORIES},
        "category_scores": found.scores,
        "category_applied_input_types": _APPLIED,
    }
