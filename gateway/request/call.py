"""What a chat request needs, read off it: capabilities, parameters, tokens in and out; and what it costs where. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from gateway.quota.nouns import Offer
from gateway.request.bounds import Bound, Limit, as_sent, bound_of, expected
from gateway.request.parts import cost_of, part_for
from gateway.routing.calibration import Calibration
from gateway.words import Call, Deployment
from providers.chat import ChatRequest, Fields, Part
from providers.dialect import AnyRequest, OtherRequest, Request
from providers.embeddings import EmbedRequest

BYTES_PER_TOKEN = 3.0
"""Below what tokenizers reach on prose, code and CJK alike (about 4, 3.5 and 3), so that the estimate errs upward."""

TOKENS_PER_IMAGE = 2_048
"""What Groq counts for a picture, whatever its size (Groq console, vision page, 2026-09); others count fewer."""

TOKENS_PER_MESSAGE = 8

_OPTIONAL = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "seed",
        "stop",
        "temperature",
        "tool_choice",
        "top_k",
        "top_logprobs",
        "top_p",
    }
)
"""Fields that a request is answered without, if need be; what it cannot be answered without is a capability."""

_IDLE = {b"null", b'"auto"', b'"none"', b"[]"}
"""Values that ask for nothing that would not be so without them."""

_PART_NEEDS = {"text": None, "refusal": None, "image_url": "vision", "input_audio": "audio"}


def text_tokens(view: ChatRequest, fields: Fields) -> int:
    """An upper estimate from the size of what is sent, without images and sound."""
    size = len(bytes(fields["messages"])) + (len(bytes(fields["tools"])) if view.tools else 0)
    size -= sum(map(_media_size, _parts(view)))
    return math.ceil(max(size, 0) / BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE * len(view.messages)


def media_tokens(view: ChatRequest) -> int:
    """An upper estimate for images and sound, whatever their bytes."""
    return TOKENS_PER_IMAGE * sum(1 for part in _parts(view) if _media_size(part))


def _parts(view: ChatRequest) -> Iterator[Part]:
    for message in view.messages:
        if isinstance(message.content, list):
            yield from message.content


def _media_size(part: Part) -> int:
    if part.image_url is not None:
        return len(part.image_url if isinstance(part.image_url, str) else part.image_url.url)
    return len(part.input_audio.data) if part.input_audio is not None else 0


def _is_elsewhere(part: Part) -> bool:
    """Whether *part* is a picture that its provider would have to fetch."""
    url = part.image_url if isinstance(part.image_url, str) else part.image_url.url if part.image_url else "data:"
    return url[:5].lower() != "data:"


def capabilities_of(view: ChatRequest) -> frozenset[str]:
    """What a deployment must be able to do to serve *view*."""
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
            if any(_is_elsewhere(part) for part in message.content):
                needed.add("image_url")
    return frozenset(needed - {""})


_LOOKED_AT = 400
"""Characters of a message in which a chore says what it is."""


def is_chore(view: ChatRequest, chores: Sequence[str]) -> bool:
    """Whether *view* is a program's own small request, which has one of *chores* at the beginning of its first or last message."""
    if not chores or view.tools:
        return False
    texts = [message.text()[:_LOOKED_AT].lower() for message in (view.messages[0], view.messages[-1])]
    return any(chore.lower() in text for chore in chores for text in texts)


def parameters_of(view: ChatRequest, fields: Fields) -> frozenset[str]:
    """The fields of which it matters who takes them. A choice of tools is one only where it is forced."""
    found = _OPTIONAL & fields.keys()
    if not view.tools:
        found -= {"tool_choice", "parallel_tool_calls"}
    return frozenset(name for name in found if bytes(fields[name]).strip() not in _IDLE)


class Offers(Struct, frozen=True):
    """
    *ranked* deployments as the ledger wants them for *call*, each made when it is looked at: mostly the first will do.
    *bounds* are those of the deployments that were looked at, by their index. Of texts to embed each is offered as many as it can
    take, and the control texts on top (``gateway.catalog.spaces``), unless its vectors were *compared*.
    """

    ranked: Sequence[Deployment]
    call: Call
    calibration: Calibration
    limit: Limit
    bounds: dict[int, Bound] = {}
    compared: Callable[[Deployment], bool] = lambda _: True

    def __iter__(self) -> Iterator[Offer]:
        call, calibration = self.call, self.calibration
        for index, deployment in enumerate(self.ranked):
            if not isinstance(call.request, Request):
                cost = cost_of(deployment, self._part(deployment, call.request))
                yield Offer(deployment.name, deployment.buckets, cost)
                continue
            prompt = math.ceil(call.text_tokens * calibration.factor(deployment.model)) + call.media_tokens
            likely = expected(call, deployment.model, calibration)
            bound = self.bounds[index] = bound_of(deployment, call, prompt, likely, self.limit)
            yield Offer(deployment.name, deployment.buckets, deployment.cost(prompt, bound.reserved, bound.most))

    def request(self, index: int) -> AnyRequest:
        """The call's request as the deployment of that *index* gets it, which was looked at."""
        deployment, request = self.ranked[index], self.call.request
        if not isinstance(request, Request):
            return self._part(deployment, request)
        return as_sent(deployment, self.call, request, self.bounds[index])

    def _part(self, deployment: Deployment, request: OtherRequest) -> OtherRequest:
        """What one HTTP request asks *deployment* for."""
        part = part_for(deployment, request, self.limit)
        if isinstance(part, EmbedRequest) and part.prompts and not self.compared(deployment):
            return part.with_controls()
        return part
