"""Tasks in the files of other programs: a table in CSV (RFC 4180), and to-dos in iCalendar (RFC 5545)."""

import csv
import io
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Protocol

from backend.completion import local_due
from backend.tasks import Priority, Status, tasks

# What a spreadsheet takes for the beginning of a formula, also as wide characters, and what undoes its quoting.
FORMULA = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20']")
STATUSES = {Status.pending: "NEEDS-ACTION", Status.in_progress: "IN-PROCESS", Status.completed: "COMPLETED"}
PERCENT = {Status.pending: 0, Status.completed: 100}  # of one in progress nobody knows
PRIORITIES = {Priority.high: 1, Priority.medium: 5, Priority.low: 9}
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
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()


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
        due = datetime.fromisoformat(row["due_date"])
        if not row["recurrence_rule"]:
            todo.add("due", due.astimezone(UTC))
            return
        from icalendar import vRecur

        local = local_due(due, row["due_offset"])
        assert local
        rule = vRecur.from_ical(row["recurrence_rule"])
        if "UNTIL" in rule:
            rule["UNTIL"] = [_until(rule["UNTIL"][0], local)]
        todo.add("rrule", rule)
        offset = local.utcoffset()
        zone = f"UTC{local:%z}"
        for name in ("dtstart", "due"):  # a rule needs a start: the same, as Apple Reminders writes it
            if offset:
                todo.add(name, local.replace(tzinfo=None), parameters={"TZID": zone})
            else:
                todo.add(name, local.astimezone(UTC))
        if offset and zone not in self._zones:
            self._zones.add(zone)
            yield _text(_timezone(zone, offset))


def _timezone(name: str, offset: timedelta) -> Any:
    from icalendar import Timezone, TimezoneStandard

    always = TimezoneStandard()
    always.add("dtstart", datetime(1970, 1, 1))  # noqa: DTZ001 (local time, as it must be)
    always.add("tzoffsetfrom", offset)
    always.add("tzoffsetto", offset)
    zone = Timezone()
    zone.add("tzid", name)
    zone.add_component(always)
    return zone


def _until(end: date, due: datetime) -> datetime:
    """Return the end of a rule in UTC, as it must be beside a start with a zone: of a date, the end of its day."""
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
