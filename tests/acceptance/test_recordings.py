"""Great recordings through the real program: how much memory one takes, and what is left of one when the program is killed."""

from __future__ import annotations

import asyncio
import math
import os
import re
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from gateway.api.form import sweep
from providers.simulator.server import serve
from providers.simulator.world import World
from tests.acceptance.process import Running, born, serving
from tests.clock import eventually

MORE = 10 * 1024 * 1024
"""Bytes that a recording of 30 MB may add to the gateway's memory."""


def memory(pid: int, row: str) -> int:
    """Bytes: ``VmRSS`` now, ``VmHWM`` at its highest."""
    found = re.search(rf"{row}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def recording(path: Path, megabytes: int, rate: int = 32_000) -> Path:
    """A WAV file of noise with a pause every ten seconds."""
    second = bytes(math.floor(128 + 60 * math.sin(number * number)) for number in range(rate)) * 2
    with wave.open(str(path), "wb") as made:
        made.setparams((1, 2, rate, 0, "NONE", "not compressed"))
        for number in range(megabytes * 1_000_000 // len(second)):
            made.writeframesraw(bytes(len(second)) if number % 10 == 9 else second)
    return path


@asynccontextmanager
async def running(home: Path, environ: dict[str, str]) -> AsyncIterator[tuple[str, Running]]:
    """The program, whose providers are in this loop: it is started and stopped beside it."""
    program = serving(home, born, TMPDIR=str(home), **environ)
    gateway, process, _ = await asyncio.to_thread(program.__enter__)
    try:
        yield gateway, process
    finally:
        await asyncio.to_thread(program.__exit__, None, None, None)


async def written(gateway: str, path: Path) -> httpx.Response:
    async with httpx.AsyncClient(base_url=gateway, timeout=120) as client:
        with path.open("rb") as file:
            return await client.post("/v1/audio/transcriptions", files={"file": file}, data={"model": "auto"})


@pytest.mark.parametrize("name", ["groq", "cloudflare", "cohere"])
async def test_thirty_megabytes_add_less_than_ten(tmp_path, name):
    """As a form or within JSON, cut in two: what comes goes to the disk, and from there to its source."""
    world = World(names=(name,))
    small, great = recording(tmp_path / "small.wav", 1), recording(tmp_path / "great.wav", 30)
    async with serve(world) as origin, running(tmp_path, world.environment(origin)) as (gateway, process):
        first = await written(gateway, small)
        before = memory(process.pid, "VmRSS")
        found = await written(gateway, great)
        grown = memory(process.pid, "VmHWM") - before

    assert (first.status_code, found.status_code) == (200, 200), found.text
    assert len([call for call in world.providers[name].calls if call.served]) == 3
    assert grown < MORE, f"{grown / 1e6:.1f} MB more"
    assert not list(tmp_path.glob("freeway-recording-*"))


async def test_a_killed_gateway_leaves_no_recording_behind(tmp_path):
    """What it had of a caller's voice is deleted when one starts there again."""
    world = World(names=("groq",))
    groq, great = world.providers["groq"], recording(tmp_path / "great.wav", 20)
    groq.fail("hang", times=9)
    async with serve(world) as origin:
        environ = world.environment(origin)
        async with running(tmp_path, environ) as (gateway, process):
            asked = asyncio.create_task(written(gateway, great))
            await eventually(lambda: any("audio" in call.path for call in groq.calls), within=60)
            process.kill()
            with pytest.raises(httpx.TransportError):
                await asked
        assert list(tmp_path.glob("freeway-recording-*"))
        async with running(tmp_path, environ):
            assert not list(tmp_path.glob("freeway-recording-*"))


def test_only_what_is_nobodys_is_deleted(tmp_path):
    """Of a process that runs nothing is taken, nor what is not a recording's."""
    mine, theirs, dead, other = (
        f"freeway-recording-{number}-x" for number in (os.getpid(), os.getppid(), 2**22 + 1, "a")
    )
    for name in (mine, theirs, dead, other, "freeway-x"):
        (tmp_path / name).mkdir()
    sweep(tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {theirs, other, "freeway-x"}
