"""Builds the FastAPI application from the settings, and starts and stops what it needs."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial

import structlog
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Route, WebSocketRoute

from backend import (
    changes,
    crud,
    erasure,
    health,
    logs,
    me,
    metrics,
    middleware,
    migrations,
    openapi,
    pages,
    problems,
    retention,
    security_events,
    tables,
    transfer,
    undo,
)
from backend.auth import Verifier
from backend.database import Database
from backend.embedded import database_url
from backend.limits import Limits
from backend.live import Live
from backend.live import router as events_router
from backend.resources import RESOURCES, check_owners
from backend.revocation import Revocations
from backend.settings import DeclarationError, Settings

log = structlog.get_logger()

# Every origin of a page on this machine.
LOOPBACK = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
DESCRIPTION = """
Your users' tasks, for a Next.js app with Better Auth. Send the JWT of `GET /api/auth/token` as a bearer token;
in development, `uv run main.py token --user alice` prints one for **Authorize**.
"""


def routes() -> list[BaseRoute]:
    """Return every route: of the resources, of the modules that declare them, and the rest. Raises DeclarationError."""
    check_owners()
    modules = [module for module in tables.MODULES if hasattr(module, "router")]
    routers = [
        *map(crud.router, RESOURCES),
        *map(changes.history_router, RESOURCES),
        changes.router,
        undo.router,
        events_router,
    ]
    routers += [*(module.router for module in modules), transfer.router()]
    routers += [module.router for module in (me, security_events, health, metrics)]
    every = [*(route for router in routers for route in routes_of(router)), *pages.routes()]
    known: dict[tuple[str, str], str] = {}
    for route in every:
        if isinstance(route, Route):
            for method in route.methods or ():
                if (method, route.path) in known:
                    twice = f"{known[method, route.path]} and as {route.name}"
                    raise DeclarationError(f"{method} {route.path} is declared twice, as {twice}. Change one.")
                known[method, route.path] = route.name
    name_operations(every)
    return every


def name_operations(routes: list[BaseRoute]) -> None:
    """Let each operation of the description be called as its route. Raises DeclarationError for two of one name."""
    named: dict[str, str] = {}
    for route in routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            route.operation_id = route.operation_id or route.name
            here = f"{'/'.join(sorted(route.methods or ()))} {route.path}"
            if named.setdefault(route.operation_id, here) != here:
                raise DeclarationError(
                    f"{named[route.operation_id]} and {here} are both called {route.operation_id}, by which generated "
                    "clients call them. Rename one function, or give its route a name."
                )


def routes_of(router: APIRouter) -> list[BaseRoute]:
    """Return a module's routes. Raises DeclarationError for a WebSocket, whose token nothing would check."""
    for route in router.routes:
        if isinstance(route, WebSocketRoute):
            raise DeclarationError(
                f"WebSocket {route.path}: {route.name}() would be open to everybody, and the server speaks no "
                "WebSocket. Remove the route, and answer over HTTP."
            )
    return router.routes


@contextmanager
def prepared(settings: Settings) -> Iterator[str]:
    """Yield the URL of the database: started and migrated first, if the settings say so. Raises StartError."""
    if settings.database_url and settings.database_url.passed_over:
        log.info(
            "database_url_parameters_passed_over",
            names=settings.database_url.passed_over,
            effect="they are Prisma's: this API's pool is DB_POOL_SIZE and DB_WAIT_SECONDS",
        )
    with database_url(settings) as url:
        if settings.migrate_on_start:
            migrations.upgrade(url, settings.db_wait_seconds)
        yield url


def create_app(settings: Settings) -> FastAPI:
    """Return the application; its lifespan prepares the database and keeps the key set fresh."""
    logs.configure(settings.log_level, settings.log_format or "json")
    tracing = None
    if settings.otel_exporter_otlp_endpoint:
        from backend.tracing import Tracing  # here, because it needs packages that are not everywhere

        tracing = Tracing(settings.otel_exporter_otlp_endpoint)
    verifier = Verifier.of(settings)
    if verifier.key_set and not verifier.issuers:
        log.warning("issuer_unknown", effect="what the keys of JWKS_URL sign for others counts too: set JWT_ISSUER")
    limits = Limits(settings)
    revocations = Revocations(settings.max_token_seconds)
    live = Live(revocations)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with prepared(settings) as url:
            database = (tracing.database if tracing else Database)(
                url,
                pool_size=settings.db_pool_size,
                wait_seconds=settings.db_wait_seconds,
                keeps_history=settings.history_days > 0,
            )
            app.state.database = database
            app.state.erasing = erasing = database.apart(erasure.SECONDS)
            keepers = [
                asyncio.create_task(metrics.keep_reading(app)),
                asyncio.create_task(retention.keep_short(database, erasing, settings.history_days)),
            ]
            bus = None
            if settings.redis_url:
                from backend.bus import Bus  # here, because most processes need no Redis, which takes a while to import

                bus = Bus(settings.redis_url.get_secret_value())
                keepers.append(asyncio.create_task(bus.listen()))
            if verifier.key_set:
                keepers.append(asyncio.create_task(verifier.key_set.keep_fresh()))
            log.info("started", environment=settings.environment)
            async with revocations.running(database.apart(), bus), live.running(database, bus):
                erasing.on_change = database.on_change
                yield
            log.info("stopped")
            for keeper in keepers:
                keeper.cancel()
                with suppress(asyncio.CancelledError):
                    await keeper
            if bus:
                await bus.close()
            database.close()
            erasing.close()
            await limits.close()
            if tracing:
                await tracing.end()

    app = FastAPI(
        title="Better Tasks",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # FastAPI's own telemetry would also send what users write, to whatever the process has set up.
        telemetry=tracing.of_requests if tracing else {"tracing": False, "metrics": False, "logs": False},
        # Not by include_router(), which looks for the route twice on each request.
        routes=routes(),
    )
    app.state.verifier = verifier
    app.state.limits = limits
    app.state.max_body_bytes = settings.max_body_bytes
    app.state.live = live
    app.state.revocations = revocations
    app.state.running_checks = {}
    problems.install(app)
    openapi.install(app)
    cors = partial(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_origin_regex=LOOPBACK if settings.environment == "development" else None,
        allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=[
            "Authorization",
            "Confirm",
            "Content-Type",
            "Idempotency-Key",
            "If-Match",
            "If-None-Match",
            "Last-Event-ID",
            "X-Request-ID",
            # What OpenTelemetry and Sentry send along from a page: W3C Trace Context and Baggage, and Sentry's own.
            "baggage",
            "sentry-trace",
            "traceparent",
            "tracestate",
            *settings.cors_headers,
        ],
        expose_headers=[
            "API-Version",
            "Change",
            "ETag",
            "Idempotency-Replayed",
            "Link",
            "Location",
            "Next-Cursor",
            "RateLimit",
            "RateLimit-Policy",
            "Retry-After",
            "WWW-Authenticate",
            "X-Request-ID",
        ],
    )

    def body_limit(path: str) -> int:
        return (settings.max_import_bytes or sys.maxsize) if path == transfer.IMPORT_PATH else settings.max_body_bytes

    access_log = settings.log_level in ("debug", "info")
    app.add_middleware(
        middleware.RequestMiddleware,
        body_limit=body_limit,
        cors=cors,
        root_path=settings.root_path,
        proxies=settings.forwarded_allow_ips,
        access_log=access_log,
    )
    return app
