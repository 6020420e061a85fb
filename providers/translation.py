"""What dialects need that are not spelled like OpenAI's: its shapes made from theirs, and its values taken apart."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Struct

from providers.chat import Chunk, Completion, FunctionCall, ImageUrl, Part, Step, Usage, Whole, encode
from providers.failures import CallersFault, Unsupported

_decode_chunk = msgspec.json.Decoder(Chunk).decode
_decode_completion = msgspec.json.Decoder(Completion).decode


class Inline(Struct, frozen=True):
    """Something carried within a request: its media type, and its bytes as base64."""

    mime: str
    data: str


def image_of(image: ImageUrl | str) -> Inline:
    """
    The image in a data URI.

    Raises Unsupported for any other address: nothing is fetched on a caller's behalf. CallersFault if it cannot be
    read.
    """
    url = image if isinstance(image, str) else image.url
    if url[:5].lower() != "data:":
        raise Unsupported("images must be sent inline, as data URIs").of("image_url")
    head, comma, data = url[5:].partition(",")
    mime, *parameters = head.split(";")
    if not comma:
        raise CallersFault("an image's data URI has no data")
    if "base64" not in (parameter.strip().lower() for parameter in parameters):
        return Inline(mime or "text/plain", base64.b64encode(unquote_to_bytes(data)).decode())
    data = "".join(data.split()).replace("-", "+").replace("_", "/")
    data += "=" * (-len(data) % 4)
    try:
        binascii.a2b_base64(data, strict_mode=True)
    except ValueError as exc:
        raise CallersFault(f"an image's data URI cannot be read: {exc}") from exc
    return Inline(mime or "image/png", data)


def not_carried(part: Part) -> Unsupported:
    """The failure for a kind of content that has no place in this API."""
    return Unsupported(f"content of type {part.type!r} cannot be sent here").of(part.type)


def arguments_of(call: FunctionCall) -> dict[str, Any]:
    """
    A call's arguments as the object that they should be.

    A model may have written anything, and the caller only replays it: what is no object is put into one.
    """
    text = call.arguments.strip()
    if not text:
        return {}
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        found = text
    return found if isinstance(found, dict) else {"arguments": found}


def stops_of(stop: str | list[str] | None) -> list[str]:
    return [stop] if isinstance(stop, str) else list(stop or ())


def fingerprint(data: bytes) -> str:
    """A name for an answer that has none: the same for the same bytes."""
    return hashlib.blake2s(data, digest_size=8).hexdigest()


def tool_call(call_id: str, name: str, arguments: str, extra: object = None) -> dict[str, Any]:
    made: dict[str, Any] = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return made if extra is None else {**made, "extra_content": extra}


def whole_of(answer_id: str, model: str, choices: list[dict[str, Any]], usage: Usage | None) -> Whole:
    """A completion in OpenAI's shape, where nothing is left out; the time is not known here, so *created* is 0."""
    for choice in choices:
        choice.setdefault("logprobs", None)
        choice["message"].setdefault("refusal", None)
    fields = {"id": answer_id, "object": "chat.completion", "created": 0, "model": model, "choices": choices}
    data = encode(fields if usage is None else {**fields, "usage": usage})
    return Whole(_decode_completion(data), data)


def step_of(answer_id: str, model: str, choices: list[dict[str, Any]], usage: Usage | None = None) -> Step:
    """A chunk in OpenAI's shape; the time is not known here, so *created* is 0."""
    for choice in choices:
        choice.setdefault("logprobs", None)
    fields = {"id": answer_id, "object": "chat.completion.chunk", "created": 0, "model": model, "choices": choices}
    data = encode(fields if usage is None else {**fields, "usage": usage})
    return Step(_decode_chunk(data), data)
