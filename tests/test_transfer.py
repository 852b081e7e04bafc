"""Export and import: all of a user's data out and in again, once, and as nobody else's."""

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from backend.export_import import EXPORTED
from tests.conftest import serving, settings, sign
from tests.helpers import FULL, assert_problem, create

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
    assert exported.headers["Content-Disposition"] == 'attachment; filename="tasks.json"'
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


def test_too_many_tasks_at_once_are_refused(ann: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = load(ann, {"version": 1, "tags": [{"name": f"{n}", "color": None} for n in range(10_001)]})
    assert_problem(answer, 422, "VALIDATION_ERROR")
    assert answer.json()["field"] == "tags"
