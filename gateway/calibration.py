"""
How many tokens the estimate of a prompt really is, learned from what providers count. Pure.

By canonical model, for tokenizers differ by model, not by who serves it. A factor is 1 until it is known better, rises at
once when a prompt turns out to be longer, and falls slowly: it stays near the upper end of what was seen lately, so that
what is reserved is hardly ever less than what is taken.
"""

from __future__ import annotations

LEAST, MOST = 0.5, 2.0
"""Between which a factor stays, whatever a provider counts."""

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
        ratio = min(MOST, max(LEAST, true / estimated))
        known = self.factor(model)
        self._factors[model] = ratio if ratio >= known else known + _FALL * (ratio - known)
