"""Reasons to finish, in OpenAI's words. Strict clients refuse an answer with a word that is none of them."""

from __future__ import annotations

OPENAI = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})

_MEANING = {
    "end_turn": "stop", "eos": "stop", "eos_token": "stop", "stop_sequence": "stop", "complete": "stop",
    "completed": "stop", "end": "stop", "done": "stop",
    "max_tokens": "length", "max_output_tokens": "length", "model_length": "length", "max_length": "length",
    "model_context_window_exceeded": "length", "context_length_exceeded": "length", "token_limit": "length",
    "tool_use": "tool_calls", "tool_call": "tool_calls", "tool-calls": "tool_calls", "function_calls": "tool_calls",
    "sensitive": "content_filter", "safety": "content_filter", "refusal": "content_filter", "blocked": "content_filter",
    "recitation": "content_filter", "content-filter": "content_filter", "prohibited_content": "content_filter",
    "blocklist": "content_filter", "spii": "content_filter", "error_toxic": "content_filter",
    "error_limit": "length",
}  # fmt: skip
"""
Other providers' words: Anthropic's, Cohere's, Gemini's, Mistral's, text-generation-inference's and Z.ai's (docs.z.ai,
chat completion, 2026-09).
"""

_FAULTS = (
    "error",
    "abort",
    "cancel",
    "timeout",
    "time_out",
    "fail",
    "insufficient",
    "interrupt",
    "disconnect",
    "malformed",
)
"""What a reason has in it that tells that the answer is none: ``network_error``, DeepSeek's lack of resources, …"""


class AnswerBroke(Exception):
    """The reason to finish tells of a fault."""


def openai_reason(reason: str | None, *, called: bool) -> str | None:
    """
    *reason* in OpenAI's words; None: there is none yet. *called*: the answer called tools.

    Raises AnswerBroke for a reason that tells of a fault.
    """
    if not reason:
        return None
    word = reason.strip().lower()
    meant = word if word in OPENAI else _MEANING.get(word)
    if meant is None:
        if any(fault in word for fault in _FAULTS):
            raise AnswerBroke(reason)
        meant = "stop"
    return "tool_calls" if called and meant == "stop" else meant
