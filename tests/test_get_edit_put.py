"""Get, edit, put: what an answer says can be sent back, and what nobody may set is checked or passed over."""

import uuid
from typing import Any

import httpx
import pytest

from backend.resources import RESOURCES, Resource
from tests.helpers import assert_problem, create, path_of
from tests.samples import body_of, made

every_resource = pytest.mark.parametrize("resource", RESOURCES, ids=[one.path for one in RESOURCES])
each_write = pytest.mark.parametrize("method", ["PUT", "PATCH"])
TITLE = {"title": "Edited"}


@every_resource
@each_write
def test_an_answer_can_be_sent_back_as_it_is(ann: httpx.Client, resource: Resource[Any], method: str) -> None:
    row = made(ann, resource)
    path = f"{resource.path}/{row['id']}"
    answer = ann.request(method, path, json=ann.get(path).json())
    assert answer.status_code == 200, answer.text
    ours = {"version", "updated_at"}
    assert {**answer.json(), **dict.fromkeys(ours)} == {**row, **dict.fromkeys(ours)}


@each_write
@pytest.mark.parametrize(
    ("field", "message"),
    [("id", "must be that of the path"), ("user_id", "must be yours: the subject of your token")],
)
def test_an_id_or_an_owner_must_be_the_rows_own(ann: httpx.Client, method: str, field: str, message: str) -> None:
    task = create(ann)
    own = ann.request(method, path_of(task), json={**TITLE, field: task[field]})
    assert own.status_code == 200
    refused = ann.request(method, path_of(task), json={**TITLE, field: str(uuid.uuid4())})
    assert_problem(refused, 422, "VALIDATION_ERROR")
    assert refused.json()["errors"] == [{"field": field, "message": message}]
    assert ann.get(path_of(task)).json() == own.json()


@each_write
@pytest.mark.parametrize("field", ["id", "user_id", "version"])
@pytest.mark.parametrize("value", [None, [], {}, True, "x\0"])
def test_a_condition_of_another_type_is_refused(ann: httpx.Client, method: str, field: str, value: object) -> None:
    task = create(ann)
    refused = ann.request(method, path_of(task), json={**TITLE, field: value})
    assert_problem(refused, 422, "VALIDATION_ERROR")
    assert refused.json()["field"] == field
    assert ann.get(path_of(task)).json() == task


@each_write
@pytest.mark.parametrize("version", [1, 3, 0, -1, 2**31, 10**30])
@pytest.mark.parametrize("changes", [TITLE, {"title": "Edited", "status": "completed"}], ids=["edit", "completion"])
def test_a_version_is_a_condition(ann: httpx.Client, method: str, version: int, changes: dict[str, Any]) -> None:
    task = create(ann, due_date="2030-01-31T09:00:00Z", recurrence_rule="FREQ=DAILY")
    current = ann.patch(path_of(task), json={"title": "Second"}).json()
    body = {**current, **changes} if method == "PUT" else changes
    refused = ann.request(method, path_of(task), json={**body, "version": version})
    assert_problem(refused, 412, "PRECONDITION_FAILED")
    assert refused.json()["version"] == 2
    assert "2" in refused.json()["detail"]
    assert ann.get(path_of(task)).json() == current
    assert ann.request(method, path_of(task), json={**body, "version": 2}).json()["version"] == 3


@each_write
@pytest.mark.parametrize(
    ("if_match", "version", "status"),
    [('"1"', 1, 200), ("*", 1, 200), ('"7", "1"', 1, 200), ('"7"', 1, 412), ('"1"', 7, 412), ("*", 7, 412)],
)
def test_a_version_and_if_match_must_both_hold(
    ann: httpx.Client, method: str, if_match: str, version: int, status: int
) -> None:
    body = {**TITLE, "version": version}
    answer = ann.request(method, path_of(create(ann)), json=body, headers={"If-Match": if_match})
    assert answer.status_code == status


@each_write
def test_a_version_alone_changes_nothing_but_is_looked_at(ann: httpx.Client, method: str) -> None:
    task = create(ann)
    assert_problem(ann.patch(path_of(task), json={"version": 2}), 412, "PRECONDITION_FAILED")
    assert ann.patch(path_of(task), json={"version": 1}).json() == task


@each_write
@pytest.mark.parametrize("value", [None, "2001-01-01T00:00:00Z", "never", 7, {"x": []}])
def test_what_the_api_alone_sets_is_passed_over(ann: httpx.Client, method: str, value: object) -> None:
    task = create(ann)
    ignored = dict.fromkeys(("created_at", "updated_at", "completed_at"), value)
    answer = ann.request(method, path_of(task), json={**TITLE, **ignored})
    assert answer.status_code == 200
    assert (answer.json()["created_at"], answer.json()["completed_at"]) == (task["created_at"], None)


@pytest.mark.parametrize("field", ["id", "user_id", "version", "created_at", "updated_at", "completed_at"])
def test_a_new_row_and_a_change_of_many_set_none_of_them(ann: httpx.Client, field: str) -> None:
    task = create(ann)
    for answer in (
        ann.post("/api/tasks", json={**TITLE, field: task[field]}),
        ann.patch("/api/tasks?status=pending", json={**TITLE, field: task[field]}),
    ):
        assert_problem(answer, 422, "VALIDATION_ERROR")
        assert answer.json()["errors"] == [{"field": field, "message": "is not known here"}]


@each_write
def test_what_is_unknown_is_still_refused(ann: httpx.Client, method: str) -> None:
    answer = ann.request(method, path_of(create(ann)), json={**TITLE, "due_offset": 0})
    assert answer.json()["errors"] == [{"field": "due_offset", "message": "is not known here"}]


@each_write
def test_another_users_row_is_missing_whatever_the_body_says(ann: httpx.Client, bob: httpx.Client, method: str) -> None:
    task = create(ann)
    mine = bob.get("/api/me").json()["user_id"]
    answer = bob.request(method, path_of(task), json={**TITLE, "id": task["id"], "user_id": mine, "version": 1})
    assert_problem(answer, 404, "TASK_NOT_FOUND")


@every_resource
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_412_says_which_version_is_there_now(ann: httpx.Client, resource: Resource[Any], method: str) -> None:
    row = made(ann, resource)
    body = None if method == "DELETE" else body_of(ann, resource)
    answer = ann.request(method, f"{resource.path}/{row['id']}", json=body, headers={"If-Match": '"7"'})
    assert_problem(answer, 412, "PRECONDITION_FAILED")
    assert answer.json()["version"] == 1
    assert answer.json()["detail"] == (
        f"The {resource.noun} is at version 1 now, which is not the one that you name. Read it again."
    )


def test_a_tag_of_a_list_can_be_put_back(ann: httpx.Client) -> None:
    create(ann, tags=["home"])
    [tag] = ann.get("/api/tags").json()
    answer = ann.put("/api/tags/home", json={**tag, "color": "#3366ff"})
    assert (answer.status_code, answer.json()) == (200, {"name": "home", "color": "#3366ff"})
    assert ann.put("/api/tags/home", json=answer.json()).json() == answer.json()
    refused = ann.put("/api/tags/home", json={"name": "work", "color": None})
    assert_problem(refused, 422, "VALIDATION_ERROR")
    assert refused.json()["errors"] == [{"field": "name", "message": "must be that of the path"}]
    assert_problem(ann.put("/api/tags/home", json={"name": "home"}), 422, "VALIDATION_ERROR")


def test_the_description_says_what_may_be_sent_and_asks_for_none_of_it(api: str) -> None:
    schemas = httpx.get(f"{api}/openapi.json").json()["components"]["schemas"]
    for resource in RESOURCES:
        name = resource.model.__name__
        sent_back = set(schemas[name]["properties"]) - set(schemas[f"{name}Create"]["properties"])
        assert {"id", "user_id", "version", "created_at", "updated_at"} <= sent_back
        for body in ("Replace", "Update"):
            schema = schemas[f"{name}{body}"]
            assert sent_back <= schema["properties"].keys()
            assert not sent_back & set(schema.get("required", []))
            assert all(schema["properties"][field]["description"] for field in sent_back)
        assert not sent_back & schemas[f"{name}UpdateMany"]["properties"].keys()
