"""
Answers as Ollama's API spells them, by the types of its package.

Those are stricter than Ollama itself: one odd field must not make an answer none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import ollama
from pydantic import BaseModel, ValidationError

from providers import failures as f
from providers.chat import FunctionCall, Usage, encode
from providers.lenient import decodable
from providers.tool_calls import call_id
from providers.tool_names import ToolNames
from providers.translation import arguments_of, tool_call


class _Function(ollama.Message.ToolCall.Function):
    index: int | None = None


class _ToolCall(ollama.Message.ToolCall):
    id: str | None = None
    function: _Function


class _Message(ollama.Message):
    tool_calls: Sequence[_ToolCall] | None = None


class Answer(ollama.ChatResponse):
    message: _Message = _Message(role="assistant")
    response: str | None = None  # what stands between two texts
    error: Any = None

    @property
    def text(self) -> str:
        return self.message.content or self.response or ""


T = TypeVar("T", bound=BaseModel)


def decoded(kind: type[T], body: bytes) -> T:
    """
    *body* as *kind*. The package's types are stricter than Ollama: a field that they refuse is left out.

    Raises Unreachable if nothing of that kind is left.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError:
        pass
    try:
        found = msgspec.json.decode(decodable(body))
        try:
            return kind.model_validate(found)
        except ValidationError as exc:
            for error in exc.errors(include_url=False):
                _leave_out(found, error["loc"])
            return kind.model_validate(found)
    except (ValidationError, msgspec.DecodeError, RecursionError) as exc:
        raise f.Unreachable(f"the answer is not one of Ollama's: {type(exc).__name__}") from exc


def _leave_out(found: Any, path: Sequence[int | str]) -> None:
    """Take what is at *path* out of *found*; arguments of a call that are none, or a text, become an object."""
    for key in path[:-1]:
        try:
            found = found[key]
        except (KeyError, IndexError, TypeError):
            return
    last = path[-1] if path else None
    if isinstance(found, dict) and last == "arguments":
        said = found.get("arguments")
        found["arguments"] = arguments_of(FunctionCall("", said if isinstance(said, str) else encode(said).decode()))
        if said is None:
            found["arguments"] = {}
    elif isinstance(found, dict) and isinstance(last, str):
        found.pop(last, None)


def calls_of(answer: Answer, before: int, name: str, tools: ToolNames) -> list[dict[str, Any]]:
    """The calls in *answer*. One without an id gets one from *name* and its place, so that it is the same each time."""
    return [
        tool_call(
            call_id(call.id, name, before + place),
            tools.called(call.function.name),
            encode(dict(call.function.arguments)).decode(),
        )
        for place, call in enumerate(answer.message.tool_calls or ())
    ]


def finish_of(answer: Answer, *, called: bool) -> str:
    if answer.done_reason == "length":
        return "length"
    return "tool_calls" if called else "stop"


def logprobs_of(answer: Answer, *, asked_of: str, text: str) -> dict[str, Any] | None:
    """
    The probabilities of the tokens in *answer*, as OpenAI spells them; None where nothing was said.

    Raises Unsupported if *text* comes without any: a server older than 0.12.11.
    """
    if not answer.logprobs:
        if text:
            raise f.Unsupported(f"{asked_of} tells no probabilities: its server is older than 0.12.11").of("logprobs")
        return None
    content = [
        {**_token(one), "top_logprobs": [_token(other) for other in one.top_logprobs or ()]} for one in answer.logprobs
    ]
    return {"content": content, "refusal": None}


def _token(one: ollama._types.TokenLogprob) -> dict[str, Any]:
    return {"token": one.token, "logprob": one.logprob, "bytes": list(one.token.encode(errors="replace"))}


def usage_of(answer: ollama.ChatResponse) -> Usage | None:
    """Tokens, where they are told. A prompt of none does not exist: servers leave it out when all of it was cached."""
    if not answer.prompt_eval_count:
        return None
    return Usage(prompt_tokens=answer.prompt_eval_count, completion_tokens=answer.eval_count or 0)
