"""Tags: what a user has of them, colours, and renaming, merging and deleting them on every task."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.conftest import overheard
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
