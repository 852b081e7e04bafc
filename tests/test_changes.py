"""Keeping in step with /api/changes, the history of a row, and taking back what a request did."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import httpx
import pytest

from backend import changes as module
from tests.conftest import execute, serving, settings, sign
from tests.helpers import assert_problem, create, every, path_of

DONE = {"status": "completed"}
DAILY = {"due_date": "2030-01-01T09:00:00+01:00", "recurrence_rule": "FREQ=DAILY"}


def changes(client: httpx.Client, since: int, **parameters: Any) -> dict[str, Any]:
    answer = client.get("/api/changes", params={"since": since, **parameters})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def now_at(client: httpx.Client) -> int:
    answer = client.get("/api/changes").json()
    assert answer["changes"] == []
    return int(answer["seq"])


def test_a_user_without_changes_is_at_0_and_stays_there(ann: httpx.Client) -> None:
    assert ann.get("/api/changes").json() == {"seq": 0, "changes": []}
    assert changes(ann, 0) == {"seq": 0, "changes": []}


def test_each_row_that_was_changed_comes_once_as_it_is_now(ann: httpx.Client) -> None:
    first, second, third = (create(ann, title=title) for title in "abc")
    start = now_at(ann)
    ann.patch(path_of(first), json={"title": "A"}).raise_for_status()
    ann.delete(path_of(second)).raise_for_status()
    changed = ann.patch(path_of(first), json={"priority": "high"}).json()
    ann.put("/api/tags/home", json={"color": "#123456"}).raise_for_status()
    assert changes(ann, start) == {
        "seq": start + 4,
        "changes": [
            {"resource": "tasks", "id": second["id"], "deleted": True},
            {"resource": "tasks", "id": first["id"], "row": changed},
            {"resource": "tags", "id": "home", "row": {"name": "home", "color": "#123456"}},
        ],
    }
    assert changes(ann, start + 4) == {"seq": start + 4, "changes": []}
    assert third["id"] not in str(changes(ann, start))


def test_a_page_ends_between_two_requests_and_never_within_one(ann: httpx.Client) -> None:
    for number in range(3):
        create(ann, title=str(number), tags=["x"])
    ann.patch("/api/tasks?tag=x", json={"priority": "high"}).raise_for_status()
    for number in range(3):
        create(ann, title=str(number))
    sizes, since = [], 0
    while (page := changes(ann, since, limit=2))["seq"] != since:
        since = page["seq"]
        sizes.append((since, len(page["changes"])))
    assert sizes == [(4, 3), (6, 2), (7, 1)]


@pytest.mark.parametrize("since", ["x", "-1", "1.5", str(2**63), "", " ", "%00"])
def test_a_since_that_is_no_number_of_a_change_is_a_422(ann: httpx.Client, since: str) -> None:
    assert_problem(ann.get(f"/api/changes?since={since}"), 422, "VALIDATION_ERROR")


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "from=1", "limit=x"])
def test_a_query_that_is_not_known_is_a_422(ann: httpx.Client, query: str) -> None:
    assert_problem(ann.get(f"/api/changes?{query}"), 422, "VALIDATION_ERROR")


def test_a_since_from_the_future_is_the_same_410_as_one_that_is_not_kept(
    ann: httpx.Client, bob: httpx.Client, database_url: str
) -> None:
    for _ in range(3):
        create(bob)
    create(ann)
    future = ann.get("/api/changes?since=3")
    assert_problem(future, 410, "CHANGES_NOT_KEPT")
    for _ in range(4):
        create(ann)
    execute(
        database_url,
        "SET app.user_id = %s; DELETE FROM change WHERE user_id = %s AND seq < 3",
        *[ann.get("/api/me").json()["user_id"]] * 2,
    )
    forgotten = ann.get("/api/changes?since=1")
    assert_problem(forgotten, 410, "CHANGES_NOT_KEPT")
    assert forgotten.json() | {"request_id": ""} == future.json() | {"request_id": ""}
    assert len(changes(ann, 2)["changes"]) == 3


def test_another_users_changes_are_nobody_elses(ann: httpx.Client, bob: httpx.Client) -> None:
    task = create(ann)
    assert bob.get("/api/changes").json() == {"seq": 0, "changes": []}
    assert changes(bob, 0) == {"seq": 0, "changes": []}
    assert_problem(bob.get(f"{path_of(task)}/history"), 404, "TASK_NOT_FOUND")
    assert_problem(bob.post("/api/changes/1/undo"), 404, "CHANGE_NOT_FOUND")


# History.


def history(client: httpx.Client, task: dict[str, Any], query: str = "") -> list[dict[str, Any]]:
    answer = client.get(f"{path_of(task)}/history{query}")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def said(entry: dict[str, Any]) -> dict[str, Any]:
    return {change["field"]: (change["from"], change["to"]) for change in entry["changes"]}


def test_the_history_says_of_each_change_what_it_was_the_newest_first(ann: httpx.Client) -> None:
    task = create(ann, title="a", tags=["x"], due_date="2030-01-01T09:00:00+01:00")
    ann.patch(path_of(task), json={"title": "b"}, headers={"X-Request-ID": "second"}).raise_for_status()
    ann.patch(path_of(task), json={"tags": [], "title": "b"}).raise_for_status()
    ann.patch(path_of(task), json=DONE).raise_for_status()
    fourth, third, second, first = history(ann, task)
    assert [entry["seq"] for entry in (first, second, third, fourth)] == [1, 2, 3, 4]
    assert said(first)["title"] == (None, "a")
    assert said(first)["due_date"] == (None, "2030-01-01T08:00:00+00:00")
    assert "description" not in said(first), "it is null before and after"
    assert said(second) == {"title": ("a", "b")}
    assert said(third) == {"tags": (["x"], [])}
    assert said(fourth)["status"] == ("pending", "completed")
    assert set(said(fourth)) == {"status", "completed_at"}
    assert (second["request_id"], second["by"]) == ("second", task["user_id"])
    assert (second["action"], first["action"], first["undoes"]) == ("updated", "created", None)
    assert second["at"] == ann.get("/api/export").json()["tasks"][0]["updated_at"] or second["at"] < fourth["at"]


def test_a_deleted_row_has_its_history_and_its_pages_follow_each_other(ann: httpx.Client) -> None:
    task = create(ann, title="0")
    for number in range(1, 6):
        ann.patch(path_of(task), json={"title": str(number)}).raise_for_status()
    ann.delete(path_of(task)).raise_for_status()
    whole = history(ann, task)
    assert [entry["action"] for entry in whole] == ["deleted", *["updated"] * 5, "created"]
    assert said(whole[0])["title"] == ("5", None)
    assert said(whole[1])["title"] == ("4", "5")
    for limit in (1, 2, 3, 7, 8):
        assert every(ann, f"{path_of(task)}/history?limit={limit}") == whole


def test_a_row_that_never_was_is_a_404_and_one_from_before_the_log_has_no_history(
    ann: httpx.Client, database_url: str
) -> None:
    assert_problem(ann.get(f"/api/tasks/{uuid.uuid4()}/history"), 404, "TASK_NOT_FOUND")
    assert_problem(ann.get("/api/tasks/x/history"), 422, "VALIDATION_ERROR")
    user_id, task_id = ann.get("/api/me").json()["user_id"], str(uuid.uuid4())
    execute(
        database_url,
        "SET app.user_id = %s; INSERT INTO task (user_id, id, title, status, priority, tags)"
        " VALUES (%s, %s, 'old', 'pending', 'low', '{}')",
        *(user_id, user_id, task_id),
    )
    assert history(ann, {"id": task_id}) == []
    ann.patch(f"/api/tasks/{task_id}", json={"title": "new"}).raise_for_status()
    [entry] = history(ann, {"id": task_id})
    assert said(entry) == {"title": ("old", "new")}


# Undo.


def undo(client: httpx.Client, seq: int | str) -> dict[str, Any]:
    answer = client.post(f"/api/changes/{seq}/undo")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Change"] == str(answer.json()["seq"])
    found: dict[str, Any] = answer.json()
    return found


def plain(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return rows by id, without what every change sets."""
    return {row["id"]: row | {"version": 0, "updated_at": ""} for row in rows}


def state(client: httpx.Client) -> Any:
    exported = client.get("/api/export").json()
    return {
        name: plain(rows) if rows and "id" in rows[0] else rows
        for name, rows in exported.items()
        if isinstance(rows, list)
    }


def filled(client: httpx.Client) -> None:
    create(client, **DAILY, tags=["a"], description="d", priority="high")
    create(client, tags=["a", "b"], title="due", due_date="2030-05-05T05:05:05.123456+05:30")
    create(client, tags=["b"], **DONE)
    client.put("/api/tags/a", json={"color": "#aaaaaa"}).raise_for_status()


WRITES: dict[str, Callable[[httpx.Client, str], httpx.Response]] = {
    "create": lambda client, _: client.post("/api/tasks", json={"title": "new"}),
    "patch": lambda client, task_id: client.patch(f"/api/tasks/{task_id}", json={"title": "x", "due_date": None}),
    "complete": lambda client, task_id: client.patch(f"/api/tasks/{task_id}", json=DONE),
    "delete": lambda client, task_id: client.delete(f"/api/tasks/{task_id}"),
    "delete many": lambda client, _: client.delete("/api/tasks?tag=a"),
    "change many": lambda client, _: client.patch("/api/tasks?tag=b", json={"priority": "low"}),
    "complete many": lambda client, _: client.patch("/api/tasks?status=pending", json=DONE),
    "colour": lambda client, _: client.put("/api/tags/a", json={"color": "#bbbbbb"}),
    "new colour": lambda client, _: client.put("/api/tags/c", json={"color": "#cccccc"}),
    "rename": lambda client, _: client.patch("/api/tags/a", json={"name": "z"}),
    "merge": lambda client, _: client.patch("/api/tags/a", json={"name": "b"}),
    "delete tag": lambda client, _: client.delete("/api/tags/a"),
    "import": lambda client, _: client.post(
        "/api/import", json={"version": 1, "tasks": [{"id": str(uuid.uuid4()), "title": "i"}]}
    ),
}


@pytest.mark.parametrize("write", WRITES)
def test_whatever_a_request_did_is_taken_back_and_that_too_and_again(ann: httpx.Client, write: str) -> None:
    filled(ann)
    [task] = [task for task in ann.get("/api/tasks").json() if task["recurrence_rule"]]
    if write == "patch":
        [task] = [task for task in ann.get("/api/tasks").json() if task["title"] == "due"]
    before = state(ann)
    done = WRITES[write](ann, task["id"])
    assert done.is_success, done.text
    seq, after = int(done.headers["Change"]), state(ann)
    assert after != before
    undone = undo(ann, seq)
    assert state(ann) == before
    assert undone["seq"] == seq + 1
    assert changes(ann, seq)["changes"] == sorted(undone["changes"], key=lambda row: (row["resource"], row["id"]))
    assert undo(ann, seq) == undone, "once more does nothing more"
    assert now_at(ann) == seq + 1
    redone = undo(ann, undone["seq"])
    assert state(ann) == after
    undo(ann, redone["seq"])
    assert state(ann) == before
    assert_problem(ann.post(f"/api/changes/{seq}/undo"), 409, "CHANGED_SINCE")


def test_a_deleted_task_comes_back_with_its_history_and_a_new_version(ann: httpx.Client) -> None:
    task = create(ann, tags=["x"])
    seq = int(ann.delete(path_of(task), headers={"If-Match": '"1"'}).headers["Change"])
    [row] = undo(ann, seq)["changes"]
    assert row["row"] | {"updated_at": ""} == task | {"version": 2, "updated_at": ""}
    assert [(entry["action"], entry["undoes"]) for entry in history(ann, task)] == [
        ("created", 2),
        ("deleted", None),
        ("created", None),
    ]
    assert said(history(ann, task)[0])["title"] == (None, task["title"])


def test_400_rows_come_back(ann: httpx.Client) -> None:
    tasks = [{"id": str(uuid.uuid4()), "title": str(number), "tags": ["many"]} for number in range(400)]
    ann.post("/api/import", json={"version": 1, "tasks": tasks}).raise_for_status()
    before = state(ann)
    seq = int(ann.delete("/api/tasks?tag=many").headers["Change"])
    assert len(undo(ann, seq)["changes"]) == 400
    assert state(ann) == before


@pytest.mark.parametrize("change", [{"title": "newer"}, None])
def test_what_has_changed_since_is_named_and_nothing_is_undone(
    ann: httpx.Client, change: dict[str, str] | None
) -> None:
    tasks = [create(ann, tags=["x"]) for _ in range(3)]
    seq = int(ann.patch("/api/tasks?tag=x", json={"title": "y"}).headers["Change"])
    path = path_of(tasks[1])
    (ann.patch(path, json=change) if change else ann.delete(path)).raise_for_status()
    before = state(ann)
    answer = ann.post(f"/api/changes/{seq}/undo")
    assert_problem(answer, 409, "CHANGED_SINCE")
    assert answer.json()["rows"] == [{"resource": "tasks", "id": tasks[1]["id"]}]
    assert state(ann) == before
    assert "Change" not in answer.headers


@pytest.mark.parametrize("seq", ["x", "-1", "1.5", str(2**63), "%00"])
def test_a_seq_that_is_none_is_a_422(ann: httpx.Client, seq: str) -> None:
    assert_problem(ann.post(f"/api/changes/{seq}/undo"), 422, "VALIDATION_ERROR")


def test_a_change_that_never_was_cannot_be_told_from_another_users(ann: httpx.Client, bob: httpx.Client) -> None:
    for _ in range(3):
        create(bob)
    create(ann)
    answers = [ann.post(f"/api/changes/{seq}/undo") for seq in (0, 2, 3, 4, 2**63 - 1)]
    for answer in answers:
        assert_problem(answer, 404, "CHANGE_NOT_FOUND")
    assert len({str(answer.json() | {"request_id": ""}) for answer in answers}) == 1
    assert len(bob.get("/api/tasks").json()) == 3


def test_what_is_not_kept_cannot_be_undone(ann: httpx.Client, database_url: str) -> None:
    user_id = ann.get("/api/me").json()["user_id"]
    task = create(ann)
    ann.patch(path_of(task), json={"title": "y"}).raise_for_status()
    erase = "SET app.user_id = %s; UPDATE change SET before = NULL WHERE user_id = %s"
    execute(database_url, erase, user_id, user_id)
    assert_problem(ann.post("/api/changes/2/undo"), 410, "CHANGES_NOT_KEPT")
    assert [entry["changes"] is None for entry in history(ann, task)] == [True, True]
    execute(database_url, "SET app.user_id = %s; DELETE FROM change WHERE user_id = %s AND seq < 2", user_id, user_id)
    assert_problem(ann.post("/api/changes/1/undo"), 410, "CHANGES_NOT_KEPT")


# Two clients that write and one that keeps in step.


class Follower:
    """A client with a copy of its own: it lists once, and then applies changes."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.begin()

    def begin(self) -> None:
        self.seq = now_at(self.client)
        self.copy = {("tasks", task["id"]): task for task in every(self.client, "/api/tasks?limit=7")}
        tags = self.client.get("/api/export").json()["tags"]
        self.copy |= {("tags", tag["name"]): tag for tag in tags}

    def step(self, limit: int) -> bool:
        """Apply one page, and return whether it was the last."""
        page = changes(self.client, self.seq, limit=limit)
        for change in page["changes"]:
            key = change["resource"], change["id"]
            if change.get("deleted"):
                self.copy.pop(key, None)
            else:
                self.copy[key] = change["row"]
        complete: bool = page["seq"] == self.seq
        self.seq = page["seq"]
        return complete


def write(client: httpx.Client, random: Random, shared: list[int]) -> None:
    """Change something or other; what was changed before may be undone."""
    rows = client.get("/api/tasks?limit=20").json()
    path = path_of(random.choice(rows)) if rows else f"/api/tasks/{uuid.uuid4()}"
    tag, other = random.sample("abcd", 2)
    recurs = {**DAILY, "tags": [tag]}
    ways: list[Callable[[], httpx.Response]] = [
        lambda: client.post("/api/tasks", json={"title": str(random.random()), "tags": [tag, other]}),
        lambda: client.post("/api/tasks", json={"title": "again", **recurs}),
        lambda: client.patch(path, json={"title": str(random.random())}),
        lambda: client.patch(path, json=DONE),
        lambda: client.put(path, json={"title": "anew", "tags": [tag]}),
        lambda: client.delete(path),
        lambda: client.patch(f"/api/tasks?tag={tag}", json={"priority": random.choice(["low", "high"])}),
        lambda: client.patch(f"/api/tasks?tag={tag}", json=DONE),
        lambda: client.delete(f"/api/tasks?status=completed&tag={tag}"),
        lambda: client.put(f"/api/tags/{tag}", json={"color": random.choice(["#111111", "#222222", None])}),
        lambda: client.patch(f"/api/tags/{tag}", json={"name": other}),
        lambda: client.delete(f"/api/tags/{tag}"),
        lambda: client.post(f"/api/changes/{random.choice(shared or [1])}/undo"),
        lambda: client.post("/api/import", json={"version": 1, "tasks": [{"id": str(uuid.uuid4()), "title": "in"}]}),
    ]
    answer = random.choice(ways)()
    assert answer.status_code in (200, 201, 204, 404, 409), answer.text
    if "Change" in answer.headers:
        shared.append(int(answer.headers["Change"]))
        del shared[:-5]


@pytest.mark.parametrize("seed", range(4))
def test_a_client_that_applies_what_is_new_ends_with_exactly_the_servers_state(ann: httpx.Client, seed: int) -> None:
    random, shared = Random(seed), list[int]()
    for _ in range(10):
        write(ann, random, shared)

    def work(number: int) -> None:
        own = Random(f"{seed} {number}")
        for _ in range(100):
            write(ann, own, shared)

    follower = Follower(ann)
    with ThreadPoolExecutor(2) as pool:
        working = [pool.submit(work, number) for number in range(2)]
        while not all(each.done() for each in working):
            follower.step(random.randint(1, 9))
            if random.random() < 0.05:
                follower.begin()
        for each in working:
            each.result()
    while not follower.step(random.randint(1, 9)):
        pass
    held = dict(follower.copy)
    follower.begin()
    for key in [key for key, row in held.items() if key[0] == "tags" and row["color"] is None]:
        del held[key]  # a tag without a colour is in no list but that of the tasks that have it
    assert held == follower.copy


@pytest.mark.parametrize("seed", range(3))
def test_all_that_was_done_can_be_undone_one_by_one(ann: httpx.Client, seed: int) -> None:
    random, last, states = Random(seed), list[int](), list[Any]()
    for _ in range(60):
        before = state(ann)
        write(ann, random, last)
        if last and last[-1] > len(states):
            states.append(before)
    assert len(states) > 20
    for seq, before in reversed(list(enumerate(states, 1))):
        undo(ann, seq)
        assert state(ann) == before, seq


def test_a_table_that_takes_other_values_by_now_keeps_its_history_and_refuses_the_undo(empty_database: str) -> None:
    with (
        serving(settings(database_url=empty_database)) as url,
        httpx.Client(base_url=url, headers={"Authorization": f"Bearer {sign({'sub': 'ann'})}"}) as ann,
    ):
        changed, gone = create(ann, title="a long title"), create(ann, title="another long title")
        ann.patch(path_of(changed), json={"title": "short"}).raise_for_status()
        ann.delete(path_of(gone)).raise_for_status()
        execute(empty_database, "ALTER TABLE task DROP title_order, DROP search_text, ALTER title TYPE varchar(5)")
        assert said(history(ann, changed)[0]) == {"title": ("a long title", "short")}
        assert said(history(ann, gone)[0])["title"] == ("another long title", None)
        for seq, task in ((3, changed), (4, gone)):
            answer = ann.post(f"/api/changes/{seq}/undo")
            assert_problem(answer, 409, "CHANGED_SINCE")
            assert answer.json()["rows"] == [{"resource": "tasks", "id": task["id"]}]
        execute(empty_database, "ALTER TABLE task ADD CONSTRAINT no_more CHECK (title = 'short')")
        assert_problem(ann.post("/api/changes/3/undo"), 409, "CHANGED_SINCE")


def test_thousands_of_rows_are_completed_and_taken_back_in_one_request_each(
    ann: httpx.Client, client_of: Callable[..., httpx.Client], database_url: str
) -> None:
    for _ in range(60):
        create(client_of(), tags=["many"])
    execute(database_url, "ANALYZE")  # from now on the planner expects few rows of each user
    tasks = [{"id": str(uuid.uuid4()), "title": "x", "tags": ["many"]} for _ in range(10_000)]
    ann.post("/api/import", json={"version": 1, "tasks": tasks}).raise_for_status()
    answer = ann.patch("/api/tasks?tag=many", json=DONE)
    assert answer.json() == {"updated": len(tasks)}
    assert len(undo(ann, int(answer.headers["Change"]))["changes"]) == len(tasks)
    answer = ann.delete("/api/tasks?status=pending&tag=many")
    assert len(undo(ann, int(answer.headers["Change"]))["changes"]) == len(tasks)
    assert ann.get("/api/tags").json()[0]["tasks"] == len(tasks)


def test_a_page_looks_at_so_many_entries_and_still_misses_none(
    ann: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOKED_AT", 3)
    monkeypatch.setattr(module, "sync_statement", module.sync_statement.__wrapped__)
    first = create(ann, title="first")
    for number in range(10):
        ann.patch(path_of(first), json={"title": str(number)}).raise_for_status()
    second = create(ann)
    found, since = [], 0
    while (page := changes(ann, since))["seq"] != since:
        since = page["seq"]
        found.append((since, [change["id"] for change in page["changes"]]))
    assert found == [(3, []), (6, []), (9, []), (12, [first["id"], second["id"]])]
