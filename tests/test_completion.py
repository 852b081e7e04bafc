"""Completing a task that recurs: its next occurrence, made once and with it or not at all."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from dateutil.rrule import rrulestr

from backend import migrations
from tests.conftest import execute, overheard, serving, settings, sign
from tests.helpers import assert_problem, at_once, create, meanwhile, path_of, statuses

DONE = {"status": "completed"}
OPEN = {"status": "pending"}
DUE = "2030-01-31T09:00:00+01:00"  # a Thursday
WEEKLY = {"due_date": DUE, "recurrence_rule": "FREQ=WEEKLY;COUNT=5"}
HANDED_ON = {"title": "Water the plants", "description": "All of them", "priority": "high", "tags": ["home", "green"]}

each_way = pytest.mark.parametrize("method", ["PATCH", "PUT"])
each_kind = pytest.mark.parametrize("fields", [WEEKLY, {"due_date": DUE}, {}], ids=["recurring", "due", "plain"])


def complete(client: httpx.Client, task: dict[str, Any], method: str = "PATCH", **changes: Any) -> httpx.Response:
    """Complete a task by PATCH, or by a PUT that says the rest as it was, and with these changes."""
    names = ("title", "description", "priority", "due_date", "recurrence_rule", "tags")
    rest = {name: task[name] for name in names} if method == "PUT" else {}
    return client.request(method, path_of(task), json={**rest, **DONE, **changes})


def others(client: httpx.Client, *known: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the user's tasks but for those known already, by due date."""
    ids = {task["id"] for task in known}
    tasks = client.get("/api/tasks", params={"sort": "due_date", "limit": 500}).json()
    return [task for task in tasks if task["id"] not in ids]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@each_way
@pytest.mark.parametrize("status", ["pending", "in_progress"])
def test_completing_a_task_that_recurs_makes_its_next_occurrence(ann: httpx.Client, method: str, status: str) -> None:
    task = create(ann, **HANDED_ON, **WEEKLY, status=status)
    answer = complete(ann, task, method)
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"2"')
    completed = answer.json()
    changed = {"status": "completed", "version": 2, "completed_at": completed["updated_at"]}
    assert completed == {**task, **changed, "updated_at": completed["updated_at"]}
    assert completed["updated_at"] > task["updated_at"]
    assert ann.get(path_of(task)).json() == completed

    [coming] = others(ann, task)
    expected = {**task, **OPEN, "version": 1, "recurrence_rule": "FREQ=WEEKLY;COUNT=4"}
    for name in ("id", "created_at", "updated_at", "due_date"):
        expected[name] = coming[name]
    assert coming == expected
    assert moment(coming["due_date"]) == moment("2030-02-07T09:00:00+01:00")
    assert coming["created_at"] == coming["updated_at"] == completed["updated_at"]
    read = ann.get(path_of(coming))
    assert (read.json(), read.headers["ETag"]) == (coming, '"1"')


@each_way
def test_repeated_reopened_and_completed_again_it_makes_no_second_one(ann: httpx.Client, method: str) -> None:
    task = create(ann, **WEEKLY)
    first = complete(ann, task, method).json()
    [coming] = others(ann, task)
    for status in ("pending", "in_progress", "pending"):
        assert complete(ann, task, method).json()["completed_at"] == first["completed_at"]
        assert others(ann, task) == [coming]
        reopened = ann.patch(path_of(task), json={"status": status}).json()
        assert (reopened["status"], reopened["completed_at"]) == (status, None)
        assert others(ann, task) == []
        again = complete(ann, task, method).json()
        assert again["completed_at"] > first["completed_at"]
        first, [made] = again, others(ann, task)
        assert made["created_at"] > coming["created_at"]
        times = {name: coming[name] for name in ("created_at", "updated_at")}
        assert {**made, **times} == coming
        coming = made


@each_way
def test_what_is_late_is_completed_once_and_comes_next_after_now(ann: httpx.Client, method: str) -> None:
    late = datetime.now(UTC) - timedelta(days=90, hours=1)
    task = create(ann, due_date=late.isoformat(), recurrence_rule="rrule:freq=daily;count=100")
    assert task["recurrence_rule"] == "FREQ=DAILY;COUNT=100"
    complete(ann, task, method)
    [coming] = others(ann, task)
    assert moment(coming["due_date"]) == late.replace(microsecond=0) + timedelta(days=91)
    assert coming["recurrence_rule"] == "FREQ=DAILY;COUNT=9"
    ann.patch(path_of(coming), json={"priority": "high"})
    ann.patch(path_of(task), json=OPEN)
    complete(ann, task, method)
    assert [one["id"] for one in others(ann, task)] == [coming["id"]]


def test_many_that_passed_over_too_much_to_count_are_not_completed_together(ann: httpx.Client) -> None:
    rule = {"due_date": "0001-01-02T09:00:00Z", "recurrence_rule": "FREQ=DAILY;COUNT=800000"}
    for number in range(2):
        create(ann, title=f"t{number}", tags=["late"], **rule)
    answer = ann.patch("/api/tasks?tag=late", json=DONE)
    assert_problem(answer, 422, "VALIDATION_ERROR")
    assert "complete fewer" in answer.text
    assert {task["status"] for task in others(ann)} == {"pending"}


def test_the_same_rule_and_date_of_two_tasks_makes_two(ann: httpx.Client, bob: httpx.Client) -> None:
    tasks = [create(ann, **WEEKLY), create(ann, **WEEKLY)]
    theirs = create(bob, **WEEKLY)
    made = [complete(ann, task).json()["id"] for task in tasks] + [complete(bob, theirs).json()["id"]]
    coming = others(ann, *tasks) + others(bob, theirs)
    assert len({task["id"] for task in coming} - set(made)) == 3


@each_way
def test_of_ten_completions_at_once_one_makes_the_next_one(ann: httpx.Client, method: str) -> None:
    task = create(ann, **WEEKLY)
    answers = at_once(10, lambda _: complete(ann, task, method))
    assert statuses(answers) == {200: 10}
    assert sorted(answer.json()["version"] for answer in answers) == list(range(2, 12))
    assert len({answer.json()["completed_at"] for answer in answers}) == 1
    assert [coming["recurrence_rule"] for coming in others(ann, task)] == ["FREQ=WEEKLY;COUNT=4"]


@each_way
@each_kind
def test_of_ten_completions_of_one_version_one_is_made(ann: httpx.Client, method: str, fields: dict[str, str]) -> None:
    task = create(ann, **fields)
    body = {**DONE, "title": "Done"} | (fields if method == "PUT" else {})
    headers = {"If-Match": '"1"'}
    answers = at_once(10, lambda _: ann.request(method, path_of(task), json=body, headers=headers))
    assert statuses(answers) == {200: 1, 412: 9}
    assert ann.get(path_of(task)).json()["version"] == 2
    assert len(others(ann, task)) == (1 if fields is WEEKLY else 0)


def test_a_completion_of_another_version_makes_nothing(ann: httpx.Client) -> None:
    task = create(ann, **WEEKLY)
    for if_match in ('"2"', 'W/"2"', '"x"'):
        answer = ann.patch(path_of(task), json=DONE, headers={"If-Match": if_match})
        assert_problem(answer, 412, "PRECONDITION_FAILED")
    assert ann.get("/api/tasks").json() == [task]
    for if_match in ('"7", "1"', "*"):
        assert ann.patch(path_of(task), json=DONE, headers={"If-Match": if_match}).status_code == 200
    assert len(others(ann, task)) == 1


def test_completed_and_renamed_at_once_it_is_both_and_comes_again_once(ann: httpx.Client) -> None:
    task = create(ann, **WEEKLY)

    def change(number: int) -> httpx.Response:
        if number % 2:
            return complete(ann, task)
        return ann.patch(path_of(task), json={"title": "Renamed"})

    answers = at_once(20, change)
    assert statuses(answers) == {200: 20}
    final = ann.get(path_of(task)).json()
    assert (final["title"], final["status"], final["version"]) == ("Renamed", "completed", 21)
    assert len(others(ann, task)) == 1


def test_completed_and_reopened_at_once_it_comes_again_once(ann: httpx.Client) -> None:
    task = create(ann, **WEEKLY)
    answers = at_once(20, lambda number: ann.patch(path_of(task), json=DONE if number % 2 else OPEN))
    assert statuses(answers) == {200: 20}
    assert ann.get(path_of(task)).json()["version"] == 21
    assert len(others(ann, task)) == 1


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=DAILY;COUNT=7",
        "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,TH;WKST=SU;COUNT=6",
        "FREQ=MONTHLY;COUNT=6",  # on the 31st
        "FREQ=MONTHLY;BYMONTHDAY=-1;COUNT=5",
        "COUNT=4;FREQ=MONTHLY;BYDAY=-1TH",
        "FREQ=YEARLY;COUNT=3",
        "FREQ=DAILY;BYHOUR=9,17;COUNT=5",
        "FREQ=WEEKLY;COUNT=1",
    ],
)
def test_a_task_with_a_count_comes_that_often_and_when_dateutil_says(ann: httpx.Client, rule: str) -> None:
    due = moment(DUE)
    made = [create(ann, due_date=DUE, recurrence_rule=rule)]
    assert complete(ann, made[0]).status_code == 200
    while coming := others(ann, *made):
        [task] = coming
        made.append(task)
        assert complete(ann, task).status_code == 200
    expected = list(rrulestr(rule, dtstart=due.replace(tzinfo=None)))
    assert [moment(task["due_date"]) for task in made] == [when.replace(tzinfo=due.tzinfo) for when in expected]
    counts = [task["recurrence_rule"].partition("COUNT=")[2].partition(";")[0] for task in made]
    assert counts == [str(count) for count in range(len(expected), 0, -1)]


@pytest.mark.parametrize(
    ("rule", "number"),
    [
        ("FREQ=DAILY;UNTIL=20300202", 2),
        ("FREQ=DAILY;UNTIL=20300202T080000Z", 2),
        ("FREQ=DAILY;UNTIL=20300202T075959Z", 1),
        ("FREQ=DAILY;UNTIL=20300202T085959", 1),
        ("FREQ=DAILY;UNTIL=20300131", 0),
        ("FREQ=DAILY;UNTIL=20200101", 0),
    ],
)
def test_a_task_with_an_until_ends_with_it(ann: httpx.Client, rule: str, number: int) -> None:
    made = [create(ann, due_date=DUE, recurrence_rule=rule)]
    complete(ann, made[0])
    while coming := others(ann, *made):
        made += coming
        complete(ann, coming[0])
    assert [moment(task["due_date"]) for task in made] == [moment(DUE) + timedelta(days=n) for n in range(number + 1)]
    assert {task["recurrence_rule"] for task in made} == {rule}


@each_way
@pytest.mark.parametrize(
    ("rule", "due"),
    [
        ("FREQ=DAILY;COUNT=1", DUE),
        ("FREQ=DAILY;INTERVAL=7;BYDAY=MO", DUE),
        ("FREQ=YEARLY;BYWEEKNO=1;BYMONTH=6;BYDAY=MO", DUE),
        ("FREQ=YEARLY", "9999-06-01T00:00:00Z"),
        ("FREQ=DAILY", "9999-12-31T23:59:59+14:00"),
        ("FREQ=DAILY", "9999-12-30T23:30:00-02:00"),
    ],
)
def test_a_task_that_never_comes_again_is_just_completed(ann: httpx.Client, method: str, rule: str, due: str) -> None:
    task = create(ann, due_date=due, recurrence_rule=rule)
    answer = complete(ann, task, method, due_date=due)
    assert (answer.status_code, answer.json()["status"], answer.json()["version"]) == (200, "completed", 2)
    assert ann.get("/api/tasks").json() == [answer.json()]


@pytest.mark.parametrize(
    ("rule", "dues"),
    [
        # In UTC, each of the first is on another day than where the user is.
        ("FREQ=MONTHLY", ["2030-02-01T00:30:00+01:00", "2030-03-01T00:30:00+01:00", "2030-04-01T00:30:00+01:00"]),
        ("FREQ=MONTHLY", ["2030-01-31T22:00:00-05:00", "2030-03-31T22:00:00-05:00", "2030-05-31T22:00:00-05:00"]),
        ("FREQ=MONTHLY", ["2030-01-31T23:30:00Z", "2030-03-31T23:30:00Z", "2030-05-31T23:30:00Z"]),
        (
            "FREQ=WEEKLY;BYDAY=MO,FR",
            ["2030-02-04T05:00:00+14:00", "2030-02-08T05:00:00+14:00", "2030-02-11T05:00:00+14:00"],
        ),
        (
            "FREQ=DAILY;BYHOUR=1",
            ["2030-02-01T01:15:00+05:45", "2030-02-02T01:15:00+05:45", "2030-02-03T01:15:00+05:45"],
        ),
    ],
)
@pytest.mark.parametrize("said", ["by POST", "by PATCH", "by PUT", "with the completion"])
def test_the_offset_of_the_due_date_decides_what_day_it_is(
    ann: httpx.Client, rule: str, dues: list[str], said: str
) -> None:
    first = dues[0]
    task = create(ann, due_date=first if said == "by POST" else DUE, recurrence_rule=rule)
    if said == "by PATCH":
        ann.patch(path_of(task), json={"due_date": first})
    elif said == "by PUT":
        ann.put(path_of(task), json={"title": "x", "due_date": first, "recurrence_rule": rule})
    made = [task]
    complete(ann, task, **({"due_date": first} if said == "with the completion" else {}))
    for due in dues[1:]:
        [coming] = others(ann, *made)
        assert moment(coming["due_date"]) == moment(due)
        made.append(coming)
        complete(ann, coming)


@each_way
@pytest.mark.parametrize(
    ("changes", "due", "rule"),
    [
        ({"recurrence_rule": "FREQ=DAILY;COUNT=3"}, "2030-02-01T09:00:00+01:00", "FREQ=DAILY;COUNT=2"),
        ({"due_date": "2030-03-01T09:00:00+01:00"}, "2030-03-08T09:00:00+01:00", "FREQ=WEEKLY;COUNT=4"),
        (
            {"due_date": "2030-02-01T00:30:00+02:00", "recurrence_rule": "FREQ=MONTHLY"},
            "2030-03-01T00:30:00+02:00",
            "FREQ=MONTHLY",
        ),
    ],
)
def test_what_is_changed_with_the_completion_is_what_counts(
    ann: httpx.Client, method: str, changes: dict[str, str], due: str, rule: str
) -> None:
    task = create(ann, **WEEKLY)
    assert complete(ann, task, method, **changes, **HANDED_ON).status_code == 200
    [coming] = others(ann, task)
    assert HANDED_ON.items() <= coming.items()
    assert (moment(coming["due_date"]), coming["recurrence_rule"]) == (moment(due), rule)


@each_way
def test_a_rule_that_comes_with_the_completion_makes_one(ann: httpx.Client, method: str) -> None:
    for fields in ({}, {"due_date": "2029-01-01T00:00:00Z"}):
        task = create(ann, **fields)
        before = others(ann, task)
        assert complete(ann, task, method, **WEEKLY).status_code == 200
        [coming] = others(ann, task, *before)
        assert moment(coming["due_date"]) == moment("2030-02-07T09:00:00+01:00")
        assert complete(ann, task, method, **WEEKLY).status_code == 200
        assert others(ann, task, *before) == [coming]


@each_way
@pytest.mark.parametrize("changes", [{"recurrence_rule": None}, {"recurrence_rule": None, "due_date": None}])
def test_a_rule_that_goes_with_the_completion_makes_none(
    ann: httpx.Client, method: str, changes: dict[str, None]
) -> None:
    task = create(ann, **WEEKLY)
    answer = complete(ann, task, method, **changes)
    assert (answer.status_code, answer.json()["status"]) == (200, "completed")
    assert ann.get("/api/tasks").json() == [answer.json()]


def test_a_put_that_leaves_out_the_rule_makes_none(ann: httpx.Client) -> None:
    task = create(ann, **WEEKLY)
    answer = ann.put(path_of(task), json={"title": "Done", "due_date": DUE, **DONE})
    assert (answer.status_code, answer.json()["recurrence_rule"]) == (200, None)
    assert ann.get("/api/tasks").json() == [answer.json()]


def test_a_task_that_is_born_completed_makes_none(ann: httpx.Client) -> None:
    task = create(ann, **WEEKLY, **DONE)
    assert task["completed_at"] == task["created_at"]
    assert complete(ann, task).status_code == 200
    assert others(ann, task) == []
    ann.patch(path_of(task), json=OPEN)
    complete(ann, task)
    assert len(others(ann, task)) == 1


@pytest.mark.parametrize("change", [{}, {"title": "Renamed"}, {"status": "in_progress"}, {"due_date": DUE}, WEEKLY])
def test_a_change_that_does_not_complete_makes_none(ann: httpx.Client, change: dict[str, str]) -> None:
    task = create(ann, **WEEKLY)
    assert ann.patch(path_of(task), json=change).status_code == 200
    assert others(ann, task) == []


@pytest.mark.parametrize(("fields", "change"), [(WEEKLY, {"due_date": None}), ({}, {"recurrence_rule": "FREQ=DAILY"})])
@each_way
def test_a_completion_that_leaves_a_rule_without_a_due_date_is_refused(
    ann: httpx.Client, method: str, fields: dict[str, str], change: dict[str, Any]
) -> None:
    task = create(ann, **fields)
    answer = complete(ann, task, method, **change)
    assert_problem(answer, 422, "VALIDATION_ERROR")
    assert answer.json()["field"] == "recurrence_rule"
    assert ann.get("/api/tasks").json() == [task]


def test_another_users_task_is_not_completed(ann: httpx.Client, bob: httpx.Client) -> None:
    task = create(ann, **WEEKLY)
    for method in ("PATCH", "PUT"):
        assert_problem(complete(bob, task, method), 404, "TASK_NOT_FOUND")
    assert (ann.get("/api/tasks").json(), bob.get("/api/tasks").json()) == ([task], [])


# The ids come from the task and the date, and from nothing else.


def test_a_next_one_that_was_changed_stays_as_it_is(ann: httpx.Client) -> None:
    task = create(ann, **WEEKLY)
    complete(ann, task)
    [coming] = others(ann, task)
    changes = {"title": "Changed", "due_date": "2031-01-01T00:00:00Z", "recurrence_rule": None, **DONE}
    changed = ann.patch(path_of(coming), json=changes).json()
    ann.patch(path_of(task), json=OPEN)
    complete(ann, task)
    assert others(ann, task) == [changed]


def test_each_other_date_makes_one_and_each_date_only_one(ann: httpx.Client) -> None:
    task = create(ann, **WEEKLY)
    dates = ["2030-01-01T00:00:00Z", "2030-01-02T00:00:00Z"]
    for due in [*dates, *dates, "2030-01-01T01:00:00+01:00"]:  # the last is the first, elsewhere
        ann.patch(path_of(task), json={**OPEN, "due_date": due})
        complete(ann, task)
        ann.patch("/api/tasks?status=pending", json={"priority": "high"})  # so that reopening leaves it
    expected = [moment(due) + timedelta(weeks=1) for due in dates]
    assert [moment(coming["due_date"]) for coming in others(ann, task)] == expected


def test_two_rules_that_come_at_the_same_time_make_one(ann: httpx.Client) -> None:
    task = create(ann, **WEEKLY)
    complete(ann, task)
    ann.patch("/api/tasks?status=pending", json={"priority": "high"})  # so that reopening leaves it
    ann.patch(path_of(task), json={**OPEN, "recurrence_rule": "FREQ=DAILY;INTERVAL=7"})
    complete(ann, task)
    assert [coming["recurrence_rule"] for coming in others(ann, task)] == ["FREQ=WEEKLY;COUNT=4"]


def test_a_next_one_that_was_deleted_is_made_again_only_by_completing_again(ann: httpx.Client) -> None:
    task = create(ann, **WEEKLY)
    complete(ann, task)
    [coming] = others(ann, task)
    assert ann.delete(path_of(coming)).status_code == 204
    complete(ann, task)
    assert others(ann, task) == []
    ann.patch(path_of(task), json=OPEN)
    complete(ann, task)
    [again] = others(ann, task)
    assert (again["id"], again["due_date"]) == (coming["id"], coming["due_date"])


def test_a_deleted_task_leaves_its_next_one(ann: httpx.Client) -> None:
    task = create(ann, **WEEKLY)
    complete(ann, task)
    [coming] = others(ann, task)
    assert ann.delete(path_of(task)).status_code == 204
    for method in ("PATCH", "PUT"):
        assert_problem(complete(ann, task, method), 404, "TASK_NOT_FOUND")
    assert ann.get("/api/tasks").json() == [coming]


def test_completed_and_deleted_at_once_it_is_gone_and_made_one_or_none(ann: httpx.Client) -> None:
    for _ in range(20):
        task = create(ann, **WEEKLY)
        before = others(ann, task)
        with ThreadPoolExecutor(2) as threads:
            completing, deleting = threads.submit(complete, ann, task), threads.submit(ann.delete, path_of(task))
        completed, deleted = completing.result(), deleting.result()
        assert deleted.status_code == 204
        assert completed.status_code in (200, 404)
        assert ann.get(path_of(task)).status_code == 404
        assert len(others(ann, *before)) == (1 if completed.status_code == 200 else 0)


# What was there when the completion began and is not what it finds when its turn comes.


@each_kind
@each_way
def test_a_completion_that_waited_for_a_deletion_finds_nothing(
    ann: httpx.Client, database_url: str, method: str, fields: dict[str, str]
) -> None:
    task = create(ann, **fields)
    answer = meanwhile(database_url, task, "DELETE FROM task", lambda: complete(ann, task, method))
    assert_problem(answer, 404, "TASK_NOT_FOUND")
    assert ann.get("/api/tasks").json() == []


@pytest.mark.parametrize("fields", [{"due_date": DUE}, {}], ids=["due", "plain"])
def test_a_completion_that_waited_has_lost_its_version(
    ann: httpx.Client, database_url: str, fields: dict[str, str]
) -> None:
    task = create(ann, **fields)
    answer = meanwhile(
        database_url,
        task,
        "UPDATE task SET version = version + 1",
        lambda: ann.patch(path_of(task), json=DONE, headers={"If-Match": '"1"'}),
    )
    assert_problem(answer, 412, "PRECONDITION_FAILED")
    assert ann.get("/api/tasks").json() == [{**task, "version": 2}]


def test_a_completion_that_waited_for_a_rule_makes_the_next_one(ann: httpx.Client, database_url: str) -> None:
    task = create(ann, due_date=DUE)
    statement = "UPDATE task SET version = version + 1, recurrence_rule = 'FREQ=WEEKLY'"
    answer = meanwhile(database_url, task, statement, lambda: complete(ann, task))
    assert (answer.status_code, answer.json()["status"], answer.json()["version"]) == (200, "completed", 3)
    assert [moment(coming["due_date"]) for coming in others(ann, task)] == [moment("2030-02-07T09:00:00+01:00")]


def test_a_completion_that_waited_for_a_reopening_makes_the_next_one(ann: httpx.Client, database_url: str) -> None:
    task = create(ann, **WEEKLY, **DONE)
    statement = "UPDATE task SET version = version + 1, status = 'pending', completed_at = NULL"
    answer = meanwhile(database_url, task, statement, lambda: complete(ann, task))
    assert (answer.status_code, answer.json()["status"], answer.json()["version"]) == (200, "completed", 3)
    assert len(others(ann, task)) == 1


# One message, or two; and one transaction.


@each_way
def test_a_completion_is_one_message_and_two_where_the_task_recurs(database_url: str, method: str) -> None:
    with overheard(database_url) as (wire, client):

        def messages(task: dict[str, Any], **changes: Any) -> int:
            wire.queries.clear()
            assert complete(client, task, method, **changes).status_code == 200
            return len(wire.queries)

        assert messages(create(client)) == 1
        assert messages(create(client, due_date=DUE)) == 1
        assert messages(create(client, **WEEKLY), recurrence_rule=None) == 1
        assert messages(recurring := create(client, **WEEKLY)) == 2
        assert messages(recurring) == 1
        assert messages(recurring, **OPEN) == 1
        assert messages(recurring) == 2


def test_the_completion_and_the_next_one_are_of_one_transaction(ann: httpx.Client, database_url: str) -> None:
    task = create(ann, **WEEKLY)
    complete(ann, task)
    rows = execute(
        database_url,
        "SET app.user_id = %s; SELECT count(*), count(DISTINCT xmin::text) FROM task WHERE user_id = %s",
        task["user_id"],
        task["user_id"],
    )
    assert rows == [(2, 1)]


@each_way
def test_a_next_one_that_cannot_be_made_leaves_the_task_as_it_is(empty_database: str, method: str) -> None:
    migrations.upgrade(empty_database, wait_seconds=5)
    token = {"Authorization": f"Bearer {sign({'sub': f'user-{uuid4()}'})}"}
    with (
        serving(settings(database_url=empty_database)) as url,
        httpx.Client(base_url=url, headers=token) as client,
    ):
        task = create(client, **WEEKLY)
        execute(empty_database, "ALTER TABLE task ADD CONSTRAINT no_next_one CHECK (due_date < '2030-02-01')")
        assert_problem(complete(client, task, method), 500, "INTERNAL_ERROR")
        assert client.get("/api/tasks").json() == [task]
        execute(empty_database, "ALTER TABLE task DROP CONSTRAINT no_next_one")
        assert complete(client, task, method).json()["version"] == 2
        assert len(others(client, task)) == 1
