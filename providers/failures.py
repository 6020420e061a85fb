"""
What can go wrong at a provider, as a closed family.

* ProviderFailure
  x RateLimited          our quota there is used up
  x Busy                 they are overloaded; nothing to do with our quota
  x TooLarge             this one request exceeds what a bucket can ever hold
  x WouldCost            a price, a paid plan, or spent credit
  x ModelGone            retired, renamed, no longer free
  x OtherWeights         it serves another model than the name says
  x CredentialRejected   the key is wrong, revoked or not allowed
  x NotEntitled          this account may not use this model
  x CallersFault         the request itself is bad; no other source would take it
  x RefusedHere          a 400 that this source means, and another might not
  x ContextTooLong       more tokens than this model can hold
  x Unsupported          the model lacks a capability we thought it had
  x ContentRefused       moderation said no
  x NoAnswer             answered in good order, with nothing that is an answer
  x Unreachable          refused, timed out, or not an answer at all
  x Interrupted          the stream broke after content was sent
  x Superseded            it was slow: another that was asked, too, began first

A dialect picks the class. What follows from it is decided by the sender, never here.
"""

from __future__ import annotations

from typing import Literal

from providers.observations import Observation

Reached = Literal["unsent", "refused", "accepted"]
"""
How far a request came, by which its provider counts it: *unsent*, nothing left this machine; *refused*, an HTTP error
came back; *accepted*, an answer had begun, or the request was sent and what became of it is not known.
"""


class ProviderFailure(Exception):
    """
    Base of everything a provider can do to us.

    *status* is the HTTP status, if there was one. *retry_in* (seconds) and *until* (unix seconds) are set only
    where the provider says truthfully when it will answer again. *account_wide* tells whether the whole account
    is concerned rather than the one model that was asked for. *observed* is what the answer, its headers included,
    says of our buckets. *reached* is how far the request came, and *ours* whether this machine is what failed; the sender
    knows, no dialect does.
    """

    reached: Reached = "accepted"
    ours = False  # the trouble is this machine's or its network's: it says nothing of the provider

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        retry_in: float | None = None,
        until: float | None = None,
        account_wide: bool = False,
    ) -> None:
        super().__init__(message or (self.__doc__ or "").strip())
        self.status = status
        self.retry_in = retry_in
        self.until = until
        self.account_wide = account_wide
        self.observed: tuple[Observation, ...] = ()

    @property
    def message(self) -> str:
        return str(self.args[0])


class RateLimited(ProviderFailure):
    """Our quota at this provider is used up."""

    # Which bucket, as far as the answer tells: its unit and its window's name ("minute", "day", "month").
    unit: str | None = None
    window: str | None = None

    def of(
        self,
        unit: str | None = None,
        window: str | None = None,
        limit: float | None = None,
        remaining: float | None = None,
    ) -> RateLimited:
        """The same failure, saying which bucket it was, and what the refusal told of it."""
        self.unit, self.window = unit, window
        if unit and window and not (limit is None and remaining is None):
            self.observed = (Observation(unit, window, limit, remaining, by="a refusal"),)
        return self


class Busy(ProviderFailure):
    """The provider is overloaded."""

    of_places = False  # what is taken are the places for requests at the same time, which those under way give back


class TooLarge(ProviderFailure):
    """The request is larger than this quota can ever hold."""


class WouldCost(ProviderFailure):
    """The provider wants money."""


class ModelGone(ProviderFailure):
    """The model is no longer offered here."""


class OtherWeights(ProviderFailure):
    """The model that is served under this name is another one."""


class CredentialRejected(ProviderFailure):
    """The key was refused."""


class NotEntitled(ProviderFailure):
    """The account may not use the model."""


class CallersFault(ProviderFailure):
    """The request is invalid wherever it is sent."""


class ContextTooLong(ProviderFailure):
    """The request has more tokens than this model can hold."""


class Unsupported(ProviderFailure):
    """The model lacks a capability that the request needs."""

    capability: str | None = None

    def of(self, capability: str) -> Unsupported:
        """The same failure, saying which capability is missing."""
        self.capability = capability
        return self


class RefusedHere(ProviderFailure):
    """The source does not take the request; another may."""

    # What of it, as far as the answer tells: the capability that would be needed, the request's field.
    capability: str | None = None
    parameter: str | None = None

    def of(self, capability: str | None = None, parameter: str | None = None) -> RefusedHere:
        """The same failure, saying what it is about."""
        self.capability, self.parameter = capability, parameter
        return self


class ContentRefused(ProviderFailure):
    """The provider's moderation refused the content."""


class NoAnswer(ProviderFailure):
    """The answer is empty."""

    cut_by_us = False  # a bound of ours explains it, which the caller did not set

    breaks: str | None = None  # the promise that the answer does not keep: a capability, or a parameter

    misfits = False  # a call lacks what its tool requires

    def misfitting(self) -> NoAnswer:
        """The same failure, saying that it is the arguments of a call that do not fit."""
        self.misfits = True
        return self

    def breaking(self, promise: str) -> NoAnswer:
        """The same failure, saying which *promise* the answer does not keep."""
        self.breaks = promise
        return self

    def by_our_bound(self, ours: bool = True) -> NoAnswer:
        """The same failure, saying whether a bound of *ours* explains it."""
        self.cut_by_us = ours
        return self


class Unreachable(ProviderFailure):
    """No usable answer came back."""


class Interrupted(ProviderFailure):
    """The stream broke off before the answer was finished."""

    cause: ProviderFailure | None = None  # what the provider said of it, or what became of the connection

    @classmethod
    def by(cls, cause: ProviderFailure) -> Interrupted:
        """What *cause* is to a stream that has begun."""
        interrupted = cls(cause.message, status=cause.status)
        interrupted.cause, interrupted.observed = cause, cause.observed
        return interrupted


class Superseded(ProviderFailure):
    """Another source that was asked, too, began to answer first. No dialect says so: the sender does."""


# The names that configuration files use for the classes.
BY_NAME: dict[str, type[ProviderFailure]] = {
    "rate_limited": RateLimited,
    "busy": Busy,
    "too_large": TooLarge,
    "would_cost": WouldCost,
    "model_gone": ModelGone,
    "credential_rejected": CredentialRejected,
    "not_entitled": NotEntitled,
    "callers_fault": CallersFault,
    "context_too_long": ContextTooLong,
    "unsupported": Unsupported,
    "refused_here": RefusedHere,
    "content_refused": ContentRefused,
    "no_answer": NoAnswer,
    "unreachable": Unreachable,
}
