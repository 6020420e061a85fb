"""
An answer that has begun: pass it on, and settle when it ends, however it ends.

    whole ──────────────► settled
    head → rest → finished ► settled with the provider's own usage
             │ broke ──────► settled with what was reserved; the caller hears of it
             │ caller left ► the upstream call is cancelled; settled with what was reserved
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from gateway.events import Withdrawn
from gateway.ledger.nouns import Cost
from gateway.pipeline import Answer, Engine, bear
from providers.chat import Step, Usage, Whole
from providers.failures import Interrupted, ProviderFailure
from providers.observations import Observation

QUARANTINE = 7 * 86_400.0
"""Seconds that an account is out after an answer that cost money, unless a person lets it back in."""


def whole(answer: Answer, engine: Engine) -> Whole:
    """The answer in one piece."""
    found = answer.reply.whole
    assert found is not None  # the request did not ask for a stream
    answer.reply.close()
    _settle(answer, engine, found.completion.usage, answer.reply.observed)
    return found


async def arrivals(answer: Answer, engine: Engine) -> AsyncGenerator[list[Step], None]:
    """
    The steps of the answer, as many at a time as arrived together.

    Raises Interrupted if it breaks after it has begun. Close the iterator to leave early.
    """
    rest = answer.reply.rest
    assert rest is not None  # the request asked for a stream
    usage = _usage(answer.reply.head)
    engine.ledger.observe(answer.deployment.buckets, answer.reply.observed, answer.sent_at)
    try:
        yield answer.reply.head
        async for steps in rest:
            usage = _usage(steps) or usage
            yield steps
    except ProviderFailure as failure:
        interrupted = failure if isinstance(failure, Interrupted) else Interrupted(failure.message)
        bear(interrupted, answer.deployment, answer.held, engine)
        raise interrupted from failure
    finally:
        answer.reply.close()
        _settle(answer, engine, usage)


def _usage(steps: list[Step]) -> Usage | None:
    for step in reversed(steps):
        if step.chunk.usage is not None:
            return step.chunk.usage
    return None


def _settle(answer: Answer, engine: Engine, usage: Usage | None, said: Sequence[Observation] = ()) -> None:
    """End the reservation, once, with the provider's own count where it gave one."""
    if usage is None:
        engine.ledger.settle(answer.held, answer.held.wanted.cost, said)
        return
    deployment = answer.deployment
    dollars = usage.prompt_tokens * deployment.prompt_price + usage.completion_tokens * deployment.output_price
    engine.ledger.settle(answer.held, Cost(usage.prompt_tokens, usage.completion_tokens, dollars), said)
    if usage.cost and deployment.proof.kind != "credit":
        # The third lock: what was proved to be free has cost something. Stop before there is a second time.
        because = f"{deployment.name} cost {usage.cost:g} dollars although it was proved to be free"
        until = engine.clock.now() + QUARANTINE
        engine.catalog.withdraw(deployment.provider.name, until, because)
        engine.tell(Withdrawn(deployment.provider.name, because, until, alarm=True))
