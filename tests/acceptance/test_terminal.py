"""The question whether prompts may go to sources that need no key, on a real terminal: asked once, and no answer is no."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.settings.files import read_variables
from tests.acceptance.process import FREEWAY, environment, run, serving

QUESTION = "May they? [y/N, within 10 s"
NAMED = "OVHcloud AI Endpoints"
NOWHERE = "http://127.0.0.1:9"
SOURCES: dict[str, Any] = {"OVHCLOUD_BASE_URL": NOWHERE, "LLM7_BASE_URL": NOWHERE, "KILO_BASE_URL": NOWHERE}
_PATIENCE = 120.0


class Terminal:
    """A person's terminal, on which ``freeway`` runs."""

    def __init__(self, process: subprocess.Popen[bytes], screen: int) -> None:
        self.process, self._screen = process, screen
        self.said = ""

    def until(self, what: str) -> str:
        """All that was said, once *what* is in it."""
        deadline = time.monotonic() + _PATIENCE
        while what not in self._plain():
            assert time.monotonic() < deadline, f"never said {what!r}:\n{self._plain()}"
            assert self._hear(), f"ended without saying {what!r}:\n{self._plain()}"
        return self._plain()

    def type(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def ended(self) -> str:
        """All that was said until it ended by itself."""
        while self._hear():
            pass
        assert self.process.wait(_PATIENCE) == 0
        return self._plain()

    def _hear(self) -> bool:
        """Listen for a moment; False: the program has ended."""
        if select.select([self._screen], [], [], 0.1)[0]:
            try:
                heard = os.read(self._screen, 65_536)
            except OSError:  # what Linux says of a terminal that nobody holds any more
                return False
            self.said += heard.decode(errors="replace")
            return bool(heard)
        return True

    def _plain(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", self.said)


@contextmanager
def terminal(home: Path, *arguments: str, **variables: str) -> Iterator[Terminal]:
    """``freeway`` on a terminal, with no key, no Ollama and no small model."""
    folder = home / ".config" / "freeway"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text('[embedded]\nenabled = "off"\n')
    screen, own = pty.openpty()
    environ = {**environment(home, **SOURCES, **variables), "TERM": "xterm", "COLUMNS": "200", "PORT": "0"}
    process = subprocess.Popen(
        [FREEWAY, *arguments], env=environ, cwd=home, stdin=own, stdout=own, stderr=own, start_new_session=True
    )
    os.close(own)
    try:
        yield Terminal(process, screen)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
        process.wait(20)
        os.close(screen)


def stored(home: Path) -> dict[str, str]:
    return dict(read_variables(home / ".config" / "freeway" / "keys.env").values)


@pytest.mark.parametrize(
    ("typed", "kept", "told"), [("y\n", "1", "They may."), ("n\n", "0", "They may not."), ("\n", "0", "They may not.")]
)
def test_what_is_answered_counts_is_kept_and_never_asked_again(tmp_path: Path, typed: str, kept: str, told: str):
    with terminal(tmp_path, "serve") as person:
        assert NAMED in person.until(QUESTION)
        assert "Prompts leave this machine" in person.said
        person.type(typed)
        person.until(told)
        greeting = person.until("Look at it: ").partition("Freeway on ")[2]
    assert (NAMED if kept == "1" else "has no source yet") in greeting
    assert stored(tmp_path) == {"FREEWAY_KEYLESS": kept}

    with terminal(tmp_path, "serve") as person:
        assert QUESTION not in person.until("Look at it: ")


def test_who_says_nothing_for_ten_seconds_has_said_no(tmp_path: Path):
    with terminal(tmp_path, "serve") as person:
        person.until(QUESTION)
        asked_at = time.monotonic()
        person.until("They may not.")
        waited = time.monotonic() - asked_at
        assert "has no source yet" in person.until("Look at it: ")
    assert waited > 9
    assert stored(tmp_path) == {"FREEWAY_KEYLESS": "0"}


@pytest.mark.parametrize(("typed", "kept"), [("y\n", "1"), ("n\n", "0")])
def test_setup_asks_as_well_after_the_keys(tmp_path: Path, typed: str, kept: str):
    with terminal(tmp_path, "setup") as person:
        person.until("Enter goes on, q ends.")
        person.until("_API_KEY: ")
        person.type("q\n")
        assert NAMED in person.until(QUESTION)
        person.type(typed)
        assert "Next: " in person.ended()
    assert stored(tmp_path) == {"FREEWAY_KEYLESS": kept}


def test_who_said_yes_beforehand_is_not_asked(tmp_path: Path):
    with terminal(tmp_path, "serve", FREEWAY_KEYLESS="1") as person:
        said = person.until("in front of: ")
    assert QUESTION not in said
    assert stored(tmp_path) == {}


@pytest.mark.parametrize("arguments", [("setup",), ("check",)])
def test_without_a_terminal_nobody_is_asked_and_nothing_is_agreed_to(tmp_path: Path, arguments: tuple[str, ...]):
    said = run(*arguments, home=tmp_path, **SOURCES)

    assert QUESTION not in said.stdout + said.stderr
    assert stored(tmp_path) == {}


def test_a_gateway_without_a_terminal_asks_nobody_and_sends_nothing_there(tmp_path: Path):
    off = tmp_path / "own.toml"
    off.write_text('[embedded]\nenabled = "off"\n')
    with serving(tmp_path, FREEWAY_CONFIG=str(off), **SOURCES) as (_, _, log):
        said = log.read_text()

    assert QUESTION not in said
    assert "has no source yet" in said
    assert stored(tmp_path) == {}
