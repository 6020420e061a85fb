"""What simulated providers do beside chat, each in its provider's own shape: vectors, rankings, sound and pictures."""

from __future__ import annotations

import base64
import math
import re
import struct
from collections.abc import Sequence
from typing import Any, NoReturn

from providers.simulator.base import Exchange, Refusal, Simulated, SimulatedModel
from providers.simulator.brain import Turn, View, hazards_in, think, tokens, vector_of

DIMENSIONS = 32
ROUNDING = 0.02
"""What two hosts of the same weights differ by: a cosine of 0.999 and more (float16, other kernels)."""
BATCH = 32
"""Texts that text-embeddings-inference takes at once."""
PICTURE = b"\xff\xd8\xff\xe0simulated\xff\xd9"
_WORD = re.compile(r"\w+")
_FIELD = re.compile(rb'name="([^"]+)"(; filename="[^"]*")?[^\r]*\r\n(?:[^\r]+\r\n)*\r\n(.*?)\r\n--', re.DOTALL)


def vectors_of(model: SimulatedModel, texts: Sequence[str], dimensions: int | None) -> list[list[float]]:
    """Vectors in the space of the weights that *model* really has, as its host rounds: texts that share words are near."""
    return [_vector_of(model, text, dimensions or DIMENSIONS) for text in texts]


def _vector_of(model: SimulatedModel, text: str, dimensions: int) -> list[float]:
    words = [vector_of(f"{model.space} {word}", dimensions) for word in text.split() or [text]]
    rounding = [ROUNDING * number for number in vector_of(f"{model.id} {text}", dimensions)]
    summed = [math.fsum(numbers) for numbers in zip(*words, rounding, strict=True)]
    length = math.hypot(*summed)
    return [round(number / length, 8) for number in summed]


def wav_of(seconds: float) -> bytes:
    """A WAV file of silence."""
    samples = bytes(int(seconds * 16_000))
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 16_000, 2, 16)
    data = struct.pack("<4sI", b"data", len(samples)) + samples
    return struct.pack("<4sI4s", b"RIFF", 4 + len(form) + len(data), b"WAVE") + form + data


def relevance(query: str, document: str) -> float:
    """The share of the words of *query* that *document* has."""
    asked, has = set(_WORD.findall(query.lower())), set(_WORD.findall(document.lower()))
    return len(asked & has) / len(asked) if asked else 0.0


def form_of(body: bytes) -> tuple[dict[str, str], bytes]:
    """The fields of a form, and its file."""
    fields, file = {}, b""
    for name, filename, value in _FIELD.findall(body):
        if filename:
            file = value
        else:
            fields[name.decode()] = value.decode()
    if not file:
        raise Refusal(400, {"error": {"message": "file: is required", "type": "invalid_request_error"}})
    return fields, file


async def begun(provider: Simulated, exchange: Exchange, name: str) -> SimulatedModel | None:
    """The model called *name*; None if the call met a fault that is all of its answer. Others are refused."""
    exchange.call.model = name
    fault = provider.due(name)
    if fault and await provider.spoil(exchange, fault):
        return None
    model = provider.model(name)
    if fault and fault != "empty":
        provider.refuse(fault, model)
    exchange.facts["empty"] = fault == "empty"
    return model


async def embed_google(provider: Simulated, exchange: Exchange, name: str) -> None:
    """``:batchEmbedContents``, each text of which counts as a request."""
    asked = exchange.json()["requests"]
    texts = ["".join(part.get("text", "") for part in one["content"]["parts"]) for one in asked]
    model = await begun(provider, exchange, name)
    if model is None:
        return
    if not model.embedding:
        raise Refusal(400, {"error": {"code": 400, "message": "it does not embed", "status": "INVALID_ARGUMENT"}})
    for text in texts:
        provider.take(model, tokens(text))
    found = vectors_of(model, [] if exchange.facts["empty"] else texts, asked[0].get("outputDimensionality"))
    await exchange.answer(200, {"embeddings": [{"values": vector} for vector in found]})
    exchange.call.served = True
    provider.served += 1


async def embed_ollama(provider: Simulated, exchange: Exchange) -> None:
    """``POST /api/embed``."""
    body = exchange.json()
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    model = await begun(provider, exchange, body["model"])
    if model is None:
        return
    if not model.embedding:
        raise Refusal(400, {"error": "this model does not support embeddings"})
    if body.get("truncate") is False and any(tokens(text) > model.context for text in texts):
        provider.refuse("context", model)
    found = vectors_of(model, [] if exchange.facts["empty"] else texts, body.get("dimensions"))
    count = sum(map(tokens, texts))
    await exchange.answer(
        200, {"model": model.id, "embeddings": found, "total_duration": 1, "prompt_eval_count": count}
    )
    exchange.call.served = True
    provider.served += 1


async def embed_huggingface(provider: Any, exchange: Exchange, name: str) -> None:
    """``feature-extraction`` of hf-inference: its credit pays the seconds that it takes."""
    body = exchange.json()
    texts = [body["inputs"]] if isinstance(body["inputs"], str) else body["inputs"]
    model = await begun(provider, exchange, name)
    if model is None:
        return
    if not model.embedding:
        raise Refusal(
            400, {"error": f"Model {name} is not supported for task feature-extraction and provider hf-inference."}
        )
    longest, count = max(map(tokens, texts)), sum(map(tokens, texts))
    if longest > model.context and not body.get("truncate"):
        _invalid(f"`inputs` must have less than {model.context} tokens. Given: {longest}")
    if len(texts) > BATCH:
        _invalid(f"batch size {len(texts)} > maximum allowed batch size {BATCH}")
    provider.admit(model, count, 0)
    provider.bill(exchange, model, {"prompt_tokens": count, "completion_tokens": 0}, None)
    found = vectors_of(model, [] if exchange.facts["empty"] else texts, None)
    await exchange.answer(200, found, {"x-inference-provider": "hf-inference"})
    exchange.call.served = True
    provider.served += 1


def _invalid(why: str) -> NoReturn:
    raise Refusal(413, {"error": f"Input validation error: {why}", "error_type": "Validation"})


async def rerank_nvidia(provider: Simulated, exchange: Exchange, name: str) -> None:
    """``POST …/reranking``: logits, best first."""
    body = exchange.json()
    model = await begun(provider, exchange, name)
    if model is None:
        return
    provider.take(model, 1)
    found = [relevance(body["query"]["text"], one["text"]) for one in body["passages"]]
    ranked = sorted(range(len(found)), key=lambda place: -found[place])
    rankings = [{"index": place, "logit": 20 * found[place] - 10} for place in ranked]
    await exchange.answer(200, {"rankings": [] if exchange.facts["empty"] else rankings})
    exchange.call.served = True
    provider.served += 1


async def rerank_cohere(provider: Simulated, exchange: Exchange) -> None:
    """``POST /v2/rerank``."""
    body = exchange.json()
    model = await begun(provider, exchange, body["model"])
    if model is None:
        return
    provider.take(model, 1)
    scores = [relevance(body["query"], one) for one in body["documents"]]
    ranked = sorted(range(len(scores)), key=lambda place: -scores[place])
    results = [{"index": place, "relevance_score": scores[place]} for place in ranked]
    results = [] if exchange.facts["empty"] else results
    await exchange.answer(200, {"id": "sim", "results": results, "meta": {"billed_units": {"search_units": 1}}})
    exchange.call.served = True
    provider.served += 1


async def run_cloudflare(provider: Any, exchange: Exchange, name: str) -> None:
    """``POST /ai/run/…``: whatever the model does."""
    body = exchange.json()
    model = await begun(provider, exchange, name)
    if model is None:
        return
    result: dict[str, Any]
    if model.does == "rerank":
        scores = [relevance(body["query"], one["text"]) for one in body["contexts"]]
        found = [{"id": n, "score": score} for n, score in enumerate(scores)]
        result, neurons = {"response": [] if exchange.facts["empty"] else found}, 1.0
    elif model.does == "transcribe":
        seconds = len(base64.b64decode(body["audio"])) / 16_000
        info = {"language": body.get("language", "en"), "duration": seconds}
        segments = [{"start": 0.0, "end": seconds, "text": "hello there"}]
        result, neurons = (
            {"text": "hello there", "transcription_info": info, "segments": segments},
            seconds / 60 * 46.63,
        )
    elif model.does == "moderate":
        view = View(model=model.id, turns=[Turn("user", body["messages"][-1]["content"])])
        said = "" if exchange.facts["empty"] else think(view).text
        result, neurons = {"response": said, "usage": {"prompt_tokens": 300, "completion_tokens": 5}}, 13.3
    elif model.does == "image":
        result, neurons = {"image": base64.b64encode(PICTURE).decode()}, 57.6
    else:
        raise Refusal(404, {"result": None, "success": False, "errors": [{"code": 7000, "message": "No route"}]})
    if provider.neurons.used(provider.clock()) >= provider.neurons.limit:
        provider.refuse("rate_limited:day", model)
    provider.neurons.take(neurons, provider.clock())
    await exchange.answer(200, {"result": result, "success": True, "errors": [], "messages": []})
    exchange.call.served = True
    provider.served += 1


async def moderate_mistral(provider: Simulated, exchange: Exchange) -> None:
    """``POST /moderations``, for one text or several."""
    body = exchange.json()
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    model = await begun(provider, exchange, body["model"])
    if model is None:
        return
    provider.take(model, sum(map(tokens, texts)))
    own = {"violence": "violence_and_threats", "illicit": "criminal", "sexual": "sexual", "": "law"}
    results = []
    for text in [] if exchange.facts["empty"] else texts:
        found = {own[name] for _, name in hazards_in(text)}
        scores = {name: 0.9 if name in found else 0.01 for name in own.values()}
        results.append({"categories": {name: name in found for name in own.values()}, "category_scores": scores})
    await exchange.answer(200, {"id": "sim", "model": model.id, "results": results})
    exchange.call.served = True
    provider.served += 1


async def guard_ollama(provider: Simulated, exchange: Exchange) -> None:
    """``POST /v1/chat/completions`` for Llama Guard on one's own machine."""
    body = exchange.json()
    model = await begun(provider, exchange, body["model"])
    if model is None:
        return
    said = think(View(model=model.id, turns=[Turn("user", body["messages"][-1]["content"])])).text
    message = {"role": "assistant", "content": "" if exchange.facts["empty"] else said}
    usage = {"prompt_tokens": 300, "completion_tokens": 5, "total_tokens": 305}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    await exchange.answer(200, {"object": "chat.completion", "model": model.id, "choices": choices, "usage": usage})
    exchange.call.served = True
    provider.served += 1


async def transcribe_openai(provider: Simulated, exchange: Exchange) -> None:
    """``POST /audio/transcriptions``: it always hears the same."""
    fields, file = form_of(exchange.call.body)
    model = await begun(provider, exchange, fields["model"])
    if model is None:
        return
    provider.take(model, 0)
    if model.does != "transcribe":
        raise Refusal(400, {"error": {"message": f"{model.id} does not transcribe", "type": "invalid_request_error"}})
    seconds = max(0.0, len(file) - 44) / 16_000
    provider.hear(model, seconds)
    answer: dict[str, Any] = {"text": " hello there"}
    if fields.get("response_format") == "verbose_json":
        half = seconds / 2
        answer |= {
            "task": "transcribe",
            "language": fields.get("language", "English"),
            "duration": seconds,
            "segments": [
                {"id": 0, "start": 0.0, "end": half, "text": " hello"},
                {"id": 1, "start": half, "end": seconds, "text": " there"},
            ],
        }
    await exchange.answer(200, answer)
    exchange.call.served = True
    provider.served += 1


_GEMINI_VOICES = ("Kore", "Puck", "Zephyr", "Charon", "Sulafat")


async def speak_google(provider: Simulated, exchange: Exchange, name: str) -> None:
    """``:generateContent`` of a voice: a tenth of a second for each word, as numbers without a header."""
    body = exchange.json()
    model = await begun(provider, exchange, name)
    if model is None:
        return
    text = body["contents"][-1]["parts"][0]["text"]
    config = body["generationConfig"]
    voice = config["speechConfig"]["voiceConfig"]["prebuiltVoiceConfig"]["voiceName"]
    if config["responseModalities"] != ["AUDIO"] or voice not in _GEMINI_VOICES:
        error = {"code": 400, "message": f"voice {voice} is not supported", "status": "INVALID_ARGUMENT"}
        raise Refusal(400, {"error": error})
    provider.take(model, tokens(text))
    samples = b"" if exchange.facts["empty"] else bytes(2 * 2400 * len(text.split()))
    data = {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": base64.b64encode(samples).decode()}
    content = {"role": "model", "parts": [{"inlineData": data}]}
    usage = {"promptTokenCount": tokens(text), "candidatesTokenCount": 25, "totalTokenCount": tokens(text) + 25}
    await exchange.answer(200, {"candidates": [{"content": content, "finishReason": "STOP"}], "usageMetadata": usage})
    exchange.call.served = True
    provider.served += 1


async def speak_openai(provider: Simulated, exchange: Exchange) -> None:
    """``POST /audio/speech``: a tenth of a second for each word."""
    body = exchange.json()
    model = await begun(provider, exchange, body["model"])
    if model is None:
        return
    provider.take(model, tokens(body["input"]))
    if model.does != "speak":
        raise Refusal(400, {"error": {"message": f"{model.id} does not speak", "type": "invalid_request_error"}})
    await exchange.answer(200, wav_of(len(body["input"].split()) / 10), {"content-type": "audio/wav"})
    exchange.call.served = True
    provider.served += 1
