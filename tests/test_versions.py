"""Versions: entity tags and preconditions (RFC 9110, section 13); and requests that are to be done once."""

import json
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.conftest import overheard
from tests.helpers import assert_problem, at_once, create, meanwhile, path_of, statuses

CHANGED = {"title": "Changed", "description": "Changed"}
WRITES: list[tuple[str, dict[str, Any] | None]] = [
    ("PUT", CHANGED),
    ("PATCH", CHANGED),
    ("PATCH", {}),
    ("DELETE", None),
]
each_write = pytest.mark.parametrize(("method", "body"), WRITES, ids=["PUT", "PATCH", "empty PATCH", "DELETE"])

# Of a task at version 1.
STRONG = ['"1"', '"7", "1"', '"1","7"', '"7" ,\t "1"  ,"8"', 'W/"7", "1"', '"x", "", "1"', '"1", "1"']
STRONG += ['W/"1"', 'W/"7", W/"1"', 'W/"1","7"', '"7" , W/"1"']  # what a proxy that compresses makes of it
STRONG.append(", ".join(f'"{version}"' for version in range(500, 0, -1)))
OTHERS = [
    '"2"',
    '"2", "3", W/"2"',
    'W/"2"',
    '"0"',
    '"01"',
    '"-1"',
    '"+1"',
    '"1.0"',
    '"1e0"',
    '"1,2"',
    '"*"',
    '""',
    '"x"',
    '"null"',
    '"\\"',
    '"2147483647"',
    '"2147483648"',
    '"4294967297"',
    '"18446744073709551617"',
    f'"{"9" * 4000}"',
]
GARBAGE: list[str | bytes] = [
    "",
    ",",
    ", ,",
    "1",
    "latest",
    '"1',
    '1"',
    '"',
    "'1'",
    '"1" "2"',
    '"1"; "2"',
    '"1"x',
    '"a b"',
    '"a\tb"',
    'w/"1"',
    'W/ "1"',
    "W/1",
    "W/",
    "**",
    '*, "1"',
    '"1", *',
    "\u201c1\u201d".encode(),
    b"\xa0*",
]


def each(name: str, values: Sequence[object]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(name, values, ids=range(len(values)))


def header(name: str, value: str | bytes) -> httpx.Headers:
    return httpx.Headers([(name.encode(), value if isinstance(value, bytes) else value.encode())])


def test_the_entity_tag_of_every_answer_is_its_version(ann: httpx.Client) -> None:
    created = ann.post("/api/tasks", json={"title": "x"})
    path = created.headers["Location"]
    answers = [
        created,
        ann.get(path),
        ann.put(path, json={"title": "x"}),
        ann.patch(path, json={"title": "x"}),
        ann.patch(path, json={}),
        ann.get(path),
    ]
    assert [answer.headers["ETag"] for answer in answers] == ['"1"', '"1"', '"2"', '"3"', '"3"', '"3"']
    assert [answer.json()["version"] for answer in answers] == [1, 1, 2, 3, 3, 3]


@each_write
@each("if_match", [*STRONG, "*"])
def test_a_write_is_done_if_one_of_its_tags_is_the_version(
    ann: httpx.Client, method: str, body: dict[str, Any] | None, if_match: str
) -> None:
    task = create(ann)
    answer = ann.request(method, path_of(task), json=body, headers={"If-Match": if_match})
    assert answer.status_code == (204 if method == "DELETE" else 200)
    if method == "DELETE":
        assert ann.get(path_of(task)).status_code == 404
    else:
        assert answer.json()["version"] == (2 if body else 1)


@each_write
@each("if_match", OTHERS)
def test_a_write_whose_tags_are_not_the_version_changes_nothing(
    ann: httpx.Client, method: str, body: dict[str, Any] | None, if_match: str
) -> None:
    task = create(ann)
    answer = ann.request(method, path_of(task), json=body, headers=header("If-Match", if_match))
    assert_problem(answer, 412, "PRECONDITION_FAILED")
    assert ann.get(path_of(task)).json() == task


@pytest.mark.parametrize("tag", [b'"\xe9"', b'"1\xa0"', '"\u0661"'.encode(), '"\U0001d7cf"'.encode()])
def test_no_tag_beyond_ascii_is_a_version(ann: httpx.Client, tag: bytes) -> None:
    task = create(ann)
    for method, body in WRITES:
        answer = ann.request(method, path_of(task), json=body, headers=header("If-Match", tag))
        assert (answer.status_code, answer.json()["code"]) in {(400, "INVALID_HEADER"), (412, "PRECONDITION_FAILED")}
    assert ann.get(path_of(task), headers=header("If-None-Match", tag)).status_code in (200, 400)
    assert ann.get(path_of(task)).json() == task


@each_write
def test_a_tag_is_of_no_use_after_the_next_change(ann: httpx.Client, method: str, body: dict[str, Any] | None) -> None:
    task = create(ann)
    second = ann.patch(path_of(task), json={"title": "Second"}, headers={"If-Match": '"1"'})
    assert_problem(
        ann.request(method, path_of(task), json=body, headers={"If-Match": '"1"'}), 412, "PRECONDITION_FAILED"
    )
    assert ann.get(path_of(task)).json() == second.json()
    tag = second.headers["ETag"]
    assert ann.request(method, path_of(task), json=body, headers={"If-Match": tag}).is_success


@each_write
@each("if_match", GARBAGE)
def test_an_if_match_that_is_no_list_of_tags_is_refused(
    ann: httpx.Client, method: str, body: dict[str, Any] | None, if_match: str | bytes
) -> None:
    task = create(ann)
    answer = ann.request(method, path_of(task), json=body, headers=header("If-Match", if_match))
    assert_problem(answer, 400, "INVALID_HEADER")
    assert ann.get(path_of(task)).json() == task


@pytest.mark.parametrize(
    "start", ['"1"' + " " * 60_000, '"1" ,' * 15_000, '"1", ' + '"' * 60_000, '"1"' + "\t, \t" * 15_000]
)
def test_a_long_header_that_is_no_list_is_refused_as_soon_as_it_is_read(ann: httpx.Client, start: str) -> None:
    answer = ann.patch(path_of(create(ann)), json=CHANGED, headers=header("If-Match", f"{start}x"))
    assert_problem(answer, 400, "INVALID_HEADER")


@pytest.mark.parametrize(("name", "status"), [("If-Match", 200), ("If-None-Match", 304)])
@pytest.mark.parametrize("tags", [('"1"', '"7"'), ('"7"', '"1"')], ids=["first", "second"])
def test_a_list_may_come_in_several_lines(ann: httpx.Client, name: str, status: int, tags: tuple[str, str]) -> None:
    task = create(ann)
    method, body = ("PATCH", CHANGED) if name == "If-Match" else ("GET", None)
    answer = ann.request(method, path_of(task), json=body, headers=[(name, tag) for tag in tags])
    assert answer.status_code == status


@each_write
@pytest.mark.parametrize("if_match", ["*", '"1"', '"2"', 'W/"1"', '"x"'])
def test_a_task_that_is_not_the_callers_is_missing_whatever_if_match_says(
    ann: httpx.Client, bob: httpx.Client, method: str, body: dict[str, Any] | None, if_match: str
) -> None:
    task = create(ann)
    headers = {"If-Match": if_match, "X-Request-ID": "same"}
    theirs = bob.request(method, path_of(task), json=body, headers=headers)
    missing = bob.request(method, f"/api/tasks/{uuid4()}", json=body, headers=headers)
    assert_problem(theirs, 404, "TASK_NOT_FOUND")
    assert theirs.content == missing.content
    assert ann.get(path_of(task)).json() == task


@pytest.mark.parametrize("if_none_match", ["*", '"1"', 'W/"1"', '"2"'])
def test_a_task_that_is_not_the_callers_is_missing_whatever_if_none_match_says(
    ann: httpx.Client, bob: httpx.Client, if_none_match: str
) -> None:
    headers = {"If-None-Match": if_none_match, "X-Request-ID": "same"}
    theirs = bob.get(path_of(create(ann)), headers=headers)
    assert_problem(theirs, 404, "TASK_NOT_FOUND")
    assert theirs.content == bob.get(f"/api/tasks/{uuid4()}", headers=headers).content


@each("if_none_match", [*STRONG, "*"])
def test_who_has_the_version_already_is_not_sent_it_again(ann: httpx.Client, if_none_match: str) -> None:
    task = create(ann)
    answer = ann.get(path_of(task), headers={"If-None-Match": if_none_match})
    assert (answer.status_code, answer.headers["ETag"], answer.content) == (304, '"1"', b"")


@each("if_none_match", OTHERS)
def test_who_has_another_version_is_sent_the_task(ann: httpx.Client, if_none_match: str) -> None:
    task = create(ann)
    answer = ann.get(path_of(task), headers=header("If-None-Match", if_none_match))
    assert (answer.status_code, answer.headers["ETag"], answer.json()) == (200, '"1"', task)


def test_what_was_the_version_before_a_change_is_another_one_after_it(ann: httpx.Client) -> None:
    task = create(ann)
    changed = ann.patch(path_of(task), json=CHANGED).json()
    answer = ann.get(path_of(task), headers={"If-None-Match": '"1"'})
    assert (answer.status_code, answer.json()) == (200, changed)
    assert ann.get(path_of(task), headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304


@each("if_none_match", GARBAGE)
def test_an_if_none_match_that_is_no_list_of_tags_is_refused(ann: httpx.Client, if_none_match: str | bytes) -> None:
    answer = ann.get(path_of(create(ann)), headers=header("If-None-Match", if_none_match))
    assert_problem(answer, 400, "INVALID_HEADER")


@pytest.mark.parametrize("headers", [{}, {"If-Match": '"1"'}, {"If-Match": "*"}])
def test_a_patch_of_nothing_is_no_new_version(ann: httpx.Client, headers: dict[str, str]) -> None:
    task = create(ann, due_date="2030-01-31T09:00:00+01:00", recurrence_rule="FREQ=DAILY", status="completed")
    answer = ann.patch(path_of(task), json={}, headers=headers)
    assert (answer.status_code, answer.headers["ETag"], answer.json()) == (200, '"1"', task)
    assert ann.get("/api/tasks").json() == [task]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_of_fifty_changes_of_one_version_one_is_made(ann: httpx.Client, method: str) -> None:
    task = create(ann)

    def change(number: int) -> httpx.Response:
        return ann.request(method, path_of(task), json={"title": f"Title {number}"}, headers={"If-Match": '"1"'})

    answers = at_once(50, change)
    assert statuses(answers) == {200: 1, 412: 49}
    [made] = [answer.json() for answer in answers if answer.is_success]
    assert made["version"] == 2
    assert ann.get(path_of(task)).json() == made


def test_of_sixty_changes_of_any_version_each_is_made_whole(ann: httpx.Client) -> None:
    task = create(ann)

    def both(number: int) -> dict[str, str]:
        return {"title": f"Title {number}", "description": f"Description {number}"}

    answers = at_once(60, lambda number: ann.patch(path_of(task), json=both(number)))
    assert statuses(answers) == {200: 60}
    assert all(both(number).items() <= answer.json().items() for number, answer in enumerate(answers))
    in_order = sorted((answer.json() for answer in answers), key=lambda changed: changed["version"])
    assert [changed["version"] for changed in in_order] == list(range(2, 62))
    assert ann.get(path_of(task)).json() == in_order[-1]


def test_of_fifty_deletions_one_is_made_and_the_others_find_nothing(ann: httpx.Client) -> None:
    task = create(ann)
    assert statuses(at_once(50, lambda _: ann.delete(path_of(task)))) == {204: 1, 404: 49}


# What was there when the statement began and is not what it finds when its turn comes.


@each_write
@pytest.mark.parametrize("headers", [{}, {"If-Match": "*"}], ids=["plain", "any version"])
def test_a_write_that_waited_for_a_deletion_finds_nothing(
    ann: httpx.Client,
    database_url: str,
    method: str,
    body: dict[str, Any] | None,
    headers: dict[str, str],
) -> None:
    task = create(ann)
    answer = meanwhile(
        database_url, task, "DELETE FROM task", lambda: ann.request(method, path_of(task), json=body, headers=headers)
    )
    assert_problem(answer, 404, "TASK_NOT_FOUND")


@each_write
def test_a_write_that_waited_for_another_has_lost_its_version(
    ann: httpx.Client, database_url: str, method: str, body: dict[str, Any] | None
) -> None:
    task = create(ann)
    answer = meanwhile(
        database_url,
        task,
        "UPDATE task SET version = version + 1",
        lambda: ann.request(method, path_of(task), json=body, headers={"If-Match": '"1"'}),
    )
    assert_problem(answer, 412, "PRECONDITION_FAILED")
    assert ann.get(path_of(task)).json() == {**task, "version": 2}


# Idempotency-Key.


def post(client: httpx.Client, key: str | bytes, *, path: str = "/api/tasks", **fields: Any) -> httpx.Response:
    return client.post(path, json={"title": "A task", **fields}, headers=header("Idempotency-Key", key))


def test_a_repeat_with_the_same_key_answers_with_the_same_task(ann: httpx.Client) -> None:
    first, *repeats = (post(ann, "one") for _ in range(3))
    assert first.status_code == 201
    assert "Idempotency-Replayed" not in first.headers
    for repeat in repeats:
        assert (repeat.status_code, repeat.content) == (201, first.content)
        assert repeat.headers["Idempotency-Replayed"] == "true"
        assert [repeat.headers[name] for name in ("Location", "ETag")] == [f"/api/tasks/{first.json()['id']}", '"1"']
    assert ann.get(first.headers["Location"]).json() == first.json()
    assert ann.get("/api/tasks").json() == [first.json()]


def test_a_repeat_under_the_other_prefix_is_a_repeat(ann: httpx.Client) -> None:
    first, repeat = (post(ann, "one", path=path) for path in ("/api/tasks", "/api/v1/tasks"))
    assert (repeat.json(), repeat.headers["Idempotency-Replayed"]) == (first.json(), "true")
    assert repeat.headers["Location"] == f"/api/v1/tasks/{first.json()['id']}"


FIELDS: dict[str, Any] = {
    "description": "More",
    "status": "completed",
    "priority": "high",
    "due_date": "2030-01-31T09:00:00+01:00",
    "recurrence_rule": "FREQ=WEEKLY",
    "tags": ["b", "a"],
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", "Another task"),
        ("title", "a task"),
        ("description", None),
        ("description", "more"),
        ("status", "pending"),
        ("priority", "medium"),
        ("due_date", "2030-01-31T09:00:01+01:00"),
        ("due_date", "2030-01-31T09:00:00-01:00"),
        ("recurrence_rule", None),
        ("recurrence_rule", "FREQ=DAILY"),
        ("tags", []),
        ("tags", ["a", "b"]),
    ],
)
def test_a_key_is_for_one_body_until_its_task_was_changed(ann: httpx.Client, field: str, value: object) -> None:
    first = post(ann, "one", **FIELDS)
    reused = post(ann, "one", **{**FIELDS, field: value})
    assert_problem(reused, 422, "IDEMPOTENCY_KEY_REUSED")
    assert not {"Location", "ETag", "Idempotency-Replayed"} & set(reused.headers)
    assert ann.get("/api/tasks").json() == [first.json()]

    assert ann.patch(first.headers["Location"], json={}).status_code == 200
    assert_problem(post(ann, "one", **{**FIELDS, field: value}), 422, "IDEMPOTENCY_KEY_REUSED")
    changed = ann.patch(first.headers["Location"], json={"title": "Changed", "recurrence_rule": None})
    for repeat in (post(ann, "one", **FIELDS), post(ann, "one", **{**FIELDS, field: value})):
        assert (repeat.status_code, repeat.json()) == (201, changed.json())
        assert [repeat.headers[name] for name in ("ETag", "Idempotency-Replayed")] == ['"2"', "true"]
    assert ann.get("/api/tasks").json() == [changed.json()]


DEFAULTS = {"status": "pending", "priority": "medium", "description": None, "due_date": None, "recurrence_rule": None}


@pytest.mark.parametrize(
    ("first", "repeat"),
    [
        ({"title": "x"}, {"title": "x", **DEFAULTS, "tags": []}),
        ({"title": "x", **DEFAULTS, "tags": []}, {"title": "x"}),
        ({"title": "x"}, {"title": " \t x\u00a0"}),
        ({"title": "x", "tags": ["a", "b"]}, {"title": "x", "tags": [" a", "b "]}),
        ({"title": "x", **FIELDS}, dict(reversed({"title": "x", **FIELDS}.items()))),
        *(
            ({"title": "x", "due_date": "2030-01-31T09:00:00+01:00"}, {"title": "x", "due_date": same})
            for same in ("2030-01-31T08:00:00Z", "2030-01-31T02:30:00.000-05:30", "2030-01-31 09:00+01:00")
        ),
    ],
)
def test_bodies_that_say_the_same_are_the_same(
    ann: httpx.Client, first: dict[str, Any], repeat: dict[str, Any]
) -> None:
    made = post(ann, "one", **first)
    body = json.dumps(repeat, indent=2).replace("x", "\\u0078", 1)  # other bytes, too
    again = ann.post("/api/tasks", content=body, headers={"Idempotency-Key": "one", "Content-Type": "application/json"})
    assert (again.status_code, again.json()) == (201, made.json())
    assert again.headers["Idempotency-Replayed"] == "true"


def test_a_key_is_its_users_own(ann: httpx.Client, bob: httpx.Client) -> None:
    anns, bobs = (post(client, "one", title=title) for client, title in ((ann, "Ann's"), (bob, "Bob's")))
    assert "Idempotency-Replayed" not in bobs.headers
    assert anns.json()["id"] != bobs.json()["id"]
    assert_problem(bob.get(anns.headers["Location"]), 404, "TASK_NOT_FOUND")
    assert [client.get("/api/tasks").json() for client in (ann, bob)] == [[anns.json()], [bobs.json()]]


def test_keys_and_users_that_only_look_alike_together_are_apart(client_of: Callable[..., httpx.Client]) -> None:
    start = f"user-{uuid4()}"
    made = {post(client_of(start + end), key).json()["id"] for end, key in (("", "bc"), ("b", "c"), ("bc", "bc"))}
    assert len(made) == 3


def test_without_a_key_the_same_body_is_another_task(ann: httpx.Client) -> None:
    assert len({create(ann)["id"] for _ in range(3)}) == 3


def test_of_fifty_requests_with_one_key_one_makes_the_task(ann: httpx.Client) -> None:
    answers = at_once(50, lambda _: post(ann, "one"))
    assert statuses(answers) == {201: 50}
    assert Counter(answer.headers.get("Idempotency-Replayed") for answer in answers) == {"true": 49, None: 1}
    [task] = ann.get("/api/tasks").json()
    assert all(answer.json() == task for answer in answers)


def test_of_fifty_bodies_with_one_key_one_makes_the_task(ann: httpx.Client) -> None:
    answers = at_once(50, lambda number: post(ann, "one", title=f"Title {number}"))
    assert statuses(answers) == {201: 1, 422: 49}
    [made] = [answer.json() for answer in answers if answer.is_success]
    assert ann.get("/api/tasks").json() == [made]


ALL_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))


@pytest.mark.parametrize(
    "key", ["k", "0", "k" * 255, 'a "quoted" key', "a  b", ALL_PRINTABLE, "%00", "'; --", "*", "null", str(UUID(int=7))]
)
def test_a_key_is_any_printable_text(ann: httpx.Client, key: str) -> None:
    first, repeat = post(ann, key), post(ann, key)
    assert (first.status_code, repeat.json()["id"]) == (201, first.json()["id"])
    assert repeat.headers["Idempotency-Replayed"] == "true"


def test_keys_that_differ_in_case_or_in_spaces_are_two(ann: httpx.Client) -> None:
    keys = ["a b", "a  b", "A b", "ab", '"a b"', "k" * 255, "k" * 254]
    assert len({post(ann, key).json()["id"] for key in keys}) == len(keys)


@pytest.mark.parametrize(
    "key", ["", "k" * 256, "k" * 5000, "a\tb", b"\x80", b"\xff", b"key \xe9", "né".encode(), "🔑".encode(), b"\xa0"]
)
def test_any_other_key_is_refused(ann: httpx.Client, key: str | bytes) -> None:
    assert_problem(post(ann, key), 400, "INVALID_HEADER")
    assert ann.get("/api/tasks").json() == []


@pytest.mark.parametrize("second", ["one", "two", ""])
def test_two_keys_are_refused(ann: httpx.Client, second: str) -> None:
    headers = [("Idempotency-Key", key) for key in ("one", second)]
    assert_problem(ann.post("/api/tasks", json={"title": "x"}, headers=headers), 400, "INVALID_HEADER")
    assert ann.get("/api/tasks").json() == []


@pytest.mark.parametrize("character", [0x00, 0x01, 0x0B, 0x1F, 0x7F])
def test_a_control_character_in_a_key_makes_no_task(api: str, ann: httpx.Client, character: int) -> None:
    # httpx would not send every one of them; and the server refuses them before the API sees the request.
    host, port = httpx.URL(api).host, httpx.URL(api).port
    body = b'{"title": "x"}'
    head = [
        b"POST /api/tasks HTTP/1.1",
        b"Host: x",
        b"Authorization: " + ann.headers["Authorization"].encode(),
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        b"Connection: close",
        b"Idempotency-Key: a%cb" % character,
    ]
    with socket.create_connection((host, port)) as connection, connection.makefile("rb") as answer:
        connection.sendall(b"\r\n".join([*head, b"", body]))
        assert answer.readline().startswith(b"HTTP/1.1 400 ")
    assert ann.get("/api/tasks").json() == []


def test_after_its_task_was_deleted_a_key_makes_a_new_one(ann: httpx.Client) -> None:
    first = post(ann, "one", title="First")
    assert ann.delete(first.headers["Location"]).status_code == 204
    second = post(ann, "one", title="Second")
    assert (second.status_code, second.json()["title"], second.json()["version"]) == (201, "Second", 1)
    assert "Idempotency-Replayed" not in second.headers
    assert ann.get("/api/tasks").json() == [second.json()]


def test_a_body_that_is_refused_uses_up_no_key(ann: httpx.Client) -> None:
    assert_problem(post(ann, "one", title=""), 422, "VALIDATION_ERROR")
    assert_problem(post(ann, "one", recurrence_rule="FREQ=DAILY"), 422, "VALIDATION_ERROR")
    made = post(ann, "one")
    assert (made.status_code, made.headers.get("Idempotency-Replayed")) == (201, None)


def test_whatever_the_headers_ask_it_is_one_message(database_url: str) -> None:
    with overheard(database_url) as (wire, client):
        path = path_of(create(client))

        def sent(method: str, name: str, value: str, body: dict[str, Any] | None = None) -> tuple[int, int]:
            """Return the status of the answer, and how many messages it took."""
            wire.queries.clear()
            target = path if name.startswith("If-") else "/api/tasks"
            return client.request(method, target, json=body, headers={name: value}).status_code, len(wire.queries)

        assert sent("GET", "If-None-Match", '"1"') == (304, 1)
        assert sent("GET", "If-None-Match", '"2"') == (200, 1)
        assert sent("GET", "If-None-Match", "2") == (400, 0)
        for method, body in WRITES:
            assert sent(method, "If-Match", '"7"', body) == (412, 1)
            assert sent(method, "If-Match", "7", body) == (400, 0)
        assert sent("PATCH", "If-Match", '"1"', {}) == (200, 1)
        assert sent("PATCH", "If-Match", '"1"', CHANGED) == (200, 1)
        assert sent("PUT", "If-Match", '"1", "2"', CHANGED) == (200, 1)
        assert sent("DELETE", "If-Match", '"3"') == (204, 1)
        assert sent("DELETE", "If-Match", "*") == (404, 1)
        assert sent("POST", "Idempotency-Key", "one", {"title": "x"}) == (201, 1)
        assert sent("POST", "Idempotency-Key", "one", {"title": "x"}) == (201, 1)
        assert sent("POST", "Idempotency-Key", "one", {"title": "y"}) == (422, 1)
        assert sent("POST", "Idempotency-Key", "k" * 256, {"title": "x"}) == (400, 0)
