"""``python -m tests.bench``: what a gateway costs, beside its peers, in one run on this machine. See README.md."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console

from tests.bench import bars, report, wire
from tests.bench.contenders import DIRECT, FREEWAY, PINNED, ROOT, Contender, LeftOut, all_contenders
from tests.bench.load import WrongAnswer
from tests.bench.measure import QUICK, Figures, Machine, Plan, Visit
from tests.bench.processes import Tree

console = Console(stderr=True, highlight=False, soft_wrap=True)


@click.command()
@click.option("--quick", is_flag=True, help="Small counts, one round.")
@click.option("--only", default="", help="Names, with commas: freeway,bare. Direct calls are always measured.")
def main(quick: bool, only: str) -> None:
    """Measure gateways side by side: one worker each, on a core of its own."""
    names = [name.strip() for name in only.split(",") if name.strip()] or list(all_contenders())
    unknown = set(names) - set(all_contenders())
    if unknown:
        raise click.BadParameter(
            f"no such contender: {', '.join(sorted(unknown))}; there are {', '.join(all_contenders())}"
        )
    plan = QUICK if quick else Plan()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    load_before = os.getloadavg()[0]
    with TemporaryDirectory(prefix="freeway-bench-") as folder:
        fake = Tree([str(_compiled(Path(folder))), folder], {}, Path(folder) / "upstream.log", listen=True)
        try:
            bench = Bench(Machine(Path(folder), int(fake.first_line())), plan, {DIRECT, *names})
            os.sched_setaffinity(fake.pid, bench.machine.cores.rest)
            bench.run()
        finally:
            fake.stop()
    summaries = bars.summarize(bench.found)
    found = report.Report(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=report.machine(load_before),
        quick=quick,
        plan=plan,
        titles={name: contender.title for name, contender in bench.contenders.items()},
        summaries=summaries,
        verdicts=bars.judge(summaries),
        left_out=bench.left_out,
        failed=bench.failed,
        figures=bench.found,
    )
    report.show(found, Console(highlight=False))
    console.print(f"Everything that was found: {report.save(found, ROOT / 'bench-results').relative_to(ROOT)}")
    sys.exit(1 if {FREEWAY, PINNED} & {*bench.failed, *bench.left_out} else 0)


class Bench:
    """Visits everybody in turn, as often as the plan says, so that a busy minute does not fall on one of them alone."""

    def __init__(self, machine: Machine, plan: Plan, names: set[str]) -> None:
        self.machine, self.plan = machine, plan
        self.contenders: dict[str, Contender] = {}
        self.found: dict[str, Figures] = {}
        self.left_out: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        for name, make in all_contenders().items():
            if name not in names:
                self.left_out[name] = "not asked for"
                continue
            console.print(f"getting {name} ready")
            try:
                self.contenders[name] = make()
                self.found[name] = Figures()
            except LeftOut as exc:
                self.left_out[name] = str(exc)

    def run(self) -> None:
        for number in range(self.plan.rounds):
            for name, contender in self.contenders.items():
                if name not in self.failed:
                    console.print(f"round {number + 1} of {self.plan.rounds}: {contender.title}")
                    self._visit(contender, last=number == self.plan.rounds - 1)

    def _visit(self, contender: Contender, *, last: bool) -> None:
        try:
            Visit(self.machine, contender, self.plan, self.found[contender.name]).measure(last=last)
        except (WrongAnswer, OSError) as exc:
            console.print(f"    failed: {exc}", markup=False)
            self.failed[contender.name] = str(exc)
            del self.found[contender.name]
        else:
            report.progress(console, contender.name, self.found)


def _compiled(folder: Path) -> Path:
    """The fake upstream, compiled into *folder* beside what it plays."""
    wire.write(folder)
    program = folder / "upstream"
    source = Path(__file__).with_name("upstream.c")
    try:
        subprocess.run(["cc", "-O2", "-std=gnu11", "-o", str(program), str(source)], check=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        raise click.ClickException(f"the fake upstream needs a C compiler (cc): {exc}") from exc
    return program


if __name__ == "__main__":
    main()
