"""
How much longer prompts are than their estimate, learned from what providers count. Pure.

By canonical model, for tokenizers differ by model, not by who serves it. A factor rises at once when a prompt turns out to
be longer than was estimated, and falls slowly. It never falls below 1: the estimate errs upward, and what that reserves too
much comes back with the answer; whereas a factor that short prompts had lowered took too little for long ones, or for
another language, and so led to refusals.
"""

from __future__ import annotations

MOST = 2.0
"""What a factor is at most, whatever a provider counts."""

_FALL = 0.05  # of the way down to a lower ratio, for each request: what was seen 20 requests ago still counts a third
_FEW = 20
"""Tokens of a prompt below which the template of a chat weighs more than what is said in it, and tells nothing."""


class Calibration:
    """The factor of each model. Kept by each process for itself."""

    def __init__(self) -> None:
        self._factors: dict[str, float] = {}

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
