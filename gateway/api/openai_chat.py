"""``POST /v1/chat/completions``: the neutral request and answer themselves, so that most bytes pass as they are."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from gateway.api.openai import OpenAISurface, chat_call, chat_fields, event, routing_of
from gateway.api.options import Options
from gateway.words import Call
from providers.chat import Chunk, Fields, Step, Whole, encode


def parse(body: bytes, options: Options) -> Call:
    """What *body* asks for, to be served as *options* say. Raises BadRequest, naming the field."""
    view, fields = chat_fields(body)
    return chat_call(view, fields, routing_of(body), options)


class ChatCompletions(OpenAISurface):
    """One request."""

    path: ClassVar[str] = "/v1/chat/completions"
    expects: ClassVar[str] = "a chat completion request"

    def __init__(self) -> None:
        self._id, self._created, self._wants_usage = "", 0, False

    def parse(self, body: bytes, options: Options) -> Call:
        view, fields = chat_fields(body)
        self._id, self._created, self._wants_usage = options.id, int(options.now), view.wants_usage
        return chat_call(view, fields, routing_of(body), options)

    def render_whole(self, whole: Whole) -> bytes:
        """The completion with the fields that its provider left out."""
        found = whole.completion
        if found.created and found.id:
            return whole.data
        fields: dict[str, Any] = msgspec.json.decode(whole.data, type=Fields)
        fields["id"] = found.id or f"chatcmpl-{self._id}"
        fields["created"] = found.created or self._created
        fields["object"] = "chat.completion"
        return encode(fields)

    def render_event(self, step: Step) -> bytes:
        """The chunk as the caller may see it: with usage only if they asked for it."""
        chunk = step.chunk
        hides_usage = chunk.usage is not None and not self._wants_usage
        if hides_usage and not chunk.choices:
            return b""
        if chunk.created and chunk.id and not hides_usage:
            return b"data: " + step.data + b"\n\n"  # the one line of this file that runs for every token
        return event(self._edited(step.data, chunk, hides_usage))

    def _edited(self, data: bytes, chunk: Chunk, hides_usage: bool) -> bytes:
        fields: dict[str, Any] = msgspec.json.decode(data, type=Fields)
        if hides_usage:
            fields.pop("usage", None)
        if not chunk.id:
            fields["id"] = f"chatcmpl-{self._id}"
        if not chunk.created:
            fields["created"] = self._created
        fields["object"] = "chat.completion.chunk"
        return encode(fields)
