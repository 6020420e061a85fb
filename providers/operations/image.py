"""Making pictures as providers spell it: OpenAI, Cloudflare, Pollinations."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct

from providers import failures as f
from providers.dialect import HttpRequest, HttpResponse, Target
from providers.images import ImageRequest, Pictures
from providers.operations.codec import post

STEPS = 4
"""Steps of diffusion that flux-1-schnell is made for (Workers AI model page, 2026-09)."""


LONGEST_ADDRESS = 4000
"""Characters of an address that servers and proxies take without fail."""


class _One(Struct):
    b64_json: str


class _OpenAIBody(Struct):
    data: list[_One]


class OpenAIImages:
    """``POST /images/generations``, one picture at a time."""

    def build(self, target: Target, request: ImageRequest, url: str, headers: Mapping[str, str]) -> HttpRequest:
        width, height = request.view.pixels()
        body: dict[str, Any] = {"model": target.model, "prompt": request.view.prompt, "response_format": "b64_json"}
        return post(url, headers, {**body, "size": f"{width}x{height}", "n": 1})

    def read(self, target: Target, request: ImageRequest, response: HttpResponse) -> Pictures:  # noqa: ARG002
        found = msgspec.json.decode(response.body, type=_OpenAIBody).data
        return _picture(target, found[0].b64_json if found else "")


class _Image(Struct):
    image: str


class _CloudflareBody(Struct):
    result: _Image


class CloudflareImages:
    """``/ai/run`` with flux-1-schnell, whose pictures have 1024 pixels a side (Workers AI model page, 2026-09)."""

    def build(self, target: Target, request: ImageRequest, url: str, headers: Mapping[str, str]) -> HttpRequest:  # noqa: ARG002
        if request.view.pixels() != (1024, 1024):
            raise f.Unsupported("pictures here are 1024x1024").of("size")
        return post(url, headers, {"prompt": request.view.prompt, "steps": STEPS})

    def read(self, target: Target, request: ImageRequest, response: HttpResponse) -> Pictures:  # noqa: ARG002
        return _picture(target, msgspec.json.decode(response.body, type=_CloudflareBody).result.image)


class PollinationsImages:
    """``GET /image/{prompt}``, whose answer is the picture itself (pollinations/pollinations#7783 and #8806, 2026)."""

    def build(self, target: Target, request: ImageRequest, url: str, headers: Mapping[str, str]) -> HttpRequest:
        width, height = request.view.pixels()
        asked = urlencode({"model": target.model, "width": width, "height": height, "nofeed": "true"})
        address = f"{url}/{quote(request.view.prompt, safe='')}?{asked}"
        if len(address) > LONGEST_ADDRESS or request.view.prompt in (".", ".."):
            raise f.Unsupported("the prompt goes into an address here, and is none that could").of("prompt")
        return HttpRequest("GET", address, dict(headers))

    def read(self, target: Target, request: ImageRequest, response: HttpResponse) -> Pictures:  # noqa: ARG002
        if not response.body.startswith((b"\xff\xd8\xff", b"\x89PNG", b"RIFF")):
            raise msgspec.DecodeError("the answer is no picture")
        return Pictures([b64encode(response.body).decode()], target.model)


def _picture(target: Target, text: str) -> Pictures:
    try:
        b64decode(text, validate=True)
    except Error as exc:
        raise f.NoAnswer(f"a picture that is not base64: {exc}") from exc
    if not text:
        raise f.NoAnswer("no picture")
    return Pictures([text], target.model)
