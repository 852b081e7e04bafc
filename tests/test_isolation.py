"""Two locks between users, the WHERE and the policy: each holds with the other one taken away."""

import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest

from backend import migrations
from backend.database import Database, quoted
from backend.embedded import EmbeddedServer
from backend.problems import Problem
from backend.resources import RESOURCES
from backend.settings import StartError
from backend.tables import METADATA
from tests.conftest import execute, serving, settings, sign, throwaway_database
from tests.helpers import assert_problem, create
from tests.samples import made
from tests.servers import Debian15

TABLES = sorted(METADATA.tables)
ADDED_TO = ["change"]  # of which nobody changes or deletes anything by the API


@pytest.fixture
def migrated(empty_database: str) -> str:
    """The URL of a database at head that a test may spoil."""
    migrations.upgrade(empty_database, wait_seconds=5)
    return empty_database


@contextmanager
def client(url: str, user_id: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {sign({'sub': user_id})}"}) as http:
        yield http


@pytest.fixture
async def db(migrated: str) -> AsyncIterator[Database]:
    database = Database(migrated, pool_size=2, wait_seconds=5)
    yield database
    database.close()


def rows_of(user: httpx.Client) -> dict[str, dict[str, Any]]:
    """Make a row in each declared table, through the API, and return those of the resources by their paths."""
    user.put("/api/tags/home", json={"color": "#123456"}).raise_for_status()
    return {resource.path: made(user, resource) for resource in RESOURCES}


@pytest.fixture
def rows(migrated: str) -> dict[str, dict[str, Any]]:
    """The rows of ann, where ann and bob have one in each table."""
    with serving(settings(database_url=migrated, migrate_on_start=False)) as url:
        with client(url, "bob") as bob:
            rows_of(bob)
        with client(url, "ann") as ann:
            return rows_of(ann)


async def test_without_the_where_the_policy_holds_on_every_declared_table(db: Database, rows: object) -> None:
    for table in map(quoted, TABLES):
        for user in ("ann", "bob"):
            seen = await db.run(f"SELECT DISTINCT user_id FROM {table}", user)
            assert seen == [(user,)], f"{table}: if it is empty, rows_of() must make a row in this table too"
        assert await db.run(f"SELECT user_id FROM {table} WHERE user_id = 'bob'", "ann") == []
        assert await db.run(f"SELECT count(*) FROM {table}", "") == [(0,)]
    for table in [quoted(table.name) for table in reversed(METADATA.sorted_tables)]:
        if table in ADDED_TO:
            for statement in (f"UPDATE {table} SET user_id = user_id", f"DELETE FROM {table}"):
                with pytest.raises(Problem):
                    await db.run(statement, "ann")
            continue
        changed = await db.run(f"UPDATE {table} SET user_id = user_id RETURNING user_id", "ann")
        assert {row[0] for row in changed} == {"ann"}
        assert {row[0] for row in await db.run(f"DELETE FROM {table} RETURNING user_id", "ann")} <= {"ann"}
        assert await db.run(f"SELECT DISTINCT user_id FROM {table}", "bob") == [("bob",)]


@pytest.mark.parametrize("table", TABLES)
async def test_no_row_can_be_given_to_another_user(db: Database, rows: object, table: str) -> None:
    before = await db.run(f"SELECT count(*) FROM {quoted(table)}", "bob")
    with pytest.raises(Problem):
        await db.run(f"UPDATE {quoted(table)} SET user_id = 'carl'", "ann")
    with pytest.raises(Problem):
        await db.run("INSERT INTO tag (user_id, name) VALUES ('bob', 'x')", "ann")
    assert await db.run(f"SELECT count(*) FROM {quoted(table)}", "bob") == before
    assert await db.run(f"SELECT count(*) FROM {quoted(table)}", "carl") == [(0,)]


@pytest.mark.parametrize(
    "statement", ["SELECT * FROM alembic_version", "TRUNCATE task", "DROP TABLE task", "CREATE TABLE x ()"]
)
async def test_a_users_statement_can_do_nothing_but_to_the_declared_tables(db: Database, statement: str) -> None:
    with pytest.raises(Problem):
        await db.run(statement, "ann")


async def test_a_users_name_does_not_stay_on_the_connection(migrated: str) -> None:
    database = Database(migrated, pool_size=1, wait_seconds=5)
    await database.run("INSERT INTO tag (user_id, name) VALUES (%(user_id)s, 'x')", "ann")
    whoever = "SELECT nullif(current_setting('app.user_id', true), ''), current_user = session_user"
    assert await database.run(whoever) == [(None, True)]
    database.close()


def test_without_the_policy_the_where_holds_on_every_route(migrated: str, rows: dict[str, dict[str, Any]]) -> None:
    for table in map(quoted, TABLES):
        execute(migrated, f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        execute(migrated, f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    with (
        serving(settings(database_url=migrated, migrate_on_start=False)) as url,
        client(url, "ann") as ann,
        client(url, "carl") as carl,
    ):
        before = {path: ann.get(path).json() for path in (*rows, "/api/tags")}
        for resource in RESOURCES:
            row = rows[resource.path]
            body = {name: row[name] for name in resource.fields}
            for method in ("GET", "PUT", "PATCH", "DELETE"):
                answer = carl.request(method, f"{resource.path}/{row['id']}", json=None if method == "GET" else body)
                assert_problem(answer, 404, resource.code)
            assert carl.get(resource.path).json() == []
            by = {name: row[name] for name in resource.listing.filters.model_fields if row.get(name) is not None}
            assert row in ann.get(resource.path, params=by).json(), "the filters are about the row"
            assert carl.patch(resource.path, params=by, json=body).json() == {"updated": 0}
            assert carl.delete(resource.path, params=by).json() == {"deleted": 0}
        exported = carl.get("/api/export").json()
        assert {name: rows for name, rows in exported.items() if isinstance(rows, list) and rows} == {}
        assert carl.get("/api/tags").json() == []
        assert_problem(carl.patch("/api/tags/home", json={"name": "x"}), 404, "TAG_NOT_FOUND")
        assert_problem(carl.delete("/api/tags/home"), 404, "TAG_NOT_FOUND")
        assert {path: ann.get(path).json() for path in before} == before


def test_a_child_can_only_be_of_a_parent_of_the_same_user(migrated: str, rows: dict[str, dict[str, Any]]) -> None:
    """Of the tables that are declared; tests/test_resources.py does the same over HTTP."""
    for table in METADATA.sorted_tables:
        assert table.primary_key.columns.keys()[0] == "user_id"
        for key in table.foreign_key_constraints:
            assert (key.column_keys[0], key.elements[0].column.name) == ("user_id", "user_id"), key.name


# How to spoil a table, and what is said of it.
SPOILED = {
    "ALTER TABLE {0} DISABLE ROW LEVEL SECURITY": "has no row-level security. Run: ALTER TABLE {0} ENABLE",
    "ALTER TABLE {0} NO FORCE ROW LEVEL SECURITY": "does not force its row-level security. Run: ALTER TABLE {0} FORCE",
    "DROP POLICY own_rows ON {0}": "has another policy than own_rows. Run: CREATE POLICY own_rows ON {0}",
    "CREATE POLICY everything ON {0} USING (true)": "has another policy than own_rows. Run: DROP POLICY everything ON",
    "ALTER POLICY own_rows ON {0} USING (true)": "has another policy than own_rows. Run: DROP POLICY own_rows ON {0};",
    "ALTER POLICY own_rows ON {0} WITH CHECK (true)": "has another policy than own_rows.",
    "ALTER POLICY own_rows ON {0} TO task_api": "has another policy than own_rows.",
    "ALTER TABLE {0} DROP CONSTRAINT {1} CASCADE": "has a primary key that does not begin with the owner. Run:",
    "GRANT TRUNCATE ON {0} TO task_api": "gives task_api rights that no policy limits. Run: REVOKE TRUNCATE",
    "REVOKE INSERT, SELECT, UPDATE, DELETE ON {0} FROM task_api": "is closed to task_api. Run: GRANT SELECT",
}
# Tables that nobody declared, which the role may use all the same.
STRANGERS = {
    "CREATE TABLE notes (user_id varchar(255), id int, PRIMARY KEY (user_id, id)); GRANT SELECT ON notes TO task_api": (
        "has no row-level security. Run: ALTER TABLE notes ENABLE"
    ),
    "CREATE TABLE notes (user_id varchar(255), id int); GRANT SELECT (id) ON notes TO task_api": (
        "has no row-level security. Run: ALTER TABLE notes ENABLE"
    ),
    "CREATE TABLE notes (id int PRIMARY KEY); GRANT INSERT ON notes TO PUBLIC": (
        "has no owner to keep users apart by. Run: REVOKE ALL ON notes FROM task_api, PUBLIC"
    ),
    "CREATE VIEW notes AS SELECT user_id, title FROM task; GRANT SELECT ON notes TO task_api": (
        "has no owner to keep users apart by. Run: REVOKE ALL ON notes FROM task_api, PUBLIC"
    ),
}


def mended(url: str, api: str, table: str, spoil: str, sentence: str) -> None:
    """Spoil a table, and mend it by what `/ready` says, until nothing is said any more."""
    execute(url, spoil)
    ready = httpx.get(f"{api}/ready")
    assert ready.status_code == 503
    expected = f"The table {table} {sentence}" if table else sentence
    assert ready.json()["checks"]["isolation"]["detail"].startswith(expected), ready.text
    for _ in range(5):
        ready = httpx.get(f"{api}/ready")
        if ready.status_code == 200:
            return
        execute(url, ready.json()["checks"]["isolation"]["detail"].partition("Run: ")[2])
    raise AssertionError(ready.text)


def test_a_table_that_is_not_protected_is_not_ready_and_says_the_statement_that_mends_it(migrated: str) -> None:
    with serving(settings(database_url=migrated, migrate_on_start=False)) as api:
        assert httpx.get(f"{api}/ready").json()["checks"]["isolation"]["status"] == "ok"
        referred = {key.referred_table.name for one in METADATA.sorted_tables for key in one.foreign_key_constraints}
        for name in TABLES:
            table, key = quoted(name), quoted(f"{name}_pkey")
            for spoil, sentence in SPOILED.items():
                if "CASCADE" not in spoil or name not in referred:
                    mended(migrated, api, table, spoil.format(table, key), sentence.format(table))
        for right in ("DELETE", "UPDATE", "UPDATE (before)"):
            mended(migrated, api, "change", f"GRANT {right} ON change TO task_api", "can be rewritten by task_api")
        for spoil in ("DROP POLICY keeper ON change", "ALTER POLICY keeper ON change USING (false)"):
            mended(
                migrated, api, "change", spoil, "is closed to task_keeper. Run: DROP POLICY IF EXISTS keeper ON change;"
            )
        for spoil, whole in (
            (
                "REVOKE DELETE ON change FROM task_keeper",
                "The role task_keeper may not shorten the change log. Run: GRANT",
            ),
            (
                "ALTER TABLE revocation DISABLE ROW LEVEL SECURITY",
                "The table revocation is not for task_keeper alone. Run: ALTER TABLE revocation ENABLE",
            ),
            (
                "DROP POLICY keeper ON revocation",
                "The table revocation is not for task_keeper alone. Run: ALTER TABLE revocation ENABLE",
            ),
            (
                "REVOKE INSERT ON revocation FROM task_keeper",
                "The role task_keeper may not read and write revocations. Run: GRANT",
            ),
            ("GRANT task_keeper TO task_api", "The role task_api belongs to task_keeper, which sees every user's"),
        ):
            mended(migrated, api, "", spoil, whole)
        for right in ("SELECT", "INSERT", "UPDATE (erases)"):
            mended(migrated, api, "revocation", f"GRANT {right} ON revocation TO task_api", "is for task_keeper alone.")
        mended(
            migrated, api, "change", "REVOKE INSERT ON change FROM task_api", "is closed to task_api. Run: GRANT SELECT"
        )
        for spoil, sentence in STRANGERS.items():
            mended(migrated, api, "notes", spoil, sentence)
            execute(migrated, f"DROP {'VIEW' if 'VIEW' in spoil else 'TABLE'} notes")
        execute(migrated, "DROP TABLE tag")
        detail = httpx.get(f"{api}/ready").json()["checks"]["isolation"]["detail"]
        assert detail == 'There is no table tag. Run: uv run main.py migration "add tag"'


def test_tables_of_others_in_the_same_database_are_their_own_business(migrated: str) -> None:
    execute(migrated, 'CREATE TABLE "user" (id text PRIMARY KEY); CREATE VIEW v AS SELECT 1')
    with serving(settings(database_url=migrated, migrate_on_start=False)) as api:
        assert httpx.get(f"{api}/ready").status_code == 200


@pytest.fixture(params=[EmbeddedServer, Debian15])
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a server of this test's own, on which nobody has made the role task_api yet."""
    with tempfile.TemporaryDirectory(prefix="better-tasks-") as folder, request.param(Path(folder)).running() as url:
        yield url


def test_an_owner_who_may_create_roles_can_migrate_more_than_once_on_one_server(server: str) -> None:
    execute(server, "CREATE ROLE owner LOGIN CREATEROLE")
    for _ in range(2):  # two databases of one owner, as two branches or a test's beside the real one
        name = f"owned_{uuid.uuid4().hex[:8]}"
        execute(server, f"CREATE DATABASE {name} OWNER owner")
        url = str(httpx.URL(server).copy_with(username="owner", path=f"/{name}"))
        migrations.upgrade(url, wait_seconds=5)
        with serving(settings(database_url=url, migrate_on_start=False)) as api, client(api, "ann") as ann:
            assert httpx.get(f"{api}/ready").json()["checks"]["isolation"]["status"] == "ok"
            task = create(ann)
            assert ann.get("/api/tasks").json() == [task]
        assert execute(url, "SELECT count(*) FROM task") == [(0,)], "the owner is bound too"
    execute(server, "ALTER ROLE task_api BYPASSRLS")
    with serving(settings(database_url=url, migrate_on_start=False)) as api:
        detail = httpx.get(f"{api}/ready").json()["checks"]["isolation"]["detail"]
    assert detail.startswith("The role task_api can step over row-level security. Run: ALTER ROLE task_api")


def test_an_owner_to_whom_the_role_does_not_belong_is_told_who_can_help(server: str) -> None:
    with throwaway_database(server) as first:
        migrations.upgrade(first, wait_seconds=5)
        execute(server, "CREATE ROLE other LOGIN")
        execute(server, "CREATE DATABASE others OWNER other")
        url = str(httpx.URL(server).copy_with(username="other", path="/others"))
        with pytest.raises(StartError, match=r"^The migration failed: .* let its creator run GRANT task_api TO other$"):
            migrations.upgrade(url, wait_seconds=5)
        execute(server, "GRANT task_api, task_keeper TO other")
        migrations.upgrade(url, wait_seconds=5)
        with pytest.raises(psycopg2.errors.UndefinedTable):
            execute(server, "SELECT 1 FROM task")
