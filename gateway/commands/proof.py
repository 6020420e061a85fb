"""``freeway proof``: every call that left, why it was free, and what it cost, as the receipts have it, verified."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click
import msgspec
from msgspec import Struct

from gateway.app import RECEIPTS
from gateway.cli import Surroundings
from gateway.clock import WallClock
from gateway.observe.receipts import HEADS, Head, Receipt
from gateway.observe.receipts_audit import Audit, Day, audit, receipts_of
from gateway.quota.debited import Debited
from gateway.quota.exchange import StoreFailure
from gateway.settings import Settings
from gateway.state.store import StateFailure
from gateway.stores import debited, make_state
from gateway.wording import count


@click.group("proof", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for auditors.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """
    Verify the receipts in FREEWAY_STATE_DIR and print a line a day.

    A receipt that was changed, dropped, moved or cut off is told, and so are calls that left without one. Leaves with status 1 if
    a chain is broken, or if anything was spent.
    """
    if ctx.invoked_subcommand is not None:
        return
    settings = ctx.obj.settings()
    counts, heads, blind = asyncio.run(_known(settings))
    found = audit(settings.state_dir / RECEIPTS, heads, counts)
    found.problems += blind
    if as_json:
        click.echo(msgspec.json.encode(_for_auditors(found)))
    else:
        _print(found)
    sys.exit(0 if found.whole and not found.spent else 1)


@command.command("show")
@click.argument("request_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="A JSON array of the receipts.")
@click.pass_obj
def show(around: Surroundings, request_id: str, as_json: bool) -> None:
    """Explain the calls of one request: ID is its x-request-id. Whether they are genuine `freeway proof` says."""
    found = receipts_of(around.settings().state_dir / RECEIPTS, request_id)
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        click.echo("\n\n".join(map(_explained, found)) or f"There is no receipt of a request {request_id}.")
    sys.exit(0 if found else 1)


async def _known(settings: Settings) -> tuple[Mapping[str, Debited], Mapping[str, Head], list[str]]:
    """The calls that the ledger counts, by run, the heads that the state knows, and what cannot be read of it."""
    counts: Mapping[str, Debited] = {}
    entries: Mapping[str, bytes] = {}
    blind = []
    try:
        counts = await debited(settings)
    except StoreFailure as exc:
        blind.append(f"the ledger cannot be read, so that calls without a receipt are not seen: {exc}")
    backend = make_state(settings, WallClock(), lambda _: None)
    try:
        entries = await backend.read(HEADS)
    except StateFailure as exc:
        blind.append(f"the state cannot be read, so that what was cut off is not seen: {exc}")
    finally:
        await backend.aclose()
    return counts, {run: msgspec.json.decode(entry, type=Head) for run, entry in entries.items()}, blind


def _print(found: Audit) -> None:
    for date, day in sorted(found.days.items()):
        click.echo(_line(date, day))
    for run in found.runs:
        for said in (run.problem, *run.notes):
            if said:
                click.echo(f"run {run.run}: {said}")
    for problem in found.problems:
        click.echo(problem)
    if not found.days and found.whole:
        click.echo("No call has left.")


def _line(date: str, day: Day) -> str:
    """``2026-11-27: 1 204 calls, 9 sources, 0.000000 dollars, chain unbroken``"""
    chain = "chain BROKEN" if day.broken else "chain unbroken"
    paid = f" and {day.credit:.6f} of free credits" if day.credit else ""
    calls, sources = count(day.calls, "call"), count(len(day.sources), "source")
    return f"{date}: {calls}, {sources}, {day.dollars - day.credit:.6f} dollars{paid}, {chain}"


def _explained(receipt: Receipt) -> str:
    when, read = (
        datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") for at in (receipt.at, receipt.proof.since)
    )
    debits = ", ".join(f"{amount:g} of {bucket}" for bucket, amount in receipt.debits.items()) or "nothing"
    told = "nothing of a cost" if receipt.told is None else f"that it cost {receipt.told:.6f} dollars"
    return (
        f"{when}: {receipt.request} left for {receipt.deployment}, and was {_came(receipt)}.\n"
        f"It was free because {receipt.proof.because} ({receipt.proof.source}; read {read}).\n"
        f"Debited: {debits}. The answer says {told}. Receipt {receipt.number} of its run."
    )


def _came(receipt: Receipt) -> str:
    return "answered" if receipt.came == "answered" else f"not answered: {receipt.came}"


class _Day(Struct, frozen=True):
    date: str
    calls: int
    sources: list[str]
    dollars: float
    credit: float
    silent: int
    unbroken: bool


def _for_auditors(found: Audit) -> dict[str, Any]:
    days = [
        _Day(date, day.calls, sorted(day.sources), day.dollars - day.credit, day.credit, day.silent, not day.broken)
        for date, day in sorted(found.days.items())
    ]
    return {
        "whole": found.whole,
        "spent": found.spent,
        "days": days,
        "runs": found.runs,
        "problems": found.problems,
    }
