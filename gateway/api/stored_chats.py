"""
Chat completions that were kept because their request said ``store: true``: what is kept of one as it is told, and
``GET /v1/chat/completions`` with ``GET``, ``POST`` and ``DELETE /v1/chat/completions/{id}`` and ``…/messages``.

They are in the archive of the responses, by its rules. Their names begin with the second they were made in, so that the
order of the names is that of the completions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from litestar import Request, Response, Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Raw, Struct

from gateway.api.auth import Authenticator
from gateway.api.http import spellings
from gateway.api.neutral import StreamedAnswer
from gateway.api.openai import decoded
from gateway.api.responses_archive import Archive, NotStored, StoreAway, limit_of, listed, page
from gateway.words import Call
from providers.chat import Chunk, Fields, Usage, encode, raw

PATH = "/v1/chat/completions/{completion_id:str}"
_PLACE = "chats"
_JSON = "application/json"

_AT_ONCE = 20
"""Completions that are read at once while a page is filled: each may have pictures in it."""

_ECHOED = (
    "metadata", "temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "tools", "tool_choice", "response_format",
)  # fmt: skip
"""Fields of a request that its completion repeats when it is read."""


class StoredChat(Struct):
    """A completion as it is read, the *messages* that it answers, and the name that its model was *asked* for by."""

    completion: Raw
    messages: Raw
    asked: str


class _Sought(Struct):
    """What of a completion a list is narrowed by."""

    model: str = ""
    metadata: Any = None

    def fits(self, asked: str, model: str | None, metadata: Mapping[str, str]) -> bool:
        if model is not None and model not in (self.model, asked):
            return False
        told = self.metadata if isinstance(self.metadata, dict) else {}
        return all(told.get(name) == value for name, value in metadata.items())


class Changed(Struct):
    """What can be changed of a completion that is kept."""

    metadata: dict[str, Any] | None = None


_decode_changed = msgspec.json.Decoder(Changed).decode


# ── kept as it is told ──


class Keeping:
    """One completion that is to be kept: what its stream has said so far, under a *name* of our own."""

    def __init__(self, archive: Archive, client: str, call: Call, fields: Fields, created: int) -> None:
        self._archive, self._client, self._created = archive, client, created
        self.name = f"chatcmpl-{created:08x}{call.id.removeprefix('req_')}"
        self._asked = call.wants.models[0]
        self._messages = fields["messages"]
        self._echoed = {field: fields.get(field, raw(None)) for field in _ECHOED} | {"request_id": call.id}
        self._texts: dict[int, dict[str, list[str]]] = {}  # by choice: the pieces of each kind
        self._finishes: dict[int, str] = {}
        self._calls = StreamedAnswer()
        self._model = ""
        self._usage: Usage | None = None

    async def whole(self, completion: dict[str, Any]) -> bytes:
        """*completion* as it is told now; it is kept before that."""
        await self._keep(completion)
        return encode(completion)

    def take(self, chunk: Chunk) -> None:
        """One more piece of the stream. Probabilities of its tokens are not kept."""
        self._model, self._usage = chunk.model or self._model, chunk.usage or self._usage
        self._calls.add(chunk)
        for choice in chunk.choices:
            delta, texts = choice.delta, self._texts.setdefault(choice.index, {})
            said = (
                ("content", delta.content),
                ("refusal", delta.refusal),
                ("reasoning_content", delta.reasoning_content),
            )
            for kind, text in said:
                if text:
                    texts.setdefault(kind, []).append(text)
            if choice.finish_reason:
                self._finishes[choice.index] = choice.finish_reason

    async def end(self) -> None:
        """The stream is complete."""
        await self._keep(
            {
                "id": self.name,
                "object": "chat.completion",
                "created": self._created,
                "model": self._model,
                "choices": [self._choice(index) for index in sorted(self._texts)],
                "usage": self._usage,
            }
        )

    def _choice(self, index: int) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
        message |= {kind: "".join(pieces) for kind, pieces in self._texts[index].items()}
        if calls := self._calls.take(index):
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in calls
            ]
        return {
            "index": index,
            "message": message,
            "logprobs": None,
            "finish_reason": self._finishes.get(index, "stop"),
        }

    async def _keep(self, completion: dict[str, Any]) -> None:
        stored = StoredChat(raw(completion | self._echoed), self._messages, self._asked)
        await self._archive.keep(self._client, self.name, stored, _PLACE)


# ── read again ──


async def completions(archive: Archive, client: str, query: Mapping[str, str]) -> bytes:
    """
    A page of the completions of *client*, the oldest first unless ``order=desc``: those of ``model``, by either of its names,
    and with each ``metadata[name]``. Raises BadRequest, naming the field, or StoreAway.
    """
    limit = limit_of(query)
    names, backwards, after = await archive.names(client, _PLACE), query.get("order") == "desc", query.get("after")
    if backwards:
        names.reverse()
    if after is not None:
        names = [name for name in names if (name < after if backwards else name > after)]
    metadata = {name[9:-1]: value for name, value in query.items() if name[:9] == "metadata[" and name[-1] == "]"}
    found: list[tuple[str, Raw]] = []
    while names and len(found) <= limit:
        some, names = names[:_AT_ONCE], names[_AT_ONCE:]
        for name, value in zip(some, await archive.look(client, _PLACE, some), strict=True):
            if value is not None:
                stored = msgspec.json.decode(value, type=StoredChat)
                if msgspec.json.decode(stored.completion, type=_Sought).fits(
                    stored.asked, query.get("model"), metadata
                ):
                    found.append((name, stored.completion))
    return encode(listed(found[:limit], more=len(found) > limit))


def _told_messages(stored: StoredChat, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The messages that a completion answers, with an id each; content in parts has a field of its own."""
    for place, message in enumerate(msgspec.json.decode(stored.messages, type=list[dict[str, Any]])):
        content = message.get("content")
        parts = content if isinstance(content, list) else None
        told = {"id": f"{name}-{place}", "name": None, **message}
        yield told["id"], told | {"content": None if parts is not None else content, "content_parts": parts}


def router(archive: Archive, max_body: int) -> Router:
    """The routes for what *archive* has; *max_body* bytes of a request are read at most."""

    async def found(client: str, name: str) -> StoredChat:
        kept = await archive.kept(client, name, _PLACE)
        if kept is None:
            raise NotStored(name, "completion_id", "'store': true in its request keeps a completion")
        return msgspec.json.decode(kept, type=StoredChat)

    @get(spellings(PATH))
    async def stored_chat(
        request: Request[Any, Any, Any], completion_id: FromPath[str], authenticator: NamedDependency[Authenticator]
    ) -> Response[bytes]:
        """The completion, and what of its request it repeats."""
        client = authenticator.admit(request.scope["headers"])
        return Response(bytes((await found(client.name, completion_id)).completion), media_type=_JSON)

    @post(spellings(PATH), status_code=200)
    async def change_chat(
        request: Request[Any, Any, Any], completion_id: FromPath[str], authenticator: NamedDependency[Authenticator]
    ) -> Response[bytes]:
        """Other metadata in place of that which it has."""
        client = authenticator.admit(request.scope["headers"])
        changed = decoded(_decode_changed, await request.body())
        stored = await found(client.name, completion_id)
        fields = msgspec.json.decode(stored.completion, type=Fields) | {"metadata": raw(changed.metadata)}
        stored.completion = raw(fields)
        if not await archive.keep(client.name, completion_id, stored, _PLACE):
            raise StoreAway("what is stored cannot be reached now: nothing was changed")
        return Response(bytes(stored.completion), media_type=_JSON)

    @delete(spellings(PATH), status_code=200)
    async def delete_chat(
        request: Request[Any, Any, Any], completion_id: FromPath[str], authenticator: NamedDependency[Authenticator]
    ) -> dict[str, Any]:
        client = authenticator.admit(request.scope["headers"])
        await found(client.name, completion_id)
        await archive.drop(client.name, completion_id, _PLACE)
        return {"id": completion_id, "object": "chat.completion.deleted", "deleted": True}

    @get(spellings(f"{PATH}/messages"))
    async def chat_messages(
        request: Request[Any, Any, Any], completion_id: FromPath[str], authenticator: NamedDependency[Authenticator]
    ) -> dict[str, Any]:
        """A page of the messages that it answers, the first one first unless ``order=desc``."""
        client = authenticator.admit(request.scope["headers"])
        rows = list(_told_messages(await found(client.name, completion_id), completion_id))
        return page(rows, request.query_params, newest_first=request.query_params.get("order") == "desc")

    routes = [stored_chat, change_chat, delete_chat, chat_messages]
    return Router("/", route_handlers=routes, request_max_body_size=max_body)
