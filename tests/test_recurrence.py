"""Recurrence rules: which are taken, and that they come when python-dateutil says, in bounded time."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from dateutil.rrule import rrulestr
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.recurrence import check, next_occurrence

PARIS_IN_WINTER = timezone(timedelta(hours=1))
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
        "FREQ=weekly",
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
        "RRULE:FREQ=DAILY",
        "FREQ=DAILY\nDTSTART:20200101T000000Z",
        "FREQ=DAILY;X-OWN=1",
    ],
)
def test_any_other_is_refused_with_a_sentence(rule: str) -> None:
    with pytest.raises(ValueError, match=r"^must "):
        check(rule)


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
    coming = next_occurrence(rule, DUE)
    assert coming == (datetime.fromisoformat(comes), then)
    assert coming[0].utcoffset() == DUE.utcoffset()


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
    assert next_occurrence(check(rule), DUE) is None


def test_the_day_is_that_of_the_due_dates_own_offset() -> None:
    just_after_midnight = datetime(2030, 2, 1, 0, 30, tzinfo=PARIS_IN_WINTER)  # in UTC, still January
    coming = next_occurrence("FREQ=MONTHLY", just_after_midnight)
    assert coming is not None
    assert coming[0] == datetime(2030, 3, 1, 0, 30, tzinfo=PARIS_IN_WINTER)


def test_the_end_of_the_calendar_ends_every_rule() -> None:
    assert next_occurrence("FREQ=YEARLY", datetime(9999, 6, 1, tzinfo=UTC)) is None
    assert next_occurrence("FREQ=DAILY", datetime(9999, 12, 30, 23, tzinfo=timezone(timedelta(hours=-2)))) is None


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
    coming = next_occurrence(f"{rule};COUNT={count}", due.replace(tzinfo=timezone(timedelta(minutes=offset))))
    while coming:
        came.append(coming[0].replace(tzinfo=None))
        coming = next_occurrence(coming[1], coming[0])
    assert [moment for moment in came if moment.year < due.year + 30] == list(expected)[: len(came)]
    assert len(came) <= count - 1
