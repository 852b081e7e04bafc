"""Statements that are parsed and planned once on each connection, and where that is not possible."""

import itertools
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psycopg2
import pytest
from structlog.testing import capture_logs

from backend import connection, migrations, tags
from backend.completion import TaskStatements
from backend.connection import Prepared
from backend.database import IN_TURN, PREFIX, Logged
from backend.problems import Problem
from backend.resources import RESOURCES, Resource
from backend.spelling import patterns
from backend.tasks import tasks
from tests.conftest import database, execute, overheard
from tests.helpers import create, path_of
from tests.project import free_port
from tests.servers import program, running
from tests.wire import Wire

WEEKLY = {"due_date": "2030-01-31T09:00:00+01:00", "recurrence_rule": "FREQ=WEEKLY"}
DIVIDE = Prepared("SELECT 6 / %(n)s::int")
EXECUTE = re.compile(r"SET LOCAL ROLE task_api; (SET LOCAL [^;]+; ){3,5}EXECUTE (s_\w{16})\(.*\)")


def test_what_is_about_one_row_is_prepared_once_on_a_connection_and_then_only_executed(database_url: str) -> None:
    with overheard(database_url) as (wire, client):
        client.get("/api/tasks")  # makes the connection

        def messages() -> Iterator[str]:
            wire.queries.clear()
            once, again = create(client), create(client, **WEEKLY)
            assert client.get(path_of(once)).status_code == 200
            assert client.put(path_of(once), json={"title": "x"}).status_code == 200
            assert client.patch(path_of(once), json={"title": "y"}).status_code == 200
            assert client.patch(path_of(again), json={"status": "completed"}).status_code == 200
            assert client.delete(path_of(once)).status_code == 204
            yield from wire.queries

        first, second = list(messages()), list(messages())
        assert sum("PREPARE" in message for message in first) == 7  # two of the eight are creates
        assert len(first) == len(second) == 8
        for message in second:
            assert EXECUTE.fullmatch(message), message


def test_what_is_about_many_rows_is_planned_for_its_own_filters(database_url: str) -> None:
    with overheard(database_url) as (wire, client):
        wire.queries.clear()
        assert client.get("/api/tasks?status=pending").status_code == 200
        assert client.patch("/api/tasks?status=pending", json={"title": "x"}).status_code == 200
        assert client.delete("/api/tasks?status=pending").status_code == 200
        assert client.get("/api/tags").status_code == 200
        assert client.get("/api/export").status_code == 200
        executed = {name for query in wire.queries for name in re.findall(r"EXECUTE (\w+)", query)}
        assert executed == {IN_TURN.name}, "only what goes before each write"


def statements_of(resource: Resource[Any]) -> Iterator[str | Logged]:
    statements = resource.statements
    yield from (statements.create, statements.read, statements.delete)
    for size in (0, 1, len(resource.fields)):
        for fields in map(frozenset, itertools.combinations(resource.fields, size)):
            yield statements.update_one(fields)
            if isinstance(statements, TaskStatements) and "status" in fields:
                yield from (statements.complete_unless_recurring(fields), statements.complete_one(fields))


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: str(resource.path))
def test_every_statement_about_one_row_of_a_declared_table_can_be_prepared(
    database_url: str, resource: Resource[Any]
) -> None:
    for made in (IN_TURN, *statements_of(resource)):
        [statement] = made.statements if isinstance(made, Logged) else [made]
        assert isinstance(statement, Prepared)
        server = psycopg2.connect(database_url)
        server.cursor().execute(f"{PREFIX}; {statement.prepare}", {"user_id": "ann"})
        server.close()


async def test_a_value_may_have_another_type_in_each_place_and_no_text_is_taken_for_sql(database_url: str) -> None:
    statement = Prepared("SELECT %(n)s::text || '%%(n)s', %(n)s::int + 1, %(text)s::text, current_user::text")
    text = "O'Brien \\ \" 100% %s $1 ; 🎉"
    async with database(database_url, pool_size=1) as db:
        for _ in range(2):
            assert await db.run(statement, "ann", n="1", text=text) == [("1%(n)s", 2, text, "task_api")]


async def test_several_statements_are_one_message_and_one_transaction(wire: Wire) -> None:
    user, new = f"user-{uuid.uuid4()}", Prepared("INSERT INTO tag (user_id, name) VALUES (%(user_id)s, %(name)s)")
    async with database(wire.url, pool_size=1) as db:
        parts, values = (new, "SELECT 1", DIVIDE), {"user_id": user}
        assert await db._run(parts, None, user, {**values, "n": 2, "name": "new"}) == [(3,)]
        wire.queries.clear()
        with pytest.raises(Problem):
            await db._run(parts, None, user, {**values, "n": 0, "name": "undone"})
        assert len(wire.queries) == 1
        assert await db.run("SELECT name FROM tag", user) == [("new",)]


async def test_each_user_of_a_prepared_statement_sees_their_own_rows(database_url: str) -> None:
    users = [f"user-{uuid.uuid4()}" for _ in range(2)]
    everything = Prepared("SELECT user_id FROM tag WHERE name = %(name)s")
    async with database(database_url, pool_size=1) as db:
        for user in users:
            await db.run(tags.COLOR, user, _name=patterns(["home"]), color=None)
        for user in users * 10:  # past the five times for which PostgreSQL plans anew
            assert await db.run(everything, user, name="home") == [(user,)]


async def test_a_statement_whose_first_use_failed_is_there_nevertheless(wire: Wire) -> None:
    async with database(wire.url, pool_size=1) as db:
        with pytest.raises(Problem):
            await db.run(DIVIDE, "ann", n=0)
        wire.queries.clear()
        assert [await db.run(DIVIDE, "ann", n=n) for n in (2, 3)] == [[(3,)], [(2,)]]
        assert [query.count("PREPARE") for query in wire.queries] == [1, 0, 0]


async def test_what_could_not_be_sent_is_not_taken_for_prepared(wire: Wire) -> None:
    async with database(wire.url, pool_size=1) as db:
        with pytest.raises(KeyError):
            await db.run(DIVIDE, "ann")
        assert await db.run(DIVIDE, "ann", n=2) == [(3,)]
        assert db.prepares


async def test_without_its_prepared_statements_a_server_gets_plain_ones(wire: Wire) -> None:
    async with database(wire.url, pool_size=1) as db:
        assert await db.run(DIVIDE, "ann", n=1) == [(6,)]
        await db.run("DEALLOCATE ALL")
        wire.queries.clear()
        with capture_logs() as logs:
            assert [await db.run(DIVIDE, "ann", n=n) for n in (2, 3)] == [[(3,)], [(2,)]]
        assert ["EXECUTE" in query for query in wire.queries] == [True, False, False]
        assert [line["event"] for line in logs] == ["prepared_statement_lost"]


async def test_a_migration_may_change_what_prepared_statements_answer(empty_database: str) -> None:
    migrations.upgrade(empty_database, wait_seconds=5)
    statements, row = tasks.statements, uuid.uuid4()
    async with database(empty_database, pool_size=1) as db:

        async def use_each() -> None:
            assert await db.run(statements.read, "ann", id=row) == []
            for fields in ("title", "description"):
                statement = statements.update_one(frozenset({fields}))
                assert await db.run(statement, "ann", id=row, _versions=None, title="x", description="y") == []

        await use_each()
        execute(empty_database, "ALTER TABLE task ALTER version TYPE bigint")
        await use_each()
        assert db.prepares


async def test_what_postgresql_cannot_do_stays_an_error(wire: Wire) -> None:
    cannot = "DO $$ BEGIN RAISE SQLSTATE '0A000'; END $$"
    async with database(wire.url, pool_size=1) as db:
        for _ in range(3):
            with pytest.raises(Problem):
                await db._run((DIVIDE, cannot), None, "ann", {"user_id": "ann", "n": 1})
        assert await db.run(DIVIDE, "ann", n=2) == [(3,)]


async def test_a_connection_keeps_so_many_statements_and_forgets_those_used_longest_ago(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_PREPARED", 3)
    texts = {name: Prepared(f"SELECT '{name}', %(n)s::int") for name in "abcd"}
    async with database(wire.url, pool_size=1) as db:
        for name in "abcad" * 2:
            assert await db.run(texts[name], "ann", n=1) == [(name, 1)]
        [(kept,)] = await db.run("SELECT array_agg(name ORDER BY name) FROM pg_prepared_statements")
    assert kept == sorted(texts[name].name for name in "acd")
    prepared = [name for query in wire.queries for name in "abcd" if texts[name].prepare.partition("$")[0] in query]
    assert prepared == list("abcdbcd")


POOLER = """
[databases]
{name} = host=127.0.0.1 port={server.port}{password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = 2
server_tls_sslmode = disable
"""


@pytest.fixture
def pooler(wire: Wire) -> Iterator[str]:
    """The URL of PgBouncer in transaction mode, with two connections to the database of most tests."""
    server, port = httpx.URL(wire.url), free_port()
    name, password = server.path[1:], f" password='{server.password}'" if server.password else ""
    # Not in pytest's own folder, into which only its own user can look.
    with TemporaryDirectory(prefix="better-tasks-") as folder:
        Path(folder).chmod(0o755)
        file, users = Path(folder, "pgbouncer.ini"), Path(folder, "userlist.txt")
        users.write_text(f'"{server.username}" ""\n')
        file.write_text(POOLER.format(name=name, password=password, server=server, port=port, users=users))
        with running([program("pgbouncer"), str(file)], port, "nobody" if os.getuid() == 0 else None):
            yield f"postgresql://{server.username}@127.0.0.1:{port}/{name}"


async def test_behind_a_pooler_nothing_is_prepared(pooler: str, wire: Wire) -> None:
    async with database(pooler) as db:
        assert [await db.run(DIVIDE, "ann", n=n) for n in (1, 2)] == [[(6,)], [(3,)]]
    assert [query for query in wire.queries if "SELECT 6 /" in query]
    assert not [query for query in wire.queries if "PREPARE" in query]


async def test_a_pooler_that_was_taken_for_a_server_costs_one_message(pooler: str, wire: Wire) -> None:
    async with database(pooler, pool_size=1) as db:
        await db.run("SELECT 1")
        db.prepares = True
        assert await db.run(DIVIDE, "ann", n=1) == [(6,)]
        other = psycopg2.connect(pooler)
        other.cursor().execute("SELECT 1")  # its transaction has the connection on which it was prepared
        wire.queries.clear()
        assert [await db.run(DIVIDE, "ann", n=n) for n in (2, 3)] == [[(3,)], [(2,)]]
        other.close()
    assert ["EXECUTE" in query for query in wire.queries if "SET LOCAL ROLE" in query] == [True, False, False]
