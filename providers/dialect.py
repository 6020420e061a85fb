"""
A dialect is how one API spells things. It is pure: bytes in, values out, no I/O, no clock, no state of its own.

Every dialect offers the same few verbs. What follows from a failure, and when to send at all, is none of its business.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import ClassVar, Literal, Protocol

import msgspec
from msgspec import Struct

from providers.chat import ChatRequest, Fields, Step, Whole
from providers.embeddings import EmbedRequest
from providers.failures import ProviderFailure
from providers.images import ImageRequest
from providers.moderation import ModerateRequest
from providers.observations import Headers, Observation
from providers.redaction import own_words
from providers.reranking import RerankRequest
from providers.sound import Recording, SpeakRequest, TranscribeRequest
from providers.spec import Operation, ProviderSpec

FILLS = "fill_in_the_middle"
"""The capability of a model that writes what stands between two texts."""


class Request(Struct, frozen=True):
    """
    A chat request: understood, and as it was spelled.

    *prompt_tokens* is an estimate. *output_tokens* is the most that may come, which a whole answer is given time for;
    0: not known. *bounded_by_caller*: an answer that ends at its bound ends where its caller said, even an empty one.
    *no_train*: nothing of it may be trained on, which a provider that can enforce that is asked to do.
    *bounded_by_us*: it ends where the gateway said, before the caller's bound. *schema_told*: the model takes no JSON schema,
    and is told in words. *suffix* is text that the answer comes before: one message is the text that it comes after, and both are
    code or prose to be filled in between, not a conversation.
    """

    operation: ClassVar[Literal["chat"]] = "chat"

    view: ChatRequest
    fields: Fields
    prompt_tokens: int = 0
    output_tokens: int = 0
    bounded_by_caller: bool = False
    no_train: bool = False
    least_context: int = 0  # what the model is loaded with already, where that is ours to choose
    bounded_by_us: bool = False
    schema_told: bool = False
    suffix: str = ""

    @property
    def streams(self) -> bool:
        return bool(self.view.stream)

    @property
    def prompts(self) -> list[str]:
        """The caller's own words, which must not be repeated in an error: what was said, called, offered and asked for."""
        view = self.view
        said = [message.text() for message in view.messages]
        called = [call.function.arguments for message in view.messages for call in message.tool_calls or ()]
        offered = [text for function in view.functions() for text in own_words(msgspec.to_builtins(function))]
        return [*said, *called, *offered, *own_words(view.schema)]


OtherRequest = EmbedRequest | RerankRequest | ImageRequest | TranscribeRequest | SpeakRequest | ModerateRequest
"""One for another operation than chat."""

AnyRequest = Request | OtherRequest


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
    """
    An HTTP request to be made. With a *file* it is a form: the fields *form*, then the file, sent from where it lies; or, where
    *within* names a field, *body* is a JSON object, and the file goes into that field of it as base64.
    """

    method: Literal["GET", "POST"]
    url: str
    headers: dict[str, str]
    body: bytes | None = None
    form: tuple[tuple[str, str], ...] = ()
    file: Recording | None = None
    within: str = ""

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

    *operations* are those that the model can be asked for; an empty set: none that we know. Prices are US dollars for
    one token. *runs_at* names the host that really serves it, where that is another one.
    """

    id: str
    operations: frozenset[Operation] | None = None
    capabilities: frozenset[str] | None = None
    context: int | None = None
    max_output: int | None = None
    prompt_price: float | None = None
    output_price: float | None = None
    other_prices: bool = False  # something else than tokens has a price
    parameters: float | None = None  # how many the model has, in billions
    family: str | None = None  # what it was made from
    runs_at: str | None = None
    released: str | None = None  # the day: 2026-05-21
    ends_at: float | None = None  # when it may be taken away, in unix seconds


class Standing(Struct, frozen=True):
    """
    Whether our account can be charged, as the provider itself says: *can_pay* is True where money is behind it, False where
    none is, None where that is not told. *because* is what it said, for people.
    """

    can_pay: bool | None = None
    because: str = ""


class Listing(Struct, frozen=True):
    """What a provider offers, and what it said of our quota and account. *skipped* entries could not be read."""

    models: tuple[Listed, ...]
    observed: tuple[Observation, ...] = ()
    remarks: tuple[str, ...] = ()  # for people: what `freeway check` should say
    skipped: int = 0
    spent: float | None = None  # dollars that the key has spent so far, ever
    standing: Standing = Standing()


Discovery = Generator[HttpRequest, HttpResponse, Listing]
"""
Yields the requests to make, is sent their answers, returns the list: discovery without I/O. What cannot be asked is thrown in as
a ProviderFailure, which ends it unless it can go on without.
"""


class StreamReader(Protocol):
    """Reads one streamed answer."""

    def feed(self, event: bytes) -> list[Step]:
        """The steps in one event; raises a ProviderFailure if the event says that things went wrong."""

    def finished(self) -> bool:
        """Whether the answer said that it ended. Something may still follow, such as the usage."""

    def ended(self) -> bool:
        """Whether nothing follows any more. A dialect without such a mark never says so: its body ends."""


class Dialect(Protocol):
    """What an adapter knows of chat, of errors, limits and lists. Other operations are in ``providers.operations``."""

    framing: Literal["sse", "lines"]

    def headers(self, account: Account) -> dict[str, str]:
        """What every request to *account* says."""

    def context_for(self, target: Target, request: Request) -> int | None:
        """The context that a model is loaded with for *request*; None: that is not ours to choose."""

    def build(self, target: Target, request: Request) -> HttpRequest:
        """
        The HTTP request that asks *target* for *request*.

        Raises a ProviderFailure for what cannot be said in this dialect.
        """

    def read(self, target: Target, request: Request, body: bytes) -> Whole:
        """A whole answer; raises a ProviderFailure if the body says that things went wrong."""

    def reader(self, target: Target, request: Request) -> StreamReader:
        """A reader for one streamed answer."""

    def classify(self, account: Account, response: HttpResponse) -> ProviderFailure:
        """Which failure an error answer is."""

    def observe(self, account: Account, headers: Headers) -> tuple[Observation, ...]:
        """What the headers of an answer say of our quota."""

    def discover(self, account: Account) -> Discovery:
        """The model list, and our quota where the provider tells it."""
