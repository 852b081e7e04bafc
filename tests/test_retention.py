"""The change log is kept so long and no longer, and what is left of it has no gap."""

from typing import Any

import httpx
import psycopg2
import pytest

from backend import retention
from backend.retention import shorten
from tests.conftest import database, execute, serving, settings
from tests.helpers import assert_problem, create, path_of
from tests.project import wait_until


class Aged:
    """A user with a task and ten changes of it, the first of them the oldest."""

    def __init__(self, client: httpx.Client, url: str, days: int = 100) -> None:
        self.client, self.url = client, url
        self.task = create(client)
        self.user_id = self.task["user_id"]
        for number in range(9):
            client.patch(path_of(self.task), json={"title": str(number)}).raise_for_status()
        self.age(f"{days} * interval '1 day' + (20 - seq) * interval '1 minute'")

    def age(self, how_old: str, seqs: str = "true") -> None:
        self.run(f"UPDATE change SET at = now() - ({how_old}) WHERE user_id = '{self.user_id}' AND {seqs}")

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        return execute(self.url, f"SET app.user_id = '{self.user_id}'; {statement}")

    def rows(self) -> list[tuple[int, bool]]:
        """Return each seq that is left, and whether it says what the row was."""
        query = f"SELECT seq, before IS NOT NULL FROM change WHERE user_id = '{self.user_id}' ORDER BY seq"
        return [(seq, has_before) for seq, has_before in self.run(query)]


@pytest.fixture
def aged(ann: httpx.Client, database_url: str) -> Aged:
    return Aged(ann, database_url)


async def test_what_is_older_than_the_history_goes_and_the_newest_stays_without_what_was_before(aged: Aged) -> None:
    async with database(aged.url, pool_size=1) as db:
        await shorten(db, 200)
        assert aged.rows() == [(1, False), *((seq, True) for seq in range(2, 11))]
        await shorten(db, 90)
    assert aged.rows() == [(10, False)]
    assert aged.client.get("/api/changes").json()["seq"] == 10
    assert_problem(aged.client.get("/api/changes?since=8"), 410, "CHANGES_NOT_KEPT")
    assert [row["id"] for row in aged.client.get("/api/changes?since=9").json()["changes"]] == [aged.task["id"]]
    assert_problem(aged.client.post("/api/changes/10/undo"), 410, "CHANGES_NOT_KEPT")
    [entry] = aged.client.get(f"{path_of(aged.task)}/history").json()
    assert (entry["seq"], entry["changes"]) == (10, None)
    assert aged.client.patch(path_of(aged.task), json={"title": "on"}).headers["Change"] == "11", "it counts on"


@pytest.mark.parametrize("batch", [1, 3, 500])
async def test_only_what_is_old_goes_in_batches_of_any_size(
    aged: Aged, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", batch)
    monkeypatch.setattr(retention, "SECONDS_BETWEEN_BATCHES", 0)
    aged.age("interval '1 minute'", "seq > 6")
    async with database(aged.url, pool_size=1) as db:
        await shorten(db, 90)
    assert aged.rows() == [(seq, True) for seq in range(7, 11)]
    assert len(aged.client.get("/api/changes?since=6").json()["changes"]) == 1


@pytest.mark.parametrize("days", [0, 1, 6])
async def test_a_short_history_still_lets_a_client_catch_up_for_a_week(
    ann: httpx.Client, database_url: str, days: int
) -> None:
    aged = Aged(ann, database_url, days=days)
    async with database(database_url, pool_size=1) as db:
        await shorten(db, days)
    assert aged.rows() == [(seq, False) for seq in range(1, 11)]
    aged.age("interval '7 days'", "seq < 4")
    async with database(database_url, pool_size=1) as db:
        await shorten(db, days)
    assert aged.rows() == [(seq, False) for seq in range(4, 11)]


async def test_all_that_one_request_did_goes_at_once(aged: Aged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 1)
    tasks = [{"id": f"0199f2b6-6f0e-7c59-a4a5-2c1f3f0a9f{number:02}", "title": "x"} for number in range(20)]
    aged.client.post("/api/import", json={"version": 1, "tasks": tasks}).raise_for_status()
    create(aged.client)
    aged.age("interval '100 days'", "seq = 11")
    async with database(aged.url, pool_size=1) as db:
        await shorten(db, 90)
    assert aged.rows() == [(12, False)]


async def test_two_processes_never_do_it_at_once(aged: Aged) -> None:
    other = psycopg2.connect(aged.url)
    with other, other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [retention.LOCK])
        async with database(aged.url, pool_size=1) as db:
            await shorten(db, 90)
            assert len(aged.rows()) == 10
            other.rollback()
            await shorten(db, 90)
    other.close()
    assert len(aged.rows()) == 1


def test_the_process_does_it_by_itself(aged: Aged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "SECONDS_BEFORE_FIRST_PASS", 0)
    with serving(settings(database_url=aged.url)):
        wait_until(lambda: len(aged.rows()) == 1)


async def test_it_holds_no_lock_that_a_write_would_wait_for(aged: Aged) -> None:
    """While a pass stands still in the middle of its work, the user goes on writing."""
    other = psycopg2.connect(aged.url)
    with other, other.cursor() as cursor:
        values = {"after": "-infinity", "upto": "infinity", "gone": "now", "lock": retention.LOCK}
        cursor.execute(retention.SHORTEN.replace("SET LOCAL ROLE task_keeper;", ""), values)
        assert aged.client.patch(path_of(aged.task), json={"title": "meanwhile"}).headers["Change"] == "11"
        assert len(aged.client.get("/api/changes?since=10").json()["changes"]) == 1
        other.rollback()
    other.close()
