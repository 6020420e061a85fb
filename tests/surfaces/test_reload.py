"""What is set anew is taken in while requests go on, all of it or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from msgspec import Struct

from gateway import settings as s
from gateway.app import create_app
from gateway.events import Event, Reloaded, ReloadRefused
from gateway.settings.reload import Changes, Reload, changed
from providers.simulator.server import listening, serve
from providers.simulator.world import World
from tests.conftest import CONFIG

JSON = {"content-type": "application/json"}
ASK = {"model": "auto", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}
NOWHERE = {"OLLAMA_HOST": "http://127.0.0.1:9", "MODELS_DEV_URL": ""}


class Stage(Struct):
    """A gateway that was started with what is in *folder*, before *world*."""

    world: World
    folder: Path
    reload: Reload
    heard: list[Event]
    client: httpx.AsyncClient

    def write(self, config: str | None = None, keys: dict[str, str] | None = None) -> None:
        if config is not None:
            (self.folder / "config.toml").write_text(config)
        if keys is not None:
            (self.folder / "keys.env").write_text("".join(f"{name}={key}\n" for name, key in keys.items()))

    async def ask(self, model: str = "auto", key: str = "", **more: Any) -> httpx.Response:
        headers = {"x-freeway-max-wait": "0"} | ({"authorization": f"Bearer {key}"} if key else {})
        return await self.client.post("/v1/chat/completions", json={**ASK, "model": model, **more}, headers=headers)

    async def served(self, within: float, ask: Callable[[], Awaitable[httpx.Response]]) -> bool:
        """Whether *ask* is answered within so many seconds."""
        until = asyncio.get_running_loop().time() + within
        while (await ask()).status_code != 200:
            if asyncio.get_running_loop().time() > until:
                return False
            await asyncio.sleep(0.05)
        return True

    async def told(self, kind: type[Event]) -> Any:
        """The first event of this *kind*, which is to come within ten seconds."""
        for _ in range(400):
            for event in self.heard:
                if isinstance(event, kind):
                    self.heard.remove(event)
                    return event
            await asyncio.sleep(0.025)
        raise AssertionError(f"nothing was told: {self.heard}")


Begin = Callable[..., Any]


@pytest.fixture
def begin(tmp_path: Path) -> Begin:
    @asynccontextmanager
    async def staged(*names: str, config: str = "", **keys: str) -> AsyncIterator[Stage]:
        folder = tmp_path / ".config" / "freeway"
        folder.mkdir(parents=True)
        world = World(names=list(names))
        async with serve(world) as origin:
            variables = world.environment(origin)
            own = {name: value for name, value in variables.items() if value not in world.keys().values()}
            environ = {**own, **NOWHERE, "FREEWAY_STATE_DIR": str(tmp_path / "state")}
            heard: list[Event] = []
            stage = Stage(world, folder, None, heard, None)  # type: ignore[arg-type]
            stage.write(config, keys)

            def read() -> s.Configured:
                return s.read(CONFIG, environ, tmp_path)

            stage.reload = Reload(read(), read)
            app = create_app(stage.reload.configured.settings, observers=[heard.append], reload=stage.reload)
            async with (
                listening(uvicorn.Config(app, lifespan="on", ws="none", log_level="warning")) as url,
                httpx.AsyncClient(base_url=url, timeout=20) as client,
            ):
                stage.client = client
                yield stage

    return staged


def right(world: World, name: str) -> str:
    return world.providers[name].key or ""


async def test_a_wrong_key_then_the_right_one_typed_into_keys_env_is_served_within_a_second(begin):
    """From the moment at which it is saved; the gateway never restarts, and says what is wrong until then."""
    async with begin("groq", GROQ_API_KEY="gsk_mistyped") as stage:
        assert (await stage.ask()).status_code == 503
        ready = await stage.client.get("/health/readiness")
        assert ready.status_code == 503
        assert any("Invalid API Key" in one for one in ready.json()["missing"]), ready.text

        stage.write(keys={"GROQ_API_KEY": right(stage.world, "groq")})
        assert await stage.served(1.0, stage.ask)
        assert (await stage.client.get("/health/readiness")).status_code == 200
        assert (await stage.client.get("/health")).json()["missing"] == []
        assert (await stage.told(Reloaded)).now == ("GROQ_API_KEY",)


async def test_a_gateway_without_any_key_stays_up_and_takes_one_up(begin):
    async with begin("groq") as stage:
        assert (await stage.client.get("/health/liveness")).status_code == 200
        ready = await stage.client.get("/health/readiness")
        assert ready.status_code == 503
        assert "freeway setup" in ready.json()["missing"][0]
        assert "freeway setup" in (await stage.ask()).text

        stage.write(keys={"GROQ_API_KEY": right(stage.world, "groq")})
        assert await stage.served(5.0, stage.ask)
        stage.write(keys={})
        await stage.told(Reloaded)
        await stage.told(Reloaded)
        assert (await stage.ask()).status_code == 503


async def test_a_source_an_alias_and_a_client_are_added_without_a_restart(begin):
    digest = sha256(b"fw-alice").hexdigest()
    async with begin("groq", "nvidia", GROQ_API_KEY="gsk_sim0123456789") as stage:
        stage.write(keys={"GROQ_API_KEY": right(stage.world, "groq")})
        assert await stage.served(5.0, stage.ask)
        acme = (
            f'[provider.acme]\ntitle = "Acme"\nbase_url = "{stage.reload.configured.settings.provider["nvidia"].base_url}"\n'
            f'docs = "none"\nkey_env = "ACME_KEY"\nfree = {{kind = "plan"}}\n[alias]\nmine = "gpt-oss-120b"\n'
            f'[[client]]\nname = "alice"\nkey_sha256 = "{digest}"\n'
        )
        stage.write(acme)
        stage.write(keys={"GROQ_API_KEY": right(stage.world, "groq"), "ACME_KEY": right(stage.world, "nvidia")})
        assert await stage.served(5.0, lambda: stage.ask("mine", key="fw-alice"))
        assert (await stage.ask("mine")).status_code == 401
        only = {"provider": {"only": ["acme"]}}
        assert await stage.served(5.0, lambda: stage.ask(key="fw-alice", **only))


async def test_a_bad_file_keeps_the_old_settings_and_tells_all_its_mistakes(begin):
    async with begin("groq", config='[alias]\nmine = "auto"\n', GROQ_API_KEY="gsk_sim0123456789") as stage:
        stage.write(keys={"GROQ_API_KEY": right(stage.world, "groq")})
        assert await stage.served(5.0, lambda: stage.ask("mine"))
        stage.write('[alias]\nyours = "auto"\n[server]\nprot = 1\n[requests]\nhedge = "of"\n')
        refused = await stage.told(ReloadRefused)

        assert ["config.toml:4" in one or "config.toml:6" in one for one in refused.mistakes] == [True, True]
        assert (await stage.ask("mine")).status_code == 200
        stage.write('[alias]\nyours = "auto"\n')
        assert await stage.served(5.0, lambda: stage.ask("yours"))
        assert (await stage.ask("mine")).status_code == 404


async def test_reloading_under_load_loses_no_request(begin):
    """Streams that have begun go on, and what comes meanwhile is served, whatever is set anew."""
    async with begin("groq", "nvidia", GROQ_API_KEY="gsk_sim0123456789") as stage:
        keys = {"GROQ_API_KEY": right(stage.world, "groq"), "NVIDIA_API_KEY": right(stage.world, "nvidia")}
        stage.write(keys=keys)
        assert await stage.served(5.0, lambda: stage.ask(provider={"only": ["nvidia"]}))
        stage.world.providers["nvidia"].pace = stage.world.providers["groq"].pace = 0.02
        done, statuses = asyncio.Event(), list[int]()

        async def call(number: int) -> None:
            while not done.is_set():
                body = {**ASK, "max_tokens": 32, "stream": number % 2 == 0}
                answer = await stage.client.post(
                    "/v1/chat/completions", json=body, headers={"x-freeway-max-wait": "20"}
                )
                whole = "[DONE]" in answer.text if body["stream"] else "choices" in answer.json()
                statuses.append(answer.status_code if whole else 0)
                await asyncio.sleep(0.2)  # no more than the quotas of a minute

        callers = [asyncio.create_task(call(number)) for number in range(3)]
        for number in range(8):
            stage.write(f'[alias]\nx{number} = "auto"\n[requests]\nmax_wait = {number + 10}.0\n')
            dropped = "NVIDIA_API_KEY" if number % 2 else "GROQ_API_KEY"
            stage.write(keys={name: key for name, key in keys.items() if name != dropped} if number % 4 else keys)
            await stage.reload.now(lambda _: None)
            await asyncio.sleep(0.2)
        done.set()
        await asyncio.gather(*callers)

        assert set(statuses) == {200}, statuses
        assert len(statuses) >= 8


async def test_who_asks_while_the_list_of_a_new_key_is_on_its_way_waits_for_it(begin):
    """The only key is replaced by another one: no request is told meanwhile that there is no source."""
    async with begin("groq", GROQ_API_KEY="gsk_sim0123456789") as stage:
        stage.write(keys={"GROQ_API_KEY": right(stage.world, "groq")})
        assert await stage.served(5.0, stage.ask)
        stage.world.providers["groq"].key = "gsk_rotated0123456789"
        stage.write(keys={"GROQ_API_KEY": "gsk_rotated0123456789"})
        await stage.reload.now(lambda _: None)

        answers = await asyncio.gather(*(stage.client.post("/v1/chat/completions", json=ASK) for _ in range(4)))
        assert [answer.status_code for answer in answers] == [200] * 4


async def test_pages_may_call_once_they_are_named(begin):
    """With no client key only pages of this machine and those that are named may."""
    async with begin("groq") as stage:
        page = {"origin": "https://chat.example"}
        assert (await stage.client.get("/v1/models", headers=page)).status_code == 403
        stage.write('[server]\norigins = ["https://chat.example"]\n')
        assert (await stage.told(Reloaded)).now == ("server.origins",)
        assert (await stage.client.get("/v1/models", headers=page)).status_code == 200


async def test_what_counts_with_the_next_start_is_named_and_left_as_it_is(begin):
    async with begin("groq", GROQ_API_KEY="gsk_sim0123456789") as stage:
        stage.write("[server]\nport = 9009\nmax_body = 1000\n[requests]\nmax_wait = 5.0\n")
        told = await stage.told(Reloaded)

        assert (told.now, told.later) == (("requests.max_wait",), ("server.max_body", "server.port"))
        settings = stage.reload.configured.settings
        assert (settings.server.max_body, settings.requests.max_wait) == (20 * 1024 * 1024, 5.0)


def test_every_change_is_noticed_also_of_what_is_never_shown(tmp_path):
    def read(**environ: str) -> s.Configured:
        return s.read(CONFIG, environ, tmp_path)

    one, other = read(GROQ_API_KEY="a" * 20), read(GROQ_API_KEY="b" * 20, FREEWAY_API_KEY="c" * 20)
    assert changed(one, other).now == ("FREEWAY_API_KEY", "GROQ_API_KEY")
    assert changed(one, one) == Changes()
    assert changed(read(), read(FREEWAY_REDIS_URL="redis://x")).later == ("FREEWAY_REDIS_URL",)


# ── by the admin API ──


async def test_a_key_is_tried_stored_and_used_at_once_and_a_refused_one_is_not(begin):
    async with begin("groq", "nvidia") as stage:
        put = partial(stage.client.put, "/admin/v1/sources/groq/key")
        wrong, foreign = (await put(json={"key": "gsk_wrong"})).json(), (await put(json={"key": "nvapi-x"})).json()
        taken = (await put(json={"key": right(stage.world, "groq")})).json()

        assert (wrong["accepted"], wrong["stored"]) == (False, "")
        assert "Invalid API Key" in wrong["said"]
        assert (foreign["accepted"], foreign["stored"]) == (False, "")
        assert "NVIDIA" in foreign["said"]
        assert not [call for call in stage.world.providers["groq"].calls if "nvapi" in str(call.headers)]
        assert (taken["accepted"], taken["stored"]) == (True, str(stage.folder / "keys.env"))
        assert (stage.folder / "keys.env").stat().st_mode & 0o777 == 0o600
        assert await stage.served(5.0, stage.ask)

        open_list = await stage.client.put("/admin/v1/sources/nvidia/key", json={"key": right(stage.world, "nvidia")})
        assert open_list.json()["accepted"] is None  # it lists its models to anybody
        assert (await stage.client.delete("/admin/v1/sources/groq/key", headers=JSON)).status_code == 204
        assert stage.reload.configured.settings.keys.keys() == {"nvidia"}
        assert (await stage.client.put("/admin/v1/sources/ollama/key", json={"key": "x"})).status_code == 404
        assert (await put(json={"key": 'two"\nlines'})).status_code == 400
        assert right(stage.world, "groq") not in (stage.folder / "keys.env").read_text()


async def test_what_is_set_is_shown_with_its_place_and_without_secrets(begin):
    async with begin("groq", config="[requests]\nmax_wait = 5.0\n", GROQ_API_KEY="gsk_secret") as stage:
        rows = {row["key"]: row for row in (await stage.client.get("/admin/v1/config")).json()}
        everything = (await stage.client.get("/admin/v1/config?all=true")).json()

        assert (rows["requests.max_wait"]["value"], rows["requests.max_wait"]["source"]) == ("5.0", "config.toml:2")
        assert rows["GROQ_API_KEY"]["source"] == "keys.env:1"
        assert "gsk_secret" not in str(everything)
        assert len(everything) > 300 > len(rows)


async def test_reading_anew_tells_what_changed_or_all_mistakes(begin):
    async with begin("groq") as stage:
        stage.write("[requests]\nmax_wait = 5.0\n")
        first = await stage.client.post("/admin/v1/reload", headers=JSON)
        stage.write("[requests]\nmax_wiat = 5.0\n[server]\nprot = 1\n")
        second = await stage.client.post("/admin/v1/reload", headers=JSON)

        assert (first.status_code, first.json()["changed"]) == (200, ["requests.max_wait"])
        assert second.status_code == 400
        assert "max_wait" in second.json()["error"]["message"]
        assert "port" in second.json()["error"]["message"]
        assert stage.reload.configured.settings.requests.max_wait == 5.0


async def test_what_each_source_would_give_is_told_those_without_a_key_first(begin):
    async with begin("groq", GROQ_API_KEY="nvapi-oops") as stage:
        sources = {one["name"]: one for one in (await stage.client.get("/admin/v1/setup")).json()}

        assert list(sources)[-1] == "groq"
        assert "NVIDIA" in sources["groq"]["near_misses"][0]
        assert sources["google"]["key"] == "missing"
        assert "vision" in sources["google"]["gives"]
        assert all(one["gives"] and one["trains"] for one in sources.values())
        assert all(one["get_a_key"].startswith("https://") for one in sources.values() if one["key_variable"])
