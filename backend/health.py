"""Health checks: whether the process is alive, and whether what it depends on works."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from backend import isolation, migrations
from backend.database import Db
from backend.keys import FRESH_SECONDS, RETRY_SECONDS
from backend.problems import Problem

router = APIRouter(tags=["health"])


class CheckFailedError(Exception):
    """Why a check failed, in a sentence that leaks nothing."""


class Alive(BaseModel):
    """That the process lives."""

    status: Literal["ok"]


class Check(BaseModel):
    """How one thing that the API depends on is doing."""

    status: Literal["ok", "degraded", "unavailable"]
    detail: str | None = Field(default=None, description="What is wrong.")
    latency_ms: float = Field(description="How long it took to look, in milliseconds.")


class Readiness(BaseModel):
    """Whether the API can do its work: the worst of its checks."""

    status: Literal["ok", "degraded", "unavailable"]
    checks: dict[str, Check]


async def _database(request: Request) -> None:
    db: Db = request.app.state.database
    await db.run("SELECT 1", repeatable=True)


async def _migrations(request: Request) -> None:
    db: Db = request.app.state.database
    if await migrations.current(db) != await asyncio.to_thread(migrations.head):
        raise CheckFailedError("The database is not at the newest revision. Run: uv run main.py migrate")


async def _isolation(request: Request) -> None:
    db: Db = request.app.state.database
    if faults := await isolation.faults(db):
        raise CheckFailedError(faults[0])


async def _keys(request: Request) -> str | None:
    """Return a warning about keys that still work; raise CheckFailedError if there are none."""
    verifier = request.app.state.verifier
    if verifier.key_set is None:
        return None
    if not verifier.key_set.keys:
        if verifier.secret is None:
            raise CheckFailedError("There is no key of the JWKS, so no token can be verified.")
        return "There is no key of the JWKS: only tokens of the shared secret can be verified."
    if verifier.key_set.age > FRESH_SECONDS + 2 * RETRY_SECONDS:
        return "The JWKS cannot be fetched; the keys of the last fetch serve."
    return None


async def _redis(request: Request) -> str | None:
    """Return a warning if Redis is away; the limits still work without it."""
    shared = request.app.state.limits.shared
    if shared is None:
        return None
    try:
        await shared.ping()
    except shared.errors:
        return "Redis does not answer; each process counts for itself."
    return None


CHECKS: dict[str, Callable[[Request], Awaitable[str | None]]] = {
    "database": _database,
    "migrations": _migrations,
    "isolation": _isolation,
    "keys": _keys,
    "redis": _redis,
}


async def _check(name: str, request: Request) -> Check:
    """Run a check, or wait for one that is running: callers need no token, so each must not cost a statement."""
    running: dict[str, asyncio.Task[Check]] = request.app.state.running_checks
    if name not in running:
        running[name] = asyncio.create_task(_look(name, request))
        running[name].add_done_callback(lambda _: running.pop(name))
    return await asyncio.shield(running[name])


async def _look(name: str, request: Request) -> Check:
    started = time.perf_counter()
    status: Literal["ok", "degraded", "unavailable"] = "ok"
    try:
        detail = await CHECKS[name](request)
        status = "degraded" if detail else "ok"
    except CheckFailedError as error:
        status, detail = "unavailable", str(error)
    except Problem:  # which only a statement raises here
        status, detail = "unavailable", "The database does not answer."
    return Check(status=status, detail=detail, latency_ms=round((time.perf_counter() - started) * 1000, 2))


@router.get("/health")
async def read_health() -> Alive:
    """200 while the process lives; it looks at nothing else."""
    return Alive(status="ok")


@router.get("/health/database", responses={503: {"model": Check, "description": "The database does not answer."}})
async def read_database_health(request: Request, response: Response) -> Check:
    """Whether the database answers."""
    check = await _check("database", request)
    response.status_code = 503 if check.status == "unavailable" else 200
    return check


@router.get("/health/redis", responses={503: {"model": Check, "description": "Redis does not answer."}})
async def read_redis_health(request: Request, response: Response) -> Check:
    """Whether Redis answers; 200 too where none is set."""
    check = await _check("redis", request)
    response.status_code = 200 if check.status == "ok" else 503
    return check


@router.get("/ready", responses={503: {"model": Readiness, "description": "The API cannot do its work."}})
async def read_readiness(request: Request, response: Response) -> Readiness:
    """Whether the database, its migrations, its row-level security and the keys are there: 503 if one is not.

    Without Redis, where it is set, and with keys that cannot be fetched again, the API is `degraded`, which is a 200.
    """
    names = [name for name in CHECKS if name != "redis" or request.app.state.limits.shared]
    checks = dict(zip(names, await asyncio.gather(*(_check(name, request) for name in names)), strict=True))
    statuses = {check.status for check in checks.values()}
    status = next(worst for worst in ("unavailable", "degraded", "ok") if worst in statuses)
    response.status_code = 503 if status == "unavailable" else 200
    return Readiness(status=status, checks=checks)
