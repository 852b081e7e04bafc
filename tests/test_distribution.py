"""What `migrate` does on Citus, where TEST_DATABASE_URL names a coordinator."""

import uuid

import httpx
import pytest

from backend import migrations
from tests.conftest import execute, serving, settings, sign, spread, workers


@pytest.fixture
def nodes(postgres: str) -> list[str]:
    if not (others := workers(postgres)):
        pytest.skip("TEST_DATABASE_URL is no coordinator of Citus")
    return [postgres, *others]


def test_migrate_distributes_the_tables_of_users_by_their_owner_and_lets_the_roles_in(
    nodes: list[str], database_url: str
) -> None:
    assert nodes
    distributed = "SELECT table_name::text, distribution_column, colocation_id FROM citus_tables ORDER BY 1"
    rows = execute(database_url, distributed)
    assert [row[:2] for row in rows] == [(name, "user_id") for name in ("change", "tag", "task")]
    assert len({row[2] for row in rows}) == 1
    can_log_in = "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname IN ('task_api', 'task_keeper') ORDER BY 1"
    for node in nodes:
        assert execute(node, can_log_in) == [("task_api", True), ("task_keeper", True)]


def test_the_rows_that_are_there_are_moved_and_stay_those_of_their_owners(nodes: list[str]) -> None:
    name = f"better_tasks_test_{uuid.uuid4().hex[:12]}"
    urls = [httpx.URL(node).copy_with(path=f"/{name}") for node in nodes]
    coordinator = str(urls[0])
    try:
        for node in nodes:
            execute(node, f"CREATE DATABASE {name}")
        migrations.upgrade(coordinator, wait_seconds=5)  # before Citus is there
        headers = {user: {"Authorization": f"Bearer {sign({'sub': user})}"} for user in ("ann", "bob")}
        with serving(settings(database_url=coordinator)) as url:
            for user, header in headers.items():
                body = {"title": f"{user}'s", "tags": ["home"]}
                httpx.post(f"{url}/api/tasks", json=body, headers=header).raise_for_status()
        spread(coordinator, urls[1:])
        migrations.upgrade(coordinator, wait_seconds=5)
        assert execute(coordinator, "SELECT count(*) FROM citus_tables") == [(3,)]
        assert execute(coordinator, "SELECT bool_and(relforcerowsecurity) FROM pg_class WHERE relname = 'task'") == [
            (True,)
        ]
        with serving(settings(database_url=coordinator)) as url:
            for user, header in headers.items():
                found = httpx.get(f"{url}/api/tasks", headers=header).raise_for_status().json()
                assert [task["title"] for task in found] == [f"{user}'s"]
                history = httpx.get(f"{url}/api/tasks/{found[0]['id']}/history", headers=header).raise_for_status()
                assert [entry["action"] for entry in history.json()] == ["created"]
    finally:
        for node in nodes:
            execute(node, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
