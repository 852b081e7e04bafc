"""Compare ways for psycopg2 to wait, without the API around them: `uv run --group benchmarks benchmarks/seam.py`.

Each way runs the API's own statements, with its prefix, for 32 tasks of one event loop, on as many connections as the
API has. The process has one core, and PostgreSQL the other. docs/decisions/0002 says which way was chosen.
"""

import asyncio
import queue
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any
from uuid import UUID

import peers
import psutil
import psycopg2
import psycopg2.extensions
import psycopg2.extras
import sqlalchemy
import uvloop
from psycopg2.extensions import POLL_OK, POLL_READ

from backend.database import PREFIX, Database
from backend.tasks import tasks

CONNECTIONS = 10
TASKS = 32
ROUNDS, SECONDS = 5, 2
USERS, EACH = 200, 100

Rows = list[tuple[Any, ...]]
Run = Callable[[str, dict[str, Any]], Awaitable[Rows]]
STATEMENTS = {
    "one task": tasks.statements.read,
    "page of fifty": tasks.listing.page(frozenset(), "-created_at", False),
}


def connect(url: str) -> Any:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    return connection


def fetch(connection: Any, text: str, values: dict[str, Any]) -> Rows:
    with connection.cursor() as cursor:
        cursor.execute(f"{PREFIX}; {text}", values)
        rows: Rows = cursor.fetchall()
        return rows


def of_the_api(url: str) -> Run:
    """psycopg2's asynchronous connections, polled on the event loop."""
    database = Database(url, pool_size=CONNECTIONS, wait_seconds=5)

    async def run(text: str, values: dict[str, Any]) -> Rows:
        return await database.run(text, values["user_id"], **{k: v for k, v in values.items() if k != "user_id"})

    return run


def in_threads(number: int) -> Callable[[str], Run]:
    def of(url: str) -> Run:
        pool, idle = ThreadPoolExecutor(number), queue.LifoQueue[Any]()
        for _ in range(number):
            idle.put(connect(url))

        def execute(text: str, values: dict[str, Any]) -> Rows:
            connection = idle.get()
            try:
                return fetch(connection, text, values)
            finally:
                idle.put(connection)

        async def run(text: str, values: dict[str, Any]) -> Rows:
            return await asyncio.get_running_loop().run_in_executor(pool, execute, text, values)

        return run

    of.__doc__ = f"a pool of {number} threads, each with a bare connection"
    return of


def of_sqlalchemy(url: str) -> Run:
    """a pool of 8 threads, SQLAlchemy's pool and exec_driver_sql."""
    engine = sqlalchemy.create_engine(
        url.replace("postgresql://", "postgresql+psycopg2://"),
        pool_size=8,
        max_overflow=0,
        isolation_level="AUTOCOMMIT",
    )
    pool = ThreadPoolExecutor(8)

    def execute(text: str, values: dict[str, Any]) -> Rows:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(f"{PREFIX}; {text}", values)]

    async def run(text: str, values: dict[str, Any]) -> Rows:
        return await asyncio.get_running_loop().run_in_executor(pool, execute, text, values)

    return run


def with_wait_callback(url: str) -> Run:
    """psycopg2's wait callback, bridged to the event loop by SQLAlchemy's greenlets."""
    from sqlalchemy.util import await_only, greenlet_spawn

    connections = [connect(url) for _ in range(CONNECTIONS)]
    idle: asyncio.LifoQueue[Any] = asyncio.LifoQueue()
    for connection in connections:
        idle.put_nowait(connection)

    async def ready(connection: Any, state: int) -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        add, remove = (
            (loop.add_reader, loop.remove_reader) if state == POLL_READ else (loop.add_writer, loop.remove_writer)
        )
        add(connection.fileno(), lambda: None if future.done() else future.set_result(None))
        try:
            await future
        finally:
            remove(connection.fileno())

    def wait(connection: Any) -> None:
        while (state := connection.poll()) != POLL_OK:
            await_only(ready(connection, state))

    psycopg2.extensions.set_wait_callback(wait)

    async def run(text: str, values: dict[str, Any]) -> Rows:
        connection = await idle.get()
        try:
            rows: Rows = await greenlet_spawn(fetch, connection, text, values)
            return rows
        finally:
            idle.put_nowait(connection)

    return run


WAYS = (of_the_api, with_wait_callback, in_threads(8), in_threads(40), of_sqlalchemy)


async def measure(run: Run, text: str) -> tuple[float, float]:
    """Return statements per second, and the CPU time of this process for each, in microseconds."""
    chance = [{"user_id": f"user-{u}", "id": UUID(peers.task_id(u, 7)), "_limit": 51} for u in range(1, USERS + 1)]
    done, ends = 0, time.perf_counter() + SECONDS

    async def work(first: int) -> None:
        nonlocal done
        number = first
        while time.perf_counter() < ends:
            await run(text, dict(chance[number % USERS]))
            number += TASKS
            done += 1

    used, started = time.process_time(), time.perf_counter()
    await asyncio.gather(*(work(first) for first in range(TASKS)))
    return done / (time.perf_counter() - started), (time.process_time() - used) / done * 1e6


def main() -> None:
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    psycopg2.extras.register_uuid()  # type: ignore[no-untyped-call]
    with peers.database() as url:
        peers.fill(url, users=USERS, each=EACH)
        peers.pin(psutil.Process(), peers.API_CORE)
        for _ in range(ROUNDS):
            for way in WAYS:

                async def all_kinds(way: Callable[[str], Run] = way) -> None:
                    run = way(url)
                    for kind, text in STATEMENTS.items():
                        found.setdefault((str(way.__doc__), kind), []).append(await measure(run, text))

                uvloop.run(all_kinds())
                psycopg2.extensions.set_wait_callback(None)
    best = {kind: median(s for s, _ in found[str(of_the_api.__doc__), kind]) for kind in STATEMENTS}
    for (name, kind), figures in found.items():
        per_second, used = median(s for s, _ in figures), median(c for _, c in figures)
        print(f"{name:72}{kind:14}{per_second:8.0f}/s {per_second / best[kind]:5.2f}  {used:5.0f} us of its core")


if __name__ == "__main__":
    main()
