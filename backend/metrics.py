"""What Prometheus is told at `GET /metrics`, of all the processes of one `main.py`."""

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

# Processes write what they count into files of this folder, so that each can answer for all; main.py sets it.
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
SECONDS_BETWEEN_READINGS = 1
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD")
CLIENT_LEFT = 499

_requests = Histogram(
    "http_request_duration_seconds",
    "Requests and how long they took, by route, method and status (499: the client left).",
    ["route", "method", "status"],
    buckets=BUCKETS,
)
STATEMENTS = Histogram(
    "database_statement_duration_seconds", "Statements, from sending one to having its rows.", buckets=BUCKETS
)
WAITS = Histogram(
    "database_connection_wait_seconds", "Waits for a connection, where none was free at once.", buckets=BUCKETS
)
RETRIES = Counter("database_retries", "Statements that were run again because their connection was lost.")
STILL_IN_USE = Gauge("database_connections_in_use", "Connections that run a statement.", multiprocess_mode="livesum")
POOL_SIZE = Gauge("database_connections_max", "Connections that there can be.", multiprocess_mode="livesum")
AUTHENTICATION_FAILURES = Counter("authentication_failures", "Tokens that were refused, by reason.", ["reason"])
LIMIT_HITS = Counter("rate_limit_hits", "Requests that a limit refused, by limit.", ["limit"])
JWKS_AGE = Gauge("jwks_age_seconds", "How long ago the key set was fetched.", multiprocess_mode="livemax")

router = APIRouter()


@cache  # of as many as there are routes, methods and statuses, whatever clients send
def _of(route: str, method: str, status: int) -> Any:
    return _requests.labels(route, method, status)


def request_ended(scope: Scope, status: int, seconds: float) -> None:
    """Count a request, by its route's path as it is declared."""
    route = getattr(scope.get("route"), "path", "other")
    _of(route, scope["method"] if scope["method"] in METHODS else "other", status or CLIENT_LEFT).observe(seconds)


def _read(app: FastAPI) -> None:
    STILL_IN_USE.set(app.state.database.in_use)
    POOL_SIZE.set(app.state.database.pool_size)
    if app.state.verifier.key_set:
        JWKS_AGE.set(app.state.verifier.key_set.age)


async def keep_reading(app: FastAPI) -> None:
    """Note what has a state and not a history, for whichever process is asked; never returns."""
    while True:
        _read(app)
        await asyncio.sleep(SECONDS_BETWEEN_READINGS)


@router.get("/metrics", include_in_schema=False)
async def read_metrics(request: Request) -> Response:
    """Metrics, as Prometheus reads them."""
    _read(request.app)
    registry = REGISTRY
    if FOLDER_VARIABLE in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
