"""
An observer that tells OpenTelemetry of each request: a span of the request and, in it, one of each deployment that was asked, with
the attributes of the GenAI conventions (https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/).

Of what was said in a request or an answer, nothing is in them. It is made only where an endpoint is set, and the library is an
extra of its own (``freeway-gateway[otel]``): a gateway that tells nobody does not even import it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context

from gateway import __version__
from gateway.clock import Clock
from gateway.events import Attempted, Began, Ended, Event, Hedged, Leaving, Left

_OPERATIONS = {"embed": "embeddings"}
_PROVIDERS = {"google": "gcp.gemini", "mistral": "mistral_ai", "cohere": "cohere", "groq": "groq"}
"""The conventions' own names, where they have others than we do."""

_SERVED = "served"


def provider(environ: Mapping[str, str]) -> TracerProvider:
    """What sends spans to the endpoint that *environ* names, in a thread of its own."""
    resource = Resource.create(
        {"service.name": environ.get("OTEL_SERVICE_NAME", "freeway"), "service.version": __version__}
    )
    made = TracerProvider(resource=resource)
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return made


class Traces:
    """The observer. It keeps the spans of what is under way, and nothing of what is over."""

    def __init__(self, tracers: TracerProvider, clock: Clock) -> None:
        self._tracer: Tracer = tracers.get_tracer("freeway", __version__)
        self._clock = clock
        self._requests: dict[str, _Request] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case Began():
                self._requests[event.request] = _Request(self._tracer, event)
            case Ended():
                if request := self._requests.pop(event.request, None):
                    request.end(event)
            case Leaving() | Attempted() | Hedged() | Left():
                if request := self._requests.get(event.request):
                    request.take(event, self._clock.now())

    @property
    def under_way(self) -> int:
        """How many requests have begun and not ended."""
        return len(self._requests)


class _Request:
    """The spans of one request."""

    def __init__(self, tracer: Tracer, began: Began) -> None:
        self._tracer, self._operation = tracer, _OPERATIONS.get(began.operation, began.operation)
        self._attempts: dict[str, Span] = {}
        self._span = tracer.start_span(
            f"{self._operation} {began.asked}",
            kind=SpanKind.SERVER,
            start_time=_nanoseconds(began.at),
            attributes={
                "gen_ai.operation.name": self._operation,
                "gen_ai.request.model": began.asked,
                "freeway.request.id": began.request,
                "freeway.client": began.client,
            },
        )

    def take(self, event: Leaving | Attempted | Hedged | Left, now: float) -> None:
        """What happened to the attempt at one of its deployments."""
        match event:
            case Leaving():
                self._leaving(event.deployment, now)
            case Attempted():
                self._failed(event.deployment, event.failure, now)
            case Hedged():
                self._span.add_event(
                    f"hedge {event.outcome}", {"freeway.deployment": event.deployment}, _nanoseconds(now)
                )
            case Left():
                if event.failure:
                    self._failed(event.deployment, event.failure, now)

    def end(self, ended: Ended) -> None:
        """The request is over, and so is the attempt that served it."""
        at = _nanoseconds(ended.at)
        told = _told(ended)
        for deployment, span in self._attempts.items():
            if deployment == ended.deployment:
                span.set_attributes(_answered(ended))
            span.end(at)
        self._span.set_attributes({**told, **_answered(ended)})
        if ended.outcome != _SERVED:
            self._span.set_attribute("error.type", ended.outcome)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(at)

    def _leaving(self, deployment: str, now: float) -> None:
        name, _, model = deployment.partition("/")
        self._attempts[deployment] = self._tracer.start_span(
            f"{self._operation} {model}",
            context=set_span_in_context(self._span),
            kind=SpanKind.CLIENT,
            start_time=_nanoseconds(now),
            attributes={
                "gen_ai.operation.name": self._operation,
                "gen_ai.provider.name": _PROVIDERS.get(name, name),
                "gen_ai.request.model": model,
                "freeway.deployment": deployment,
            },
        )

    def _failed(self, deployment: str, failure: str, now: float) -> None:
        span = self._attempts.pop(deployment, None)
        if span is None:
            return
        span.set_attribute("error.type", failure)
        span.set_status(Status(StatusCode.ERROR))
        span.end(_nanoseconds(now))


def _told(ended: Ended) -> dict[str, Any]:
    return {
        "http.response.status_code": ended.status,
        "freeway.outcome": ended.outcome,
        "freeway.attempts": ended.attempts,
        "freeway.waited": ended.waited,
        "freeway.saved": ended.saved,
    }


def _answered(ended: Ended) -> dict[str, Any]:
    """What is told of the answer, if there was one."""
    found: dict[str, Any] = {}
    if ended.model is not None:
        found["gen_ai.response.model"] = ended.model
    if ended.first_content is not None:
        found["freeway.first_content"] = ended.first_content
    if ended.usage is not None:
        found["gen_ai.usage.input_tokens"] = ended.usage.prompt_tokens
        found["gen_ai.usage.output_tokens"] = ended.usage.completion_tokens
    return found


def _nanoseconds(moment: float) -> int:
    return int(moment * 1e9)
