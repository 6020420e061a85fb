"""How much of a request for another operation than chat one deployment takes at once, and what that debits there. Pure."""

from __future__ import annotations

import msgspec

from gateway.quota.nouns import Cost
from gateway.words import Deployment
from providers.dialect import OtherRequest
from providers.embeddings import CONTROLS, EmbedRequest
from providers.moderation import ModerateRequest
from providers.sound import TranscribeRequest


def part_for(deployment: Deployment, request: OtherRequest) -> OtherRequest:
    """As much of *request* as one HTTP request takes at *deployment*: the first of it, or everything."""
    most = deployment.provider.spec.operation[request.operation].most
    if most is None:
        return request
    match request:
        case EmbedRequest():
            return request.first(max(1, most - len(CONTROLS)))
        case ModerateRequest():
            return request.first(most)
        case _:
            return request


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
