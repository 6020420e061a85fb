"""Where settings are read from, who has the last word, and that every mistake is told with its place and a remedy."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import settings as s
from gateway.settings.files import read_toml, read_variables
from gateway.settings.shown import shown
from gateway.settings.storing import store
from gateway.settings.values import OF_ENVIRONMENT, Settings
from tests.conftest import CONFIG

Written = tuple[str, list[str]]  # lines, of which the last is wrong; what is told of it


class Home:
    """The home of a person, and a folder that they work in."""

    def __init__(self, path: Path) -> None:
        self.home, self.here = path, path / "work"
        self.folder = path / ".config" / "freeway"
        self.folder.mkdir(parents=True)
        self.here.mkdir()

    def write(self, config: str | bytes = "", keys: str = "", env: str = "") -> None:
        (self.folder / "config.toml").write_bytes(config if isinstance(config, bytes) else config.encode())
        (self.folder / "keys.env").write_text(keys)
        (self.folder / "keys.env").chmod(0o600)
        (self.here / ".env").write_text(env)

    def read(self, flags: dict[str, str] | None = None, **environ: str) -> s.Configured:
        return s.read(CONFIG, environ, self.home, here=self.here, flags=flags)

    def mistakes(self, **environ: str) -> list[s.Mistake]:
        with pytest.raises(s.BadSettings) as caught:
            s.read(CONFIG, environ, self.home, here=self.here)
        assert all(isinstance(one, s.Mistake) for one in caught.value.mistakes)
        return [one for one in caught.value.mistakes if isinstance(one, s.Mistake)]


@pytest.fixture
def home(tmp_path) -> Home:
    return Home(tmp_path)


# ── where from ──


def test_each_place_has_the_last_word_over_those_before(home):
    """Shipped, config.toml, keys.env, a working folder's .env, the environment, what is said on the command line."""
    home.write("[server]\nport = 9000\n", keys="GROQ_API_KEY=at-home\nMISTRAL_API_KEY=at-home\nHF_TOKEN=at-home\n")
    (home.here / ".env").write_text("MISTRAL_API_KEY=folder\nHF_TOKEN=folder\n")

    found = home.read(HF_TOKEN="environment")
    assert found.settings.keys == {"groq": "at-home", "mistral": "folder", "huggingface": "environment"}
    assert (found.settings.server.port, found.settings.server.host) == (9000, "127.0.0.1")
    assert home.read(PORT="9001").settings.server.port == 9001
    assert home.read(PORT="9001", flags={"PORT": "9002"}).settings.server.port == 9002
    assert found.origins == {
        "server.port": "config.toml:2",
        "GROQ_API_KEY": "keys.env:1",
        "MISTRAL_API_KEY": ".env:1",
        "HF_TOKEN": "environment",
    }


def test_a_variable_that_is_set_to_nothing_says_nothing(home):
    home.write(keys="GROQ_API_KEY=at-home\n")

    assert home.read(GROQ_API_KEY="", HF_TOKEN=" ").settings.keys == {"groq": "at-home"}


def test_another_name_of_a_key_counts_where_it_stands(home):
    """A program's name for the key in the environment goes before our own name for it in a file."""
    home.write(keys="GEMINI_API_KEY=at-home\n")

    assert home.read(GOOGLE_API_KEY="environment").settings.keys == {"google": "environment"}


def test_a_working_folder_gives_keys_and_never_says_where_they_go(home):
    redirecting = (
        "GROQ_API_KEY=gsk\nGROQ_BASE_URL=https://evil.example\nHTTPS_PROXY=http://evil.example\nHOST=0.0.0.0\nOLLAMA_HOST=evil.example\n"
        "FREEWAY_CONFIG=/tmp/evil.toml\nFREEWAY_KEYLESS=1\nFREEWAY_STATE_DIR=/tmp\nHF_ENDPOINT=https://evil.example\n"
    )
    plain = home.read()
    home.write(env=redirecting)
    found = home.read()

    assert found.settings.keys == {"groq": "gsk"}
    assert msgspec.structs.replace(found.settings, keys={}) == plain.settings
    assert any("GROQ_BASE_URL is not read" in note for note in found.notes)


def test_freeway_config_names_another_file_and_xdg_another_folder(home, tmp_path):
    home.write("[server]\nport = 9000\n")
    (tmp_path / "other.toml").write_text("[server]\nport = 9001\n")
    (tmp_path / "xdg" / "freeway").mkdir(parents=True)
    (tmp_path / "xdg" / "freeway" / "config.toml").write_text("[server]\nport = 9002\n")

    assert home.read(FREEWAY_CONFIG=str(tmp_path / "other.toml")).settings.server.port == 9001
    assert home.read(XDG_CONFIG_HOME=str(tmp_path / "xdg")).settings.server.port == 9002


@pytest.mark.parametrize("lines", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_and_line_ends_of_windows_are_fine(home, lines, mark):
    home.write(mark + lines.join(["[server]", "port = 9000", "", "[alias]", 'mine = """', 'auto"""', ""]).encode())
    (home.folder / "keys.env").write_bytes(mark + lines.join(["GROQ_API_KEY=gsk", 'HF_TOKEN="hf" # mine', ""]).encode())

    found = home.read()
    assert (found.settings.server.port, found.settings.keys) == (9000, {"groq": "gsk", "huggingface": "hf"})
    assert found.origins["HF_TOKEN"] == "keys.env:2"


def test_keys_that_others_may_read_are_told(home):
    home.write(keys="GROQ_API_KEY=gsk\n")
    (home.folder / "keys.env").chmod(0o644)

    assert any("chmod 600" in note for note in home.read().notes)


def test_an_alias_of_an_alias_means_what_that_means(home):
    home.write('[alias]\na = "b"\nb = ["c", "auto:fast"]\nc = "some-model"\n')

    assert home.read().settings.alias["a"] == ("some-model", "auto:fast")


# ── what is shown ──


def test_what_is_shown_says_where_from_and_holds_no_secret(home):
    secret = "gsk_verysecretindeed"
    home.write(
        f'[catalog]\nwebhook = "https://hooks.example/{secret}"\n[provider.groq.headers]\nx-key = "{secret}"\n',
        keys=f"GROQ_API_KEY={secret}\n",
    )
    found = home.read(FREEWAY_API_KEY=secret, FREEWAY_REDIS_URL=f"redis://:{secret}@127.0.0.1/0", PORT="9001")
    rows = {row.key: row for row in shown(found)}

    assert secret not in repr(shown(found, everything=True))
    assert (rows["server.port"].value, rows["server.port"].source) == ("9001", "environment")
    assert (rows["GROQ_API_KEY"].value, rows["GROQ_API_KEY"].source) == ('"***"', "keys.env:1")
    assert rows["catalog.webhook"].source == "config.toml:2"


def test_everything_is_every_setting_and_what_it_says_can_be_written_down_again(home):
    before = home.read().settings
    rows = shown(home.read(), everything=True)
    keys = {row.key.partition(".")[0].partition("[")[0] for row in rows}

    assert keys >= set(Settings.__struct_fields__) - {*OF_ENVIRONMENT, "client"}
    simple = "\n".join(f"{row.key} = {row.value}" for row in rows if "***" not in row.value and row.value != "null")
    home.write(simple)
    assert home.read().settings == before


# ── mistakes ──


def test_all_mistakes_of_all_places_are_told_at_once_in_order_of_their_lines(home):
    home.write(
        '[server]\nprot = 1\nport = "x"\n[alias]\na = "b"\nb = "a"\n[[client]]\nname = "x"\npriority = "hihg"\n',
        keys="GROQ_KEY=abc\nnonsense\nHF_TOKEN=two words\n",
    )
    found = home.mistakes(PORT="eighty", FREEWAY_API_KEY="short", HOST="0.0.0.0")
    told = [(Path(one.where).name, one.key) for one in found]

    assert told == [
        ("config.toml:2", "server.prot"), ("config.toml:3", "server.port"), ("config.toml:5", "alias.a"),
        ("config.toml:6", "alias.b"), ("config.toml:7", "client[0]"), ("config.toml:9", "client[0].priority"),
        ("keys.env:1", "GROQ_KEY"), ("keys.env:2", ""), ("keys.env:3", "HF_TOKEN"),
        ("environment", "PORT"), ("environment", "FREEWAY_API_KEY"),
    ]  # fmt: skip
    assert all(one.remedy for one in found)
    assert not [one for one in found if "two words" in str(one)]


def test_every_line_that_is_no_toml_is_told_and_the_rest_is_read(home):
    home.write('[server]\nport = \n[requests\nmax_wait = 3\nhedge = "of"\nchores = [\n"x"\n[server2]\na = 1\n')

    assert [Path(one.where).name for one in home.mistakes()] == ["config.toml:2", "config.toml:3", "config.toml:8"]


def _misspelled(word: str, chance: random.Random) -> str:
    at = chance.randrange(len(word) - 1)
    return (
        word[:at] + word[at + 1] + word[at] + word[at + 2 :] if word[at] != word[at + 1] else word[:at] + word[at + 1 :]
    )


TABLES = {
    one.name: one.type
    for one in msgspec.structs.fields(Settings)
    if isinstance(one.type, type) and issubclass(one.type, msgspec.Struct) and one.name != "names"
}


def _in_a_table(chance: random.Random) -> Written:
    name = chance.choice(sorted(TABLES))
    fields = msgspec.structs.fields(TABLES[name])
    one = chance.choice(fields)
    if chance.random() < 0.5 and len(one.name) > 3:
        wrong = _misspelled(one.name, chance)
        others = {field.name for field in fields}
        if wrong not in others:
            return f"[{name}]\n{wrong} = 1", [f"{name}.{wrong}", "unknown key"]
    told = [f"{name}.{one.name}", "expected", "for example" if one.default is not msgspec.NODEFAULT else ""]
    return f"[{name}]\n{one.name} = {{ a = 1 }}", told


def _choice(chance: random.Random) -> Written:
    among = [
        (table, one.name, get_args(one.type))
        for table, kind in TABLES.items()
        for one in msgspec.structs.fields(kind)
        if get_origin(one.type) is Literal
    ]
    table, name, choices = chance.choice(among)
    wrong = _misspelled(max(choices, key=len), chance)
    return f'[{table}]\n{name} = "{wrong}"', [f"{table}.{name}", *choices]


def _of_names(chance: random.Random) -> Written:
    number = chance.randrange(10**6)
    virtual = chance.choice(["auto:fast", "auto:smart", "auto:coding", "auto:vision", "auto:private"])
    capability = chance.choice(["tools", "vision", "reasoning", "json_schema"])
    provider = chance.choice(["groq", "mistral", "openrouter", "cerebras"])
    wrong, lacking = f"auto:{_misspelled(virtual[5:], chance)}", _misspelled(capability, chance)
    elsewhere, digest = _misspelled(provider, chance), f"{number:064x}"
    made: list[Written] = [
        (f'[alias]\n"x{number}" = "{wrong}"', ["alias.", wrong, virtual]),
        (f'[alias]\n"x{number}" = ["auto", "{wrong}"]', ["alias.", virtual]),
        (f'[alias]\n"x{number}" = "x{number}"', ["alias.", "circle"]),
        (f'[pattern]\n"x{number}*" = "{wrong}"', ["pattern.", virtual]),
        (f'[virtual."auto:x{number}"]\nneeds = ["{lacking}"]', ["needs", lacking, capability]),
        (f'[virtual."auto:x{number}"]\nprefer = "quallity"', ["prefer", "quality"]),
        (f'[[client]]\nname = "c{number}"\nkey_sha256 = "{digest}"\nproviders = ["{elsewhere}"]', ["client[", provider]),
        (f'[[client]]\nname = "c{number}"\nkey_sha256 = "{number}"', ["client[", "sha256sum"]),
        (f'[provider.{provider}]\nmodels = [{{ids = ["*"], capabilities = ["{lacking}"]}}]', [provider, capability]),
        (f'[provider.{provider}]\ncapabilities = ["{lacking}"]', [provider, capability]),
        (f'[provider.{provider}]\nquota = [{{limit = "many/day"}}]', [provider, "20/minute"]),
        (f'[provider.{provider}]\n{_misspelled("enabled", chance)} = true', [provider, "enabled"]),
        (f'[provider.{provider}.free]\nkind = "plann"', [provider, "free.kind", "plan"]),
        (f"[provider.{elsewhere}]", [elsewhere, f"did you mean [provider.{provider}]", "base_url"]),
        ('[server]\norigins = ["chat.example"]', ["server.origins", "https://"]),
        ('[server]\nollama = "nowhere"', ["server.ollama", "127.0.0.1:11434"]),
        ('[server]\nollama_networks = ["home"]', ["server.ollama_networks", "192.168.1.0/24"]),
    ]  # fmt: skip
    return chance.choice(made)


@pytest.mark.parametrize("seed", range(200))
def test_each_of_200_mistakes_is_told_with_its_place_and_a_remedy(seed, home):
    """Beside another one that is right, at whatever line, and nothing else is told."""
    chance = random.Random(seed)
    written, told = chance.choice([_in_a_table, _choice, _of_names, _of_names])(chance)
    before = "\n" * chance.randrange(5) + ("# a comment\n[ledger]\n" if "[ledger]" not in written else "")
    home.write(before + written + "\n")
    (mistake,) = home.mistakes()
    last = before.count("\n") + written.count("\n") + 1

    of_provider = re.fullmatch(r"provider\.\w+", mistake.key) is not None and "\n" in written
    assert mistake.where == f"{home.folder / 'config.toml'}:{last - of_provider}"
    assert mistake.remedy
    for part in told:
        assert part in str(mistake), (written, str(mistake))


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("GROQ_API_KEYS=x", ["GROQ_API_KEYS", "did you mean `GROQ_API_KEY`"]),
        ("HTTPS_PROXY=x", ["HTTPS_PROXY", "environment"]),
        ("GROQ_API_KEY=ключ", ["GROQ_API_KEY", "ASCII", "console.groq.com"]),
        ("GROQ_API_KEY", ["NAME=value"]),
    ],
)
def test_a_mistake_among_keys_is_told_without_the_key(home, keys, told):
    home.write(keys=f"\n{keys}\n")
    (mistake,) = home.mistakes()

    assert mistake.where.endswith("keys.env:2")
    assert all(part in str(mistake) for part in told)
    assert "ключ" not in str(mistake)


def test_clients_of_one_name_or_one_key_are_told(home):
    client = '[[client]]\nname = "{}"\nkey_sha256 = "{}"\n'
    home.write(client.format("a", "0" * 64) + client.format("a", "1" * 64) + client.format("b", "0" * 64))
    found = home.mistakes()

    assert [(Path(one.where).name, one.key) for one in found] == [
        ("config.toml:5", "client[1].name"),
        ("config.toml:9", "client[2].key_sha256"),
    ]


@given(st.text(alphabet='ab[]{}="\n.#1 ', max_size=60))
def test_no_text_is_too_odd_to_be_told_of(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("odd") / "config.toml"
    path.write_text(text)
    found = read_toml(path)

    assert found.mistakes or found.tables is not None
    for value in _paths(found.tables):
        assert found.where(value).rpartition(":")[2].isdigit()


def _paths(table: Any, keys: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    entries = table.items() if isinstance(table, dict) else enumerate(table)
    return [
        way
        for key, value in entries
        for way in ((*keys, key), *(_paths(value, (*keys, key)) if isinstance(value, dict | list) else ()))
    ]


# ── keys that are stored ──


def test_a_key_is_stored_for_its_owner_alone_and_the_rest_of_the_file_stays(tmp_path):
    path = tmp_path / "freeway" / "keys.env"
    store(path, "GROQ_API_KEY", "one")
    path.write_text(f"# mine\n{path.read_text()}HF_TOKEN='hf'\n")
    path.chmod(0o644)
    store(path, "GROQ_API_KEY", "two")
    store(path, "MISTRAL_API_KEY", "three")

    assert path.read_text() == "# mine\nGROQ_API_KEY=two\nHF_TOKEN='hf'\nMISTRAL_API_KEY=three\n"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    store(path, "GROQ_API_KEY", None)
    assert "GROQ" not in path.read_text()
    assert [one.name for one in path.parent.iterdir()] == ["keys.env"]


@given(st.text(min_size=1, max_size=60))
def test_what_is_stored_is_what_is_read(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("keys") / "keys.env"
    try:
        store(path, "GROQ_API_KEY", value)
    except ValueError:
        assert not path.exists()
    else:
        assert read_variables(path).values == {"GROQ_API_KEY": value.strip()}


def test_what_was_meant_is_told_of_variables_that_are_set_and_do_nothing(home):
    environ = {"GROQ_KEY": "x", "CLOUDFLARE_API_TOKEN": "y", "HF_TOKEN": "gsk_a", "MISTRAL_API_KEY": "m"}
    found = home.read(**environ).near_misses

    assert found.keys() == {"groq", "cloudflare", "huggingface"}
    assert "GROQ_API_KEY" in found["groq"][0]
    assert "CLOUDFLARE_ACCOUNT_ID" in found["cloudflare"][0]
    assert "Groq" in found["huggingface"][0]
