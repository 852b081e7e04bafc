"""The schema: up, down, no drift, and nobody else's tables."""

from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest
from alembic import command
from alembic.util.exc import CommandError

from backend import migrations
from backend.migrations import _config
from backend.settings import StartError
from backend.tables import METADATA
from tests.conftest import execute

TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1"


def tables(url: str) -> list[str]:
    return [row[0] for row in execute(url, TABLES)]


def test_up_down_and_up_again(empty_database: str) -> None:
    migrations.upgrade(empty_database, wait_seconds=5)
    assert tables(empty_database) == sorted(["alembic_version", "revocation", *METADATA.tables])
    command.downgrade(_config(empty_database), "base")
    assert tables(empty_database) == ["alembic_version"]
    types = "SELECT typname FROM pg_type WHERE typtype = 'e' AND typnamespace = 'public'::regnamespace"
    assert execute(empty_database, types) == [], "each enum goes with its table"
    migrations.upgrade(empty_database, wait_seconds=5)
    assert execute(empty_database, "SELECT version_num FROM alembic_version") == [(migrations.head(),)]


def test_the_models_and_the_migrations_say_the_same(empty_database: str) -> None:
    migrations.upgrade(empty_database, wait_seconds=5)
    command.check(_config(empty_database))
    execute(empty_database, "ALTER TABLE task DROP COLUMN recurrence_rule")
    with pytest.raises(CommandError, match="New upgrade operations detected"):
        command.check(_config(empty_database))


def test_better_auths_tables_in_the_same_database_are_left_alone(empty_database: str) -> None:
    execute(empty_database, 'CREATE TABLE "user" (id text PRIMARY KEY); CREATE TABLE jwks (id text PRIMARY KEY)')
    execute(empty_database, "INSERT INTO jwks VALUES ('key')")
    migrations.upgrade(empty_database, wait_seconds=5)
    command.check(_config(empty_database))
    command.downgrade(_config(empty_database), "base")
    assert tables(empty_database) == ["alembic_version", "jwks", "user"]
    assert execute(empty_database, "SELECT id FROM jwks") == [("key",)]


def test_several_starts_at_once_take_turns(empty_database: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: _upgrade_in_a_process(empty_database), range(4)))
    assert execute(empty_database, "SELECT version_num FROM alembic_version") == [(migrations.head(),)]


def _upgrade_in_a_process(url: str) -> None:
    import subprocess
    import sys

    code = "import sys; from backend import migrations; migrations.upgrade(sys.argv[1], 5)"
    subprocess.run([sys.executable, "-c", code, url], check=True)


def test_an_unreachable_database_is_one_sentence() -> None:
    with pytest.raises(StartError, match=r"^DATABASE_URL: no connection within 0.1 s: .*refused") as caught:
        migrations.upgrade("postgresql://u:hunter2@127.0.0.1:1/d", wait_seconds=0.1)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value"),
    [("title", "x" * 201), ("description", "x" * 1001), ("status", "done"), ("priority", "urgent"), ("user_id", None)],
)
def test_the_database_enforces_what_the_models_promise(database_url: str, column: str, value: object) -> None:
    row = {"user_id": "ann", "title": "x", "status": "pending", "priority": "low", column: value}
    names, values = ", ".join(row), ", ".join(["%s"] * len(row))
    statement = f"INSERT INTO task (id, tags, {names}) VALUES (gen_random_uuid(), '{{}}', {values})"
    # Where whoever runs the tests is no superuser, the policy binds them too, and may be the first to object.
    with pytest.raises((psycopg2.DataError, psycopg2.IntegrityError, psycopg2.errors.InsufficientPrivilege)) as caught:
        execute(database_url, f"SET app.user_id = 'ann'; {statement}", *row.values())
    assert column == "user_id" or not isinstance(caught.value, psycopg2.errors.InsufficientPrivilege)
