"""What OpenTelemetry is told: a span of each request, with one of each deployment that was asked in it, and no word of a prompt."""

from __future__ import annotations

import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import httpx
import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra 'otel' is not installed")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from gateway.clock import WallClock
from gateway.observe.otel import Traces
from tests.acceptance.process import environment, serving
from tests.clock import eventually
from tests.conftest import ROOT

SECRET = "a word that nobody else may hear"
NOBODY: dict[str, Any] = {"GROQ_API_KEY": "gsk_nobody", "GROQ_BASE_URL": "http://127.0.0.1:9"}
"""A source that is not there, so that none of this machine is used."""


def body(model: str = "auto", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": SECRET}], **more}


class Told:
    """The spans that were told of, by the kind that they have."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.spans))
        self.traces = Traces(provider, WallClock())

    def of(self, kind: SpanKind) -> list[ReadableSpan]:
        return [span for span in self.spans.get_finished_spans() if span.kind is kind]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_is_a_span_and_each_attempt_one_in_it(start, told: Told, stream: bool):
    demo = await start(("groq", "openrouter"), observers=[told.traces])
    for provider in demo.world.providers.values():
        provider.fail("busy", times=1)
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as client:
        response = await client.post("/v1/chat/completions", json=body(stream=stream))
    await eventually(lambda: told.of(SpanKind.SERVER))
    (request,), attempts = told.of(SpanKind.SERVER), told.of(SpanKind.CLIENT)
    whole: dict[str, Any] = dict(request.attributes or {})
    last: dict[str, Any] = dict(attempts[-1].attributes or {})

    assert response.status_code == 200
    assert request.name == "chat auto"
    assert whole["gen_ai.request.model"] == "auto"
    assert whole["gen_ai.usage.input_tokens"] > 0
    assert whole["http.response.status_code"] == 200
    assert whole["freeway.request.id"] == response.headers["x-request-id"]
    assert len(attempts) == int(response.headers["x-freeway-attempts"]) > 1
    assert {one.parent.span_id for one in attempts if one.parent} == {request.context.span_id}
    assert [(one.attributes or {}).get("error.type") for one in attempts] == ["Busy"] * (len(attempts) - 1) + [None]
    assert last["gen_ai.provider.name"] == response.headers["x-freeway-provider"]
    assert last["gen_ai.response.model"] == response.headers["x-freeway-model"] == whole["gen_ai.response.model"]
    assert all(one.start_time <= one.end_time for one in (request, *attempts) if one.start_time and one.end_time)
    assert SECRET not in str([span.to_json() for span in told.spans.get_finished_spans()])
    assert told.traces.under_way == 0


async def test_a_request_that_cannot_be_served_is_an_error(start, told: Told):
    demo = await start(("groq",), observers=[told.traces])
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        await client.post("/v1/chat/completions", json=body("no-such-model"))
    (request,) = told.of(SpanKind.SERVER)

    assert request.status.status_code is StatusCode.ERROR
    assert (request.attributes or {})["error.type"] == "model_not_found"
    assert told.of(SpanKind.CLIENT) == []


class _Collector(BaseHTTPRequestHandler):
    heard: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self) -> None:
        self.heard.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_collector_hears_of_requests_where_one_is_named(tmp_path: Path):
    """The real program and the real protocol; what is not told in time is told when the gateway ends."""
    _Collector.heard.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Collector) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        with serving(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, **NOBODY) as (origin, _, _log):
            httpx.post(f"{origin}/v1/chat/completions", json=body("no-such-model"), timeout=20)
        server.shutdown()

    ((path, spans),) = _Collector.heard
    assert path == "/v1/traces"
    assert b"gen_ai.request.model" in spans
    assert b"no-such-model" in spans
    assert SECRET.encode() not in spans


def test_a_gateway_that_tells_nobody_does_not_import_the_library(tmp_path: Path):
    asked = (
        "import gateway.commands.serve, sys; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", asked], env=environment(tmp_path), cwd=ROOT, timeout=60, check=False)

    assert ended.returncode == 0
