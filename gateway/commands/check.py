"""``freeway check``: every provider's key, plan, models, and risk of cost. Stricter than the server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

import click
import msgspec
from rich.console import Console
from rich.table import Table

from gateway.cli import Surroundings
from gateway.commands.inside import Inside, opened
from gateway.observe.usage import Spending
from gateway.quota.nouns import NoRoom, Offer
from gateway.request import outcome
from gateway.settings import EMBEDDED, Settings
from gateway.words import Deployment
from providers.chat import ChatRequest, Message, decode_fields, encode
from providers.dialect import Request
from providers.embedded import server as embedded
from providers.failures import ProviderFailure
from providers.spec import DataPolicy

console = Console()
_PROMPT, _OUTPUT = 20, 16  # tokens of the question, and of its answer at most
_QUESTION = ChatRequest(messages=[Message("user", "Say: yes")], max_tokens=_OUTPUT)


@click.command("check")
@click.option(
    "--ask",
    is_flag=True,
    help="Also ask each provider one short question: a list proves no key. Costs one request each.",
)
@click.pass_obj
def command(around: Surroundings, ask: bool) -> None:
    """
    Look at every provider: is there a key, is it taken, what is free, what could cost money, and what it cost so far.

    Leaves with status 1 if a provider that has a key cannot be used, or if anything was ever spent.
    """
    settings = around.settings()
    bad = asyncio.run(_check(settings, ask))
    if embedded.available():
        console.print("Embedded model: installed, used where there is no other source.")
    sys.exit(1 if bad else 0)


async def _check(settings: Settings, ask: bool) -> bool:
    table = Table("provider", "key", "free models", "prompts", "what to know", header_style="bold")
    bad = False
    async with opened(settings) as inside:
        with Console(stderr=True).status(f"asking {', '.join(inside.providers) or 'no provider'} …"):
            found = await inside.look_everywhere()
            asked = {name: await _ask(inside, name) for name in found} if ask else {}
        out = inside.catalog.learned.out(inside.clock.now())
        for name, spec in settings.provider.items():
            if name == EMBEDDED:
                continue
            listing = found.get(name)
            remarks = [spec.free.because, spec.free.terms]
            if listing is None:
                state, models = f"set {spec.key_env}", ""
                remarks.append(spec.get_a_key)
            elif isinstance(listing, ProviderFailure):
                state, models = "problem", ""
                remarks = [f"{type(listing).__name__}: {listing.message}"]
                bad = bad or name in settings.keys
            else:
                state = "set" if name in settings.keys else "none needed"
                models = str(sum(d.provider.name == name for d in inside.catalog.deployments()))
                remarks += listing.remarks
            if problem := asked.get(name):
                state, bad = "problem", True
                remarks.append(problem)
            if withdrawal := out.get(name):
                state, bad = "out", True
                remarks.insert(0, f"{withdrawal.because} (`freeway models --readmit {name}` lets it in again)")
            policy = _policy(spec.data_policy)
            table.add_row(spec.title, state, models, policy, "\n".join(r for r in remarks if r))
        costs = await inside.parts.costs.report()
    console.print(table)
    console.print(_bill(costs), soft_wrap=True)
    return bad or any(cost.spent for cost in costs)


def _policy(policy: DataPolicy) -> str:
    """What happens to prompts, for people."""
    trains = {"yes": "train models", "no": "train nothing", "unknown": "may train models"}[policy.trains]
    kept = {"yes": "kept", "no": "not kept", "unknown": ""}[policy.retains]
    return "\n".join(filter(None, (trains, kept, policy.region if policy.region != "unknown" else "")))


def _bill(costs: Sequence[Spending]) -> str:
    """What was spent, which has to read 0.000000, and what was saved."""
    requests = sum(cost.requests for cost in costs)
    spent, saved = sum(cost.spent for cost in costs), sum(cost.saved for cost in costs)
    credit, unpriced = sum(cost.credit for cost in costs), sum(cost.unpriced for cost in costs)
    parts = [
        f"Spent {spent:.6f} dollars on {requests:,} requests",
        f"saved {saved:.4f} at the prices of the same models",
    ]
    if credit:
        parts.append(f"took {credit:.6f} from free credits")
    if unpriced:
        parts.append(f"{unpriced:,} requests went to models of unknown price")
    return "; ".join(parts) + "."


async def _ask(inside: Inside, name: str) -> str | None:
    """Ask one question; returns what went wrong."""
    served: list[Deployment] = [d for d in inside.catalog.deployments() if d.provider.name == name]
    if not served:
        return None
    deployment = max(served, key=lambda d: d.quality)
    cost = deployment.cost(_PROMPT, _OUTPUT)
    held = await inside.ledger.reserve([Offer(deployment.name, deployment.buckets, cost)])
    if isinstance(held, NoRoom):
        return "its quota is used up, so it was not asked"
    body = encode(msgspec.structs.asdict(_QUESTION))
    try:
        reply = await deployment.provider.send(deployment.target, Request(_QUESTION, decode_fields(body), _PROMPT))
        reply.close()
        usage = reply.whole.usage if reply.whole else None
        outcome.check(deployment, usage, reply.observed, inside.parts.engine)
    except ProviderFailure as failure:
        return f"{deployment.target.model}: {type(failure).__name__}: {failure.message}"
    finally:
        inside.ledger.settle(held, cost)
    return None
