"""``POST /v1/images/generations``: pictures, as base64."""

from __future__ import annotations

from typing import ClassVar

from gateway.api.neutral import Unrendered
from gateway.api.openai import OpenAISurface, decoded, other_call, routing_of
from gateway.api.options import Options
from gateway.words import BadRequest, Call
from providers.chat import decode_fields, encode
from providers.images import ImageRequest, Pictures, decode_picture_request


class Images(OpenAISurface, Unrendered):
    """One request."""

    path: ClassVar[str] = "/v1/images/generations"
    expects: ClassVar[str] = "an images request"

    def parse(self, body: bytes, options: Options) -> Call:
        """What *body* asks for. Raises BadRequest, naming the field."""
        view, fields = decoded(decode_picture_request, body), decoded(decode_fields, body)
        if view.response_format == "url":
            raise BadRequest(
                "response_format: pictures are not kept here, so that they have no address: ask for b64_json",
                param="response_format",
            )
        self._at = int(options.now)
        return other_call(ImageRequest.of(view, fields), routing_of(body), options)

    def render_whole(self, whole: Pictures) -> bytes:
        """The pictures."""
        return encode({"created": self._at, "data": [{"b64_json": one} for one in whole.base64]})
