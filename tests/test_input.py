"""Hostile input: it is taken as it is or refused whole, in one shape and without a word of it, and does no harm.

What fields, filters, versions, keys and cursors may be has tests of its own. Here is what an attacker would try next.
"""

import gzip
import io
import json
import re
import socket
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest

from backend import logs
from tests.conftest import serving, settings
from tests.helpers import assert_problem, create, pages

MARK = "zq☠"  # is in what is hostile; nothing of it may be in an answer
JSON = {"Content-Type": "application/json"}
AN_ID = "01980000-0000-7000-8000-000000000000"

Refusal = tuple[int, str]
INVALID: Refusal = (422, "VALIDATION_ERROR")
NO_JSON: Refusal = (400, "INVALID_JSON")
NO_CURSOR: Refusal = (400, "INVALID_CURSOR")
NO_MEDIA_TYPE: Refusal = (415, "UNSUPPORTED_MEDIA_TYPE")
NOT_ALLOWED: Refusal = (405, "METHOD_NOT_ALLOWED")
NOT_FOUND: Refusal = (404, "NOT_FOUND")
TOO_LARGE: Refusal = (413, "BODY_TOO_LARGE")


class Route(NamedTuple):
    """A route that takes a body: one that it takes, the fields that it may have, and the document around it."""

    method: str
    path: str
    body: dict[str, Any]
    fields: tuple[str, ...]
    around: str = "%s"

    def content(self, **fields: object) -> bytes:
        return (self.around % json.dumps(self.body | fields)).encode()

    def raw(self, field: str, value: bytes) -> bytes:
        return self.content(**{field: "@"}).replace(b'"@"', value)

    def send(self, client: httpx.Client, task: dict[str, Any], content: Any, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        path = self.path.replace("{id}", task["id"])
        return client.request(self.method, path, content=content, headers={**JSON, **named})


TASK = ("title", "description", "status", "priority", "due_date", "recurrence_rule", "tags")
MOMENTS = ("due_date", "created_at", "updated_at", "completed_at")
IMPORTED = ("id", *TASK, *MOMENTS[1:], "version", "due_offset")
IMPORT = ("POST", "/api/import")
IMPORT_TASK = Route(*IMPORT, {"id": AN_ID, "title": "x"}, IMPORTED, '{"version": 1, "tasks": [%s]}')
IMPORT_TAG = Route(*IMPORT, {"name": "x", "color": None}, ("name", "color"), '{"version": 1, "tags": [%s]}')
ROUTES = {
    "create": Route("POST", "/api/tasks", {"title": "x"}, TASK),
    "replace": Route("PUT", "/api/tasks/{id}", {"title": "x"}, TASK),
    "update": Route("PATCH", "/api/tasks/{id}", {"title": "x"}, TASK),
    "update many": Route("PATCH", "/api/tasks?status=pending", {"title": "x"}, TASK),
    "color tag": Route("PUT", "/api/tags/home", {"color": "#123456"}, ("color",)),
    "rename tag": Route("PATCH", "/api/tags/home", {"name": "x"}, ("name",)),
    "import": Route(*IMPORT, {"version": 1}, ("version", "exported_at", "tags", "tasks")),
    "import task": IMPORT_TASK,
    "import tag": IMPORT_TAG,
}
OF_TASKS = [route for route in ROUTES.values() if "recurrence_rule" in route.fields]
each_route = pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)


def assert_refused(answer: httpx.Response, *expected: Refusal, case: object = None) -> None:
    """The answer is one of these problems, whole, and repeats nothing of what was sent."""
    assert answer.is_client_error, (case, answer.status_code, answer.text)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) in expected, (case, answer.text)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "code", "request_id"} <= problem.keys()
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    shown = f"{json.dumps(problem, ensure_ascii=False)} {answer.headers}"
    assert [part for part in ("zq", "☠", "eyJ") if part in shown] == [], (case, shown)


def assert_refused_by_the_server(answer: httpx.Response, case: object) -> None:
    """The answer is uvicorn's own, to what is no HTTP."""
    assert (answer.status_code, answer.text) == (400, "Invalid HTTP request received."), case


@contextmanager
def unchanged(client: httpx.Client) -> Iterator[dict[str, Any]]:
    """Yield a task; at the end the API answers as ever, and what is there is what was there."""
    task = create(client, tags=["home"])
    yield task
    assert client.get("/api/tasks").json() == [task]
    assert client.get("/api/tags").json() == [{"name": "home", "color": None, "tasks": 1}]


def connected(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 80))


def send_bytes(connection: socket.socket, client: httpx.Client, start: str, *lines: str, body: bytes = b"") -> None:
    head = [start, "Host: x", "Connection: close", f"Authorization: {client.headers['Authorization']}", *lines]
    connection.sendall("\r\n".join([*head, "", ""]).encode() + body)


def exchange(client: httpx.Client, start: str, *lines: str, body: bytes = b"") -> httpx.Response:
    """Send what no HTTP client would, and return the one answer to it."""
    with connected(client) as connection:
        send_bytes(connection, client, start, *lines, body=body)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, content = received.partition(b"\r\n\r\n")
    status, *fields = head.split(b"\r\n")
    headers = [(name, value) for name, _, value in (field.partition(b": ") for field in fields)]
    return httpx.Response(int(status.split()[1]), headers=headers, content=content)


# Bodies

NUMBERS = ["NaN", "Infinity", "-Infinity", "1e400", str(2**63), str(-(2**63) - 1), "9" * 4300]
VALUES = [*NUMBERS, rf'"\u0000{MARK}"', f'{{"{MARK}": NaN}}', f'[[["{MARK}"]]]']
SURROGATES = [rf'"\ud800{MARK}"', rf'"{MARK}\udc00\ud800"']


@each_route
def test_no_field_takes_a_value_that_is_nothing_of_its_kind(ann: httpx.Client, route: Route) -> None:
    cases = [(value, INVALID) for value in VALUES]
    # A lone surrogate is no JSON to the parser of imports.
    cases += [(value, NO_JSON if route.path == "/api/import" else INVALID) for value in SURROGATES]
    with unchanged(ann) as task:
        for value, expected in [*cases, ("9" * 5000, NO_JSON)]:
            for field in route.fields:
                answer = route.send(ann, task, route.raw(field, value.encode()))
                assert_refused(answer, expected, case=(value, field))


NO_TAGS: list[Any] = [[None], [1], [["a"]], {"a": 1}, "{a}", [""], ["\u2028"], ["."], [".."], ["a", "a"]]
NO_TAGS += [[" a", "a\u00a0"], ["x" * 51], ["🎉" * 51], ["a\r\nX-zq: 1"], ["a\x85b"], [str(n) for n in range(21)]]


def test_no_task_takes_tags_that_are_none_or_too_many_or_the_same(ann: httpx.Client) -> None:
    with unchanged(ann) as task:
        for tags in NO_TAGS:
            for route in OF_TASKS:
                assert_refused(route.send(ann, task, route.content(tags=tags)), INVALID, case=tags)


BOMB = gzip.compress(b"[" * 20_000_000)
BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "UTF-16": lambda body: body.decode().encode("utf-16"),
    "UTF-16 without a BOM": lambda body: body.decode().encode("utf-16-be"),
    "UTF-32": lambda body: body.decode().encode("utf-32"),
    "bad UTF-8": lambda body: body.replace(b'"', b'"\xff', 1),
    "overlong UTF-8": lambda body: body.replace(b'"', b'"\xc0\xaf', 1),
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "a bomb of gzip": lambda body: BOMB,
    "NUL behind it": lambda body: body + b"\0",
    "a second one behind it": lambda body: body + b"{}",
    "a comment behind it": lambda body: body + b"// zq",
    "no end": lambda body: body[:-1],
    "single quotes": lambda body: body.replace(b'"', b"'"),
}
SAID_OF_IT = {name: {"Content_Encoding": name.split()[-1]} for name in ("gzip", "deflate", "a bomb of gzip")}
SAID_OF_IT["UTF-16"] = {"Content_Type": "application/json; charset=utf-16"}


@pytest.mark.parametrize("case", BROKEN)
def test_a_body_that_is_no_json_in_utf_8_is_refused_by_every_route(ann: httpx.Client, case: str) -> None:
    said = SAID_OF_IT.get(case, {})
    with unchanged(ann) as task:
        for name, route in ROUTES.items():
            answer = route.send(ann, task, BROKEN[case](route.content()), **said)
            assert_refused(answer, NO_JSON, *([NO_MEDIA_TYPE] if said else []), case=name)


def test_a_byte_order_mark_is_refused_or_passed_over(ann: httpx.Client) -> None:
    answer = ROUTES["create"].send(ann, {"id": AN_ID}, b'\xef\xbb\xbf{"title": "x"}')
    assert answer.status_code == 400 or answer.json()["title"] == "x"


def test_a_surrogate_as_utf_8_is_refused(ann: httpx.Client) -> None:
    with unchanged(ann) as task:
        for name, route in ROUTES.items():
            for value in (b'"\xed\xa0\x80zq"', b'"\xed\xa0\xbd\xed\xb8\x80"'):
                for field in (route.fields[-1], "unknown"):
                    assert_refused(route.send(ann, task, route.raw(field, value)), INVALID, NO_JSON, case=name)


@each_route
def test_no_depth_of_nesting_is_an_error_of_the_server(ann: httpx.Client, route: Route) -> None:
    with unchanged(ann) as task:
        for depth in (150, 900, 960, 1000, 10_000, 100_000):
            for start, end in ((b"[", b"]"), (b'{"a":', b"}")):
                for field in (route.fields[-1], "unknown"):
                    answer = route.send(ann, task, route.raw(field, start * depth + b"1" + end * depth))
                    assert_refused(answer, INVALID, NO_JSON, TOO_LARGE, case=(depth, start, field))


@each_route
def test_a_body_is_taken_up_to_its_limit_and_not_beyond(ann: httpx.Client, route: Route) -> None:
    if route.path == "/api/import":  # which has none, unless one is set
        assert route.send(ann, {"id": ""}, iter([route.content(), b" " * 20_000_000])).is_success
        return
    content = route.content().ljust(65536)
    with unchanged(ann) as task:
        assert_refused(route.send(ann, task, content + b" "), TOO_LARGE)
        assert_refused(route.send(ann, task, iter([content, b" "])), TOO_LARGE)
    assert route.send(ann, task, content).is_success


MEDIA_TYPES = ["", "zq", "*/*", "text/json", "application/json, text/plain", "application/+json", "x; application/json"]
MEDIA_TYPES += ["multipart/form-data; boundary=zq", "application/x-www-form-urlencoded", "application/octet-stream"]


def test_a_body_of_another_media_type_is_refused_by_every_route(ann: httpx.Client) -> None:
    with unchanged(ann) as task:
        for media_type in MEDIA_TYPES:
            for route in ROUTES.values():
                answer = route.send(ann, task, route.content(), Content_Type=media_type)
                assert_refused(answer, NO_MEDIA_TYPE, case=media_type)


@each_route
def test_a_body_says_nothing_but_its_own_fields(ann: httpx.Client, route: Route) -> None:
    fields = {"user_id", "id", "version", *MOMENTS, "due_offset", "owner", "sub", "tenant", "tags", "Title", "title "}
    fields |= {"", " ", "\0", "__proto__", "constructor", "$ref", "' --", "%s", "%(user_id)s", "{0}", "x" * 10_000}
    if route is IMPORT_TASK:
        fields.remove("user_id")  # which an export has, and an import passes over
    if route in (ROUTES["replace"], ROUTES["update"]):
        fields -= {"created_at", "updated_at", "completed_at"}  # of an answer, which can be sent back
    with unchanged(ann) as task:
        for field in sorted(fields - {*route.fields}):
            assert_refused(route.send(ann, task, route.content(**{field: MARK})), INVALID, case=field)


@pytest.mark.parametrize("name", ["create", "import task"])
def test_of_a_repeated_name_the_last_one_counts_if_any(ann: httpx.Client, name: str) -> None:
    content = ROUTES[name].raw("description", b'"first", "description": "last"')
    answer = ROUTES[name].send(ann, {"id": AN_ID}, content)
    assert answer.status_code in (200, 201, 400, 422)
    assert [task["description"] for task in ann.get("/api/tasks").json()] == ["last"] * answer.is_success


# Dates and rules

NO_DATES = ["0000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "+2030-01-01T00:00:00Z"]
NO_DATES += ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2016-12-31T23:59:60Z", "2030-01-01T24:00:00Z"]
NO_DATES += ["2030-02-29T00:00:00Z", "2030-01-01T00:00:00+24:00", "2030-01-01T00:00:00+23:60", "2030-W01-1T00:00:00Z"]
NO_DATES += ["2030-01-01T00:00:00Europe/Paris", "2030-01-01T00:00:00[UTC]", "2030-01-01T00:00:00Z\0", "--", "%s-%s"]
NO_DATES += ["2030-01-01T00:00:00Z' --", "\uff12030-01-01T00:00:00Z", "18934560e-2", "1e-400", "-infinity", "now - 1"]
NO_DATES += [f"{MARK}-01-01T00:00:00Z", f"2030-01-01T00:00:00Z{MARK}", f"2030-{'9' * 5000}"]


def test_what_is_no_date_is_refused_by_every_field_and_filter(ann: httpx.Client) -> None:
    with unchanged(ann) as task:
        for value in NO_DATES:
            for route in OF_TASKS:
                for field in MOMENTS if route is IMPORT_TASK else MOMENTS[:1]:
                    assert_refused(route.send(ann, task, route.content(**{field: value})), INVALID, case=value)
            for field in ("due_before", "due_after"):
                for method in ("GET", "PATCH", "DELETE"):
                    answer = ann.request(method, f"/api/tasks?{field}={quote(value)}", content="{}", headers=JSON)
                    assert_refused(answer, INVALID, case=value)


def test_any_other_date_comes_back_as_the_same_moment(ann: httpx.Client) -> None:
    for sent, moment in {
        "2030-01-01T00:00:00+23:59": "2029-12-31T00:01:00+00:00",
        "2030-01-01T00:00:00-23:59": "2030-01-01T23:59:00+00:00",
        "2030-01-01 00:00:00-00:00": "2030-01-01T00:00:00+00:00",
        "2030-01-01t00:00:00.123456789z": "2030-01-01T00:00:00.123456+00:00",
        f"2030-01-01T00:00:00.{'0' * 400}Z": "2030-01-01T00:00:00+00:00",
        "0001-01-01T23:59:00+23:59": "0001-01-01T00:00:00+00:00",
        "9999-12-31T00:00:00.999999-23:59": "9999-12-31T23:59:00.999999+00:00",
    }.items():
        assert datetime.fromisoformat(create(ann, due_date=sent)["due_date"]) == datetime.fromisoformat(moment)


NO_RULES = ["FREQ=DAILY;", ";FREQ=DAILY", "FREQ=DAILY;;COUNT=2", "RRULE:", "FREQ = DAILY", "FREQ=DAILY\0"]
NO_RULES += ["FREQ=DAILY\r\nEXDATE:20300101", "FREQ=DAILY\u2028COUNT=2", "FREQ=DAILY;COUNT=\uff11", "COUNT=1e3"]
NO_RULES += [f"FREQ=DAILY;COUNT={'9' * 480}", f"FREQ=DAILY;INTERVAL={2**63}", "FREQ=DAILY;INTERVAL=-1", f"FREQ={MARK}"]
NO_RULES += ["FREQ=DAILY;UNTIL=99999999", "FREQ=DAILY;UNTIL=00000101T000000Z", f"FREQ=WEEKLY;BYDAY={'MO,' * 160}"]
NO_RULES += [f"FREQ=DAILY;BYDAY={MARK}", "FREQ=DAILY;%s=%(user_id)s", "FREQ=DAILY'; --", "__import__('os')", "{0}"]


def test_what_is_no_rule_is_refused_by_every_route(ann: httpx.Client) -> None:
    with unchanged(ann) as task:
        for rule in NO_RULES:
            for route in OF_TASKS:
                content = route.content(due_date="2030-01-01T00:00:00Z", recurrence_rule=rule)
                answer = route.send(ann, task, content)
                assert_refused(answer, INVALID, case=rule)
                assert answer.json()["field"].endswith("recurrence_rule")


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
@pytest.mark.parametrize(
    ("rule", "due_date", "coming"),
    [
        ("FREQ=DAILY;UNTIL=99991231T235959Z", "2030-01-01T00:00:00+01:00", 1),
        ("FREQ=DAILY;UNTIL=00010101T000000Z", "2030-01-01T00:00:00-01:00", 0),
        ("FREQ=WEEKLY;BYDAY=MO,SU", "9999-12-27T00:00:00Z", 0),
        ("FREQ=WEEKLY;BYDAY=SU", "9999-12-31T00:00:00-23:59", 0),
        ("FREQ=DAILY", "9999-12-31T23:59:59+23:59", 0),
        ("FREQ=MONTHLY;BYDAY=5MO", "9999-12-31T00:00:00-23:59", 0),
        ("FREQ=YEARLY;BYWEEKNO=53,-1;BYDAY=SU", "9999-12-31T00:00:00Z", 0),
        ("FREQ=DAILY;INTERVAL=999", "0001-01-01T23:59:00+23:59", 1),
    ],
)
def test_a_task_can_be_completed_however_near_the_end_of_the_calendar(
    ann: httpx.Client, rule: str, due_date: str, coming: int, many: bool
) -> None:
    task = create(ann, due_date=due_date, recurrence_rule=rule)
    path = "/api/tasks?status=pending" if many else f"/api/tasks/{task['id']}"
    answer = ann.patch(path, json={"status": "completed"})
    assert answer.status_code == 200, answer.text
    assert len(ann.get("/api/tasks?status=pending").json()) == coming


@pytest.mark.parametrize("beyond", [("9999-12-31T23:59:59Z", 86399), ("0001-01-01T00:00:00Z", -86399)], ids=["+", "-"])
def test_an_imported_offset_beyond_the_calendar_is_refused_or_does_no_harm(
    ann: httpx.Client, beyond: tuple[str, int]
) -> None:
    content = IMPORT_TASK.content(due_date=beyond[0], due_offset=beyond[1], recurrence_rule="FREQ=DAILY")
    if IMPORT_TASK.send(ann, {"id": AN_ID}, content).is_success:
        answer = ann.patch(f"/api/tasks/{AN_ID}", json={"status": "completed"})
        assert answer.status_code == 200, answer.text


# Paths and queries

NO_IDS = ["null", "undefined", "0", "-1", "*", "{id}", ".", "..", "%2e%2e", "%00", "%0a", "%20", "%ff", "%ED%A0%80"]
NO_IDS += ["'%20OR%201=1--", "%27);DROP%20TABLE%20task;--", "%25s", "%25(user_id)s", "%0d%0aX-zq:%201", quote(MARK)]
NO_IDS += ["x" * 1000, "9" * 5000, f"{AN_ID}%00", f"{AN_ID}%0a", f"%20{AN_ID}", AN_ID[:-1] + "g", f"URN:UUID:{AN_ID}"]
NO_IDS += [AN_ID[:-1] + "%EF%BC%91", f"%7B{AN_ID}", f"{AN_ID},{AN_ID}", f"{AN_ID};v=1", AN_ID[:8] + AN_ID[9:]]
NO_NAMES = [".", "..", "%2e%2e", "%20", "%00", "a%00", "a%0d%0aSet-Cookie:%20zq", "%0d", "%7F", "a%C2%85b", "x" * 1000]
NO_NAMES += ["%E2%80%A8", "%E3%80%80", "a%1bb", quote(MARK * 20), ""]


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_a_path_to_what_can_be_no_task_or_tag_is_refused(ann: httpx.Client, method: str) -> None:
    body = {"title": "x"}, {"color": None} if method == "PUT" else {"name": "x"}
    with unchanged(ann):
        for of, names in enumerate((NO_IDS, NO_NAMES if method != "GET" else [])):
            content = json.dumps(body[of]).encode()
            lines = ("Content-Type: application/json", f"Content-Length: {len(content)}")
            for name in names:
                path = f"/api/{('tasks', 'tags')[of]}/{name}"
                answer = exchange(ann, f"{method} {path} HTTP/1.1", *lines, body=content)
                assert_refused(answer, INVALID, *([NOT_FOUND] if of else []), case=path)


def test_an_imported_id_that_is_none_is_refused(ann: httpx.Client) -> None:
    with unchanged(ann) as task:
        for odd in ("", "null", "..", "%00", "\0", MARK, "x" * 1000, f"{AN_ID}\n", f"{AN_ID}'", AN_ID[:-1] + "\uff11"):
            assert_refused(IMPORT_TASK.send(ann, task, IMPORT_TASK.content(id=odd)), INVALID, case=odd)


def test_not_one_character_of_an_id_is_repeated(ann: httpx.Client) -> None:
    with unchanged(ann) as task:
        for answer in (ann.get("/api/tasks/☠"), IMPORT_TASK.send(ann, task, IMPORT_TASK.content(id="☠"))):
            assert_refused(answer, INVALID)


def test_every_way_to_write_an_id_is_the_same_id(ann: httpx.Client) -> None:
    task = create(ann)
    written = (task["id"].upper(), f"%7B{task['id']}%7D", f"urn:uuid:{task['id']}", task["id"].replace("-", ""))
    assert [ann.get(f"/api/tasks/{each}").json() for each in written] == [task] * 4


@pytest.mark.parametrize("task_id", ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"])
def test_whatever_id_an_import_takes_is_exported_too(ann: httpx.Client, task_id: str) -> None:
    if IMPORT_TASK.send(ann, {"id": AN_ID}, IMPORT_TASK.content(id=task_id)).is_success:
        assert [task["id"] for task in ann.get("/api/export").json()["tasks"]] == [task_id]


NO_PATHS = ["//api/me", "/api//me", "/api/me/", "/api/./me", "/api/../api/me", "/api/%2e%2e/api/me", "/api/v1/../me"]
NO_PATHS += ["/api/v1/v1/me", "/API/me", "/api/me;x=1", "/api/me%00", "/api/me%2f", "/api\\me", "/api/tasks/../me"]
NO_PATHS += ["/api/tasks/..%2fme", "/api/v1/%2e%2e/me", "http://x/", "/api/%252e/me", f"/{quote(MARK)}", "*", "/*"]


def test_no_other_path_leads_to_a_route(ann: httpx.Client) -> None:
    for path in NO_PATHS:
        assert_refused(exchange(ann, f"GET {path} HTTP/1.1"), NOT_FOUND, case=path)


NO_QUERIES = [
    *(f"limit={value}" for value in ("9" * 5000, 2**63, -(2**63), "NaN", "Infinity", "1e400", "1e2", "0x10", "%00")),
    *(f"limit={value}" for value in ("%EF%BC%95", "%D9%A5", "%FF", "1;limit=2", "%zz", "%u0031", quote(MARK))),
    *(f"status={value}" for value in ("%00", "%FF", "pending%00", "pending%27--", "%7Bpending%7D", quote(MARK))),
    *(f"priority={value}" for value in ("high%20OR%201=1", "9" * 5000, "%25s", quote(MARK))),
    *(f"tag={value}" for value in ("a%00", "a%0D%0Ab", "a%7Fb", "a%C2%85b", quote(MARK * 20))),
    *(f"q={value}" for value in ("a%00", quote(MARK * 200))),
    *(f"sort={value}" for value in ("%00", "%FF", "title%20desc", "title;", "due_date--", quote(MARK))),
    *("status[]=pending", "limit[]=5", "limit[$gt]=1", "q.x=1", "Q=x", "%00=x", "%FF=x", "=x", "%", "&x", "a" * 9000),
    *("cursor=%FF", "cursor=%ED%A0%80", "due_before=%FF"),
    *("user_id=x", "id=x", "version=1", "due_offset=0", "created_at=x", "__proto__=x", "_method=DELETE", "page=2"),
    "&".join(f"p{number}=zq" for number in range(500)),
]


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_a_query_that_is_none_is_refused_beside_one_that_is(ann: httpx.Client, method: str) -> None:
    with unchanged(ann):
        for query in NO_QUERIES:
            answer = ann.request(method, f"/api/tasks?tag=home&{query}", content='{"title": "x"}', headers=JSON)
            assert_refused(answer, INVALID, case=query)
        for cursor in ("%00", "e30", "bnVsbA", "W10&cursor=e30", "A" * 1999, quote(MARK)):
            answer = ann.request(method, f"/api/tasks?tag=home&cursor={cursor}", content="{}", headers=JSON)
            assert_refused(answer, NO_CURSOR if method == "GET" else INVALID, case=cursor)


@pytest.mark.parametrize("query", ["q=", "q=%00", "due_before=zq", "due_after=2030-01-01", "cursor=" + "x" * 2001])
def test_a_refused_parameter_is_named_as_it_is_and_once(ann: httpx.Client, query: str) -> None:
    [error] = ann.get(f"/api/tasks?{query}").json()["errors"]
    assert error["field"] == query.partition("=")[0]


def test_of_a_repeated_parameter_that_is_meant_once_the_last_counts_on_every_page(ann: httpx.Client) -> None:
    tasks = [create(ann, title=f"Task {number}") for number in range(3)]
    path = "/api/tasks?limit=500&limit=1&sort=title&sort=-created_at&q=none&q=task"
    assert list(pages(ann, path)) == [[task] for task in reversed(tasks)]


def test_a_long_query_is_answered_until_it_is_too_long_for_the_server(ann: httpx.Client) -> None:
    with unchanged(ann) as task:
        assert ann.get(f"/api/tasks?{'&'.join(['tag=home'] * 500)}").json() == [task]
        assert ann.get(f"/api/tasks?{'&'.join(['status=pending'] * 4000)}").json() == [task]
        for length in (65_536, 131_072, 500_000):
            assert_refused_by_the_server(exchange(ann, f"DELETE /api/tasks?tag=home&q={'x' * length} HTTP/1.1"), length)
            assert_refused_by_the_server(exchange(ann, f"GET /api/tasks/{'x' * length} HTTP/1.1"), length)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_tag_that_is_no_utf_8_is_refused_and_is_no_other_tag(ann: httpx.Client, method: str) -> None:
    tags = ["x\ufffdy", "\ufffd", "\ufffd\ufffd", "\ufffd\ufffd\ufffd"]
    create(ann, tags=tags)
    for name in ("%FF", "x%FFy", "%C0%AF", "%ED%A0%80"):
        body = {"PUT": {"color": "#123456"}, "PATCH": {"name": "x"}}.get(method)
        assert ann.request(method, f"/api/tags/{name}", json=body).is_client_error, name
    assert ann.get("/api/tags").json() == [{"name": tag, "color": None, "tasks": 1} for tag in tags]


@pytest.mark.parametrize("query", ["q=%FF", "tag=%FF"])
def test_a_filter_that_is_no_utf_8_deletes_nothing(ann: httpx.Client, query: str) -> None:
    task = create(ann, title="\ufffd", tags=["\ufffd"])
    ann.delete(f"/api/tasks?{query}")
    assert ann.get("/api/tasks").json() == [task]


# HTTP itself

BODY = b'{"title": "x"}'
CHUNKED = b"e\r\n" + BODY + b"\r\n0\r\n\r\n"
LENGTHS = ["-1", "+14", "14, 14", "x", "0x0e", "14.0", "1e1", "", " ", "9" * 30, "9" * 5000, "\u0661\u0664"]
CODINGS = ["identity", "gzip", "xchunked", "chunked, identity", "chunked, chunked", "\vchunked", "chunked;q=1"]
CHUNKS = [*(size + b"\r\n" + BODY for size in (b"zq", b"-1", b"0x0e", b"f" * 17, b"\xff"))]
CHUNKS += [b"e\n" + BODY + b"\n0\n\n", b"e\r\n" + BODY + b"zq0\r\n\r\n"]
NO_FRAMES: list[tuple[tuple[str, ...], bytes]] = [
    *(((f"Content-Length: {length}",), BODY) for length in LENGTHS),
    *(((f"Transfer-Encoding: {coding}",), CHUNKED) for coding in CODINGS),
    *((("Transfer-Encoding: chunked",), chunks) for chunks in CHUNKS),
    *((("Content-Length: 14", f"Content-Length: {length}"), BODY) for length in (14, 5)),
    (("Content-Length : 14",), BODY),
    (("Content-Length: 14", "Transfer-Encoding: chunked"), CHUNKED),
    (("Transfer-Encoding: chunked", "Content-Length: 14"), CHUNKED),
    (("Transfer-Encoding: chunked", "Transfer-Encoding: identity"), CHUNKED),
]


@pytest.mark.parametrize("path", ["/api/tasks", "/api/import"])
def test_a_length_that_is_none_is_refused_before_anything_is_done(ann: httpx.Client, path: str) -> None:
    with unchanged(ann):
        for lines, body in NO_FRAMES:
            answer = exchange(ann, f"POST {path} HTTP/1.1", "Content-Type: application/json", *lines, body=body)
            assert_refused_by_the_server(answer, (lines, body[:30]))


def test_a_length_that_is_not_the_bodys_makes_no_task(ann: httpx.Client) -> None:
    json_line = "Content-Type: application/json"
    with unchanged(ann):
        assert_refused(exchange(ann, "POST /api/tasks HTTP/1.1", json_line, "Content-Length: 5", body=BODY), NO_JSON)
        assert_refused(exchange(ann, "POST /api/tasks HTTP/1.1", json_line, body=BODY), INVALID)
        for length in (65537, 2**63, 2**64 - 1):
            for more in ((), ("Expect: 100-continue",)):
                for method in ("POST", "GET", "DELETE"):
                    lines = (json_line, f"Content-Length: {length}", *more)
                    assert_refused(exchange(ann, f"{method} /api/tasks?tag=home HTTP/1.1", *lines), TOO_LARGE)


@pytest.mark.parametrize("path", ["/api/tasks", "/api/import"])
def test_a_body_that_breaks_off_makes_nothing_and_is_no_error_of_the_server(
    ann: httpx.Client, database_url: str, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    stream, configure = io.StringIO(), logs.configure
    monkeypatch.setattr(logs, "configure", lambda *_: configure("debug", "json", stream))
    try:
        with (
            serving(settings(database_url=database_url)) as url,
            httpx.Client(base_url=url, headers=ann.headers) as client,
            connected(client) as connection,
        ):
            lines = ("Content-Type: application/json", "Content-Length: 50")
            send_bytes(connection, client, f"POST {path} HTTP/1.1", *lines, body=BODY)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(65536)
            assert client.get("/api/tasks").json() == []
    finally:
        configure("info", "console")
    logged = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["error"] for line in logged if line["level"] == "error"] == []


NO_STARTS = ["get /api/me HTTP/1.1", "GET /api/me HTTP/3.7", "GET /api/me HTTP/1.1x", "GET /api/me FTP/1.1", "zq"]
NO_STARTS += ["GET  HTTP/1.1", "GET api/me HTTP/1.1", "GET /api/me?q=a b HTTP/1.1", "GET /api/me\0 HTTP/1.1"]
NO_STARTS += ["GET /☠ HTTP/1.1", "GET /api/tasks?q=☠ HTTP/1.1", "GET file:///api/me HTTP/1.1", "GET http://x HTTP/1.1"]
NO_STARTS += ["CONNECT zq.example:443 HTTP/1.1", "PRI * HTTP/2.0\r\n\r\nSM", "G\0T /api/me HTTP/1.1", "\0 / HTTP/1.1"]
NO_LINES = ["X-zq: a\0b", "X-zq: a\rb", "X-zq: a\x7fb", "X-zq: a\x01b", "X zq: a", "X-zq\t: a", "☠: a", "zq", ": a"]


@pytest.mark.parametrize("protocol", ["websocket", "h2c", "TLS/1.0"])
def test_a_request_that_asks_for_another_protocol_is_answered_in_this_one(ann: httpx.Client, protocol: str) -> None:
    upgrade = ("Connection: Upgrade", f"Upgrade: {protocol}")
    assert exchange(ann, "GET /api/tasks HTTP/1.1", *upgrade).status_code == 200
    answer = exchange(ann, "POST /api/tasks HTTP/1.1", *upgrade, "Content-Length: 2", body=b"{}")
    assert answer.status_code < 500


def test_what_is_no_http_is_refused_by_the_server(ann: httpx.Client) -> None:
    for start in NO_STARTS:
        assert_refused_by_the_server(exchange(ann, start), start)
    for line in NO_LINES:
        assert_refused_by_the_server(exchange(ann, "GET /api/me HTTP/1.1", line), line)
    assert ann.get("/api/me").status_code == 200


def test_a_parameter_that_no_route_of_a_user_has_is_refused_by_each(ann: httpx.Client) -> None:
    paths = ann.get("/openapi.json").json()["paths"]
    with unchanged(ann) as task:
        for path, operations in paths.items():
            for method, operation in operations.items():
                if "security" in operation and path != "/api/security-events":
                    body: dict[str, Any] = {"json": {}} if "requestBody" in operation else {}
                    url = path.format(id=task["id"], name="zq", seq=1)
                    answer = ann.request(method, f"{url}?limits=1", headers={"Confirm": "zq"}, **body)
                    assert_refused(answer, INVALID, case=(method, path))
                    assert {"field": "limits", "message": "is no query parameter of this route"} in answer.json()[
                        "errors"
                    ]


def test_a_method_that_a_path_does_not_have_is_a_405(ann: httpx.Client) -> None:
    with unchanged(ann) as task:
        for path in ("/api/tasks", f"/api/tasks/{task['id']}", "/api/tags", "/api/import", "/api/me", "/health"):
            for method in ("TRACE", "CONNECT", "PROPFIND", "OPTIONS", "PURGE", "SEARCH", "M-SEARCH", "LINK", "UNLOCK"):
                answer = exchange(ann, f"{method} {path} HTTP/1.1", "X-zq: zq")
                assert_refused(answer, NOT_ALLOWED, case=(method, path))
                assert answer.headers["Allow"]
            head = exchange(ann, f"HEAD {path} HTTP/1.1")
            assert (head.status_code, head.content) == (405 if path == "/api/import" else 200, b"")
        asked = {"Origin": "https://zq.example", "Access-Control-Request-Method": "TRACE"}
        answer = ann.options("/api/tasks", headers=asked | {"Access-Control-Request-Headers": "X-zq"})
        assert answer.is_client_error
        assert "zq" not in f"{answer.text} {answer.headers}"


def test_old_and_absolute_requests_are_answered_like_any_other(ann: httpx.Client) -> None:
    lines = ("Content-Type: application/json", "Content-Length: 14")
    for start in ("POST /api/tasks HTTP/1.0", "POST http://zq.example/api/tasks HTTP/1.1"):
        answer = exchange(ann, start, *lines, body=BODY)
        assert (answer.status_code, answer.headers["Location"]) == (201, f"/api/tasks/{answer.json()['id']}")


def test_no_header_but_its_own_changes_what_a_request_does(ann: httpx.Client) -> None:
    headers = dict.fromkeys(("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"), "DELETE")
    headers |= dict.fromkeys(("X-Original-URL", "X-Rewrite-URL", "X-Script-Name"), "/api/zq")
    headers |= dict.fromkeys(("Host", "X-Forwarded-Host", "X-Host", "Forwarded", "Referer", "X-Forwarded-Proto"), "zq")
    headers |= dict.fromkeys(("X-User-ID", "X-Forwarded-User", "Remote-User", "Cookie"), "zq")
    with unchanged(ann) as task:
        assert ann.get(f"/api/tasks/{task['id']}", headers=headers).json() == task
        made = ann.post("/api/tasks", json={"title": "x"}, headers=headers)
        assert made.headers["Location"] == f"/api/tasks/{made.json()['id']}"
        assert made.json()["user_id"] == task["user_id"]
        assert "zq" not in f"{made.text} {made.headers}"
        ann.delete(made.headers["Location"])


def test_what_a_link_repeats_is_encoded_and_never_a_header(ann: httpx.Client) -> None:
    tag = '<//zq>; rel="next", \\'
    text = f"x\r\nSet-Cookie: zq=1\r\n\r\n{tag}\u2028%0d%0a\x01"
    tasks = [create(ann, title=f"{text} {number}", tags=[tag]) for number in range(2)]
    answer = ann.get("/api/tasks", params={"q": text, "tag": tag, "limit": 1})
    assert re.fullmatch(r'</api/tasks\?[\w%&=+.-]+>; rel="next"', answer.headers["Link"], re.ASCII)
    assert "Set-Cookie" not in answer.headers
    assert list(pages(ann, str(answer.url))) == [[task] for task in reversed(tasks)]


# Text

TEXTS = {
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈🇪🇺👍🏽",
    "right to left": "שלום, مرحبا",
    "bidi controls": "a\u202eb\u2066c\u2069d\u200fe",
    "NFC": "\u00e9\u1e69\uac00",
    "combining": "Z" + "\u0363" * 30,
    "invisible": "\u200ba\ufeffb\u00ad\u2060c\u200b",
    "separators": "a\u2028b\u2029c\u00a0d\u3000e",
    "noncharacters": "a\ufffe\uffff\U0001ffff\U0010ffffb",
    "a replacement": "\ufffd",
    "astral": "\U0001d4b3" * 200,
    "digits": "9" * 200,
    "SQL": "'); DELETE FROM task; -- /* */ OR 1=1",
    "formats": "%s %(user_id)s %% {} {0} $1 :name ? {{x}}",
    "backslashes": "\\ \\' \\\\ \\x41 E'\\n' \\u0000 \\",
    "quotes": "' '' \" \"\" ` $$ $x$ «»",
    "JSON": '{"user_id": "x", "a": ["\\u0000", null]}',
    "an array literal": '{NULL,"a,b",{}}',
    "HTML": "<script>alert(1)</script>&amp;<!--",
    "a path": "../..//x?y=1&z#%2F%00%FF;=+",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_text_is_the_same_wherever_it_goes(ann: httpx.Client, bob: httpx.Client, text: str) -> None:
    tag = text[:50]
    tag_path = f"/api/tags/{quote(tag, safe='')}"
    task = create(ann, title=text, description=text, tags=[tag])
    create(ann, title="another", tags=["another"])
    assert {"title": text, "description": text, "tags": [tag]}.items() <= task.items()
    for query in ({"q": text}, {"tag": tag}, {"q": text, "tag": tag, "sort": "title"}):
        assert ann.get("/api/tasks", params=query).json() == [task]
    coloured = ann.put(tag_path, json={"color": "#123456"})
    assert (coloured.status_code, coloured.json()) == (200, {"name": tag, "color": "#123456"})
    assert ann.patch(tag_path, json={"name": "plain"}).json() == {"name": "plain", "color": "#123456"}
    assert ann.patch("/api/tags/plain", json={"name": tag}).json() == {"name": tag, "color": "#123456"}
    assert bob.post("/api/import", content=ann.get("/api/export").content, headers=JSON).json()["tasks"] == 2
    for client in (ann, bob):
        [listed] = client.get("/api/tasks", params={"q": text}).json()
        assert (listed["title"], listed["description"], listed["tags"]) == (text, text, [tag])
        assert {"name": tag, "color": "#123456", "tasks": 1} in client.get("/api/tags").json()
    changed = ann.patch("/api/tasks", params={"tag": "another"}, json={"description": text, "tags": [tag]})
    assert changed.json() == {"updated": 1}
    assert ann.delete("/api/tasks", params={"q": text, "tag": tag}).json() == {"deleted": 2}
    assert ann.delete(tag_path).status_code == 204
    assert ann.get("/api/tags").json() == []


def test_texts_that_only_look_the_same_are_two(ann: httpx.Client) -> None:
    for one, other in (("\u0430", "a"), ("\ufb01", "fi"), ("x\u200by", "xy"), ("\uff11", "1")):
        tasks = [create(ann, title=f"<{text}>", tags=[f"<{text}>"]) for text in (one, other)]
        for text, task in zip((one, other), tasks, strict=True):
            assert ann.get("/api/tasks", params={"tag": f"<{text}>"}).json() == [task]


def test_text_is_kept_composed_however_it_was_typed(ann: httpx.Client) -> None:
    typed, kept = "cafe\u0301", "café"
    task = create(ann, title=typed, description=f"{typed}\n{typed}", tags=[typed, kept])
    assert (task["title"], task["description"], task["tags"]) == (kept, f"{kept}\n{kept}", [kept])
    path = f"/api/tasks/{task['id']}"
    assert ann.patch(path, json={"title": "e\u0301" * 200, "tags": [typed]}).json()["title"] == "\u00e9" * 200
    assert ann.put(path, json={"title": f"{typed}s", "tags": [typed]}).json()["title"] == f"{kept}s"
    for query in ({"q": typed}, {"tag": typed}, {"tag": kept}):
        assert len(ann.get("/api/tasks", params=query).json()) == 1, query
    assert ann.put(f"/api/tags/{quote(typed)}", json={"color": "#123456"}).json()["name"] == kept
    assert ann.patch(f"/api/tags/{quote(typed)}", json={"name": "the\u0301"}).json()["name"] == "th\u00e9"
    imported = {"id": AN_ID, "title": typed, "tags": [typed]}
    document = {"version": 1, "tasks": [imported], "tags": [{"name": typed, "color": "#123456"}]}
    assert ann.post("/api/import", json=document).json() == {"tasks": 1, "tags": 1}
    read = ann.get(f"/api/tasks/{AN_ID}").json()
    assert (read["title"], read["tags"]) == (kept, [kept])
    assert {"name": kept, "color": "#123456", "tasks": 1} in ann.get("/api/tags").json()


NOTHING = ["\u200b", "\u2800", "\u3164", "\u115f\u1160", "\u00ad", "\ufeff \u2060", "\ufe0f", "\x01", "\u2028"]
NOTHING += ["\U000e0020"]


@pytest.mark.parametrize("text", NOTHING, ids=ascii)
def test_text_that_shows_nothing_is_empty(ann: httpx.Client, text: str) -> None:
    task = create(ann)
    for method, path in (("POST", "/api/tasks"), ("PUT", f"/api/tasks/{task['id']}"), ("PATCH", "/api/tasks?q=a")):
        refused = ann.request(method, path, json={"title": text})
        assert (refused.status_code, refused.json()["field"]) == (422, "title")
    for refused in (
        ann.patch(f"/api/tasks/{task['id']}", json={"tags": [text]}),
        ann.put(f"/api/tags/{quote(text)}", json={"color": None}),
        ann.patch("/api/tags/x", json={"name": text}),
        ann.get("/api/tasks", params={"q": text}),
        ann.get("/api/tasks", params={"tag": text}),
        ann.post("/api/import", json={"version": 1, "tasks": [{"id": AN_ID, "title": text}]}),
    ):
        assert refused.status_code == 422
    kept = create(ann, title=f"a{text}b", description=text)
    assert (kept["title"], kept["description"]) == (f"a{text}b", text)


def test_no_tag_is_read_as_part_of_an_array(ann: httpx.Client) -> None:
    tags = [
        "NULL",
        "{}",
        "{NULL}",
        "{a,b}",
        "a,b",
        ",",
        '"',
        '""',
        '","',
        "\\",
        "\\\\",
        "'",
        "''",
        "},{",
        "[1]",
    ]
    tags += ["ARRAY['x']", "$$x$$", "%s", "x y"]
    task = create(ann, tags=tags)
    assert task["tags"] == tags
    for tag in tags:
        assert ann.get("/api/tasks", params={"tag": tag}).json() == [task]
    assert ann.get("/api/tasks", params={"tag": tags}).json() == [task]
    assert ann.get("/api/tasks", params={"tag": ["a", "b"]}).json() == []
    for tag in tags[:-1]:
        assert ann.delete(f"/api/tags/{quote(tag, safe='')}").status_code == 204, tag
    assert ann.get(f"/api/tasks/{task['id']}").json()["tags"] == tags[-1:]


@pytest.mark.parametrize("marks", ["\u0301" * 31, "\u0301\u0327" * 8000, "\u0301" * 8000 + "\u0327" * 8000])
def test_a_letter_has_at_most_thirty_marks(ann: httpx.Client, marks: str) -> None:
    for answer in (
        ann.post("/api/tasks", json={"title": f"a{marks}"}),
        ann.get("/api/tasks", params={"q": marks[:60]}),
    ):
        assert_problem(answer, 422, "VALIDATION_ERROR")
        assert "at most 30 marks on one letter" in answer.json()["detail"]


def test_thirty_marks_on_a_letter_are_taken(ann: httpx.Client) -> None:
    assert ann.post("/api/tasks", json={"title": "a" + "\u0327\u0301" * 15}).status_code == 201
