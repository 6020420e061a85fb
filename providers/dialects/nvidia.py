"""
NVIDIA's API catalog: OpenAI's spelling in front of many kinds of inference servers.

Thinking is switched in the chat template, under a name that depends on the model's family. The errors, in half a dozen
shapes, are told apart by configuration.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

import msgspec
from msgspec import Raw

from providers.chat import Fields, Message, encode, raw
from providers.dialect import HttpRequest, Request, Target
from providers.dialects.openai import OpenAI
from providers.embeddings import EmbedRequest

_SWITCHES: tuple[tuple[str, str, object, object], ...] = (
    ("deepseek-ai/deepseek-v4*", "thinking", True, False),
    ("moonshotai/kimi-k2.*", "thinking", True, False),
    ("moonshotai/kimi-k3*", "thinking", True, False),
    ("minimaxai/minimax-m3*", "thinking_mode", "enabled", "disabled"),
    ("deepseek-ai/deepseek-v3*", "enable_thinking", True, False),
    ("google/gemma-4*", "enable_thinking", True, False),
    ("nvidia/nemotron-3*", "enable_thinking", True, False),
    ("qwen/qwen3.*", "enable_thinking", True, False),
    ("z-ai/glm-*", "enable_thinking", True, False),
)
"""Model ids, the switch in ``chat_template_kwargs``, and its two positions (langchain-nvidia-ai-endpoints 1.5.0)."""

_EFFORT = ("openai/gpt-oss-*", "mistralai/mistral-small-4*")
"""Models that take ``reasoning_effort`` itself."""

_OFF = ("none", "minimal")


class Nvidia(OpenAI):
    accepts = frozenset({"chat_template_kwargs"})

    def build_embed(self, target: Target, request: EmbedRequest) -> HttpRequest:
        """Models that tell questions from passages must be told which it is (``input_type``): unless said, a question."""
        built = super().build_embed(target, request)
        fields = msgspec.json.decode(built.body or b"{}", type=Fields)
        fields["input_type"] = request.fields.get("input_type", Raw(b'"query"'))
        return msgspec.structs.replace(built, body=encode(fields))

    def adapt(self, fields: dict[str, Raw], target: Target, request: Request) -> None:
        effort = request.view.reasoning_effort
        if effort is None or any(fnmatchcase(target.model, pattern) for pattern in _EFFORT):
            return
        fields.pop("reasoning_effort", None)
        for pattern, switch, on, off in _SWITCHES:
            if fnmatchcase(target.model, pattern):
                asked = msgspec.json.decode(fields.get("chat_template_kwargs", Raw(b"null"))) or {}
                fields["chat_template_kwargs"] = raw({switch: off if effort in _OFF else on, **asked})
                return

    def message(self, message: Message) -> Message:
        """Some models take content only as a string; text parts say the same as one."""
        plain = super().message(message)
        if isinstance(plain.content, list) and all(part.type == "text" for part in plain.content):
            plain.content = plain.text()
        return plain
