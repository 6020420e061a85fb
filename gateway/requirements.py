"""What a request needs: capabilities, tokens in and out, privacy, deadline. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

from msgspec import Struct

from gateway.ledger.nouns import Cost, Wanted
from gateway.words import Ask, Deployment, Requirements
from providers.chat import ChatRequest, Fields, Part

BYTES_PER_TOKEN = 3.0
"""Below what tokenizers reach on prose, code and CJK alike (about 4, 3.5 and 3), so that the estimate errs upward."""

TOKENS_PER_IMAGE = 1_500
TOKENS_PER_MESSAGE = 8

_PART_NEEDS = {"text": None, "refusal": None, "image_url": "vision", "input_audio": "audio"}


def requirements_of(ask: Ask, default_output: int) -> Requirements:
    """What serving *ask* takes. *default_output* tokens are reserved where the caller set no bound."""
    view = ask.view
    return Requirements(
        models=ask.models,
        capabilities=frozenset(_capabilities(view)),
        prompt_tokens=prompt_tokens(view, ask.fields),
        output_tokens=(view.output_tokens or default_output) * (view.n or 1),
        deadline=ask.deadline,
        only=ask.only,
        ignore=ask.ignore,
        order=ask.order,
        no_train=ask.no_train,
        substitute=ask.substitute,
    )


def prompt_tokens(view: ChatRequest, fields: Fields) -> int:
    """An upper estimate from the size of what is sent; images and sound are counted apart from their bytes."""
    size = len(bytes(fields["messages"])) + (len(bytes(fields["tools"])) if view.tools else 0)
    media = 0
    for message in view.messages:
        if isinstance(message.content, list):
            for part in message.content:
                carried = _media_size(part)
                if carried:
                    size -= carried
                    media += TOKENS_PER_IMAGE
    return math.ceil(max(size, 0) / BYTES_PER_TOKEN) + media + TOKENS_PER_MESSAGE * len(view.messages)


def _media_size(part: Part) -> int:
    if part.image_url is not None:
        return len(part.image_url if isinstance(part.image_url, str) else part.image_url.url)
    return len(part.input_audio.data) if part.input_audio is not None else 0


def _capabilities(view: ChatRequest) -> set[str]:
    needed = set()
    if view.functions():
        needed.add("tools")
    if view.response_format is not None and view.response_format.type != "text":
        needed.add(view.response_format.type)
    if view.stream:
        needed.add("stream")
    if view.logprobs:
        needed.add("logprobs")
    if (view.n or 1) > 1:
        needed.add("n")
    for message in view.messages:
        if isinstance(message.content, list):
            needed |= {_PART_NEEDS.get(part.type, part.type) or "" for part in message.content}
    return needed - {""}


class Wishes(Struct, frozen=True):
    """The ranked deployments as the ledger wants them, each made when it is looked at: mostly the first will do."""

    ranked: list[Deployment]
    needs: Requirements

    def __iter__(self) -> Iterator[Wanted]:
        for deployment in self.ranked:
            yield Wanted(deployment.name, deployment.buckets, _cost(deployment, self.needs))


def _cost(deployment: Deployment, needs: Requirements) -> Cost:
    dollars = needs.prompt_tokens * deployment.prompt_price + needs.output_tokens * deployment.output_price
    return Cost(needs.prompt_tokens, needs.output_tokens, dollars)
