"""What a caller is told whose call is not answered: what was missing or in the way, and when to come back. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from gateway.catalog.near import all_gone, listed, near
from gateway.request.call import BYTES_PER_TOKEN
from gateway.request.outcome import CONSEQUENCES, told
from gateway.request.plan import Plan, View, plan
from gateway.request.spoken import explained, reason
from gateway.request.tried import Attempt, Tried
from gateway.wording import opens as opens_in
from gateway.words import (
    BadRequest,
    Call,
    Deployment,
    Exclusion,
    GatewayError,
    NoCapacity,
    NoSource,
    NotAllowed,
    NothingCapable,
    TooLong,
    UnknownModel,
)
from providers.dialect import Request
from providers.failures import ModelGone

SOON = 5.0
"""
Seconds after which to come back for something that has no moment: a slot that is taken, a trial that is under way. A
typical answer is over by then.
"""


NEEDED = "set a free key"
_ONE_QUESTION = 2
"""Messages of a request that has no history: instructions and a question."""


def after(call: Call, tried: Tried, *, spent: bool, view: View, now: float) -> GatewayError:
    """
    What to tell the caller of *call* after what was *tried*: nothing is left to try, or not soon enough, or the attempt
    budget is *spent*.
    """
    error = told(tried.attempts) or _found(call, tried, spent=spent, view=view, now=now)
    error.tried = len(tried.attempts)
    return _with_advice(error, view)


def _with_advice(error: GatewayError, view: View) -> GatewayError:
    """*error*, and what to do where nothing but the small model on this machine is there."""
    deployments = view.catalog.deployments()
    if (
        deployments
        and all(d.last_resort for d in deployments)
        and view.catalog.hint.removeprefix("set ") not in error.message
    ):
        error.message = f"{error.message}; {view.catalog.hint}"
    return error


def _found(call: Call, tried: Tried, *, spent: bool, view: View, now: float) -> GatewayError:
    """See ``after``: the request is not at fault wherever it is sent."""
    chosen = plan(call, tried, view, now)
    failed = _failed(tried.attempts, view, now)
    opens = any(reason.kind in ("quota", "cooling") for reason in chosen.unavailable)
    if tried.attempts and (spent or not opens):
        gone = _gone(tried.attempts, chosen, view, now)
        return gone or _in_vain(call, tried.attempts, chosen, failed, now)
    if opens:
        wait = _wait(chosen, failed, now)
        return NoCapacity(
            f"every free source that fits is at its limit; the first opens {opens_in(now + wait, now)}",
            retry_after=wait,
            excluded=(*failed, *chosen.unavailable),
        )
    return _nobody(call, chosen, view, now)


def starting() -> NoSource:
    """The first lists are on their way."""
    return NoSource("this gateway has just started and not heard from all sources yet", retry_after=1.0)


def _in_vain(
    call: Call, attempts: Sequence[Attempt], chosen: Plan, failed: tuple[Exclusion, ...], now: float
) -> GatewayError:
    """What to say when all that were asked failed: what they agree on, if the request is at fault."""
    last = CONSEQUENCES[type(attempts[-1].failure)].last
    agreed = last is not None and all(CONSEQUENCES[type(one.failure)].last for one in attempts)
    if last is not None and agreed and _heard_enough(attempts, chosen):
        if last is TooLong:
            return _outgrown(call, _longest(one.deployment for one in attempts), failed)
        return last(explained(attempts[-1].deployment, attempts[-1].failure), excluded=failed)
    tried = "; ".join(f"{reason.deployment}: {reason.reason}" for reason in failed)
    wait = 1.0 if chosen.ranked else _wait(chosen, failed, now)
    return NoSource(
        f"every source that was tried failed ({tried})",
        retry_after=None if wait == math.inf else wait,
        excluded=failed,
    )


def _heard_enough(attempts: Sequence[Attempt], chosen: Plan) -> bool:
    """
    Whether what all *attempts* say against the request may be believed: one provider alone may be odd, as long as another
    could have been asked.
    """
    asked = {one.deployment.provider.name for one in attempts}
    later = (one.deployment for one in chosen.unavailable if one.kind != "context")  # those would say the same
    others = {d.provider.name for d in chosen.ranked} | {name.partition("/")[0] for name in later}
    return len(asked) > 1 or not others - asked


def _failed(attempts: Iterable[Attempt], view: View, now: float) -> tuple[Exclusion, ...]:
    """Which deployments failed, and until when each is left alone if that passes by itself."""
    reasons = []
    for one in attempts:
        name, why = one.deployment.name, reason(one.failure)
        passes = CONSEQUENCES[type(one.failure)].cools and not view.catalog.learned.withdrawn(one.deployment, now)
        cooling = view.health.blocked(name, now)
        until = (cooling.until if cooling else now) if passes else None
        reasons.append(Exclusion(name, "failed", why, until))
    return tuple(reasons)


def _wait(chosen: Plan, failed: Iterable[Exclusion], now: float) -> float:
    """Seconds until the first of those that failed, or of the others, may be asked again; infinity: that is not known."""
    moments = [chosen.retry.at, *(reason.until for reason in failed if reason.until is not None)]
    if chosen.retry.when_freed:
        moments.append(now + SOON)
    return max(1.0, min(moments) - now)


# ── no deployment can ──


def _nobody(call: Call, chosen: Plan, view: View, now: float) -> GatewayError:
    if any(reason.kind == "size" for reason in chosen.unavailable):
        return _too_large(call, chosen, view)
    excluded = view.catalog.exclusions(call, chosen.wants, now)
    if not excluded:
        return view.catalog.unknown(chosen.wants)
    return (
        _out_of_service(excluded, view, now)
        or _left_no_provider(call, excluded, view)
        or _forbidden(excluded)
        or _too_long(call, excluded)
        or _incapable(call, excluded, view.catalog.hint)
    )


def _gone(attempts: Sequence[Attempt], chosen: Plan, view: View, now: float) -> UnknownModel | None:
    """What to say if all that were asked, and all others that the name means, have the model no more."""
    names = {one.deployment for one in chosen.unavailable}
    others = [d for d in view.catalog.deployments() if d.name in names]
    if chosen.ranked or not all(isinstance(one.failure, ModelGone) for one in attempts):
        return None
    return all_gone(
        [*(one.deployment for one in attempts), *others], view.catalog.deployments(), view.catalog.learned, now
    )


def _out_of_service(excluded: list[tuple[Deployment, Exclusion]], view: View, now: float) -> GatewayError | None:
    """What to say if some of *excluded* could do it, but may not be asked for now: the request is not at fault."""
    gone = all_gone((d for d, _ in excluded), view.catalog.deployments(), view.catalog.learned, now)
    if gone is not None:
        return gone
    out = [reason for _, reason in excluded if reason.kind in ("withdrawn", "proof")]
    if not out:
        return None
    told = "; ".join(f"{reason.deployment}: {reason.reason}" for reason in out[:3])
    back = min((reason.until for reason in out if reason.until is not None), default=None)
    return NoSource(
        f"every free source that could serve this request is out of service ({told})",
        retry_after=None if back is None else max(1.0, back - now),
        excluded=tuple(out),
    )


def _forbidden(excluded: list[tuple[Deployment, Exclusion]]) -> NotAllowed | None:
    """What to say if nothing but the client's own policy is in the way."""
    if any(reason.kind != "policy" for _, reason in excluded):
        return None
    return NotAllowed(
        f"the client's key allows none of the {len(excluded)} deployments that go by this name; its [[client]] entry "
        f"in the settings says which models and providers it may use",
        param="model",
        excluded=tuple(reason for _, reason in excluded),
    )


def _left_no_provider(call: Call, excluded: list[tuple[Deployment, Exclusion]], view: View) -> BadRequest | None:
    """What to say if the request wants only providers that there are not."""
    known = sorted({d.provider.name for d in view.catalog.deployments()})
    if not call.wants.only or set(call.wants.only) & {d.provider.name for d, _ in excluded}:
        return None
    if set(call.wants.only) & set(known):
        return None
    meant = [name for asked in call.wants.only for name in near(asked, known, 1)]
    more = f"; did you mean {listed(meant)}?" if meant else f"; there are {', '.join(known)}"
    return BadRequest(f"provider: none is called {listed(call.wants.only)} here{more}", param="provider.only")


def _too_long(call: Call, excluded: list[tuple[Deployment, Exclusion]]) -> TooLong | None:
    """What to say if some could do it but for its length."""
    longest = _longest(d for d, reason in excluded if reason.kind == "context")
    return _outgrown(call, longest, tuple(reason for _, reason in excluded)) if longest else None


def _too_large(call: Call, chosen: Plan, view: View) -> GatewayError:
    """
    What to say if no quota ever holds the request at once. A conversation is told as one that is too long: its program
    shortens it. What is one question, or mostly tools, stays what it is whatever is left out of its history.
    """
    excluded = tuple(chosen.unavailable)
    out = {reason.deployment for reason in excluded if reason.kind in ("size", "context")}
    longest = max((d.most_tokens for d in view.catalog.deployments() if d.name in out), default=math.inf)
    if longest < math.inf and _can_be_shortened(call, longest):
        return _outgrown(call, int(longest), excluded)
    return NothingCapable(
        f"no free source has a quota for about {call.prompt_tokens} tokens and an answer of {call.output_tokens} "
        f"at once; bound the answer by max_tokens, send fewer tools or less text, or add another source's key",
        excluded=excluded,
    )


def _can_be_shortened(call: Call, longest: float) -> bool:
    """Whether leaving out earlier turns of *call* may bring it below *longest* tokens."""
    if not isinstance(call.request, Request):
        return False
    fields, turns = call.request.fields, call.request.view.messages
    fixed = len(bytes(fields["tools"])) if "tools" in fields else 0
    fixed += sum(len(turn.text().encode("utf-8", "replace")) for turn in (turns[0], turns[-1]))
    return len(turns) > _ONE_QUESTION and fixed / BYTES_PER_TOKEN < longest


def _longest(deployments: Iterable[Deployment]) -> int:
    return max((d.context or 0 for d in deployments), default=0)


def _outgrown(call: Call, longest: int, excluded: tuple[Exclusion, ...]) -> TooLong:
    """In the words by which agents know to shorten a conversation."""
    holds = f"this model's maximum context length is {longest} tokens, and the request" if longest else "the request"
    more = "" if longest else ", more than the maximum context length of the sources that fit"
    return TooLong(
        f"{holds} has about {call.prompt_tokens} tokens{more}: please reduce the length of the messages",
        param="messages",
        excluded=excluded,
    ).measured(call.prompt_tokens, longest)


def _incapable(call: Call, excluded: list[tuple[Deployment, Exclusion]], hint: str) -> NothingCapable:
    """Say what was missing, and which came closest: of those that lack the least, one that the client may use, the best."""
    needed = call.wants.capabilities

    def distance(pair: tuple[Deployment, Exclusion]) -> tuple[int, bool, float]:
        deployment, reason = pair
        return len(needed - deployment.capabilities), reason.kind == "policy", -deployment.quality

    closest, why = min(excluded, key=distance)
    wanted = ", ".join(sorted(needed - {"stream"})) or call.wants.operation
    if all(deployment.last_resort for deployment, _ in excluded):
        return NothingCapable(
            f"{wanted} needs {hint.removeprefix('set ')}; the small model on this machine does without"
            if hint.startswith(NEEDED)
            else f"{wanted} needs a free key, the small model on this machine does without: {hint}",
            excluded=tuple(reason for _, reason in excluded),
        )
    return NothingCapable(
        f"no free source can serve this request ({wanted}; about {call.prompt_tokens} tokens): "
        f"{closest.name} came closest, but {why.reason}",
        excluded=tuple(reason for _, reason in excluded),
    )
