"""A task from one line (frontend/lib/quick.ts): what is read, what stays in the title, and when it is due."""

import json
import os
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import httpx
import pytest

from tests.helpers import create
from tests.project import installed

BERLIN, LOS_ANGELES = "Europe/Berlin", "America/Los_Angeles"
NOW = "2030-05-15T12:00:00Z"  # a Wednesday: 14:00 in Berlin, and 05:00 in Los Angeles
PROGRAM = """
const { parse } = require("./quick.js");
const given = ({ now, ignored, ...rest }) => ({ ...rest, now: new Date(now), ignored: new Set(ignored) });
const lines = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(lines.map(({ text, ...rest }) => parse(text, given(rest)))));
"""

Parse = Callable[..., list[dict[str, Any]]]


class Line(NamedTuple):
    """A line, and the task that it is; the due date by the user's clock: a day, or with a time."""

    text: str
    title: str
    due: str | None = None
    rule: str | None = None
    tags: tuple[str, ...] = ()
    priority: str | None = None
    due_in_los_angeles: str | None = None  # where that is not the same


LINES = [
    Line(
        "Pay rent tomorrow 9am every month #money !high",
        "Pay rent",
        "2030-05-16T09:00",
        "FREQ=MONTHLY",
        ("money",),
        "high",
    ),
    Line("  Buy   milk ", "Buy milk"),
    # Days
    Line("Call Ann today", "Call Ann", "2030-05-15"),
    Line("Call Ann tomorrow", "Call Ann", "2030-05-16"),
    Line("tomorrow call Ann", "call Ann", "2030-05-16"),
    Line("Call Ann tmr", "Call Ann", "2030-05-16"),
    Line("Call Ann the day after tomorrow", "Call Ann", "2030-05-17"),
    Line("Call Ann Friday about rent", "Call Ann about rent", "2030-05-17"),
    Line("Call Ann on Friday", "Call Ann", "2030-05-17"),
    Line("Call Ann by Friday", "Call Ann", "2030-05-17"),
    Line("Call Ann due Friday", "Call Ann", "2030-05-17"),
    Line("Call Ann fri", "Call Ann", "2030-05-17"),
    Line("Call Ann tues", "Call Ann", "2030-05-21"),
    Line("Call Ann Wednesday", "Call Ann", "2030-05-15"),
    Line("Call Ann next Friday", "Call Ann", "2030-05-24"),
    Line("Call Ann this weekend", "Call Ann", "2030-05-18"),
    Line("Call Ann next week", "Call Ann", "2030-05-20"),
    Line("Call Ann next month", "Call Ann", "2030-06-01"),
    Line("Call Ann next year", "Call Ann", "2031-01-01"),
    Line("Call Ann in 3 days", "Call Ann", "2030-05-18"),
    Line("Call Ann in a week", "Call Ann", "2030-05-22"),
    Line("Call Ann in two months", "Call Ann", "2030-07-15"),
    Line("Call Ann by the end of the month", "Call Ann", "2030-05-31"),
    Line("Call Ann on the 10th", "Call Ann", "2030-06-10"),
    Line("Call Ann 31 May", "Call Ann", "2030-05-31"),
    Line("Call Ann on the 31st of May", "Call Ann", "2030-05-31"),
    Line("Call Ann May 31", "Call Ann", "2030-05-31"),
    Line("Call Ann 5 May", "Call Ann", "2031-05-05"),
    Line("Call Ann Dec 25", "Call Ann", "2030-12-25"),
    Line("Call Ann 5 May 2032", "Call Ann", "2032-05-05"),
    Line("Call Ann 29 February", "Call Ann", "2032-02-29"),
    Line("Call Ann 2030-06-01", "Call Ann", "2030-06-01"),
    Line("Call Ann 31.5.2030", "Call Ann", "2030-05-31"),
    Line("Call Ann 5/31/2030", "Call Ann", "2030-05-31"),
    # Times
    Line("Call Ann today at 9", "Call Ann", "2030-05-15T09:00"),
    Line("Call Ann at 9", "Call Ann", "2030-05-16T09:00", due_in_los_angeles="2030-05-15T09:00"),
    Line("Call Ann 9:30pm", "Call Ann", "2030-05-15T21:30"),
    Line("Call Ann at 15:30 #work", "Call Ann", "2030-05-15T15:30", tags=("work",)),
    Line("Call Ann at 12am", "Call Ann", "2030-05-16T00:00"),
    Line("Call Ann tomorrow at noon", "Call Ann", "2030-05-16T12:00"),
    Line("Call Ann tomorrow at 9 about rent", "Call Ann about rent", "2030-05-16T09:00"),
    Line("Call Ann at 5pm on Friday", "Call Ann", "2030-05-17T17:00"),
    Line("Call Ann Wednesday 9am", "Call Ann", "2030-05-22T09:00", due_in_los_angeles="2030-05-15T09:00"),
    Line("Call Ann tomorrow morning", "Call Ann", "2030-05-16T09:00"),
    Line("Call Ann tonight", "Call Ann", "2030-05-15T21:00"),
    Line("Call Ann tonight at 1", "Call Ann", "2030-05-16T01:00"),
    Line("Call Ann tomorrow evening at 7", "Call Ann", "2030-05-16T19:00"),
    Line("Call Ann in 2 hours", "Call Ann", "2030-05-15T16:00", due_in_los_angeles="2030-05-15T07:00"),
    Line("Call Ann in half an hour", "Call Ann", "2030-05-15T14:30", due_in_los_angeles="2030-05-15T05:30"),
    Line("Call Ann Dec 25 at 8am", "Call Ann", "2030-12-25T08:00"),
    # Rules
    Line("Water every day", "Water", "2030-05-15", "FREQ=DAILY"),
    Line("Water daily at 8", "Water", "2030-05-16T08:00", "FREQ=DAILY", due_in_los_angeles="2030-05-15T08:00"),
    Line("Water every 3 days", "Water", "2030-05-15", "FREQ=DAILY;INTERVAL=3"),
    Line("Water every other day", "Water", "2030-05-15", "FREQ=DAILY;INTERVAL=2"),
    Line("Water every morning", "Water", "2030-05-16T09:00", "FREQ=DAILY", due_in_los_angeles="2030-05-15T09:00"),
    Line(
        "Standup every weekday 8:30",
        "Standup",
        "2030-05-16T08:30",
        "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR",
        due_in_los_angeles="2030-05-15T08:30",
    ),
    Line("Clean every weekend", "Clean", "2030-05-18", "FREQ=WEEKLY;BYDAY=SA"),
    Line("Report every Monday", "Report", "2030-05-20", "FREQ=WEEKLY;BYDAY=MO"),
    Line("Report every Wednesday", "Report", "2030-05-15", "FREQ=WEEKLY;BYDAY=WE"),
    Line("Report every Monday and Thursday", "Report", "2030-05-16", "FREQ=WEEKLY;BYDAY=MO,TH"),
    Line(
        "Gym every mon, wed and fri at 7",
        "Gym",
        "2030-05-17T07:00",
        "FREQ=WEEKLY;BYDAY=MO,WE,FR",
        due_in_los_angeles="2030-05-15T07:00",
    ),
    Line("Bins every 2 weeks", "Bins", "2030-05-15", "FREQ=WEEKLY;INTERVAL=2"),
    Line("Bins every other week on Saturday", "Bins", "2030-05-18", "FREQ=WEEKLY;INTERVAL=2;BYDAY=SA"),
    Line("Bins every other Tuesday", "Bins", "2030-05-21", "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU"),
    Line("Report weekly", "Report", "2030-05-15", "FREQ=WEEKLY"),
    Line("Rent every month on the 31st", "Rent", "2030-05-31", "FREQ=MONTHLY;SKIP=BACKWARD;BYMONTHDAY=31"),
    Line("Rent every month on the 1st and 15th", "Rent", "2030-05-15", "FREQ=MONTHLY;BYMONTHDAY=1,15"),
    Line("Rent every month on the last Friday", "Rent", "2030-05-31", "FREQ=MONTHLY;BYDAY=-1FR"),
    Line("Rent every month on the first Monday at 10", "Rent", "2030-06-03T10:00", "FREQ=MONTHLY;BYDAY=1MO"),
    Line("Rent every 2nd Tuesday of the month", "Rent", "2030-06-11", "FREQ=MONTHLY;BYDAY=2TU"),
    Line("Rent monthly on the third Wed", "Rent", "2030-05-15", "FREQ=MONTHLY;BYDAY=3WE"),
    Line("Rent every last Friday", "Rent", "2030-05-31", "FREQ=MONTHLY;BYDAY=-1FR"),
    Line("Bins weekly on Monday and Thursday", "Bins", "2030-05-16", "FREQ=WEEKLY;BYDAY=MO,TH"),
    Line("Rent on the last day of every month", "Rent", "2030-05-31", "FREQ=MONTHLY;BYMONTHDAY=-1"),
    Line("Rent every 15th", "Rent", "2030-05-15", "FREQ=MONTHLY;BYMONTHDAY=15"),
    Line("Rent every month 31 May", "Rent", "2030-05-31", "FREQ=MONTHLY;SKIP=BACKWARD"),
    Line("Rent monthly from 1 June", "Rent", "2030-06-01", "FREQ=MONTHLY"),
    Line("Rent monthly on the 30th", "Rent", "2030-05-30", "FREQ=MONTHLY;SKIP=BACKWARD;BYMONTHDAY=30"),
    Line("Taxes every 3 months", "Taxes", "2030-05-15", "FREQ=MONTHLY;INTERVAL=3"),
    Line("Taxes quarterly", "Taxes", "2030-05-15", "FREQ=MONTHLY;INTERVAL=3"),
    Line("Taxes every year", "Taxes", "2030-05-15", "FREQ=YEARLY"),
    Line("Taxes yearly on 31 May", "Taxes", "2030-05-31", "FREQ=YEARLY"),
    Line("Birthday every 5 May", "Birthday", "2031-05-05", "FREQ=YEARLY"),
    Line("Birthday every year on 29 February", "Birthday", "2032-02-29", "FREQ=YEARLY;SKIP=BACKWARD"),
    Line("Report every Monday starting 1 June", "Report", "2030-06-03", "FREQ=WEEKLY;BYDAY=MO"),
    # Tags and priorities
    Line("#home Water #Home #garden-1 #日本", "Water", tags=("home", "garden-1", "日本")),
    Line("Buy milk, !low", "Buy milk", priority="low"),
    Line("Buy !low milk #shop", "Buy milk", tags=("shop",), priority="low"),
    Line("Buy milk !1", "Buy milk", priority="high"),
    Line("Buy milk !2", "Buy milk", priority="medium"),
    Line("Buy milk !3 soon", "Buy milk soon", priority="low"),
    # What is left is the title
    Line("Pay rent, tomorrow, 9am", "Pay rent", "2030-05-16T09:00"),
    Line("Pay rent (tomorrow), then rest", "Pay rent, then rest", "2030-05-16"),
    Line("tomorrow #home", "tomorrow #home", "2030-05-16", tags=("home",)),
    Line("Read chapter 12 tomorrow", "Read chapter 12", "2030-05-16"),
    Line("Meeting tomorrow 9-10am", "Meeting 9-10am", "2030-05-16"),
    Line("Call Ann Friday about Sunday lunch", "Call Ann about Sunday lunch", "2030-05-17"),
    Line("Call Ann tomorrow at midnight", "Call Ann at midnight", "2030-05-16"),
]
# Words that only look like dates, times, rules, tags and priorities, and days that are no due date.
PLAIN = [
    "Read 1984",
    "May's birthday card",
    "Ask whether they may come",
    "Plan the trip in March 2031",
    "Buy 2 sat nav mounts",
    "Call Mon-Fri office",
    "Second coat of paint",
    "Read today's paper",
    "Prepare the Monday meeting",
    "Book a table for Friday",
    "Closed until Monday",
    "Trip Friday to Sunday",
    "Watch film Friday and Saturday",
    "Answer what Ann asked last Friday",
    "Find out what broke yesterday",
    "Keep the receipt of 2020-05-31",
    "Buy Black Friday socks",
    "2 weeks holiday",
    "3/4 pound of butter",
    "Support 24/7",
    "Pay on 3/4/2031",
    "Meet at 10 Downing Street",
    "Buy 10 eggs",
    "Pay 12.30 euros",
    "Walk from 9am-10am",
    "Buy 5m of rope",
    "Good morning coffee",
    "Evening class",
    "Weekly report",
    "Read the Daily Mail",
    "Every time it rings",
    "Check every 2 hours",
    "Sleep in 99999999999 hours",
    "Retire in 99999999999 days",
    "Deliver to the 31st floor",
    "Fix issue #12",
    "Learn C#",
    "See example.com/#top",
    "Wow!1 and !important and !!",
    "#" + "a" * 51,
]
TABLE = [*LINES, *(Line(text, text) for text in PLAIN)]


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Parse:
    """Parses many lines in one Node process, whose own zone is another than the user's."""
    frontend, folder = installed(root / "frontend"), tmp_path_factory.mktemp("quick")
    (folder / "node_modules").symlink_to(frontend / "node_modules")
    options = f"--noCheck --module commonjs --target es2023 --outDir {folder} lib/quick.ts"
    subprocess.run(["node_modules/.bin/tsc", *options.split()], cwd=frontend, check=True)

    def parse(lines: list[dict[str, Any]], zone: str = "UTC") -> list[dict[str, Any]]:
        given = json.dumps([{"now": NOW, "locale": "en-GB", "ignored": [], **line} for line in lines])
        environment = {**os.environ, "TZ": zone}
        command = ["node", "-e", PROGRAM]
        ended = subprocess.run(command, cwd=folder, env=environment, input=given, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        parsed: list[dict[str, Any]] = json.loads(ended.stdout)
        return parsed

    return parse


def both_zones() -> list[dict[str, Any]]:
    return [{"text": line.text, "timeZone": zone} for line in TABLE for zone in (BERLIN, LOS_ANGELES)]


@pytest.fixture(scope="module")
def parsed(run: Parse) -> dict[tuple[str, str], dict[str, Any]]:
    given = both_zones()
    return {(one["text"], one["timeZone"]): task for one, task in zip(given, run(given), strict=True)}


def written(local: str, zone: str) -> str:
    """Return a due date as the API takes it."""
    if "T" not in local:
        return local
    return datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone)).isoformat()


@pytest.mark.parametrize("zone", [BERLIN, LOS_ANGELES])
@pytest.mark.parametrize("line", TABLE, ids=lambda line: line.text)
def test_a_line_is_a_task(parsed: dict[tuple[str, str], dict[str, Any]], line: Line, zone: str) -> None:
    found = dict(parsed[line.text, zone])
    parts = found.pop("parts")
    expected: dict[str, Any] = {"title": line.title, "tags": list(line.tags)}
    if line.due:
        due = (line.due_in_los_angeles or line.due) if zone == LOS_ANGELES else line.due
        expected |= {"due_date": written(due, zone), "time_zone": zone}
    expected |= {"recurrence_rule": line.rule} if line.rule else {}
    expected |= {"priority": line.priority} if line.priority else {}
    assert found == expected
    assert [part["start"] for part in parts] == sorted(part["start"] for part in parts)
    assert all(part["text"] == line.text[part["start"] : part["end"]] and part["label"] for part in parts)
    kinds = {part["kind"] for part in parts}
    assert ("rule" in kinds, "tag" in kinds, "priority" in kinds) == tuple(
        name in expected and bool(expected[name]) for name in ("recurrence_rule", "tags", "priority")
    )


def test_a_line_is_the_same_task_whatever_the_zone_of_the_machine(
    run: Parse, parsed: dict[tuple[str, str], dict[str, Any]]
) -> None:
    given = both_zones()
    assert run(given, BERLIN) == list(parsed.values())


# Where the user's day is not that of UTC, and where clocks are put forward and back
MOMENTS = [
    (BERLIN, "2030-05-15T21:59:30Z", "Call Ann today", "2030-05-15"),
    (BERLIN, "2030-05-15T22:00:00Z", "Call Ann today", "2030-05-16"),
    (BERLIN, "2030-05-15T21:59:30Z", "Call Ann tomorrow at 9", "2030-05-16T09:00:00+02:00"),
    (BERLIN, "2030-05-15T22:30:00Z", "Call Ann at 0:15", "2030-05-17T00:15:00+02:00"),
    (BERLIN, "2030-05-15T21:59:30Z", "Call Ann in 5 minutes", "2030-05-16T00:04:00+02:00"),
    (BERLIN, "2030-05-15T21:59:30Z", "Water every day at 8", "2030-05-16T08:00:00+02:00"),
    (BERLIN, "2030-05-17T21:59:30Z", "Call Ann Friday", "2030-05-17"),
    (BERLIN, "2030-12-31T22:59:59Z", "Call Ann tomorrow", "2031-01-01"),
    (BERLIN, "2030-12-31T23:00:00Z", "Call Ann 1 January", "2031-01-01"),
    (BERLIN, "2031-01-31T12:00:00Z", "Call Ann in a month", "2031-02-28"),
    (BERLIN, "2031-01-31T12:00:00Z", "Call Ann next month", "2031-02-01"),
    (BERLIN, "2031-02-10T12:00:00Z", "Rent every month on the 31st", "2031-02-28"),
    (BERLIN, "2032-02-29T12:00:00Z", "Call Ann 29 February", "2032-02-29"),
    (BERLIN, "2032-03-01T12:00:00Z", "Call Ann 29 February", "2036-02-29"),
    (LOS_ANGELES, "2030-05-16T06:59:30Z", "Call Ann today", "2030-05-15"),
    (LOS_ANGELES, "2030-05-16T07:00:00Z", "Call Ann today", "2030-05-16"),
    (LOS_ANGELES, "2030-05-16T06:59:30Z", "Call Ann in 5 minutes", "2030-05-16T00:04:00-07:00"),
    # On 31 March 2030 in Berlin 02:00 is 03:00; on 27 October 03:00 is 02:00 once more.
    (BERLIN, "2030-03-30T12:00:00Z", "Call Ann at 11am", "2030-03-31T11:00:00+02:00"),
    (BERLIN, "2030-03-30T12:00:00Z", "Call Ann tomorrow at 1:30", "2030-03-31T01:30:00+01:00"),
    (BERLIN, "2030-03-30T12:00:00Z", "Call Ann tomorrow at 2:30", "2030-03-31T03:30:00+02:00"),
    (BERLIN, "2030-03-31T00:30:00Z", "Call Ann in 1 hour", "2030-03-31T03:30:00+02:00"),
    (BERLIN, "2030-03-30T22:30:00Z", "Call Ann tomorrow", "2030-03-31"),
    (BERLIN, "2030-10-26T12:00:00Z", "Call Ann tomorrow at 2:30", "2030-10-27T02:30:00+02:00"),
    (BERLIN, "2030-10-26T12:00:00Z", "Call Ann tomorrow at 3", "2030-10-27T03:00:00+01:00"),
    (BERLIN, "2030-10-26T23:30:00Z", "Call Ann in 3 hours", "2030-10-27T03:30:00+01:00"),
    (BERLIN, "2030-10-26T22:30:00Z", "Water every day at 8", "2030-10-27T08:00:00+01:00"),
    # In Los Angeles that is on 10 March and on 3 November.
    (LOS_ANGELES, "2030-03-09T20:00:00Z", "Call Ann tomorrow at 2:30", "2030-03-10T03:30:00-07:00"),
    (LOS_ANGELES, "2030-11-02T20:00:00Z", "Call Ann tomorrow at 1:30", "2030-11-03T01:30:00-07:00"),
    (LOS_ANGELES, "2030-11-02T20:00:00Z", "Call Ann in 2 days at 9", "2030-11-04T09:00:00-08:00"),
    ("Asia/Kolkata", "2030-05-15T18:29:00Z", "Call Ann at 9", "2030-05-16T09:00:00+05:30"),
    ("UTC", "2030-05-15T12:00:00Z", "Call Ann at 9", "2030-05-16T09:00:00+00:00"),
]


@pytest.mark.parametrize("machine", ["UTC", BERLIN])
def test_a_due_date_is_by_the_users_clock(run: Parse, machine: str) -> None:
    given = [{"timeZone": zone, "now": now, "text": text} for zone, now, text, _ in MOMENTS]
    found = [
        (one["timeZone"], one["now"], one["text"], task["due_date"])
        for one, task in zip(given, run(given, machine), strict=True)
    ]
    assert found == MOMENTS


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("Pay tomorrow 9am every month #money !high", ["Tomorrow, 9:00", "every month", "#money", "high"]),
        ("tomorrow pay at 9 !3", ["Tomorrow", "9:00", "low"]),
        ("Pay at 9", ["Tomorrow, 9:00"]),
        ("Pay 31 May", ["Fri 31 May"]),
        ("Pay 5 May", ["Mon, 5 May 2031"]),
        ("Standup every weekday 8:30", ["every weekday", "Tomorrow, 8:30"]),
        ("Bins every other week on Mon & Thu", ["every 2 weeks on Monday and Thursday"]),
        ("Rent every month on the 31st", ["every month on the 31st"]),
        ("Rent monthly on the last day", ["every month on the last day"]),
        ("Rent every month on the 2nd Tuesday", ["every month on the second Tuesday"]),
        ("Taxes quarterly", ["every 3 months"]),
        ("Birthday every 5 May", ["every year", "Mon, 5 May 2031"]),
    ],
)
def test_parts_say_in_words_what_they_mean(run: Parse, text: str, labels: list[str]) -> None:
    [task] = run([{"text": text, "timeZone": BERLIN}])
    assert [part["label"] for part in task["parts"]] == labels


@pytest.mark.parametrize(
    ("ignored", "expected"),
    [
        ([], ("Pay", "2030-05-16T09:00:00+02:00", ["money"])),
        (["#money"], ("Pay #money", "2030-05-16T09:00:00+02:00", [])),
        (["tomorrow 9am"], ("Pay tomorrow 9am", None, ["money"])),
        (["tomorrow 9am", "#money"], ("Pay tomorrow 9am #money", None, [])),
        (["tom"], ("Pay", "2030-05-16T09:00:00+02:00", ["money"])),
    ],
)
def test_a_part_can_be_made_text_again(run: Parse, ignored: list[str], expected: tuple[Any, ...]) -> None:
    [task] = run([{"text": "Pay tomorrow 9am #money", "timeZone": BERLIN, "ignored": ignored}])
    assert (task["title"], task.get("due_date"), task["tags"]) == expected


def test_a_line_has_no_more_tags_than_a_task(run: Parse) -> None:
    tags = [f"#t{number}" for number in range(21)]
    [task] = run([{"text": " ".join(["Pay", *tags]), "timeZone": BERLIN}])
    assert (task["title"], len(task["tags"])) == ("Pay #t20", 20)


def test_the_api_takes_each_task_of_a_line(ann: httpx.Client, parsed: dict[tuple[str, str], dict[str, Any]]) -> None:
    bodies = [{name: value for name, value in task.items() if name != "parts"} for task in parsed.values()]
    distinct = {json.dumps({**body, "title": ""}): body for body in bodies}
    for body in distinct.values():
        task = create(ann, **body)
        assert {name: task[name] for name in body if name != "due_date"} == {
            name: value for name, value in body.items() if name != "due_date"
        }
        if "due_date" in body:
            assert datetime.fromisoformat(task["due_date"]) == datetime.fromisoformat(body["due_date"])
