"""What names an account in a store that others share."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.settings import BadSettings, load
from tests.conftest import CONFIG


def _loaded(**environ: str):
    return load(CONFIG, environ, Path("/nowhere"))


def test_an_account_is_named_after_its_credential_and_does_not_tell_it():
    one, same, other = (_loaded(GROQ_API_KEY=key) for key in ("gsk_one", "gsk_one", "gsk_other"))

    assert one.accounts()["groq"] == same.accounts()["groq"] != other.accounts()["groq"]
    assert "gsk" not in one.accounts()["groq"]


def test_a_provider_without_a_key_is_one_account_for_each_namespace():
    here, there = _loaded(), _loaded(FREEWAY_REDIS_PREFIX="staging")

    assert here.accounts()["ollama"] != there.accounts()["ollama"]
    assert there.redis_namespace == "freeway:staging"


@pytest.mark.parametrize("prefix", ["a b", "a:b", "{a}", "x" * 65])
def test_a_prefix_that_would_not_be_one_is_refused_by_its_name(prefix):
    with pytest.raises(BadSettings, match="FREEWAY_REDIS_PREFIX"):
        _loaded(FREEWAY_REDIS_PREFIX=prefix)
