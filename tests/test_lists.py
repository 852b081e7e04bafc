"""Lists: which tasks, in which order, and pages that stay right while tasks come and go."""

import json
import random
import string
import threading
import unicodedata
from base64 import urlsafe_b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from backend import migrations
from backend.settings import StartError
from backend.tasks import tasks as resource
from tests.conftest import execute, overheard, sign
from tests.helpers import Task, assert_problem, create, every, ids, next_page, pages

LISTING = resource.listing
SORTS = [f"{sign}{name}" for name in LISTING.sorts for sign in ("", "-")]
STATUSES = ["pending", "in_progress", "completed"]
PRIORITIES = ["low", "medium", "high"]
TAGS = ["home", "garden", "büro", "100%"]
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
TEXTS = [
    None,
    "",
    "100% done",
    "1000 done",
    "snake_case",
    "snakeXcase",
    r"C:\temp",
    r"ends in a \ ",
    "Über den Äpfeln",
    "привет, МИР",
    "你好 🎉",
    'it\'s "quoted" -- %(q)s',
]


def mixed(count: int, seed: int) -> list[Task]:
    """Return tasks of which many share each key; titles of lower-case letters and digits sort so in any collation."""
    choose = random.Random(seed)
    return [
        {
            "id": str(uuid4()),
            "title": "".join(choose.choices("ab1", k=choose.randint(1, 3))),
            "description": choose.choice(TEXTS),
            "status": choose.choice(STATUSES),
            "priority": choose.choice(PRIORITIES),
            "due_date": choose.choice([None, NOON, NOON + DAY, NOON + timedelta(microseconds=1), NOON - 5000 * DAY]),
            "tags": choose.sample(TAGS, choose.randint(0, 3)),
            "created_at": NOON + choose.randint(0, 4) * DAY,
            "updated_at": NOON + timedelta(microseconds=choose.randint(0, 9)),
            "completed_at": choose.choice([None, NOON, NOON + DAY]),
        }
        for _ in range(count)
    ]


def insert(url: str, user_id: str, tasks: list[Task]) -> None:
    """Put tasks into the database as they are, with times that the API would not give them."""
    rows = json.dumps([{"user_id": user_id, "version": 1, **task} for task in tasks], default=datetime.isoformat)
    names = ", ".join(["user_id", "version", *tasks[0]])
    execute(
        url,
        "SELECT set_config('app.user_id', %s, true);"
        f" INSERT INTO task ({names}) SELECT {names} FROM json_populate_recordset(NULL::task, %s)",
        user_id,
        rows,
    )


def in_order(tasks: list[Task], sort: str) -> list[str]:
    """Return the ids in the order of a sort: ties by id the same way, and what has no date last both ways."""
    field, descending = sort.removeprefix("-"), sort.startswith("-")

    def key(task: Task) -> tuple[Any, UUID]:
        value = task[field]
        if field == "priority":
            value = PRIORITIES.index(value)
        elif field != "title" and isinstance(value, str):
            value = datetime.fromisoformat(value)
        return value, UUID(task["id"])

    dated = sorted((task for task in tasks if task[field] is not None), key=key, reverse=descending)
    undated = [task for task in tasks if task[field] is None]
    return ids(dated + sorted(undated, key=lambda task: UUID(task["id"]), reverse=descending))


def cursor_of(answer: httpx.Response) -> str:
    following = next_page(answer)
    assert following
    return httpx.URL(following).params["cursor"]


@pytest.fixture(scope="module")
def owner(database_url: str) -> tuple[str, list[Task]]:
    """A user with 157 mixed tasks, which no test changes, and those."""
    user_id, tasks = f"user-{uuid4()}", mixed(157, seed=1)
    insert(database_url, user_id, tasks)
    return user_id, tasks


@pytest.fixture
def tasks(owner: tuple[str, list[Task]]) -> list[Task]:
    return owner[1]


@pytest.fixture
def reader(owner: tuple[str, list[Task]], client_of: Callable[..., httpx.Client]) -> httpx.Client:
    return client_of(owner[0])


# Filters


def found(text: str) -> Callable[[Task], bool]:
    words = plain(text).split()
    return lambda task: all(word in plain(f"{task['title']} {task['description'] or ''}") for word in words)


def plain(text: str) -> str:
    return "".join(one for one in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(one))


def due(condition: Callable[[datetime], bool]) -> Callable[[Task], bool]:
    return lambda task: task["due_date"] is not None and condition(task["due_date"])


def nothing(_: Task) -> bool:
    return False


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        ("status=pending", lambda task: task["status"] == "pending"),
        ("status=pending&status=completed", lambda task: task["status"] != "in_progress"),
        ("status=pending&status=pending", lambda task: task["status"] == "pending"),
        ("priority=high", lambda task: task["priority"] == "high"),
        ("priority=high&priority=low", lambda task: task["priority"] != "medium"),
        ("tag=home", lambda task: "home" in task["tags"]),
        ("tag=home&tag=garden", lambda task: {"home", "garden"} <= set(task["tags"])),
        ("tag=b%C3%BCro&tag=100%25&tag=home", lambda task: {"büro", "100%", "home"} <= set(task["tags"])),
        ("tag=HOME", lambda task: "home" in task["tags"]),
        ("tag=ho", nothing),
        ("tag=home%2Cgarden", nothing),
        ("due_before=2030-01-01T12:00:00Z", due(lambda when: when < NOON)),
        ("due_before=2030-01-01T12:00:00.000001Z", due(lambda when: when <= NOON)),
        ("due_after=2030-01-01T12:00:00Z", due(lambda when: when > NOON)),
        ("due_after=2030-01-01T11:59:59.999999Z", due(lambda when: when >= NOON)),
        ("due_from=2030-01-01T12:00:00Z", due(lambda when: when >= NOON)),
        ("due_from=2030-01-01T12:00:00.000001Z", due(lambda when: when > NOON)),
        ("due_from=2030-01-01T12:00:00Z&due_before=2030-01-02T12:00:00Z", due(lambda when: NOON <= when < NOON + DAY)),
        ("due=none", lambda task: task["due_date"] is None),
        ("due=none&due_from=0001-01-01T00:00:00Z", nothing),
        ("updated_from=0001-01-01T00:00:00Z", lambda task: True),
        ("updated_before=0001-01-01T00:00:00Z", nothing),
        ("due_before=2030-01-01T13:00:00%2B01:00", due(lambda when: when < NOON)),
        ("due_before=2030-01-01T13:00:00+01:00", due(lambda when: when < NOON)),  # the "+" arrives as a space
        ("due_after=2030-01-01T13:00:00+0100", due(lambda when: when > NOON)),
        ("due_after=2030-01-01T11:00:00-01:00", due(lambda when: when > NOON)),
        ("due_before=9999-12-31T23:59:59Z", due(lambda when: True)),
        ("due_after=0001-01-01T00:00:00Z", due(lambda when: True)),
        ("due_before=2030-01-01T12:00:00Z&due_after=2030-01-01T12:00:00Z", nothing),
        ("q=ab", found("ab")),
        ("q=AB", found("ab")),
        ("q=%25", found("%")),
        ("q=_", found("_")),
        ("q=%5C", found("\\")),
        ("q=%5C%25", nothing),
        ("q=100%25+DONE", found("100% done")),
        ("q=SNAKE_case", found("snake_case")),
        ("q=%C3%BCBER+den+%C3%84PFELN", found("über den äpfeln")),
        ("q=%D0%9F%D0%A0%D0%98%D0%92%D0%95%D0%A2", found("привет")),
        ("q=%E4%BD%A0%E5%A5%BD+%F0%9F%8E%89", found("你好 🎉")),
        ("q=%27s+%22quoted%22+--+%25(q)s", found('\'s "quoted" -- %(q)s')),
        (
            "status=pending&status=in_progress&priority=low&priority=high&tag=home"
            "&due_after=2029-12-31T12:00:00Z&due_before=2030-01-03T12:00:00Z&q=a",
            lambda task: (
                task["status"] != "completed"
                and task["priority"] != "medium"
                and "home" in task["tags"]
                and due(lambda when: NOON - DAY < when < NOON + 2 * DAY)(task)
                and found("a")(task)
            ),
        ),
    ],
)
def test_a_filter_lists_exactly_what_matches(
    reader: httpx.Client, tasks: list[Task], query: str, matches: Callable[[Task], bool]
) -> None:
    expected = [task for task in tasks if matches(task)]
    assert bool(expected) == (matches is not nothing)
    assert ids(every(reader, f"/api/tasks?{query}&limit=500")) == in_order(expected, "-created_at")
    assert ids(every(reader, f"/api/v1/tasks?limit=9&sort=title&{query}")) == in_order(expected, "title")


@pytest.mark.parametrize(
    ("field", "values"),
    {
        "status": ["", "done", "Pending", "pending,completed"],
        "priority": ["", "HIGH", "0"],
        "tag": ["", "+", "x" * 51, "%00", "bell%07"],
        "due_before": ["", "2030-01-31", "2030-01-31T09:00:00", "tomorrow", "1893456000", "9999-12-31T23:59:59-01:00"],
        "due_after": ["", "2030-01-31", "2030-01-31T09:00:00", "tomorrow", "1e9", "0001-01-01T00:00:00%2B01:00"],
        "due_from": ["", "2030-01-31", "2030-01-31T09:00:00"],
        "due": ["", "None", "null", "2030-01-31"],
        "updated_after": ["", "2030-01-31", "yesterday"],
        "q": ["", "x" * 201, "%00"],
        "sort": ["", "-", "name", "Title", "%2Btitle", "--title", "title,priority", "id", "user_id", "due_offset"],
        "limit": ["", "0", "-1", "501", "1.5", "x", "9" * 30],
        "cursor": ["x" * 2001],
        "search": ["x"],
        "Status": ["pending"],
        "offset": ["1"],
        "user_id": ["x"],
    }.items(),
)
def test_a_bad_value_is_a_422_that_names_its_parameter(ann: httpx.Client, field: str, values: list[str]) -> None:
    for value in values:
        answer = ann.get(f"/api/tasks?{field}={value}")
        assert_problem(answer, 422, "VALIDATION_ERROR")
        assert answer.json()["field"].partition(".")[0] == field


@pytest.mark.parametrize("offset", ["+15:59", "-15:59", "+16:00", "+23:59", "-23:59"])
@pytest.mark.parametrize("field", ["due_before", "due_after"])
def test_no_offset_is_an_error_of_the_server(ann: httpx.Client, field: str, offset: str) -> None:
    answer = ann.get("/api/tasks", params={field: f"2030-01-01T00:00:00{offset}"})
    assert answer.status_code in (200, 422), answer.text


# Order and pages


@pytest.mark.parametrize("limit", [2, 13, 156, 157, 158])
@pytest.mark.parametrize("sort", SORTS)
def test_the_pages_of_a_sort_are_the_whole_list_once(
    reader: httpx.Client, tasks: list[Task], sort: str, limit: int
) -> None:
    expected = in_order(tasks, sort)
    assert ids(every(reader, f"/api/tasks?sort={sort}&limit=500")) == expected
    found = list(pages(reader, f"/api/tasks?sort={sort}&limit={limit}"))
    assert [task for page in found for task in ids(page)] == expected
    assert [len(page) for page in found] == [len(expected[at : at + limit]) for at in range(0, len(expected), limit)]


@pytest.mark.parametrize("sort", SORTS)
def test_the_page_that_ends_the_list_leads_nowhere_though_it_is_full(
    ann: httpx.Client, database_url: str, sort: str
) -> None:
    tasks = mixed(6, seed=2)
    insert(database_url, ann.get("/api/me").json()["user_id"], tasks)
    for limit in (1, 2, 3, 6):
        found = list(pages(ann, f"/api/tasks?sort={sort}&limit={limit}"))
        assert [len(page) for page in found] == [limit] * (6 // limit)
        assert [task for page in found for task in ids(page)] == in_order(tasks, sort)


def test_a_page_has_one_to_five_hundred_tasks(ann: httpx.Client, database_url: str) -> None:
    insert(database_url, ann.get("/api/me").json()["user_id"], mixed(501, seed=3))
    assert [len(page) for page in pages(ann, "/api/tasks?limit=500")] == [500, 1]
    assert len(ann.get("/api/tasks?limit=1").json()) == 1


@pytest.mark.parametrize("prefix", ["/api", "/api/v1"])
def test_the_link_keeps_the_prefix_and_every_parameter(reader: httpx.Client, prefix: str) -> None:
    given: list[tuple[str, str | int]] = [
        ("status", "pending"),
        ("sort", "-title"),
        ("limit", "1"),
        ("status", "completed"),
        ("priority", "high"),
    ]
    given += [("due_before", "2031-01-01T00:00:00+01:00"), ("q", "A"), ("tag", "100%")]
    answer = reader.get(f"{prefix}/tasks", params=httpx.QueryParams(tuple(given)))
    links = 0
    while path := next_page(answer):
        assert path.startswith(f"{prefix}/tasks?")
        [*kept, (name, _)] = httpx.URL(path).params.multi_items()
        assert (sorted(kept), name) == (sorted(given), "cursor")
        answer, links = reader.get(path), links + 1
    assert links >= 2


def test_the_longest_and_oddest_titles_page_like_any_other(ann: httpx.Client) -> None:
    titles = ["🎉" * 200, "\x01" * 199 + "x", '"' * 200, "\\" * 200, "\u2028%&+=#<>;", 'a"b\\c\nd', "é", "e", "ﬁ", "ß"]
    for title in [*titles, *titles]:
        create(ann, title=title)
    for sort in ("title", "-title"):
        whole = every(ann, f"/api/tasks?sort={sort}")
        assert len(whole) == 2 * len(titles)
        assert every(ann, f"/api/tasks?sort={sort}&limit=1") == whole


def test_a_due_date_at_either_end_of_the_calendar_pages_like_any_other(ann: httpx.Client) -> None:
    for due_date in ("0001-01-01T00:00:00Z", None, "9999-12-31T23:59:59.999999Z"):
        for _ in range(2):
            create(ann, due_date=due_date)
    for sort in ("due_date", "-due_date"):
        whole = every(ann, f"/api/tasks?sort={sort}")
        assert [task["due_date"] for task in whole[4:]] == [None, None]
        assert every(ann, f"/api/tasks?sort={sort}&limit=1") == whole


# Text as people read it


@pytest.mark.parametrize(
    ("title", "q"),
    [
        ("Éclair", "eclair"),
        ("eclair", "É\u0301CLAIR"),
        ("Straße", "strasse"),
        ("STRASSE", "straße"),
        ("ẞ", "ss"),
        ("ISPARTA", "\u0131sparta"),
        ("\u0131sparta", "ISPARTA"),
        ("İstanbul", "istanbul"),
        ("Smørrebrød", "SMORREBROD"),
        ("Łódź", "lodz"),
        ("Œuvre, Ænima", "oeuvre aenima"),
        ("Đà Nẵng, Huế", "hue da nang"),
        ("ПРИВЕТ, Ёлка", "привет елка"),
        ("Σίσυφος", "ΣΙΣΥΦΟΣ"),
        ("ԵՐԵՎԱՆ", "երե"),
        ("שָׁלוֹם", "שלום"),
        ("مُحَمَّد", "محمد"),
        ("\ufb01ne \uff21\uff11", "FINE a1"),
        ("co\u00adffee \u2764\ufe0f", "coffee \u2764"),
        ("Buy milk", "milk buy"),
        ("Buy milk", " MI \u3000\n uy "),
        ("50% off_ \\o/", "\\ _ % 50"),
    ],
)
def test_q_finds_words_in_any_order_and_whatever_their_case_and_accents(ann: httpx.Client, title: str, q: str) -> None:
    create(ann, title="Another", description="thing")
    task = create(ann, title=title)
    assert ann.get("/api/tasks", params={"q": q}).json() == [task]
    for more in ("x", "%", "_", "\\"):
        if more not in title:
            assert ann.get("/api/tasks", params={"q": f"{q} {more}x"}).json() == []
    assert ann.patch("/api/tasks", params={"q": q}, json={"description": "seen"}).json() == {"updated": 1}
    assert ann.delete("/api/tasks", params={"q": f"{q} seen"}).json() == {"deleted": 1}


def test_the_words_of_q_may_be_in_different_fields_and_none_is_in_two(ann: httpx.Client) -> None:
    task = create(ann, title="Buy milk", description="at the corner")
    assert ann.get("/api/tasks", params={"q": "corner milk"}).json() == [task]
    assert ann.get("/api/tasks", params={"q": "milkat"}).json() == []


@pytest.mark.parametrize("q", ["\u0301", "\u0308 \u0301", "\u20dd"])
def test_a_q_of_accents_alone_finds_nothing_and_not_everything(ann: httpx.Client, q: str) -> None:
    task = create(ann, title="a\u0301\u20dd")
    assert ann.get("/api/tasks", params={"q": q}).json() == []
    assert ann.delete("/api/tasks", params={"q": q}).json() == {"deleted": 0}
    assert ann.get("/api/tasks", params={"q": "A"}).json() == [task]


def test_titles_are_sorted_by_letters_then_case_and_accents(ann: httpx.Client) -> None:
    titles = ["ähnlich", "Äpfel", "Apple", "apple", "Apple pie", "Éclair", "eclairs", "Strasse", "Straße", "Zebra"]
    titles.append("zoo")
    for title in random.Random(1).sample(titles, len(titles)):
        create(ann, title=title)
    for sort, expected in (("title", titles), ("-title", titles[::-1])):
        assert [task["title"] for task in ann.get(f"/api/tasks?sort={sort}").json()] == expected
        assert [task["title"] for task in every(ann, f"/api/tasks?sort={sort}&limit=1")] == expected


@pytest.mark.parametrize("locale", ["LOCALE 'C'", "LOCALE 'C.UTF-8'"])
def test_text_folds_alike_whatever_the_collation_of_the_database(postgres: str, locale: str) -> None:
    name = f"better_tasks_test_{uuid4().hex[:12]}"
    execute(postgres, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' {locale}")
    try:
        url = str(httpx.URL(postgres).copy_with(path=f"/{name}"))
        migrations.upgrade(url, wait_seconds=5)
        titles = ["Élan", "ПРИВЕТ", "Σίσυφος", "ԵՐ", "ẞ Ø", "x"]
        insert(url, "ann", [{**task, "title": one} for task, one in zip(mixed(6, seed=1), titles, strict=True)])
        found = execute(url, "SELECT split_part(title_order, chr(1), 1) FROM task ORDER BY title_order")
        assert [text for (text,) in found] == ["elan", "ss o", "x", "σισυφοσ", "привет", "եր"]
    finally:
        execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


def test_a_database_in_another_encoding_is_refused_in_a_sentence(postgres: str) -> None:
    name = f"better_tasks_test_{uuid4().hex[:12]}"
    execute(postgres, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    try:
        with pytest.raises(StartError, match="is in SQL_ASCII, and has to be in UTF8"):
            migrations.upgrade(str(httpx.URL(postgres).copy_with(path=f"/{name}")), wait_seconds=5)
    finally:
        execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


# While tasks come and go


@pytest.mark.parametrize("sort", SORTS)
def test_pages_stay_right_while_tasks_come_and_go_between_them(
    client_of: Callable[..., httpx.Client], database_url: str, sort: str
) -> None:
    user_id = f"user-{uuid4()}"
    reader, other = client_of(user_id), client_of(user_id)
    tasks = mixed(60, seed=4)
    insert(database_url, user_id, tasks)
    left = {task["id"] for task in tasks}
    seen: list[str] = []
    for number, page in enumerate(pages(reader, f"/api/tasks?sort={sort}&limit=7")):
        seen += ids(page)
        insert(database_url, user_id, mixed(3, seed=number))
        # The one that the cursor points at, and some anywhere.
        for gone in {page[-1]["id"], *random.Random(number).sample(sorted(left), 2)}:
            assert other.delete(f"/api/tasks/{gone}").status_code == 204
            left.discard(gone)
    assert len(seen) == len(set(seen))
    unchanged = [task for task in tasks if task["id"] in left]
    assert [task for task in seen if task in left] == in_order(unchanged, sort)


@pytest.mark.parametrize("sort", SORTS)
def test_pages_stay_right_while_tasks_come_and_go_at_the_same_time(
    client_of: Callable[..., httpx.Client], database_url: str, sort: str
) -> None:
    user_id = f"user-{uuid4()}"
    reader, other = client_of(user_id), client_of(user_id)
    tasks = mixed(80, seed=5)
    insert(database_url, user_id, tasks)
    going, unchanged = tasks[:30], tasks[30:]
    rounds, enough = [0], threading.Event()

    def come_and_go() -> None:
        choose = random.Random(sort)
        gone = ids(going)
        while not enough.is_set():
            fields = {"title": choose.choice("ab1"), "priority": choose.choice(PRIORITIES)}
            gone.append(create(other, **fields, due_date=choose.choice([None, NOON.isoformat()]))["id"])
            other.delete(f"/api/tasks/{gone.pop(choose.randrange(len(gone)))}").raise_for_status()
            rounds[0] += 1

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(come_and_go)
        try:
            while rounds[0] < 40 and not coming.done():
                seen = ids(every(reader, f"/api/tasks?sort={sort}&limit=6"))
                assert len(seen) == len(set(seen))
                kept = set(ids(unchanged))
                assert [task for task in seen if task in kept] == in_order(unchanged, sort)
        finally:
            enough.set()
        coming.result()


new_tasks = st.builds(
    lambda title, priority, days: {
        "title": title,
        "priority": priority,
        "due_date": None if days is None else (NOON + days * DAY).isoformat(),
    },
    st.text("ab1", min_size=1, max_size=2),
    st.sampled_from(PRIORITIES),
    st.none() | st.integers(0, 2),
)


@hypothesis_settings(max_examples=25, deadline=None)
@given(
    start=st.lists(new_tasks, max_size=12),
    meanwhile=st.lists(st.lists(new_tasks | st.integers(0, 11), max_size=3), max_size=12),
    limit=st.integers(1, 5),
    sort=st.sampled_from(SORTS),
)
def test_whatever_comes_and_goes_each_unchanged_task_is_listed_once_and_in_order(
    api: str, start: list[Task], meanwhile: list[list[Task | int]], limit: int, sort: str
) -> None:
    token = sign({"sub": f"user-{uuid4()}"})
    with httpx.Client(base_url=api, headers={"Authorization": f"Bearer {token}"}) as client:
        left = [create(client, **fields) for fields in start]
        events, seen = iter(meanwhile), []
        for page in pages(client, f"/api/tasks?sort={sort}&limit={limit}"):
            seen += ids(page)
            for event in next(events, []):
                if isinstance(event, dict):
                    create(client, **event)
                elif event < len(left):
                    assert client.delete(f"/api/tasks/{left.pop(event)['id']}").status_code == 204
        assert len(seen) == len(set(seen))
        assert [task for task in seen if task in ids(left)] == in_order(left, sort)


# Cursors


def test_a_cursor_is_bound_to_its_sort_and_filters_and_not_to_its_limit(
    reader: httpx.Client, tasks: list[Task]
) -> None:
    path = "/api/tasks?status=pending&sort=title"
    cursor = cursor_of(reader.get(f"{path}&limit=3"))
    expected = in_order([task for task in tasks if task["status"] == "pending"], "title")
    assert ids(reader.get(f"{path}&limit=5&cursor={cursor}").json()) == expected[3:8]
    assert ids(reader.get(f"{path}&cursor={cursor}").json()) == expected[3:]
    for other in (
        "status=pending",
        "status=pending&sort=-title",
        "status=pending&sort=priority",
        "sort=title",
        "status=completed&sort=title",
        "status=pending&status=completed&sort=title",
        "status=pending&sort=title&priority=low",
        "status=pending&sort=title&tag=home",
        "status=pending&sort=title&q=a",
        "status=pending&sort=title&due_before=2030-01-01T00:00:00Z",
        "status=pending&sort=title&due_after=2030-01-01T00:00:00Z",
    ):
        assert_problem(reader.get(f"/api/tasks?{other}&limit=3&cursor={cursor}"), 400, "INVALID_CURSOR")


def test_another_users_cursor_shows_only_ones_own_tasks(
    reader: httpx.Client, ann: httpx.Client, database_url: str
) -> None:
    mine = mixed(20, seed=6)
    insert(database_url, ann.get("/api/me").json()["user_id"], mine)
    for sort in SORTS:
        cursor = cursor_of(reader.get(f"/api/tasks?sort={sort}&limit=80"))
        shown = ids(ann.get(f"/api/tasks?sort={sort}&cursor={cursor}").json())
        assert shown == in_order(mine, sort)[len(mine) - len(shown) :]


@pytest.mark.parametrize("sort", ["title", "priority", "-due_date", "created_at"])
def test_a_cursor_that_was_changed_anywhere_is_refused(reader: httpx.Client, sort: str) -> None:
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    cursor = cursor_of(reader.get(f"/api/tasks?sort={sort}&limit=1"))
    assert reader.get("/api/tasks", params={"sort": sort, "cursor": cursor}).status_code == 200
    places = range(len(cursor))
    changed = [cursor[:length] for length in places]
    changed += [cursor[:at] + alphabet[alphabet.index(cursor[at]) ^ 1] + cursor[at + 1 :] for at in places]
    changed += [cursor + more for more in ("=", "==", "===", "A", "AAAA", "!", "\n", " ", "\0", "é")]
    changed += [more + cursor for more in ("=", "A", "AAAA", "!", " ", "\ufeff")]
    changed += [cursor[:8] + more + cursor[8:] for more in ("=", "!", "%", " ", "AAAA", "é")]
    answers = [reader.get("/api/tasks", params={"sort": sort, "cursor": each}) for each in changed]
    taken = [each for each, answer in zip(changed, answers, strict=True) if answer.status_code == 200]
    assert taken == []
    for answer in answers:
        assert_problem(answer, 400, "INVALID_CURSOR")


def test_a_cursor_in_the_other_alphabet_of_base64_is_refused(reader: httpx.Client) -> None:
    answers = (reader.get(f"/api/tasks?limit={limit}") for limit in range(1, 150))
    cursor = next(cursor for answer in answers if {"-", "_"} & set(cursor := cursor_of(answer)))
    changed = cursor.replace("-", "+").replace("_", "/")
    assert_problem(reader.get("/api/tasks", params={"cursor": changed}), 400, "INVALID_CURSOR")


def forged(sort: str, place: bytes) -> str:
    """Return a cursor that names this place, with the check that a true one would have."""
    check = LISTING._check(LISTING.query(sort=sort), place)
    return urlsafe_b64encode(check + place).rstrip(b"=").decode()


AN_ID = "01980000-0000-7000-8000-000000000000"
NO_DATES = ["", "yesterday", "infinity", "2030-01-01", "2030-01-01T00:00:00", "10000-01-01T00:00:00Z", [], True, 1e300]
NO_TITLES: list[Any] = ["nul \0", "\ud800", "x" * 201, None, 5, ["x"], {}]
NO_PRIORITIES = ["", "urgent", "HIGH", "high'", None, 1, ["high"]]
NO_IDS: list[Any] = ["", "x", "' --", None, 5, []]
NO_PLACES = ["", "[", "[]", "{}", "null", "5", '"', '["x"]', f'["x", "{AN_ID}", 1]', "[" * 1400, "1" * 1400]
FORGED: list[tuple[str, str]] = [
    *((sort, json.dumps([key, AN_ID])) for sort in ("created_at", "-updated_at", "due_date") for key in NO_DATES),
    *((sort, json.dumps([None, AN_ID])) for sort in ("-created_at", "updated_at")),
    *((sort, json.dumps([key, AN_ID])) for sort in ("title", "-title") for key in NO_TITLES),
    *((sort, json.dumps([key, AN_ID])) for sort in ("priority", "-priority") for key in NO_PRIORITIES),
    *((sort, json.dumps(["low", an_id])) for sort in ("-title", "priority") for an_id in NO_IDS),
    *(("title", place) for place in NO_PLACES),
    *(("due_date", f'[{number}, "{AN_ID}"]') for number in ("NaN", "1e999", "1" * 1300)),
]


@pytest.mark.parametrize(("sort", "place"), FORGED)
def test_a_forged_cursor_is_refused(ann: httpx.Client, sort: str, place: str) -> None:
    answer = ann.get("/api/tasks", params={"sort": sort, "cursor": forged(sort, place.encode())})
    assert_problem(answer, 400, "INVALID_CURSOR")


def test_a_forged_cursor_that_is_no_utf8_is_refused(ann: httpx.Client) -> None:
    for place in (b"\xff", b'["\xed\xa0\x80", "' + AN_ID.encode() + b'"]', b"\xef\xbb\xbf[]"):
        answer = ann.get("/api/tasks", params={"sort": "title", "cursor": forged("title", place)})
        assert_problem(answer, 400, "INVALID_CURSOR")


@pytest.mark.parametrize("key", ["2030-01-01T00:00:00+23:59", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
@pytest.mark.parametrize("sort", ["created_at", "-due_date"])
def test_no_forged_date_is_an_error_of_the_server(ann: httpx.Client, sort: str, key: str) -> None:
    cursor = forged(sort, json.dumps([key, AN_ID]).encode())
    answer = ann.get("/api/tasks", params={"sort": sort, "cursor": cursor})
    assert answer.status_code in (200, 400), answer.text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([AN_ID, "low", "infinity"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@hypothesis_settings(max_examples=100, deadline=None)
@given(sort=st.sampled_from(SORTS), place=json_values | st.tuples(json_values, st.just(AN_ID)), cursor=st.text())
def test_no_cursor_at_all_is_an_error_of_the_server(api: str, sort: str, place: Any, cursor: str) -> None:
    with httpx.Client(base_url=api, headers={"Authorization": f"Bearer {sign({'sub': 'nobody'})}"}) as client:
        made_up = client.get("/api/tasks", params={"sort": sort, "cursor": cursor.encode("utf-8", "replace")})
        assert_problem(made_up, 400, "INVALID_CURSOR")
        answer = client.get("/api/tasks", params={"sort": sort, "cursor": forged(sort, json.dumps(place).encode())})
        assert answer.status_code in (200, 400, 422), answer.text  # a forgery may be one's own list from anywhere


def test_a_very_long_cursor_is_refused(ann: httpx.Client) -> None:
    for length, status, code in ((2000, 400, "INVALID_CURSOR"), (2001, 422, "VALIDATION_ERROR")):
        assert_problem(ann.get(f"/api/tasks?cursor={'A' * length}"), status, code)
    assert_problem(ann.get(f"/api/tasks?cursor={'A' * 50_000}"), 422, "VALIDATION_ERROR")


# Round trips


def test_each_list_request_is_one_message_and_two_where_a_tag_finds_nothing(database_url: str) -> None:
    with overheard(database_url) as (wire, client):
        for title in ("a", "b", "c"):
            create(client, title=title, tags=["home"], due_date="2030-01-01T00:00:00Z")
        some = "status=pending&priority=medium&tag=home&q=a&due_after=2029-01-01T00:00:00Z"
        for sort in SORTS:
            for query in (f"sort={sort}&limit=1", f"sort={sort}&limit=1&{some}&q=%25"):
                for page in (path := f"/api/tasks?{query}", next_page(client.get(path)) or path):
                    wire.queries.clear()
                    found = client.get(page).json()
                    assert len(wire.queries) == (1 if found or "tag" not in page else 2)
        wire.queries.clear()
        for refused in ("cursor=x", "limit=0", "colour=red"):
            assert client.get(f"/api/tasks?{refused}").is_client_error
        assert wire.queries == []
