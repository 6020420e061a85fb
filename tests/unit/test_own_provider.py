"""What a provider of one's own leaves unsaid is said at start, and nothing of those that are shipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import settings as s
from tests.conftest import CONFIG

OWN = """
[provider.acme]
title = "Acme"
base_url = "http://127.0.0.1:9/v1"
docs = "https://acme.example"
free = { kind = "local" }
"""
ABLE = 'capabilities = ["tools"]\n'
SIZED = '[[provider.acme.models]]\nids = ["*"]\ncontext = 8192\n'


def told(folder: Path, more: str, **environ: str) -> list[str]:
    own = folder / "own.toml"
    own.write_text(OWN + more)
    return [note for note in s.read(CONFIG, {"FREEWAY_CONFIG": str(own), **environ}, folder).notes if "acme" in note]


@pytest.mark.parametrize(
    ("more", "key", "unsaid"),
    [
        ("keyless = true\n" + ABLE + SIZED, "", ()),
        ('key_env = "ACME_API_KEY"\n' + ABLE + SIZED, "key", ()),
        ('key_env = "ACME_API_KEY"\n' + ABLE + SIZED, "", ("has no key",)),
        (ABLE + SIZED, "", ("says neither key_env nor keyless",)),
        ("keyless = true\n" + SIZED, "", ("says no capabilities",)),
        ("keyless = true\n" + ABLE, "", ("says no context",)),
        ("keyless = true\n" + SIZED + 'capabilities = ["vision"]\n', "", ()),
        ('key_env = "ACME_API_KEY"\n', "", ("has no key", "says no capabilities", "says no context")),
        ('key_env = "ACME_API_KEY"\nenabled = false\n', "", ()),
    ],
)
def test_what_a_provider_of_ones_own_does_not_say_is_said(tmp_path: Path, more: str, key: str, unsaid: tuple[str, ...]):
    notes = told(tmp_path, more, **({"ACME_API_KEY": key} if key else {}))

    assert len(notes) == len(unsaid)
    assert all(said in note for said, note in zip(unsaid, notes, strict=True))


def test_nothing_is_said_of_what_is_shipped(tmp_path: Path):
    own = tmp_path / "own.toml"
    own.write_text('[provider.groq]\ncapabilities = ["tools"]\n')

    assert s.read(CONFIG, {"FREEWAY_CONFIG": str(own)}, tmp_path).notes == ()
