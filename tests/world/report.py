"""What a run came to: served of the optimum, and what was lost, by cause, kind, provider and minute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from statistics import median

from msgspec import Struct

from tests.world.judge import VERDICTS
from tests.world.models import Call
from tests.world.run import Run, Told

_PROMPTLY = 2.0
"""Seconds within which a call follows its request, if nobody waited."""


class Summary(Struct, frozen=True, kw_only=True):
    """
    One run in figures. *unforeseen*: the optimum without knowing how long answers will be; 0: the same. *avoidable*: refusals (429) by limits that a provider publishes. *wasted*: calls that could only
    fail, beyond the first of each kind at each deployment, for each right answer. *idle*: how often a deployment had room when
    a request was refused or left unanswered that it could have answered.
    """

    scenario: str
    subject: str
    seed: int
    asked: int
    optimum: float
    verdicts: dict[str, int]
    avoidable: dict[str, int]
    wasted: float
    p50: float
    p95: float
    causes: dict[str, int]
    idle: dict[str, int]
    kinds: dict[str, tuple[int, int]]
    providers: dict[str, tuple[int, int]]
    p_minutes: list[dict[str, int]]
    unforeseen: float = 0.0

    @property
    def share(self) -> float:
        """Right answers of what could be answered."""
        return self.verdicts["right"] / self.optimum if self.optimum else 1.0

    @property
    def share_unforeseen(self) -> float:
        """Right answers of what could be answered by one that does not know how long answers will be."""
        return self.verdicts["right"] / self.unforeseen if self.unforeseen else self.share

    @property
    def wrong(self) -> int:
        return self.verdicts["wrong"]


def summary(run: Run, optimum: float) -> Summary:
    """*run* in figures."""
    verdicts = Counter(told.verdict for told in run.told)
    waits = sorted(told.seconds for told in run.told if told.verdict == "right") or [0.0]
    calls: dict[str, list[Call]] = {}
    for call in run.calls:
        calls.setdefault(call.tag, []).append(call)
    kinds = sorted({told.asking.kind.name for told in run.told})
    return Summary(
        scenario=run.scenario,
        subject=run.subject,
        seed=run.seed,
        asked=len(run.told),
        optimum=optimum,
        verdicts={verdict: verdicts[verdict] for verdict in VERDICTS},
        avoidable=dict(Counter(f"{call.source}: {call.cause}" for call in run.calls if _published(call))),
        wasted=_wasted(run.calls) / max(1, verdicts["right"]),
        p50=median(waits),
        p95=waits[int(len(waits) * 0.95)] if len(waits) > 1 else waits[0],
        causes=dict(Counter(_causes(run.told, calls)).most_common()),
        idle=dict(Counter(name for told in run.told for name in told.had_room).most_common()),
        kinds={kind: _of_kind(run.told, kind) for kind in kinds},
        providers={
            name: (sum(not call.cause for call in own), len(own)) for name, own in _by_source(run.calls).items()
        },
        p_minutes=_by_minute(run),
    )


def _published(call: Call) -> bool:
    """A refusal by a limit that whoever counts does not run into: nothing of it was secret, or used before the world began."""
    return call.status == 429 and "/" in call.cause and not call.cause.endswith(")")


def _wasted(calls: Iterable[Call]) -> int:
    first, wasted = set[tuple[str, str, str]](), 0
    for call in calls:
        if not call.cause or not call.lasting:
            continue
        kind = (call.source, call.model, call.cause)
        wasted += kind in first
        first.add(kind)
    return wasted


def _of_kind(told: Iterable[Told], kind: str) -> tuple[int, int]:
    own = [one for one in told if one.asking.kind.name == kind]
    return sum(one.verdict == "right" for one in own), len(own)


def _by_source(calls: Iterable[Call]) -> dict[str, list[Call]]:
    found: dict[str, list[Call]] = {}
    for call in calls:
        found.setdefault(call.source, []).append(call)
    return found


def _by_minute(run: Run) -> list[dict[str, int]]:
    found = [dict.fromkeys((*VERDICTS, "waiting"), 0) for _ in range(int(run.seconds // 60) + 4)]
    for told in run.told:
        end = min(len(found) - 1, int(((told.heard.over_at or told.began) - run.begin) // 60))
        found[end][told.verdict] += 1
        shown = (told.heard.visible_at or told.heard.over_at or told.began) - run.begin
        for minute in range(int(told.asking.at // 60) + 1, min(len(found) - 1, int(shown // 60)) + 1):
            found[minute]["waiting"] += 1
    return found


# ── why a request was lost ──


def _causes(told: Iterable[Told], calls: dict[str, list[Call]]) -> Iterator[str]:
    for one in told:
        if one.verdict != "right":
            yield _cause(one, calls.get(one.asking.tag, []))


def _cause(told: Told, calls: list[Call]) -> str:
    over = told.heard.over_at or told.began
    last = calls[-1] if calls else None
    match told.verdict:
        case "wrong" | "cut":
            where = f"{last.source}/{last.model}" if last else "nobody"
            return f"{told.verdict}: {told.asking.kind.name} by {where}"
        case "late":
            under_way = [call for call in calls if call.over is None or call.over >= over]
            return _late(told, under_way, calls)
        case _:
            return _refused(told, calls)


def _late(told: Told, under_way: list[Call], calls: list[Call]) -> str:
    if not under_way:
        failed = ", after failures" if calls else ""
        return f"late: left while it waited{failed}{', with room' if told.had_room else ''}"
    if any(call.cause == "hangs" for call in under_way):
        return f"late: {under_way[-1].source} hangs"
    call = under_way[0]
    if call.at - told.began <= _PROMPTLY:
        return f"late: slow at {call.source}"
    before = [one for one in calls if one.over is not None and one.over < call.at]
    return f"late: begun too late at {call.source}, after {'failures' if before else 'waiting'}"


def _refused(told: Told, calls: list[Call]) -> str:
    room = " with room" if told.had_room else ""
    if not calls:
        return f"refused unasked{room}" if told.heard.over_at == told.began else f"refused after waiting{room}"
    causes = Counter(call.cause for call in calls)
    return f"refused after {causes.most_common(1)[0][0] or 'an answer'} at {calls[-1].source}{room}"
