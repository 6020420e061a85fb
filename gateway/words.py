"""The project's nouns. Frozen values; no behaviour beyond what follows from their own fields."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Literal

from msgspec import Struct

from gateway.quota.buckets import Bucket
from gateway.quota.nouns import Cost
from providers.chat import Usage
from providers.client import Provider
from providers.dialect import AnyRequest, Target
from providers.spec import DataPolicy, Operation

FreeKind = Literal["prices", "plan", "trial", "credit", "local"]
Preference = Literal["balance", "quality", "speed"]
Kind = Literal[
    "capability",  # it cannot do what is needed
    "context",  # the request is longer than it can hold
    "privacy",  # it trains on prompts, or may
    "choice",  # the request leaves it out
    "policy",  # the client's key does not allow it
    "proof",  # nothing proves any more that it is free
    "withdrawn",  # it said no, for a time
    "cooling",  # it failed just now
    "quota",  # a bucket is used up
    "size",  # the request is larger than a quota can ever hold
    "queue",  # others wait for it
    "rank",  # enough others are worth more
    "failed",  # it was asked, in vain
]
"""Why a deployment does not serve a request, in one word."""


class Wants(Struct, frozen=True, kw_only=True, cache_hash=True):
    """
    What a call asks for, without its size: which deployments could serve it follows from this alone for as long as no list
    changes. Hashable, so that it keys caches and the lines of the queue.
    """

    models: tuple[str, ...]  # the names asked for, best first
    operation: Operation = "chat"
    capabilities: frozenset[str] = frozenset()  # every deployment has "stream" until it is learned otherwise
    parameters: frozenset[str] = frozenset()  # fields of the request that not every deployment takes
    strict: bool = False  # a deployment that does not take all *parameters* may not serve; else it is worth less
    prefer: Preference | None = None  # None: as the name that was asked for has it
    only: tuple[str, ...] = ()  # providers that may serve it; none: any
    ignore: tuple[str, ...] = ()  # providers that may not
    order: tuple[str, ...] = ()  # providers to be tried first, in this order
    fallbacks: bool = True  # another deployment may be asked where the first one fails
    allowed_models: tuple[str, ...] = ()  # patterns, from the client's key; none: all
    allowed_providers: tuple[str, ...] = ()
    min_context: int = 0  # tokens that the context holds at least
    no_train: bool = False
    substitute: bool = False  # the nearest model may serve if the one asked for is gone
    instead_of: str | None = None  # the model that was asked for, if *models* is what stands in for it


_LEAST = 0.6
"""The part of an estimate that a prompt has at least: five bytes a token are more than tokenizers reach on nearly any text."""


class Call(Struct, frozen=True, kw_only=True):
    """
    One request of a client, as a surface understood it. It travels whole, and nothing of it changes on the way.

    Tokens are upper estimates. *deadline* (unix seconds) is when the caller stops waiting for an attempt to start.
    """

    id: str
    wants: Wants
    request: AnyRequest  # what is sent, in the neutral form of its operation
    prompt_tokens: int
    output_tokens: int  # expected of the answer, unless its model is known to say more
    media_tokens: int = 0  # those of *prompt_tokens* that stand for images and sound
    deadline: float
    gives_up_at: float = math.inf  # when its caller stops waiting for an answer, if it says so
    says_wait: bool = False  # the deadline is its caller's own
    client: str = ""  # the name under which it waits: those who share it share a place in the queue
    priority: int = 0  # a higher one goes first
    session: str = ""  # the conversation that it continues
    chore: bool = False  # a program's own small request, such as for a title: nothing scarce is spent on it
    sparing: frozenset[str] = frozenset()  # of what its client has used its share: providers, provider/model
    in_turn: bool = False  # it hands on what a tool said, or a signature that one model reads: its turn is not over
    hides_reasoning: bool = False  # its caller does not see what a model thinks before it says something
    resume: bool = False  # another deployment may continue a streamed answer that broke
    dropped: tuple[str, ...] = ()  # what was asked for beside the answer, that no source takes: the answer names it
    traced: bool = False  # the answer says in a header what was passed over, and what it waited for

    @property
    def text_tokens(self) -> int:
        return self.prompt_tokens - self.media_tokens

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.output_tokens

    @property
    def alike(self) -> str:
        """The name of those who stay as long: callers who say how long they wait are no example for those who don't."""
        return f"{self.client} says" if self.says_wait else self.client

    @property
    def least_tokens(self) -> int:
        """Tokens that its prompt surely has. What is embedded is cut, and not refused, where it is too long: no less then."""
        return int(self.text_tokens * _LEAST) if self.request.operation == "chat" else self.prompt_tokens

    @property
    def streams(self) -> bool:
        return "stream" in self.wants.capabilities


CREDIT_AT_ONCE = 0.25
"""The part of a month's credit that one request may take at most: one long prompt is not to cost all of it."""

CLOCKS_APART = 60.0
"""Seconds that the clocks of two gateways may differ by: what is known from later than that is not known yet."""


class FreeProof(Struct, frozen=True):
    """Why a deployment costs nothing now, who says so, and since and until when (unix seconds) that is known."""

    kind: FreeKind
    because: str
    source: str
    since: float
    until: float

    def fresh(self, now: float) -> bool:
        """Whether it holds now. One from the future does not: where a clock was set back, it would hold for too long."""
        return self.since - CLOCKS_APART <= now < self.until


class ListPrice(Struct, frozen=True):
    """Dollars for one token of the prompt and one of the answer, where the model is paid for."""

    prompt: float
    output: float

    def of(self, prompt_tokens: int, output_tokens: int) -> float:
        return prompt_tokens * self.prompt + output_tokens * self.output


class Deployment(Struct, frozen=True, kw_only=True, eq=False, dict=True):
    """A model as one account serves it: what a request is sent to."""

    model: str  # canonical
    provider: Provider
    target: Target
    proof: FreeProof
    buckets: tuple[Bucket, ...]
    operations: frozenset[Operation] = frozenset({"chat"})
    capabilities: frozenset[str] = frozenset()
    context: int | None = None
    max_output: int | None = None
    apart: tuple[tuple[str, str], ...] = ()  # capabilities that one request may not need both of
    quality: float = 0.5
    released: str | None = None  # the date, as far as it is known: 2026-05, 2026-05-21
    policy: DataPolicy = DataPolicy()
    last_resort: bool = False
    prompt_price: float = 0.0  # dollars for a token, where a credit pays
    output_price: float = 0.0
    prompt_neurons: float = 0.0  # for a token, where a provider counts in these
    output_neurons: float = 0.0
    neurons_each: float = 0.0
    neurons_a_minute: float = 0.0
    list_price: ListPrice | None = None  # of the model where it is paid for; None: not known

    @cached_property
    def name(self) -> str:
        """``provider/model`` with the provider's own spelling of the model: unique, and what a caller pins."""
        return f"{self.provider.name}/{self.target.model}"

    @cached_property
    def a_day(self) -> float:
        """Requests that it takes a day, by its tightest bucket of that kind; infinity: there is none."""
        return min(
            (bucket.limit for bucket in self.buckets if bucket.unit == "requests" and bucket.window_name == "day"),
            default=math.inf,
        )

    @cached_property
    def most_tokens(self) -> float:
        """Tokens that a prompt and its answer can have together at most, by its context and by what its buckets hold."""
        held = [bucket.limit for bucket in self.buckets if bucket.unit == "tokens"]
        dearest = max(self.prompt_price, self.output_price)
        credit = [self.most_dollars / dearest] if dearest else []
        return min([*held, *credit, self.context or math.inf])

    @cached_property
    def most_dollars(self) -> float:
        """What one request may take of the credit that pays for it: a part of what there is in all."""
        return CREDIT_AT_ONCE * min((one.limit for one in self.buckets if one.unit == "dollars"), default=math.inf)

    def cost(self, prompt: float, output: float, most: float | None = None) -> Cost:
        """
        What a request of so many *prompt* tokens and an answer of so many *output* tokens debits here. Money and neurons are
        counted for the *most* tokens that may come: beyond a free credit they would have to be paid.
        """
        most = output if most is None else most
        dollars = prompt * self.prompt_price + most * self.output_price
        neurons = prompt * self.prompt_neurons + most * self.output_neurons
        return Cost(prompt, output, dollars, neurons=neurons)

    def saves(self, usage: Usage) -> float | None:
        """Dollars that *usage* would have cost where the model is paid for, if that is known."""
        price = self.list_price
        return None if price is None else price.of(usage.prompt_tokens, usage.completion_tokens)

    @cached_property
    def talents(self) -> frozenset[str]:
        """What it can do that not every model can."""
        return self.capabilities & TALENTS


class Candidate(Struct, frozen=True):
    """
    A deployment that fits what is wanted: its *fitness* (higher is better), and its *preference*: its position in the
    caller's own lists of models and of providers, which goes before (lower is better).
    """

    deployment: Deployment
    fitness: float
    preference: tuple[int, int]


TALENTS = frozenset({"vision", "audio", "tools", "json_schema", "reasoning"})


class Exclusion(Struct, frozen=True):
    """
    Why a deployment could not serve a request, and when (unix seconds) that ends, if it does. *when_freed*: it ends when
    something happens that has no moment: a request that is under way ends, a list is read.
    """

    deployment: str
    kind: Kind
    reason: str
    until: float | None = None
    when_freed: bool = False


class GatewayError(Exception):
    """
    What a caller is told when no answer can be given.
    *code* and *type* are OpenAI's where OpenAI has one. *param* names the field at fault. *retry_after* is in seconds.
    """

    status = 500
    type = "server_error"
    code: str | None = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        excluded: tuple[Exclusion, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.excluded = excluded
        self.waited, self.tried, self.traced = 0.0, 0, False  # seconds for capacity and attempts before; all is told


class BadRequest(GatewayError):
    """The request cannot be understood, or is wrong wherever it is sent."""

    status, type = 400, "invalid_request_error"


class WrongMethod(BadRequest):
    """The path is right, the method is not; *allowed* are those that are, as the header ``allow`` has them."""

    status, allowed = 405, "POST"


class TooBig(GatewayError):
    """The body is longer than we read."""

    status, type, code = 413, "invalid_request_error", "request_too_large"


class Unauthorized(GatewayError):
    """No client key, or a wrong one."""

    status, type, code = 401, "invalid_request_error", "invalid_api_key"


class Forbidden(GatewayError):
    """Asked under a name that is not ours."""

    status, type = 403, "invalid_request_error"


class UnknownModel(GatewayError):
    """No model here goes by that name."""

    status, type, code = 404, "invalid_request_error", "model_not_found"


class NothingCapable(GatewayError):
    """
    The model is known, but no free source can do what the request needs, or has a quota that could ever hold it.
    The latter is told neither as a context that is too long nor with status 413: an agent would condense its history,
    which need not be what is large, and try again for ever.
    """

    status, type, code = 400, "invalid_request_error", "unsupported"


class NotAllowed(GatewayError):
    """The client's key allows none of those who could serve it."""

    status, type, code = 403, "invalid_request_error", "not_allowed"


class TooLong(GatewayError):
    """
    Longer than the context of any free source. *tokens* is how long about, *longest* what the largest context holds; 0:
    only a provider knows.
    """

    status, type, code = 400, "invalid_request_error", "context_length_exceeded"
    tokens = longest = 0

    def measured(self, tokens: int, longest: int) -> TooLong:
        """The same, saying by how much."""
        self.tokens, self.longest = tokens, longest
        return self


class NoCapacity(GatewayError):
    """All that could serve it are at their limits for longer than the caller waits."""

    status, type, code = 429, "rate_limit_error", "no_capacity"


class NoSource(GatewayError):
    """Every source that was tried failed."""

    status, type, code = 503, "server_error", "no_source"


class Stopping(GatewayError):
    """The gateway is about to end: what has begun is finished, nothing new is."""

    status, code = 503, "shutting_down"

    def __init__(self) -> None:
        super().__init__("this gateway is shutting down; ask again on a new connection", retry_after=1.0)


class Refused(GatewayError):
    """A provider says that the request is at fault, and we believe it."""

    status, type = 400, "invalid_request_error"


class Broken(GatewayError):
    """An answer broke off after it had begun."""

    status, code = 502, "interrupted"


class Internal(GatewayError):
    """A bug of ours: the log has its traceback."""

    code = "internal_error"

    def __init__(self, request: str = "") -> None:
        super().__init__(
            "this gateway has met an error of its own, and the request is not at fault; its log has the traceback"
            + (f" under the id {request}" if request else "")
        )
