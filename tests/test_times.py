"""Times as people mean them: time zones, whole days, and answers that are sent back."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from tests.helpers import Task, assert_problem, create, every, ids, pages, path_of

DONE, OPEN = {"status": "completed"}, {"status": "pending"}
SAID = ("title", "description", "status", "priority", "due_date", "time_zone", "recurrence_rule", "tags")


def next_of(client: httpx.Client, task: Task, **changes: Any) -> Task:
    """Complete a task, and return its next occurrence."""
    answer = client.patch(path_of(task), json={**DONE, **changes})
    assert answer.status_code == 200, answer.text
    link, relation = answer.headers["Link"].split("; ")
    assert relation == 'rel="next-occurrence"'
    found: Task = client.get(link[1:-1]).json()
    return found


# Time zones


@pytest.mark.parametrize(
    ("zone", "due", "coming"),
    [
        ("Europe/Berlin", "2035-10-22T09:00:00+02:00", "2035-10-29T09:00:00+01:00"),
        ("Europe/Berlin", "2035-03-19T09:00:00+01:00", "2035-03-26T09:00:00+02:00"),
        ("America/New_York", "2035-11-01T09:00:00Z", "2035-11-08T10:00:00Z"),
        (None, "2035-10-22T09:00:00+02:00", "2035-10-29T09:00:00+02:00"),
    ],
)
def test_a_task_with_a_zone_comes_again_at_the_same_hour_there(
    ann: httpx.Client, zone: str | None, due: str, coming: str
) -> None:
    task = create(ann, due_date=due, time_zone=zone, recurrence_rule="FREQ=WEEKLY")
    following = next_of(ann, task)
    assert datetime.fromisoformat(following["due_date"]) == datetime.fromisoformat(coming)
    assert following["time_zone"] == zone


def test_a_day_of_a_rule_is_the_zones_day(ann: httpx.Client) -> None:
    # Monday in Tokyo, and Sunday in UTC.
    task = create(ann, due_date="2035-01-07T15:30:00Z", time_zone="Asia/Tokyo", recurrence_rule="FREQ=WEEKLY;BYDAY=MO")
    assert next_of(ann, task)["due_date"] == "2035-01-14T15:30:00+00:00"


def test_a_zone_that_comes_later_counts_from_then_on(ann: httpx.Client) -> None:
    task = create(ann, due_date="2035-10-22T09:00:00+02:00", recurrence_rule="FREQ=WEEKLY")
    coming = next_of(ann, task, time_zone="Europe/Berlin")
    assert coming["due_date"] == "2035-10-29T08:00:00+00:00"
    assert next_of(ann, coming, time_zone=None)["due_date"] == "2035-11-05T08:00:00+00:00"  # as its offset says


@pytest.mark.parametrize(
    "zone", ["europe/berlin", "Berlin", "+01:00", "localtime", "Factory", "right/UTC", "../zone", "Europe", "", "\0", 1]
)
def test_a_zone_that_iana_does_not_name_is_refused(ann: httpx.Client, zone: Any) -> None:
    answer = ann.post("/api/tasks", json={"title": "t", "time_zone": zone})
    assert_problem(answer, 422, "VALIDATION_ERROR")
    assert answer.json()["field"] == "time_zone"


# Whole days


def test_a_whole_day_is_answered_as_one_everywhere(ann: httpx.Client) -> None:
    task = create(ann, due_date="2035-01-01", time_zone="Europe/Berlin")
    assert task["due_date"] == "2035-01-01"
    assert ann.get(path_of(task)).json() == task
    assert ann.get("/api/tasks").json() == [task]
    assert ann.get("/api/tasks?sort=due_date").json() == [task]
    assert ann.get("/api/changes?since=0").json()["changes"][0]["row"] == task
    moved = ann.patch(path_of(task), json={"due_date": "2035-01-02"}).json()
    assert moved["due_date"] == "2035-01-02"
    [_, change] = ann.get(f"{path_of(task)}/history").json()[::-1]
    assert change["changes"] == [{"field": "due_date", "from": "2035-01-01", "to": "2035-01-02"}]
    assert (
        ann.patch(path_of(task), json={"due_date": "2035-01-02T09:00:00Z"}).json()["due_date"].startswith("2035-01-02T")
    )
    assert ann.patch(path_of(task), json={"due_date": "2035-01-03"}).json()["due_date"] == "2035-01-03"
    assert ann.patch(path_of(task), json={"due_date": None}).json()["due_date"] is None


@pytest.mark.parametrize("day", ["2035-02-30", "2035-1-1", "20350101", "9999-12-31", "0000-01-01", "2035-01-01 "])
def test_a_day_that_there_is_not_is_refused(ann: httpx.Client, day: str) -> None:
    answer = ann.post("/api/tasks", json={"title": "t", "due_date": day})
    assert_problem(answer, 422, "VALIDATION_ERROR")
    assert answer.json()["field"] == "due_date"


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-30"])
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago", None])
def test_a_day_at_either_end_of_the_calendar_is_like_any_other(ann: httpx.Client, day: str, zone: str | None) -> None:
    tasks = [create(ann, due_date=day, time_zone=zone, recurrence_rule="FREQ=YEARLY") for _ in range(2)]
    found = [task for page in pages(ann, "/api/tasks?sort=due_date&limit=1") for task in page]
    assert sorted(ids(found)) == sorted(ids(tasks))
    assert ann.patch(path_of(tasks[0]), json=DONE).status_code == 200


@pytest.mark.parametrize(("zone", "end"), [(None, "2035-01-02T00:00:00Z"), ("Asia/Tokyo", "2035-01-01T15:00:00Z")])
def test_a_whole_day_is_due_at_its_end_in_its_zone(ann: httpx.Client, zone: str | None, end: str) -> None:
    task = create(ann, due_date="2035-01-01", time_zone=zone)
    last = (datetime.fromisoformat(end) - timedelta(microseconds=1)).isoformat()
    assert ids(ann.get("/api/tasks", params={"due_before": end}).json()) == [task["id"]]
    assert ids(ann.get("/api/tasks", params={"due_from": last}).json()) == [task["id"]]
    assert ann.get("/api/tasks", params={"due_before": last}).json() == []
    assert ann.get("/api/tasks", params={"due_from": end}).json() == []
    assert ann.get("/api/tasks?due=none").json() == []


def test_a_zone_that_changes_moves_the_end_of_the_day(ann: httpx.Client) -> None:
    task = create(ann, due_date="2035-01-01")
    ann.patch(path_of(task), json={"time_zone": "Asia/Tokyo"})
    assert ann.get("/api/tasks?due_from=2035-01-01T15:00:00Z").json() == []
    ann.patch("/api/tasks?status=pending", json={"time_zone": "America/New_York"})
    assert ids(ann.get("/api/tasks?due_from=2035-01-02T04:59:59Z").json()) == [task["id"]]
    assert ann.get(path_of(task)).json()["due_date"] == "2035-01-01"


@pytest.mark.parametrize("sort", ["due_date", "-due_date"])
@pytest.mark.parametrize("limit", [1, 2, 3, 500])
def test_whole_days_page_between_moments(ann: httpx.Client, sort: str, limit: int) -> None:
    dues = ["2035-01-01T23:59:59Z", "2035-01-01", "2035-01-02T00:00:00Z", "2035-01-02", "2035-01-02", None]
    made = [create(ann, title=str(place), due_date=due) for place, due in enumerate(dues)]
    dated = made[:3] + sorted(made[3:5], key=lambda task: task["id"])
    expected = [*(dated if sort == "due_date" else dated[::-1]), made[5]]
    assert ids(every(ann, f"/api/tasks?sort={sort}&limit={limit}")) == ids(expected)


@pytest.mark.parametrize(
    ("rule", "day", "coming"),
    [
        ("FREQ=DAILY", "2035-01-01", "2035-01-02"),
        ("FREQ=WEEKLY;BYDAY=MO,FR", "2035-01-01", "2035-01-05"),
        ("FREQ=MONTHLY;SKIP=BACKWARD;RSCALE=GREGORIAN", "2035-01-31", "2035-02-28"),
        ("FREQ=DAILY;UNTIL=20350102", "2035-01-01", "2035-01-02"),
        ("FREQ=DAILY;UNTIL=20350102T000000Z", "2035-01-01", "2035-01-02"),
    ],
)
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago", None])
def test_a_whole_day_comes_again_as_one(ann: httpx.Client, zone: str | None, rule: str, day: str, coming: str) -> None:
    task = create(ann, due_date=day, time_zone=zone, recurrence_rule=rule)
    following = next_of(ann, task)
    assert (following["due_date"], following["time_zone"]) == (coming, zone)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC"])
def test_a_whole_day_that_is_late_comes_next_after_today_there(ann: httpx.Client, zone: str) -> None:
    task = create(ann, due_date="2020-01-01", time_zone=zone, recurrence_rule="FREQ=DAILY")
    before = datetime.now(ZoneInfo(zone)).date()
    coming = next_of(ann, task)["due_date"]
    after = datetime.now(ZoneInfo(zone)).date()
    assert coming in {(day + timedelta(days=1)).isoformat() for day in (before, after)}


def test_a_rule_with_hours_is_for_moments(ann: httpx.Client) -> None:
    said = {"title": "t", "due_date": "2035-01-01", "recurrence_rule": "FREQ=DAILY;BYHOUR=9"}
    answer = ann.post("/api/tasks", json=said)
    assert_problem(answer, 422, "VALIDATION_ERROR")
    assert answer.json()["errors"] == [
        {"field": "recurrence_rule", "message": "must not name hours, minutes or seconds of a whole day"}
    ]
    task = create(ann, **said | {"due_date": "2035-01-01T09:00:00Z"})
    assert_problem(ann.patch(path_of(task), json={"due_date": "2035-01-01"}), 422, "VALIDATION_ERROR")


def test_a_request_that_is_repeated_makes_one_whole_day(ann: httpx.Client) -> None:
    said = {"title": "t", "due_date": "2035-01-01", "time_zone": "Asia/Tokyo"}
    first, again = (ann.post("/api/tasks", json=said, headers={"Idempotency-Key": "day"}) for _ in range(2))
    assert again.json() == first.json()
    other = ann.post("/api/tasks", json=said | {"due_date": "2035-01-02"}, headers={"Idempotency-Key": "day"})
    assert_problem(other, 422, "IDEMPOTENCY_KEY_REUSED")


def test_whole_days_and_zones_come_back_from_an_export_and_an_undo(ann: httpx.Client, bob: httpx.Client) -> None:
    create(ann, due_date="2035-01-01", time_zone="Asia/Tokyo", recurrence_rule="FREQ=DAILY")
    create(ann, due_date="2035-10-22T09:00:00+02:00", time_zone="Europe/Berlin", recurrence_rule="FREQ=WEEKLY")
    document = ann.get("/api/export").json()
    assert bob.post("/api/import", json=document).json()["tasks"] == 2
    day, moment = every(bob, "/api/tasks?sort=due_date")
    assert [task["due_date"] for task in (day, moment)] == ["2035-01-01", "2035-10-22T07:00:00+00:00"]
    assert bob.get("/api/tasks?due_from=2035-01-01T15:00:00Z&due_before=2035-02-01T00:00:00Z").json() == []
    deletion = bob.delete(path_of(day))
    assert bob.post(f"/api/changes/{deletion.headers['Change']}/undo").status_code == 200
    back = bob.get(path_of(day)).json()
    assert next_of(bob, back)["due_date"] == "2035-01-02"
    assert next_of(bob, moment)["due_date"] == "2035-10-29T08:00:00+00:00"


# What was read can be written back


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize(
    ("due", "zone", "coming"),
    [
        ("2035-01-08T00:30:00+09:00", None, "2035-01-14T15:30:00+00:00"),
        ("2035-01-08T00:30:00+09:00", "Asia/Tokyo", "2035-01-14T15:30:00+00:00"),
        ("2035-01-08", None, "2035-01-15"),
    ],
)
def test_an_answer_that_is_sent_back_changes_nothing_of_what_follows(
    ann: httpx.Client, method: str, due: str, zone: str | None, coming: str
) -> None:
    task = create(ann, due_date=due, time_zone=zone, recurrence_rule="FREQ=WEEKLY;BYDAY=MO")
    for _ in range(2):
        task = ann.request(method, path_of(task), json=task).json()
    following = next_of(ann, task, **{name: task[name] for name in SAID if name != "status"})
    assert following["due_date"] == coming


def test_another_moment_or_offset_that_is_sent_counts(ann: httpx.Client) -> None:
    rule = "FREQ=WEEKLY;BYDAY=MO"
    task = create(ann, due_date="2035-01-08T00:30:00+09:00", recurrence_rule=rule)
    ann.patch(path_of(task), json={"due_date": "2035-01-07T16:30:00+01:00"})  # the same moment, on a Sunday
    assert next_of(ann, task)["due_date"] == "2035-01-08T15:30:00+00:00"
    task = create(ann, due_date="2035-01-08T00:30:00+09:00", recurrence_rule=rule)
    ann.patch(path_of(task), json={"due_date": "2035-01-07T15:31:00Z"})
    assert next_of(ann, task)["due_date"] == "2035-01-08T15:31:00+00:00"


# Reopening


def completed(client: httpx.Client, **said: Any) -> tuple[Task, Task]:
    """Return a task that was completed, and its next occurrence."""
    task = create(client, due_date="2035-01-01T09:00:00Z", recurrence_rule="FREQ=DAILY", **said)
    return task, next_of(client, task)


@pytest.mark.parametrize("status", ["pending", "in_progress"])
@pytest.mark.parametrize("method", ["PATCH", "PUT", "PATCH of many"])
def test_reopening_takes_away_the_next_occurrence(ann: httpx.Client, method: str, status: str) -> None:
    task, coming = completed(ann)
    body = {"status": status} | ({name: task[name] for name in SAID if name != "status"} if method == "PUT" else {})
    path = "/api/tasks?status=completed" if method == "PATCH of many" else path_of(task)
    answer = ann.request(method.partition(" ")[0], path, json=body)
    assert answer.status_code == 200, answer.text
    assert "Link" not in answer.headers
    [left] = ann.get("/api/tasks").json()
    assert (left["id"], left["status"]) == (task["id"], status)
    seq = int(answer.headers["Change"])
    changes = ann.get(f"/api/changes?since={seq - 1}").json()["changes"]
    assert {(one["id"], one.get("deleted", False)) for one in changes} == {(task["id"], False), (coming["id"], True)}
    assert ann.post(f"/api/changes/{seq}/undo").status_code == 200
    assert sorted(one["status"] for one in ann.get("/api/tasks").json()) == ["completed", "pending"]


@pytest.mark.parametrize("changes", [{"title": "Mine"}, {"priority": "high"}, DONE])
def test_reopening_leaves_a_next_occurrence_that_was_touched(ann: httpx.Client, changes: dict[str, str]) -> None:
    task, coming = completed(ann)
    assert ann.patch(path_of(coming), json=changes).status_code == 200
    ann.patch(path_of(task), json=OPEN)
    assert coming["id"] in ids(ann.get("/api/tasks").json())
    assert ann.patch(path_of(task), json=DONE).headers["Link"].startswith(f"</api/tasks/{coming['id']}>")


def test_reopening_many_with_their_next_ones_takes_these_away(ann: httpx.Client) -> None:
    pairs = [completed(ann, tags=["home"]) for _ in range(3)]
    touched = pairs[2][1]
    ann.patch(path_of(touched), json={"title": "Mine"})
    assert ann.patch("/api/tasks?tag=home", json={"status": "in_progress"}).json() == {"updated": 4}
    left = ann.get("/api/tasks").json()
    assert sorted(ids(left)) == sorted([*(task["id"] for task, _ in pairs), touched["id"]])
    assert {task["status"] for task in left} == {"in_progress"}


def test_what_does_not_reopen_takes_nothing_away(ann: httpx.Client) -> None:
    task, coming = completed(ann)
    for change in ({"title": "Still done"}, DONE, {**DONE, "recurrence_rule": None}):
        assert ann.patch(path_of(task), json=change).status_code == 200
    assert ann.patch(path_of(coming), json={"status": "pending"}).status_code == 200
    assert_problem(ann.patch(path_of(task), json=OPEN, headers={"If-Match": '"1"'}), 412, "PRECONDITION_FAILED")
    assert coming["id"] in ids(ann.get("/api/tasks").json())


def test_nobody_elses_task_goes(ann: httpx.Client, bob: httpx.Client) -> None:
    task, coming = completed(ann)
    document = ann.get("/api/export").json()
    assert bob.post("/api/import", json=document).json()["tasks"] == 2
    bob.patch(path_of(task), json=OPEN)
    assert ids(bob.get("/api/tasks").json()) == [task["id"]]
    assert coming["id"] in ids(ann.get("/api/tasks").json())


def test_a_completion_names_its_next_occurrence_and_nothing_else_does(ann: httpx.Client) -> None:
    plain = create(ann, due_date="2035-01-01")
    assert "Link" not in ann.patch(path_of(plain), json=DONE).headers
    last = create(ann, due_date="2035-01-01", recurrence_rule="FREQ=DAILY;COUNT=1")
    assert "Link" not in ann.patch(path_of(last), json=DONE).headers
    assert datetime.now(UTC) < datetime(2035, 1, 1, tzinfo=UTC)


def test_the_day_after_the_last_one_does_not_come(ann: httpx.Client) -> None:
    task = create(ann, due_date="9999-12-30", time_zone="America/New_York", recurrence_rule="FREQ=DAILY")
    answer = ann.patch(path_of(task), json=DONE)
    assert (answer.status_code, "Link" in answer.headers) == (200, False)
    assert ids(ann.get("/api/tasks?sort=-due_date").json()) == [task["id"]]
