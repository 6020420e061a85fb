"""What a provider says of a failure, without the key and without what it repeats of the prompt: it is logged and told."""

from __future__ import annotations

from collections.abc import Iterable

_LONGEST = 2_000
"""Characters of a message that are kept."""

_PROBE, _QUOTE = 8, 15
"""A run of at least *_QUOTE* characters that message and prompt share is a quote; one of its probes is wholly within."""


def redacted(message: str, key: str | None, texts: Iterable[str]) -> str:
    """*message* with *** for *key*, and … for every quote of one of *texts*."""
    if key:
        message = message.replace(key, "***")
    message = message[:_LONGEST]
    for text in texts:
        message = _without_quotes(message, text)
    return message


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
