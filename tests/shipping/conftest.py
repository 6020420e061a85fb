"""The image of this checkout, and simulated providers in a container of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.commands.demo import SIX
from providers.simulator.world import World
from tests.shipping.docker import BARE, build, docker, running, until

TAG = "freeway:under-test"
KEY = "a-long-random-text"
PROVIDERS = {**World(names=SIX).environment("http://simulator:9000"), "FREEWAY_API_KEY": KEY, "MODELS_DEV_URL": ""}
"""What a gateway needs to know, to ask the simulated providers that its network calls ``simulator``."""


@pytest.fixture(scope="session")
def image() -> str:
    build(TAG)
    return TAG


@contextmanager
def simulator(image: str, network: str) -> Iterator[str]:
    """The simulated providers, in *network*."""
    command = ("python", "-m", "providers.simulator", "--host", "0.0.0.0")
    where = ("--network", network, "--network-alias", "simulator")
    with running(*BARE, *where, "--no-healthcheck", image, *command) as name:
        until(lambda: "export" in docker("logs", name), name)
        yield name


def variables(**more: str) -> list[str]:
    """``docker run``'s options for a gateway before the simulated providers."""
    return [word for name, value in {**PROVIDERS, **more}.items() for word in ("--env", f"{name}={value}")]
