"""Images by address, for a deployment whose API takes bytes alone: fetched, where the configuration allows it, and sent inline."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from gateway.words import Deployment
from providers.chat import ImageUrl, Message, Part, raw
from providers.dialect import AnyRequest, Request
from providers.failures import RefusedHere
from providers.fetching import Fetch, NotFetched

MOST = 10
"""Images that are fetched for one request."""


def addresses_for(deployment: Deployment, request: AnyRequest) -> list[str]:
    """The images of *request* that *deployment* cannot look up itself: those that can take only encrypted addresses everywhere."""
    if not isinstance(request, Request):
        return []
    looked_up = ("https://",) if "image_url" in deployment.target.capabilities else ()
    found = [_address(part) for message in request.view.messages for part in _parts(message)]
    return list(dict.fromkeys(url for url in found if url and not url.lower().startswith(looked_up)))


async def inlined(request: AnyRequest, addresses: list[str], fetch: Fetch, known: dict[str, str]) -> AnyRequest:
    """
    *request* with the images at *addresses* as bytes. What was fetched is *known*, and is not fetched again.

    Raises RefusedHere if one cannot be had: a source that looks it up itself may have more luck.
    """
    assert isinstance(request, Request)
    missing = [url for url in addresses if url not in known]
    try:
        if len(addresses) > MOST:
            raise NotFetched(f"there are more than {MOST}")
        known.update(zip(missing, await asyncio.gather(*map(fetch, missing)), strict=True))
    except NotFetched as exc:
        failure = RefusedHere(f"an image is named by its address, and is not sent on: {exc}")
        failure.reached = "unsent"
        raise failure from exc
    messages = [_inlined(message, known) for message in request.view.messages]
    fields: list[Any] = msgspec.json.decode(request.fields["messages"])
    for spelled, message in zip(fields, messages, strict=True):
        if isinstance(spelled.get("content"), list):
            spelled["content"] = message.content
    view = msgspec.structs.replace(request.view, messages=messages)
    return msgspec.structs.replace(request, view=view, fields={**request.fields, "messages": raw(fields)})


def _parts(message: Message) -> list[Part]:
    return message.content if isinstance(message.content, list) else []


def _address(part: Part) -> str:
    """The address of an image that is not sent inline; "" for anything else."""
    if part.image_url is None:
        return ""
    url = part.image_url if isinstance(part.image_url, str) else part.image_url.url
    return "" if url[:5].lower() == "data:" else url


def _inlined(message: Message, known: dict[str, str]) -> Message:
    if not any(_address(part) for part in _parts(message)):
        return message
    parts = [_with_bytes(part, known[url]) if (url := _address(part)) else part for part in _parts(message)]
    return msgspec.structs.replace(message, content=parts)


def _with_bytes(part: Part, data: str) -> Part:
    detail = part.image_url.detail if isinstance(part.image_url, ImageUrl) else None
    return msgspec.structs.replace(part, image_url=ImageUrl(data, detail))
