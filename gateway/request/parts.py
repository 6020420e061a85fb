"""How much of a request for another operation than chat one deployment takes at once, and what that debits there. Pure."""

from __future__ import annotations

import math

import msgspec

from gateway.quota.nouns import Cost
from gateway.request.bounds import Limit
from gateway.words import Deployment
from providers.dialect import OtherRequest
from providers.embeddings import CONTROL_TOKENS, CONTROLS, EmbedRequest
from providers.moderation import ModerateRequest
from providers.sound import TranscribeRequest


def part_for(deployment: Deployment, request: OtherRequest, limit: Limit) -> OtherRequest:
    """As much of *request* as one HTTP request takes at *deployment*: the first of it, or everything."""
    most = deployment.provider.spec.operation[request.operation].most
    match request:
        case EmbedRequest():
            return request.first(*_texts_for(deployment, request, limit))
        case ModerateRequest() if most is not None:
            return request.first(most)
        case TranscribeRequest():
            return request.of(request.recording.first(*sound_for(deployment)))
        case _:
            return request


def _texts_for(deployment: Deployment, request: EmbedRequest, limit: Limit) -> tuple[int, float]:
    """The most texts and tokens that *deployment* takes at once, beside the control texts, and that its buckets ever hold."""
    most = deployment.provider.spec.operation["embed"].most or len(request.items) + len(CONTROLS)
    each = {"prompt": 1.0, "tokens": 1.0, "dollars": deployment.prompt_price, "neurons": deployment.prompt_neurons}
    held = [limit(bucket) / each[bucket.unit] for bucket in deployment.buckets if each.get(bucket.unit)]
    if deployment.prompt_price:
        held.append(deployment.most_dollars / deployment.prompt_price)
    return max(1, most - len(CONTROLS)), min(held, default=math.inf) - CONTROL_TOKENS


def sound_for(deployment: Deployment) -> tuple[float, float]:
    """The most bytes and seconds of a recording that *deployment* takes at once; seconds are what its buckets ever hold."""
    most = deployment.provider.spec.operation["transcribe"].most
    held = [bucket.limit for bucket in deployment.buckets if bucket.unit == "audio-seconds"]
    return (math.inf if most is None else most), min(held, default=math.inf)


def cost_of(deployment: Deployment, request: OtherRequest) -> Cost:
    """What *request* debits at *deployment*."""
    spelling = deployment.provider.spec.operation[request.operation]
    prompt, output = spelling.beside
    tokens = deployment.cost(request.prompt_tokens + prompt, request.output_tokens + output)
    items = len(request.items) if isinstance(request, EmbedRequest) else 1
    requests = items if spelling.counts_items else 1
    seconds = request.recording.seconds if isinstance(request, TranscribeRequest) else 0.0
    neurons = tokens.neurons + deployment.neurons_each + deployment.neurons_a_minute * seconds / 60
    return msgspec.structs.replace(tokens, neurons=neurons, audio_seconds=seconds, requests=float(requests))
