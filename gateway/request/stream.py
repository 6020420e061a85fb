"""
An answer that has begun: pass it on, and settle when it ends, however it ends.

    whole ──────────────► settled
    head → rest → finished ► settled with the provider's own usage
             │ broke ──────► settled with what was reserved; the caller hears of it
             │ caller left ► the upstream call is cancelled; settled with what was reserved
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from gateway.catalog.learned import BEGINS_IN_THOUGHT
from gateway.events import Attempted, Changed
from gateway.request import outcome
from gateway.request.bounds import choices_of
from gateway.request.engine import Answer, Engine
from gateway.routing.latency import Point
from providers.chat import Step, Usage
from providers.client import Made, Reply
from providers.failures import Interrupted, ProviderFailure
from providers.observations import Observation
from providers.reasoning import UNCLOSED, UNOPENED


def whole(answer: Answer, engine: Engine) -> Made:
    """The answer in one piece."""
    found = answer.reply.whole
    assert found is not None  # the request did not ask for a stream
    answer.reply.close()
    _settle(answer, found.usage, answer.reply.observed, engine)
    if found.usage is not None:
        _learn_pace(answer, [_point(found.usage, answer.first_content)], answer.sent_at + answer.first_content, engine)
    _leave_machine(answer, engine)
    return found


async def visible(reply: Reply) -> None:
    """
    Read the stream *reply* on until it says something beyond what its model thinks, which becomes its head, or to its end.

    Raises a ProviderFailure if it breaks before: its caller has seen nothing of it.
    """
    rest, steps = reply.rest, reply.head
    assert rest is not None  # the request asked for a stream
    try:
        while not any(step.chunk.says() for step in steps):
            try:
                steps = await anext(rest)
            except StopAsyncIteration:
                return
            reply.head += steps
    except BaseException:
        reply.close()
        raise


async def arrivals(answer: Answer, engine: Engine) -> AsyncGenerator[list[Step], None]:
    """
    The steps of the answer, as many at a time as arrived together.

    Raises Interrupted if it breaks after it has begun. Close the iterator to leave early.
    """
    rest = answer.reply.rest
    assert rest is not None  # the request asked for a stream
    usage = _usage(answer.reply.head)
    engine.ledger.observe(answer.deployment.buckets, answer.reply.observed, answer.sent_at)
    outcome.check(answer.deployment, None, answer.reply.observed, engine)
    try:
        yield answer.reply.head
        async for steps in rest:
            usage = _usage(steps) or usage
            yield steps
        _time(answer, usage, engine)
    except ProviderFailure as failure:
        interrupted = failure if isinstance(failure, Interrupted) else Interrupted.by(failure)
        engine.tell(Attempted(answer.call.id, answer.deployment.name, "Interrupted", failure.message))
        outcome.report(interrupted, answer.slot, engine.clock.now() - answer.sent_at, engine)
        raise interrupted from failure
    finally:
        answer.reply.close()
        _settle(answer, usage, answer.reply.cost, engine)
        _leave_machine(answer, engine)


def _settle(answer: Answer, usage: Usage | None, said: tuple[Observation, ...], engine: Engine) -> None:
    """
    End the reservation, and learn how long prompt and answer really were. A model on this machine may count only what it had not
    cached, and an image is no text: neither tells anything of prompts.
    """
    outcome.settle(answer.slot, usage, said, engine)
    _see_how_it_began(answer, engine)
    if usage is None:
        return
    call, model, calibration = answer.call, answer.deployment.model, engine.view.calibration
    calibration.answered(model, usage.completion_tokens // choices_of(call), tools="tools" in call.wants.capabilities)
    if answer.deployment.proof.kind != "local" and not call.media_tokens:
        calibration.saw(model, call.text_tokens, usage.prompt_tokens)


def _see_how_it_began(answer: Answer, engine: Engine) -> None:
    """An answer that closes a thought which nothing opened shows how the answers of its model begin; what was thus learned may end."""
    told, deployment, catalog = answer.reply.mended, answer.deployment, engine.view.catalog
    if UNOPENED not in told and UNCLOSED not in told:
        return
    now, begins = engine.clock.now(), UNOPENED in told
    if begins != bool(catalog.learned.known(deployment.name, BEGINS_IN_THOUGHT, now)):
        catalog.learned.learn(deployment.name, BEGINS_IN_THOUGHT, now, has=begins)
        catalog.look_again(deployment.provider.name, now)
        engine.tell(
            Changed("capability gained" if begins else "capability lost", deployment.name, BEGINS_IN_THOUGHT, now)
        )


def _time(answer: Answer, usage: Usage | None, engine: Engine) -> None:
    """Learn how quickly a stream came that came to its end."""
    now = engine.clock.now()
    points = [Point(0.0, answer.first_content)]
    if usage is not None:
        points.append(_point(usage, now - answer.sent_at))
    _learn_pace(answer, points, now, engine)


def _learn_pace(answer: Answer, points: list[Point], now: float, engine: Engine) -> None:
    """Learn from *points* of an answer, seconds since it was sent, how quickly its deployment answers."""
    name, view = answer.deployment.name, engine.view
    if answer.deployment.proof.kind == "local":
        points = view.machines.worked(name, answer.slot.held.id, answer.sent_at, points, view.health.pace(name))
    view.health.timed(name, points, now)


def _leave_machine(answer: Answer, engine: Engine) -> None:
    """A machine of one's own goes on to the next."""
    if answer.deployment.proof.kind == "local":
        engine.view.machines.ended(answer.deployment.name, answer.slot.held.id, engine.clock.now())


def _point(usage: Usage, seconds: float) -> Point:
    return Point(float(usage.completion_tokens), seconds)


def _usage(steps: list[Step]) -> Usage | None:
    for step in reversed(steps):
        if step.chunk.usage is not None:
            return step.chunk.usage
    return None
