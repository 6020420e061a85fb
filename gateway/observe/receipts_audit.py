"""
Whether the receipts are whole: every chain from its beginning (or from where older files were deleted) to its head, every seal
by the gateway's key, each head against what the state knows of it, and the calls of each run against those that the ledger counts
as debited.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import msgspec
from msgspec import Struct, field

from gateway import wording
from gateway.observe import receipts as r
from gateway.observe.receipts import Head, Line, Pruned, Receipt, RunHeader, Seal
from gateway.quota.debited import Debited

_SOON = 5.0
"""Seconds within which a run that has debited calls has written something, if not of these calls."""

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Broken(Exception):
    """The chain is not what was written; says where and how."""


class Day(Struct):
    """What left on a day (UTC): calls, the sources that were asked, dollars that were told, and of these a credit's."""

    calls: int = 0
    sources: set[str] = field(default_factory=set)
    dollars: float = 0.0
    credit: float = 0.0
    silent: int = 0  # calls of which nothing was told
    broken: bool = False


class Run(Struct):
    """
    One chain: how many receipts, what is wrong with it, and what else is to be said of it. So many of its calls the ledger counts as
    *debited* (None: it does not know the run), and of these so many have no receipt although they may have left.
    """

    run: str
    count: int = 0
    closed: bool = False
    problem: str = ""
    notes: list[str] = field(default_factory=list)
    debited: int | None = None
    without_receipt: int = 0

    def compare(self, known: Debited | None, ended: int, *, lives: bool) -> None:
        """Say which of the calls that the ledger counts are missing, if those that have *ended* are not."""
        if known is None:
            return
        self.debited, self.without_receipt = known.calls, max(0, known.calls - ended)
        if self.without_receipt:
            said = "no receipt yet" if lives else "no receipt"
            self.notes.append(f"{wording.count(self.without_receipt, 'call')} debited, {said}")


class Audit(Struct):
    """All that was found. *problems* are those of no one chain."""

    runs: list[Run] = field(default_factory=list)
    days: dict[str, Day] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return not self.problems and not any(run.problem for run in self.runs)

    @property
    def spent(self) -> float:
        """Dollars told that no credit paid."""
        return sum(day.dollars - day.credit for day in self.days.values())


def audit(folder: Path, heads: Mapping[str, Head], debited: Mapping[str, Debited] = MappingProxyType({})) -> Audit:
    """
    Look at every chain in *folder*; *heads* are those that the state knows, *debited* what the ledger counts. Both are to be read
    before, in the other order: what is written meanwhile is not missed then.

    Raises OSError if a file cannot be read.
    """
    found = Audit()
    files = _by_run(folder)
    key = (folder / "key").read_bytes() if (folder / "key").is_file() else b""
    pruned = _pruned(folder, key, found)
    for run, paths in files.items():
        chain = _Chain(run, key, heads.get(run), debited.get(run), pruned, found)
        found.runs.append(chain.follow(paths, folder))
    for path in sorted(folder.glob("*.tally")):
        left, lives = r.tallied(path)
        known = debited.get(path.stem)
        if path.stem not in files and (left or known):
            one = Run(path.stem, notes=[f"{wording.count(left, 'call')} left, no receipt"] if left else [])
            one.compare(known, 0, lives=lives)
            found.runs.append(one)
    here = files.keys() | {one.run for one in pruned.values() if one.last}
    for name in sorted((heads.keys() | debited.keys() - {run.run for run in found.runs}) - here):
        _elsewhere(name, heads.get(name), debited.get(name), key, found)
    return found


def _elsewhere(name: str, head: Head | None, known: Debited | None, key: bytes, found: Audit) -> None:
    """A run of which nothing is here: another gateway has kept its receipts, or they are missing."""
    if head is not None and (not key or head.key == r.name_of(key)):
        found.problems.append(f"run {name}: its {head.count} receipts are missing")
    elif head is None and known is not None and known.took > _SOON:
        found.problems.append(
            f"run {name}: {wording.count(known.calls, 'call')} debited, and nothing is known of its receipts"
        )
    else:
        run = Run(
            name, 0 if head is None else head.count, notes=["kept by another gateway"] if head is not None else []
        )
        run.compare(known, 0 if head is None else head.ended, lives=known is not None and known.lives)
        found.runs.append(run)


def receipts_of(folder: Path, request: str) -> list[Receipt]:
    """The receipts of one *request*, in their order. Whether they are genuine is for ``audit`` to say."""
    found = []
    for paths in _by_run(folder).values():
        for path in paths:
            for _, line in _lines(path):
                if request.encode() in bytes(line.receipt):
                    receipt = msgspec.json.decode(line.receipt, type=Receipt)
                    if receipt.request == request:
                        found.append(receipt)
    return found


def _by_run(folder: Path) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*-*.jsonl")):
        files.setdefault(path.name.partition("-")[2].partition(".")[0], []).append(path)
    return files


def _lines(path: Path) -> Iterator[tuple[int, Line]]:
    """The lines of a file by number. Raises Broken for one that is none, unless it is a last one that was not finished."""
    content = path.read_bytes()
    for number, line in enumerate(content.splitlines(keepends=True), 1):
        try:
            yield number, msgspec.json.decode(line, type=Line)
        except _UNREADABLE as exc:
            if line.endswith(b"\n"):
                raise Broken(f"{path.name}, line {number}: cannot be read") from exc
            return


def _opened(key: bytes, kind: str, content: bytes, sig: str, where: str) -> bytes:
    """*content*, if *sig* is the key's."""
    if not hmac.compare_digest(r.signature(key, kind, content).encode(), sig.encode()):
        raise Broken(f"{where}: the signature is not this gateway's")
    return content


def _pruned(folder: Path, key: bytes, found: Audit) -> dict[tuple[str, int], Pruned]:
    path = folder / r.PRUNED
    known: dict[tuple[str, int], Pruned] = {}
    if not path.is_file():
        return known
    try:
        for number, line in _lines(path):
            content = _opened(key, "pruned", bytes(line.pruned), line.sig, f"{r.PRUNED}, line {number}")
            one = msgspec.json.decode(content, type=Pruned)
            known[one.run, one.segment] = one
    except (Broken, *_UNREADABLE) as exc:
        found.problems.append(str(exc))
    return known


class _Chain:
    """Follows one run through its files."""

    def __init__(
        self,
        run: str,
        key: bytes,
        known: Head | None,
        debited: Debited | None,
        pruned: Mapping[tuple[str, int], Pruned],
        into: Audit,
    ) -> None:
        self._run, self._key, self._known, self._pruned, self._into = Run(run), key, known, pruned, into
        self._debited = debited
        self._count, self._head = 0, r.start_of(run)
        self._sealed = self._lost = self._ended = 0
        self._met_known = known is None
        self._pending: list[Receipt] = []  # since the last seal
        self._days: set[str] = set()

    def follow(self, paths: list[Path], folder: Path) -> Run:
        try:
            for path in paths:
                self._file(path)
            self._end(folder)
        except (Broken, *_UNREADABLE) as exc:
            self._run.problem = str(exc)
            for date in self._days or {"unknown"}:
                self._into.days.setdefault(date, Day()).broken = True
        self._run.count = self._count
        return self._run

    def _file(self, path: Path) -> None:
        lines = _lines(path)
        number, first = next(lines, (1, Line()))
        where = f"{path.name}, line {number}"
        header = msgspec.json.decode(
            _opened(self._key, "header", bytes(first.header), first.sig, where), type=RunHeader
        )
        self._begin(header, path.name)
        for number, line in lines:
            self._line(line, f"{path.name}, line {number}")

    def _begin(self, header: RunHeader, name: str) -> None:
        """The file that *header* heads continues the chain, or begins where a deleted one ended."""
        if header.run != self._run.run or f".{header.segment:06d}." not in name:
            raise Broken(f"{name}: it is the file of another run, or another place in it")
        before = self._pruned.get((header.run, header.segment - 1))
        if self._count == 0 and before is not None:
            self._count, self._head, self._sealed = before.count, before.head, before.count
            self._run.notes.append(f"the first {before.count} receipts were deleted for their age")
        if (header.count, header.head) != (self._count, self._head):
            raise Broken(f"{name}: receipts before it are missing")
        self._met(0)

    def _line(self, line: Line, where: str) -> None:
        if content := bytes(line.receipt):
            receipt = msgspec.json.decode(content, type=Receipt)
            self._head = r.linked(self._head, content)
            if receipt.number != self._count + 1 or self._head != line.hash:
                raise Broken(f"{where}: it does not follow the receipt before it")
            self._count += 1
            self._pending.append(receipt)
            self._days.add(_date(receipt.at))
            self._met(receipt.number)
            return
        seal = msgspec.json.decode(_opened(self._key, "seal", bytes(line.seal), line.sig, where), type=Seal)
        if (seal.count, seal.head) != (self._count, self._head):
            raise Broken(f"{where}: receipts before it are missing")
        self._sealed, self._lost, self._ended, self._run.closed = seal.count, seal.lost, seal.ended, seal.closed
        for receipt in self._pending:
            self._add(receipt)
        self._pending.clear()

    def _met(self, number: int) -> None:
        """The state's own copy of the head, where the chain comes by it."""
        if self._known is not None and self._count == self._known.count and number in (0, self._known.count):
            if self._head != self._known.head:
                raise Broken(f"run {self._run.run}: receipt {self._count} is not the one that the state knows")
            self._met_known = True

    def _end(self, folder: Path) -> None:
        run = self._run
        if self._known is not None and self._known.count > self._sealed:
            raise Broken(f"run {run.run}: {self._known.count - self._sealed} receipts at its end are missing")
        if self._pending:
            run.notes.append(f"{len(self._pending)} receipts at its end are not sealed, and not counted here")
        if self._lost:
            run.notes.append(f"{self._lost} calls left while too many receipts waited: they have none")
        tally = folder / f"{run.run}.tally"
        left, lives = r.tallied(tally) if tally.is_file() else (0, False)
        run.compare(self._debited, self._ended, lives=lives)
        if tally.is_file():
            without = max(0, left - self._sealed - self._lost)
            if without:
                run.notes.append(
                    f"{wording.count(without, 'call')} left, {'no receipt yet' if lives else 'no receipt'}"
                )
            if not lives and not run.closed:
                run.notes.append("its process was killed")
        elif not run.closed:
            raise Broken(f"run {run.run}: it was not closed, and its tally of calls is missing")

    def _add(self, receipt: Receipt) -> None:
        day = self._into.days.setdefault(_date(receipt.at), Day())
        day.calls += 1
        day.sources.add(receipt.deployment.partition("/")[0])
        if receipt.told is None:
            day.silent += 1
        else:
            day.dollars += receipt.told
            day.credit += receipt.told if receipt.proof.kind == "credit" else 0.0


def _date(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"
