"""Two locks between users, the WHERE and the policy: each holds with the other one taken away."""

import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg2
import pytest

from backend import migrations
from backend.database import Database
from backend.embedded import EmbeddedServer
from backend.problems import Problem
from backend.settings import StartError
from tests.conftest import execute, serving, settings, sign, throwaway_database
from tests.servers import Debian15
from tests.test_tasks import assert_problem, create, requests_for

POLICY_OF_ALL = "CREATE POLICY everything ON task USING (true)"


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


MAKE = (
    "INSERT INTO task (id, user_id, title, status, priority, tags)"
    " VALUES (gen_random_uuid(), {}, 'x', 'pending', 'low', '{{}}')"
)


async def test_without_the_where_the_policy_holds(db: Database) -> None:
    for user in ("ann", "bob"):
        await db.run(MAKE.format("%(user_id)s"), user)
        await db.run("INSERT INTO tag (user_id, name) VALUES (%(user_id)s, 'x')", user)
    for table in ("task", "tag"):
        assert await db.run(f"SELECT user_id FROM {table}", "ann") == [("ann",)]
        assert await db.run(f"SELECT user_id FROM {table} WHERE user_id = 'bob'", "ann") == []
        assert await db.run(f"SELECT count(*) FROM {table}", "") == [(0,)]
    assert await db.run("UPDATE task SET title = 'changed' RETURNING user_id", "ann") == [("ann",)]
    assert await db.run("DELETE FROM task RETURNING user_id", "ann") == [("ann",)]
    assert await db.run("SELECT title FROM task", "bob") == [("x",)]


@pytest.mark.parametrize(
    "statement", [MAKE.format("'bob'"), "UPDATE task SET user_id = 'bob'", "UPDATE tag SET user_id = 'bob'"]
)
async def test_no_row_can_be_given_to_another_user(db: Database, statement: str) -> None:
    await db.run(MAKE.format("%(user_id)s"), "ann")
    await db.run("INSERT INTO tag (user_id, name) VALUES (%(user_id)s, 'x')", "ann")
    with pytest.raises(Problem):
        await db.run(statement, "ann")
    assert await db.run("SELECT user_id FROM task", "bob") == []


@pytest.mark.parametrize(
    "statement", ["SELECT * FROM alembic_version", "TRUNCATE task", "DROP TABLE task", "CREATE TABLE x ()"]
)
async def test_a_users_statement_can_do_nothing_but_to_tasks_and_tags(db: Database, statement: str) -> None:
    with pytest.raises(Problem):
        await db.run(statement, "ann")


async def test_a_users_name_does_not_stay_on_the_connection(migrated: str) -> None:
    database = Database(migrated, pool_size=1, wait_seconds=5)
    await database.run(MAKE.format("%(user_id)s"), "ann")
    whoever = "SELECT nullif(current_setting('app.user_id', true), ''), current_user = session_user"
    assert await database.run(whoever) == [(None, True)]
    database.close()


def test_without_the_policy_the_where_holds(migrated: str) -> None:
    for table in ("task", "tag"):
        execute(migrated, f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        execute(migrated, f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    with (
        serving(settings(database_url=migrated, migrate_on_start=False)) as url,
        client(url, "ann") as ann,
        client(url, "bob") as bob,
    ):
        task = create(ann, tags=["anns"])
        ann.put("/api/tags/anns", json={"color": "#123456"})
        for method, path, body in requests_for(f"/api/tasks/{task['id']}"):
            assert_problem(bob.request(method, path, json=body), 404, "TASK_NOT_FOUND")
        assert bob.get("/api/tasks").json() == bob.get("/api/tags").json() == []
        assert bob.get("/api/export").json()["tasks"] == []
        assert bob.patch("/api/tasks?tag=anns", json={"title": "bob's"}).json() == {"updated": 0}
        assert bob.delete("/api/tasks?status=pending").json() == {"deleted": 0}
        assert_problem(bob.patch("/api/tags/anns", json={"name": "x"}), 404, "TAG_NOT_FOUND")
        assert_problem(bob.delete("/api/tags/anns"), 404, "TAG_NOT_FOUND")
        assert ann.get(f"/api/tasks/{task['id']}").json() == task
        assert ann.get("/api/tags").json() == [{"name": "anns", "color": "#123456", "tasks": 1}]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        ("ALTER TABLE task DISABLE ROW LEVEL SECURITY", "Row-level security is off on task or tag."),
        ("ALTER TABLE tag DISABLE ROW LEVEL SECURITY", "Row-level security is off on task or tag."),
        ("ALTER TABLE task NO FORCE ROW LEVEL SECURITY", "Row-level security is not forced on task or tag."),
        ("DROP POLICY own_rows ON task", "The policies on task and tag are not the ones"),
        (POLICY_OF_ALL, "The policies on task and tag are not the ones"),
        ("ALTER POLICY own_rows ON tag USING (true)", "The policies on task and tag are not the ones"),
        ("ALTER POLICY own_rows ON task WITH CHECK (true)", "The policies on task and tag are not the ones"),
    ],
)
def test_a_database_that_does_not_hold_the_line_is_not_ready_and_says_how_to_mend_it(
    migrated: str, spoil: str, sentence: str
) -> None:
    with serving(settings(database_url=migrated, migrate_on_start=False)) as url:
        assert httpx.get(f"{url}/ready").json()["checks"]["isolation"]["status"] == "ok"
        execute(migrated, spoil)
        ready = httpx.get(f"{url}/ready")
        assert ready.status_code == 503
        detail = ready.json()["checks"]["isolation"]["detail"]
        assert detail.startswith(sentence)
        assert "Run: uv run main.py migrate" in detail
        if spoil != POLICY_OF_ALL:  # a policy that somebody added is theirs to drop
            from alembic import command

            execute(migrated, "CREATE POLICY own_rows ON task USING (true)") if "DROP" in spoil else None
            command.downgrade(migrations._config(migrated), "0002")
            migrations.upgrade(migrated, wait_seconds=5)
            assert httpx.get(f"{url}/ready").status_code == 200


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
        execute(server, "GRANT task_api TO other")
        migrations.upgrade(url, wait_seconds=5)
        with pytest.raises(psycopg2.errors.UndefinedTable):
            execute(server, "SELECT 1 FROM task")
