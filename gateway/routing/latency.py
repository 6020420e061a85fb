"""
How quickly a deployment answers, and how surely: learned from its answers. Pure arithmetic on the moments handed in.

An answer of *n* tokens takes some seconds to its first content, and then so many for each token: a line. It is fitted to
points (tokens, seconds): a stream gives one at its first content and one at its end, a whole answer gives its end. What
was learned fades with each new answer and with time, and is kept as sums, so that what several replicas learned is
added up in whatever order it comes.
"""

from __future__ import annotations

from msgspec import Struct

TYPICAL = 100.0
"""Tokens of an answer whose seconds are compared."""

_FADE = 0.9
"""What is left of the weight of what was known when another answer comes."""

HALF_LIFE = 1800.0
"""Seconds in which what was learned loses half of its weight, beside what others learned since."""

_A_TOKEN = 0.01
_TRUST = 400.0
"""Seconds for a token, as long as nothing else is known, and how much (in tokens²) it takes to know better."""

_WORST = 0.1  # success is never taken for less: what fails always is cooling anyway


class Point(Struct, frozen=True):
    """So many tokens had come after so many seconds."""

    tokens: float
    seconds: float


class Pace(Struct, frozen=True, array_like=True):
    """Faded sums, as of the moment *at* (unix seconds): of points, and of attempts and those that were answered."""

    at: float
    weight: float = 0.0
    tokens: float = 0.0
    squares: float = 0.0  # tokens times tokens
    seconds: float = 0.0
    products: float = 0.0  # tokens times seconds
    tried: float = 0.0
    answered: float = 0.0

    def faded(self, by: float, at: float) -> Pace:
        """All of it with *by* of its weight, as of *at*."""
        return Pace(
            at,
            self.weight * by,
            self.tokens * by,
            self.squares * by,
            self.seconds * by,
            self.products * by,
            self.tried * by,
            self.answered * by,
        )

    def plus(self, other: Pace) -> Pace:
        """What both know."""
        at = max(self.at, other.at)
        a, b = (one.faded(0.5 ** ((at - one.at) / HALF_LIFE), at) for one in (self, other))
        return Pace(
            at,
            a.weight + b.weight,
            a.tokens + b.tokens,
            a.squares + b.squares,
            a.seconds + b.seconds,
            a.products + b.products,
            a.tried + b.tried,
            a.answered + b.answered,
        )

    def after(self, answered: bool, now: float) -> Pace:
        """An attempt was answered, or failed."""
        return self.faded(_FADE, self.at).plus(Pace(now, tried=1.0, answered=float(answered)))

    def with_point(self, point: Point, now: float) -> Pace:
        """An answer came so quickly."""
        n, s = point.tokens, point.seconds
        return self.plus(Pace(now, 1.0, n, n * n, s, n * s))

    @property
    def success(self) -> float:
        """The part of attempts that is answered, as if one had been before the first."""
        return (self.answered + 1.0) / (self.tried + 1.0)

    @property
    def a_token(self) -> float:
        """Seconds for each token, once they come."""
        if not self.weight:
            return _A_TOKEN
        spread = max(0.0, self.squares - self.tokens * self.tokens / self.weight)
        together = self.products - self.tokens * self.seconds / self.weight
        slope = (together + _TRUST * _A_TOKEN) / (spread + _TRUST)
        steepest = self.seconds / self.tokens if self.tokens else slope  # the first content never comes before the call
        return min(max(0.0, slope), steepest)

    @property
    def first_content(self) -> float | None:
        """Seconds to the first content; None: not known."""
        if not self.weight:
            return None
        return max(0.0, (self.seconds - self.a_token * self.tokens) / self.weight)

    @property
    def expected(self) -> float | None:
        """Seconds for a typical answer, what failures cost included; None: not known."""
        first = self.first_content
        return None if first is None else (first + self.a_token * TYPICAL) / max(_WORST, self.success)
