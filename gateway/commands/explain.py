"""``freeway explain``: which source would serve a prompt, and why no other one, in words."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any

import click
import msgspec

from gateway.cli import Surroundings
from gateway.commands.check import look_everywhere
from gateway.commands.running import asked, asks
from gateway.commands.tables import Column, show, table, width
from gateway.request.explain import Explanation, Ranked
from gateway.wording import count, duration, number, opens

_COLUMNS = (
    Column("source", text=True, least=20),
    Column("score", right=True),
    Column("fitness", right=True),
    Column("price", right=True),
    Column("typical", right=True, spare=1),
    Column("", spare=2),
)
_SHOWN = 5


@click.command("explain")
@click.argument("prompt", nargs=-1, required=True)
@click.option("--model", default="auto", show_default=True, help="What would be asked for.")
@click.option("--max-tokens", type=click.IntRange(1), help="The bound of the answer.")
@click.option("--tools", is_flag=True, help="As if a program offered tools.")
@click.option("--no-train", is_flag=True, help="As if nothing might be trained on the prompt.")
@click.option("--numbers", is_flag=True, help="Also the scores, and every source that was left out.")
@click.option("--json", "as_json", is_flag=True, help="All of it as one JSON object.")
@asks
@click.pass_obj
def command(
    around: Surroundings, /, prompt: tuple[str, ...], numbers: bool, as_json: bool, gateway: str | None, key: str | None,
    **wanted: Any,
) -> None:  # fmt: skip
    """
    Say which source would serve PROMPT now, and why no other one would. Nothing is sent and no quota is touched.

    Leaves with status 1 if none could.
    """
    body = _body(" ".join(prompt), **wanted)
    with asked(around, gateway, key, quiet=as_json) as there:
        if not there.runs:
            look_everywhere(there)
        found = there.post("explain", Explanation, body)
        now = there.now()
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        show(lines(found, now, width(), numbers=numbers), width())
    if found.chosen is None:
        sys.exit(1)


def _body(prompt: str, model: str, max_tokens: int | None, tools: bool, no_train: bool) -> dict[str, Any]:
    """The chat request that would be made."""
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    body |= {"max_tokens": max_tokens} if max_tokens else {}
    body |= {"tools": [_TOOL]} if tools else {}
    return body | ({"provider": {"data_collection": "deny"}} if no_train else {})


_TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}


def lines(found: Explanation, now: float, room: int, *, numbers: bool) -> Iterable[str]:
    """What is printed: who serves, what was needed, why others do not."""
    yield from _verdict(found, now)
    needs = found.needs
    wanted = [*needs.capabilities, *(["no training on prompts"] if needs.no_train else [])]
    yield (
        f"It needs about {number(needs.prompt_tokens)} tokens for the prompt and {number(needs.output_tokens)} for the answer"
        + (f", and {', '.join(wanted)}." if wanted else ".")
    )
    if needs.instead_of:
        yield f"{needs.instead_of} is gone: {', '.join(needs.models)} stands in."
    if numbers:
        yield from _numbers(found, now, room)
        return
    if len(found.ranked) > 1:
        others = [one.deployment for one in found.ranked[1 : _SHOWN + 1]]
        more = (
            f" and {count(len(found.ranked) - 1 - len(others), 'more')}" if len(found.ranked) - 1 > len(others) else ""
        )
        yield f"Should it fail, the next would be {', '.join(others)}{more}."
    yield from _left_out(found, now)


def _verdict(found: Explanation, now: float) -> Iterable[str]:
    if found.ranked:
        yield f"{found.ranked[0].deployment} would serve it{_why(found.ranked[0], found.needs.prefer)}."
        return
    if found.told is not None:
        yield f"No source can serve it now: {found.told.message}"
    if found.expected is not None and found.expected.waits:
        yield f"It would wait: {found.expected.said}"
    elif found.opens_at is not None and found.opens_at > now:
        yield f"The first opens {opens(found.opens_at, now)}."


def _why(best: Ranked, prefer: str) -> str:
    """What speaks for the first one."""
    reasons = []
    if best.last_resort:
        return ", as the last resort: nothing else can"
    if best.preference != (0, 0):
        reasons.append("it is next in the order that was asked for")
    if best.warm:
        reasons.append("it has the beginning of the conversation in its cache")
    if best.price <= _CHEAP:
        reasons.append("its quota is plentiful")
    if best.seconds is not None:
        reasons.append(f"it answers in about {duration(best.seconds)}")
    if prefer != "balance":
        reasons.append(f"{prefer} is preferred")
    return f": {', '.join(reasons)}" if reasons else ""


_CHEAP = 0.05
"""A price below which others will not miss the quota."""


def _left_out(found: Explanation, now: float) -> Iterable[str]:
    """The sources that were left out, by the kind of reason, with the soonest that comes back."""
    if not found.excluded:
        return
    by_kind = Counter(one.kind for one in found.excluded)
    yield f"{count(len(found.excluded), 'other')} cannot or need not:"
    for kind, amount in by_kind.most_common():
        those = [one for one in found.excluded if one.kind == kind]
        soonest = min((one.until for one in those if one.until is not None), default=None)
        when = f"; the first {opens(soonest, now)}" if soonest is not None and soonest > now else ""
        yield f"  {amount} {_KINDS.get(kind, kind)}, such as {those[0].deployment}{when}"
    yield "`--numbers` shows each of them, and the scores."


_KINDS = {
    "quota": "have used up a limit",
    "cooling": "failed a moment ago and are left alone",
    "capability": "cannot do what it needs",
    "context": "hold less than the prompt",
    "size": "have no quota that could hold it at once",
    "privacy": "may train on prompts",
    "policy": "are not allowed for this key",
    "choice": "were not asked for",
    "queue": "have others waiting for them",
    "withdrawn": "are out of service",
    "proof": "are not proved to be free now",
    "rank": "are worth less than enough others",
    "failed": "failed",
}


def _numbers(found: Explanation, now: float, room: int) -> Iterable[str]:
    if found.ranked:
        rows = [
            (
                one.deployment,
                f"{one.score:.3f}",
                f"{one.fitness:.3f}",
                f"{one.price:.3f}",
                duration(one.seconds) if one.seconds is not None else "",
                "warm" if one.warm else "last resort" if one.last_resort else "",
            )
            for one in found.ranked
        ]
        yield ""
        yield from table(_COLUMNS, rows, room)
        yield from (f"{one.deployment}: {reason}" for one in found.ranked for reason in one.held_back)
    if found.excluded:
        yield ""
        for one in found.excluded:
            when = f"; {opens(one.until, now)}" if one.until is not None and one.until > now else ""
            yield f"{one.deployment}: {one.reason}{when}"
