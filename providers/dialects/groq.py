"""
Groq: OpenAI's spelling, with limits that read alike and mean different things.

A 413 has the type and code of a 429, but no waiting helps. In the headers, requests are counted by the day and tokens
by the minute.
"""

from __future__ import annotations

import re

from msgspec import Raw

from providers import errors
from providers import failures as f
from providers.chat import Message
from providers.dialect import Account, HttpResponse, Request, Target
from providers.dialects.openai import OpenAI
from providers.observations import wait_in
from providers.tool_names import ToolNames

_QUOTA = re.compile(
    r"on (requests|tokens|seconds of audio) per (minute|hour|day) \([A-Z]+\): Limit (\d+)(?:, Used (\d+))?"
)


_UNITS = {"seconds of audio": "audio-seconds"}


class Groq(OpenAI):
    accepts = frozenset({"disable_tool_validation", "include_reasoning", "reasoning_format"})

    def adapt(self, fields: dict[str, Raw], target: Target, request: Request) -> None:  # noqa: ARG002 - for all models
        if "reasoning_format" in fields:  # the two exclude each other
            fields.pop("include_reasoning", None)
        strict = "tools" in fields or "response_format" in fields  # neither goes with reasoning in the text
        if strict and fields.get("reasoning_format") == Raw(b'"raw"'):
            del fields["reasoning_format"]

    def messages(self, target: Target, request: Request, names: ToolNames) -> list[Message]:
        """Groq refuses names of messages."""
        plain = super().messages(target, request, names)
        for message in plain:
            message.name = None
        return plain

    def classify(self, account: Account, response: HttpResponse) -> f.ProviderFailure:
        body = errors.read_error(response.body)
        if response.status == 413:  # its retry-after is meaningless: the request outgrew the bucket
            return f.TooLarge(body.message, status=413)
        failure = super().classify(account, response)
        if isinstance(failure, f.RateLimited) and (quota := _QUOTA.search(body.message)):
            unit, window, limit, used = quota.groups()
            remaining = None if used is None else max(0.0, float(limit) - float(used))
            failure.of(_UNITS.get(unit, unit), window, float(limit), remaining)
            failure.retry_in = wait_in(body.message) or failure.retry_in
        return failure
