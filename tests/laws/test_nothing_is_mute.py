"""A bug is told to the caller in the shape of what it called, and to the operator with a traceback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import settings
from gateway.app import create_app
from gateway.observe.log import LogObserver
from providers.dialects.openai import OpenAI
from tests.conftest import CONFIG
from tests.laws.sources import Clock, Source, own_settings

CHAT = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}


class Breaking(Clock):
    """A clock that has a bug while it is *broken*."""

    broken = False

    def __call__(self) -> float:
        if self.broken:
            raise RuntimeError("a bug in the clock")
        return super().__call__()

    now = __call__


@asynccontextmanager
async def application(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Calls the real application with ``(method, path, json)``; with ``broken`` while its clock has a bug."""
    own, clock = tmp_path / "own.toml", Breaking()
    own.write_text(own_settings([Source(name="one")]))
    environ = {
        "FREEWAY_CONFIG": str(own),
        "FREEWAY_STATE_DIR": str(tmp_path),
        "MODELS_DEV_URL": "",
        "OLLAMA_HOST": "http://127.0.0.1:9",
    }
    app = create_app(settings.load(CONFIG, environ, tmp_path), clock=clock, observers=[LogObserver()])

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.lifespan())
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)  # type: ignore[arg-type]
        client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://localhost"))
        for _ in range(200):  # until the list, which needs no network, is read
            if (await client.get("/v1/models")).json()["data"]:
                break

        async def call(method: str, path: str, json: Any = None, *, broken: bool = False) -> httpx.Response:
            clock.broken = broken
            try:
                return await client.request(method, path, json=json)
            finally:
                clock.broken = False

        yield call


def is_told(response: httpx.Response) -> None:
    """The caller reads an error of OpenAI's shape."""
    assert response.status_code == 500
    assert response.headers["content-type"].startswith("application/json")
    assert "error" in response.json()
    error = response.json()["error"]
    assert {"message", "type", "param", "code"} <= error.keys()
    assert error["type"] == "server_error"


def is_logged(capfd: Any, caplog: Any, bug: str) -> None:
    """The operator reads where it happened."""
    written = capfd.readouterr()
    log = written.out + written.err + caplog.text
    assert "Traceback" in log
    assert bug in log


@pytest.mark.parametrize("stream", [False, True])
async def test_a_bug_on_the_way_of_a_chat_request_is_told_in_its_shape(tmp_path, monkeypatch, stream):
    monkeypatch.setattr(OpenAI, "build", _bug)

    async with application(tmp_path) as call:
        response = await call("POST", "/v1/chat/completions", {**CHAT, "stream": stream})

    is_told(response)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_bug_on_the_way_of_a_chat_request_is_logged_with_its_traceback(
    tmp_path, monkeypatch, capfd, caplog, stream
):
    monkeypatch.setattr(OpenAI, "build", _bug)

    async with application(tmp_path) as call:
        await call("POST", "/v1/chat/completions", {**CHAT, "stream": stream})

    is_logged(capfd, caplog, "a bug in build")


PATHS = [("POST", "/v1/chat/completions", CHAT), ("POST", "/v1/route/explain", CHAT), ("GET", "/v1/models", None)]


@pytest.mark.parametrize(("method", "path", "body"), PATHS)
async def test_a_bug_is_told_in_the_shape_of_each_path(tmp_path, method, path, body):
    async with application(tmp_path) as call:
        response = await call(method, path, body, broken=True)

    is_told(response)


@pytest.mark.parametrize(("method", "path", "body"), [*PATHS, ("GET", "/health", None)])
async def test_a_bug_is_logged_with_its_traceback_whatever_was_called(tmp_path, capfd, caplog, method, path, body):
    async with application(tmp_path) as call:
        await call(method, path, body, broken=True)

    is_logged(capfd, caplog, "a bug in the clock")


async def test_after_a_bug_the_next_request_is_answered(tmp_path):
    async with application(tmp_path) as call:
        await call("GET", "/v1/models", broken=True)
        response = await call("GET", "/v1/models")

    assert response.status_code == 200


async def test_a_path_that_is_not_there_is_told_in_openais_shape(tmp_path):
    async with application(tmp_path) as call:
        response = await call("GET", "/v1/nothing")

    assert response.status_code == 404
    assert response.json()["error"]["type"] == "invalid_request_error"


def _bug(*_: Any, **__: Any) -> None:
    raise RuntimeError("a bug in build")
