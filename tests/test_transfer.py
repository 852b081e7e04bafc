"""Export and import: all of a user's data out and in again, once, and as nobody else's."""

import json
import socket
import tempfile
import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.exceptions import RequestValidationError

from backend.export_import import EXPORTED
from backend.transfer import Incoming
from tests.conftest import Log, execute, serving, settings, sign
from tests.helpers import FULL, assert_problem, create, user
from tests.project import wait_until

JSON = {"Content-Type": "application/json"}


def task_of(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": str(uuid.UUID(int=number + (7 << 76) + (8 << 60))), "title": f"Task {number}", **fields}


def load(client: httpx.Client, document: object) -> httpx.Response:
    return client.post("/api/import", json=document)


def all_tasks(client: httpx.Client) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = client.get("/api/tasks", params={"limit": 500}).json()
    return tasks


def new_rows(imported: httpx.Response) -> dict[str, int]:
    """What an import says of tasks and tags, and of any other table if there is something."""
    assert imported.status_code == 200, imported.text
    return {name: number for name, number in imported.json().items() if number or name in ("tasks", "tags")}


def test_an_export_taken_back_by_another_user_is_the_same_but_for_its_owner(
    ann: httpx.Client, bob: httpx.Client
) -> None:
    full = create(ann, **FULL)
    ann.patch(f"/api/tasks/{create(ann)['id']}", json={"status": "completed"})
    ann.put("/api/tags/home", json={"color": "#123456"})
    ann.put("/api/tags/unused", json={"color": "#654321"})

    exported = ann.get("/api/export")
    document = exported.json()
    assert list(document) == ["version", "exported_at", *sorted(part.name for part in EXPORTED)]
    assert document["tags"] == [{"name": "home", "color": "#123456"}, {"name": "unused", "color": "#654321"}]

    imported = bob.post("/api/import", content=exported.content, headers=JSON)
    assert new_rows(imported) == {"tasks": 2, "tags": 2}
    owner = bob.get("/api/me").json()["user_id"]
    assert all_tasks(bob) == [{**task, "user_id": owner} for task in all_tasks(ann)]
    assert bob.get("/api/tags").json() == ann.get("/api/tags").json()

    # The offset that a recurrence rule is read in came along.
    for client in (ann, bob):
        client.patch(f"/api/tasks/{full['id']}", json={"status": "completed"})
    assert sorted(task["due_date"] or "" for task in all_tasks(bob)) == sorted(
        task["due_date"] or "" for task in all_tasks(ann)
    )


def test_an_import_is_done_once_and_leaves_alone_what_is_there(ann: httpx.Client) -> None:
    task = create(ann, title="Mine", tags=["home"])
    ann.put("/api/tags/home", json={"color": "#123456"})
    document = ann.get("/api/export").json()
    ann.patch(f"/api/tasks/{task['id']}", json={"title": "Changed since"})
    ann.put("/api/tags/home", json={"color": "#000000"})
    document["tasks"].append(task_of(1))
    assert new_rows(load(ann, document)) == {"tasks": 1, "tags": 0}
    assert new_rows(load(ann, document)) == {"tasks": 0, "tags": 0}
    assert {task["title"] for task in all_tasks(ann)} == {"Changed since", "Task 1"}
    assert ann.get("/api/tags").json() == [{"name": "home", "color": "#000000", "tasks": 1}]


def test_the_owner_is_always_the_caller(ann: httpx.Client, bob: httpx.Client) -> None:
    theirs = create(ann, title="Ann's")
    owner = ann.get("/api/me").json()["user_id"]
    document = {"version": 1, "tasks": [task_of(1, user_id=owner), {"id": theirs["id"], "title": "Bob's"}]}
    assert new_rows(load(bob, document)) == {"tasks": 2, "tags": 0}
    assert all_tasks(ann) == [theirs]
    assert {task["user_id"] for task in all_tasks(bob)} == {bob.get("/api/me").json()["user_id"]}


def test_the_same_import_ten_times_at_once_makes_each_task_once(ann: httpx.Client) -> None:
    document = {"version": 1, "tasks": [task_of(number) for number in range(100)]}
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: load(ann, document), range(10)))
    assert [answer.status_code for answer in answers] == [200] * 10
    assert sum(answer.json()["tasks"] for answer in answers) == len(all_tasks(ann)) == 100


def test_a_history_that_is_missing_or_at_odds_with_the_status_is_made_up(ann: httpx.Client) -> None:
    moment = "2020-01-01T00:00:00+00:00"
    document = {
        "version": 1,
        "tasks": [
            task_of(1, status="completed", updated_at=moment, created_at=moment),
            task_of(2, completed_at=moment),
            task_of(3),
            task_of(3, title="the same id again"),
        ],
    }
    assert new_rows(load(ann, document)) == {"tasks": 3, "tags": 0}
    tasks = {task["title"]: task for task in all_tasks(ann)}
    assert tasks["Task 1"]["completed_at"] == moment
    assert tasks["Task 2"]["completed_at"] is None
    assert tasks["Task 3"]["version"] == 1
    assert tasks["Task 3"]["created_at"] == tasks["Task 3"]["updated_at"]


def test_more_than_one_page_is_exported_whole(ann: httpx.Client, bob: httpx.Client) -> None:
    for count in (0, 500, 1203):
        document = {"version": 1, "tasks": [task_of(number) for number in range(count)]}
        assert load(ann, document).status_code == 200
        exported = ann.get("/api/export").json()["tasks"]
        assert [task["title"] for task in exported] == [f"Task {number}" for number in range(count)]
    assert new_rows(load(bob, ann.get("/api/export").json())) == {"tasks": 1203, "tags": 0}


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ([], "body"),
        ({}, "version"),
        ({"version": 2}, "version"),
        ({"version": 1, "task": []}, "task"),
        ({"version": 1, "tasks": {}}, "tasks"),
        ({"version": 1, "tasks": [{"title": "no id"}]}, "tasks.0.id"),
        ({"version": 1, "tasks": [task_of(1), task_of(2, status="done")]}, "tasks.1.status"),
        ({"version": 1, "tasks": [task_of(1, title="nul \0")]}, "tasks.0.title"),
        ({"version": 1, "tasks": [task_of(1, version=0)]}, "tasks.0.version"),
        ({"version": 1, "tasks": [task_of(1, due_date="2030-01-01T00:00:00")]}, "tasks.0.due_date"),
        ({"version": 1, "tasks": [task_of(1, recurrence_rule="FREQ=DAILY")]}, "recurrence_rule"),
        ({"version": 1, "tags": [{"name": "x"}]}, "tags.0.color"),
        ({"version": 1, "tags": [{"name": "x", "color": "red"}]}, "tags.0.color"),
    ],
)
def test_a_document_that_is_not_one_is_refused_whole_and_says_where(
    ann: httpx.Client, document: object, field: str
) -> None:
    answer = load(ann, document)
    assert_problem(answer, 422, "VALIDATION_ERROR")
    assert answer.json()["field"] == field
    assert all_tasks(ann) == []


def test_what_is_no_json_is_refused(ann: httpx.Client) -> None:
    for content in (b"", b"{", b'{"version": 1', b"\xff\xfe", b"[" * 50_000):
        answer = ann.post("/api/import", content=content, headers=JSON)
        assert answer.status_code in (400, 422), content
    assert_problem(ann.post("/api/import", content=b"{}"), 415, "UNSUPPORTED_MEDIA_TYPE")


def test_an_import_may_be_larger_than_other_bodies_and_has_a_limit_of_its_own(
    database_url: str, client_of: Callable[..., httpx.Client]
) -> None:
    document = json.dumps({"version": 1, "tasks": [task_of(number) for number in range(100)]}).encode()
    token = {"Authorization": f"Bearer {sign({'sub': f'importer-{uuid.uuid4()}'})}", **JSON}
    sizes = {"max_body_bytes": 1024, "max_import_bytes": len(document)}
    with serving(settings(database_url=database_url, **sizes)) as url:
        for path in ("/api/import", "/api/v1/import"):
            assert httpx.post(f"{url}{path}", content=document, headers=token).status_code == 200
            assert_problem(httpx.post(f"{url}{path}", content=document + b" ", headers=token), 413, "BODY_TOO_LARGE")


def large(tasks: int) -> Iterator[bytes]:
    """A document with tasks of more than a thousand bytes, which takes several statements; the version comes last."""
    yield b'{"tasks": ['
    for number in range(tasks):
        yield (b"," if number else b"") + json.dumps(task_of(number, description="x" * 1000)).encode()
    yield b'], "version": 1}'


def test_an_import_of_any_size_is_one_change_and_is_undone_as_one(ann: httpx.Client) -> None:
    imported = ann.post("/api/import", content=large(10_000), headers=JSON)  # 11 MB, of a length that nobody said
    assert new_rows(imported) == {"tasks": 10_000, "tags": 0}
    seq = int(imported.headers["Change"])
    assert ann.get("/api/changes").json()["seq"] == seq
    assert new_rows(load(ann, {"version": 1, "tags": [{"name": f"{n}", "color": None} for n in range(10_001)]})) == {
        "tasks": 0,
        "tags": 10_001,
    }
    changed = ann.get("/api/changes", params={"since": seq - 1}).json()
    assert {(one["resource"], one["row"]["version"]) for one in changed["changes"] if one["resource"] == "tasks"} == {
        ("tasks", 1)
    }
    assert len(changed["changes"]) in (10_000, 20_001)
    assert ann.post(f"/api/changes/{seq}/undo").status_code == 200
    assert all_tasks(ann) == []


def test_a_client_in_step_gets_a_large_import_of_which_no_statistics_know(
    ann: httpx.Client, bob: httpx.Client, database_url: str
) -> None:
    create(bob)
    execute(database_url, "ANALYZE change")
    assert (
        new_rows(load(ann, {"version": 1, "tasks": [task_of(number) for number in range(20_000)]}))["tasks"] == 20_000
    )
    changed = ann.get("/api/changes", params={"since": 0})
    assert changed.status_code == 200, changed.text
    assert len(changed.json()["changes"]) == 20_000


def test_what_it_takes_to_read_a_document_does_not_grow_with_it() -> None:
    def peak(tasks: int) -> int:
        incoming = Incoming(65536)
        tracemalloc.start()
        for piece in large(tasks):
            incoming.feed(piece)
        incoming.end()
        rows = 0
        while batch := incoming.batch("tasks"):
            rows += len(json.loads(batch))
        assert rows == tasks
        incoming.close()
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(10)  # what is made once
    small, larger = peak(2_000), peak(8_000)
    assert larger < small * 1.2


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_document_means_the_same_however_it_is_cut(size: int) -> None:
    document = b' {"tags" : [ ] ,"tasks":[%s , %s],\n"exported_at": null, "version":1 } ' % (
        json.dumps(task_of(1, title='"]}, \\ é\u2028!', version=12)).encode(),
        json.dumps(task_of(2, title="é", tags=["[", "{"]), ensure_ascii=False).encode(),
    )
    incoming = Incoming(65536)
    for start in range(0, len(document), size):
        incoming.feed(document[start : start + size])
    incoming.end()
    rows = json.loads(incoming.batch("tasks") or "")
    assert [(row["title"], row["version"]) for row in rows] == [('"]}, \\ é\u2028!', 12), ("é", 1)]
    assert incoming.batch("tasks") is incoming.batch("tags") is None
    incoming.close()


@pytest.mark.parametrize(
    "content",
    [
        b'{"version": 1 1}',
        b'{"version": 1,}',
        b'{"version": 1, tasks: []}',
        b'{"version": 1, "tasks": [,]}',
        b'{"version": 1, "tasks": [{}}',
        b'{"version": 1, "tasks": []} {}',
        b'{"version": 1, "tasks": [] x',
        b'{"version": 1, "tasks" []}',
        b'{"version": 1, "tasks": ["\xff"]}',
        b'{"version": 1, "tasks": ["\xc3',
        b'{"version": 1, "tasks": [{"title": "\\ud800"}]}',
        b'{"version": 1, "tasks": [' + b"1" * 5000 + b"]}",
        b'{"version": 1, "tasks": ["' + b"x" * 5_000_000 + b'"]}',
    ],
)
def test_what_is_no_json_somewhere_is_refused_whole(ann: httpx.Client, content: bytes) -> None:
    assert_problem(ann.post("/api/import", content=content, headers=JSON), 400, "INVALID_JSON")


def test_an_error_at_the_end_of_a_large_document_takes_all_of_it_back(ann: httpx.Client) -> None:
    tasks = [task_of(number, description="x" * 1000) for number in range(3000)]
    for last, field in (({"status": "done"}, "tasks.3000.status"), ({"recurrence_rule": "FREQ=DAILY"}, None)):
        answer = load(ann, {"version": 1, "tasks": [*tasks, task_of(3000, **last)]})
        assert_problem(answer, 422, "VALIDATION_ERROR")
        assert field is None or answer.json()["field"] == field
        assert all_tasks(ann) == []
        assert ann.get("/api/changes").json()["seq"] == 0
    assert new_rows(load(ann, {"version": 1, "tasks": tasks})) == {"tasks": 3000, "tags": 0}


def test_no_more_than_twenty_errors_are_named_however_many_there_are(ann: httpx.Client) -> None:
    for document in ({"version": 1, "tasks": [{}] * 100}, {f"unknown {number}": [1] for number in range(100)}):
        answer = load(ann, document)
        assert_problem(answer, 422, "VALIDATION_ERROR")
        assert len(answer.json()["errors"]) == 20


def test_a_list_that_comes_twice_is_refused(ann: httpx.Client) -> None:
    tasks = json.dumps([task_of(1)])
    answer = ann.post("/api/import", content=f'{{"version":1,"tasks":{tasks},"tasks":{tasks}}}', headers=JSON)
    assert_problem(answer, 422, "VALIDATION_ERROR")
    assert answer.json()["errors"] == [{"field": "tasks", "message": "must be there once"}]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="which files are open is known on Linux")
def test_a_client_that_is_slow_keeps_nobody_waiting_and_one_that_goes_away_leaves_nothing(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    token = sign({"sub": f"slow-{uuid.uuid4()}"})
    body = b"".join(large(2000))
    head = f"POST /api/import HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {token}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"

    def files() -> int:
        """How many files are open there; none of them has a name any more."""
        assert list(tmp_path.iterdir()) == []
        found = 0
        for one in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):
                found += str(one.readlink()).startswith(str(tmp_path))
        return found

    with (
        serving(settings(database_url=database_url, db_pool_size=1)) as url,
        httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as client,
    ):
        with socket.create_connection((httpx.URL(url).host, httpx.URL(url).port or 0)) as slow:
            slow.sendall(head.encode() + body[: len(body) * 3 // 4])
            wait_until(lambda: files() > 0)
            create(client, title="Meanwhile")
        wait_until(lambda: files() == 0)
        assert [task["title"] for task in all_tasks(client)] == ["Meanwhile"]


def test_where_there_is_no_room_for_an_import_the_answer_says_so(
    logged_api: str, log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    headers = {**user(), **JSON}
    answer = httpx.post(f"{logged_api}/api/import", content=b"".join(large(2000)), headers=headers)
    assert_problem(answer, 503, "OVERLOADED")
    assert answer.headers["Retry-After"] == "60"
    assert [line["error"] for line in log.lines("import_not_kept")] == ["No such file or directory"]


@pytest.mark.parametrize(
    "row",
    [
        {"x" * 200: 1},
        {str(number): number for number in range(10_000)},
        {"recurrence_rule": "FREQ=WEEKLY;BYDAY=" + "MO," * 60_000 + "MO", "due_date": "2030-01-01"},
        {"tags": [[]] * 40_000},
    ],
    ids=["a long name", "many names", "a long rule", "many tags"],
)
def test_a_row_that_is_all_wrong_takes_no_more_memory_than_it_has(row: dict[str, Any]) -> None:
    document = json.dumps({"version": 1, "tasks": [task_of(1) | row]}).encode()
    incoming = Incoming(65536)
    tracemalloc.start()
    incoming.feed(document)
    with pytest.raises(RequestValidationError) as refused:
        incoming.end()
    assert tracemalloc.get_traced_memory()[1] < 60 * 1024 * 1024
    tracemalloc.stop()
    assert len(str(refused.value.errors())) < 20_000
    incoming.close()


@pytest.mark.parametrize(
    "content",
    [
        b'{"' + b"n" * 70_000 + b'": 1}',
        b'{"version": "' + b"v" * 70_000 + b'"}',
        b'{"version": 1, "tasks": [{"title": "' + b"t" * 300_000 + b'"}]}',
        b'["' + b"x" * 70_000 + b'"]',
    ],
    ids=["a name", "a value", "a row", "no object"],
)
def test_what_is_longer_than_any_export_has_it_is_refused(ann: httpx.Client, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert_problem(ann.post("/api/import", content=content, headers=headers), 400, "INVALID_JSON")


def test_the_version_is_a_number(ann: httpx.Client) -> None:
    assert_problem(load(ann, {"version": True, "tasks": []}), 422, "VALIDATION_ERROR")


def test_a_next_occurrence_that_an_import_names_is_one_of_a_completed_task(ann: httpx.Client) -> None:
    other = create(ann, title="Precious")
    task = task_of(1, status="pending", next_id=other["id"])
    itself = task_of(2, status="completed", next_id=str(task_of(2)["id"]))
    assert new_rows(load(ann, {"version": 1, "tasks": [task, itself]}))["tasks"] == 2
    assert ann.patch("/api/tasks?status=pending&status=completed", json={"status": "in_progress"}).json() == {
        "updated": 3
    }
    assert len(all_tasks(ann)) == 3
