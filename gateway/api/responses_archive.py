"""
What was kept: what continues a response, and ``GET`` and ``DELETE /v1/responses/{id}`` with ``…/input_items``.

Only the client that an answer was made for finds it. Chat completions are kept beside the responses (``stored_chats``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from litestar import Request, Response, Router, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Raw, Struct

from gateway.api.auth import Authenticator
from gateway.api.http import spellings
from gateway.api.responses_input import Item, items_of
from gateway.api.responses_output import Writer
from gateway.api.responses_store import ResponsesLost, ResponseStore
from gateway.settings import Settings
from gateway.words import BadRequest, Call, GatewayError
from providers.chat import Delta, FunctionDelta, ToolCallDelta, encode

PATH = "/v1/responses/{response_id:str}"
_JSON = "application/json"

T = TypeVar("T")

_ROWS, _MOST_ROWS = 20, 100
"""Rows in a page of a list, and at most."""

_LONGEST_CHAIN = 1000
"""Responses that one conversation is made of at most."""


class NotStored(BadRequest):
    """Nothing of that *name*, which came in *field*, is kept for this client; *instead* is what can be done."""

    status = 404

    def __init__(self, name: str, field: str, instead: str = "send all of the input, with 'store': false") -> None:
        super().__init__(
            f"{field}: nothing is kept here under {name!r}: it was never stored, or is older than a day; {instead}",
            param=field,
        )
        self.code = "previous_response_not_found" if field == "previous_response_id" else None


class StoreAway(GatewayError):
    """What is kept cannot be reached now."""

    status, code = 503, "store_unavailable"


class Stored(Struct):
    """A response as it was told, its *input* as it was spelled, and what it continued."""

    response: Raw
    input: Raw
    previous: str | None = None


class _Told(Struct):
    """What of a response is said again when it is continued."""

    output: list[Item]


class Archive:
    """
    Answers by client and name. *store* None keeps none; nor is one kept that a private name was asked for. A *place* is for
    those of another kind, which can be listed.
    """

    def __init__(self, store: ResponseStore | None, settings: Settings) -> None:
        self._store = store
        self.adopt(settings)

    def adopt(self, settings: Settings) -> None:
        """From now on names are private as *settings* say."""
        private = {name for name, virtual in settings.virtual.items() if virtual.no_train}
        aliases = {
            name
            for name, meant in settings.alias.items()
            if private.intersection((meant,) if isinstance(meant, str) else meant)
        }
        self._private = frozenset(private | aliases)

    def keeps(self, call: Call) -> bool:
        """Whether the answer to *call* may be kept."""
        return self._store is not None and not call.wants.no_train and not self._private.intersection(call.wants.models)

    async def keep(self, client: str, name: str, stored: Struct, place: str = "") -> bool:
        """Whether *stored* is kept now: an answer is no worse for it."""
        assert self._store is not None
        try:
            await self._store.keep(_key(client, place, name), encode(stored))
        except ResponsesLost:
            return False
        return True

    async def find(self, client: str, name: str, field: str = "response_id") -> Stored:
        """The response *name*, which came in *field*, of *client*. Raises NotStored or StoreAway."""
        found = await self.kept(client, name)
        if found is None:
            raise NotStored(name, field)
        return msgspec.json.decode(found, type=Stored)

    async def kept(self, client: str, name: str, place: str = "") -> bytes | None:
        """What *client* has under *name*. Raises StoreAway."""
        if self._store is None or "/" in name:
            return None
        return await _reached(self._store.find(_key(client, place, name)))

    async def drop(self, client: str, name: str, place: str = "") -> None:
        """Forget it. Raises StoreAway."""
        if self._store is not None:
            await _reached(self._store.drop(_key(client, place, name)))

    async def names(self, client: str, place: str) -> list[str]:
        """The names of all that *client* has in *place*, in their order. Raises StoreAway."""
        return await _reached(self._store.names(_place(client, place))) if self._store is not None else []

    async def look(self, client: str, place: str, names: Sequence[str]) -> list[bytes | None]:
        """What *client* has under each of *names* in *place*, which is no use of it. Raises StoreAway."""
        assert self._store is not None
        return await _reached(self._store.look([_key(client, place, name) for name in names]))

    async def aclose(self) -> None:
        """Give everything back."""
        if self._store is not None:
            await self._store.aclose()

    async def history(self, client: str, name: str | None) -> list[Item]:
        """All that was said up to the response *name*, with it. Raises NotStored or StoreAway."""
        turns: list[list[Item]] = []
        while name is not None:
            stored = await self.find(client, name, "previous_response_id")
            output = msgspec.json.decode(stored.response, type=_Told).output
            turns.append([*items_of(bytes(stored.input)), *output])
            if len(turns) > _LONGEST_CHAIN:
                raise BadRequest("previous_response_id: the conversation is too long", param="previous_response_id")
            name = stored.previous
        return [item for turn in reversed(turns) for item in turn]

    async def referred(self, client: str, names: list[str]) -> dict[str, Item]:
        """The items that *names* are the ids of, which tell the response they are in. Raises NotStored or StoreAway."""
        found: dict[str, Item] = {}
        for name in names:
            if name not in found:
                response = f"resp_{name.partition('_')[2].rpartition('_')[0]}"
                stored = await self.find(client, response, "input")
                told = msgspec.json.decode(stored.response, type=_Told).output
                found |= {item.id: item for item in told if item.id}
            if name not in found:
                raise NotStored(name, "input")
        return found


def _place(client: str, place: str) -> str:
    """A client's name may have a slash in it, which is quoted: no client comes upon another's keys so."""
    return "/".join(part for part in (quote(client, safe=" @+"), place) if part)


def _key(client: str, place: str, name: str) -> str:
    return f"{_place(client, place)}/{name}"


async def _reached(asked: Awaitable[T]) -> T:
    try:
        return await asked
    except ResponsesLost as exc:
        raise StoreAway("what is stored cannot be reached now: come back, or send all of the input") from exc


# ── the routes ──


def router(archive: Archive) -> Router:
    """The routes for what *archive* has."""

    @get(spellings(PATH))
    async def stored_response(
        request: Request[Any, Any, Any], response_id: FromPath[str], authenticator: NamedDependency[Authenticator]
    ) -> Response[bytes]:
        """The response as it was told; ``?stream=true``: as the events that tell of it."""
        client = authenticator.admit(request.scope["headers"])
        found = bytes((await archive.find(client.name, response_id)).response)
        if request.query_params.get("stream") == "true":
            after = number(request.query_params.get("starting_after"), -1, "starting_after")
            events = replayed(msgspec.json.decode(found))[after + 1 :]
            return Response(b"".join(events), media_type="text/event-stream; charset=utf-8")
        return Response(found, media_type=_JSON)

    @delete(spellings(PATH), status_code=200)
    async def delete_response(
        request: Request[Any, Any, Any], response_id: FromPath[str], authenticator: NamedDependency[Authenticator]
    ) -> dict[str, Any]:
        client = authenticator.admit(request.scope["headers"])
        await archive.find(client.name, response_id)
        await archive.drop(client.name, response_id)
        return {"id": response_id, "object": "response", "deleted": True}

    @get(spellings(f"{PATH}/input_items"))
    async def input_items(
        request: Request[Any, Any, Any], response_id: FromPath[str], authenticator: NamedDependency[Authenticator]
    ) -> dict[str, Any]:
        """A page of what the request brought, the last item first unless ``order=asc``."""
        client = authenticator.admit(request.scope["headers"])
        stored, query = await archive.find(client.name, response_id), request.query_params
        rows = [(str(item["id"]), item) for item in told_items(bytes(stored.input), response_id)]
        return page(rows, query, newest_first=query.get("order") != "asc")

    return Router("/", route_handlers=[stored_response, delete_response, input_items])


def told_items(given: bytes, response: str) -> list[dict[str, Any]]:
    """The items of an input as it was spelled, with the fields that a list of items has. Ids are the same each time."""
    spelled = msgspec.json.decode(given)
    found = [{"role": "user", "content": spelled}] if isinstance(spelled, str) and spelled else spelled or []
    items = []
    for n, item in enumerate(found):
        told: dict[str, Any] = {"type": "message", "status": "completed", **item}
        told["id"] = item.get("id") or f"item_{response.removeprefix('resp_')}_{n}"
        kind = "output_text" if item.get("role") == "assistant" else "input_text"
        if told["type"] == "message" and isinstance(item.get("content"), str):
            part: dict[str, Any] = {"type": kind, "text": item["content"]}
            told["content"] = [part | ({"annotations": []} if kind == "output_text" else {})]
        items.append(told)
    return items


def replayed(response: dict[str, Any]) -> list[bytes]:
    """The events that tell of *response*: each text in one piece."""
    began: dict[str, Any] = {
        "status": "in_progress",
        "output": [],
        "usage": None,
        "completed_at": None,
        "incomplete_details": None,
    }
    writer = Writer({**response, **began}, response["id"].removeprefix("resp_"), streams=True)
    writer.begin("")
    for n, item in enumerate(response["output"]):
        writer.take(_delta(n, item), [])
    writer.end(None, None, 0)
    writer.resource |= response
    writer.tell_end()
    return writer.events()


def _delta(n: int, item: dict[str, Any]) -> Delta:
    """An item of an output as a piece of an answer."""
    if item["type"] == "reasoning":
        return Delta(reasoning_content="".join(part["text"] for part in item["summary"]))
    if item["type"] == "function_call":
        function = FunctionDelta(item["name"], item["arguments"])
        return Delta(tool_calls=[ToolCallDelta(n, item["call_id"], function=function)])
    return Delta(
        content="".join(part.get("text", "") for part in item["content"]) or None,
        refusal="".join(part.get("refusal", "") for part in item["content"]) or None,
    )


def page(rows: list[tuple[str, Any]], query: Mapping[str, str], *, newest_first: bool) -> dict[str, Any]:
    """The page of *rows*, each with its id, that *query* asks for by ``after`` and ``limit``. Raises BadRequest, naming the field."""
    ordered, limit = rows[::-1] if newest_first else rows, limit_of(query)
    begin = next((n + 1 for n, (name, _) in enumerate(ordered) if name == query.get("after")), 0)
    return listed(ordered[begin : begin + limit], more=len(ordered) > begin + limit)


def listed(rows: Sequence[tuple[str, Any]], *, more: bool) -> dict[str, Any]:
    """*rows*, each with its id, as OpenAI spells a page of a list."""
    first, last = (rows[0][0], rows[-1][0]) if rows else (None, None)
    return {"object": "list", "data": [row for _, row in rows], "first_id": first, "last_id": last, "has_more": more}


def limit_of(query: Mapping[str, str]) -> int:
    """How many rows a page may have. Raises BadRequest."""
    asked = number(query.get("limit"), _ROWS, "limit")
    return min(asked, _MOST_ROWS) if asked > 0 else _ROWS


def number(given: str | None, default: int, field: str) -> int:
    """The number *given* in a query; *default* without one. Raises BadRequest, naming the *field*."""
    if given is None:
        return default
    if not given.lstrip("-").isdigit() or len(given) > 9:
        raise BadRequest(f"{field}: expected a number, got {given[:40]!r}", param=field)
    return max(int(given), -1)
