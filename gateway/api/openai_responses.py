"""
``/v1/responses``, OpenAI's API for agents: items in, items out, streamed and not, stateless and stateful.

A response is kept for a day, unless the request says ``store: false``, its client's prompts must not be trained on, or
``[responses] store`` is off; ``previous_response_id`` and ``item_reference`` then continue it. Only its client finds it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, ClassVar

import msgspec
from msgspec import Raw

from gateway.api import errors
from gateway.api.http import Ready
from gateway.api.neutral import chat_of
from gateway.api.openai import COMMENT, STREAM_TYPE, decoded
from gateway.api.options import Options
from gateway.api.responses_archive import Archive, Stored
from gateway.api.responses_input import Ask, Item, decode_ask, understood
from gateway.api.responses_output import Writer, delta_of
from gateway.api.seal import details_in
from gateway.clock import Clock
from gateway.words import Call, GatewayError
from providers.chat import Fields, FunctionSpec, Step, Usage, Whole, decode_fields, encode, raw


class Responses:
    """One request."""

    path: ClassVar[str] = "/v1/responses"
    expects: ClassVar[str] = "a response request"
    whole_type: str = "application/json"
    stream_type: ClassVar[str] = STREAM_TYPE
    comment: ClassVar[bytes] = COMMENT

    def __init__(self, archive: Archive, clock: Clock) -> None:
        self._archive, self._clock = archive, clock
        self._client, self._rid, self._keeps = "", "", False
        self._input = raw("")
        self._previous: str | None = None
        self._writer = Writer({}, "", streams=False)
        self._finish: str | None = None
        self._usage: Usage | None = None

    # ── in ──

    def parse(self, body: bytes, options: Options) -> Call | Awaitable[Call | Ready]:
        """What *body* asks for, to be served as *options* say. Raises BadRequest, naming the field."""
        ask, fields = decoded(decode_ask, body), decoded(decode_fields, body)
        if ask.previous_response_id is None and not ask.references():
            return self._understood(ask, fields, ask.items(), options)
        return self._recalled(ask, fields, options)

    async def _recalled(self, ask: Ask, fields: Fields, options: Options) -> Call:
        """The same with what is kept of the conversation."""
        client = options.client.name
        history = await self._archive.history(client, ask.previous_response_id)
        referred = await self._archive.referred(client, ask.references())
        items = [referred[item.id or ""] if item.type == "item_reference" else item for item in ask.items()]
        if referred:
            fields["input"] = raw(items)
        return self._understood(ask, fields, history + items, options)

    def _understood(self, ask: Ask, fields: Fields, items: list[Item], options: Options) -> Call:
        if ask.model is None:
            fields.pop("model", None)
        found = understood(ask, fields, items)
        call = msgspec.structs.replace(chat_of(found.fields, options), dropped=found.dropped)
        self._client, self._rid = options.client.name, options.id.removeprefix("req_")
        self._keeps = ask.store is not False and self._archive.keeps(call)
        self._input, self._previous = fields.get("input", raw("")), ask.previous_response_id
        resource = _resource(fields, found.functions)
        resource["tool_choice"] = found.tool_choice
        resource |= {"id": f"resp_{self._rid}", "created_at": int(options.now), "store": self._keeps}
        resource["model"] = call.wants.models[0]
        self._writer = Writer(resource, self._rid, streams=call.streams)
        return call

    # ── out ──

    def render_whole(self, whole: Whole) -> bytes | Awaitable[bytes]:
        found = whole.completion
        writer = self._writer
        writer.begin(found.model)
        for choice in found.choices[:1]:
            writer.take(delta_of(choice.message), details_in(whole.data))
            self._finish = choice.finish_reason
        self._end(found.usage)
        return self._kept_whole() if self._keeps else encode(writer.resource)

    async def _kept_whole(self) -> bytes:
        await self._keep()
        return encode(self._writer.resource)

    def render_event(self, step: Step) -> bytes:
        chunk, writer = step.chunk, self._writer
        writer.begin(chunk.model)
        self._usage = chunk.usage or self._usage
        for choice in chunk.choices:
            if choice.index == 0:
                writer.take(choice.delta, details_in(step.data))
                self._finish = choice.finish_reason or self._finish
        return b"".join(writer.events())

    def render_end(self) -> bytes | Awaitable[bytes]:
        """The response as it is now; kept, before anybody can come back to it."""
        self._writer.begin("")
        self._end(self._usage)
        return self._kept_end() if self._keeps else self._told()

    async def _kept_end(self) -> bytes:
        await self._keep()
        return self._told()

    def render_error(self, error: GatewayError) -> bytes:
        """As the body of an answer."""
        return errors.render(error)

    def render_broken(self, error: GatewayError) -> bytes:
        """As the last event of a stream; before it those that any response begins with."""
        self._writer.resource["store"] = False
        self._writer.begin("")
        self._writer.fail(error)
        return b"".join(self._writer.events())

    def _told(self) -> bytes:
        self._writer.tell_end()
        return b"".join(self._writer.events())

    def _end(self, usage: Usage | None) -> None:
        self._writer.end(self._finish, usage, int(self._clock.now()))

    async def _keep(self) -> None:
        resource = self._writer.resource
        stored = Stored(raw(resource), self._input, self._previous)
        resource["store"] = await self._archive.keep(self._client, resource["id"], stored)


class InputTokens(Responses):
    """``POST /v1/responses/input_tokens``: how long a request is, an upper estimate, for each model counts otherwise."""

    path: ClassVar[str] = "/v1/responses/input_tokens"

    async def parse(self, body: bytes, options: Options) -> Ready:
        """The count itself."""
        asked = super().parse(body, options)
        call = asked if isinstance(asked, Call) else await asked
        assert isinstance(call, Call)  # of which this is the count
        return Ready(encode({"object": "response.input_tokens", "input_tokens": call.prompt_tokens}))


_ECHOED: Mapping[str, Any] = {
    "background": False,  # nothing runs in the background here: an answer is there when it is told
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "temperature": 1.0,
    "tool_choice": "auto",
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""Fields of a request that its response repeats, and what they are if it has none."""


def _resource(fields: Fields, functions: list[FunctionSpec]) -> dict[str, Any]:
    """A response to a request with *fields*, before anything was answered."""
    echoed = {name: fields[name] if _given(fields, name) else value for name, value in _ECHOED.items()}
    echoed["background"] = False
    tools = [
        {
            "type": "function",
            "name": one.name,
            "description": one.description,
            "parameters": one.parameters,
            "strict": one.strict,
        }
        for one in functions
    ]
    text = {"format": {"type": "text"}} | (_object(fields, "text"))
    return {
        "id": "",
        "object": "response",
        "created_at": 0,
        "status": "in_progress",
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": "",
        "output": [],
        **echoed,
        "reasoning": {"effort": None, "summary": None} | _object(fields, "reasoning"),
        "text": text,
        "tools": Raw(encode(tools)),
        "usage": None,
    }


def _given(fields: Fields, name: str) -> bool:
    return name in fields and bytes(fields[name]) != b"null"


def _object(fields: Fields, name: str) -> dict[str, Any]:
    """The members of the object *name* that are said; their values are not looked at."""
    if not _given(fields, name):
        return {}
    return {key: value for key, value in msgspec.json.decode(fields[name], type=Fields).items() if value != b"null"}
