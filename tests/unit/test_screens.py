"""
What commands print at 60 and at 100 columns: one line a row, and no number is ever cut. ``python -m tests.unit.test_screens`` writes
the screens anew, to be looked at.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.admin.views import Change, ClientView, Free, Left, LimitView, Model, Overview, Source, UsageRow
from gateway.commands import changes, check, clients, explain, models, quota, usage
from gateway.commands.tables import Column, cut, table, wrapped
from gateway.quota.nouns import LevelView
from gateway.request.explain import Expected, Explanation, Needs, Ranked, Told
from gateway.wording import count, duration, moment, number, opens
from gateway.words import Exclusion

NOW = 1_796_000_000.0  # Sat 2026-11-29 23:33 UTC
SCREENS = Path(__file__).with_name("screens")
ROOMS = (60, 100)

LEFT = [
    Left(capability="chat", answers=1940, until=NOW + 56_160, said=""),
    Left(capability="vision", answers=12, until=NOW + 56_160, said=""),
    Left(capability="tools", answers=1940, until=None, said=""),
    Left(capability="private", answers=810, until=None, said=""),
]


def overview(**more: object) -> Overview:
    values: dict[str, object] = {
        "version": "0.1.0", "now": NOW, "started": NOW - 90_000, "status": "degraded", "left": LEFT, "spent": 0.0, "credit": 0.012345,
        "saved": 1234.5678, "problems": ["Groq: the key is refused since 3 h: 401 Invalid API Key"], "next_step": "Groq: set another key: https://console.groq.com/keys",
        "store": "embedded", "replicas": 1, "live": 0, "waiting": 0,
    }  # fmt: skip
    return Overview(**{**values, **more})  # type: ignore[arg-type]


def level(bucket: str, used: float, limit: float, **more: object) -> LevelView:
    account, unit, window = bucket.split("/", maxsplit=1)[0], *bucket.split("/")[-2:]
    values: dict[str, object] = {
        "account": account, "bucket": bucket, "unit": unit, "window": window, "used": used, "limit": limit,
        "limit_from": "https://console.groq.com/docs/rate-limits; read 2026-11", "resets_at": NOW + 56_160,
    }  # fmt: skip
    return LevelView(**{**values, **more})  # type: ignore[arg-type]


def source(name: str, title: str, state: str, **more: object) -> Source:
    values: dict[str, object] = {
        "reason": "", "remedy": "", "key": "set", "key_variable": f"{name.upper()}_API_KEY", "key_from": "keys.env",
        "get_a_key": f"https://{name}.example/keys", "trains": "no", "prompts": "train nothing, are not kept, stay in the EU", "models": 3, "buckets": [],
        "looked_at": NOW - 240, "free": Free(level="promised", because="the free plan has no card", source="its page", since=NOW - 240),
    }  # fmt: skip
    return Source(name=name, title=title, state=state, **{**values, **more})  # type: ignore[arg-type]


SOURCES = [
    source(
        "groq", "Groq", "key refused", models=0, reason="401 Invalid API Key", remedy="set another key: https://console.groq.com/keys",
        buckets=[
            level("groq/openai/gpt-oss-120b/requests/day", 987, 1000, said_by="a refusal", said_at=NOW - 30),
            level("groq/openai/gpt-oss-120b/tokens/minute", 7_990, 8_000, closed_until=NOW + 42, closed_because="429: Rate limit reached for tokens per minute"),
        ],
    ),
    source("openrouter", "OpenRouter", "on", models=31, buckets=[level("openrouter/requests/day", 1, 50, resets_at=NOW + 1_600)], prompts="may train models"),
    source("cloudflare", "Cloudflare Workers AI", "on", models=45, buckets=[level("cloudflare/neurons/day", 1234.56, 10_000), level("cloudflare/requests/minute", 0, 300)]),
    source("google", "Google AI Studio", "no key", key="missing", key_from="", models=0, free=None, looked_at=None, prompts="train models, are kept"),
]  # fmt: skip


def model(deployment: str, **more: object) -> Model:
    provider, _, name = deployment.partition("/")
    values: dict[str, object] = {
        "model": name.rpartition("/")[2], "provider": provider, "operations": ["chat"], "capabilities": ["json_schema", "tools", "vision"], "context": 131_072,
        "max_output": 65_536, "trains": "no", "free": Free(level="proven", because="its prices are all 0", since=NOW - 600), "available": True, "why_not": "", "opens_at": None,
    }  # fmt: skip
    return Model(deployment=deployment, **{**values, **more})  # type: ignore[arg-type]


MODELS = [
    model("groq/openai/gpt-oss-120b", available=False, why_not="requests of a day are used up", opens_at=NOW + 56_160),
    model("openrouter/nvidia/nemotron-3-super-120b-a12b-instruct:free", context=1_048_576),
    model(
        "openrouter/google/gemma-4-31b-it:free",
        available=False,
        why_not="it said no such model; out of service for a day",
    ),
    model("cloudflare/@cf/baai/bge-m3", operations=["embed"], capabilities=[], context=None, max_output=None),
]

EXPLAINED = Explanation(
    needs=Needs(models=("auto",), instead_of=None, capabilities=["tools"], parameters=[], prompt_tokens=1_812, output_tokens=1_024, no_train=True, prefer="speed"),
    chosen="groq/openai/gpt-oss-120b",
    ranked=[
        Ranked(deployment=name, provider="x", model="y", preference=(0, 0), score=0.81234 - n / 10, fitness=0.9, price=0.0123 + n, seconds=1.4, warm=n == 1, last_resort=False)
        for n, name in enumerate(["groq/openai/gpt-oss-120b", "openrouter/nvidia/nemotron-3-super-120b-a12b-instruct:free", "cloudflare/@cf/meta/llama-4-scout"])
    ],
    excluded=[
        Exclusion("google/gemini-3.5-flash", "privacy", "may train on prompts"),
        Exclusion("mistral/mistral-large", "quota", "tokens/month used up", NOW + 56_160),
        Exclusion("nvidia/some/model", "quota", "requests/minute used up", NOW + 31),
    ],
    opens_at=NOW + 31,
)  # fmt: skip
WAITING = Explanation(
    needs=EXPLAINED.needs, chosen=None, ranked=[], excluded=EXPLAINED.excluded, opens_at=NOW + 31,
    told=Told(status=429, code="no_capacity", message="every free source that fits is at its limit", retry_after=31.0),
    expected=Expected(waits=True, begins_at=NOW + 31, behind=2, answers_in=3.0, leaves_at=None, said="it begins in 31 s, behind 2 others"),
)  # fmt: skip

CHANGES = [
    Change(kind="became paid", name="openrouter/nvidia/nemotron-3-super-120b-a12b-instruct:free", detail="prompt 0.000001", at=NOW - 4_000),
    Change(kind="appeared", name="groq/openai/gpt-oss-240b", detail="", at=NOW - 90_000),
]  # fmt: skip

HEARD = [
    check.Asked("openrouter", 0.4123, "gemma-4-31b-it", "yes"),
    check.Asked("groq", 1.7, wrong="the key is refused: 401 Invalid API Key"),
]
USED = [
    UsageRow(name="nvidia/llama-3.3-nemotron-super-49b-v1.5-of-a-long-name", requests=1_234_567, failed=12, prompt_tokens=9_876_543_210, output_tokens=123_456_789, saved=12345.678),
    UsageRow(name="", requests=1, failed=1, prompt_tokens=0, output_tokens=0, saved=0.0),
]  # fmt: skip
CLIENTS = [
    ClientView(
        name="alice", declared=False, priority="high", no_train=True, models=["gpt-oss-*"], providers=[],
        limits=[LimitView(limit="200000 tokens/day", used=1.0, remaining=2.0, resets_at=None)], wait=600.0, max_wait=None, share=0.5,
        expires=NOW + 86_400, requests=12_345, tokens=98_765_432, last_seen=NOW - 65,
    ),
    ClientView(
        name="default", declared=True, priority="normal", no_train=False, models=[], providers=[], limits=[], wait=None, max_wait=None, share=None,
        expires=None, requests=0, tokens=0, last_seen=None,
    ),
]  # fmt: skip
SHOWN: dict[str, Callable[[int], Iterable[str]]] = {
    "quota": lambda room: quota.lines(overview(), SOURCES, room),
    "quota-all": lambda room: quota.lines(overview(left=[], problems=[], next_step=""), SOURCES, room, show_all=True),
    "quota-groq": lambda room: quota.lines(overview(), SOURCES[:1], room, detail=True),
    "check": lambda room: check.lines(overview(), SOURCES, HEARD, room),
    "check-groq": lambda room: check.lines(overview(), SOURCES[:1], [], room, detail=[model("groq/a", context=None)]),
    "models": lambda room: models.lines(MODELS, "", room, NOW),
    "models-one": lambda room: models.lines(MODELS, "gpt-oss-120b", room, NOW),
    "usage": lambda room: usage.lines("model", 7, USED, room),
    "clients": lambda room: clients.lines(CLIENTS, room, NOW),
    "changes": lambda room: changes.lines(CHANGES, room),
    "explain": lambda room: explain.lines(EXPLAINED, NOW, room, numbers=False),
    "explain-numbers": lambda room: explain.lines(EXPLAINED, NOW, room, numbers=True),
    "explain-waiting": lambda room: explain.lines(WAITING, NOW, room, numbers=False),
}
TABLES = {"usage", "clients", "quota", "quota-all", "models", "changes", "check", "explain-numbers"}


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def screen(name: str, room: int) -> str:
    return "\n".join(wrapped(SHOWN[name](room), room)) + "\n"


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("name", SHOWN)
def test_a_command_prints_this(name: str, room: int):
    assert screen(name, room) == (SCREENS / f"{name}-{room}.txt").read_text()


@pytest.mark.parametrize("name", sorted(SHOWN.keys() - {"changes"}))
def test_no_number_of_the_wide_screen_is_cut_on_the_narrow_one(name: str):
    """Columns may go, and texts may be cut; what is left of a number would be another number."""
    numbers = re.compile(r"(?<!\S)\d+(?:[ .,:]\d+)*…?(?=[\s,;:)]|$)", re.MULTILINE)
    wide, narrow = (set(numbers.findall(screen(name, room))) for room in (300, 60))

    assert narrow <= wide
    assert narrow


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("name", sorted(TABLES))
def test_rows_of_tables_fit(name: str, room: int):
    lines = screen(name, room).splitlines()
    rows = [line for line in lines if "  " in line.strip() and not line.startswith((" ", "!"))]

    assert rows
    assert all(len(row) <= room for row in rows), rows


cells = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), max_size=30)


@given(st.lists(st.tuples(cells, st.integers(0, 10**9), cells), max_size=6), st.integers(20, 120))
def test_a_table_cuts_texts_and_never_numbers(rows, room):
    columns = (Column("a", text=True, least=4), Column("n", right=True), Column("b", text=True, least=4, spare=1))
    shown = table(columns, [(a, str(n), b) for a, n, b in rows], room)

    assert len(shown) == len(rows) + 1
    for (_, n, _), line in zip(rows, shown[1:], strict=True):
        assert str(n) in line
        assert len(line) <= room


# ── words ──


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"), (0.412, "0.41 s"), (0.9, "0.9 s"), (1.72, "1.7 s"), (1, "1 s"), (45, "45 s"), (61, "1 min 1 s"), (120, "2 min"), (3_599, "1 h"), (56_160, "15 h 36 min"),
        (86_400, "1 d"), (90_000, "1 d 1 h"), (2_592_000, "30 d"), (-3, "0 s"),
    ],
)  # fmt: skip
def test_durations_are_said_as_people_say_them(seconds: float, said: str):
    assert duration(seconds) == said


@given(st.floats(10, 10**8))
def test_a_duration_is_never_shorter_than_it_is(seconds: float):
    sizes = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}
    parts = re.findall(r"(\d+) (\w+)", duration(seconds))
    told = sum(int(amount) * sizes[unit] for amount, unit in parts)

    assert len(parts) <= 2
    least = sizes[parts[-1][1]]
    assert told >= seconds - least
    assert told <= seconds + 60


def test_numbers_and_moments_are_said_as_people_say_them():
    assert [number(one) for one in (0, 12, 1940, 250_000, 10.94, 0.0123, 1234.56)] == [
        "0",
        "12",
        "1 940",
        "250 000",
        "10.9",
        "0.0123",
        "1 235",
    ]
    assert [count(one, "call") for one in (0, 1, 2)] == ["0 calls", "1 call", "2 calls"]
    assert opens(NOW + 56_160, NOW) == f"in 15 h 36 min, {moment(NOW + 56_160, NOW)}"
    assert opens(NOW + 30, NOW) == "in 30 s"
    assert moment(NOW + 60, NOW).endswith("UTC")
    assert moment(NOW + 7 * 86_400, NOW)[:3] in {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}
    assert cut("a  long\ntext", 6) == "a lon…"


def _write(names: Sequence[str]) -> None:
    os.environ["TZ"] = "UTC"
    time.tzset()
    SCREENS.mkdir(exist_ok=True)
    for name in names:
        for room in ROOMS:
            (SCREENS / f"{name}-{room}.txt").write_text(screen(name, room))


if __name__ == "__main__":
    _write(list(SHOWN))
