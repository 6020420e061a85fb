"""
What context the models of a machine of our own are loaded with, as far as we asked for it.

Another size loads a model anew, which takes seconds to minutes and forgets what it has read (ollama/ollama#9977), whether
it is larger or smaller. So a size goes up when it must, and down only when the model has been unloaded meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable


class LoadedContexts:
    """The size for each model, remembered for *lasts* seconds after it was last asked for."""

    def __init__(self, lasts: float, now: Callable[[], float]) -> None:
        self._lasts, self._now = lasts, now
        self._loaded: dict[str, tuple[int, float]] = {}  # model: size, until

    def of(self, model: str) -> int:
        """The size that *model* is loaded with; 0: it is not."""
        size, until = self._loaded.get(model, (0, 0.0))
        return size if self._now() < until else 0

    def asked(self, model: str, size: int) -> None:
        """*model* is asked for with *size*."""
        self._loaded[model] = (size, self._now() + self._lasts)
