"""How tests ask the dialects of OpenAI's family, and read what these make of payloads on record."""

from __future__ import annotations

from typing import Any

import msgspec

from providers import dialects
from providers.chat import Completion, Step, decode_fields, decode_request
from providers.dialect import Request, Target
from providers.refine import refined
from providers.refined_stream import RefinedReader
from providers.sse import ServerSentEvents
from tests.payloads import SPECS, account, answer, body

STRICT = ("groq", "mistral", "cerebras", "cloudflare", "zai", "nvidia", "huggingface", "openrouter")


def target(provider: str, model: str = "acme/model", **known: Any) -> Target:
    return Target(account(provider), model, **known)


def asked(**fields: Any) -> Request:
    content = msgspec.json.encode({"messages": [{"role": "user", "content": "hi"}], **fields})
    return Request(decode_request(content), decode_fields(content))


def built(
    provider: str, model: str = "acme/model", capabilities: frozenset[str] = frozenset(), /, **fields: Any
) -> Any:
    """The body of the call that asks *provider* for *fields*."""
    dialect = dialects.by_name(SPECS[provider].dialect)
    call = dialect.build(target(provider, model, capabilities=capabilities), asked(**fields))
    assert call.url == f"{SPECS[provider].base_url}/chat/completions"
    assert call.headers["authorization"] == "Bearer key"
    return msgspec.json.decode(call.body or b"")


def whole(name: str, content: bytes | None = None, **known: Any) -> Completion:
    """The answer in the payload *name*; what is sent on says the same."""
    provider = name.partition("/")[0]
    where, request = target(provider, **known), asked()
    read = dialects.by_name(SPECS[provider].dialect).read(where, request, content or answer_body(name))
    found, _ = refined(where, request, read)
    sent_on = msgspec.json.decode(found.data, type=Completion, strict=True)
    assert sent_on.choices == found.completion.choices
    assert msgspec.json.decode(found.data)["choices"][0]["message"].get("reasoning") is None
    return found.completion


def answer_body(name: str) -> bytes:
    content = body(name)
    return answer(name).body if b'"headers"' in content else content


def streamed(name: str, content: bytes | None = None, **known: Any) -> tuple[list[Step], RefinedReader]:
    provider = name.partition("/")[0]
    where, request = target(provider, **known), asked()
    reader = RefinedReader(dialects.by_name(SPECS[provider].dialect).reader(where, request), where, request)
    framing = ServerSentEvents()
    events = [*framing.feed(content or body(name)), *framing.end()]
    steps = [step for event in events for step in reader.feed(event)]
    return steps, reader


def joined(steps: list[Step], field: str) -> str:
    return "".join(getattr(choice.delta, field) or "" for step in steps for choice in step.chunk.choices)
