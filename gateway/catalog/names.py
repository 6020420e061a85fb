"""Every provider's spelling of a model → one canonical name. Pure."""

from __future__ import annotations

import re

_SUFFIXES = re.compile(r"(?::free|:latest|-latest)$")
_OLLAMA_SIZE = re.compile(r"^([a-z0-9._-]+):([0-9.]+x?[0-9.]*[bm](?:-[a-z0-9._-]+)?)$")


def canonical(spelled: str, provider: str = "") -> str:
    """
    The model's name without owner, variant and provider suffix, in lower case.

    ``openai/gpt-oss-120b`` and ``gpt-oss:120b`` are one model. What tells two models apart (size, -instruct,
    -thinking, a date) stays.
    """
    name = spelled.lower().removeprefix("models/").removeprefix("@cf/")
    name = name.rsplit("/", 1)[-1]
    if provider == "huggingface":
        name = name.partition(":")[0]
    name = _SUFFIXES.sub("", name)
    if match := _OLLAMA_SIZE.match(name):
        name = f"{match[1]}-{match[2]}"
    return name
