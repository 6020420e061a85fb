"""What a provider serves, what may be wrong with it, and what is known of a call that reached it."""

from __future__ import annotations

import math
import random
from typing import Literal

from msgspec import Struct

from tests.world import truth
from tests.world.clock import now


class Model(Struct, frozen=True, kw_only=True):
    """
    What a provider serves. *can* is the truth (tools, vision, schema), *lists* what its list says of it; None: the same.

    It takes *first* seconds to the first token (a median; *spread* is the lognormal's sigma) and then *pace* tokens a second,
    of which it *thinks* so many first; a share of calls finds it *cold* and waits minutes. Shares of calls fail by chance:
    *busy* (503), *breaks* (in mid-stream), *thinks only*. *pool* is how many others and we may be at once. What it
    lacks and is sent all the same is a 400, or what it *says* then (a status and words of its own), unless *flaws* has
    ``KIND-ignored``.
    """

    id: str
    can: frozenset[str] = frozenset({"tools"})
    lists: frozenset[str] | None = None
    context: int = 131_072
    longest: int = 16_384
    first: float = 0.6
    spread: float = 0.35
    pace: float = 100.0
    thinks: int = 0
    trains: bool = True
    cold: float = 0.0
    busy: float = 0.0
    breaks: float = 0.0
    thinks_only: float = 0.0
    slots: int | None = None
    price: tuple[float, float] = (0.0, 0.0)
    flaws: frozenset[str] = frozenset()
    says: tuple[int, str] | None = None
    gone: bool = False
    base: str = ""  # the model's own name, where the provider's says more

    @property
    def listed(self) -> frozenset[str]:
        return self.can if self.lists is None else self.lists


class Fault(Struct, frozen=True, kw_only=True):
    """
    From *begin* to *end* (seconds of the world), calls to *models* (none: the whole address) meet a *kind* of trouble:
    they hang before the head, are refused a connection, get 500s, 429s without a hint, a rejected key, or break in the middle.
    """

    kind: Literal["hang", "refuse", "down", "busy", "revoked", "breaks"]
    begin: float = 0.0
    end: float = math.inf
    models: tuple[str, ...] = ()

    def holds(self, at: float, model: str) -> bool:
        return self.begin <= at < self.end and (not self.models or model in self.models)


class Call(Struct):
    """
    One request that reached a provider. *cause* is empty where it was answered whole; *lasting*: the same call would have
    failed again, so that one is enough to know.
    """

    tag: str
    source: str
    model: str
    at: float
    over: float | None = None
    status: int = 0
    cause: str = ""
    lasting: bool = False
    visible_at: float | None = None
    denies: bool = False

    def failed(self, cause: str, status: int, *, lasting: bool = True) -> None:
        self.cause, self.status, self.lasting, self.over = cause, status, lasting, now()


class Draw(Struct, frozen=True):
    """How one call goes: *first* seconds to the first token, *visible* to the first of the text, *whole* to the end."""

    first: float
    visible: float
    whole: float


def draw(seed: int, model: Model, tag: str, words: int) -> Draw:
    """How long *model* takes for a request: the same each time it is asked in this world."""
    luck = random.Random(f"{seed} {model.id} {tag}")
    first = model.first * math.exp(luck.gauss(0.0, model.spread))
    if luck.random() < model.cold:
        first += luck.uniform(25.0, 120.0)
    visible = first + model.thinks / model.pace
    return Draw(first, visible, visible + truth.output_tokens(words) / model.pace)
