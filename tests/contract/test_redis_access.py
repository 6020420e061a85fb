"""Who may connect with a Redis: by TLS, as a user with a password, at a server, sentinels and a cluster; and what is told who may not."""

from __future__ import annotations

import asyncio
import inspect
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from gateway.api.responses_redis import RedisResponses
from gateway.api.responses_store import ResponsesLost
from gateway.clock import WallClock
from gateway.quota.buckets import Bucket
from gateway.quota.ledger import Ledger
from gateway.quota.nouns import Cost, Offer, Reservation
from gateway.quota.redis import open_store
from gateway.quota.redis_peers import RedisPeers
from gateway.state.redis import RedisState
from gateway.state.redis_client import connect
from gateway.state.store import StateFailure
from tests import containers

pytestmark = [
    pytest.mark.engine,
    # A connection with TLS that was refused is closed in the background, which takes longer than the test's loop lives.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

DAY = Bucket(key="a/*/day", account="a", unit="requests", limit=10, window="rolling", period=86_400)
USER = ("--user", "app", "on", ">p@ss", "~freeway:*", "&freeway:*", "+@all")


def certificate(folder: Path, name: str, host: str = "IP:127.0.0.1") -> None:
    """A key and a certificate of *host*, which is its own authority."""
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-days", "2"]
    files = ["-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem"]
    subprocess.run([*argv, "-addext", f"subjectAltName={host}", *files], check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Path:
    """``here`` is of this machine, ``elsewhere`` of another one, ``foreign`` is of an authority that has signed nothing."""
    folder = tmp_path_factory.mktemp("certificates")
    certificate(folder, "here")
    certificate(folder, "foreign")
    certificate(folder, "elsewhere", "DNS:redis.example")
    return folder


def tls_only(certificates: Path, name: str = "here") -> tuple[str, ...]:
    """The options of a server that talks TLS with everybody: its clients, its replicas, the other nodes."""
    return (
        *("--tls-cert-file", f"{certificates}/{name}.pem", "--tls-key-file", f"{certificates}/{name}.key"),
        *("--tls-ca-cert-file", f"{certificates}/{name}.pem", "--tls-auth-clients", "no", "--tls-cluster", "yes"),
        *("--tls-port", str(containers.free_port())),
    )


def tls_port(server: containers.Server) -> str:
    assert isinstance(server, containers.Local)
    return server.cli("config", "get", "tls-port").split()[-1]


@contextmanager
def watched(certificates: Path) -> Iterator[int]:
    """The port of a sentinel, which has a user ``watcher``, of a master called ``ours``; both talk TLS alone."""
    with containers.redis(*tls_only(certificates), *USER) as master, TemporaryDirectory() as folder:
        lines = (
            f"dir {folder}",
            "sentinel resolve-hostnames yes",
            f"sentinel monitor ours 127.0.0.1 {tls_port(master)} 1",
            "sentinel auth-user ours app",
            "sentinel auth-pass ours p@ss",
            "user default off",
            "user watcher on >other allchannels +@all",
        )
        Path(folder, "sentinel.conf").write_text("\n".join(lines))
        options = tls_only(certificates)
        argv = ["redis-server", f"{folder}/sentinel.conf", "--sentinel", "--port", "0", *options]
        with subprocess.Popen([*argv, "--tls-replication", "yes"], stdout=subprocess.DEVNULL) as sentinel:
            try:
                yield int(options[-1])
            finally:
                sentinel.kill()


@pytest.fixture(scope="module")
def hosts(certificates: Path) -> Iterator[dict[str, str]]:
    """Redises that talk TLS, by kind: how an address begins and where it leads."""
    with ExitStack() as stack:
        server, elsewhere = (
            stack.enter_context(containers.redis(*tls_only(certificates, name), *USER))
            for name in ("here", "elsewhere")
        )
        nodes = stack.enter_context(containers.cluster(each=lambda: (*tls_only(certificates), *USER)))
        sentinel = stack.enter_context(watched(certificates))
        yield {
            "server": f"rediss://{{}}@127.0.0.1:{tls_port(server)}/0",
            "elsewhere": f"rediss://{{}}@127.0.0.1:{tls_port(elsewhere)}/0",
            "cluster": f"rediss+cluster://{{}}@127.0.0.1:{tls_port(nodes[0])}",
            "sentinel": f"rediss+sentinel://{{}}@127.0.0.1:{sentinel}/ours/0",
        }


@pytest.fixture(autouse=True)
def _authorities_of_its_own(monkeypatch) -> None:
    """Elsewhere in the tests all connections share one context, which would know the authorities of those before."""
    monkeypatch.setattr(ssl, "create_default_context", inspect.unwrap(ssl.create_default_context))


async def _lost(url: str) -> str | None:
    """Why a ledger at *url* has lost it; None: it has not, and a request was served."""
    ledger = Ledger(open_store(url), WallClock(), buckets=lambda: [DAY])
    try:
        await ledger.serve()
        held = await ledger.reserve([Offer("d", (DAY,), Cost(1))])
        assert isinstance(held, Reservation)
        ledger.refund(held)
        return ledger.condition().lost
    finally:
        await ledger.aclose()


async def _told(url: str) -> list[str]:
    """What all that a gateway keeps in Redis says of *url*, which is not to be used."""
    state, responses = RedisState(connect(url)[0]), RedisResponses(connect(url)[0], WallClock())
    with pytest.raises(StateFailure) as of_state:
        await state.revisions()
    with pytest.raises(ResponsesLost) as of_responses:
        await responses.find("x")
    await state.aclose()
    await responses.aclose()
    return [str(await _lost(url)), str(of_state.value), str(of_responses.value)]


def _address(hosts: Mapping[str, str], kind: str, user: str, authority: str, watcher: str = "watcher:other") -> str:
    name, _, password = watcher.partition(":")
    of_sentinels = f"&sentinel_username={name}&sentinel_password={password}" if kind == "sentinel" else ""
    return f"{hosts[kind].format(user)}?ssl_ca_certs={authority}{of_sentinels}"


@pytest.mark.parametrize("kind", ["server", "cluster", "sentinel"])
async def test_tls_with_a_user_and_a_password_is_a_way_to_connect(hosts, certificates, kind):
    url = _address(hosts, kind, "app:p%40ss", f"{certificates}/here.pem")
    async with asyncio.timeout(20):
        while await _lost(url) is not None:  # noqa: ASYNC110 - sentinels and clusters take a while to know who is who
            await asyncio.sleep(0.1)
    state = RedisState(connect(url)[0])
    await state.write("topic", {"key": b"value"})
    assert await state.read("topic") == {"key": b"value"}
    await state.aclose()


@pytest.mark.parametrize("kind", ["server", "cluster", "sentinel"])
@pytest.mark.parametrize(
    ("user", "authority", "named"),
    [
        ("app:p%40ss", "foreign", "the option ssl_ca_certs: the server's certificate is not of these authorities"),
        ("app:wrong", "here", "the option username or password: Redis refuses them"),
        ("other:p%40ss", "here", "the option username or password: Redis refuses them"),
    ],
)
async def test_who_may_not_connect_is_told_in_one_sentence_which_option_is_wrong(
    hosts, certificates, kind, user, authority, named
):
    for told in await _told(_address(hosts, kind, user, f"{certificates}/{authority}.pem")):
        assert told.startswith(named)
        assert "\n" not in told
        assert user.partition(":")[2] not in told


async def test_sentinels_that_refuse_and_a_host_of_another_name_are_told_by_their_options(hosts, certificates):
    here = f"{certificates}/here.pem"
    for watcher in ("watcher:wrong", "nobody:other"):
        for told in await _told(_address(hosts, "sentinel", "app:p%40ss", here, watcher)):
            assert told == "the option sentinel_username or sentinel_password: the sentinels refuse them"

    for told in await _told(_address(hosts, "sentinel", "app:p%40ss", here).replace("/ours/", "/theirs/")):
        assert told == "MasterNotFoundError: no sentinel knows a master called theirs"

    elsewhere = _address(hosts, "elsewhere", "app:p%40ss", f"{certificates}/elsewhere.pem")
    for told in await _told(elsewhere):
        assert told.startswith("the option ssl_check_hostname: the server's certificate is of another host")
    assert await _lost(f"{elsewhere}&ssl_check_hostname=no") is None


async def test_a_redis_that_wants_a_password_where_none_is_given_says_so():
    with containers.redis("--requirepass", "x") as server:
        for told in await _told(server.url):
            assert told == "the option password: Redis wants one"
        assert await _lost(server.url.replace("://", "://:x@")) is None


async def test_a_gateway_ends_although_a_connection_is_refused_while_it_is_to_end():
    begun = asyncio.Event()

    class Refused:
        def pubsub(self) -> Self:
            return self

        async def __aenter__(self) -> Self:
            begun.set()
            try:
                await asyncio.Future()
            except asyncio.CancelledError:
                raise RedisConnectionError("refused") from None  # as redis-py does while it closes what was refused
            raise AssertionError

        async def __aexit__(self, *_: object) -> None: ...

    listening = asyncio.create_task(RedisPeers(Refused(), "name", "channel", {}).listen(lambda: None))  # type: ignore[arg-type]
    await begun.wait()
    listening.cancel()
    done, _ = await asyncio.wait([listening], timeout=5)
    listening.cancel()
    assert done
    assert listening.cancelled()
