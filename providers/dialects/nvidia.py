"""
NVIDIA's API catalog: OpenAI's spelling in front of many kinds of inference servers.

How a model is told to reason differs by its family, and errors come in half a dozen shapes: both are configuration.
"""

from __future__ import annotations

from providers.dialects.openai import OpenAI


class Nvidia(OpenAI):
    accepts = frozenset({"chat_template_kwargs"})
