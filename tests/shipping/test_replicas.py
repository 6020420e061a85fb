"""Three gateways, one Redis: nothing that could be served is lost, whatever is taken away from them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from gateway.quota.degraded import ALIVE, HEARTBEAT
from gateway.quota.redis import PATIENCE
from tests.shipping.conftest import simulator, variables
from tests.shipping.docker import BARE, docker, healthy, network, running, until

pytestmark = pytest.mark.engine
CALLERS = 6
CALLER = Path(__file__).with_name("caller.py").read_text()
REPORT = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9000/_sim/report').read().decode())"


class Site(Struct):
    """
    Three gateways and what they need, in one *network*. At the moments *lost* the store was taken away from some; until
    each, and in the end, providers had *refused* so many.
    """

    network: str
    redis: str
    simulator: str
    gateways: list[str]
    calls: dict[str, Any] = {}
    lost: list[float] = []
    refused: list[int] = []

    def well(self, gateway: str) -> None:
        until(lambda: healthy(gateway), gateway)

    def lost_at(self, gateway: str) -> int:
        return sum(each["gateway"] == gateway for each in self.calls["lost"])

    def report(self) -> dict[str, Any]:
        """What the providers counted themselves."""
        report: dict[str, Any] = json.loads(docker("exec", self.simulator, "python", "-c", REPORT))
        return report

    def count_refused(self) -> None:
        self.refused.append(sum(each["refused"] for each in self.report().values()))

    def lose(self) -> None:
        self.count_refused()
        self.lost.append(time.time())

    def answered(self, since: float, until: float) -> int:
        return sum(since < at <= until for at in self.calls["answered"])


@pytest.fixture(scope="module")
def site(image: str) -> Iterator[Site]:
    """The site after a minute in which everything went wrong once, while callers asked all the time."""
    with ExitStack() as stack:
        net = stack.enter_context(network())
        command: tuple[str, ...] = ("redis-server", "--protected-mode", "no", "--bind", "*", "--save", "")
        redis = stack.enter_context(running("--network", net, "--network-alias", "redis", "redis:7", *command))
        providers = stack.enter_context(simulator(image, net))
        options = [*variables(FREEWAY_REDIS_URL="redis://redis:6379/0"), "--health-interval", "1s"]
        gateways = [stack.enter_context(running(*BARE, "--network", net, *options, image)) for _ in range(3)]
        found = Site(net, redis, providers, gateways)
        for gateway in gateways:
            found.well(gateway)
        command = ("python", "-u", "-c", CALLER, *gateways)
        caller = stack.enter_context(
            running(*BARE, "--network", net, *variables(), "--no-healthcheck", image, *command)
        )
        misfortune(found)
        docker("stop", "--time", "60", caller, timeout=90)
        said = docker("logs", caller)
        assert said.startswith("{"), said
        found.calls = json.loads(said)
        found.count_refused()
        yield found


def misfortune(site: Site) -> None:
    """Kill one, take the store away for a while, cut one off, replace them all one by one."""
    killed, cut, _ = site.gateways
    time.sleep(2)  # all is well
    docker("kill", killed)
    time.sleep(2)
    docker("start", killed)
    site.well(killed)
    site.lose()
    docker("pause", site.redis)
    time.sleep(4)
    docker("unpause", site.redis)
    time.sleep(1)
    site.lose()
    docker("network", "disconnect", site.network, cut)
    time.sleep(3)
    docker("network", "connect", site.network, cut)
    time.sleep(1)
    for gateway in site.gateways:
        docker("stop", "--time", "30", gateway)
        docker("start", gateway)
        site.well(gateway)
    time.sleep(1)


def test_only_what_a_killed_or_severed_gateway_held_is_lost(site: Site):
    """
    At most what it held at that moment: one call of each caller. What was asked of it later went elsewhere, and losing
    the store or being replaced costs no caller an answer.
    """
    killed, cut, untouched = site.gateways
    assert site.lost_at(untouched) == 0, site.calls["lost"]
    assert site.lost_at("all") == 0, site.calls["lost"]
    assert site.lost_at(killed) <= CALLERS, site.calls["lost"]
    assert site.lost_at(cut) <= CALLERS, site.calls["lost"]
    assert len(site.calls["answered"]) > 100
    assert site.calls["elsewhere"] > 0, "no call was interrupted"


def test_each_answer_belongs_to_its_question(site: Site):
    assert site.calls["wrong"] == []


def test_no_limit_was_passed(site: Site):
    """
    By the providers' own count, and up to the loss of the store they had to refuse nothing. What the ledger's bound allows
    then is what was taken within the heartbeat before, which not all others had seen; and, where one gateway alone is cut
    off, until the others miss it.
    """
    paused, cut = site.lost
    before, after_pause, in_the_end = site.refused
    unseen = HEARTBEAT + PATIENCE
    assert before == 0
    assert after_pause <= site.answered(paused - unseen, paused)
    assert in_the_end - after_pause <= site.answered(cut - unseen, cut + ALIVE)
    report = site.report()
    for name, each in report.items():
        for bucket, level in each["quota"].items():
            assert level["used"] <= level["limit"], (name, bucket)
    assert sum(each["served"] for each in report.values()) >= len(site.calls["answered"])
