"""
The suites of OpenAI's and Anthropic's own packages, run against the gateway before simulated providers:
``python -m tests.surfaces.sdk``, or ``python -m tests.surfaces.sdk anthropic``.

They are in the packages' sdists on PyPI, and nothing of them is kept here: ``pip download`` puts them into a folder that goes
afterwards. Every test that creates, lists or retrieves what is in ``suites`` is run, against schemas checked loosely and
strictly, by the blocking and the asynchronous client. The suites were written for a mock that answers anything, so three
things are arranged: each model that they name is an alias of ``auto``; the responses and chat completions that they name by id
are there; and a ``responses.create()`` without any input gets one (``completed_calls``). The completion that is there answers
a message of the assistant: the package's own type for the messages of a completion knows no other role.
"""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import httpx
from msgspec import Struct

from gateway.cli import shipped_config
from gateway.commands.demo import SIX, opened
from providers.simulator.world import World
from tests.surfaces.sdk.suites import SUITES, Suite

HERE = Path(__file__).parent
ENOUGH = 0.95
"""Of the tests of each suite so many have to pass, and each of the others has its reason."""


class NotToBeHad(Exception):
    """The sdist cannot be downloaded now."""


class Found(Struct):
    """How many tests of *suite* passed, and the names of the others with the beginning of what they said."""

    suite: Suite
    passed: int
    failed: dict[str, str]

    @property
    def unexplained(self) -> dict[str, str]:
        """Those that did not pass, and of which the suite's ``not_passed`` does not say why."""
        return {name: said for name, said in self.failed.items() if self.suite.reason(name) is None}

    @property
    def share(self) -> float:
        """Of all that were run how many passed."""
        return self.passed / ((self.passed + len(self.failed)) or 1)


async def main(args: Sequence[str]) -> int:
    """Run the suites that *args* name, or all, and say what did not pass."""
    good = True
    for name in args or SUITES:
        suite = SUITES[name]
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = await run(Path(folder), suite, suite.chosen)
            except NotToBeHad as exc:
                sys.stderr.write(f"{exc}\n")
                return 2
        for failed, said in sorted(found.failed.items()):
            sys.stdout.write(f"not passed: {failed}: {suite.reason(failed) or said}\n")
        sys.stdout.write(
            f"{name} {suite.version}: {found.passed} passed, {len(found.failed)} not "
            f"({len(found.unexplained)} for no known reason): {found.share:.1%}\n"
        )
        good = good and not found.unexplained and found.share >= ENOUGH
    return 0 if good else 1


async def run(folder: Path, suite: Suite, chosen: str) -> Found:
    """Run the tests of *suite* that *chosen* names, with all that is needed for it in *folder*. Raises NotToBeHad."""
    unpacked = await asyncio.to_thread(_downloaded, folder, suite)
    files = [unpacked / "tests/api_resources" / name for name in suite.files]
    models = {name for file in files for name in re.findall(r'model="([^"]+)"', file.read_text())} | {*suite.aliases}
    own = folder / "own.toml"
    own.write_text("[alias]\n" + "".join(f'"{name}" = "auto"\n' for name in sorted(models)))
    environ = {"FREEWAY_CONFIG": str(own)}
    async with opened(shipped_config(), folder / "state", World(names=(*SIX, "cloudflare")), environ=environ) as demo:
        async with httpx.AsyncClient(base_url=demo.base_url, timeout=60) as client:
            made = (await client.post("/v1/responses", json={"input": "hello there"})).json()["id"]
            said = {"store": True, "messages": [{"role": "assistant", "content": "hello there"}]}
            chat = (await client.post("/v1/chat/completions", json=said)).json()["id"]
        for key, ids in ((made, suite.responses), (chat, suite.chats)):
            _known_as(folder / "state" / "responses.sqlite", key, ids)
        return await asyncio.to_thread(_tested, unpacked, suite, files, chosen, demo.base_url)


def _downloaded(folder: Path, suite: Suite) -> Path:
    name, version = suite.package, suite.version
    options = ["-q", "--retries", "1", "--timeout", "20", "--no-deps", "--no-binary", name, "-d", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", *options, f"{name}=={version}"],
        capture_output=True,
        text=True,
        check=False,
    )
    archives = list(folder.glob(f"{name}-*.tar.gz"))
    if not archives:
        raise NotToBeHad(f"the sdist of {name} {version} cannot be had: {done.stderr[-300:].strip()}")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder, filter="data")
    return archives[0].with_name(archives[0].name.removesuffix(".tar.gz"))


def _known_as(file: Path, key: str, ids: Sequence[str]) -> None:
    """Keep the answer *key* under each of *ids*, too."""
    with sqlite3.connect(file, timeout=10) as db:
        for name in ids:
            db.execute(
                "INSERT INTO response SELECT replace(key, ?, ?), used_at, size, value FROM response WHERE key LIKE ?",
                (key, name, f"%/{key}"),
            )
    db.close()


def _tested(folder: Path, suite: Suite, files: Sequence[Path], chosen: str, base_url: str) -> Found:
    report = folder / "report.xml"
    options = ["-q", "-p", "no:cacheprovider", "-p", suite.plugin, "-o", "addopts=", f"--junitxml={report}"]
    environ = {
        **os.environ,
        "TEST_API_BASE_URL": f"{base_url}{suite.base}",
        "PYTHONPATH": os.pathsep.join([str(HERE), str(folder)]),
    }
    command = [sys.executable, "-m", "pytest", *options, "-k", chosen, *map(str, files)]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    if not report.exists():
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    found = Found(suite, 0, {})
    for case in ET.parse(report).iter("testcase"):
        faults = [child for child in case if child.tag in ("failure", "error")]
        name = f"{case.get('classname', '').rpartition('api_resources.')[2]}.{case.get('name')}"
        if faults:
            found.failed[name] = (faults[0].get("message") or "").splitlines()[0][:200]
        elif not any(child.tag == "skipped" for child in case):
            found.passed += 1
    return found
