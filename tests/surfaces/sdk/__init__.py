"""
The suite of OpenAI's own package, run against the gateway before simulated providers: ``python -m tests.surfaces.sdk``.

It is in the package's sdist on PyPI, and nothing of it is kept here: ``pip download`` puts it into a folder that goes
afterwards. Of chat, completions, models and responses every test that creates, lists or retrieves is run, against
schemas checked loosely and strictly, by the blocking and the asynchronous client. The suite was written for a mock that
answers anything, so three things are arranged: each model that it names is an alias of ``auto``; the responses that it
names by id are there; and a ``responses.create()`` without any input gets one (``completed_calls``).
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

HERE = Path(__file__).parent
FILES = (
    "test_completions.py", "test_models.py", "test_responses.py", "chat/test_completions.py",
    "chat/completions/test_messages.py", "responses/test_input_items.py",
)  # fmt: skip
CHOSEN = "create or list or retrieve"
SHORT = "strict and not Async and (create_overload or method_list or method_retrieve)"
"""Of those, the ones that a quick run is content with."""

NOT_PASSED = {
    r"chat\.test_completions\..*(retrieve|list)": "nothing lists or reads stored chat completions here: none is stored",
    r"chat\.completions\.test_messages\.": "the same: there are no messages of stored chat completions",
    r"chat\.test_completions\..*create_with_all_params": "it bounds the answer to no token at all, which is refused",
    r"test_completions\..*create_with_all_params": "it sends a suffix, which is refused as long as nothing fills gaps",
}
"""Patterns of the names of the tests that do not pass, and why."""

_IDS = ("previous_response_id", "response_id", "resp_677efb5139a88190b512bc3fef8e535d")


class NotToBeHad(Exception):
    """The sdist cannot be downloaded now."""


class Found(Struct):
    """How many tests of a suite passed, and the names of the others with the beginning of what they said."""

    passed: int
    failed: dict[str, str]

    @property
    def unexplained(self) -> dict[str, str]:
        """Those that did not pass, and that nothing in ``NOT_PASSED`` speaks of."""
        return {name: said for name, said in self.failed.items() if reason(name) is None}

    def share(self, *, served: bool) -> float:
        """Of all that were run how many passed; *served*: of those that want something that is served here at all."""
        failed = [name for name in self.failed if not served or "stored chat" not in (reason(name) or "")]
        return self.passed / ((self.passed + len(failed)) or 1)


def reason(name: str) -> str | None:
    """Why the test *name* does not pass, if that is known."""
    return next((why for pattern, why in NOT_PASSED.items() if re.match(pattern, name)), None)


async def main(args: Sequence[str]) -> int:
    """Run all of it, or what pytest's ``-k`` in *args* chooses, and say what did not pass."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = await run(Path(folder), args[0] if args else CHOSEN)
        except NotToBeHad as exc:
            sys.stderr.write(f"{exc}\n")
            return 2
    for name, said in sorted(found.failed.items()):
        sys.stdout.write(f"not passed: {name}: {reason(name) or said}\n")
    sys.stdout.write(
        f"{found.passed} passed, {len(found.failed)} not ({len(found.unexplained)} for no known reason): "
        f"{found.share(served=False):.1%}, and {found.share(served=True):.1%} of those for what is served here\n"
    )
    return 1 if found.unexplained else 0


async def run(folder: Path, chosen: str) -> Found:
    """Run the tests that *chosen* names, with everything that is needed for it in *folder*. Raises NotToBeHad."""
    suite = await asyncio.to_thread(_downloaded, folder)
    files = [suite / "tests/api_resources" / name for name in FILES]
    models = {name for file in files for name in re.findall(r'model="([^"]+)"', file.read_text())}
    own = folder / "own.toml"
    own.write_text("[alias]\n" + "".join(f'"{name}" = "auto"\n' for name in sorted(models)))
    environ = {"FREEWAY_CONFIG": str(own)}
    async with opened(shipped_config(), folder / "state", World(names=SIX), environ=environ) as demo:
        async with httpx.AsyncClient(base_url=demo.base_url, timeout=60) as client:
            made = (await client.post("/v1/responses", json={"input": "hello there"})).json()["id"]
        _known_as(folder / "state" / "responses.sqlite", made, _IDS)
        return await asyncio.to_thread(_tested, suite, files, chosen, demo.base_url)


def _downloaded(folder: Path) -> Path:
    import openai  # noqa: PLC0415 - slow, and for those who run it

    command = [
        "pip",
        "download",
        "-q",
        "--retries",
        "1",
        "--timeout",
        "20",
        "--no-deps",
        "--no-build-isolation",
        "--no-binary",
        ":all:",
        "-d",
        str(folder),
    ]
    done = subprocess.run(
        [sys.executable, "-m", *command, f"openai=={openai.__version__}"], capture_output=True, text=True, check=False
    )
    archives = list(folder.glob("openai-*.tar.gz"))
    if not archives:
        raise NotToBeHad(f"the sdist of openai {openai.__version__} cannot be had: {done.stderr[-300:].strip()}")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder, filter="data")
    return archives[0].with_name(archives[0].name.removesuffix(".tar.gz"))


def _known_as(file: Path, key: str, ids: Sequence[str]) -> None:
    """Keep the response *key* under each of *ids*, too."""
    with sqlite3.connect(file, timeout=10) as db:
        for name in ids:
            db.execute(
                "INSERT INTO response SELECT replace(key, ?, ?), used_at, size, value FROM response WHERE key LIKE ?",
                (key, name, f"%/{key}"),
            )
    db.close()


def _tested(suite: Path, files: Sequence[Path], chosen: str, base_url: str) -> Found:
    report = suite / "report.xml"
    options = ["-q", "-p", "no:cacheprovider", "-p", "completed_calls", "-o", "addopts=", f"--junitxml={report}"]
    environ = {
        **os.environ,
        "TEST_API_BASE_URL": f"{base_url}/v1",
        "PYTHONPATH": os.pathsep.join([str(HERE), str(suite)]),
    }
    command = [sys.executable, "-m", "pytest", *options, "-k", chosen, *map(str, files)]
    done = subprocess.run(command, cwd=suite, env=environ, capture_output=True, text=True, check=False)
    if not report.exists():
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    found = Found(0, {})
    for case in ET.parse(report).iter("testcase"):
        faults = [child for child in case if child.tag in ("failure", "error")]
        name = f"{case.get('classname', '').rpartition('api_resources.')[2]}.{case.get('name')}"
        if faults:
            found.failed[name] = (faults[0].get("message") or "").splitlines()[0][:200]
        elif not any(child.tag == "skipped" for child in case):
            found.passed += 1
    return found
