"""Settings are values, read once; a mistake in them is told with its file or variable, key, and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import settings
from gateway.cli import shipped_config
from gateway.settings import BadSettings, Secret

CONFIG = shipped_config()


def load(tmp_path: Path, own: str | None = None, **environ: str) -> settings.Settings:
    if own is not None:
        (tmp_path / "own.toml").write_text(own)
        environ["FREEWAY_CONFIG"] = str(tmp_path / "own.toml")
    return settings.load(CONFIG, environ, tmp_path)


def test_the_shipped_defaults_listen_on_loopback_only(tmp_path):
    assert (load(tmp_path).server.host, load(tmp_path).server.port) == ("127.0.0.1", 8000)


def test_own_file_beats_the_default_and_the_environment_beats_both(tmp_path):
    own = "[server]\nport = 9000\nmax_body = 1000"

    found = load(tmp_path, own, PORT="9001")

    assert (found.server.port, found.server.max_body, found.server.keep_alive) == (9001, 1000, 10.0)


def test_a_provider_without_a_key_is_off(tmp_path):
    assert "groq" not in load(tmp_path).active()
    assert "groq" in load(tmp_path, GROQ_API_KEY="gsk_x").active()


def test_a_provider_of_ones_own_needs_only_a_table(tmp_path):
    own = """
    [provider.acme]
    title = "Acme"
    base_url = "https://api.acme.example/v1"
    key_env = "ACME_KEY"
    docs = "https://acme.example"
    free = {kind = "plan"}
    """

    assert load(tmp_path, own, ACME_KEY="k").active()["acme"].title == "Acme"


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ("[server]\nport = 'http'", ["own.toml", "server.port", "expected a whole number, got 'http'"]),
        ("[server]\nprot = 1", ["own.toml", "server", "unknown key `prot`", "did you mean `port`?"]),
        ("[server", ["own.toml", "is not TOML"]),
        ("[provider.groq]\nquotas = []", ["own.toml", "provider", "unknown key `quotas`", "did you mean `quota`?"]),
        ("[provider.acme]\ntitle = 'A'", ["own.toml", "provider", "missing keys `base_url`, `free`, `docs`"]),
        ("keys = {groq = 'x'}", ["own.toml", "keys", "environment"]),
        ("[[client]]\nname = 'a'\nkey_sha256 = 'no'", ["own.toml", "client", "regex"]),
        ("[provider.groq]\nquota = [{limit = 'twenty'}]", ["groq", "'twenty'", "20/minute"]),
        ("[provider.groq]\ndialect = 'klingon'", ["groq", "klingon", "openai"]),
        ("[provider.groq]\nerrors = [{means = 'bad luck'}]", ["groq", "bad luck", "busy"]),
        (
            "[provider.groq]\nquota = [{limit = '1/day', window = 'calendar', resets = 'Mars/Olympus'}]",
            ["groq", "Mars"],
        ),
    ],
)
def test_a_mistake_in_a_file_is_told_with_file_key_and_what_was_expected(tmp_path, own, told):
    with pytest.raises(BadSettings) as caught:
        load(tmp_path, own)

    for part in told:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "70000"),
        ("GROQ_BASE_URL", "api.groq.com"),
        ("OLLAMA_HOST", "http://"),
        ("GROQ_API_KEY", "two words"),
        ("GROQ_API_KEY", "schlüssel"),
        ("FREEWAY_CONFIG", "/nowhere/own.toml"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(tmp_path, variable, value):
    with pytest.raises(BadSettings, match="nowhere/own.toml" if variable == "FREEWAY_CONFIG" else variable):
        load(tmp_path, **{variable: value})


def test_a_key_shows_itself_nowhere(tmp_path):
    found = load(tmp_path, GROQ_API_KEY="gsk_secret", FREEWAY_API_KEY="fw_secret")

    assert "secret" not in repr(found)
    assert repr(Secret("x")) == "***"


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("", True), ("0.0.0.0", True), ("192.168.1.7", True), ("ollama:11434", True), ("nas.local", True),
        ("https://models.example.com", False), ("203.0.113.7", True), ("8.8.8.8:11434", False),
    ],
)  # fmt: skip
def test_an_ollama_elsewhere_is_not_taken_for_hardware_of_ones_own(tmp_path, host, local):
    """Nobody knows what it costs and who reads along; a file of one's own may say."""
    spec = load(tmp_path, OLLAMA_HOST=host).provider["ollama"]

    assert (spec.free.kind == "local", spec.data_policy.trains == "no") == (local, local)


def test_a_file_of_ones_own_says_what_an_ollama_elsewhere_is(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text('[provider.ollama.free]\nkind = "plan"\nbecause = "my own server"\n')
    spec = load(tmp_path, OLLAMA_HOST="https://models.example.com", FREEWAY_CONFIG=str(own)).provider["ollama"]

    assert spec.free.kind == "plan"


@pytest.mark.parametrize("origin", ["chat.example", "https://chat.example/path", "https://*.example", ""])
def test_an_origin_that_no_browser_sends_is_a_mistake(tmp_path, origin):
    own = tmp_path / "own.toml"
    own.write_text(f'[server]\norigins = ["{origin}"]\n')

    with pytest.raises(BadSettings, match=r"server\.origins"):
        load(tmp_path, FREEWAY_CONFIG=str(own))
