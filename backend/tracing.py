"""Traces by OpenTelemetry, imported only where OTEL_EXPORTER_OTLP_ENDPOINT says whereto they are sent."""

import asyncio
import os
import re
from collections.abc import Sequence
from functools import cache
from threading import Thread
from typing import Any

import psycopg2
import structlog
from dotenv import dotenv_values
from fastapi.telemetry import TelemetryConfig
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, StatusCode, TraceState, format_trace_id, get_current_span
from opentelemetry.util.types import Attributes
from structlog.typing import EventDict

from backend.connection import Connection
from backend.database import Database, Rows
from backend.settings import ENV_FILE, StartError

try:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
except ImportError:
    raise StartError(
        "OTEL_EXPORTER_OTLP_ENDPOINT: is set, and the packages that send traces are missing. "
        "Install them with: uv sync --no-dev --group tracing"
    ) from None

# What a span may say of its request. FastAPI adds path and query, which have names of tags and what people look for.
TOLD = {"http.request.method", "network.protocol.version", "server.address", "server.port", "url.scheme"}
CHANGE = re.compile(r"\b(INSERT INTO|DELETE FROM|UPDATE) (?!OF\b|SET\b)(\w+)")
SECONDS_TO_SEND_THE_LAST = 2


class _Discreet(Sampler):
    """A sampler that passes on what may be told: the attributes of a span are those that its sampler returns."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        if kind is SpanKind.SERVER:
            attributes = {key: value for key, value in (attributes or {}).items() if key in TOLD}
        return self._sampler.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return self._sampler.get_description()


@cache  # bounded: statements are built once for each shape
def _name_of(statement: str) -> str:
    """Return what a statement changes first, or that it reads."""
    change = CHANGE.search(statement)
    return f"{change[1]} {change[2]}" if change else "SELECT"


def _with_trace_id(_logger: Any, _method: str, line: EventDict) -> EventDict:
    context = get_current_span().get_span_context()
    return {**line, "trace_id": format_trace_id(context.trace_id)} if context.is_valid else line


class Tracing:
    """Sends the spans of one application, which FastAPI makes of requests, and `database` of statements."""

    def __init__(self, endpoint: str) -> None:
        for name, value in dotenv_values(ENV_FILE).items():
            if name.startswith("OTEL_") and value:
                os.environ.setdefault(name, value)
        if os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf") != "http/protobuf":
            raise StartError("OTEL_EXPORTER_OTLP_PROTOCOL: must be http/protobuf, whose port is most often 4318")
        service = Resource.create({"service.name": "better-tasks"}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=service, shutdown_on_exit=False)
        self._provider.sampler = _Discreet(self._provider.sampler)
        url = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or f"{endpoint}/v1/traces"
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(url)))
        self.tracer = self._provider.get_tracer("better-tasks")
        self.of_requests = TelemetryConfig(
            tracer_provider=self._provider, metrics=False, logs=False, operation_spans=False, auto_configure=False
        )
        structlog.configure(processors=[_with_trace_id, *structlog.get_config()["processors"]])

    def database(self, *arguments: Any, **options: Any) -> Database:
        """Return a database whose statements are spans."""
        return _TracedDatabase(self.tracer, *arguments, **options)

    async def end(self) -> None:
        """Send what is left, if that takes no longer than a shutdown may."""
        sending = Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        await asyncio.to_thread(sending.join, SECONDS_TO_SEND_THE_LAST)


class _TracedDatabase(Database):
    """A database that makes a span of each message that a request sends."""

    def __init__(self, tracer: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._tracer = tracer

    async def _send(self, connection: Connection, parts: tuple[str, ...], *arguments: Any, **options: Any) -> Rows:
        if not get_current_span().is_recording():  # a statement of no request, or of one that is not sampled
            return await super()._send(connection, parts, *arguments, **options)
        text = "; ".join(parts)  # with the names of its parameters, and not their values
        told = {"db.system.name": "postgresql", "db.query.text": text}
        with self._tracer.start_as_current_span(
            _name_of(text), kind=SpanKind.CLIENT, attributes=told, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                return await super()._send(connection, parts, *arguments, **options)
            except Exception as error:
                span.set_status(StatusCode.ERROR)
                cause = error.__context__  # what PostgreSQL said, of which the caller is told in other words
                if isinstance(cause, psycopg2.Error) and cause.pgcode:
                    span.set_attribute("db.response.status_code", cause.pgcode)
                raise
