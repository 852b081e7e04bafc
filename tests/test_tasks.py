"""What a user can do with their tasks, through HTTP."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.helpers import FULL, assert_problem, create, requests_for

TASK_FIELDS = [
    "id",
    "user_id",
    "title",
    "description",
    "status",
    "priority",
    "due_date",
    "time_zone",
    "recurrence_rule",
    "tags",
    "version",
    "created_at",
    "updated_at",
    "completed_at",
]


def test_a_created_task_has_its_defaults_and_can_be_read_where_location_says(ann: httpx.Client) -> None:
    created = ann.post("/api/tasks", json={"title": "Buy milk"})
    assert created.status_code == 201
    assert created.headers["ETag"] == '"1"'
    task = created.json()
    assert list(task) == TASK_FIELDS
    assert UUID(task["id"]).version == 7
    assert created.headers["Location"] == f"/api/tasks/{task['id']}"
    defaults: dict[str, Any] = {
        "title": "Buy milk",
        "status": "pending",
        "priority": "medium",
        "tags": [],
        "version": 1,
    }
    defaults |= dict.fromkeys(("description", "due_date", "time_zone", "recurrence_rule", "completed_at"))
    assert defaults.items() <= task.items()
    assert datetime.fromisoformat(task["created_at"]).utcoffset() is not None
    assert task["created_at"] == task["updated_at"]

    read = ann.get(created.headers["Location"])
    assert read.status_code == 200
    assert read.json() == task
    assert read.headers["ETag"] == '"1"'


def test_a_task_keeps_everything_it_was_given(ann: httpx.Client) -> None:
    task = create(ann, **FULL)
    assert {**FULL, "due_date": "2030-01-31T08:00:00+00:00"}.items() <= task.items()


def test_the_owner_is_the_subject_of_the_token(client_of: Callable[..., httpx.Client]) -> None:
    assert create(client_of("O'Brien \\ 100% 你好"))["user_id"] == "O'Brien \\ 100% 你好"


@pytest.mark.parametrize(
    "text",
    [
        "Grüße, 你好, שלום, مرحبا",
        "👩‍👩‍👧‍👦 🇪🇺 \u00e9 \u200f\u2066x\u2069",
        "'; DROP TABLE task; -- %(title)s %s {0} \\x00 \\u0000",
        'quotes " and \\ and \t tab and \n line',
        "\ufeff\u00a0\uffff\U0010ffff end",
    ],
)
def test_text_comes_back_as_it_was_sent(ann: httpx.Client, text: str) -> None:
    task = create(ann, title=text.strip(), description=text)
    assert task["title"] == text.strip()
    assert ann.get(f"/api/tasks/{task['id']}").json()["description"] == text


def test_the_list_has_the_newest_first_and_at_most_limit(ann: httpx.Client) -> None:
    assert ann.get("/api/tasks").json() == []
    made = [create(ann, title=f"Task {number}") for number in range(5)]
    assert ann.get("/api/tasks").json() == made[::-1]
    assert ann.get("/api/tasks", params={"limit": 2}).json() == made[:2:-1]


def test_the_list_has_a_hundred_tasks_unless_asked_for_more(ann: httpx.Client) -> None:
    for number in range(101):
        create(ann, title=f"Task {number}")
    assert len(ann.get("/api/tasks").json()) == 100
    assert len(ann.get("/api/tasks", params={"limit": 500}).json()) == 101


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=-1", "limit=x", "limit=", "limits=5", "color=red"])
def test_a_query_that_is_not_understood_is_refused(ann: httpx.Client, query: str) -> None:
    answer = ann.get(f"/api/tasks?{query}")
    assert_problem(answer, 422, "VALIDATION_ERROR")
    assert answer.json()["field"] == query.partition("=")[0]


def test_put_resets_what_it_leaves_out(ann: httpx.Client) -> None:
    task = create(ann, **FULL)
    replaced = ann.put(f"/api/tasks/{task['id']}", json={"title": "Only this"})
    assert replaced.status_code == 200
    assert replaced.headers["ETag"] == '"2"'
    expected = create(ann, title="Only this")
    for name in ("id", "version", "created_at", "updated_at"):
        expected[name] = replaced.json()[name]
    assert replaced.json() == expected
    assert replaced.json()["created_at"] == task["created_at"]
    assert replaced.json()["updated_at"] > task["updated_at"]
    assert ann.get(f"/api/tasks/{task['id']}").json() == replaced.json()


@pytest.mark.parametrize("name", FULL)
def test_patch_changes_only_what_it_names(ann: httpx.Client, name: str) -> None:
    task = create(ann, due_date="2029-01-01T00:00:00Z")
    patched = ann.patch(f"/api/tasks/{task['id']}", json={name: FULL[name]})
    assert patched.status_code == 200
    assert patched.headers["ETag"] == '"2"'
    changed = {key for key, value in patched.json().items() if value != task[key]}
    assert changed == {name, "version", "updated_at"}
    assert ann.get(f"/api/tasks/{task['id']}").json() == patched.json()


def test_patch_clears_with_null_what_may_be_null(ann: httpx.Client) -> None:
    task = create(ann, **FULL)
    patched = ann.patch(
        f"/api/tasks/{task['id']}", json={"description": None, "due_date": None, "recurrence_rule": None}
    ).json()
    assert [patched[name] for name in ("description", "due_date", "recurrence_rule")] == [None] * 3


@pytest.mark.parametrize("name", ["title", "status", "priority", "tags"])
def test_null_is_refused_where_a_value_must_be(ann: httpx.Client, name: str) -> None:
    task = create(ann)
    for answer in (
        ann.patch(f"/api/tasks/{task['id']}", json={name: None}),
        ann.put(f"/api/tasks/{task['id']}", json={"title": "x", name: None}),
        ann.post("/api/tasks", json={"title": "x", name: None}),
    ):
        assert_problem(answer, 422, "VALIDATION_ERROR")
        assert answer.json()["field"] == name
    assert ann.get(f"/api/tasks/{task['id']}").json() == task


def test_completed_at_follows_the_status(ann: httpx.Client) -> None:
    path = f"/api/tasks/{create(ann)['id']}"
    completed = ann.patch(path, json={"status": "completed"}).json()
    assert completed["completed_at"] == completed["updated_at"]
    again = ann.put(path, json={"title": "Renamed", "status": "completed"}).json()
    assert again["completed_at"] == completed["completed_at"]
    assert ann.patch(path, json={"title": "Renamed again"}).json()["completed_at"] == completed["completed_at"]
    assert ann.patch(path, json={"status": "pending"}).json()["completed_at"] is None
    assert create(ann, status="completed")["completed_at"] is not None


def test_a_deleted_task_is_gone(ann: httpx.Client) -> None:
    path = f"/api/tasks/{create(ann)['id']}"
    deleted = ann.delete(path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert ann.get(path).status_code == 404
    assert ann.delete(path).status_code == 404
    assert ann.get("/api/tasks").json() == []


def test_another_users_task_does_not_exist(ann: httpx.Client, bob: httpx.Client) -> None:
    task = create(ann)
    for method, path, body in requests_for(f"/api/tasks/{task['id']}"):
        theirs = bob.request(method, path, json=body, headers={"X-Request-ID": "same"})
        missing = bob.request(method, f"/api/tasks/{uuid4()}", json=body, headers={"X-Request-ID": "same"})
        assert_problem(theirs, 404, "TASK_NOT_FOUND")
        assert theirs.content == missing.content
    assert bob.get("/api/tasks").json() == []
    assert ann.get("/api/tasks").json() == [task]


def test_users_whose_ids_look_alike_are_two(client_of: Callable[..., httpx.Client]) -> None:
    ids = ["case-x", "CASE-X", "case-x\u200b", "case%2Dx", "case-_", "case-%"]
    for user_id in ids:
        create(client_of(user_id), title=user_id)
    for user_id in ids:
        assert [task["title"] for task in client_of(user_id).get("/api/tasks").json()] == [user_id.strip()]


def test_v1_is_the_same_api_and_keeps_its_prefix(ann: httpx.Client) -> None:
    created = ann.post("/api/v1/tasks", json={"title": "One"})
    assert created.headers["Location"] == f"/api/v1/tasks/{created.json()['id']}"
    assert ann.get(created.headers["Location"]).json() == created.json()
    assert ann.get("/api/tasks").json() == [created.json()]
    assert ann.get("/api/v1/me").json() == ann.get("/api/me").json()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", ""),
        ("title", " \t\n\u00a0 "),
        ("title", "x" * 201),
        ("title", 5),
        ("title", ["x"]),
        ("title", "nul \0 nul"),
        ("description", "x" * 1001),
        ("description", "nul \0 nul"),
        ("status", "done"),
        ("status", ""),
        ("priority", "HIGH"),
        ("due_date", "2030-02-31"),
        ("due_date", "2030-01-31T09:00:00"),
        ("due_date", "tomorrow"),
        ("due_date", 1893456000),
        ("due_date", "1893456001"),
        ("due_date", "9999-12-31T23:59:59-01:00"),
        ("due_date", "0001-01-01T00:00:00+01:00"),
        ("tags", "home"),
        ("tags", [""]),
        ("tags", ["x" * 51]),
        ("tags", ["bell \7"]),
        ("tags", ["home", "home"]),
        ("tags", ["home", " home "]),
        ("tags", [f"tag {number}" for number in range(21)]),
        ("recurrence_rule", ""),
        ("recurrence_rule", "weekly"),
        ("recurrence_rule", "FREQ=HOURLY"),
        ("recurrence_rule", "FREQ=DAILY;COUNT=some"),
        ("recurrence_rule", "FREQ=DAILY;FREQ=WEEKLY"),
        ("recurrence_rule", "FREQ=DAILY\nDTSTART:20200101T000000Z"),
        ("id", "01980000-0000-7000-8000-000000000000"),
        ("user_id", "bob"),
        ("version", "7"),
        ("nonsense", 1),
    ],
)
def test_a_bad_field_is_named_and_nothing_is_changed(ann: httpx.Client, field: str, value: object) -> None:
    task = create(ann)
    body = {"title": "x", "due_date": "2030-01-01T00:00:00Z", field: value}
    for answer in (
        ann.post("/api/tasks", json=body),
        ann.put(f"/api/tasks/{task['id']}", json=body),
        ann.patch(f"/api/tasks/{task['id']}", json=body),
    ):
        assert_problem(answer, 422, "VALIDATION_ERROR")
        problem = answer.json()
        assert problem["field"].partition(".")[0] == field
        assert problem["detail"].startswith(f"{problem['field']} ")
        assert problem["errors"][0]["field"] == problem["field"]
        # Nothing of what was sent comes back, but for the name of an unknown field.
        assert "nul" not in problem["detail"]
        assert str(value) not in problem["detail"].replace("2030-01-31T09:00:00Z", "") or len(str(value)) < 8
    assert ann.get("/api/tasks").json() == [task]


def test_a_lone_surrogate_is_refused(ann: httpx.Client) -> None:
    for body in (r'{"title": "\ud800"}', r'{"title": "x", "tags": ["\udfff"]}', r'{"title": "x", "\ud800": 1}'):
        answer = ann.post("/api/tasks", content=body, headers={"Content-Type": "application/json"})
        assert_problem(answer, 422, "VALIDATION_ERROR")


def test_every_bad_field_is_named_at_once(ann: httpx.Client) -> None:
    answer = ann.post("/api/tasks", json={"title": "", "priority": "urgent", "extra": 1})
    assert {error["field"] for error in answer.json()["errors"]} == {"title", "priority", "extra"}


def test_the_longest_fields_are_taken(ann: httpx.Client) -> None:
    longest = {
        "title": "🎉" * 200,
        "description": "🎉" * 1000,
        "tags": [f"{number:>02}" + "🎉" * 48 for number in range(20)],
    }
    assert longest.items() <= create(ann, **longest).items()


def test_a_recurrence_rule_needs_a_due_date_in_the_body_or_on_the_task(ann: httpx.Client) -> None:
    weekly = {"recurrence_rule": "FREQ=WEEKLY"}
    without = create(ann)
    for answer in (
        ann.post("/api/tasks", json={"title": "x", **weekly}),
        ann.patch(f"/api/tasks/{without['id']}", json=weekly),
    ):
        assert_problem(answer, 422, "VALIDATION_ERROR")
        assert answer.json()["field"] == "recurrence_rule"
    dated = create(ann, due_date="2030-01-01T00:00:00Z")
    assert ann.patch(f"/api/tasks/{dated['id']}", json=weekly).status_code == 200
    assert_problem(ann.patch(f"/api/tasks/{dated['id']}", json={"due_date": None}), 422, "VALIDATION_ERROR")


@pytest.mark.parametrize("path_id", ["1", "none", "0198-", "%00", "..", "' OR 1=1 --", "🎉"])
def test_a_path_id_that_is_no_uuid_is_a_clear_4xx(ann: httpx.Client, path_id: str) -> None:
    answer = ann.get(f"/api/tasks/{path_id}")
    assert answer.status_code in (404, 422)
    assert answer.json()["code"] in ("NOT_FOUND", "VALIDATION_ERROR")


def test_me_says_who_the_token_is_for(client_of: Callable[..., httpx.Client]) -> None:
    me = client_of("carol").get("/api/me")
    assert me.status_code == 200
    assert list(me.json()) == ["user_id", "email", "name", "role", "expires_at"]
    assert me.json()["user_id"] == "carol"
