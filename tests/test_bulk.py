"""Changing and deleting many tasks at once: exactly those that the filters name, and what recurs comes again once."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any
from uuid import uuid4

import httpx
import psycopg2
import pytest

from tests.conftest import execute, overheard
from tests.helpers import FULL, Task, assert_problem, create, every, ids, waiting_for

DONE = {"status": "completed"}
EARLY = {"due_date": "2030-01-01T09:00:00+01:00"}
DAILY = {**EARLY, "recurrence_rule": "FREQ=DAILY"}
# Names what is due on the first of January, and so none of what comes next.
FIRST = "/api/tasks?due_before=2030-01-02T00:00:00Z"


def listed(client: httpx.Client) -> dict[str, Task]:
    """Return all of a user's tasks by id."""
    return {task["id"]: task for task in every(client, "/api/tasks?limit=500")}


def updated(answer: httpx.Response) -> int:
    assert answer.status_code == 200, answer.text
    assert list(answer.json()) == ["updated"]
    return int(answer.json()["updated"])


def deleted(answer: httpx.Response) -> int:
    assert answer.status_code == 200, answer.text
    assert list(answer.json()) == ["deleted"]
    return int(answer.json()["deleted"])


def changed(before: Task, after: Task) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def at_once(*calls: Callable[[], httpx.Response]) -> list[httpx.Response]:
    """Send requests at the same time and return their answers."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


# Which tasks

NAMED: list[tuple[str, Callable[[Task], bool]]] = [
    ("status=pending", lambda task: task["status"] == "pending"),
    ("status=pending&status=in_progress", lambda task: task["status"] != "completed"),
    ("priority=low&priority=high", lambda task: task["priority"] != "medium"),
    ("tag=home", lambda task: "home" in task["tags"]),
    ("tag=home&tag=garden", lambda task: {"home", "garden"} <= set(task["tags"])),
    ("due_before=2030-06-01T00:00:00Z", lambda task: task["due_date"] == "2030-01-01T00:00:00+00:00"),
    ("due_after=2030-01-01T01:00:00%2B01:00", lambda task: task["due_date"] == "2031-01-01T00:00:00+00:00"),
    ("q=100%25", lambda task: "100%" in task["title"]),
    ("q=DETAIL_", lambda task: "detail_" in (task["description"] or "")),
    ("status=pending&priority=high&tag=home&q=task", lambda task: task["title"] == "a task of 100%"),
    ("tag=nowhere", lambda task: False),
]


def fill(client: httpx.Client) -> dict[str, Task]:
    for fields in (
        {"title": "a task of 100%", "priority": "high", "tags": ["home", "garden"]},
        {"title": "a task of 1000", "status": "in_progress", "due_date": "2030-01-01T00:00:00Z"},
        {"title": "Task", "status": "completed", "priority": "low", "tags": ["home"]},
        {"title": "tAsK", "description": "a detail_", "due_date": "2031-01-01T00:00:00Z", "tags": ["garden"]},
        {"title": "it", "description": "a details", "priority": "high", "due_date": "2030-01-01T00:00:00Z"},
    ):
        create(client, **fields)
    return listed(client)


@pytest.mark.parametrize(("query", "matches"), NAMED)
@pytest.mark.parametrize("prefix", ["/api", "/api/v1"])
def test_a_bulk_change_is_of_exactly_the_callers_tasks_that_match(
    ann: httpx.Client, bob: httpx.Client, prefix: str, query: str, matches: Callable[[Task], bool]
) -> None:
    before, bobs = fill(ann), fill(bob)
    matching = {task_id for task_id, task in before.items() if matches(task)}
    assert updated(ann.patch(f"{prefix}/tasks?{query}", json={"description": "changed"})) == len(matching)
    after = listed(ann)
    assert after.keys() == before.keys()
    for task_id, task in after.items():
        expected = {"description", "version", "updated_at"} if task_id in matching else set()
        assert changed(before[task_id], task) == expected
        assert task["version"] == (2 if task_id in matching else 1)
    assert listed(bob) == bobs


@pytest.mark.parametrize(("query", "matches"), NAMED)
@pytest.mark.parametrize("prefix", ["/api", "/api/v1"])
def test_a_bulk_deletion_is_of_exactly_the_callers_tasks_that_match(
    ann: httpx.Client, bob: httpx.Client, prefix: str, query: str, matches: Callable[[Task], bool]
) -> None:
    before, bobs = fill(ann), fill(bob)
    left = {task_id: task for task_id, task in before.items() if not matches(task)}
    assert deleted(ann.delete(f"{prefix}/tasks?{query}")) == len(before) - len(left)
    assert listed(ann) == left
    assert deleted(ann.delete(f"{prefix}/tasks?{query}")) == 0
    assert listed(bob) == bobs


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", None),
        ("sort=title", "sort"),
        ("tag=home&sort=title", "sort"),
        ("tag=home&limit=1", "limit"),
        ("tag=home&cursor=x", "cursor"),
        ("tag=home&color=red", "color"),
        ("id=1", "id"),
        ("&".join(201 * ["id=01980000-0000-7000-8000-000000000000"]), "id"),
        ("user_id=bob", "user_id"),
        ("statuses=pending", "statuses"),
        ("status=", "status"),
        ("status=done", "status"),
        ("tag=home&priority=HIGH", "priority"),
        ("tag=", "tag"),
        ("q=", "q"),
        ("q=%00", "q"),
        ("due_before=2030-01-01", "due_before"),
        ("due_after=", "due_after"),
    ],
)
def test_what_names_no_tasks_or_is_no_filter_is_refused_and_changes_nothing(
    ann: httpx.Client, query: str, field: str | None
) -> None:
    before = fill(ann)
    for answer in (ann.patch(f"/api/tasks?{query}", json={"title": "x"}), ann.delete(f"/api/tasks?{query}")):
        assert_problem(answer, 422, "VALIDATION_ERROR")
        assert answer.json().get("field", "").partition(".")[0] == (field or "")
    assert listed(ann) == before


def test_many_are_named_by_their_ids_alone(ann: httpx.Client, bob: httpx.Client) -> None:
    before, [bobs, *_] = fill(ann), fill(bob)
    first, second, *others = before
    query = "&".join(f"id={one}" for one in (first, second, bobs))
    assert ids(list(every(ann, f"/api/tasks?{query}"))) == [first, second]
    assert updated(ann.patch(f"/api/tasks?{query}&priority=high", json={"priority": "low"})) == 1
    assert updated(ann.patch(f"/api/tasks?{query}", json={"priority": "low"})) == 2
    assert deleted(ann.delete(f"/api/tasks?{query}")) == 2
    assert listed(ann).keys() == {*others}
    assert bobs in listed(bob)


def test_tags_are_added_to_those_that_each_task_has(ann: httpx.Client) -> None:
    bare, named, full = (create(ann, tags=tags) for tags in ([], ["home", "b"], [f"{n}" for n in range(20)]))
    query = "&".join(f"id={one['id']}" for one in (bare, named, full))
    answer = ann.patch(f"/api/tasks?{query}", json={"add_tags": ["a", "HOME"], "priority": "low"})
    assert updated(answer) == 2  # the third would have 22
    tags = {task_id: task["tags"] for task_id, task in listed(ann).items()}
    assert tags == {bare["id"]: ["a", "home"], named["id"]: ["home", "b", "a"], full["id"]: full["tags"]}
    ann.post(f"/api/changes/{answer.headers['Change']}/undo").raise_for_status()
    assert listed(ann)[named["id"]]["tags"] == ["home", "b"]
    done = {"add_tags": ["done"], "status": "completed"}
    recurring = create(ann, **DAILY, tags=["daily"])
    assert updated(ann.patch(f"/api/tasks?id={recurring['id']}", json=done)) == 1
    assert listed(ann)[recurring["id"]]["tags"] == ["daily", "done"]
    assert updated(ann.patch(f"/api/tasks?{query}", json={"add_tags": []})) == 3
    for bad in ({"add_tags": ["x"], "tags": []}, {"add_tags": [""]}, {"add_tags": None}):
        assert_problem(ann.patch(f"/api/tasks?{query}", json=bad), 422, "VALIDATION_ERROR")
    assert_problem(ann.patch(f"/api/tasks/{bare['id']}", json={"add_tags": ["x"]}), 422, "VALIDATION_ERROR")


# What becomes of them


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, None) for name in ("title", "status", "priority", "tags")),
        ("title", " "),
        ("title", "nul \0"),
        ("description", "x" * 1001),
        ("status", "done"),
        ("due_date", "2030-01-31T09:00:00"),
        ("tags", ["home", "home"]),
        ("recurrence_rule", "FREQ=HOURLY"),
        ("id", "01980000-0000-7000-8000-000000000000"),
        ("user_id", "bob"),
        ("version", 7),
        ("nonsense", 1),
    ],
)
def test_a_bad_field_is_named_and_no_task_is_changed(ann: httpx.Client, field: str, value: object) -> None:
    before = fill(ann)
    answer = ann.patch("/api/tasks?tag=home", json={"description": "changed", field: value})
    assert_problem(answer, 422, "VALIDATION_ERROR")
    assert answer.json()["field"].partition(".")[0] == field
    assert listed(ann) == before


@pytest.mark.parametrize(
    ("content", "media_type", "status", "code"),
    [
        ("{", "application/json", 400, "INVALID_JSON"),
        ("[]", "application/json", 422, "VALIDATION_ERROR"),
        ("null", "application/json", 422, "VALIDATION_ERROR"),
        ("", "application/json", 422, "VALIDATION_ERROR"),
        ("{}", "text/plain", 415, "UNSUPPORTED_MEDIA_TYPE"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(
    ann: httpx.Client, content: str, media_type: str, status: int, code: str
) -> None:
    before = fill(ann)
    answer = ann.patch("/api/tasks?tag=home", content=content, headers={"Content-Type": media_type})
    assert_problem(answer, status, code)
    assert listed(ann) == before


@pytest.mark.parametrize("name", FULL)
def test_a_bulk_change_sets_only_what_it_names_and_is_one_new_version(ann: httpx.Client, name: str) -> None:
    tasks = [create(ann, tags=["here"], due_date="2029-01-01T00:00:00Z") for _ in range(3)]
    single = ann.patch(f"/api/tasks/{create(ann, due_date='2029-01-01T00:00:00Z')['id']}", json={name: FULL[name]})
    assert updated(ann.patch("/api/tasks?tag=here", json={name: FULL[name]})) == 3
    after = listed(ann)
    for task in tasks:
        assert changed(task, after[task["id"]]) == {name, "version", "updated_at"}
        assert after[task["id"]][name] == single.json()[name]
        assert after[task["id"]]["version"] == 2
        assert after[task["id"]]["updated_at"] > task["updated_at"]


def test_null_clears_what_may_be_null(ann: httpx.Client) -> None:
    tasks = [create(ann, **{**FULL, "tags": ["here"]}) for _ in range(2)]
    cleared: dict[str, Any] = dict.fromkeys(("description", "due_date", "recurrence_rule"))
    assert updated(ann.patch("/api/tasks?tag=here", json=cleared)) == 2
    after = listed(ann)
    for task in tasks:
        assert changed(task, after[task["id"]]) == {*cleared, "version", "updated_at"}
        assert cleared.items() <= after[task["id"]].items()


def test_an_empty_body_changes_nothing(ann: httpx.Client) -> None:
    fill(ann)
    create(ann, title="recurs", tags=["home"], **DAILY)
    before = listed(ann)
    assert updated(ann.patch("/api/tasks?tag=home", json={})) == 3
    assert listed(ann) == before


def test_completed_at_follows_the_status_of_each_task(ann: httpx.Client) -> None:
    tasks = [create(ann, title=status, tags=["here"], status=status) for status in ("pending", "completed")]
    assert updated(ann.patch("/api/tasks?tag=here", json=DONE)) == 2
    pending, completed = (listed(ann)[task["id"]] for task in tasks)
    assert pending["completed_at"] == pending["updated_at"] == completed["updated_at"]
    assert completed["completed_at"] == tasks[1]["completed_at"]
    assert updated(ann.patch("/api/tasks?tag=here", json={"title": "renamed"})) == 2
    assert listed(ann)[pending["id"]]["completed_at"] == pending["completed_at"]
    assert updated(ann.patch("/api/tasks?tag=here", json={"status": "in_progress"})) == 2
    assert [task["completed_at"] for task in listed(ann).values()] == [None, None]
    assert [task["version"] for task in listed(ann).values()] == [4, 4]


@pytest.mark.parametrize("body", [{"recurrence_rule": "FREQ=DAILY"}, {"recurrence_rule": "FREQ=DAILY", **DONE}])
def test_a_rule_for_a_task_without_a_due_date_is_refused_for_all(ann: httpx.Client, body: Task) -> None:
    for fields in (EARLY, {}, DAILY):
        create(ann, tags=["here"], **fields)
    before = listed(ann)
    answer = ann.patch("/api/tasks?tag=here", json=body)
    assert_problem(answer, 422, "VALIDATION_ERROR")
    assert answer.json()["field"] == "recurrence_rule"
    assert listed(ann) == before


@pytest.mark.parametrize("body", [{"due_date": None}, {"due_date": None, **DONE}])
def test_a_due_date_that_a_rule_needs_is_not_cleared(ann: httpx.Client, body: Task) -> None:
    for fields in (EARLY, DAILY):
        create(ann, tags=["here"], **fields)
    before = listed(ann)
    answer = ann.patch("/api/tasks?tag=here", json=body)
    assert_problem(answer, 422, "VALIDATION_ERROR")
    assert answer.json()["field"] == "recurrence_rule"
    assert listed(ann) == before


# Tasks that recur


def coming(client: httpx.Client, before: dict[str, Task]) -> dict[str, list[tuple[str, str | None]]]:
    """Return what is there that was not, by title: the due date and rule of each."""
    found: dict[str, list[tuple[str, str | None]]] = {}
    for task_id, task in listed(client).items():
        if task_id not in before:
            found.setdefault(task["title"], []).append((task["due_date"], task["recurrence_rule"]))
    return found


RULES = {
    "daily": ("FREQ=DAILY", [("2030-01-02T08:00:00+00:00", "FREQ=DAILY")]),
    "counted": ("FREQ=DAILY;COUNT=3", [("2030-01-02T08:00:00+00:00", "FREQ=DAILY;COUNT=2")]),
    "weekly": ("FREQ=WEEKLY;BYDAY=MO", [("2030-01-07T08:00:00+00:00", "FREQ=WEEKLY;BYDAY=MO")]),
    "last": ("FREQ=DAILY;COUNT=1", []),
    "ended": ("FREQ=DAILY;UNTIL=20300101", []),
    "once": (None, []),
}
NEXT = {title: expected for title, (_, expected) in RULES.items() if expected}


def recurring(client: httpx.Client, **fields: Any) -> dict[str, Task]:
    """Make a task for each of RULES, due on the first of January, and return them by id."""
    made = (create(client, title=title, recurrence_rule=rule, **EARLY, **fields) for title, (rule, _) in RULES.items())
    return {task["id"]: task for task in made}


def test_what_recurs_comes_again_and_what_does_not_is_completed_beside_it(ann: httpx.Client, bob: httpx.Client) -> None:
    before, bobs = recurring(ann, description="d", priority="high", tags=["home"]), recurring(bob, tags=["home"])
    assert updated(ann.patch("/api/tasks?tag=home", json={"status": "completed", "description": "e"})) == len(before)
    assert coming(ann, before) == NEXT
    handed_on = {"description": "e", "priority": "high", "tags": ["home"], "status": "pending", "version": 1}
    for task_id, task in listed(ann).items():
        if task_id in before:
            names = {"status", "description", "version", "updated_at", "completed_at"}
            assert (changed(before[task_id], task), task["version"]) == (names, 2)
        else:
            assert {**handed_on, "completed_at": None}.items() <= task.items()
    assert listed(bob) == bobs


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"recurrence_rule": None}, {}),
        (
            {"recurrence_rule": "FREQ=MONTHLY"},
            {title: [("2030-02-01T08:00:00+00:00", "FREQ=MONTHLY")] for title in RULES},
        ),
        (
            {"due_date": "2031-03-01T00:30:00+01:00"},  # a Saturday; in UTC, still February
            {
                "daily": [("2031-03-01T23:30:00+00:00", "FREQ=DAILY")],
                "counted": [("2031-03-01T23:30:00+00:00", "FREQ=DAILY;COUNT=2")],
                "weekly": [("2031-03-02T23:30:00+00:00", "FREQ=WEEKLY;BYDAY=MO")],
            },
        ),
        (
            {"due_date": "2031-03-01T00:30:00+01:00", "recurrence_rule": "FREQ=MONTHLY"},
            {title: [("2031-03-31T23:30:00+00:00", "FREQ=MONTHLY")] for title in RULES},
        ),
        ({"due_date": None, "recurrence_rule": None}, {}),
    ],
)
def test_the_next_one_follows_what_the_completing_change_says(ann: httpx.Client, body: Task, expected: Task) -> None:
    before = recurring(ann)
    assert updated(ann.patch(FIRST, json={**body, **DONE})) == len(before)
    assert coming(ann, before) == expected


@pytest.mark.parametrize("status", ["pending", "in_progress"])
def test_a_change_that_completes_nothing_makes_nothing(ann: httpx.Client, status: str) -> None:
    before = recurring(ann)
    for body in ({"status": status}, {"title": "renamed"}):
        assert updated(ann.patch(FIRST, json=body)) == len(before)
    assert listed(ann).keys() == before.keys()


def test_completed_again_and_again_a_task_comes_again_once(ann: httpx.Client) -> None:
    before = recurring(ann)
    for status in ("completed", "completed", "in_progress", "completed", "pending", "completed"):
        assert updated(ann.patch(FIRST, json={"status": status})) == len(before)
        assert coming(ann, before) == (NEXT if status == "completed" else {})
    assert {listed(ann)[task_id]["version"] for task_id in before} == {7}


def test_a_filter_that_names_the_next_one_too_completes_it_the_next_time(ann: httpx.Client) -> None:
    task = create(ann, tags=["here"], **{**EARLY, "recurrence_rule": "FREQ=DAILY;COUNT=4"})
    for number, count in enumerate((1, 2, 3, 4, 4)):
        assert updated(ann.patch("/api/tasks?tag=here", json=DONE)) == count
        after = listed(ann)
        assert sorted(each["due_date"] for each in after.values()) == [
            f"2030-01-0{day}T08:00:00+00:00" for day in range(1, min(number + 3, 5))
        ]
        assert after[task["id"]]["version"] == number + 2


def test_what_a_single_patch_completed_comes_again_once_though_a_bulk_change_follows(ann: httpx.Client) -> None:
    before = recurring(ann)
    for task_id in list(before)[::2]:
        assert ann.patch(f"/api/tasks/{task_id}", json=DONE).status_code == 200
    assert updated(ann.patch(FIRST, json=DONE)) == len(before)
    assert coming(ann, before) == NEXT
    for task_id in before:
        assert ann.patch(f"/api/tasks/{task_id}", json={"status": "pending"}).status_code == 200
        assert ann.patch(f"/api/tasks/{task_id}", json=DONE).status_code == 200
    assert coming(ann, before) == NEXT


def test_hundreds_of_tasks_come_again_in_one_request(ann: httpx.Client, database_url: str) -> None:
    task = create(ann, title="daily", **DAILY)
    names = "user_id, title, status, priority, due_date, recurrence_rule, tags"
    execute(
        database_url,
        f"SELECT set_config('app.user_id', %s, true); INSERT INTO task ({names}, id)"
        f" SELECT {names}, gen_random_uuid() FROM task, generate_series(1, 300) WHERE user_id = %s",
        task["user_id"],
        task["user_id"],
    )
    before = listed(ann)
    assert updated(ann.patch(FIRST, json=DONE)) == 301
    assert coming(ann, before) == {"daily": [("2030-01-02T08:00:00+00:00", "FREQ=DAILY")] * 301}


# At the same time


@pytest.mark.parametrize("filters", [("due_before=2030-01-02T00:00:00Z",) * 2, ("tag=here", "q=a task"), ("tag=here",)])
def test_bulk_changes_and_single_ones_at_the_same_time_make_each_next_one_once(
    client_of: Callable[..., httpx.Client], filters: tuple[str, ...]
) -> None:
    user_id = f"user-{uuid4()}"
    clients = [client_of(user_id) for _ in range(4)]
    early = "&due_before=2030-01-02T00:00:00Z"
    for attempt in range(10):
        title = f"a task {attempt}"
        made = [create(clients[0], title=title, tags=["here", title], **DAILY) for _ in range(6)]
        made.append(create(clients[0], title=title, tags=["here", title], **EARLY))
        before = listed(clients[0])
        paths = [f"/api/tasks?{each}{early if 'due' not in each else ''}" for each in filters]
        paths += [f"/api/tasks/{task['id']}" for task in (made[5], made[0])]
        answers = at_once(
            *(
                lambda client=client, path=path: client.patch(path, json=DONE)
                for client, path in zip(clients, paths, strict=False)
            )
        )
        assert [answer.status_code for answer in answers] == [200] * len(answers)
        assert coming(clients[0], before) == {title: [("2030-01-02T08:00:00+00:00", "FREQ=DAILY")] * 6}
        after = listed(clients[0])
        assert {after[task["id"]]["status"] for task in made} == {"completed"}


def test_bulk_changes_that_name_what_comes_next_leave_no_gap_and_nothing_twice(
    client_of: Callable[..., httpx.Client],
) -> None:
    user_id = f"user-{uuid4()}"
    clients = [client_of(user_id) for _ in range(3)]
    for title in ("a", "b", "c"):
        create(clients[0], title=title, tags=["here"], **DAILY)
    for _ in range(5):
        answers = at_once(*(lambda c=c: c.patch("/api/tasks?tag=here", json=DONE) for c in clients))
        assert [answer.status_code for answer in answers] == [200] * 3
    for title in ("a", "b", "c"):
        found = sorted(
            (task["due_date"], task["status"]) for task in listed(clients[0]).values() if task["title"] == title
        )
        assert len(found) >= 6
        assert [due_date for due_date, _ in found] == [
            f"2030-01-{day:02}T08:00:00+00:00" for day in range(1, len(found) + 1)
        ]
        assert [status for _, status in found] == ["completed"] * (len(found) - 1) + ["pending"]


@contextmanager
def while_changing(url: str, task: Task, change: str) -> Iterator[Callable[[Future[Any]], None]]:
    """Hold a change of a task back, uncommitted, until the caller says which request waits for it."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT set_config('app.user_id', %s, true)", (task["user_id"],))
        mine = (task["user_id"], task["id"])
        cursor.execute(f"UPDATE task SET version = version + 1, {change} WHERE user_id = %s AND id = %s", mine)

        def commit_when_awaited_by(request: Future[Any]) -> None:
            while not waiting_for(cursor):
                assert not request.done(), "the request did not wait"
            connection.commit()

        yield commit_when_awaited_by


@pytest.mark.parametrize(
    ("fields", "change"),
    [
        (EARLY, "recurrence_rule = 'FREQ=DAILY'"),
        ({**DAILY, **DONE}, "status = 'pending', completed_at = NULL"),
        (DAILY, "title = 'renamed'"),
        ({**EARLY, "recurrence_rule": "FREQ=WEEKLY"}, "recurrence_rule = 'FREQ=DAILY'"),
    ],
    ids=["given a rule", "reopened", "renamed", "given another rule"],
)
@pytest.mark.parametrize("others", [0, 2])
def test_a_task_that_is_changed_meanwhile_comes_again_as_it_is_by_then(
    ann: httpx.Client, database_url: str, fields: Task, change: str, others: int
) -> None:
    task = create(ann, tags=["here"], **fields)
    for _ in range(others):
        create(ann, title="other", tags=["here"], **DAILY)
    before = listed(ann)
    with ThreadPoolExecutor(1) as pool, while_changing(database_url, task, change) as commit_when_awaited_by:
        request = pool.submit(ann.patch, FIRST, json=DONE)
        commit_when_awaited_by(request)
        assert updated(request.result()) == 1 + others
    after = listed(ann)
    assert after[task["id"]]["status"] == "completed"
    tomorrow = ("2030-01-02T08:00:00+00:00", "FREQ=DAILY")
    assert coming(ann, before).pop(after[task["id"]]["title"]) == [tomorrow]
    assert coming(ann, before).get("other", []) == [tomorrow] * others


# Round trips


def test_a_bulk_request_is_one_message_and_one_more_where_a_task_comes_again(database_url: str) -> None:
    with overheard(database_url) as (wire, client):
        for fields in ({}, EARLY, DAILY):
            for tag in ("once", "again") if fields is not DAILY else ("again",):
                create(client, tags=[tag], **fields)

        def messages(method: str, query: str, body: Any = None) -> int:
            wire.queries.clear()
            client.request(method, f"/api/tasks?{query}", json=body)
            assert all(query.count("app.user_id") == 1 for query in wire.queries)
            return len(wire.queries)

        assert messages("PATCH", "tag=again", {"title": "renamed"}) == 1
        assert messages("PATCH", "tag=once", DONE) == 1
        assert messages("PATCH", "tag=again&due_before=2030-01-02T00:00:00Z", DONE) == 2
        assert messages("PATCH", "tag=again&due_before=2030-01-02T00:00:00Z", DONE) == 1  # it is completed already
        assert messages("PATCH", "tag=again", {"recurrence_rule": None, **DONE}) == 1
        assert messages("DELETE", "tag=again") == 1
        assert messages("PATCH", "", DONE) == messages("DELETE", "limit=1") == messages("PATCH", "tag=x", [1]) == 0
        assert ids(client.get("/api/tasks?tag=again").json()) == []
