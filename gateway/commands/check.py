"""``freeway check``: every provider's key, plan, models, and risk of cost. Stricter than the server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import msgspec
from msgspec import Struct
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from gateway.catalog.proof import Certainty, certainty, cost_told
from gateway.catalog.standing import prompts_of
from gateway.cli import Surroundings
from gateway.commands.inside import Inside, opened
from gateway.events import Leaving
from gateway.observe.usage import Spending
from gateway.quota.nouns import NoRoom, Offer
from gateway.request import outcome
from gateway.settings import EMBEDDED, Settings
from gateway.words import Deployment
from providers.chat import ChatRequest, Message, decode_fields, encode
from providers.dialect import Listing, Request
from providers.embedded import server as embedded
from providers.failures import ProviderFailure
from providers.spec import ProviderSpec

console = Console()
_PROMPT, _OUTPUT = 20, 16  # tokens of the question, and of its answer at most
_QUESTION = ChatRequest(messages=[Message("user", "Say: yes")], max_tokens=_OUTPUT)


@click.command("check")
@click.option(
    "--ask",
    is_flag=True,
    help="Also ask each provider one short question: a list proves no key. Costs one request each.",
)
@click.argument(
    "source", required=False, metavar="[FILE.toml]", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.pass_obj
def command(around: Surroundings, ask: bool, source: Path | None) -> None:
    """
    Look at every provider: is there a key, is it taken, what is free, how far it is known that nothing can cost money (proven
    by what is read, promised by the provider, or not knowable), and what it cost so far.

    With FILE.toml, try the provider that this file describes, as one of config/providers would.

    Leaves with status 1 if a provider that has a key cannot be used, or if anything was ever spent.
    """
    settings = around.settings(source)
    bad = asyncio.run(_check(settings, ask))
    if embedded.available():
        console.print("Embedded model: installed, used where there is no other source.")
    sys.exit(1 if bad else 0)


async def _check(settings: Settings, ask: bool) -> bool:
    table = Table("provider", "state", "free models", "costs nothing", "prompts", "what to know", header_style="bold")
    async with opened(settings) as inside:
        with Console(stderr=True).status(f"asking {', '.join(inside.providers) or 'no provider'} …"):
            found = await inside.look_everywhere()
            asked = {name: await _ask(inside, name) for name in found} if ask else {}
        gaps = [_gap(d) for d in inside.catalog.deployments()] if len(_shown(settings)) == 1 else []
        rows = [_row(inside, spec, found.get(spec.name), asked.get(spec.name)) for spec in _shown(settings)]
        costs = await inside.parts.costs.report()
    for row in rows:
        sure = f"{row.sure.level}: {row.sure.why}" if row.sure is not None else ""
        table.add_row(row.title, row.state, row.models, sure, row.prompts, "\n".join(filter(None, row.remarks)))
    console.print(table)
    for gap in filter(None, gaps):
        console.print(gap, soft_wrap=True)
    for source in settings.not_free:
        for key in set(source.keys).intersection(settings.useless_keys):
            console.print(f"{key} is set and not used: {source.title} is not free, {source.why}.", soft_wrap=True)
    console.print(_bill(costs, {row.name: row for row in rows}), soft_wrap=True)
    return any(row.bad for row in rows) or any(cost.spent for cost in costs)


def _shown(settings: Settings) -> list[ProviderSpec]:
    """The providers of which something can be said: the embedded model has no account."""
    return [spec for name, spec in settings.provider.items() if name != EMBEDDED]


class Row(Struct, frozen=True, kw_only=True):
    """What is known of one account. *sure* is how far it is known to cost nothing, None where it is not asked."""

    name: str
    title: str
    state: str
    models: str = ""
    sure: Certainty | None = None
    prompts: str = ""
    remarks: tuple[str, ...] = ()
    bad: bool = False


def _row(inside: Inside, spec: ProviderSpec, found: Listing | ProviderFailure | None, problem: str | None) -> Row:
    """The account at *spec*, whose list was *found*, and which had a *problem* with a question, if it was asked one."""
    name = spec.name
    judgement = inside.parts.sources.judgement(name, inside.clock.now())
    row = Row(name=name, title=spec.title, state=judgement.state, prompts=prompts_of(spec.data_policy))
    if found is None:
        return replace(row, remarks=(judgement.remedy, spec.free.because, spec.free.terms))
    models = len(inside.parts.sources.serving(name, inside.clock.now()))
    remarks = (spec.free.because, spec.free.terms, *(found.remarks if isinstance(found, Listing) else ()))
    row = replace(row, sure=certainty(spec, inside.parts.discovery.standing(name)), models=str(models), remarks=remarks)
    if judgement.reason:
        row = replace(row, remarks=(judgement.reason, judgement.remedy, *row.remarks))
    if judgement.state != "on":
        row = replace(row, bad=judgement.state == "shut" or name in inside.settings.keys)
    if problem:
        row = replace(row, state="problem", remarks=(problem, *row.remarks), bad=True)
    return row


def _gap(deployment: Deployment) -> str:
    """What is not known of *deployment*, so that requests which need it go elsewhere; empty: nothing."""
    unknown = [] if deployment.context else ["context (a [[models]] row has it)"]
    if not deployment.capabilities:
        unknown.append("capabilities (tools, vision, …: a [[models]] row, or capabilities for all)")
    return f"{deployment.name}: not known: {', '.join(unknown)}" if unknown else ""


def _bill(costs: Sequence[Spending], rows: Mapping[str, Row]) -> str:
    """
    What was spent, which has to read 0.000000, and what was saved. Where an account that served may be charged without telling, it
    is said that this cannot be known.
    """
    requests = sum(cost.requests for cost in costs)
    spent, saved = sum(cost.spent for cost in costs), sum(cost.saved for cost in costs)
    credit, unpriced = sum(cost.credit for cost in costs), sum(cost.unpriced for cost in costs)
    served = [rows[name] for name in dict.fromkeys(cost.provider for cost in costs) if name in rows]
    unsure = [row.title for row in served if row.sure is not None and row.sure.level == "not knowable"]
    if unsure and not spent:
        parts = [
            f"No answer to {requests:,} requests told of a cost; what {', '.join(unsure)} charges cannot be known from here"
        ]
    else:
        parts = [f"Spent {spent:.6f} dollars on {requests:,} requests"]
    parts.append(f"saved {saved:.4f} at the prices of the same models")
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
    tell, failed, usage = inside.parts.engine.tell, "", None
    tell(Leaving(deployment.name))
    try:
        reply = await deployment.provider.send(deployment.target, Request(_QUESTION, decode_fields(body), _PROMPT))
        reply.close()
        usage = reply.whole.usage if reply.whole else None
        outcome.check(deployment, usage, reply.observed, inside.parts.engine)
    except ProviderFailure as failure:
        failed = type(failure).__name__
        return f"{deployment.target.model}: {failed}: {failure.message}"
    finally:
        tell(outcome.departed("check", deployment, held, cost, told=cost_told(usage), failure=failed))
        inside.ledger.settle(held, cost)
    return None
