"""What a provider did, in words: its own text comes after what it means, and never alone."""

from __future__ import annotations

from gateway.words import Deployment
from providers import failures as f

SAID: dict[type[f.ProviderFailure], str] = {
    f.RateLimited: "is at a limit of ours there",
    f.Busy: "is overloaded",
    f.TooLarge: "has no quota that ever holds this request",
    f.WouldCost: "would charge for this, so it is left out",
    f.ModelGone: "has this model no more",
    f.OtherWeights: "serves another model under this name",
    f.CredentialRejected: "does not take the gateway's key",
    f.NotEntitled: "does not let this account use the model",
    f.CallersFault: "says that the request is at fault",
    f.RefusedHere: "does not take this request",
    f.ContextTooLong: "cannot hold so many tokens",
    f.Unsupported: "cannot do what this request needs",
    f.ContentRefused: "refuses the content",
    f.NoAnswer: "gave no answer",
    f.Unreachable: "could not be reached, or answered with something else",
    f.Interrupted: "broke off",
    f.Superseded: "was slower than another",
}


def reason(failure: f.ProviderFailure) -> str:
    """Why a deployment did not serve: what it means, and what was said."""
    return f"{SAID[type(failure)]}: {failure.message}" if failure.message else SAID[type(failure)]


def explained(deployment: Deployment, failure: f.ProviderFailure) -> str:
    """The same as a sentence about the provider of *deployment*."""
    return f"{deployment.provider.spec.title} {reason(failure)}"
