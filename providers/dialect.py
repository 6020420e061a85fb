"""
A dialect is how one API spells things. It is pure: bytes in, values out, no I/O, no clock, no state of its own.

Every dialect offers the same few verbs. What follows from a failure, and when to send at all, is none of its business.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal, Protocol

from msgspec import Struct

from providers.chat import ChatRequest, Fields, Step, Whole
from providers.failures import ProviderFailure
from providers.observations import Headers, Observation
from providers.spec import ProviderSpec


class Request(Struct, frozen=True):
    """A chat request: understood, and as it was spelled."""

    view: ChatRequest
    fields: Fields
    prompt_tokens: int = 0  # estimated


class Account(Struct, frozen=True):
    """Where a provider is, and the credential we hold there."""

    spec: ProviderSpec
    base_url: str
    key: str | None = None

    def __repr__(self) -> str:  # keys never reach a log
        return f"Account({self.spec.name!r}, {self.base_url!r})"


class Target(Struct, frozen=True):
    """The model that a request is sent to, as its provider spells it, and what we know of it."""

    account: Account
    model: str
    capabilities: frozenset[str] = frozenset()
    context: int | None = None
    opens_in_reasoning: bool = False


class HttpRequest(Struct, frozen=True):
    """An HTTP request to be made."""

    method: Literal["GET", "POST"]
    url: str
    headers: dict[str, str]
    body: bytes | None = None

    def __repr__(self) -> str:  # headers hold the key
        return f"HttpRequest({self.method} {self.url})"


class HttpResponse(Struct, frozen=True):
    """A whole HTTP answer."""

    status: int
    headers: Headers
    body: bytes


class Listed(Struct, frozen=True, kw_only=True):
    """
    One entry of a provider's model list. None: the list does not say.

    Prices are US dollars for one token. *runs_at* names the host that really serves it, where that is another one.
    """

    id: str
    chat: bool | None = None
    capabilities: frozenset[str] | None = None
    context: int | None = None
    max_output: int | None = None
    prompt_price: float | None = None
    output_price: float | None = None
    other_prices: bool = False  # something else than tokens has a price
    runs_at: str | None = None
    ends_at: float | None = None  # when it may be taken away, in unix seconds


class Listing(Struct, frozen=True):
    """What a provider offers, and what it said of our quota by the way."""

    models: tuple[Listed, ...]
    observed: tuple[Observation, ...] = ()
    remarks: tuple[str, ...] = ()  # for people: what `freeway check` should say


Discovery = Generator[HttpRequest, HttpResponse, Listing]
"""Yields the calls to make, is sent their answers, returns the list: discovery without I/O."""


class StreamReader(Protocol):
    """Reads one streamed answer."""

    def feed(self, event: bytes) -> list[Step]:
        """The steps in one event; raises a ProviderFailure if the event says that things went wrong."""

    def finished(self) -> bool:
        """Whether the answer said that it ended."""


class Dialect(Protocol):
    """What an adapter knows."""

    framing: Literal["sse", "lines"]

    def build(self, target: Target, request: Request) -> HttpRequest:
        """The HTTP call that asks *target* for *request*."""

    def read(self, target: Target, body: bytes) -> Whole:
        """A whole answer; raises a ProviderFailure if the body says that things went wrong."""

    def reader(self, target: Target) -> StreamReader:
        """A reader for one streamed answer."""

    def classify(self, account: Account, response: HttpResponse) -> ProviderFailure:
        """Which failure an error answer is."""

    def observe(self, account: Account, headers: Headers) -> tuple[Observation, ...]:
        """What the headers of an answer say of our quota."""

    def discover(self, account: Account) -> Discovery:
        """The model list, and our quota where the provider tells it."""
