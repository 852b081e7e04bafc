"""Nothing happens unseen: every write is in the log once, in the order of the commits, with what was before."""

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg2
import pytest

from backend.database import ONCE
from backend.resources import RESOURCES
from tests.conftest import execute, overheard, serving, settings, sign
from tests.helpers import assert_problem, at_once, create, path_of, waiting_for
from tests.samples import body_of, made
from tests.wire import Wire

Rows = list[tuple[Any, ...]]
DONE = {"status": "completed"}
DAILY = {"due_date": "2030-01-01T09:00:00+01:00", "recurrence_rule": "FREQ=DAILY"}


class Log:
    """The log of one user, read behind the API's back."""

    def __init__(self, url: str, user_id: str) -> None:
        self.url, self.user_id = url, user_id

    def rows(self, columns: str, after: int = 0) -> Rows:
        statement = f"""
            SET app.user_id = %s;
            SELECT {columns} FROM change WHERE user_id = %s AND seq > %s ORDER BY seq, resource, id, action
        """
        return execute(self.url, statement, self.user_id, self.user_id, after)

    def seqs(self, after: int = 0) -> list[int]:
        return list(dict.fromkeys(row[0] for row in self.rows("seq", after)))

    def last(self) -> Rows:
        """What the last request did: each row's resource, id and action."""
        return self.rows("resource, id, action", self.seqs()[-1] - 1)


def of(client: httpx.Client) -> str:
    return str(client.get("/api/me").json()["user_id"])


@pytest.fixture
def log(ann: httpx.Client, database_url: str) -> Log:
    return Log(database_url, of(ann))


def seq(answer: httpx.Response) -> int:
    assert answer.is_success, answer.text
    return int(answer.headers["Change"])


def test_each_write_of_each_resource_is_one_seq_with_what_was_before(ann: httpx.Client, log: Log) -> None:
    for resource in RESOURCES:
        name = resource.path.rpartition("/")[2]
        row = made(ann, resource)
        path = f"{resource.path}/{row['id']}"
        body = body_of(ann, resource)
        first = log.seqs()[-1]
        assert seq(ann.patch(path, json=body)) == first + 1
        assert seq(ann.put(path, json=body)) == first + 2
        assert seq(ann.delete(path)) == first + 3
        entries = [entry for entry in log.rows("action, before, id, resource", first) if entry[2] == row["id"]]
        assert [entry[0] for entry in entries] == ["updated", "updated", "deleted"]
        assert {entry[3] for entry in entries} == {name}
        for entry, version in zip(entries, (1, 2, 3), strict=True):
            assert entry[1]["version"] == version
            assert set(row) - set(entry[1]) == set(), "every field is kept"


def test_a_request_that_makes_many_changes_is_one_seq(ann: httpx.Client, log: Log) -> None:
    tasks = [create(ann, tags=["old"], title=str(number)) for number in range(3)]
    ids = sorted(task["id"] for task in tasks)
    assert log.rows("seq, action, before") == [(1, "created", None), (2, "created", None), (3, "created", None)]

    assert seq(ann.patch("/api/tasks?tag=old", json={"priority": "high"})) == 4
    assert log.last() == [("tasks", task_id, "updated") for task_id in ids]
    assert {row[0]["priority"] for row in log.rows("before", 3)} == {"medium"}

    assert seq(ann.put("/api/tags/old", json={"color": "#111111"})) == 5
    assert log.last() == [("tags", "old", "created")]
    assert seq(ann.put("/api/tags/old", json={"color": "#222222"})) == 6
    assert log.rows("resource, id, action, before->>'color'", 5) == [("tags", "old", "updated", "#111111")]

    assert seq(ann.patch("/api/tags/old", json={"name": "new"})) == 7
    assert log.last() == [
        ("tags", "new", "created"),
        ("tags", "old", "deleted"),
        *(("tasks", task_id, "updated") for task_id in ids),
    ]
    assert seq(ann.delete("/api/tags/new")) == 8
    assert log.last() == [("tags", "new", "deleted"), *(("tasks", task_id, "updated") for task_id in ids)]

    imported = sorted(str(uuid.uuid4()) for _ in range(2))
    given = {"version": 1, "tasks": [{"id": task_id, "title": "x"} for task_id in imported]}
    assert seq(ann.post("/api/import", json=given)) == 9
    assert log.last() == [("tasks", task_id, "created") for task_id in imported]

    assert seq(ann.delete("/api/tasks?status=pending")) == 10
    assert {(resource, action) for resource, _, action in log.last()} == {("tasks", "deleted")}
    assert len(log.last()) == 5


def test_a_completion_is_one_seq_with_the_occurrences_that_it_makes(ann: httpx.Client, log: Log) -> None:
    task, plain = create(ann, **DAILY), create(ann)
    assert seq(ann.patch(path_of(plain), json=DONE)) == 3
    assert log.last() == [("tasks", plain["id"], "updated")]
    assert seq(ann.patch(path_of(task), json=DONE)) == 4
    [coming] = ann.get("/api/tasks?status=pending").json()
    assert sorted(log.last()) == sorted([("tasks", task["id"], "updated"), ("tasks", coming["id"], "created")])
    create(ann, **DAILY)
    assert seq(ann.patch("/api/tasks?status=pending", json=DONE)) == 6
    assert sorted(action for _, _, action in log.last()) == ["created", "created", "updated", "updated"]


def test_what_changes_nothing_is_not_logged_and_has_no_header(ann: httpx.Client, log: Log) -> None:
    key = {"Idempotency-Key": "k"}
    task = ann.post("/api/tasks", json={"title": "x"}, headers=key).json()
    ann.put("/api/tags/home", json={"color": "#111111"}).raise_for_status()
    path = path_of(task)
    answers = [
        ann.post("/api/tasks", json={"title": "x"}, headers=key),
        ann.patch(path, json={}),
        ann.patch("/api/tasks?status=pending", json={}),
        ann.patch("/api/tasks?status=completed", json={"title": "y"}),
        ann.delete("/api/tasks?status=completed"),
        ann.patch(path, json={"title": "y"}, headers={"If-Match": '"9"'}),
        ann.delete(path, headers={"If-Match": '"9"'}),
        ann.patch(path, json={"recurrence_rule": "FREQ=DAILY"}),
        ann.delete(f"/api/tasks/{uuid.uuid4()}"),
        ann.put("/api/tags/home", json={"color": "#111111"}),
        ann.patch("/api/tags/nowhere", json={"name": "x"}),
        ann.delete("/api/tags/nowhere"),
        ann.post("/api/import", json=ann.get("/api/export").json()),
        ann.get(path),
    ]
    assert [answer.headers.get("Change") for answer in answers] == [None] * len(answers)
    assert len(log.rows("seq")) == 2
    assert seq(ann.patch(path, json={"title": "y"})) == 3, "and no number is lost"


def test_an_entry_says_which_request_it_was_and_who_acted(api: str, database_url: str) -> None:
    def row(claims: dict[str, Any]) -> tuple[Any, ...]:
        user_id = f"user-{uuid.uuid4()}"
        token = sign({"sub": user_id, **claims})
        headers = {"Authorization": f"Bearer {token}", "X-Request-ID": "request-7"}
        httpx.post(f"{api}/api/tasks", json={"title": "x"}, headers=headers).raise_for_status()
        [entry] = Log(database_url, user_id).rows("request_id, acted_by, now() - at < interval '1 minute'")
        return entry

    assert row({}) == ("request-7", None, True)
    assert row({"act": {"sub": "helper", "act": {"sub": "before"}}}) == ("request-7", "helper", True)
    assert row({"impersonatedBy": "admin"}) == ("request-7", "admin", True)
    assert row({"impersonatedBy": None, "act": {"client_id": "x"}}) == ("request-7", None, True)


@pytest.mark.parametrize("claims", [{"act": "x\0"}, {"act": {"sub": 7}}, {"act": [1]}, {"impersonatedBy": " "}])
def test_a_token_that_hides_who_acts_is_refused(api: str, claims: dict[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {sign({'sub': 'ann', **claims})}"}
    assert_problem(httpx.get(f"{api}/api/me", headers=headers), 401, "INVALID_TOKEN")


def test_without_history_the_log_says_only_what_was_changed(database_url: str) -> None:
    user_id = f"user-{uuid.uuid4()}"
    with (
        serving(settings(database_url=database_url, history_days=0)) as url,
        httpx.Client(base_url=url, headers={"Authorization": f"Bearer {sign({'sub': user_id})}"}) as client,
    ):
        task = create(client)
        client.patch(path_of(task), json={"title": "secret"}).raise_for_status()
        client.delete(path_of(task)).raise_for_status()
    assert [row[1] for row in Log(database_url, user_id).rows("seq, before")] == [None] * 3


@pytest.mark.parametrize("method", ["PATCH", "bulk", "mixed"])
def test_writers_at_once_leave_no_gap_and_a_reader_never_misses_one(ann: httpx.Client, log: Log, method: str) -> None:
    """The reader only ever asks for what comes after the greatest seq that it has seen."""
    tasks = [create(ann, tags=[str(number % 2)], **DAILY) for number in range(6)]
    seen: list[int] = []
    ended = threading.Event()

    def read() -> None:
        while True:
            last_time = ended.is_set()
            seen.extend(log.seqs(after=seen[-1] if seen else 0))
            if last_time:
                return

    def write(number: int) -> httpx.Response:
        for turn in range(5):
            if method == "PATCH" or (method == "mixed" and number % 3 == 0):
                answer = ann.patch(path_of(tasks[(number + turn) % 6]), json={"title": f"{number} {turn}"})
            elif method == "bulk" or number % 3 == 1:
                answer = ann.patch(f"/api/tasks?tag={turn % 2}", json={"title": f"{number} {turn}"})
            else:
                answer = ann.post("/api/tasks", json={"title": f"{number} {turn}"})
            assert seq(answer) > 0
        return answer

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        at_once(10, write)
        ended.set()
        reader.result()
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) == len(tasks) + 10 * 5
    # What each entry says was before is what the entry before it had made: versions go up one by one.
    for task in tasks:
        entries = [row for row in log.rows("id, before->>'version'") if row[0] == task["id"]]
        assert [version for _, version in entries] == [None, *map(str, range(1, len(entries)))]


class Swallowed:
    """A user whose writes can be done without an answer: the connection ends after PostgreSQL has done them."""

    def __init__(self, wire: Wire, client: httpx.Client, log: Log) -> None:
        self.wire, self.client, self.log = wire, client, log
        self.tries: list[str] = []  # the queries of the last request with that part

    def send(self, method: str, path: str, part: str, **options: Any) -> httpx.Response:
        """Send a request, and swallow the answer to the query that has `part` in it."""
        before = len(self.wire.queries)
        self.wire.swallow_from = part
        answer = self.client.request(method, path, **options)
        assert self.wire.swallow_from is None, "the query was sent, and its answer was swallowed"
        self.tries = [query for query in self.wire.queries[before:] if part in query]
        return answer


@pytest.fixture
def swallowed(database_url: str) -> Iterator[Swallowed]:
    with overheard(database_url) as (wire, client):
        yield Swallowed(wire, client, Log(database_url, of(client)))


def test_a_write_that_was_done_without_an_answer_is_not_done_again(swallowed: Swallowed) -> None:
    send, log = swallowed.send, swallowed.log
    made = send("POST", "/api/tasks", "INSERT INTO task", json={"title": "x", **DAILY})
    assert (made.status_code, seq(made), "Idempotency-Replayed" in made.headers) == (201, 1, False)
    path, task = path_of(made.json()), made.json()
    matches = {"If-Match": '"1"'}
    changed = send("PATCH", path, "UPDATE task", json={"title": "y"}, headers=matches)
    assert (changed.status_code, seq(changed), changed.headers["ETag"]) == (200, 2, '"2"')
    assert changed.json() | {"updated_at": None} == task | {"title": "y", "version": 2, "updated_at": None}
    replaced = send("PUT", path, "UPDATE task", json={"title": "z", **DAILY})
    assert (seq(replaced), replaced.json()["version"]) == (3, 3)
    completed = send("PATCH", path, "INSERT INTO task", json=DONE)
    assert (seq(completed), completed.json()["status"]) == (4, "completed")
    deleted = send("DELETE", path, "DELETE FROM task", headers={"If-Match": '"4"'})
    assert (deleted.status_code, seq(deleted)) == (204, 5)
    assert ONCE.partition("(")[0] in swallowed.tries[-1]
    assert log.seqs() == [1, 2, 3, 4, 5]
    assert len(log.rows("seq")) == 6, "the completion made one more"


def test_a_write_that_may_still_be_done_is_done_once(swallowed: Swallowed, database_url: str) -> None:
    """The first try waits in the database, its connection ends, and it goes on beside the second."""
    client, wire = swallowed.client, swallowed.wire
    task = create(client)
    connection = psycopg2.connect(database_url)
    with connection, connection.cursor() as cursor, ThreadPoolExecutor(1) as pool:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [swallowed.log.user_id])
        answer = pool.submit(client.patch, path_of(task), json={"title": "y"})

        def waiting(number: int) -> Callable[[], bool]:
            return lambda: waiting_for(cursor) == number

        while not waiting(1)():
            assert not answer.done()
        wire.cut_clients()
        while not waiting(2)():
            assert not answer.done(), answer.result().text
        connection.commit()
        assert answer.result().json()["version"] == 2
    connection.close()
    assert [row[1] for row in swallowed.log.rows("seq, action")] == ["created", "updated"]


def test_a_bulk_write_without_an_answer_is_a_503_and_not_done_again(swallowed: Swallowed) -> None:
    create(swallowed.client)
    answer = swallowed.send("PATCH", "/api/tasks?status=pending", "UPDATE task", json={"title": "y"})
    assert_problem(answer, 503, "DATABASE_UNAVAILABLE")
    assert [row[0] for row in swallowed.log.rows("action")] == ["created", "updated"]


def test_an_import_whose_connection_is_lost_half_way_leaves_nothing_and_can_be_sent_again(swallowed: Swallowed) -> None:
    ids = [str(uuid.UUID(int=number)) for number in range(2000)]
    tasks = [{"id": each, "title": "x", "description": "x" * 1000} for each in ids]
    document = {"version": 1, "tasks": tasks, "tags": [{"name": "x", "color": None}]}
    for part in ("INSERT INTO tag ", "COMMIT"):
        answer = swallowed.send("POST", "/api/import", part, json=document)
        assert_problem(answer, 503, "DATABASE_UNAVAILABLE")
        assert len(swallowed.log.seqs()) == (part == "COMMIT"), "only what was done without an answer stays"
    again = swallowed.client.post("/api/import", json=document)
    assert (again.status_code, "Change" in again.headers) == (200, False)
    assert set(again.json().values()) == {0}


def test_imports_leave_half_of_the_connections_to_others(
    ann: httpx.Client, bob: httpx.Client, client_of: Callable[[], httpx.Client], database_url: str
) -> None:
    users = [create(client)["user_id"] for client in (ann, bob)]
    document = {"version": 1, "tasks": [{"id": str(uuid.UUID(int=1)), "title": "x"}]}
    with serving(settings(database_url=database_url, db_pool_size=2)) as url:
        clients = [httpx.Client(base_url=url, headers=client.headers) for client in (ann, bob, client_of())]
        *importing, reading = clients
        connection = psycopg2.connect(database_url)
        with connection, connection.cursor() as cursor, ThreadPoolExecutor(2) as pool:
            for user_id in users:
                cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [user_id])
            answers = [pool.submit(client.post, "/api/import", json=document) for client in importing]
            while not waiting_for(cursor):
                pass
            for _ in range(20):
                assert reading.get("/api/tasks").status_code == 200
            connection.commit()
            assert [answer.result().json()["tasks"] for answer in answers] == [1, 1]
        connection.close()
        for client in clients:
            client.close()


def test_the_order_holds_whatever_isolation_the_database_has(empty_database: str) -> None:
    name = empty_database.rpartition("/")[2].partition("?")[0]
    execute(empty_database, f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    with (
        serving(settings(database_url=empty_database)) as one,
        serving(settings(database_url=empty_database)) as two,
    ):
        headers = {"Authorization": f"Bearer {sign({'sub': 'ann'})}"}
        urls = [f"{url}/api/tasks" for url in (one, two)]
        answers = at_once(20, lambda n: httpx.post(urls[n % 2], json={"title": "x"}, headers=headers))
    assert sorted(map(seq, answers)) == list(range(1, 21))


def test_one_users_waiting_writes_take_no_connection_from_others(
    ann: httpx.Client, bob: httpx.Client, database_url: str
) -> None:
    task = create(ann)
    with serving(settings(database_url=database_url, db_pool_size=2)) as url:
        writing, reading = (httpx.Client(base_url=url, headers=client.headers) for client in (ann, bob))
        connection = psycopg2.connect(database_url)
        with connection, connection.cursor() as cursor, ThreadPoolExecutor(8) as pool:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [task["user_id"]])
            answers = [pool.submit(writing.patch, path_of(task), json={"title": str(n)}) for n in range(8)]
            while not waiting_for(cursor):
                pass
            for _ in range(20):
                assert reading.get("/api/tasks").status_code == 200
            assert waiting_for(cursor) == 1
            connection.rollback()
            assert {answer.result().status_code for answer in answers} == {200}
        connection.close()
        writing.close()
        reading.close()
