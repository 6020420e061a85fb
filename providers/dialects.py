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

_OURS = {
    "openai": "providers.openai:OpenAI",
    "openrouter": "providers.openrouter:OpenRouter",
    "google": "providers.google:Google",
    "groq": "providers.groq:Groq",
    "nvidia": "providers.nvidia:Nvidia",
    "huggingface": "providers.huggingface:HuggingFace",
    "ollama": "providers.ollama:Ollama",
}


@cache
def by_name(name: str) -> Dialect:
    """The dialect called *name*; raises ``ValueError`` if there is none."""
    if name in _OURS:
        module, _, kind = _OURS[name].partition(":")
        return cast(Dialect, getattr(importlib.import_module(module), kind)())
    for entry in entry_points(group="freeway.dialects", name=name):
        return cast(Dialect, entry.load()())
    raise ValueError(f"there is no dialect called {name!r}: expected one of {', '.join(_OURS)}")
