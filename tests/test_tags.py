"""Tags: what a user has of them, colours, and renaming, merging and deleting them on every task."""

import unicodedata
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from tests.conftest import execute, overheard
from tests.helpers import assert_problem, create

ODD_NAMES = [
    "home",
    "a/b",
    "/",
    "?x=1&y#z",
    "100%",
    "%2F",
    "...",
    "a b",
    "+",
    "Größe",
    "你好",
    "👩‍💻",
    "'; --",
    'quote"',
    "{x}",
    "\\",
]


def path(name: str) -> str:
    return f"/api/tags/{quote(name, safe='')}"


def listed(client: httpx.Client) -> dict[str, tuple[str | None, int]]:
    answer = client.get("/api/tags")
    assert answer.status_code == 200
    return {tag["name"]: (tag["color"], tag["tasks"]) for tag in answer.json()}


def tags_of(client: httpx.Client, task: dict[str, Any]) -> list[str]:
    read: list[str] = client.get(f"/api/tasks/{task['id']}").json()["tags"]
    return read


def test_the_list_has_every_tag_in_use_or_with_a_colour_by_name(ann: httpx.Client, bob: httpx.Client) -> None:
    create(ann, tags=["b", "a"])
    create(ann, tags=["b"])
    create(bob, tags=["bobs"])
    ann.put(path("c"), json={"color": "#00ff7F"})
    ann.put(path("colourless"), json={"color": None})
    assert ann.get("/api/tags").json() == [
        {"name": "a", "color": None, "tasks": 1},
        {"name": "b", "color": None, "tasks": 2},
        {"name": "c", "color": "#00ff7F", "tasks": 0},
    ]


def test_a_colour_is_set_changed_and_cleared(ann: httpx.Client) -> None:
    create(ann, tags=["used"])
    for name, color, status in [
        ("used", "#000001", 200),
        ("used", "#000002", 200),
        ("new", "#000003", 201),
        ("new", None, 200),
    ]:
        answer = ann.put(path(name), json={"color": color})
        assert (answer.status_code, answer.json()) == (status, {"name": name, "color": color})
    assert listed(ann) == {"used": ("#000002", 1)}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"color": "red"},
        {"color": "#12345"},
        {"color": "#1234567"},
        {"color": "#12345g"},
        {"color": 1},
        {"color": "#123456", "x": 1},
    ],
)
def test_what_is_no_colour_is_refused(ann: httpx.Client, body: dict[str, Any]) -> None:
    assert_problem(ann.put(path("x"), json=body), 422, "VALIDATION_ERROR")
    assert listed(ann) == {}


def test_a_rename_reaches_every_task_and_keeps_order_and_colour(ann: httpx.Client) -> None:
    tasks = [create(ann, tags=["x", "old", "y"]), create(ann, tags=["old"]), create(ann, tags=["other"])]
    ann.put(path("old"), json={"color": "#123456"})
    answer = ann.patch(path("old"), json={"name": "new"})
    assert (answer.status_code, answer.json()) == (200, {"name": "new", "color": "#123456"})
    assert [tags_of(ann, task) for task in tasks] == [["x", "new", "y"], ["new"], ["other"]]
    assert [ann.get(f"/api/tasks/{task['id']}").json()["version"] for task in tasks] == [2, 2, 1]
    assert listed(ann) == {"x": (None, 1), "y": (None, 1), "other": (None, 1), "new": ("#123456", 2)}


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [("#000001", "#000002", "#000002"), ("#000001", None, "#000001"), (None, "#000002", "#000002"), (None, None, None)],
)
def test_onto_a_name_that_exists_two_tags_become_one(
    ann: httpx.Client, old: str | None, new: str | None, kept: str | None
) -> None:
    tasks = [create(ann, tags=["old", "new"]), create(ann, tags=["new", "x", "old"]), create(ann, tags=["old"])]
    ann.put(path("old"), json={"color": old})
    ann.put(path("new"), json={"color": new})
    assert ann.patch(path("old"), json={"name": "new"}).json() == {"name": "new", "color": kept}
    assert [tags_of(ann, task) for task in tasks] == [["new"], ["new", "x"], ["new"]]
    assert listed(ann) == {"new": (kept, 3), "x": (None, 1)}


def test_a_rename_onto_itself_changes_nothing(ann: httpx.Client) -> None:
    task = create(ann, tags=["same"])
    ann.put(path("same"), json={"color": "#123456"})
    assert ann.patch(path("same"), json={"name": " same "}).json() == {"name": "same", "color": "#123456"}
    assert ann.get(f"/api/tasks/{task['id']}").json() == task
    assert_problem(ann.patch(path("none"), json={"name": "none"}), 404, "TAG_NOT_FOUND")


def test_a_deleted_tag_is_off_every_task_and_has_no_colour(ann: httpx.Client) -> None:
    task = create(ann, tags=["x", "gone", "y"])
    ann.put(path("gone"), json={"color": "#123456"})
    deleted = ann.delete(path("gone"))
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert tags_of(ann, task) == ["x", "y"]
    assert listed(ann) == {"x": (None, 1), "y": (None, 1)}
    assert_problem(ann.delete(path("gone")), 404, "TAG_NOT_FOUND")
    ann.put(path("only a colour"), json={"color": "#123456"})
    assert ann.delete(path("only a colour")).status_code == 204


CASES = [("home", "HOME"), ("Größe", "GRÖSSE"), ("École", "e\u0301cole"), ("привет", "Привет"), ("ΟΔΟΣ", "οδος")]
CASES.append((r"C++ (new) [a-z] \d $ ^ {2} | .*? #1", r"c++ (NEW) [A-Z] \D $ ^ {2} | .*? #1"))


@pytest.mark.parametrize(("one", "other"), CASES)
def test_a_tag_in_another_case_becomes_the_one_that_is_there(
    ann: httpx.Client, bob: httpx.Client, one: str, other: str
) -> None:
    create(ann, tags=[one])
    create(bob, tags=[other])
    for given, kept in (([other], [one]), (["x", other, one], ["x", one]), (["X", "y", "Y"], ["x", "y"])):
        task = create(ann, tags=given)
        assert task["tags"] == kept
        where = f"/api/tasks/{task['id']}"
        assert ann.patch(where, json={"tags": given}).json()["tags"] == kept
        assert ann.put(where, json={"title": "x", "tags": given}).json()["tags"] == kept
        assert ann.patch("/api/tasks", params={"q": "x"}, json={"tags": given}).status_code == 200
        assert tags_of(ann, task) == kept
    assert set(listed(ann)) == {one, "x", "y"}
    assert [task["tags"] for task in ann.get("/api/tasks", params={"tag": other}).json()][-1:] == [[one]]
    assert ann.put(path(other), json={"color": "#123456"}).json() == {"name": one, "color": "#123456"}
    create(ann, tags=["z"])
    assert ann.patch(path("Z"), json={"name": other}).json() == {"name": one, "color": "#123456"}
    assert ann.patch(path(one), json={"name": other}).json()["name"] == unicodedata.normalize("NFC", other)
    assert ann.delete(path(one)).status_code == 204
    assert set(listed(ann)) <= {"x", "y"}


def test_tags_that_differ_in_more_than_case_stay_apart(ann: httpx.Client) -> None:
    names = ["ecole", "école", "o", "ø", "I", "\u0131", "\ufb01", "fi"]
    assert create(ann, tags=names)["tags"] == names
    assert create(ann, tags=names[::-1])["tags"] == names[::-1]


def test_a_tag_is_known_however_long_ago_it_was_used_and_by_its_colour_alone(ann: httpx.Client) -> None:
    create(ann, tags=["Old"])
    ann.put(path("Red"), json={"color": "#ff0000"})
    ann.put(path("Gone"), json={"color": None})
    for _ in range(101):
        create(ann, tags=["new"])
    assert create(ann, tags=["old", "red", "gone"])["tags"] == ["Old", "Red", "gone"]
    assert len(ann.get("/api/tasks", params={"tag": "OLD"}).json()) == 2


def test_many_tasks_are_found_changed_and_deleted_by_a_tag_in_another_case(ann: httpx.Client) -> None:
    task = create(ann, tags=["home"], due_date="2030-01-01T00:00:00Z", recurrence_rule="FREQ=DAILY")
    changes = {"status": "completed", "tags": ["HOME", "Garden"]}
    assert ann.patch("/api/tasks", params={"tag": "HOME"}, json=changes).json() == {"updated": 1}
    assert tags_of(ann, task) == ["home", "Garden"]
    assert ann.patch(f"/api/tasks/{task['id']}", json=changes | {"tags": ["GARDEN"]}).json()["tags"] == ["Garden"]
    assert ann.delete("/api/tasks", params={"tag": ["GARDEN", "garden"]}).json() == {"deleted": 2}
    assert ann.delete("/api/tasks", params={"tag": "GARDEN"}).json() == {"deleted": 0}


def test_the_case_of_a_tag_is_changed_by_renaming_it_and_comes_back_with_an_undo(ann: httpx.Client) -> None:
    task = create(ann, tags=["home"])
    assert ann.put(path("HOME"), json={"name": "home", "color": "#123456"}).json()["name"] == "home"
    renamed = ann.patch(path("home"), json={"name": "Home"})
    assert renamed.json() == {"name": "Home", "color": "#123456"}
    assert listed(ann) == {"Home": ("#123456", 1)}
    assert create(ann, tags=["home"])["tags"] == ["Home"]
    ann.delete(f"/api/tasks/{create(ann)['id']}")
    ann.post(f"/api/changes/{renamed.headers['Change']}/undo").raise_for_status()
    assert tags_of(ann, task) == ["home"]


def test_a_task_whose_tags_are_there_is_made_in_one_message(database_url: str) -> None:
    with overheard(database_url) as (wire, client):
        create(client)
        for names, messages in (
            (["home"], 2),
            (["home"], 1),
            (["home", "new"], 2),
            (["new", "home"], 1),
            (["HOME"], 2),
        ):
            wire.queries.clear()
            create(client, tags=names)
            assert len(wire.queries) == messages


def test_a_tag_made_in_two_cases_at_once_is_one(ann: httpx.Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: create(ann, tags=[name]), ["Both", "both", "BOTH", "bOTH"] * 4))
    [(color, tasks)] = listed(ann).values()
    assert (color, tasks) == (None, 16)


def test_a_repeat_with_its_key_finds_the_tag_in_the_case_that_was_kept(ann: httpx.Client) -> None:
    create(ann, tags=["home"])
    headers = {"Idempotency-Key": "once"}
    first, again = (ann.post("/api/tasks", json={"title": "x", "tags": ["HOME"]}, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert again.headers["Idempotency-Replayed"] == "true"


def test_an_import_takes_the_callers_tags_and_brings_each_new_one_in_one_case(ann: httpx.Client) -> None:
    create(ann, tags=["home"])
    ann.put(path("Red"), json={"color": "#ff0000"})
    given = [["HOME", "red", "x"], ["Home", "home"], ["New", "b"], ["new", "B"], []]
    tasks = [{"id": str(uuid4()), "title": "x", "tags": tags} for tags in given]
    tags = [{"name": "RED", "color": "#000000"}, {"name": "NEW", "color": "#111111"}]
    answer = ann.post("/api/import", json={"version": 1, "tasks": tasks, "tags": tags})
    assert answer.json() == {"tasks": 5, "tags": 1}
    kept = [["home", "Red", "x"], ["home"], ["New", "b"], ["New", "b"], []]
    assert [tags_of(ann, task) for task in tasks] == kept
    assert listed(ann) == {
        "home": (None, 3),
        "Red": ("#ff0000", 1),
        "x": (None, 1),
        "New": ("#111111", 2),
        "b": (None, 2),
    }


def test_tags_that_there_are_in_two_cases_from_before_both_stay(ann: httpx.Client, database_url: str) -> None:
    tasks = [create(ann, tags=[name]) for name in ("home", "other")]
    update = "UPDATE task SET tags = '{Home}' WHERE id = %s"
    execute(database_url, f"SELECT set_config('app.user_id', %s, true); {update}", tasks[0]["user_id"], tasks[1]["id"])
    for task, name in zip(tasks, ("home", "Home"), strict=True):
        assert ann.patch(f"/api/tasks/{task['id']}", json={"tags": [name]}).json()["tags"] == [name]
        assert [found["id"] for found in ann.get("/api/tasks", params={"tag": name}).json()] == [task["id"]]
    assert create(ann, tags=["HOME"])["tags"][0] in ("home", "Home")
    assert ann.patch(path("Home"), json={"name": "home"}).json()["name"] == "home"
    assert listed(ann) == {"home": (None, 3)}


def test_another_users_tags_are_not_there(ann: httpx.Client, bob: httpx.Client) -> None:
    task = create(ann, tags=["anns"])
    ann.put(path("anns"), json={"color": "#123456"})
    assert_problem(bob.patch(path("anns"), json={"name": "bobs"}), 404, "TAG_NOT_FOUND")
    assert_problem(bob.delete(path("anns")), 404, "TAG_NOT_FOUND")
    assert bob.put(path("anns"), json={"color": "#000000"}).status_code == 201
    assert ann.get(f"/api/tasks/{task['id']}").json() == task
    assert listed(ann) == {"anns": ("#123456", 1)}


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_printable_name_works_in_the_path(ann: httpx.Client, name: str) -> None:
    task = create(ann, tags=[name])
    assert ann.put(path(name), json={"color": "#123456"}).status_code == 200
    assert listed(ann) == {name: ("#123456", 1)}
    assert ann.patch(path(name), json={"name": "plain"}).status_code == 200
    assert ann.patch(path("plain"), json={"name": name}).json() == {"name": name, "color": "#123456"}
    assert tags_of(ann, task) == [name]
    assert ann.delete(path(name)).status_code == 204
    assert tags_of(ann, task) == []


@pytest.mark.parametrize("name", ["", " ", "x" * 51, "bell \7", "nul \0", ".", ".."])
def test_a_name_that_no_tag_can_have_is_a_422(ann: httpx.Client, name: str) -> None:
    create(ann, tags=["x"])
    assert_problem(ann.patch(path("x"), json={"name": name}), 422, "VALIDATION_ERROR")
    if name.strip("."):
        assert_problem(ann.delete(path(name)), 422, "VALIDATION_ERROR")


def test_renames_in_a_circle_at_once_lose_no_tag(ann: httpx.Client) -> None:
    tasks = [create(ann, tags=[name]) for name in ("a", "b", "c") for _ in range(5)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda pair: ann.patch(path(pair[0]), json={"name": pair[1]}), ["ab", "bc", "ca"] * 4))
    assert all(len(tags_of(ann, task)) == 1 for task in tasks)
    assert sum(count for _, count in listed(ann).values()) == len(tasks)


def test_every_tag_route_is_one_message(database_url: str) -> None:
    with overheard(database_url) as (wire, client):
        create(client, tags=["a"])
        requests: list[tuple[str, str, dict[str, Any] | None]] = [
            ("GET", "/api/tags", None),
            ("PUT", path("a"), {"color": "#123456"}),
            ("PATCH", path("a"), {"name": "b"}),
            ("PATCH", path("b"), {"name": "b"}),
            ("DELETE", path("b"), None),
        ]
        for method, target, body in requests:
            wire.queries.clear()
            assert client.request(method, target, json=body).is_success
            assert len(wire.queries) == 1, (method, target)
