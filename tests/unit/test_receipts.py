"""Whatever is changed, dropped, moved or cut off of the receipts is found out, and a call that left without one is told."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.events import Leaving, Left, ProofRead
from gateway.observe import receipts as r
from gateway.observe.receipts import Head, Receipts, tallied
from gateway.observe.receipts_audit import audit, receipts_of
from gateway.quota.debited import Debited
from gateway.state.sqlite import SqliteState
from gateway.state.store import StateStore
from tests.clock import FakeClock
from tests.conftest import ROOT

PROOF = ProofRead("prices", "every price is zero", "the list, 2026-11", 1_795_000_000.0)
AT = 1_795_776_000.0  # 2026-11-27


def left(number: int = 0, **more: Any) -> Left:
    provider = ("groq", "openrouter", "ollama")[number % 3]
    plain = Left(
        request=f"req_{number}",
        deployment=f"{provider}/model",
        at=AT + number,
        proof=PROOF,
        debits={f"{provider}/*/requests/day": 1.0},
        told=0.0 if number % 2 else None,
    )
    return msgspec.structs.replace(plain, **more)


class Scene:
    """Receipts in *folder*, and the state that they tell their heads to."""

    def __init__(self, folder: Path, **sizes: int) -> None:
        self.folder, self.clock = folder, FakeClock(AT)
        self.state = StateStore(SqliteState(None, self.clock), self.clock)
        self.counted: dict[str, int] = {}  # as the ledger does, by run
        self.receipts = self.begin(**sizes)

    def begin(self, **sizes: int) -> Receipts:
        self.clock.advance(1)
        run = f"run{len(self.counted)}"
        self.ended = self.counted[run] = 0
        self.receipts = Receipts(self.folder, self.clock, self.state, run, lambda: self.ended, **sizes)
        self.receipts._open()
        return self.receipts

    def leave(self, *calls: Left) -> None:
        for call in calls:
            self.depart(call)
            self.receipts(call)
            self.ended += 1

    def depart(self, call: Left) -> None:
        self.counted[self.receipts.run] += 1
        self.receipts(Leaving(call.deployment))

    async def kept(self, count: int, batch: int = 4) -> None:
        for start in range(0, count, batch):
            self.leave(*(left(number) for number in range(start, min(start + batch, count))))
            await self.receipts.write()

    def heads(self) -> dict[str, Head]:
        return {run: msgspec.json.decode(entry, type=Head) for run, entry in self.state._known[r.HEADS].items()}

    def audit(self) -> Any:
        return audit(self.folder, self.heads(), {run: Debited(calls) for run, calls in self.counted.items() if calls})

    @property
    def file(self) -> Path:
        (path,) = self.folder.glob("*-*.jsonl")
        return path


@pytest.fixture
async def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path / "receipts")
    await made.kept(12)
    return made


async def test_what_left_is_proven_by_the_day(scene: Scene):
    await scene.receipts.aclose()
    found = scene.audit()
    (day,) = found.days.items()

    assert found.whole
    assert found.spent == 0
    assert (day[0], day[1].calls, len(day[1].sources), day[1].silent) == ("2026-11-27", 12, 3, 6)
    (run,) = found.runs
    assert (run.count, run.closed, run.problem, run.notes) == (12, True, "", [])


async def test_a_receipt_explains_its_call(scene: Scene):
    scene.leave(left(5), left(7, request="req_5", failure="Busy", told=None))
    await scene.receipts.write()
    first, again, other = receipts_of(scene.folder, "req_5")

    assert first.number == 6
    assert first.proof == PROOF
    assert first.debits == {"ollama/*/requests/day": 1.0}
    assert (first.told, first.came) == (0.0, "answered")
    assert (again.number, other.came, other.told) == (13, "Busy", None)
    assert not receipts_of(scene.folder, "req_")


def lines(scene: Scene) -> list[bytes]:
    return scene.file.read_bytes().splitlines(keepends=True)


def receipt_lines(scene: Scene) -> list[int]:
    return [place for place, line in enumerate(lines(scene)) if line.startswith(b'{"receipt"')]


FIELDS = {
    "number": b'"number":6,', "at": b'"at":1795776005.0', "request": b'"request":"req_5"',
    "deployment": b'"deployment":"ollama/model"', "proof": b'"kind":"prices"', "since": b'"since":1795000000.0',
    "debits": b'requests/day":1.0', "told": b'"told":0.0', "came": b'"came":"answered"',
}  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
async def test_a_changed_field_is_found_out(scene: Scene, field: str):
    content = lines(scene)
    place = next(place for place, line in enumerate(content) if b'"req_5"' in line)
    was = FIELDS[field]
    assert was in content[place]
    digits = bytes([was[-1] ^ 1]) if was[-1:].isdigit() else b""
    changed = was[:-1] + digits if digits else was.replace(b"5", b"6").replace(b"6,", b"7,").replace(b"e", b"f", 1)
    if field == "number":
        changed = b'"number":9,'
    content[place] = content[place].replace(was, changed)
    assert b"".join(content) != scene.file.read_bytes()
    scene.file.write_bytes(b"".join(content))
    found = scene.audit()

    assert not found.whole
    assert found.days["2026-11-27"].broken


@pytest.mark.parametrize("what", ["drop", "swap", "repeat", "cut", "seal", "header", "blank"])
async def test_a_line_that_is_dropped_moved_repeated_or_cut_off_is_found_out(scene: Scene, what: str):
    content = lines(scene)
    first, second = receipt_lines(scene)[5:7]
    match what:
        case "drop":
            del content[first]
        case "swap":
            content[first], content[second] = content[second], content[first]
        case "repeat":
            content.insert(first, content[first])
        case "cut":
            del content[first:]
        case "seal":
            content = [line for line in content if b'"seal"' not in line]
        case "header":
            del content[0]
        case "blank":
            content[first] = b"{}\n"
    scene.file.write_bytes(b"".join(content))

    assert not scene.audit().whole


async def test_a_whole_batch_that_is_cut_off_is_found_out_by_the_head_in_the_state(scene: Scene):
    content = lines(scene)
    seals = [place for place, line in enumerate(content) if b'"seal"' in line]
    scene.file.write_bytes(b"".join(content[: seals[-2] + 1]))
    found = scene.audit()

    assert not found.whole
    assert "4 receipts at its end are missing" in found.runs[0].problem


async def test_a_chain_that_is_written_anew_with_another_key_is_found_out(scene: Scene):
    (scene.folder / "key").write_bytes(os.urandom(32))

    assert not scene.audit().whole


async def test_a_run_that_is_gone_altogether_is_found_out(scene: Scene):
    scene.file.unlink()
    found = scene.audit()

    assert any("its 12 receipts are missing" in problem for problem in found.problems)


async def test_the_runs_of_another_gateway_are_not_missed_here(scene: Scene):
    scene.state.set(r.HEADS, "elsewhere", Head(7, "00", AT, "another"))
    found = scene.audit()

    assert found.whole
    assert ["kept by another gateway"] in [run.notes for run in found.runs]


async def test_any_single_byte_that_changes_is_found_out(scene: Scene):
    content, chance = scene.file.read_bytes(), random.Random(4)
    for place in chance.sample(range(len(content) - 1), 300):
        bent = bytearray(content)
        bent[place] ^= 1 << chance.randrange(8)
        scene.file.write_bytes(bytes(bent))
        assert not scene.audit().whole, (place, content[place - 20 : place + 20])
    scene.file.write_bytes(content)
    assert scene.audit().whole


# ── what has no receipt ──


async def test_calls_under_way_have_none_yet(scene: Scene):
    for _ in range(3):
        scene.depart(left())
    (run,) = scene.audit().runs

    assert run.notes == ["3 calls debited, no receipt yet", "3 calls left, no receipt yet"]
    assert scene.audit().whole


async def test_a_call_that_never_left_needs_none(scene: Scene):
    scene.leave(left(1, sent=False))
    await scene.receipts.aclose()
    (run,) = scene.audit().runs

    assert (run.count, run.closed, run.notes) == (12, True, [])


async def test_what_waits_is_bounded_and_what_is_lost_is_said(scene: Scene, monkeypatch):
    monkeypatch.setattr(r, "MOST_PENDING", 2)
    scene.leave(*map(left, range(5)))
    await scene.receipts.aclose()
    (run,) = scene.audit().runs

    assert run.count == 14
    assert run.notes == ["3 calls left while too many receipts waited: they have none"]


KILLED = """
import asyncio, os, sys
from pathlib import Path
from tests.unit.test_receipts import Scene, left
from gateway.events import Leaving
async def main():
    scene = Scene(Path(sys.argv[1]))
    await scene.kept(8)
    scene.leave(left(8), left(9))
    scene.receipts(Leaving("groq/model"))
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""


def test_after_a_kill_what_left_without_a_receipt_is_told(tmp_path: Path):
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environ, check=False, timeout=60)
    (run,) = audit(tmp_path, {}).runs

    assert (run.count, run.problem) == (8, "")
    assert run.notes == ["3 calls left, no receipt", "its process was killed"]


async def test_a_batch_that_was_half_written_is_not_counted_and_said(scene: Scene):
    content = scene.file.read_bytes()
    scene.leave(left(12), left(13))
    await scene.receipts.write()
    whole = scene.file.read_bytes()
    known = scene.heads()
    (run,) = known
    before = {run: msgspec.structs.replace(known[run], count=12, head=head_of(content))}
    for end in range(len(content) + 1, len(whole) - 1, 7):
        scene.file.write_bytes(whole[:end])
        found = audit(scene.folder, before)
        assert found.whole, end
        assert found.days["2026-11-27"].calls == 12


def head_of(content: bytes) -> str:
    seals = [line for line in content.splitlines() if line.startswith(b'{"seal"')]
    return str(msgspec.json.decode(seals[-1])["seal"]["head"])


async def test_a_tally_that_is_deleted_while_a_run_is_open_is_found_out(scene: Scene):
    (scene.folder / f"{scene.receipts.run}.tally").unlink()

    assert not scene.audit().whole


# ── many files, many runs ──


async def test_the_oldest_go_and_where_they_ended_is_signed(tmp_path: Path):
    scene = Scene(tmp_path / "receipts", segment=2000, most=9000)
    await scene.kept(200)
    found = scene.audit()
    sizes = [path.stat().st_size for path in scene.folder.glob("*-*.jsonl")]

    assert found.whole
    assert sum(sizes) <= 9000 + 4000
    assert len(sizes) >= 2
    (run,) = found.runs
    assert run.count == 200
    assert "were deleted for their age" in run.notes[0]

    oldest = min(scene.folder.glob("*-*.jsonl"))
    oldest.unlink()
    assert not scene.audit().whole


async def test_a_run_that_was_pruned_altogether_is_not_missed(tmp_path: Path):
    scene = Scene(tmp_path / "receipts", segment=2000, most=5000)
    await scene.kept(8)
    await scene.receipts.aclose()
    first = scene.receipts.run
    scene.begin(segment=2000, most=5000)
    await scene.kept(100)
    found = scene.audit()

    assert first in scene.heads()
    assert found.whole
    assert first not in {run.run for run in found.runs}

    (scene.folder / r.PRUNED).unlink()
    assert not scene.audit().whole


async def test_each_run_is_a_chain_of_its_own(tmp_path: Path):
    scene = Scene(tmp_path / "receipts")
    for _ in range(3):
        await scene.kept(5)
        await scene.receipts.aclose()
        scene.begin()
    found = scene.audit()

    assert [run.count for run in found.runs] == [5, 5, 5]
    assert found.days["2026-11-27"].calls == 15
    assert len(list(scene.folder.glob("*.tally"))) == 1  # of the process that lives


# ── money, and privacy ──


async def test_money_is_told_apart_from_a_credit(scene: Scene):
    credit = ProofRead("credit", "0.10 dollars a month", "pricing page", AT)
    scene.leave(left(1, told=0.004, proof=credit))
    await scene.receipts.write()
    assert (scene.audit().spent, scene.audit().days["2026-11-27"].credit) == (0.0, 0.004)

    scene.leave(left(1, told=0.25))
    await scene.receipts.write()
    assert scene.audit().spent == pytest.approx(0.25)


async def test_files_are_their_owners_alone(scene: Scene):
    await scene.receipts.write()

    assert {path.stat().st_mode & 0o777 for path in scene.folder.iterdir()} == {0o600}
    assert tallied(scene.folder / f"{scene.receipts.run}.tally") == (12, True)


async def test_a_disk_that_is_full_loses_none(scene: Scene, monkeypatch):
    real = Path.open

    def full(path: Path, *args: Any, **more: Any) -> Any:
        if path.suffix == ".jsonl":
            raise OSError(28, "No space left on device")
        return real(path, *args, **more)

    scene.leave(left(12))
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space"):
        await scene.receipts.write()
    monkeypatch.undo()
    await scene.receipts.aclose()

    assert scene.audit().whole
    assert scene.audit().runs[0].count == 13


# ── beside the ledger ──


async def test_a_batch_that_is_being_written_as_the_gateway_stops_is_not_lost(tmp_path: Path, monkeypatch):
    """The loop that writes is cancelled while its thread is at work; what closes the run comes after that."""
    scene = Scene(tmp_path / "receipts")
    begun, go_on, append = threading.Event(), threading.Event(), scene.receipts._append

    def slow(batch: list[Any], ended: int, closing: bool) -> Any:
        begun.set()
        if not closing:
            go_on.wait(10)
        return append(batch, ended, closing)

    monkeypatch.setattr(scene.receipts, "_append", slow)
    scene.leave(left(0), left(1), left(2))
    writing = asyncio.create_task(scene.receipts.write())
    await asyncio.to_thread(begun.wait, 10)
    writing.cancel()
    closing = asyncio.create_task(scene.receipts.aclose())
    await asyncio.sleep(0)
    go_on.set()
    await closing

    (run,) = audit(scene.folder, {}).runs
    assert (run.count, run.closed, run.problem) == (3, True, "")


async def test_calls_that_the_ledger_debited_and_that_never_left_are_accounted_for(tmp_path: Path):
    scene = Scene(tmp_path / "receipts")
    for sent in (False, False):
        scene.leave(left(1, sent=sent))
    await scene.receipts.write()
    (run,) = scene.audit().runs

    assert (run.count, run.debited, run.without_receipt, run.notes) == (0, 2, 0, [])


async def test_what_only_ended_is_sealed_as_well_and_nothing_is_written_twice(scene: Scene):
    scene.leave(left(1, sent=False))
    await scene.receipts.write()
    once = scene.file.read_bytes()
    await scene.receipts.write()

    assert scene.audit().runs[0].without_receipt == 0
    assert scene.file.read_bytes() == once


async def test_a_tail_that_was_cut_off_everywhere_but_in_the_ledger_is_told(scene: Scene):
    """The file, the head in the state and the tally, set back to what they were."""
    (run,), file, tally = scene.heads(), scene.file.read_bytes(), (scene.folder / "run0.tally").read_bytes()
    before = {run: scene.heads()[run]}
    scene.leave(*map(left, range(3)))
    await scene.receipts.write()
    scene.file.write_bytes(file)
    (scene.folder / "run0.tally").write_bytes(tally)
    (found,) = audit(scene.folder, before, {run: Debited(15)}).runs

    assert (found.debited, found.without_receipt) == (15, 3)
    assert "3 calls debited, no receipt yet" in found.notes


async def test_a_run_of_which_nothing_but_its_debits_is_known_is_told(scene: Scene):
    found = audit(scene.folder, scene.heads(), {"gone": Debited(1204, took=86_000.0), "killed": Debited(1)})

    assert found.problems == ["run gone: 1 204 calls debited, and nothing is known of its receipts"]
    assert ["1 call debited, no receipt"] in [run.notes for run in found.runs if run.run == "killed"]


async def test_what_another_gateway_debited_without_a_receipt_is_told_here(scene: Scene):
    scene.state.set(r.HEADS, "killed", Head(7, "00", AT, "another", ended=9))
    scene.state.set(r.HEADS, "lives", Head(7, "00", AT, "another", ended=9))
    found = audit(scene.folder, scene.heads(), {"killed": Debited(12), "lives": Debited(12, lives=True)})
    notes = {run.run: run.notes for run in found.runs}

    assert notes["killed"] == ["kept by another gateway", "3 calls debited, no receipt"]
    assert notes["lives"] == ["kept by another gateway", "3 calls debited, no receipt yet"]
