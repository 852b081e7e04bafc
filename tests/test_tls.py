"""TLS to the database, when its URL asks for it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import psycopg2
import pytest

from backend import migrations
from tests.conftest import execute, serving, settings, sign
from tests.helpers import assert_problem, create
from tests.servers import Debian15


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Path]]:
    """The URL of a server that takes nobody but over TLS with a password, and its certificate."""
    with tempfile.TemporaryDirectory(prefix="better-tasks-") as folder:
        path = Path(folder)
        with Debian15(path, tls=True).running() as url:
            migrations.upgrade(with_password(url, "sslmode=require"), wait_seconds=5)
            yield url, path / "server.crt"


def with_password(url: str, query: str) -> str:
    return f"{url.replace('postgres@', 'postgres:hunter2@')}?{query}"


@pytest.mark.parametrize(
    "query",
    ["sslmode=require", "sslmode=require&channel_binding=require", "sslmode=verify-full&sslrootcert={certificate}"],
)
def test_the_connection_is_as_safe_as_the_url_asks(server: tuple[str, Path], query: str) -> None:
    url = with_password(server[0], query.format(certificate=quote(str(server[1]), safe="")))
    token = {"Authorization": f"Bearer {sign({'sub': 'ann'})}"}
    with (
        serving(settings(database_url=url, db_pool_size=1)) as api,
        httpx.Client(base_url=api, headers=token) as ann,
    ):
        task = create(ann, description="x" * 1000)
        assert task in ann.get("/api/tasks").json()
        assert ann.get("/ready").json()["status"] == "ok"
        # Every connection but the one that asks is the API's.
        encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename IS NOT NULL"
        assert execute(url, encrypted) == [(True,)]


def test_a_server_that_wants_tls_is_not_spoken_to_without(server: tuple[str, Path]) -> None:
    url = with_password(server[0], "sslmode=disable")
    with pytest.raises(psycopg2.OperationalError, match="no encryption"):
        execute(url, "SELECT 1")
    with serving(settings(database_url=url, migrate_on_start=False, db_wait_seconds=0.3)) as api:
        answer = httpx.get(f"{api}/api/tasks", headers={"Authorization": f"Bearer {sign({'sub': 'ann'})}"})
        assert_problem(answer, 503, "DATABASE_UNAVAILABLE")
