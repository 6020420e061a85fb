"""OLLAMA_HOST means what Ollama's own programs take it to mean."""

import pytest

from providers.addresses import ollama_address


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("[::]:1", "http://127.0.0.1:1"),
        ("[::1]", "http://[::1]:11434"),
        ("box", "http://box:11434"),
        ("http://box", "http://box:80"),
        ("https://box.example/ollama/", "https://box.example:443/ollama"),
    ],
)
def test_every_spelling_gives_a_base_url(written, meant):
    assert ollama_address(written) == meant


@pytest.mark.parametrize("written", ["", "http://", "ftp://box", "box:port", "http://me:secret@box"])
def test_what_is_no_address_is_refused(written):
    with pytest.raises(ValueError, match="address"):
        ollama_address(written)
