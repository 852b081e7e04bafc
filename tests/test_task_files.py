"""Tasks as files for other programs: each value is there again when another program reads them."""

import csv
import io
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from icalendar import Calendar

from tests.helpers import FULL, assert_problem, create
from tests.test_transfer import all_tasks, load, task_of

TEXT = 'Buy "milk"; eggs, bread \\n and\\ tea: é 漢字 👍🏽 \u2028 ' + "long " * 10
LINES = "first\nsecond\r\n\tthird, fourth\rfifth"


def exported(client: httpx.Client, kind: str) -> str:
    answer = client.get("/api/export", params={"format": kind})
    assert answer.status_code == 200, answer.text
    return answer.content.decode()


def table(client: httpx.Client) -> list[dict[str, str]]:
    text = exported(client, "csv")
    assert text.startswith("\ufeffid,title,description,"), "a byte order mark, and the names"
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True))


def todos(client: httpx.Client) -> dict[str, Any]:
    calendar: Any = Calendar.from_ical(exported(client, "ics"))
    assert calendar.errors == []
    return {str(todo["uid"]): todo for todo in calendar.walk("VTODO")}


@pytest.mark.parametrize(
    ("query", "accept", "kind"),
    [
        ("", None, "json"),
        ("", "*/*", "json"),
        ("", "text/csv", "csv"),
        ("", "text/calendar", "ics"),
        ("", "TEXT/Calendar;charset=utf-8", "ics"),
        ("", "text/csv;q=0.5, text/calendar;q=0.8, */*;q=0.1", "ics"),
        ("", "text/*, text/csv;q=0.1", "ics"),
        ("", "application/json, text/csv", "json"),
        ("", "application/json;q=0, text/csv;q=0.001", "csv"),
        ("", "text/csv;q=nan, text/calendar;q=", "json"),
        ("", "image/png", "json"),
        ("?format=csv", "text/calendar", "csv"),
        ("?format=ics", "application/json", "ics"),
        ("?format=json", "text/csv", "json"),
    ],
)
def test_the_format_is_what_the_parameter_says_or_else_accept(
    ann: httpx.Client, query: str, accept: str | None, kind: str
) -> None:
    answer = ann.get(f"/api/export{query}", headers={} if accept is None else {"Accept": accept})
    media_type = {"json": "application/json", "csv": "text/csv; charset=utf-8", "ics": "text/calendar; charset=utf-8"}
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, media_type[kind])
    assert answer.headers["Content-Disposition"] == f'attachment; filename="tasks.{kind}"'
    assert answer.headers["Vary"] == "Accept"


@pytest.mark.parametrize(("query", "field"), [("format=xml", "format"), ("format=", "format"), ("form=csv", "form")])
def test_an_unknown_format_or_parameter_is_refused(ann: httpx.Client, query: str, field: str) -> None:
    answer = ann.get(f"/api/export?{query}")
    assert_problem(answer, 422, "VALIDATION_ERROR")
    assert answer.json()["field"] == field


def test_the_description_names_the_three_media_types(api: str) -> None:
    operation = httpx.get(f"{api}/openapi.json").json()["paths"]["/api/export"]["get"]
    content = operation["responses"]["200"]["content"]
    assert content.keys() == {"application/json", "text/csv", "text/calendar"}
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/Document"}


def test_a_table_has_each_value_of_each_task(ann: httpx.Client) -> None:
    create(ann, **FULL)
    create(ann, title=TEXT, description=LINES, tags=["a,b", 'say "x"', "c"])
    create(ann, status="completed")
    rows = table(ann)
    assert len(rows) == 3
    for row, task in zip(rows, reversed(all_tasks(ann)), strict=True):
        assert next(csv.reader([row.pop("tags")]), []) == task.pop("tags")
        del task["user_id"]
        assert row == {name: "" if value is None else str(value) for name, value in task.items()}


def test_every_line_of_a_table_ends_as_rfc_4180_says(ann: httpx.Client) -> None:
    create(ann, title='"quoted"', tags=["home"])
    first, second, rest = exported(ann, "csv").split("\r\n")
    assert (first.count(","), rest) == (second.count(","), "")
    assert ',"""quoted""",' in second


@pytest.mark.parametrize(
    "title", ["=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("http://attacker.test","x")', "\uff1d1", "'=1", "'quoted"]
)
def test_no_cell_is_a_formula_and_an_apostrophe_less_is_the_text(ann: httpx.Client, title: str) -> None:
    create(ann, title=title, description=f"\t{title}", tags=[title])
    [row] = table(ann)
    assert (row["title"], row["description"]) == (f"'{title}", f"'\t{title}")
    assert not re.match("[=+@\uff1d-]", row["tags"])


def test_a_calendar_has_each_value_of_each_task(ann: httpx.Client) -> None:
    create(ann, title=TEXT, description=LINES + "\x01", priority="low", due_date="2030-01-31T09:00:00+01:00")
    create(ann, title="In work", status="in_progress", tags=["a,b", "c;d", "é"])
    done = create(ann, title="Done", priority="high")
    ann.patch(f"/api/tasks/{done['id']}", json={"status": "completed"})

    found = todos(ann)
    tasks = all_tasks(ann)
    assert found.keys() == {task["id"] for task in tasks}
    states = {"pending": ("NEEDS-ACTION", 0), "in_progress": ("IN-PROCESS", None), "completed": ("COMPLETED", 100)}
    for task in tasks:
        todo = found[task["id"]]
        assert todo["summary"] == task["title"]
        assert (todo["status"], todo.get("percent-complete")) == states[task["status"]]
        assert todo["priority"] == {"high": 1, "medium": 5, "low": 9}[task["priority"]]
        assert todo["sequence"] == task["version"] - 1
        assert (
            [str(tag) for tag in todo["categories"].cats if tag] == task["tags"]
            if task["tags"]
            else ("categories" not in todo)
        )
        for name, field in (
            ("created", "created_at"),
            ("last-modified", "updated_at"),
            ("dtstamp", "updated_at"),
            ("completed", "completed_at"),
            ("due", "due_date"),
        ):
            moment = task[field] and datetime.fromisoformat(task[field]).replace(microsecond=0)
            assert (todo[name].dt if name in todo else None) == moment, name
            assert moment is None or todo[name].dt.tzinfo is not None
    [described] = [todo for todo in found.values() if "description" in todo]
    assert described["description"] == "first\nsecond\n\tthird, fourth\nfifth"


def test_a_task_that_comes_again_does_so_on_the_same_days_in_a_calendar(ann: httpx.Client) -> None:
    tokyo = create(ann, due_date="2027-01-04T00:30:00+09:00", recurrence_rule="FREQ=WEEKLY;BYDAY=MO;COUNT=3")
    india = create(ann, due_date="2027-01-04T00:30:00+05:30", recurrence_rule="FREQ=MONTHLY;UNTIL=20280101")
    utc = create(ann, due_date="2027-01-31T09:00:00Z", recurrence_rule="FREQ=MONTHLY;BYDAY=-1FR;UNTIL=20280101T000000")
    found = todos(ann)
    assert found[tokyo["id"]]["rrule"].to_ical() == b"FREQ=WEEKLY;COUNT=3;BYDAY=MO"
    assert found[india["id"]]["rrule"].to_ical() == b"FREQ=MONTHLY;UNTIL=20280101T182959Z"
    assert found[utc["id"]]["rrule"].to_ical() == b"FREQ=MONTHLY;UNTIL=20280101T000000Z;BYDAY=-1FR"
    for task, hours in ((tokyo, 9), (india, 5.5), (utc, 0)):
        todo = found[task["id"]]
        for name in ("dtstart", "due"):
            assert todo[name].dt == datetime.fromisoformat(task["due_date"])
            assert todo[name].dt.utcoffset() == timedelta(hours=hours)
    text = exported(ann, "ics")
    assert re.findall("^TZID:(.*)\r$", text, re.M) == ["UTC+0900", "UTC+0530"], "each once, before it is used"
    assert text.index("BEGIN:VTIMEZONE") < text.index("BEGIN:VTODO")


@pytest.mark.parametrize("rule", ["FREQ=DAILY;UNTIL=99991231", "FREQ=YEARLY;BYWEEKNO=53;WKST=SU"])
@pytest.mark.parametrize("due", ["0001-01-02T00:00:00+14:00", "9999-12-30T00:00:00-12:00"])
def test_a_calendar_holds_the_ends_of_time(ann: httpx.Client, rule: str, due: str) -> None:
    task = create(ann, due_date=due, recurrence_rule=rule)
    assert todos(ann)[task["id"]]["due"].dt == datetime.fromisoformat(due)


def test_lines_of_a_calendar_are_folded_within_75_bytes(ann: httpx.Client) -> None:
    create(ann, title="漢字" * 100, description="é" * 1000)
    text = exported(ann, "ics")
    assert text.startswith("BEGIN:VCALENDAR\r\n")
    assert text.endswith("END:VTODO\r\nEND:VCALENDAR\r\n")
    assert max(len(line.encode()) for line in text.split("\r\n")) <= 75
    assert "\n" not in text.replace("\r\n", "")


def test_files_have_every_page_and_nobody_elses_tasks(ann: httpx.Client, bob: httpx.Client) -> None:
    assert load(ann, {"version": 1, "tasks": [task_of(number) for number in range(1203)]}).status_code == 200
    create(bob, title="Bob's")
    assert [row["title"] for row in table(ann)] == [f"Task {number}" for number in range(1203)]
    assert {str(todo["summary"]) for todo in todos(ann).values()} == {f"Task {number}" for number in range(1203)}


def test_who_has_no_tasks_gets_a_file_all_the_same(ann: httpx.Client) -> None:
    assert (table(ann), todos(ann)) == ([], {})


def test_whole_days_and_time_zones_are_those_of_the_calendar(ann: httpx.Client) -> None:
    rules = {"day": "FREQ=WEEKLY;UNTIL=20350201T090000Z", "moment": "FREQ=WEEKLY;UNTIL=20350201"}
    day = create(ann, due_date="2035-01-01", time_zone="Asia/Tokyo", recurrence_rule=rules["day"])
    moment = create(ann, due_date="2035-01-01T08:00:00Z", time_zone="Europe/Berlin", recurrence_rule=rules["moment"])
    once = create(ann, due_date="2035-07-01T08:00:00Z", time_zone="Europe/Berlin")
    text = exported(ann, "ics")
    assert text.count("TZID:Europe/Berlin") == 1
    found = todos(ann)
    assert found[day["id"]]["due"].dt == found[day["id"]]["dtstart"].dt == date(2035, 1, 1)
    assert found[day["id"]]["rrule"]["UNTIL"] == [date(2035, 2, 1)]
    assert found[moment["id"]]["due"].dt == datetime(2035, 1, 1, 9, tzinfo=ZoneInfo("Europe/Berlin"))
    assert found[moment["id"]]["rrule"]["UNTIL"] == [datetime(2035, 2, 1, 22, 59, 59, tzinfo=UTC)]
    assert found[once["id"]]["due"].dt == datetime(2035, 7, 1, 10, tzinfo=ZoneInfo("Europe/Berlin"))
    assert {row["due_date"]: row["time_zone"] for row in table(ann)}["2035-01-01"] == "Asia/Tokyo"


@pytest.mark.parametrize("text", ["line one\n=1+1", "one\r=1+1", "one\r\ntwo"])
def test_the_end_of_a_line_in_a_text_is_quoted(ann: httpx.Client, text: str) -> None:
    create(ann, description=text)
    assert f'"{text}"' in exported(ann, "csv")
    assert [row["description"] for row in table(ann)] == [text]


@pytest.mark.parametrize(
    ("due", "zone"), [("0001-01-01T00:00:00Z", "America/New_York"), ("9999-12-31T23:00:00Z", "Asia/Tokyo")]
)
def test_a_moment_that_its_zone_has_beyond_the_calendar_is_in_utc(ann: httpx.Client, due: str, zone: str) -> None:
    task = create(ann, due_date=due, time_zone=zone, recurrence_rule="FREQ=DAILY")
    assert todos(ann)[task["id"]]["due"].dt == datetime.fromisoformat(due)


def test_a_time_zone_says_when_clocks_change_for_the_rest_of_the_century(ann: httpx.Client) -> None:
    task = create(ann, due_date="2077-07-01T08:00:00Z", time_zone="Europe/Berlin")
    calendar: Any = Calendar.from_ical(exported(ann, "ics"))
    assert "2099" in calendar.walk("VTIMEZONE")[0].to_ical().decode()
    assert todos(ann)[task["id"]]["due"].dt.astimezone(UTC) == datetime(2077, 7, 1, 8, tzinfo=UTC)
