"""Tasks in the files of other programs: a table in CSV (RFC 4180), and to-dos in iCalendar (RFC 5545)."""

import csv
import io
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from functools import cache
from typing import Any, Protocol

from backend.completion import local_due
from backend.fields import DAY
from backend.tasks import Priority, Status, tasks

# What a spreadsheet takes for the beginning of a formula, also as wide characters, and what undoes its quoting.
FORMULA = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20']")
STATUSES = {Status.pending: "NEEDS-ACTION", Status.in_progress: "IN-PROCESS", Status.completed: "COMPLETED"}
PERCENT = {Status.pending: 0, Status.completed: 100}  # of one in progress nobody knows
PRIORITIES = {Priority.high: 1, Priority.medium: 5, Priority.low: 9}
LAST_DATE = date(2100, 1, 1)  # until which a file says when the clocks change
NO_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")  # control characters, which have no place in iCalendar's text

Row = dict[str, Any]  # a task of an export


class File(Protocol):
    """A file that is written by pages: its head, the text of some tasks, and its end."""

    media_type: str
    head: str
    end: str

    def page(self, rows: Iterable[Row]) -> str:
        """Return the text of some tasks."""


def _cell(value: Any) -> Any:
    """Return a value as a spreadsheet shows it and does not calculate it."""
    if isinstance(value, list):
        value = _line(value) if value else ""
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def _line(values: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(values)  # whose line's end says what is quoted, too
    return text.getvalue().removesuffix("\r\n")


class CsvFile:
    """A line for each task below one with the names. The byte order mark is for Excel, which needs it for UTF-8."""

    media_type = "text/csv"
    columns = tuple(column.name for column in tasks.statements.shown if column.name != "user_id")
    head = f"\ufeff{','.join(columns)}\r\n"
    end = ""

    def page(self, rows: Iterable[Row]) -> str:
        """Return the lines of some tasks."""
        return "".join(f"{_line(_cell(row[name]) for name in self.columns)}\r\n" for row in rows)


class CalendarFile:
    """A VTODO for each task, and before the first that needs it the VTIMEZONE of an offset from UTC."""

    media_type = "text/calendar"
    end = "END:VCALENDAR\r\n"

    def __init__(self) -> None:
        from icalendar import Calendar  # here, because most processes never need it

        calendar = Calendar()
        calendar.add("version", "2.0")
        calendar.add("prodid", "-//Better Tasks//Better Tasks 1//EN")
        calendar.add("x-wr-calname", "Tasks")
        self.head = _text(calendar).removesuffix(self.end)
        self._zones: set[str] = set()

    def page(self, rows: Iterable[Row]) -> str:
        """Return the components of some tasks."""
        return "".join(text for row in rows for text in self._components(row))

    def _components(self, row: Row) -> Iterable[str]:
        from icalendar import Todo

        changed = datetime.fromisoformat(row["updated_at"])
        todo = Todo()
        todo.add("uid", row["id"])
        todo.add("dtstamp", changed)
        todo.add("summary", _plain(row["title"]))
        if row["description"]:
            todo.add("description", _plain(row["description"]))
        todo.add("status", STATUSES[row["status"]])
        if row["status"] in PERCENT:
            todo.add("percent-complete", PERCENT[row["status"]])
        todo.add("priority", PRIORITIES[row["priority"]])
        if row["tags"]:
            todo.add("categories", row["tags"])
        todo.add("created", datetime.fromisoformat(row["created_at"]))
        todo.add("last-modified", changed)
        todo.add("sequence", row["version"] - 1)
        if row["completed_at"]:
            todo.add("completed", datetime.fromisoformat(row["completed_at"]))
        if row["due_date"]:
            yield from self._add_due(todo, row)
        yield _text(todo)

    def _add_due(self, todo: Any, row: Row) -> Iterable[str]:
        """Add when a task is due, and comes again; yield the time zone of that, if it is not there yet."""
        zone, rule = row["time_zone"], row["recurrence_rule"]
        if DAY.fullmatch(row["due_date"]):
            day = date.fromisoformat(row["due_date"])
            self._add_times(todo, day, rule)
            return
        moment = datetime.fromisoformat(row["due_date"])
        try:
            local = local_due(moment, row["due_offset"] if rule else 0, zone)
        except OverflowError:  # there it is before the year 1 or after 9999
            local, zone = moment, None
        if not (zone or local.utcoffset()):
            self._add_times(todo, local.astimezone(UTC), rule)
            return
        name = zone or f"UTC{local:%z}"
        self._add_times(todo, local, rule, {"TZID": name})
        if name not in self._zones:
            self._zones.add(name)
            yield _zone_of(name) if zone else _text(_timezone(name, local))

    @staticmethod
    def _add_times(todo: Any, due: date, rule: str | None, parameters: dict[str, str] | None = None) -> None:
        shown = due.replace(tzinfo=None) if isinstance(due, datetime) and parameters else due
        todo.add("due", shown, parameters=parameters)
        if rule:
            from icalendar import vRecur

            todo.add("dtstart", shown, parameters=parameters)  # a rule needs a start: as Apple Reminders writes it
            parts = vRecur.from_ical(rule)
            if "UNTIL" in parts:
                parts["UNTIL"] = [_until(parts["UNTIL"][0], due)]
            todo.add("rrule", parts)


@cache  # there are six hundred, and each takes a while
def _zone_of(name: str) -> str:
    from icalendar import Timezone

    return _text(Timezone.from_tzid(name, last_date=LAST_DATE))


def _timezone(name: str, local: datetime) -> Any:
    from icalendar import Timezone, TimezoneStandard

    always = TimezoneStandard()
    always.add("dtstart", datetime(1970, 1, 1))  # noqa: DTZ001 (local time, as it must be)
    always.add("tzoffsetfrom", local.utcoffset())
    always.add("tzoffsetto", local.utcoffset())
    zone = Timezone()
    zone.add("tzid", name)
    zone.add_component(always)
    return zone


def _until(end: date, due: date) -> date:
    """Return the end of a rule as it must be: a date where it starts with one, else in UTC, of a date its day's end."""
    if not isinstance(due, datetime):
        return end.date() if isinstance(end, datetime) else end
    if not isinstance(end, datetime):
        end = datetime.combine(end, time(23, 59, 59))
    end = end if end.tzinfo else end.replace(tzinfo=due.tzinfo)
    try:
        return end.astimezone(UTC)
    except OverflowError:  # a rule without an end, as people write it: 99991231
        return datetime.max.replace(microsecond=0, tzinfo=UTC)


def _plain(text: str) -> str:
    return NO_TEXT.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _text(component: Any) -> str:
    return str(component.to_ical().decode())


FILES: dict[str, type[File]] = {"csv": CsvFile, "ics": CalendarFile}
