"""``python -m tests.bench``: what a gateway costs, beside its peers, in one run on this machine. See README.md."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console

from tests.bench import report, wire
from tests.bench.contenders import CONTENDERS, DIRECT, FREEWAY, HERE, ROOT, Contender, LeftOut
from tests.bench.load import WrongAnswer
from tests.bench.measure import QUICK, Figures, Machine, Plan, Visit
from tests.bench.processes import REST, Tree

console = Console(stderr=True, highlight=False, soft_wrap=True)


@click.command()
@click.option("--quick", is_flag=True, help="Small counts, one round.")
@click.option("--only", default="", help="Names, with commas: freeway,bare. Direct calls are always measured.")
def main(quick: bool, only: str) -> None:
    """Measure gateways side by side: one worker each, on a core of its own."""
    names = {name.strip() for name in only.split(",") if name.strip()} or set(CONTENDERS)
    unknown = names - set(CONTENDERS)
    if unknown:
        raise click.BadParameter(f"no such contender: {', '.join(unknown)}; there are {', '.join(CONTENDERS)}")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))  # so that what was started is stopped
    load_before = os.getloadavg()[0]
    contenders, left_out = _ready({DIRECT, *names})
    with TemporaryDirectory(prefix="freeway-bench-") as folder:
        fake = _fake_upstream(Path(folder))
        try:
            figures, remarks = _visits(Machine(Path(folder), _port(fake)), contenders, QUICK if quick else Plan())
        finally:
            fake.stop()
    found = report.Report(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=report.machine(load_before),
        plan=QUICK if quick else Plan(),
        titles={name: contender.title for name, contender in contenders.items()},
        left_out=left_out,
        remarks=remarks,
        figures=figures,
        summaries=report.summarize(figures),
    )
    report.show(found, Console(highlight=False))
    console.print(f"Everything that was found: {report.save(found, ROOT / 'bench-results').relative_to(ROOT)}")
    sys.exit(1 if any(name.startswith(FREEWAY) and not figures[name] for name in contenders) else 0)


def _ready(names: set[str]) -> tuple[dict[str, Contender], dict[str, str]]:
    """Those that can be measured, and why others cannot."""
    contenders, left_out = {}, {}
    for name, make in CONTENDERS.items():
        if name not in names:
            left_out[name] = "not asked for"
            continue
        try:
            contenders[name] = make()
        except LeftOut as exc:
            left_out[name] = str(exc)
    return contenders, left_out


def _visits(
    machine: Machine, contenders: dict[str, Contender], plan: Plan
) -> tuple[dict[str, list[Figures]], list[str]]:
    """Visit all contenders in turn, as often as the plan says, so that a busy minute does not fall on one of them alone."""
    found: dict[str, list[Figures]] = {name: [] for name in contenders}
    remarks = []
    for number in range(1, plan.rounds + 1):
        for name, contender in contenders.items():
            console.print(f"round {number} of {plan.rounds}: {contender.title}")
            weighs = not any(figures.peak_memory for figures in found[name])
            try:
                figures = Visit(machine, contender, plan, weighs=weighs).measure()
            except (WrongAnswer, OSError) as exc:
                remarks.append(f"{name}: round {number} does not count: {exc}")
                console.print(f"    {remarks[-1]}", markup=False)
                continue
            found[name].append(figures)
            console.print(f"    {report.line(figures)}")
            if figures.asked_upstream != 1.0:
                remarks.append(f"{name}: {figures.asked_upstream:.3f} upstream calls a request in round {number}")
            if 0 < figures.memory_after < plan.memory_after:
                remarks.append(f"{name}: peak memory is after {figures.memory_after} requests only")
    return found, [*remarks, f"peak memory is after {plan.memory_after} requests"]


def _fake_upstream(folder: Path) -> Tree:
    """The fake upstream, compiled into *folder* beside what it plays, and started."""
    asyncio.run(wire.write(folder))
    program = str(folder / "upstream")
    try:
        subprocess.run(["cc", "-O2", "-std=gnu11", "-o", program, str(HERE / "upstream.c")], check=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        raise click.ClickException(f"the fake upstream needs a C compiler (cc): {exc}") from exc
    return Tree([program, str(folder)], {}, folder / "upstream.log", REST)


def _port(fake: Tree) -> int:
    """Where it listens, which it prints."""
    while not fake.said().endswith("\n"):
        if fake.ended():
            raise click.ClickException(f"the fake upstream did not start: {fake.said()}")
        time.sleep(0.01)
    return int(fake.said())


if __name__ == "__main__":
    main()
