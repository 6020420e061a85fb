"""Pollinations makes pictures by an address alone, and only where a person has allowed it."""

from __future__ import annotations

from base64 import b64decode
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.proof import prove
from providers import dialects
from providers import failures as f
from providers.dialect import HttpResponse, Listed, Target
from providers.images import ImageRequest, decode_picture_request
from providers.operations import spoken
from tests.payloads import SPECS, account

SPEC = SPECS["pollinations"]
SPOKEN = spoken(SPEC, SPEC.base_url)["image"]
TARGET = Target(account("pollinations"), "flux")


def asking(prompt: str, **more: object) -> ImageRequest:
    return ImageRequest.of(decode_picture_request(msgspec.json.encode({"prompt": prompt, **more})), {})


def read(body: bytes) -> list[str]:
    made = SPOKEN.read(TARGET, asking("fog"), HttpResponse(200, {}, body))
    return list(made.base64)


def test_it_is_off_until_a_person_says_otherwise():
    assert not SPEC.enabled
    assert "enabled = true" in SPEC.how_to_have()


def test_only_the_models_that_are_called_free_are_asked():
    free = {name for name in ("flux", "zimage", "gptimage", "seedream") if prove(SPEC, Listed(id=name), 0.0, 1.0)}

    assert free == {"flux", "zimage"}


@given(st.text(min_size=1, max_size=60).filter(lambda prompt: prompt not in (".", "..")))
def test_a_prompt_is_one_part_of_the_address_whatever_it_holds(prompt):
    """No slash, no question mark and no dots in it lead anywhere else."""
    sent = SPOKEN.build(TARGET, asking(prompt, size="512x768"), {})
    parts = urlsplit(sent.url)

    assert sent.method == "GET"
    assert parts.hostname == "gen.pollinations.ai"
    assert unquote(parts.path.removeprefix("/image/")) == prompt
    assert "/" not in parts.path.removeprefix("/image/")
    assert parse_qs(parts.query) == {"model": ["flux"], "width": ["512"], "height": ["768"], "nofeed": ["true"]}


@pytest.mark.parametrize("prompt", ["ä" * 900, ".", ".."])
def test_a_prompt_that_no_address_holds_is_not_sent(prompt):
    with pytest.raises(f.Unsupported):
        SPOKEN.build(TARGET, asking(prompt), {})


def test_the_answer_is_the_picture():
    assert list(map(b64decode, read(b"\xff\xd8\xffpicture"))) == [b"\xff\xd8\xffpicture"]
    with pytest.raises(msgspec.DecodeError):
        read(b'{"success": false}')


@pytest.mark.parametrize(("status", "kind"), [(401, f.CredentialRejected), (402, f.WouldCost), (429, f.RateLimited)])
def test_a_refusal_means_what_it_says(status, kind):
    content = msgspec.json.encode({"success": False, "error": {"message": "no", "code": "X"}, "status": status})
    found = dialects.by_name(SPEC.dialect).classify(TARGET.account, HttpResponse(status, {}, content))

    assert type(found) is kind
