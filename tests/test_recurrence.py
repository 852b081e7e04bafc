"""Recurrence rules: which are taken, and that they come when python-dateutil says, in bounded time."""

import re
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from hypothesis import given, settings
from hypothesis import strategies as st

from backend import recurrence
from backend.recurrence import Budget, Coming, check


def next_occurrence(rule: str, due: datetime, now: datetime) -> Coming | None:
    return recurrence.next_occurrence(rule, due, now, Budget())


PARIS_IN_WINTER = timezone(timedelta(hours=1))
BEFORE = datetime(2000, 1, 1, tzinfo=UTC)  # when it is done: in time
DUE = datetime(2030, 1, 31, 9, 0, tzinfo=PARIS_IN_WINTER)  # a Thursday


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=DAILY",
        "FREQ=WEEKLY;BYDAY=MO,WE,FR;WKST=SU",
        "INTERVAL=2;FREQ=MONTHLY;BYDAY=-1FR,+2MO",
        "FREQ=MONTHLY;BYMONTHDAY=-1,15",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29",
        "FREQ=YEARLY;BYWEEKNO=53;BYDAY=MO",
        "FREQ=YEARLY;BYYEARDAY=366,-1",
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
        "FREQ=DAILY;BYHOUR=9,17;BYMINUTE=0,30;COUNT=999",
        "FREQ=DAILY;UNTIL=20301231",
        "FREQ=DAILY;UNTIL=20301231T235959Z",
        "FREQ=DAILY;UNTIL=20301231T235959",
    ],
)
def test_a_rule_of_the_rfc_is_taken_as_it_is(rule: str) -> None:
    assert check(rule) == rule


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "weekly",
        "FREQ=HOURLY",
        "FREQ=SECONDLY",
        "BYDAY=MO",
        "FREQ=DAILY;",
        "FREQ=DAILY;FREQ=DAILY",
        "FREQ=DAILY;COUNT=2;COUNT=3",
        "FREQ=DAILY;COUNT=0",
        "FREQ=DAILY;COUNT=-1",
        "FREQ=DAILY;COUNT=1000000",
        "FREQ=DAILY;COUNT=2;UNTIL=20301231",
        "FREQ=DAILY;INTERVAL=0",
        "FREQ=DAILY;INTERVAL=1000",
        "FREQ=DAILY;UNTIL=2030",
        "FREQ=DAILY;UNTIL=20301301",
        "FREQ=DAILY;UNTIL=20300230T000000Z",
        "FREQ=DAILY;BYEASTER=0",
        "FREQ=DAILY;BYWEEKDAY=MO",
        "FREQ=DAILY;BYDAY=1MO",
        "FREQ=WEEKLY;BYDAY=-1FR",
        "FREQ=WEEKLY;BYMONTHDAY=1",
        "FREQ=MONTHLY;BYDAY=0MO",
        "FREQ=MONTHLY;BYYEARDAY=1",
        "FREQ=MONTHLY;BYWEEKNO=1",
        "FREQ=MONTHLY;BYMONTHDAY=32",
        "FREQ=MONTHLY;BYMONTH=13",
        "FREQ=MONTHLY;BYMONTHDAY=\u0663",
        "FREQ=YEARLY;BYDAY=1MO;BYWEEKNO=1",
        "FREQ=YEARLY;BYSETPOS=367;BYDAY=MO",
        "FREQ=DAILY;BYHOUR=24",
        "FREQ=DAILY;BYMINUTE=60",
        f"FREQ=DAILY;BYMINUTE={','.join(map(str, range(60)))}",
        "FREQ=DAILY;BYHOUR=1,2,3,4,5;BYMINUTE=1,2,3,4,5",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=DAILY;BYMONTH=4,6;BYMONTHDAY=31,-31",
        "FREQ=DAILY\nDTSTART:20200101T000000Z",
        "FREQ=DAILY;X-OWN=1",
    ],
)
def test_any_other_is_refused_with_a_sentence(rule: str) -> None:
    with pytest.raises(ValueError, match=r"^must "):
        check(rule)


@pytest.mark.parametrize("rule", ["RRULE:FREQ=DAILY", "freq=daily", "rrule:Freq=Daily"])
def test_a_rule_is_taken_in_any_case_and_with_its_property_in_front(rule: str) -> None:
    assert check(rule) == "FREQ=DAILY"


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("FREQ=HOURLY", "must have as FREQ DAILY, WEEKLY, MONTHLY or YEARLY"),
        ("FREQ=DAILY;INTERVAL=0", "must have as INTERVAL 1 to 999"),
        ("FREQ=DAILY;BYDAY=MO,XX", "must have as BYDAY days like MO,WE or -1FR"),
        ("FREQ=DAILY;UNTIL=20300230", "must have as UNTIL a time that there is"),
        (
            "FREQ=DAILY;BYEASTER=1",
            "must be an RFC 5545 rule like FREQ=WEEKLY;BYDAY=MO;COUNT=10: part 2 is none of it",
        ),
        ("FREQ=DAILY;COUNT=2;COUNT=3", "must not name a part of the rule twice"),
        ("FREQ=WEEKLY;SKIP=FORWARD", "must have SKIP only for days of the month, with FREQ=MONTHLY or YEARLY"),
        (
            "FREQ=MONTHLY;BYDAY=1MO;SKIP=BACKWARD",
            "must have SKIP only for days of the month, with FREQ=MONTHLY or YEARLY",
        ),
        (
            "FREQ=MONTHLY;BYMONTHDAY=-1;SKIP=BACKWARD",
            "must not have SKIP with a BYMONTHDAY from the end, which every month has",
        ),
    ],
)
def test_what_is_refused_names_the_part(rule: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        check(rule)


def series(rule: str, due: datetime, times: int, now: datetime = BEFORE) -> list[datetime]:
    """Return when a task comes that is completed so many times, in wall-clock time."""
    came = []
    for _ in range(times):
        coming = next_occurrence(rule, due, now)
        assert coming is not None
        due, rule = coming.due, coming.rule
        assert check(rule) == rule
        came.append(due.replace(tzinfo=None))
    return came


@pytest.mark.parametrize(
    ("rule", "due", "came"),
    [
        ("FREQ=MONTHLY", "2030-01-31", ["2030-03-31", "2030-05-31", "2030-07-31"]),
        ("FREQ=MONTHLY;SKIP=OMIT", "2030-01-31", ["2030-03-31", "2030-05-31", "2030-07-31"]),
        ("FREQ=MONTHLY;SKIP=BACKWARD", "2030-01-31", ["2030-02-28", "2030-03-31", "2030-04-30"]),
        ("RSCALE=GREGORIAN;FREQ=MONTHLY;SKIP=FORWARD", "2030-01-31", ["2030-03-01", "2030-03-31", "2030-05-01"]),
        ("FREQ=MONTHLY;BYMONTHDAY=1,30;SKIP=FORWARD", "2030-01-30", ["2030-02-01", "2030-03-01", "2030-03-30"]),
        ("FREQ=MONTHLY;INTERVAL=3;SKIP=BACKWARD", "2030-08-31", ["2030-11-30", "2031-02-28", "2031-05-31"]),
        ("FREQ=YEARLY;SKIP=BACKWARD", "2032-02-29", ["2033-02-28", "2034-02-28", "2035-02-28", "2036-02-29"]),
        ("FREQ=YEARLY;SKIP=FORWARD", "2032-02-29", ["2033-03-01", "2034-03-01", "2035-03-01", "2036-02-29"]),
    ],
)
def test_a_day_that_a_month_does_not_have_is_left_out_or_moved_as_rfc_7529_says(
    rule: str, due: str, came: list[str]
) -> None:
    at_nine = [datetime.fromisoformat(f"{day}T09:00") for day in came]
    assert series(rule, datetime.fromisoformat(f"{due}T09:00+01:00"), len(came)) == at_nine


@pytest.mark.parametrize(
    ("rule", "comes", "then"),
    [
        ("FREQ=DAILY", "2030-04-11T09:00+01:00", "FREQ=DAILY"),
        ("FREQ=DAILY;INTERVAL=2", "2030-04-11T09:00+01:00", "FREQ=DAILY;INTERVAL=2"),
        ("FREQ=DAILY;INTERVAL=3", "2030-04-13T09:00+01:00", "FREQ=DAILY;INTERVAL=3"),
        ("FREQ=WEEKLY;INTERVAL=2", "2030-04-11T09:00+01:00", "FREQ=WEEKLY;INTERVAL=2"),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TH", "2030-04-11T09:00+01:00", "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TH"),
        ("FREQ=MONTHLY", "2030-05-31T09:00+01:00", "FREQ=MONTHLY"),
        ("FREQ=YEARLY", "2031-01-31T09:00+01:00", "FREQ=YEARLY"),
        ("FREQ=DAILY;COUNT=100", "2030-04-11T09:00+01:00", "FREQ=DAILY;COUNT=30"),
        ("FREQ=DAILY;COUNT=71", "2030-04-11T09:00+01:00", "FREQ=DAILY;COUNT=1"),
    ],
)
def test_what_is_late_comes_next_after_it_is_done_and_not_once_for_each_time(rule: str, comes: str, then: str) -> None:
    done = datetime(2030, 4, 10, 12, 0, tzinfo=UTC)
    coming = next_occurrence(rule, DUE, done)
    assert coming is not None
    assert (coming.due, coming.rule) == (datetime.fromisoformat(comes), then)


@pytest.mark.parametrize("rule", ["FREQ=DAILY;COUNT=70", "FREQ=DAILY;UNTIL=20300410"])
def test_what_would_be_over_by_the_time_that_it_is_done_ends(rule: str) -> None:
    assert next_occurrence(rule, DUE, datetime(2030, 4, 10, 12, 0, tzinfo=UTC)) is None


def test_in_a_zone_the_clock_says_the_same_all_year() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    autumn = datetime(2026, 10, 19, 9, 0, tzinfo=berlin)
    coming = next_occurrence("FREQ=WEEKLY", autumn, BEFORE)
    assert coming is not None
    assert coming.due.isoformat() == "2026-10-26T09:00:00+01:00"
    # At half past two the clock is put forward on 28 March 2027, and back on 31 October.
    spring = datetime(2027, 3, 27, 2, 30, tzinfo=berlin)
    assert [at.isoformat() for at in series("FREQ=DAILY", spring, 2)] == ["2027-03-28T03:30:00", "2027-03-29T02:30:00"]
    night = datetime(2027, 10, 30, 2, 30, tzinfo=berlin)
    assert [at.isoformat() for at in series("FREQ=DAILY", night, 2)] == ["2027-10-31T02:30:00", "2027-11-01T02:30:00"]


@pytest.mark.parametrize(
    "rule", ["FREQ=DAILY", "FREQ=WEEKLY;INTERVAL=999", "FREQ=MONTHLY;BYHOUR=1,2,3", "FREQ=YEARLY;BYWEEKNO=53;BYDAY=MO"]
)
def test_what_is_late_by_two_thousand_years_is_found_without_going_through_them(rule: str) -> None:
    coming = next_occurrence(rule, datetime(1, 1, 2, 9, 0, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
    assert coming is not None
    found = coming.due.replace(tzinfo=None)
    expected = rrulestr(rule, dtstart=datetime(1, 1, 2, 9, 0)).after(datetime(2030, 1, 1))  # noqa: DTZ001
    assert found == expected


@pytest.mark.parametrize(
    ("rule", "comes", "then"),
    [
        ("FREQ=DAILY", "2030-02-01T09:00+01:00", "FREQ=DAILY"),
        ("FREQ=WEEKLY;BYDAY=MO", "2030-02-04T09:00+01:00", "FREQ=WEEKLY;BYDAY=MO"),
        ("FREQ=MONTHLY", "2030-03-31T09:00+01:00", "FREQ=MONTHLY"),
        ("FREQ=DAILY;COUNT=3", "2030-02-01T09:00+01:00", "FREQ=DAILY;COUNT=2"),
        ("FREQ=DAILY;COUNT=2", "2030-02-01T09:00+01:00", "FREQ=DAILY;COUNT=1"),
        ("FREQ=DAILY;BYHOUR=9,17", "2030-01-31T17:00+01:00", "FREQ=DAILY;BYHOUR=9,17"),
        ("FREQ=DAILY;UNTIL=20300201", "2030-02-01T09:00+01:00", "FREQ=DAILY;UNTIL=20300201"),
        ("FREQ=DAILY;UNTIL=20300201T080000Z", "2030-02-01T09:00+01:00", "FREQ=DAILY;UNTIL=20300201T080000Z"),
    ],
)
def test_the_next_one_comes_when_the_rule_says_with_one_less_to_count(rule: str, comes: str, then: str) -> None:
    coming = next_occurrence(rule, DUE, BEFORE)
    assert coming is not None
    assert (coming.due, coming.rule) == (datetime.fromisoformat(comes), then)
    assert coming.due.utcoffset() == DUE.utcoffset()


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=DAILY;COUNT=1",
        "FREQ=DAILY;UNTIL=20300131",
        "FREQ=DAILY;UNTIL=20300201T075959Z",
        "FREQ=DAILY;UNTIL=20300201T085959",
        "FREQ=DAILY;INTERVAL=7;BYDAY=MO",
        "FREQ=WEEKLY;BYDAY=MO;BYSETPOS=300",
        "FREQ=YEARLY;BYWEEKNO=1;BYMONTH=6;BYDAY=MO",
    ],
)
def test_a_rule_that_has_ended_or_never_comes_ends_the_task(rule: str) -> None:
    assert next_occurrence(check(rule), DUE, BEFORE) is None


def test_the_day_is_that_of_the_due_dates_own_offset() -> None:
    just_after_midnight = datetime(2030, 2, 1, 0, 30, tzinfo=PARIS_IN_WINTER)  # in UTC, still January
    coming = next_occurrence("FREQ=MONTHLY", just_after_midnight, BEFORE)
    assert coming is not None
    assert coming.due == datetime(2030, 3, 1, 0, 30, tzinfo=PARIS_IN_WINTER)


def test_the_end_of_the_calendar_ends_every_rule() -> None:
    assert next_occurrence("FREQ=YEARLY", datetime(9999, 6, 1, tzinfo=UTC), BEFORE) is None
    late = datetime(9999, 12, 30, 23, tzinfo=timezone(timedelta(hours=-2)))
    assert next_occurrence("FREQ=DAILY", late, BEFORE) is None


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    either_way = st.integers(low, high).flatmap(lambda number: st.sampled_from([number, -number]))
    return st.lists(either_way, min_size=1, max_size=3, unique=True).map(lambda items: ",".join(map(str, items)))


weekdays = st.lists(st.sampled_from(["MO", "TU", "WE", "TH", "FR", "SA", "SU"]), min_size=1, unique=True).map(",".join)
months = st.lists(st.integers(1, 12), min_size=1, max_size=4, unique=True).map(lambda items: ",".join(map(str, items)))
rules = st.one_of(
    st.fixed_dictionaries({"FREQ": st.just("DAILY")}, optional={"BYDAY": weekdays, "BYMONTH": months}),
    st.fixed_dictionaries(
        {"FREQ": st.just("WEEKLY")}, optional={"BYDAY": weekdays, "BYMONTH": months, "WKST": st.just("SU")}
    ),
    st.fixed_dictionaries({"FREQ": st.just("MONTHLY")}, optional={"BYDAY": weekdays, "BYMONTHDAY": numbers(1, 28)}),
    st.fixed_dictionaries({"FREQ": st.just("YEARLY")}, optional={"BYMONTH": months, "BYDAY": weekdays}),
    st.fixed_dictionaries({"FREQ": st.just("YEARLY")}, optional={"BYYEARDAY": numbers(1, 365)}),
)


@settings(deadline=None)
@given(
    parts=rules,
    interval=st.integers(1, 5),
    count=st.integers(1, 6),
    due=st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001
    offset=st.integers(-12 * 60, 14 * 60),
)
def test_completed_again_and_again_a_task_comes_exactly_when_dateutil_says(
    parts: dict[str, str], interval: int, count: int, due: datetime, offset: int
) -> None:
    rule = ";".join(f"{name}={value}" for name, value in {**parts, "INTERVAL": str(interval)}.items())
    due = due.replace(microsecond=0)
    expected = (
        rrulestr(f"{check(rule)};UNTIL={due.replace(year=due.year + 30):%Y%m%dT%H%M%S}", dtstart=due).xafter(
            due, count=count - 1
        )
        if count > 1
        else []
    )
    came: list[datetime] = []
    coming = next_occurrence(f"{rule};COUNT={count}", due.replace(tzinfo=timezone(timedelta(minutes=offset))), BEFORE)
    while coming:
        came.append(coming.due.replace(tzinfo=None))
        coming = next_occurrence(coming.rule, coming.due, BEFORE)
    assert [moment for moment in came if moment.year < due.year + 30] == list(expected)[: len(came)]
    assert len(came) <= count - 1
