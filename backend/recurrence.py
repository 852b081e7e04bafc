"""Recurrence rules (RFC 5545, section 3.3.10): which are accepted, and when a task is due next."""

import re
from datetime import UTC, datetime, tzinfo
from math import prod

from dateutil.rrule import rrulestr

WEEKDAY = "(MO|TU|WE|TH|FR|SA|SU)"
DAYS_OF_MONTH = dict(zip(range(1, 13), (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), strict=True))
# At most this many times a day: dateutil expands all hours, minutes and seconds before it starts.
MAX_TIMES_A_DAY = 24


def _list(item: str) -> str:
    return f"(?:{item})(?:,(?:{item}))*"


PARTS = {
    "FREQ": "DAILY|WEEKLY|MONTHLY|YEARLY",
    "INTERVAL": r"[1-9]\d{0,2}",
    "COUNT": r"[1-9]\d{0,5}",
    "UNTIL": r"\d{8}(T\d{6}Z?)?",
    "BYSECOND": _list(r"[0-5]?\d"),
    "BYMINUTE": _list(r"[0-5]?\d"),
    "BYHOUR": _list(r"[01]?\d|2[0-3]"),
    "BYDAY": _list(rf"([+-]?[1-5]?\d)?{WEEKDAY}"),
    "BYMONTHDAY": _list(r"[+-]?(?:[1-9]|[12]\d|3[01])"),
    "BYYEARDAY": _list(r"[+-]?[1-9]\d{0,2}"),
    "BYWEEKNO": _list(r"[+-]?(?:[1-9]|[1-4]\d|5[0-3])"),
    "BYMONTH": _list(r"[1-9]|1[0-2]"),
    "BYSETPOS": _list(r"[+-]?[1-9]\d{0,2}"),
    "WKST": WEEKDAY,
}
# Combinations that the RFC forbids. Refusing them also keeps the search short (see _first_after).
NOT_WITH = {
    "DAILY": ("BYYEARDAY", "BYWEEKNO", "BYSETPOS"),
    "WEEKLY": ("BYYEARDAY", "BYWEEKNO", "BYMONTHDAY"),
    "MONTHLY": ("BYYEARDAY", "BYWEEKNO"),
    "YEARLY": (),
}


def _parts(rule: str) -> dict[str, str]:
    pairs = [part.partition("=")[::2] for part in rule.split(";")]
    parts = dict(pairs)
    if len(parts) < len(pairs):
        raise ValueError("must not name a part of the rule twice")
    for name, value in parts.items():
        if name not in PARTS or not re.fullmatch(PARTS[name], value, re.ASCII):
            raise ValueError("must be an RFC 5545 rule like FREQ=WEEKLY;BYDAY=MO;COUNT=10")
    if "FREQ" not in parts:
        raise ValueError("must have a FREQ of DAILY, WEEKLY, MONTHLY or YEARLY")
    return parts


def check(rule: str) -> str:
    """Return the rule unchanged; raise ValueError with a sentence if a task cannot have it."""
    parts = _parts(rule)
    for name in NOT_WITH[parts["FREQ"]]:
        if name in parts:
            raise ValueError(f"must not have {name} with FREQ={parts['FREQ']}")
    if {"COUNT", "UNTIL"} <= parts.keys():
        raise ValueError("must not have both COUNT and UNTIL")
    if re.search(r"\d", parts.get("BYDAY", "")) and (parts["FREQ"] in ("DAILY", "WEEKLY") or "BYWEEKNO" in parts):
        raise ValueError("must have a number in BYDAY only with FREQ=MONTHLY or YEARLY, and without BYWEEKNO")
    if prod(len(parts.get(name, "0").split(",")) for name in ("BYHOUR", "BYMINUTE", "BYSECOND")) > MAX_TIMES_A_DAY:
        raise ValueError(f"must not occur more than {MAX_TIMES_A_DAY} times a day")
    if {"BYMONTH", "BYMONTHDAY"} <= parts.keys():
        longest = max(DAYS_OF_MONTH[int(month)] for month in parts["BYMONTH"].split(","))
        if all(abs(int(day)) > longest for day in parts["BYMONTHDAY"].split(",")):
            raise ValueError("must occur at some time: none of these months has such a day")
    try:
        _until(parts)
        rrulestr(_without_end(parts), dtstart=datetime(2000, 1, 1))  # noqa: DTZ001 (wall-clock time)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError):
        raise ValueError("must be an RFC 5545 rule like FREQ=WEEKLY;BYDAY=MO;COUNT=10") from None
    return rule


def _without_end(parts: dict[str, str]) -> str:
    return ";".join(f"{name}={value}" for name, value in parts.items() if name not in ("COUNT", "UNTIL"))


def _until(parts: dict[str, str], zone: tzinfo | None = None) -> datetime | None:
    """Return the last moment of a rule: a date includes its whole day, Z means UTC, no Z means the given zone."""
    text = parts.get("UNTIL")
    if text is None:
        return None
    until = datetime.strptime(text[:15] if "T" in text else f"{text}T235959", "%Y%m%dT%H%M%S")  # noqa: DTZ007
    return until.replace(tzinfo=UTC if text.endswith("Z") else zone)


def _first_after(rule: str, start: datetime) -> datetime | None:
    """Return a rule's first occurrence after its start, both in wall-clock time.

    dateutil searches up to the year 9999, which takes seconds for a rule that never occurs. The calendar repeats
    every 400 years, weekdays included, so the search starts where fewer than 450 years are left.
    """
    cycles = max(0, (9999 - 50 - start.year) // 400)
    moved = start.replace(year=start.year + 400 * cycles)
    try:
        found = rrulestr(rule, dtstart=moved).after(moved)
    except ValueError:  # a week that runs into the year 10000
        return None
    return found.replace(year=found.year - 400 * cycles) if found else None


def next_occurrence(rule: str, due: datetime) -> tuple[datetime, str] | None:
    """Return the next due date of a task that is due at `due`, and its rule from then on; None if it was the last.

    The rule is read in wall-clock time at the due date's own offset from UTC. A COUNT goes down by one.
    """
    parts = _parts(rule)
    count = int(parts.get("COUNT", "0"))
    if count == 1:
        return None
    found = _first_after(_without_end(parts), due.replace(tzinfo=None))
    if found is None:
        return None
    coming = found.replace(tzinfo=due.tzinfo)
    until = _until(parts, due.tzinfo)
    if until is not None and coming > until:
        return None
    try:
        coming.astimezone(UTC)
    except OverflowError:
        return None
    if count:
        parts["COUNT"] = str(count - 1)
    return coming, ";".join(f"{name}={value}" for name, value in parts.items())
