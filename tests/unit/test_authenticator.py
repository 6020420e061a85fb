"""Which client a request comes from."""

from __future__ import annotations

from hashlib import sha256

import pytest
from msgspec import structs

from gateway import settings as s
from gateway.api.auth import ANYBODY, Authenticator
from gateway.api.drain import Drain
from gateway.settings import Client
from gateway.words import BadRequest, Stopping, Unauthorized
from tests.clock import FakeClock
from tests.conftest import CONFIG

HERS = Client(name="her", key_sha256=sha256(b"fw-hers").hexdigest())


def authenticator(key: str = "", *clients: Client, drain: Drain | None = None) -> Authenticator:
    settings = s.load(CONFIG, {"FREEWAY_API_KEY": key} if key else {}, CONFIG)
    return Authenticator(structs.replace(settings, client=list(clients)), drain or Drain(), FakeClock())


def admitted(by: Authenticator, *headers: tuple[str, str]) -> str:
    return by.admit([(name.encode(), value.encode()) for name, value in headers]).name


@pytest.mark.parametrize(
    "headers",
    [
        [("authorization", "Bearer fw")],
        [("authorization", "bearer  fw ")],
        [("authorization", " Bearer fw")],
        [("x-api-key", "fw")],
        [("x-api-key", " fw\t")],
        [("x-api-key", "fw"), ("authorization", "Bearer placeholder")],
        [("authorization", "Bearer fw"), ("x-api-key", "placeholder")],
        [("authorization", "Bearer fw"), ("authorization", "Bearer fw")],
    ],
)
@pytest.mark.parametrize("configured", ["fw", " fw\n"])
def test_a_key_is_right_in_either_place_with_blanks_around_it_and_beside_a_placeholder(headers, configured):
    assert admitted(authenticator(configured), *headers) == "default"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "fw")],
        [("authorization", "Basic fw")],
        [("authorization", "Bearer ")],
        [("authorization", "Bearer f w")],
        [("x-api-key", "")],
        [("x-api-key", "wrong"), ("authorization", "Bearer wrong, too")],
    ],
)
def test_anything_else_is_refused_and_not_repeated(headers):
    with pytest.raises(Unauthorized) as caught:
        admitted(authenticator("fw"), *headers)

    assert "wrong, too" not in caught.value.message


@pytest.mark.parametrize("name", ["authorization", "x-api-key"])
@pytest.mark.parametrize("values", [("Bearer fw", "Bearer other"), ("Bearer other", "Bearer fw")])
def test_of_two_different_credentials_none_overrides_the_other_in_silence(name, values):
    with pytest.raises(BadRequest, match=f"two different '{name}' headers"):
        admitted(authenticator("fw"), *((name, value) for value in values))


def test_each_client_is_known_by_its_own_key():
    by = authenticator("fw", HERS)

    assert admitted(by, ("x-api-key", "fw-hers")) == "her"
    assert admitted(by, ("x-api-key", "fw")) == "default"


def test_a_key_of_nothing_but_blanks_is_none():
    assert authenticator("  ").open


def test_with_no_key_configured_any_credential_or_none_will_do():
    by = authenticator()

    assert admitted(by) == admitted(by, ("authorization", "Bearer x")) == ANYBODY.name


def test_once_the_drain_has_begun_no_key_is_right():
    drain = Drain()
    by = authenticator("fw", drain=drain)
    drain.begin()

    with pytest.raises(Stopping):
        admitted(by, ("x-api-key", "fw"))


@pytest.mark.parametrize("query", [b"key=fw", b"alt=sse&key=fw", b"key=placeholder&key=fw", b"key=%66w"])
def test_googles_programs_send_a_key_in_their_own_header_or_in_the_address(query):
    asked = authenticator("fw")

    assert asked.admit([], query).name == "default"
    assert admitted(asked, ("x-goog-api-key", "fw")) == "default"


@pytest.mark.parametrize(
    "query", [b"", b"key=", b"key=wrong", b"monkey=fw", b"key", b"&".join([b"a=1"] * 200 + [b"key=fw"])]
)
def test_another_address_admits_nobody_and_is_not_repeated(query):
    with pytest.raises(Unauthorized) as caught:
        authenticator("fw").admit([], query)

    assert "wrong API key" in caught.value.message or "no API key" in caught.value.message
