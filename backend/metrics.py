"""Metrics for Prometheus at `GET /metrics`, from all processes of one `main.py`."""

import asyncio
import os
from functools import cache
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import Scope

# Each process writes its counts to files in this folder, so that any can answer for all; main.py sets it.
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
SECONDS_BETWEEN_READINGS = 1
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD")
CLIENT_LEFT = 499

_requests = Histogram(
    "http_request_duration_seconds",
    "Duration of requests, by route, method and status (499: the client left).",
    ["route", "method", "status"],
    buckets=BUCKETS,
)
STATEMENTS = Histogram(
    "database_statement_duration_seconds", "Time from sending a statement to having its rows.", buckets=BUCKETS
)
WAITS = Histogram(
    "database_connection_wait_seconds", "Time spent waiting for a connection when none was free.", buckets=BUCKETS
)
RETRIES = Counter("database_retries", "Statements run again because their connection was lost.")
IN_USE = Gauge("database_connections_in_use", "Connections running a statement.", multiprocess_mode="livesum")
POOL_SIZE = Gauge("database_connections_max", "The largest number of connections.", multiprocess_mode="livesum")
AUTHENTICATION_FAILURES = Counter("authentication_failures", "Refused tokens, by reason.", ["reason"])
STREAMS = Gauge("event_streams_open", "Streams of GET /api/events.", multiprocess_mode="livesum")
LIMIT_HITS = Counter("rate_limit_hits", "Requests refused by a limit, by limit.", ["limit"])
JWKS_AGE = Gauge("jwks_age_seconds", "Time since the key set was fetched.", multiprocess_mode="livemax")

router = APIRouter()


@cache  # bounded: routes, methods and statuses are few, whatever clients send
def _of(route: str, method: str, status: int) -> Any:
    return _requests.labels(route, method, status)


def request_ended(scope: Scope, method: str, status: int, seconds: float) -> None:
    """Count a request under the path that its route declares; a stream is none, however long it was open."""
    if "is_stream" in scope["state"]:
        return
    route = getattr(scope.get("route"), "path", "other")
    _of(route, method if method in METHODS else "other", status or CLIENT_LEFT).observe(seconds)


def _read(app: FastAPI) -> None:
    IN_USE.set(app.state.database.in_use)
    POOL_SIZE.set(app.state.database.pool_size)
    if app.state.verifier.key_set:
        JWKS_AGE.set(app.state.verifier.key_set.age)


async def keep_reading(app: FastAPI) -> None:
    """Refresh the gauges every second; never returns."""
    while True:
        _read(app)
        await asyncio.sleep(SECONDS_BETWEEN_READINGS)


@router.get("/metrics", include_in_schema=False)
async def read_metrics(request: Request) -> Response:
    """Return the metrics in the text format of Prometheus."""
    _read(request.app)
    registry = REGISTRY
    if FOLDER_VARIABLE in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
