"""One statement, one message, as one user; and what becomes of a connection that breaks."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import psycopg2
import pytest

from backend import database as module
from backend.app import create_app
from backend.connection import STATEMENT_TIMEOUT_SECONDS, Connection
from backend.database import IN_TURN, PLANNED_ONCE, SERVER, Database
from backend.problems import Problem
from tests.conftest import SECRET, database, execute, serving, settings, sign
from tests.helpers import assert_problem, create, requests_for
from tests.wire import Wire


def test_every_route_is_one_message_that_begins_with_its_user(wire: Wire) -> None:
    with (
        serving(settings(database_url=wire.url, migrate_on_start=False, db_pool_size=1)) as url,
        httpx.Client(base_url=url, headers={"Authorization": f"Bearer {sign({'sub': 'ann'})}"}) as client,
    ):
        for prepares in (1, 0):  # what is used for the first time on the connection is prepared before
            path = f"/api/tasks/{create(client)['id']}"
            wire.queries.clear()
            requests = [("GET", "/api/tasks", None), ("POST", "/api/tasks", {"title": "x"}), *requests_for(path)]
            for method, path, body in requests:
                assert client.request(method, path, json=body).is_success
                [query] = wire.queries
                assert query.startswith("SET LOCAL ROLE task_api; SET LOCAL app.user_id = 'ann'; ")
                assert query.count("PREPARE") <= 2 * prepares
                assert query.count(";") == 4 + query.count("PREPARE") + 3 * (f"EXECUTE {IN_TURN.name}" in query)
                wire.queries.clear()


def test_what_never_reaches_a_statement_sends_no_message(wire: Wire) -> None:
    with serving(settings(database_url=wire.url, migrate_on_start=False)) as url:
        bad_token = {"Authorization": "Bearer " + sign({"sub": "ann"}, secret="another secret of 32 characters!")}
        assert httpx.get(f"{url}/api/tasks", headers=bad_token).status_code == 401
        good_token = {"Authorization": "Bearer " + sign({"sub": "ann"})}
        assert httpx.post(f"{url}/api/tasks", headers=good_token, json={}).status_code == 422
        assert httpx.get(f"{url}/api/me", headers=good_token).status_code == 200
        assert httpx.get(f"{url}/health").json() == {"status": "ok"}
    assert set(wire.queries) <= {SERVER, PLANNED_ONCE}


async def test_a_statement_runs_as_its_user_in_utc_and_leaves_nothing_behind(database_url: str) -> None:
    async with database(database_url, pool_size=1) as db:
        show = (
            "SELECT current_setting('app.user_id', true), current_setting('TimeZone'),"
            " current_setting('statement_timeout'), %(text)s::text"
        )
        text = "O'Brien \\ \" 100% %s 🎉"
        assert await db.run(show, text, text=text) == [(text, "UTC", "10s", text)]
        [(user_id, _, timeout, _)] = await db.run(show, text="x")
        assert (user_id, timeout) != (text, "10s")


async def test_a_statement_that_fails_takes_its_changes_with_it_and_leaves_its_connection_usable(
    database_url: str,
) -> None:
    write = "INSERT INTO tag (user_id, name) VALUES (%(user_id)s, 'x')"
    async with database(database_url, pool_size=1) as db:
        with pytest.raises(Problem) as caught:
            await db.run(f"{write}; SELECT 1 / 0", "rolled-back")
        assert caught.value.code == "INTERNAL_ERROR"
        assert await db.run("SELECT 1 FROM tag WHERE user_id = %(user_id)s", "rolled-back") == []


async def test_a_large_statement_and_a_large_answer_pass_whole(database_url: str) -> None:
    text = "ü" * 3_000_000
    async with database(database_url) as db:
        assert await db.run("SELECT %(text)s::text", "ann", text=text) == [(text,)]


async def test_a_statement_that_takes_too_long_is_a_503_and_ends(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PREFIX", module.PREFIX.replace("10s", "50ms"))
    async with database(database_url) as db:
        with pytest.raises(Problem) as caught:
            await db.run("SELECT pg_sleep(60)", "ann")
        assert (caught.value.code, caught.value.headers) == ("DATABASE_UNAVAILABLE", {"Retry-After": "2"})
        assert await db.run("SELECT 1", "ann") == [(1,)]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():
        await asyncio.sleep(0.01)


@pytest.fixture
async def citus(wire: Wire) -> AsyncIterator[Database]:
    """A database that is taken for one with Citus."""
    async with database(wire.url, pool_size=1) as db:
        db.distributed = True
        yield db


async def test_on_citus_a_statement_and_all_its_settings_are_one_message(citus: Database, wire: Wire) -> None:
    asked = "SELECT current_user, current_setting('app.user_id'), current_setting('TimeZone')"
    user_id = "ann'; $$ %s"
    assert await citus.run(asked, user_id) == [("task_api", user_id, "UTC")]
    message, end = wire.queries
    assert message.startswith("BEGIN; SET LOCAL ROLE task_api; SET LOCAL app.user_id = 'ann''; $$ %s'; ")
    assert message.endswith(asked)
    assert end == "COMMIT"
    whoever = "SELECT nullif(current_setting('app.user_id', true), ''), current_user = session_user"
    assert await citus.run(whoever) == [(None, True)]


async def test_what_fails_with_citus_is_rolled_back_and_leaves_its_connection_usable(
    citus: Database, wire: Wire
) -> None:
    with pytest.raises(Problem):
        await citus.run("SELECT 1 / 0", "ann")
    assert wire.queries[-1] == "ROLLBACK"
    assert await citus.run("SELECT count(*) FROM task", f"user-{uuid.uuid4()}") == [(0,)]


async def test_citus_is_looked_for_once(wire: Wire) -> None:
    async with database(wire.url, pool_size=3) as db:
        await asyncio.gather(*(db.run("SELECT pg_sleep(0.02)", "ann") for _ in range(3)))
        assert db.distributed is False
    assert len([query for query in wire.queries if "pg_extension" in query]) == 1


async def test_a_cancelled_statement_gives_up_its_connection_and_not_its_place(database_url: str) -> None:
    async with database(database_url, pool_size=1) as db, database(database_url) as other:
        cancelled = asyncio.create_task(db.run("SELECT pg_sleep(1), 'cancelled'", "ann"))

        async def runs() -> bool:
            return bool(
                await other.run(
                    "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%%''cancelled''%%' AND wait_event = 'PgSleep'"
                )
            )

        await until(runs)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert await db.run("SELECT 'mine'", "ann") == [("mine",)]


async def test_a_connection_that_died_while_idle_is_never_handed_out(database_url: str) -> None:
    async with database(database_url, pool_size=3) as db:

        async def pids() -> set[int]:
            rows = await asyncio.gather(*(db.run("SELECT pg_backend_pid(), pg_sleep(0.02)") for _ in range(3)))
            return {row[0][0] for row in rows}

        before = await pids()
        assert len(before) == 3
        execute(database_url, "SELECT pg_terminate_backend(pid) FROM unnest(%s) AS pid", list(before))

        async def noticed() -> bool:
            return not any(connection.usable for connection in db._idle)

        await until(noticed)
        assert not before & await pids()


async def test_to_close_an_ended_connection_again_takes_nothing_from_the_one_that_has_its_socket_number_now(
    database_url: str,
) -> None:
    ended = await Connection.open(database_url)
    with pytest.raises(psycopg2.Error):
        await ended.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert not ended.usable
    fresh = await Connection.open(database_url)
    assert fresh._fileno == ended._fileno
    ended.close()
    assert await asyncio.wait_for(fresh.execute("SELECT 1"), STATEMENT_TIMEOUT_SECONDS) == [(1,)]
    fresh.close()


async def test_more_than_the_pool_wait_their_turn(database_url: str) -> None:
    async with database(database_url, pool_size=2) as db:
        answers = await asyncio.gather(*(db.run("SELECT %(n)s::int", "ann", n=n) for n in range(100)))
        assert answers == [[(n,)] for n in range(100)]
        assert len(db._idle) == 2


async def test_past_a_bound_nobody_waits(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 5)
    async with database(database_url, pool_size=1) as db:
        results = await asyncio.gather(*(db.run("SELECT 1", "ann") for _ in range(20)), return_exceptions=True)
        assert results[:5] == [[(1,)]] * 5
        assert {getattr(result, "code", None) for result in results[5:]} == {"OVERLOADED"}


async def test_who_waits_too_long_for_a_connection_is_told_to_come_back(database_url: str) -> None:
    async with database(database_url, pool_size=1, wait_seconds=0.05) as db:
        holding = asyncio.create_task(db.run("SELECT pg_sleep(0.5)", "ann"))
        await asyncio.sleep(0)
        with pytest.raises(Problem) as caught:
            await db.run("SELECT 1", "ann")
        assert caught.value.code == "DATABASE_UNAVAILABLE"
        await holding


def test_without_a_database_the_api_starts_says_so_and_serves_what_needs_none() -> None:
    nowhere = "postgresql://u:hunter2@127.0.0.1:1/d"
    with serving(settings(database_url=nowhere, migrate_on_start=False, db_wait_seconds=0.2)) as url:
        assert httpx.get(f"{url}/health").status_code == 200
        ready = httpx.get(f"{url}/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
        states = {name: check["status"] for name, check in ready.json()["checks"].items()}
        assert states == {**dict.fromkeys(("database", "migrations", "isolation"), "unavailable"), "keys": "ok"}
        assert "hunter2" not in ready.text
        assert httpx.get(f"{url}/health/database").status_code == 503
        assert httpx.get(f"{url}/api/tasks").status_code == 401
        answer = httpx.get(f"{url}/api/tasks", headers={"Authorization": f"Bearer {sign({'sub': 'ann'})}"})
        assert_problem(answer, 503, "DATABASE_UNAVAILABLE")
        assert answer.headers["Retry-After"] == "2"


def test_a_database_that_is_not_migrated_is_not_ready(empty_database: str) -> None:
    with serving(settings(database_url=empty_database, migrate_on_start=False)) as url:
        ready = httpx.get(f"{url}/ready")
        assert ready.status_code == 503
        assert ready.json()["checks"]["database"]["status"] == "ok"
        assert "uv run main.py migrate" in ready.json()["checks"]["migrations"]["detail"]
        execute(empty_database, "CREATE TABLE alembic_version (version_num text)")
        assert httpx.get(f"{url}/ready").status_code == 503


def test_a_ready_api_says_how_long_each_check_took(api: str) -> None:
    ready = httpx.get(f"{api}/ready")
    assert ready.status_code == 200
    assert ready.json()["status"] == "ok"
    assert list(ready.json()["checks"]) == ["database", "migrations", "isolation", "keys"]
    assert all(check["latency_ms"] >= 0 for check in ready.json()["checks"].values())
    assert httpx.get(f"{api}/health/database").json()["status"] == "ok"


async def test_however_many_ask_each_check_runs_once_at_a_time(wire: Wire) -> None:
    app = create_app(settings(database_url=wire.url, migrate_on_start=False))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
    ):
        answers = await asyncio.gather(*(client.get("/health/database") for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(wire.queries) < 10


def test_without_its_key_set_an_api_is_ready_only_if_it_has_a_secret(database_url: str) -> None:
    nowhere = {"database_url": database_url, "jwks_url": "http://127.0.0.1:1/jwks"}
    for secret, status, state in ((None, 503, "unavailable"), (SECRET, 200, "degraded")):
        with serving(settings(better_auth_secret=secret, **nowhere)) as url:
            ready = httpx.get(f"{url}/ready")
            assert (ready.status_code, ready.json()["status"]) == (status, state)
            assert ready.json()["checks"]["keys"]["status"] == state
            assert "There is no key of the JWKS" in ready.json()["checks"]["keys"]["detail"]
