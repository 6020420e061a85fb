"""The log of a terminal: a short line a request, with what matters first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
import structlog

from gateway.events import Attempted, Discovered, Ended, KeyRefused
from gateway.observe import log
from gateway.observe.outlet import Outlet
from providers.chat import Usage


class Screen:
    """Where lines go."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch):
    """``said(event, …, json=False, level="info")``: the lines that events come to."""
    screen: Any = Screen()

    def tell(*events: Any, json: bool = False, level: str = "info", hidden: Sequence[str] = ()) -> list[str]:
        screen.text = ""
        monkeypatch.setattr("sys.stderr", screen)  # here, for pytest puts its own there before each test
        log.configure(json=json, level=level, colors=False, secrets=hidden)
        observer = log.LogObserver(brief=not json)
        for event in events:
            observer(event)
        return screen.text.splitlines()

    yield tell
    structlog.reset_defaults()


def ended(**more: Any) -> Ended:
    values: dict[str, Any] = {
        "request": "req_1", "client": "alice", "asked": "auto", "outcome": "served", "status": 200, "deployment": "groq/gpt-oss-120b",
        "attempts": 1, "first_content": 0.2, "took": 0.4123, "usage": Usage(812, 96, 908),
    }  # fmt: skip
    return Ended(**{**values, **more})


def test_a_request_is_one_short_line(said):
    (line,) = said(ended())

    assert re.fullmatch(r"\d\d:\d\d:\d\d 200 auto → groq/gpt-oss-120b 0.41 s 812→96 alice", line)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            ended(outcome="no_capacity", status=429, deployment=None, attempts=3, usage=None, waited=30.0, took=30.2),
            "429 auto no_capacity 31 s alice (waited 30 s, 3 attempts)",
        ),
        (ended(attempts=2), "200 auto → groq/gpt-oss-120b 0.41 s 812→96 alice (2 attempts)"),
        (ended(outcome="left", status=499, usage=None), "499 auto → groq/gpt-oss-120b left 0.41 s alice"),
        (ended(outcome="interrupted", usage=None), "200 auto → groq/gpt-oss-120b interrupted 0.41 s alice"),
        (ended(outcome="bad_request", status=400, deployment=None, attempts=0, usage=None, took=0.0), "400 auto bad_request 0 s alice"),
    ],
)  # fmt: skip
def test_what_went_wrong_comes_first(said, event: Ended, line: str):
    assert said(event)[0].partition(" ")[2] == line


def test_attempts_are_lines_for_those_who_debug_and_in_json(said):
    attempt = Attempted("req_1", "groq/a", "Busy", "503")

    assert said(attempt, ended())[0].endswith("alice")
    assert len(said(attempt, ended(), level="debug")) == 2
    assert len(said(attempt, ended(), json=True)) == 2


def test_less_is_logged_where_less_is_wanted(said):
    assert said(ended(), level="warning") == []
    assert len(said(KeyRefused("/v1/models", "10.0.0.7"), level="warning")) == 1


def test_a_refused_key_is_logged_with_its_address(said):
    (line,) = said(KeyRefused("/v1/models", "10.0.0.7"))

    assert "10.0.0.7" in line
    assert "/v1/models" in line


def test_a_source_that_is_not_there_is_told_once(said):
    missing, other = Discovered("ollama", 0, "connection refused"), Discovered("ollama", 0, "no models")
    lines = said(missing, missing, missing, other, Discovered("ollama", 3, None), missing)

    assert [("connection refused" in line, "no models" in line) for line in lines] == [
        (True, False),
        (False, True),
        (False, False),
        (True, False),
    ]


def test_a_short_secret_blots_out_no_words(said):
    (line,) = said(
        Discovered("groq", 0, "an error at redis://:error@10.0.0.1, terror, pw-2, key=error"), hidden=["error", "pw-2"]
    )

    assert "an error at redis://:***@10.0.0.1, terror, ***, key=***" in line


def test_an_outlet_is_written_to(tmp_path):
    with (tmp_path / "log").open("wb") as file:
        out = Outlet(file.fileno())
        log.configure(json=True, out=out)
        log.LogObserver()(ended())
        out.close(1.0)
    structlog.reset_defaults()

    assert '"event":"request"' in (tmp_path / "log").read_text()
