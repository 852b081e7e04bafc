"""Recurrence rules (RFC 5545, section 3.3.10; SKIP of RFC 7529): which are accepted, and when a task is due next."""

import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from itertools import product
from math import prod

from dateutil.rrule import rrule, rruleset, rrulestr

DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
WEEKDAY = f"({'|'.join(DAYS)})"
DAYS_OF_MONTH = dict(zip(range(1, 13), (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), strict=True))
TIMES = ("BYHOUR", "BYMINUTE", "BYSECOND")
# At most this many times a day: dateutil expands all hours, minutes and seconds before it starts.
MAX_TIMES_A_DAY = 24
MAX_COUNTED = 1_000_000


def _list(item: str) -> str:
    return f"(?:{item})(?:,(?:{item}))*"


# The parts of a rule: the form of each, and the same in words.
PARTS = {
    "FREQ": ("DAILY|WEEKLY|MONTHLY|YEARLY", "DAILY, WEEKLY, MONTHLY or YEARLY"),
    "INTERVAL": (r"[1-9]\d{0,2}", "1 to 999"),
    "COUNT": (r"[1-9]\d{0,5}", "1 to 999999"),
    "UNTIL": (r"\d{8}(T\d{6}Z?)?", "a day like 20301231 or a time like 20301231T090000Z"),
    "BYSECOND": (_list(r"[0-5]?\d"), "0 to 59"),
    "BYMINUTE": (_list(r"[0-5]?\d"), "0 to 59"),
    "BYHOUR": (_list(r"[01]?\d|2[0-3]"), "0 to 23"),
    "BYDAY": (_list(rf"([+-]?[1-5]?\d)?{WEEKDAY}"), "days like MO,WE or -1FR"),
    "BYMONTHDAY": (_list(r"[+-]?(?:[1-9]|[12]\d|3[01])"), "1 to 31, or -1 to -31 from the end"),
    "BYYEARDAY": (_list(r"[+-]?[1-9]\d{0,2}"), "1 to 366, or -1 to -366 from the end"),
    "BYWEEKNO": (_list(r"[+-]?(?:[1-9]|[1-4]\d|5[0-3])"), "1 to 53, or -1 to -53 from the end"),
    "BYMONTH": (_list(r"[1-9]|1[0-2]"), "1 to 12"),
    "BYSETPOS": (_list(r"[+-]?[1-9]\d{0,2}"), "1 to 366, or -1 to -366 from the end"),
    "WKST": (WEEKDAY, "a day like MO"),
    "SKIP": ("OMIT|BACKWARD|FORWARD", "OMIT, BACKWARD or FORWARD"),
    "RSCALE": ("GREGORIAN", "GREGORIAN"),
}
# Combinations that the RFC forbids. Refusing them also keeps the search short (see _from).
NOT_WITH = {
    "DAILY": ("BYYEARDAY", "BYWEEKNO", "BYSETPOS"),
    "WEEKLY": ("BYYEARDAY", "BYWEEKNO", "BYMONTHDAY"),
    "MONTHLY": ("BYYEARDAY", "BYWEEKNO"),
    "YEARLY": (),
}
NOT_WITH_SKIP = ("BYDAY", "BYYEARDAY", "BYWEEKNO", "BYSETPOS")

Parts = dict[str, str]


def _parts(rule: str) -> Parts:
    pairs = [part.partition("=")[::2] for part in rule.split(";")]
    parts = dict(pairs)
    if len(parts) < len(pairs):
        raise ValueError("must not name a part of the rule twice")
    # Which part is bad is said, and not what was sent.
    for number, (name, value) in enumerate(pairs, 1):
        if name not in PARTS:
            raise ValueError(
                f"must be an RFC 5545 rule like FREQ=WEEKLY;BYDAY=MO;COUNT=10: part {number} is none of it"
            )
        form, words = PARTS[name]
        if not re.fullmatch(form, value, re.ASCII):
            raise ValueError(f"must have as {name} {words}")
    if "FREQ" not in parts:
        raise ValueError("must have a FREQ of DAILY, WEEKLY, MONTHLY or YEARLY")
    return parts


def _text(parts: Parts) -> str:
    return ";".join(f"{name}={value}" for name, value in parts.items())


def check(rule: str) -> str:
    """Return the rule in capitals, without an RRULE: in front; raise ValueError with a sentence for what cannot be.

    Names and values are the same in any case (RFC 5545, section 3.1).
    """
    rule = rule.upper().removeprefix("RRULE:")
    parts = _parts(rule)
    freq = parts["FREQ"]
    for name in NOT_WITH[freq]:
        if name in parts:
            raise ValueError(f"must not have {name} with FREQ={freq}")
    if {"COUNT", "UNTIL"} <= parts.keys():
        raise ValueError("must not have both COUNT and UNTIL")
    if re.search(r"\d", parts.get("BYDAY", "")) and (freq in ("DAILY", "WEEKLY") or "BYWEEKNO" in parts):
        raise ValueError("must have a number in BYDAY only with FREQ=MONTHLY or YEARLY, and without BYWEEKNO")
    if prod(len(parts.get(name, "0").split(",")) for name in TIMES) > MAX_TIMES_A_DAY:
        raise ValueError(f"must not occur more than {MAX_TIMES_A_DAY} times a day")
    if _skips(parts):
        if freq not in ("MONTHLY", "YEARLY") or any(name in parts for name in NOT_WITH_SKIP):
            raise ValueError("must have SKIP only for days of the month, with FREQ=MONTHLY or YEARLY")
        if "-" in parts.get("BYMONTHDAY", ""):
            raise ValueError("must not have SKIP with a BYMONTHDAY from the end, which every month has")
    elif {"BYMONTH", "BYMONTHDAY"} <= parts.keys():
        longest = max(DAYS_OF_MONTH[int(month)] for month in parts["BYMONTH"].split(","))
        if all(abs(int(day)) > longest for day in parts["BYMONTHDAY"].split(",")):
            raise ValueError("must occur at some time: none of these months has such a day")
    try:
        _until(parts)
    except ValueError:
        raise ValueError("must have as UNTIL a time that there is") from None
    try:
        _dateutils(parts, datetime(2000, 1, 1))  # noqa: DTZ001 (wall-clock time)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError):
        raise ValueError("must be an RFC 5545 rule like FREQ=WEEKLY;BYDAY=MO;COUNT=10") from None
    return rule


def _skips(parts: Parts) -> bool:
    return parts.get("SKIP", "OMIT") != "OMIT"


def _dateutils(parts: Parts, start: datetime) -> rrule | rruleset:
    """Return the rule, without its end and SKIP, as dateutil has it."""
    rule = _text({name: value for name, value in parts.items() if name not in ("COUNT", "UNTIL", "SKIP", "RSCALE")})
    return rrulestr(rule, dtstart=start)


def _until(parts: Parts, zone: tzinfo | None = None) -> datetime | None:
    """Return the last moment of a rule: a date includes its whole day, Z means UTC, no Z means the given zone."""
    text = parts.get("UNTIL")
    if text is None:
        return None
    until = datetime.strptime(text[:15] if "T" in text else f"{text}T235959", "%Y%m%dT%H%M%S")  # noqa: DTZ007
    return until.replace(tzinfo=UTC if text.endswith("Z") else zone)


def _explicit(parts: Parts, start: datetime) -> Parts:
    """Return the rule with what it leaves to its start (RFC 5545, section 3.3.10) said, so that any start will do."""
    said = dict(parts)
    for name, value in zip(TIMES, (start.hour, start.minute, start.second), strict=True):
        said.setdefault(name, str(value))
    if not {"BYDAY", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO"} & parts.keys():
        if parts["FREQ"] == "WEEKLY":
            said["BYDAY"] = DAYS[start.weekday()]
        elif parts["FREQ"] in ("MONTHLY", "YEARLY"):
            said["BYMONTHDAY"] = str(start.day)
            if parts["FREQ"] == "YEARLY":
                said.setdefault("BYMONTH", str(start.month))
    return said


def _period(parts: Parts, start: datetime, after: datetime) -> datetime:
    """Return where the last period of a rule begins that has begun at `after`: a day, week, month or year of it."""
    interval, midnight = int(parts.get("INTERVAL", "1")), datetime.combine(start, time())
    match parts["FREQ"]:
        case "YEARLY":
            return midnight.replace(start.year + (after.year - start.year) // interval * interval, 1, 1)
        case "MONTHLY":
            months = (after.year - start.year) * 12 + after.month - start.month
            months = start.month - 1 + months // interval * interval
            return midnight.replace(start.year + months // 12, months % 12 + 1, 1)
        case "WEEKLY":
            interval *= 7
            midnight -= timedelta((start.weekday() - DAYS.index(parts.get("WKST", "MO"))) % 7)
    return midnight + timedelta((after - midnight).days // interval * interval)


def _skipping(parts: Parts, start: datetime) -> Iterator[datetime]:
    """Yield the occurrences of a rule with SKIP: a day that a month does not have is its last, or the next one's first.

    RFC 7529, section 4.1.
    """
    clock = product(*(map(int, parts[name].split(",")) for name in TIMES))
    times = sorted(time(hour, minute, second) for hour, minute, second in clock)
    days = sorted(map(int, parts["BYMONTHDAY"].split(",")))
    months = _dateutils({**parts, "BYMONTHDAY": "1", "BYHOUR": "0", "BYMINUTE": "0", "BYSECOND": "0"}, start)
    last = None
    for month in months:
        length = monthrange(month.year, month.month)[1]
        for day in days:
            there = month + timedelta(min(day, length + (parts["SKIP"] == "FORWARD")) - 1)
            if last is None or there > last:
                last = there
                yield from (datetime.combine(there, at) for at in times)


def _from(parts: Parts, start: datetime, after: datetime, wanted: datetime) -> Iterator[datetime]:
    """Yield a rule's occurrences after a time, all in wall-clock time, up to 400 years after the one that is wanted.

    dateutil goes on up to the year 9999, which takes seconds for a rule that never occurs. The calendar repeats every
    400 years, weekdays included, so it begins where fewer than 450 years are left.
    """
    said = _explicit(parts, start)
    years = 400 * max(0, (9999 - 50 - wanted.year) // 400)
    begins = _period(said, _moved(start, years), _moved(after, years))
    every = _skipping(said, begins) if _skips(said) else iter(_dateutils(said, begins))
    try:
        for one in every:
            found = _moved(one, -years)
            if found > after:
                yield found
    except (ValueError, OverflowError):  # a week or a month that runs into the year 10000
        return


def _moved(moment: datetime, years: int) -> datetime:
    return moment.replace(year=moment.year + years)


class TooManyError(Exception):
    """More occurrences would have to be counted than there is time for."""


class Budget:
    """How many occurrences may be counted, for all rules of one request: a million take seconds."""

    def __init__(self) -> None:
        self.left = MAX_COUNTED

    def spend(self) -> None:
        """Count one. Raises TooManyError."""
        self.left -= 1
        if self.left < 0:
            raise TooManyError


def _next(parts: Parts, start: datetime, after: datetime, budget: Budget) -> Iterator[tuple[datetime, int]]:
    """Yield the occurrences after `after`, each with its number where they are counted; the start is none of them."""
    if "COUNT" not in parts:
        yield from ((found, 1) for found in _from(parts, start, after, after))
        return
    for number, found in enumerate(_from(parts, start, start, after), 1):
        budget.spend()
        if number >= int(parts["COUNT"]):
            return
        if found > after:
            yield found, number


def _from_then_on(parts: Parts, start: datetime, passed: int) -> str:
    """Return a rule as the next occurrence has it."""
    parts = dict(parts)
    if "COUNT" in parts:
        parts["COUNT"] = str(int(parts["COUNT"]) - passed)
    if _skips(parts):  # the next one may be on another day of its month, and the one after it not
        said = _explicit(parts, start)
        parts |= {name: said[name] for name in ("BYMONTH", "BYMONTHDAY") if name in said}
    return _text(parts)


@dataclass(frozen=True)
class Coming:
    """The next occurrence: when it is due, its rule from then on, and when the rule comes first, passed over or not."""

    due: datetime
    rule: str
    first: datetime


def next_occurrence(rule: str, due: datetime, now: datetime, budget: Budget) -> Coming | None:
    """Return the next occurrence of a task that is due at `due` and completed now; None if that was its last.

    It is the first one after both. A COUNT goes down by all that were passed over. The rule is read in wall-clock time
    where `due` says: in its zone, or at its offset from UTC. A time that a day does not have, because clocks are put
    forward, is read as RFC 5545, section 3.3.5, has it; the day after has its own time again. Raises TooManyError.
    """
    parts, zone = _parts(rule), due.tzinfo
    start, until = due.replace(tzinfo=None), _until(parts, zone)

    def moment(found: datetime) -> datetime:
        return found.replace(tzinfo=zone).astimezone(UTC).astimezone(zone)

    try:
        after = max(start, now.astimezone(zone).replace(tzinfo=None))
        for found, passed in _next(parts, start, after, budget):
            coming = moment(found)
            if until is not None and coming > until:
                return None
            if coming > max(now, due):
                following = _from_then_on(parts, start, passed)
                if coming.replace(tzinfo=None) != found:
                    said = _explicit(parts, found)
                    following = _text(_parts(following) | {name: said[name] for name in TIMES})
                first = found if after == start else next(_from(parts, start, start, start))
                return Coming(coming, following, moment(first))
    except OverflowError:
        pass
    return None
