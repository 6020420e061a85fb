"""
``POST /v1/chat/completions``: the neutral request and answer themselves, so that most bytes pass as they are.

One whose request says ``store: true`` is kept, under an id of ours, where the archive keeps such answers (``stored_chats``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, ClassVar

import msgspec
from msgspec import Raw

from gateway.api import stored_chats
from gateway.api.http import Ready
from gateway.api.openai import DONE, OpenAISurface, chat_call, chat_fields, event, routing_of
from gateway.api.options import Options
from gateway.api.responses_archive import Archive
from gateway.settings.clients import Client
from gateway.words import Call
from providers.chat import Chunk, Fields, Step, Whole, encode


def parse(body: bytes, options: Options) -> Call:
    """What *body* asks for, to be served as *options* say. Raises BadRequest, naming the field."""
    view, fields = chat_fields(body)
    return chat_call(view, fields, routing_of(body), options)


_TRUE = Raw(b"true")


class ChatCompletions(OpenAISurface):
    """One request."""

    path: ClassVar[str] = "/v1/chat/completions"
    expects: ClassVar[str] = "a chat completion request"

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._id, self._created, self._wants_usage = "", 0, False
        self._keeping: stored_chats.Keeping | None = None

    def parse(self, body: bytes, options: Options) -> Call:
        view, fields = chat_fields(body)
        self._id, self._created, self._wants_usage = options.id, int(options.now), view.wants_usage
        call = chat_call(view, fields, routing_of(body), options)
        return self._stored(call, fields, options) if fields.get("store") == _TRUE else call

    def _stored(self, call: Call, fields: Fields, options: Options) -> Call:
        """*call*, whose answer is kept; where none may be, the answer's headers say so."""
        if not self._archive.keeps(call):
            return msgspec.structs.replace(call, dropped=("store",))
        self._keeping = stored_chats.Keeping(self._archive, options.client.name, call, fields, self._created)
        return call

    async def listed(self, client: Client, query: Mapping[str, str]) -> Ready:
        """What ``GET`` answers here: the completions of *client* that are kept."""
        return Ready(await stored_chats.completions(self._archive, client.name, query))

    def render_whole(self, whole: Whole) -> bytes | Awaitable[bytes]:
        """The completion with the fields that its provider left out."""
        found, keeping = whole.completion, self._keeping
        if found.created and found.id and keeping is None:
            return whole.data
        fields: dict[str, Any] = msgspec.json.decode(whole.data, type=Fields)
        fields["id"] = found.id or f"chatcmpl-{self._id}"
        fields["created"] = found.created or self._created
        fields["object"] = "chat.completion"
        return encode(fields) if keeping is None else keeping.whole(fields | {"id": keeping.name})

    def render_event(self, step: Step) -> bytes:
        """The chunk as the caller may see it: with usage only if they asked for it."""
        chunk = step.chunk
        if self._keeping is not None:
            self._keeping.take(chunk)
            chunk = msgspec.structs.replace(chunk, id="")
        hides_usage = chunk.usage is not None and not self._wants_usage
        if hides_usage and not chunk.choices:
            return b""
        if chunk.created and chunk.id and not hides_usage:
            return b"data: " + step.data + b"\n\n"  # the one line of this file that runs for every token
        return event(self._edited(step.data, chunk, hides_usage))

    def render_end(self) -> bytes | Awaitable[bytes]:  # type: ignore[override]  # the base is for those that keep nothing
        """Nothing follows; what is kept is there before anybody can come back to it."""
        return DONE if self._keeping is None else self._kept_end(self._keeping)

    async def _kept_end(self, keeping: stored_chats.Keeping) -> bytes:
        await keeping.end()
        return DONE

    def _edited(self, data: bytes, chunk: Chunk, hides_usage: bool) -> bytes:
        fields: dict[str, Any] = msgspec.json.decode(data, type=Fields)
        if hides_usage:
            fields.pop("usage", None)
        if not chunk.id:
            fields["id"] = f"chatcmpl-{self._id}" if self._keeping is None else self._keeping.name
        if not chunk.created:
            fields["created"] = self._created
        fields["object"] = "chat.completion.chunk"
        return encode(fields)
