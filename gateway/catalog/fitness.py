"""Whether and how well a deployment fits what is wanted, before anything that changes from moment to moment. Pure."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from fnmatch import fnmatchcase

from gateway.catalog.learned import Learned
from gateway.words import CREDIT_AT_ONCE, Call, Deployment, Exclusion, Wants

NO_TRAIN = "no training"
"""What a deployment lacks that has no endpoint for requests that forbid training."""

_IDLE_TALENT = 0.04  # taken off for each capability that the request does not need: other requests will need it
_CREDIT = 0.5  # of its fitness is left to what a credit pays: that is gone for the month, a free quota comes back
_QUALITY_WEIGHT = {"balance": 0.6, "quality": 1.0, "speed": 0.25}


def fitness(deployment: Deployment, needed: AbstractSet[str], prefer: str) -> float:
    """
    How good *deployment* is for a request that needs the capabilities *needed*; higher is better.

    *prefer* is ``balance``, ``quality`` or ``speed``. It is the deployment's quality, less what others would miss.
    """
    weight = _QUALITY_WEIGHT[prefer]
    value = (1 - weight) + weight * deployment.quality - _IDLE_TALENT * len(deployment.talents - needed)
    return value * _CREDIT if deployment.proof.kind == "credit" else value


def unfit(deployment: Deployment, wants: Wants, learned: Learned, now: float) -> Exclusion | None:
    """Why *deployment* cannot serve any request that wants this, or None."""
    provider, name = deployment.provider.name, deployment.name
    if wants.operation not in deployment.operations:
        return Exclusion(name, "capability", f"does not {wants.operation}")
    if not (matches(provider, wants.allowed_providers) and matches(deployment.model, wants.allowed_models)):
        return Exclusion(name, "policy", "the client's key does not allow it")
    if (wants.capabilities or wants.parameters) and (why := _unable(deployment, wants, learned, now)):
        return Exclusion(name, "capability", why)
    if (deployment.context or 0) < wants.min_context:
        return Exclusion(
            name, "capability", f"holds fewer than {wants.min_context} tokens, or it is not known how many"
        )
    if wants.no_train and (why := _may_train(deployment, learned, now)):
        return Exclusion(name, "privacy", why)
    if (wants.only and provider not in wants.only) or provider in wants.ignore:
        return Exclusion(name, "choice", "the request leaves this provider out")
    if wants.strict and (left_out := untaken(deployment, wants, learned, now)):
        return Exclusion(name, "capability", f"does not take {', '.join(sorted(left_out))}")
    return None


def barred(deployment: Deployment, wants: Wants, learned: Learned, now: float) -> str:
    """Why a client whose key says what *wants* does may never use *deployment*; empty: it may."""
    allowed = matches(deployment.provider.name, wants.allowed_providers) and matches(
        deployment.model, wants.allowed_models
    )
    if not allowed:
        return "the client's key does not allow it"
    return _may_train(deployment, learned, now) if wants.no_train else ""


def _unable(deployment: Deployment, wants: Wants, learned: Learned, now: float) -> str:
    """What *deployment* cannot do of what is wanted, alone or together; empty: it can do all."""
    if missing := wants.capabilities - learned.capabilities(deployment, now):
        return f"lacks {', '.join(sorted(missing))}"
    clash: tuple[str, ...] = next((pair for pair in deployment.apart if wants.capabilities.issuperset(pair)), ())
    clash = clash or learned.clash(deployment.name, wants.capabilities | wants.parameters, now)
    return f"does not take {' and '.join(clash)} in one request" if clash else ""


def _may_train(deployment: Deployment, learned: Learned, now: float) -> str:
    """Why a request that forbids training may not go to *deployment*; empty: it may."""
    if deployment.policy.trains == "no":
        return ""
    if not deployment.provider.spec.enforces_no_train:
        return "may train on prompts"
    if learned.known(deployment.name, NO_TRAIN, now) is False:
        return "has no endpoint that keeps prompts out of training"
    return ""


def outgrows_credit(deployment: Deployment, call: Call) -> str:
    """Why *call* is too large for the credit that pays for *deployment*; empty: it is not, or none does."""
    if not (deployment.prompt_price or deployment.output_price):
        return ""
    dollars = call.prompt_tokens * deployment.prompt_price + call.output_tokens * deployment.output_price
    if dollars <= deployment.most_dollars:
        return ""
    return f"it would take {dollars:.3f} dollars, more than {CREDIT_AT_ONCE:.0%} of the month's credit"


def untaken(deployment: Deployment, wants: Wants, learned: Learned, now: float) -> set[str]:
    """The parameters of the request that *deployment* is known not to take."""
    spec, model = deployment.provider.spec, deployment.target.model
    found = set(wants.parameters.intersection(spec.dropped(model)))
    found |= {name for name in wants.parameters if learned.known(deployment.name, name, now) is False}
    reasons = "reasoning" in learned.capabilities(deployment, now)
    if "reasoning_effort" in wants.parameters and not reasons:
        found.add("reasoning_effort")
    return found


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether *name* fits one of *patterns*; none: all do."""
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
