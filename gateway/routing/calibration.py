"""
How much longer prompts are than their estimate, and how long answers are, learned from what providers count. Pure.

By canonical model, for tokenizers differ by model, not by who serves it. A factor rises at once when a prompt turns out to
be longer than was estimated, and falls slowly. It never falls below 1: the estimate errs upward, and what that reserves too
much comes back with the answer; whereas a factor that short prompts had lowered took too little for long ones, or for
another language, and so led to refusals.

The length of an answer is learned by model and by whether tools are on offer. What is told is an upper quantile of the
latest answers with a margin, so that a reservation mostly covers what comes.
"""

from __future__ import annotations

import math
from collections import deque

MOST = 2.0
"""What a factor is at most, whatever a provider counts."""

_FALL = 0.05  # of the way down to a lower ratio, for each request: what was seen 20 requests ago still counts a third
_FEW = 20
"""Tokens of a prompt below which the template of a chat weighs more than what is said in it, and tells nothing."""

ANSWERS = 64
"""The latest answers of a model that its length is learned from."""

ENOUGH = 8
"""Answers before which nothing is told of a length."""

_QUANTILE, _MARGIN = 0.95, 1.25


class Calibration:
    """The factor of each model, and the length of its answers. Kept by each process for itself."""

    def __init__(self) -> None:
        self._factors: dict[str, float] = {}
        self._answers: dict[tuple[str, bool], deque[int]] = {}
        self._lengths: dict[tuple[str, bool], int] = {}
        self._typical: dict[tuple[str, bool], float] = {}

    def factor(self, model: str) -> float:
        """What an estimate for *model* is to be multiplied with."""
        return self._factors.get(model, 1.0)

    def saw(self, model: str, estimated: int, true: int) -> None:
        """A prompt for *model* that was *estimated* to have so many tokens (without any factor) had *true*."""
        if estimated < _FEW or true <= 0:
            return
        ratio = min(MOST, max(1.0, true / estimated))
        known = self.factor(model)
        self._factors[model] = ratio if ratio >= known else known + _FALL * (ratio - known)

    def length(self, model: str, *, tools: bool) -> int:
        """Tokens that nearly all answers of *model* stay below, with *tools* on offer or without; 0: not known."""
        return self._lengths.get((model, tools), 0)

    def typical(self, model: str, *, tools: bool) -> float:
        """Tokens of a typical answer of *model*, with *tools* on offer or without; 0: none is known."""
        return self._typical.get((model, tools), 0.0)

    def answered(self, model: str, tokens: int, *, tools: bool) -> None:
        """An answer of *model* had so many *tokens*."""
        if tokens <= 0:
            return
        latest = self._answers.setdefault((model, tools), deque(maxlen=ANSWERS))
        latest.append(tokens)
        self._typical[model, tools] = sum(latest) / len(latest)
        if len(latest) >= ENOUGH:
            upper = sorted(latest)[math.ceil(_QUANTILE * len(latest)) - 1]
            self._lengths[model, tools] = math.ceil(upper * _MARGIN)
