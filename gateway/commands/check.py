"""``freeway check``: every provider's key, plan, models, and risk of cost. Stricter than the server."""

from __future__ import annotations

import asyncio
import sys

import click
import msgspec
from rich.console import Console
from rich.table import Table

from gateway.cli import Surroundings
from gateway.commands.inside import Inside, opened
from gateway.ledger.nouns import Cost, NoRoom, Wanted
from gateway.settings import EMBEDDED, Settings
from gateway.words import Deployment
from providers import embedded
from providers.chat import ChatRequest, Message, decode_fields, encode
from providers.dialect import Request
from providers.failures import ProviderFailure

console = Console()
_QUESTION = ChatRequest(messages=[Message("user", "Say: yes")], max_tokens=16)
_COST = Cost(prompt=20, output=16)


@click.command("check")
@click.option(
    "--ask",
    is_flag=True,
    help="Also ask each provider one short question: a list proves no key. Costs one request each.",
)
@click.pass_obj
def command(around: Surroundings, ask: bool) -> None:
    """
    Look at every provider: is there a key, is it taken, what is free, what could cost money.

    Leaves with status 1 if a provider that has a key cannot be used.
    """
    settings = around.settings()
    bad = asyncio.run(_check(settings, ask))
    if embedded.available():
        console.print("Embedded model: installed, used where there is no other source.")
    sys.exit(1 if bad else 0)


async def _check(settings: Settings, ask: bool) -> bool:
    table = Table("provider", "key", "free models", "trains on prompts", "what to know", header_style="bold")
    bad = False
    async with opened(settings) as inside:
        with Console(stderr=True).status(f"asking {', '.join(inside.providers) or 'nobody'} …"):
            found = await inside.look_everywhere()
            asked = {name: await _ask(inside, name) for name in found} if ask else {}
        for name, spec in settings.provider.items():
            if name == EMBEDDED:
                continue
            listing = found.get(name)
            remarks = [spec.free.because]
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
            table.add_row(spec.title, state, models, spec.data_policy.trains, "\n".join(r for r in remarks if r))
    console.print(table)
    return bad


async def _ask(inside: Inside, name: str) -> str | None:
    """Ask one question; returns what went wrong."""
    served: list[Deployment] = [d for d in inside.catalog.deployments() if d.provider.name == name]
    if not served:
        return None
    deployment = max(served, key=lambda d: d.quality)
    held = await inside.ledger.reserve([Wanted(deployment.name, deployment.buckets, _COST)])
    if isinstance(held, NoRoom):
        return "its quota is used up, so it was not asked"
    body = encode(msgspec.structs.asdict(_QUESTION))
    try:
        reply = await deployment.provider.send(deployment.target, Request(_QUESTION, decode_fields(body), 20))
        reply.close()
    except ProviderFailure as failure:
        return f"{deployment.target.model}: {type(failure).__name__}: {failure.message}"
    finally:
        inside.ledger.settle(held, _COST)
    return None
