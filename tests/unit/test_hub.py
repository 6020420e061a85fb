"""Weights from a hub are whole and what they should be, or they are not there."""

from __future__ import annotations

import errno
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import click
import httpx
import msgspec
import pytest
from click.testing import CliRunner, Result

from gateway.cli import Surroundings
from gateway.commands import small
from gateway.commands.model import command
from gateway.settings import EMBEDDED, load
from providers.embedded import hub, server, weights
from providers.embedded.gguf import called
from providers.embedded.weights import EmbeddedUnavailable, HubFile
from tests.conftest import CONFIG
from tests.unit.test_gguf import LLAMA, made

WEIGHTS = made(LLAMA) + bytes(range(256)) * 2000
REPO, FILE = "acme/Model-GGUF", "Model-Q4_K_M.gguf"
WANTED = HubFile(repo=REPO, file=FILE, bytes=len(WEIGHTS), sha256=sha256(WEIGHTS).hexdigest())


class Hub(BaseHTTPRequestHandler):
    """Hugging Face's two addresses: a repository's files, and one of them, at another path of the same host."""

    asked: ClassVar[list[str]] = []  # ranges
    cuts: ClassVar[list[int]] = []  # bytes after which the next answers break off
    content: ClassVar[bytes] = WEIGHTS
    told: ClassVar[dict[str, Any]] = {}
    ranges: ClassVar[bool] = True

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == f"/api/models/{REPO}":
            self._say(
                200, msgspec.json.encode({"siblings": [{"rfilename": "README.md"}, {"rfilename": FILE, **self.told}]})
            )
        elif path == f"/{REPO}/resolve/main/{FILE}":
            self._say(302, b"", location="/stored/it?signed=1")
        elif path == "/stored/it":
            self._file()
        else:
            self._say(404, b"{}")

    def _file(self) -> None:
        wanted = self.headers.get("range", "")
        self.asked.append(wanted)
        begin = int(wanted.removeprefix("bytes=").rstrip("-") or 0) if self.ranges else 0
        if begin and begin >= len(self.content):
            self._say(416, b"")
            return
        told = {"content-range": f"bytes {begin}-{len(self.content) - 1}/{len(self.content)}"} if begin else {}
        self._say(206 if begin else 200, self.content[begin:], self.cuts.pop(0) if self.cuts else None, **told)

    def _say(self, status: int, body: bytes, cut: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, told in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), told)
        self.end_headers()
        self.wfile.write(body[:cut])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def origin(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, start in (
        ("asked", []),
        ("cuts", []),
        ("told", {"lfs": {"sha256": WANTED.sha256, "size": WANTED.bytes}}),
    ):
        monkeypatch.setattr(Hub, name, start)
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def fetched(origin: str, cache: Path, wanted: HubFile = WANTED) -> bytes:
    with httpx.Client(timeout=10) as asking:
        return hub.fetch(asking, origin, wanted, cache, lambda *_: None).read_bytes()


def left(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "models").rglob("*") if path.is_file())


def test_a_file_is_fetched_whole_and_the_next_time_only_checked(origin: str, tmp_path: Path):
    assert fetched(origin, tmp_path) == fetched(origin, tmp_path) == WEIGHTS
    assert Hub.asked == [""]
    assert left(tmp_path) == [FILE]


def test_a_file_that_was_changed_since_is_fetched_anew(origin: str, tmp_path: Path):
    fetched(origin, tmp_path)
    hub.path_of(tmp_path, WANTED).write_bytes(b"x" * WANTED.bytes)

    assert fetched(origin, tmp_path) == WEIGHTS


def test_a_transfer_that_breaks_goes_on_where_it_stopped(origin: str, tmp_path: Path):
    Hub.cuts.extend([1000, 70_000])

    assert fetched(origin, tmp_path) == WEIGHTS
    begun = [int(asked[6:-1]) for asked in Hub.asked[1:]]
    assert Hub.asked[0] == ""
    assert len(begun) == 2
    assert 0 < begun[0] < begun[1] < len(WEIGHTS)


def test_one_that_breaks_again_and_again_is_told_and_the_next_call_goes_on(origin: str, tmp_path: Path):
    Hub.cuts.extend([40_000, 1, 1, 1])
    with pytest.raises(EmbeddedUnavailable, match="are here, and the next try goes on there"):
        fetched(origin, tmp_path)
    asked = len(Hub.asked)

    assert fetched(origin, tmp_path) == WEIGHTS
    assert Hub.asked[asked] == "bytes=40003-"


def test_a_hub_that_cannot_go_on_begins_again(origin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Hub, "ranges", False)
    Hub.cuts.append(1000)

    assert fetched(origin, tmp_path) == WEIGHTS


@pytest.mark.parametrize("content", [WEIGHTS[:-1] + b"\0", bytes(len(WEIGHTS))])
def test_what_has_another_hash_is_not_kept(
    origin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
):
    monkeypatch.setattr(Hub, "content", content)
    with pytest.raises(EmbeddedUnavailable, match=rf"its hash is {sha256(content).hexdigest()}, not {WANTED.sha256}"):
        fetched(origin, tmp_path)

    assert left(tmp_path) == []


def test_what_is_longer_than_it_should_be_is_not_read_to_its_end_nor_kept(tmp_path: Path):
    read: list[bytes] = []

    def pieces() -> Iterator[bytes]:
        while len(read) < 100:
            read.append(bytes(len(WEIGHTS) // 2))
            yield read[-1]

    def endless(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=pieces())

    with (
        httpx.Client(transport=httpx.MockTransport(endless)) as asking,
        pytest.raises(EmbeddedUnavailable, match="longer than"),
    ):
        hub.fetch(asking, "https://hub.example", WANTED, tmp_path, lambda *_: None)
    assert len(read) <= 3
    assert left(tmp_path) == []


def test_what_is_here_of_another_file_is_thrown_away(origin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Hub, "content", WEIGHTS[:100])
    with pytest.raises(EmbeddedUnavailable, match="cut off again and again"):
        fetched(origin, tmp_path)


def test_a_full_disk_is_told_before_anything_is_fetched(origin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 8, 1))
    with pytest.raises(EmbeddedUnavailable, match=r"takes 0\.0 GB more, and 0\.0 GB are free"):
        fetched(origin, tmp_path)

    assert Hub.asked == []


def test_a_disk_that_fills_up_meanwhile_is_told_and_nothing_is_left_on_it(
    origin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with httpx.Client() as asking, pytest.raises(EmbeddedUnavailable, match=r"cannot be kept in .*: No space left"):
        hub.fetch(asking, origin, WANTED, tmp_path, full)

    assert left(tmp_path) == []


# ── the way there ──


def leading(to: str) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "hub.example":
            return httpx.Response(302, headers={"location": to})
        return httpx.Response(200, content=iter([WEIGHTS]))

    return answer


@pytest.mark.parametrize(
    ("to", "told"),
    [
        ("https://store.example/x", None),
        ("http://store.example/x", "without encryption"),
        ("http://hub.example:8080/x", "without encryption"),
        ("//store.example/x", None),
        ("/elsewhere", "in circles"),
    ],
)
def test_another_host_is_asked_only_over_an_encrypted_line(tmp_path: Path, to: str, told: str | None):
    with httpx.Client(transport=httpx.MockTransport(leading(to))) as asking:
        if told is None:
            hub.fetch(asking, "https://hub.example", WANTED, tmp_path, lambda *_: None)
            return
        with pytest.raises(EmbeddedUnavailable, match=told):
            hub.fetch(asking, "https://hub.example", WANTED, tmp_path, lambda *_: None)
    assert left(tmp_path) == []


# ── the command ──


def freeway(origin: str, home: Path, *arguments: str, **environ: str) -> Result:
    around = Surroundings({"HF_ENDPOINT": origin, "XDG_CACHE_HOME": str(home / "cache"), **environ}, CONFIG, home, home)
    return CliRunner().invoke(command, arguments, obj=around)


def test_a_file_of_any_repository_is_fetched_by_the_hash_that_the_hub_tells(origin: str, tmp_path: Path):
    said = freeway(origin, tmp_path, "get", REPO, FILE)

    assert said.exit_code == 0, said.output
    path = tmp_path / "cache/freeway/models/acme--Model-GGUF" / FILE
    assert path.read_bytes() == WEIGHTS
    assert f'weights = "{path}"' in said.output
    assert str(path) in freeway(origin, tmp_path, "list").output


@pytest.mark.parametrize(
    ("told", "arguments", "expected"),
    [
        ({"size": 5}, (REPO, FILE), "does not tell the hash"),
        ({"lfs": {"sha256": "0" * 64, "size": WANTED.bytes}}, (REPO, FILE), "its hash is"),
        ({"lfs": {"sha256": "0" * 64, "size": WANTED.bytes}}, (REPO, FILE, "--sha256", WANTED.sha256.upper()), ""),
        ({"size": WANTED.bytes}, (REPO, FILE, "--sha256", WANTED.sha256), ""),
        ({}, (REPO, "other.gguf"), f"has no other.gguf; it has {FILE}"),
        ({}, (REPO, "README.md"), "expected OWNER/REPO"),
        ({}, ("acme/none", FILE), "answered 404"),
        ({}, ("../x", FILE), "expected OWNER/REPO"),
        ({}, (REPO, "../../etc/x.gguf"), "expected OWNER/REPO"),
        ({}, ("qwen2.5-1.5b",), "did you mean qwen2.5-1.5b-instruct?"),
        ({}, ("nothing-like-it",), "there are smollm2-360m-instruct"),
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_told_in_a_sentence(origin: str, tmp_path: Path, told, arguments, expected, monkeypatch):
    monkeypatch.setattr(Hub, "told", told)
    said = freeway(origin, tmp_path, "get", *arguments)

    assert said.exit_code == (1 if expected else 0), said.output
    assert expected in re.sub(r"\s+", " ", said.output)
    assert expected == "" or not (tmp_path / "cache").exists() or left(tmp_path / "cache/freeway") == []


def test_a_hub_that_does_not_answer_is_told(tmp_path: Path):
    said = freeway("http://127.0.0.1:9", tmp_path, "get", REPO, FILE)

    assert said.exit_code == 1
    assert "could not be asked" in re.sub(r"\s+", " ", said.output)


def test_every_known_model_has_its_hash_its_size_its_license_and_a_source():
    spec = weights.load(CONFIG / "embedded.toml")
    assert len(spec.hub) >= 3
    for one in spec.hub:
        assert one.name == called(Path(one.file))
        assert re.fullmatch(r"[0-9a-f]{64}", one.sha256)
        assert one.bytes > 10**8
        assert one.license == "Apache-2.0"
        assert re.search(r"20\d\d-\d\d", one.source)
    assert len({one.sha256 for one in spec.hub}) == len(spec.hub)


# ── weights of one's own ──


def served(tmp_path: Path, content: bytes | None, monkeypatch: pytest.MonkeyPatch, free: int = 1 << 40) -> small.Small:
    """What is to be served where one's own file holds *content*."""
    path, own = tmp_path / "Own-Model-Q8_0.gguf", tmp_path / "own.toml"
    if content is not None:
        path.write_bytes(content)
    own.write_text(f'[embedded]\nweights = "{path}"\n')
    monkeypatch.setattr("providers.embedded.server.memory_free", lambda: free)
    environ = {"FREEWAY_CONFIG": str(own)}
    return small.small_model(Surroundings(environ, CONFIG, tmp_path, tmp_path), load(CONFIG, environ, tmp_path))


def test_an_own_model_answers_under_its_own_name_and_with_its_own_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    found = served(tmp_path, WEIGHTS, monkeypatch)
    spec = small.with_model(load(CONFIG, {}, tmp_path), found).provider[EMBEDDED]

    assert found.context == 2048
    assert spec.static_models == ("own-model",)
    assert spec.fact("own-model").context == 2048
    assert spec.fact("own-model").capabilities == ("json_object", "json_schema")


@pytest.mark.parametrize(
    ("content", "free", "told"),
    [
        (None, 1 << 40, r"Own-Model-Q8_0.gguf cannot be read: No such file"),
        (b"PK\3\4", 1 << 40, "cannot be served: it is no GGUF file"),
        (WEIGHTS, 50_000_000, "needs 0.1 GB of memory, and 0.1 GB are free"),
    ],
)
def test_an_own_file_that_cannot_be_served_is_told_in_a_sentence(tmp_path, monkeypatch, content, free, told):
    with pytest.raises(click.ClickException, match=told) as caught:
        served(tmp_path, content, monkeypatch, free)

    assert caught.value.message.startswith("[embedded] weights: ")


def test_free_memory_is_what_the_system_tells_else_all_that_there_is(tmp_path: Path):
    told = tmp_path / "meminfo"
    told.write_text("MemTotal:       24000000 kB\nMemFree:         1000 kB\nMemAvailable:    2048 kB\n")

    assert server.memory_free(told) == 2048 * 1024
    assert server.memory_free(tmp_path / "none") > 1 << 27
