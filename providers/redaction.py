"""What a provider says of a failure, without the key and without what it repeats of the prompt: it is logged and told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

_DEEPEST = 20
_LONGEST = 2_000
"""Characters of a message that are kept."""

_SHORTEST = 5
"""Characters of a whole text that is left out where a message repeats all of it; shorter ones are in everything."""

_PROBE, _QUOTE = 8, 15
"""A run of at least *_QUOTE* characters that message and prompt share is a quote; one of its probes is wholly within."""

_MOST_SEARCHED = 32 * 1024
"""Characters of prompts that a message is looked for in: 3 MB would stop every other request for half a second."""

_WORD = re.compile(r"[A-Za-z']+|[0-9][0-9.,]*%?|[^\sA-Za-z0-9]|\s+")
_OF_ERRORS = frozenset(
    [
        "a",
        "above",
        "access",
        "account",
        "allowed",
        "an",
        "and",
        "api",
        "are",
        "argument",
        "array",
        "at",
        "available",
        "be",
        "been",
        "below",
        "busy",
        "by",
        "can",
        "cannot",
        "character",
        "characters",
        "code",
        "combined",
        "completion",
        "content",
        "context",
        "could",
        "daily",
        "day",
        "days",
        "does",
        "embedding",
        "error",
        "exceed",
        "exceeded",
        "exceeds",
        "exceeding",
        "expected",
        "failed",
        "field",
        "file",
        "for",
        "forbidden",
        "format",
        "found",
        "free",
        "from",
        "function",
        "functions",
        "generation",
        "got",
        "greater",
        "has",
        "have",
        "hour",
        "hours",
        "however",
        "id",
        "image",
        "images",
        "in",
        "input",
        "inputs",
        "internal",
        "invalid",
        "is",
        "it",
        "items",
        "json",
        "key",
        "large",
        "largest",
        "later",
        "least",
        "length",
        "less",
        "limit",
        "limits",
        "long",
        "longer",
        "many",
        "max",
        "maximum",
        "media",
        "message",
        "messages",
        "min",
        "minimum",
        "minute",
        "minutes",
        "missing",
        "model",
        "model's",
        "month",
        "more",
        "most",
        "must",
        "no",
        "not",
        "number",
        "object",
        "of",
        "on",
        "only",
        "open",
        "or",
        "out",
        "output",
        "over",
        "overloaded",
        "parameter",
        "parts",
        "per",
        "permission",
        "please",
        "prompt",
        "provider",
        "quota",
        "rate",
        "reached",
        "received",
        "reduce",
        "refused",
        "request",
        "requested",
        "requests",
        "resource",
        "response",
        "retry",
        "role",
        "schema",
        "second",
        "seconds",
        "server",
        "service",
        "size",
        "string",
        "supplied",
        "support",
        "supported",
        "supports",
        "system",
        "than",
        "that",
        "the",
        "their",
        "there",
        "this",
        "time",
        "to",
        "token",
        "tokens",
        "too",
        "tool",
        "tools",
        "total",
        "try",
        "type",
        "unavailable",
        "unexpected",
        "unknown",
        "unsupported",
        "upgrade",
        "usage",
        "used",
        "user",
        "valid",
        "value",
        "video",
        "was",
        "we",
        "were",
        "when",
        "which",
        "will",
        "window",
        "with",
        "within",
        "you",
        "your",
    ]
)


_OF_SCHEMAS = frozenset(
    {
        "$defs", "$id", "$ref", "$schema", "additionalProperties", "allOf", "anyOf", "array", "boolean", "const", "contains",
        "default", "definitions", "dependentRequired", "dependentSchemas", "description", "enum", "examples",
        "exclusiveMaximum", "exclusiveMinimum", "format", "integer", "items", "maxItems", "maxLength", "maxProperties", "maximum",
        "minItems", "minLength", "minProperties", "minimum", "multipleOf", "name", "null", "number", "object", "oneOf",
        "parameters", "pattern", "patternProperties", "prefixItems", "properties", "propertyNames", "required", "strict",
        "string", "title", "type", "unevaluatedItems", "unevaluatedProperties", "uniqueItems",
    }
)  # fmt: skip
"""Words of every schema: they are nobody's."""


def own_words(found: Any, depth: int = 0) -> Iterator[str]:
    """The texts in a tool or a schema that are its author's: names, descriptions and values, but no keywords of schemas."""
    if isinstance(found, str):
        if found not in _OF_SCHEMAS:
            yield found
    elif depth > _DEEPEST:
        return
    elif isinstance(found, dict):
        for name, value in found.items():
            yield from own_words(name, depth + 1)
            yield from own_words(value, depth + 1)
    elif isinstance(found, list):
        for value in found:
            yield from own_words(value, depth + 1)


def redacted(message: str, key: str | None, texts: Iterable[str]) -> str:
    """
    *message* with *** for *key*, and … for every quote of one of *texts*. Where these are too long to be searched, only
    numbers and the words that errors are made of are left of it.
    """
    if key:
        message = message.replace(key, "***")
    message = message[:_LONGEST]
    texts = tuple(texts)
    if sum(map(len, texts)) > _MOST_SEARCHED:
        return _in_words_of_errors(message)
    for text in texts:
        message = _without_quotes(message, text)
        if not text.isascii():  # some repeat it as JSON does
            message = _without_quotes(message, _escaped(text))
        if _SHORTEST <= len(text) < _QUOTE and text in message and _in_words_of_errors(text) != text:
            message = message.replace(text, "…")
    return message


def _escaped(text: str) -> str:
    """*text* as JSON that is ASCII has it."""
    return json.dumps(text)[1:-1]


def quotes(message: str, texts: Iterable[str]) -> bool:
    """Whether *message* quotes one of *texts*, however long they are."""
    return any(_without_quotes(message, text) != message for text in texts)


def without_quotes(body: bytes, texts: Iterable[str]) -> bytes:
    """
    The *body* of an error answer, with … for what its sentences quote of *texts*: signs of errors are looked for in it, and
    a caller could write them. Codes are no sentences.
    """
    texts = [text for text in texts if len(text) >= _QUOTE]
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _cut(body.decode(errors="surrogateescape"), texts).encode(errors="surrogateescape")
    cut = _cut_all(found, texts, 0)
    return body if cut == found else msgspec.json.encode(cut)


def _cut_all(found: Any, texts: list[str], depth: int) -> Any:
    if isinstance(found, str):
        return _cut(found, texts)
    if depth > _DEEPEST:
        return found
    if isinstance(found, dict):
        return {name: _cut_all(value, texts, depth + 1) for name, value in found.items()}
    if isinstance(found, list):
        return [_cut_all(value, texts, depth + 1) for value in found]
    return found


def _cut(said: str, texts: list[str]) -> str:
    if len(said) > _LONGEST or not any(mark.isspace() for mark in said):
        return said
    for text in texts:
        said = _without_quotes(said, text)
    return said


def _in_words_of_errors(message: str) -> str:
    kept: list[str] = []
    for word in _WORD.findall(message):
        if word.lower() in _OF_ERRORS or not word[0].isalpha():
            kept.append(word if not word.isspace() else " ")
        elif not kept or kept[-1] != "…":
            kept.append("…")
    return re.sub(r"…(?:\W*…)+", "…", "".join(kept))


def _without_quotes(message: str, text: str) -> str:
    kept, done, at = [], 0, 0
    while at + _PROBE <= len(message):
        if message[at : at + _PROBE] not in text:
            at += _PROBE
            continue
        begin, end = at, at + _PROBE
        while begin > done and message[begin - 1 : end] in text:
            begin -= 1
        while end < len(message) and message[begin : end + 1] in text:
            end += 1
        if end - begin >= _QUOTE:
            kept += [message[done:begin], "…"]
            done = at = end
        else:
            at += _PROBE
    return "".join([*kept, message[done:]])
