"""What is written for client programs: nothing that was there is lost, and every byte comes back."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.programs import jsonc, written
from gateway.programs.merge import CannotMerge, Format, merged, over
from gateway.programs.program import Target, programs, view
from tests.conftest import CONFIG

TARGET = Target(origin="http://127.0.0.1:8000", key="a-key", model="auto:coding", context=65_536, output=4_096)
FILES = [
    pytest.param(file, id=f"{name}-{number}")
    for name, program in programs(CONFIG).items()
    for number, file in enumerate(program.file)
]
READ: dict[str, Any] = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load, "text": str}

names = st.text("abcdefgh_-", min_size=1, max_size=6).filter(lambda name: name[0].isalpha())
scalars = (
    st.booleans() | st.integers(-1000, 1000) | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=8
)
tables = st.dictionaries(names, values, max_size=4)


# ── every program's own files ──


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_was_not_there_says_what_the_program_needs(file):
    text = file.written(None, TARGET)
    found = READ[file.format](text)

    assert found
    assert "{" not in text or file.format == "json"
    if file.format != "text":
        assert file.written(text, TARGET) == text  # written twice is written once


@pytest.mark.parametrize("file", [file for file in FILES if "default_model" not in str(file.values)])
@given(there=tables)
def test_what_was_in_a_file_is_in_it_still(file, there):
    if file.items:
        old: Any = [{file.by: f"another {number}", **value} for number, value in enumerate([there])]
    else:
        old = {f"x{name}": value for name, value in there.items()}
    text = _dumped(file.format, old)
    found = READ[file.format](file.written(text, TARGET))

    if isinstance(old, list):
        assert found[: len(old)] == old
    else:
        assert {name: found[name] for name in old} == old
        assert READ[file.format](file.written(None, TARGET)).items() <= found.items()


def _dumped(form: str, value: Any) -> str:
    if form == "json":
        return json.dumps(value)
    if form == "yaml":
        return yaml.safe_dump(value, default_flow_style=False) if value else ""
    return merged(None, "toml", value) if value else ""


@pytest.mark.parametrize("name", programs(CONFIG))
def test_every_program_is_shown_with_address_and_key(name: str):
    shown = view(name, programs(CONFIG)[name], TARGET)
    told = "\n".join([*shown.files.values(), *shown.environment.values(), *shown.steps])

    assert "127.0.0.1:8000" in told
    assert "a-key" in told
    assert "auto:coding" in told or name == "n8n"  # which asks for the name that its user chooses
    assert "{" not in "".join([*shown.steps, *shown.environment.values()])


# ── merging ──


@given(tables, tables)
def test_json_is_merged_as_values_are(there, wanted):
    for indent in (None, 2, "\t"):
        made = merged(json.dumps(there, indent=indent), "json", wanted)
        assert json.loads(made) == over(there, wanted, "")


@given(tables, tables)
def test_toml_is_merged_as_values_are_or_refused(there, wanted):
    text = merged(None, "toml", there)
    try:
        made = merged(text, "toml", wanted)
    except CannotMerge:
        return
    assert tomllib.loads(made) == over(there, wanted, "")


SETTINGS = """// Zed settings
{
  // how it looks
  "theme": "One Dark", /* dark */
  "agent": {
    "default_model": {"provider": "x", "model": "y"}, // mine
    "always_allow": true,
  },
  "list": [1, 2], // last
}
"""


def test_comments_and_trailing_commas_stay():
    wanted = {"agent": {"default_model": {"provider": "Freeway"}, "new": [1]}, "other": {"a": 1}}
    made = merged(SETTINGS, "json", wanted)

    for comment in ("// Zed settings", "// how it looks", "/* dark */", "// mine", "// last"):
        assert comment in made
    assert jsonc.read(made).value == over(jsonc.read(SETTINGS).value, wanted, "")
    assert made.count("\n") > SETTINGS.count("\n")


@given(st.text('{}[]":,/* \nabc1.-', max_size=30))
def test_json_that_cannot_be_read_is_refused_and_never_breaks(text):
    try:
        made = merged(text, "json", {"a": 1})
    except CannotMerge:
        return
    assert jsonc.read(made).value["a"] == 1


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_ends_of_lines_and_a_mark_at_the_beginning_stay(end: str, bom: str):
    forms: list[tuple[Format, str]] = [("json", '{\n  "a": 1\n}\n'), ("yaml", "a: 1\nb: 2\n"), ("toml", "a = 1\n")]
    for form, text in forms:
        made = merged(bom + text.replace("\n", end), form, {"c": {"d": 2}})
        assert made.startswith(bom + text[0])
        assert made.count("\n") == made.count(end)


LISTS = """# models of mine
- model_id: other
  model_name: x # a note
  nested:
    - model_id: freeway
# before ours
- model_name: old
  model_id: "freeway"
  gone: true
# after ours
- model_id: third
"""


def test_an_item_of_ours_is_replaced_and_comments_stay():
    made = merged(LISTS, "yaml", [{"model_id": "freeway", "model_name": "auto"}], "model_id")

    assert [item["model_id"] for item in yaml.safe_load(made)] == ["other", "freeway", "third"]
    assert yaml.safe_load(made)[1] == {"model_id": "freeway", "model_name": "auto"}
    assert all(comment in made for comment in ("# models of mine", "# a note", "# before ours", "# after ours"))


@pytest.mark.parametrize(
    "text",
    ["{a: 1}\n", "--- \na: 1\n", "models: [{name: x}]\n", "model: |\n  several\n", "a: 1\nb\n", "- x\n", "model: &m x\n",
     "models:\n  a: b\n", "model: 1\nmodel: 2\n"],
)  # fmt: skip
def test_yaml_that_is_not_plain_is_refused(text: str):
    with pytest.raises(CannotMerge):
        merged(text, "yaml", {"model": "auto", "models": [{"name": "Freeway"}]}, "name")


PLAIN = st.lists(
    st.tuples(names, scalars.filter(lambda value: value != "")), max_size=4, unique_by=lambda pair: pair[0]
).map(dict)


@given(
    PLAIN,
    PLAIN,
    st.lists(st.fixed_dictionaries({"name": names, "x": scalars}), max_size=3, unique_by=lambda i: i["name"]),
)
def test_yaml_is_merged_as_values_are(there, wanted, items):
    text = "".join(f"{name}: {json.dumps(value)}  # {name}\n" for name, value in there.items())
    if items:
        text += yaml.safe_dump({"zlist": items}, default_flow_style=False)
    ours = {**wanted, "zlist": [{"name": "Freeway", "x": 1}]}
    try:
        made = yaml.safe_load(merged(text, "yaml", ours, "name"))
    except CannotMerge:  # a quoted text is not plain
        assert any(isinstance(there.get(name), str) for name in wanted)
        return

    assert made == {**there, **wanted, "zlist": [*items, *ours["zlist"]]}


# ── and back ──


@given(data=st.data())
def test_undo_restores_every_byte_and_removes_what_was_made(data, tmp_path_factory):
    home: Path = tmp_path_factory.mktemp("home")
    places = [home / "a" / "one", home / "a" / "b" / "two", home / "three"]
    for path in places:
        if data.draw(st.booleans()):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.draw(st.binary(max_size=20)))
            path.chmod(data.draw(st.sampled_from([0o600, 0o644, 0o640])))
    before = _tree(home)
    folder = home / "state" / "connect" / "x"
    for _ in range(data.draw(st.integers(1, 3))):
        chosen = data.draw(st.lists(st.sampled_from(places), min_size=1, unique=True))
        written.write(folder, {path: data.draw(st.binary(max_size=20)) for path in chosen})
    written.undo(folder)

    assert _tree(home) == before
    with pytest.raises(written.CannotUndo, match="nothing to undo"):
        written.undo(folder)


def _tree(home: Path) -> dict[str, Any]:
    return {
        str(path): (path.read_bytes() if path.is_file() else None, path.stat().st_mode)
        for path in home.rglob("*")
        if "state" not in path.relative_to(home).parts
    }


def test_what_was_changed_since_is_not_undone_unless_forced(tmp_path: Path):
    file, folder = tmp_path / "settings", tmp_path / "state"
    file.write_text("mine")
    written.write(folder, {file: b"ours"})
    file.write_text("ours, and more of mine")

    with pytest.raises(written.CannotUndo, match="--force"):
        written.undo(folder)
    assert file.read_text() == "ours, and more of mine"
    written.undo(folder, force=True)
    assert file.read_text() == "mine"


def test_what_was_deleted_since_comes_back_as_it_was(tmp_path: Path):
    file, folder = tmp_path / "a" / "settings", tmp_path / "state"
    file.parent.mkdir()
    file.write_text("mine")
    file.chmod(0o640)
    written.write(folder, {file: b"ours"})
    file.unlink()
    file.parent.rmdir()
    written.undo(folder)

    assert file.read_text() == "mine"
    assert file.stat().st_mode & 0o777 == 0o640


def test_what_cannot_be_written_changes_nothing(tmp_path: Path):
    file, folder = tmp_path / "settings", tmp_path / "state"
    file.write_text("mine")
    (tmp_path / "no").write_text("a file, and no folder")

    with pytest.raises(NotADirectoryError):
        written.write(folder, {file: b"ours", tmp_path / "no" / "x": b"ours"})
    assert file.read_text() == "mine"
