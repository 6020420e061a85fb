"""
Every dialect by the name that configuration uses. Others can be added by an entry point of ``freeway.dialects``.

Loaded when first used: who has no Ollama should not wait for what only Ollama needs.
"""

from __future__ import annotations

import importlib
from functools import cache
from importlib.metadata import entry_points
from typing import cast

from providers.dialect import Dialect
from providers.failures import BY_NAME
from providers.operations import spoken
from providers.spec import ProviderSpec

_GROUP = "freeway.dialects"
_OURS = {
    "openai": "providers.dialects.openai:OpenAI",
    "openrouter": "providers.dialects.openrouter:OpenRouter",
    "google": "providers.dialects.google.dialect:Google",
    "groq": "providers.dialects.groq:Groq",
    "nvidia": "providers.dialects.nvidia:Nvidia",
    "huggingface": "providers.dialects.huggingface:HuggingFace",
    "ollama": "providers.dialects.ollama.dialect:Ollama",
    "embedded": "providers.dialects.embedded:Embedded",
}


def verify(spec: ProviderSpec) -> None:
    """Raise ``ValueError`` if *spec* speaks an unknown dialect, or names a failure that is none."""
    if spec.dialect not in _OURS and not entry_points(group=_GROUP, name=spec.dialect):
        raise ValueError(f"provider {spec.name}: there is no dialect {spec.dialect!r}: expected {', '.join(_OURS)}")
    spoken(spec, spec.base_url)
    for sign in spec.errors:
        if sign.means not in BY_NAME:
            raise ValueError(f"provider {spec.name}: an error means {sign.means!r}: expected {', '.join(BY_NAME)}")


@cache
def by_name(name: str) -> Dialect:
    """The dialect called *name*, which ``verify`` has let pass."""
    if name in _OURS:
        module, _, kind = _OURS[name].partition(":")
        return cast(Dialect, getattr(importlib.import_module(module), kind)())
    (entry,) = entry_points(group=_GROUP, name=name)
    return cast(Dialect, entry.load()())
