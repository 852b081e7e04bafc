"""Tables of one's own, by the page that tells how (docs/resources.md): every route, every type, two users."""

import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.conftest import fresh_copy
from tests.generators import GENERATORS, make_a_client
from tests.helpers import assert_problem, assert_schemathesis_finds_nothing
from tests.project import Copy

UNKNOWN = "01980000-0000-7000-8000-000000000000"


@dataclass
class Own:
    """A running API with tables of its own, and clients of it by their users' names."""

    copy: Copy
    url: str
    printed: str

    def __call__(self, user: str) -> httpx.Client:
        token = self.copy.run("main.py", "token", "--user", user).stdout.strip()
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=30)


def page(root: Path) -> list[str]:
    return re.findall(r"```bash\n(.*?)```", (root / "docs" / "resources.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def own(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    """An API to which the page's commands have added both examples, and a table with a field of each type."""
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    with fresh_copy(root, tmp_path_factory.mktemp("own")) as copy:
        shutil.copy(root / "tests" / "resources" / "every_type.py", copy.folder / "examples")
        commands = "".join(page(root))
        printed = copy.bash(commands)
        for name in ("prompts", "every_type"):
            printed += copy.bash(commands.replace("test_runs", name).replace("test runs", name))
        with copy.serving("main.py", LOG_LEVEL="warning", RATE_LIMIT="") as (_, url):
            yield Own(copy, url, printed)


@pytest.fixture
def ann(own: Own) -> Iterator[httpx.Client]:
    with own(f"ann-{uuid4()}") as client:
        yield client


@pytest.fixture
def bob(own: Own) -> Iterator[httpx.Client]:
    with own(f"bob-{uuid4()}") as client:
        yield client


def post(client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    answer = client.post(f"/api/{path}", json=body)
    assert answer.status_code == 201, answer.text
    row: dict[str, Any] = answer.json()
    return row


def example_rows(client: httpx.Client) -> dict[str, dict[str, Any]]:
    """Make a row of each table of the examples, and return them by their paths."""
    run = post(
        client, "test-executions", name=" nightly ", started_at="2030-01-31T09:00:00+01:00", environment={"os": "x"}
    )
    result = post(client, "test-results", execution_id=run["id"], case="login", outcome="passed", duration_ms=12)
    prompt = post(client, "prompts", title="Sum up", text="Sum up {{it}}.", variables={"it": "text"}, category="short")
    analysis = post(client, "analyses", prompt_id=prompt["id"], document_name="a.pdf", score=0.5, model="m", tokens=3)
    return {"test-executions": run, "test-results": result, "prompts": prompt, "analyses": analysis}


# A filter that is about the row above, and one that is not; a change, and what may be sorted by.
ABOUT: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "test-executions": (
        "status=pending&started_after=2030-01-31T07:59:59Z&q=NIGHT",
        "status=failed",
        {"status": "passed"},
        "-started_at",
    ),
    "test-results": ("outcome=passed&outcome=failed&q=log", "outcome=skipped", {"duration_ms": 99}, "duration_ms"),
    "prompts": ("category=short&is_active=true&q=sum", "is_active=false", {"category": None}, "-category"),
    "analyses": ("score_min=0.5&score_max=0.5&model=m", "score_min=0.6", {"result": {"ok": True}}, "-score"),
}


def test_the_pages_commands_say_that_the_tables_are_protected(own: Own) -> None:
    assert "ok    isolation   row-level security holds on change, tag, task, test_execution, test_result" in own.printed
    written = (own.copy.folder / "migrations" / "versions" / "0009_add_test_runs.py").read_text()
    assert written.startswith('"""Add test runs."""')
    for name in ("test_execution", "test_result"):
        assert f'    protect("{name}")\n' in written
    assert "op.drop_index" not in written, "they go with their tables"


def test_each_example_is_one_short_file(root: Path) -> None:
    for name in ("test_runs", "prompts"):
        assert len((root / "examples" / f"{name}.py").read_text().splitlines()) <= 60


@pytest.mark.parametrize("path", ABOUT)
def test_every_route_of_both_examples_works_for_its_user_and_is_a_404_for_another(
    ann: httpx.Client, bob: httpx.Client, path: str
) -> None:
    row, (about, not_about, change, sort) = example_rows(ann)[path], ABOUT[path]
    code = {"test-executions": "TEST_EXECUTION", "test-results": "TEST_RESULT", "prompts": "PROMPT"}.get(
        path, "ANALYSIS"
    )
    url = f"/api/{path}/{row['id']}"
    read = ann.get(url)
    assert (read.json(), read.headers["ETag"]) == (row, '"1"')
    assert ann.get(url, headers={"If-None-Match": '"1"'}).status_code == 304
    assert ann.get(f"/api/{path}?{about}&sort={sort}").json() == [row]
    assert ann.get(f"/api/{path}?{not_about}").json() == []
    assert_problem(ann.get(f"/api/{path}?colour=red"), 422, "VALIDATION_ERROR")

    full = {name: value for name, value in row.items() if name in ann_fields(ann, path)}
    for method, body in (("GET", None), ("PUT", full), ("PATCH", change), ("DELETE", None)):
        assert_problem(bob.request(method, url, json=body), 404, f"{code}_NOT_FOUND")
    assert bob.get(f"/api/{path}").json() == []
    assert bob.patch(f"/api/{path}?{about}", json=change).json() == {"updated": 0}
    assert bob.delete(f"/api/{path}?{about}").json() == {"deleted": 0}

    changed = ann.patch(url, json=change, headers={"If-Match": '"1"'})
    assert changed.json() == {**row, **change, "version": 2, "updated_at": changed.json()["updated_at"]}
    assert_problem(ann.patch(url, json=change, headers={"If-Match": '"1"'}), 412, "PRECONDITION_FAILED")
    replaced = ann.put(url, json=full)
    assert {**replaced.json(), "version": 1, "updated_at": row["updated_at"]} == row
    assert replaced.headers["ETag"] == '"3"'
    assert ann.patch(f"/api/{path}?{about}", json=change).json() == {"updated": 1}
    assert_problem(ann.patch(f"/api/{path}", json=change), 422, "VALIDATION_ERROR")
    assert_problem(ann.delete(f"/api/{path}"), 422, "VALIDATION_ERROR")

    if path == "prompts":  # its analysis keeps it
        assert_problem(ann.delete(url), 409, "STILL_IN_USE")
        assert_problem(ann.delete("/api/prompts?is_active=true"), 409, "STILL_IN_USE")
        assert ann.delete("/api/analyses?model=m").json() == {"deleted": 1}
    assert ann.delete(url).status_code == 204
    assert_problem(ann.delete(url), 404, f"{code}_NOT_FOUND")
    children = {"test-executions": "test-results", "prompts": "analyses"}
    if path in children:
        assert ann.get(f"/api/{children[path]}").json() == []

    key = {"Idempotency-Key": "once"}
    if path in children:
        first, again = (ann.post(f"/api/{path}", json=full, headers=key) for _ in range(2))
        assert first.json() == again.json()
        assert again.headers["Idempotency-Replayed"] == "true"
        assert first.headers["Location"] == f"/api/{path}/{first.json()['id']}"
        renamed = {name: "Another" if name in ("name", "title") else value for name, value in full.items()}
        assert_problem(ann.post(f"/api/{path}", json=renamed, headers=key), 422, "IDEMPOTENCY_KEY_REUSED")
    assert ann.delete(f"/api/{path}?{not_about}").json() == {"deleted": 0}


def ann_fields(client: httpx.Client, path: str) -> list[str]:
    """Return the fields of the body that a path takes, from the description of the API."""
    document = client.get("/openapi.json").json()
    schema = document["paths"][f"/api/{path}"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return list(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"])


def test_a_parent_that_is_missing_or_another_users_is_the_same_422(ann: httpx.Client, bob: httpx.Client) -> None:
    bobs = example_rows(bob)
    refusals = []
    for parent in (UNKNOWN, bobs["test-executions"]["id"]):
        body = {"execution_id": parent, "case": "x", "outcome": "passed", "duration_ms": 1}
        refusals.append(ann.post("/api/test-results", json=body))
        mine = example_rows(ann)["test-results"]
        refusals.append(ann.patch(f"/api/test-results/{mine['id']}", json={"execution_id": parent}))
    assert {answer.status_code for answer in refusals} == {422}
    assert len({answer.json()["detail"] for answer in refusals}) == 1
    assert refusals[0].json()["errors"] == [
        {"field": "execution_id", "message": "must be the id of a test execution of yours"}
    ]
    document = {"version": 1, "test_results": [{**bobs["test-results"], "id": UNKNOWN}]}
    assert_problem(ann.post("/api/import", json=document), 422, "VALIDATION_ERROR")


def test_an_export_has_every_table_and_comes_back_to_another_user(ann: httpx.Client, bob: httpx.Client) -> None:
    example_rows(ann)
    post(ann, "orders", **order(random.Random(1)))
    post(ann, "tasks", title="A task")
    document = ann.get("/api/export").json()
    names = ["analyses", "orders", "prompts", "tags", "tasks", "test_executions", "test_results"]
    assert list(document) == ["version", "exported_at", *names]
    # The rows' ids are ann's, and in another user's key they are other rows.
    # In any order: here most children come before their parents, and the version last.
    imported = bob.post("/api/import", json=dict(reversed(document.items())))
    assert imported.json() == {**dict.fromkeys(names, 1), "tags": 0}
    assert bob.post("/api/import", json=document).json() == dict.fromkeys(names, 0)
    owner = bob.get("/api/me").json()["user_id"]
    for path in (*ABOUT, "orders", "tasks"):
        assert bob.get(f"/api/{path}").json() == [{**row, "user_id": owner} for row in ann.get(f"/api/{path}").json()]


def order(choose: random.Random, *, nulls: bool = False) -> dict[str, Any]:
    """Return a body of the table with a field of each type."""
    body: dict[str, Any] = {
        "name": "".join(choose.choices("ab", k=2)),
        "size": choose.choice(["small", "medium", "large"]),
        "flag": choose.random() < 0.5,
        "number": choose.choice([-(2**31), -1, 0, 1, 2**31 - 1]),
        "big": choose.choice([-(2**53), 0, 2**53]),
        "ratio": choose.choice([-1.5, 0.1, 1e300]),
        "price": choose.choice(["-1.50", "0.00", "999999.99"]),
        "day": choose.choice(["0001-01-01", "2030-01-31", "9999-12-31"]),
        "moment": choose.choice(["2030-01-31T09:00:00+01:00", "2030-01-31T08:00:00.000001Z"]),
        "other": str(choose.choice([uuid4(), UNKNOWN])),
        "words": choose.choice([[], ["a"], ["a", "b"]]),
        "data": choose.choice([{}, {"a": [1, 2.5, None, {"b": "ä"}]}]),
    }
    optional = {f"{name}_or_null": body[name] for name in body if name not in ("name", "number")}
    optional |= {"group": body["name"], "number_or_null": choose.choice([-5, 0, 2**31 - 1])}
    return body | {name: None if nulls or choose.random() < 0.4 else value for name, value in optional.items()}


def shown(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body as an answer shows it: moments in UTC."""
    moments = {"2030-01-31T09:00:00+01:00": "2030-01-31T08:00:00+00:00"}
    moments["2030-01-31T08:00:00.000001Z"] = "2030-01-31T08:00:00.000001+00:00"
    return {name: moments.get(value, value) if isinstance(value, str) else value for name, value in body.items()}


def test_each_type_comes_back_as_it_was_sent(ann: httpx.Client) -> None:
    choose = random.Random(2)
    for number in range(20):
        body = order(choose, nulls=number == 0)
        row = post(ann, "orders", **body)
        assert {name: row[name] for name in body} == shown(body)
        cleared = {name: None for name in body if name.endswith("_or_null")}
        assert ann.patch(f"/api/orders/{row['id']}", json=cleared).json().items() >= cleared.items()
        assert ann.put(f"/api/orders/{row['id']}", json=body).json().items() >= shown(body).items()


@pytest.mark.parametrize(
    ("field", "sent", "shown"), [("number", 1.0, 1), ("price", 12.5, "12.50"), ("price", 3, "3.00"), ("ratio", 2, 2)]
)
def test_a_number_may_be_written_in_another_way(ann: httpx.Client, field: str, sent: float, shown: Any) -> None:
    body = order(random.Random(3)) | {field: sent}
    assert post(ann, "orders", **body)[field] == shown


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("name", ["x" * 21, "a\0b", "\ud800", None, 1]),
        ("size", ["huge", "", 1]),
        ("flag", [1, "true", None]),
        ("number", [2**31, -(2**31) - 1, 1.5, 1e300, "1", True, 10**30]),
        ("big", [2**53 + 1, -(2**63) - 1]),
        ("ratio", ["1", True, None]),
        ("price", ["1.234", "1000000", "NaN", "Infinity", True, "x", "1\n", "1e2", 1.234, "٣"]),
        ("day", ["2030-02-30", "2030-01-31T00:00:00Z", 0, "20300131"]),
        ("moment", ["2030-01-31T09:00:00", 1893456000, "0001-01-01T00:00:00+01:00", "2030-01-31"]),
        ("other", ["x", 1]),
        ("words", [["a\0"], [1], ["a"] * 4, "a", None, ["\udfff"]]),
        ("data", [{"a": "b\0"}, {"a\0": 1}, {"a": "x" * 100}, [1], None, "x", {"a": "\ud800"}]),
        ("number_or_null", [-6]),
        ("data_or_null", [{"a": {"\0": 1}}, []]),
    ],
)
def test_what_a_type_does_not_hold_is_a_422_that_names_the_field(
    ann: httpx.Client, field: str, values: list[Any]
) -> None:
    body = order(random.Random(3))
    row = post(ann, "orders", **body)
    for value in values:
        content = json.dumps({**body, field: value})
        for method, path in (("POST", "/api/orders"), ("PUT", f"/api/orders/{row['id']}")):
            answer = ann.request(method, path, content=content, headers={"Content-Type": "application/json"})
            assert_problem(answer, 422, "VALIDATION_ERROR")
            assert answer.json()["field"].split(".")[0] == field, (value, answer.text)
    assert len(ann.get("/api/orders").json()) == 1


@pytest.mark.parametrize("content", ['{"a": NaN}', '{"a": 1e999}', "[" * 40 + "]" * 40, '{"a":' * 40 + "1" + "}" * 40])
def test_json_that_postgresql_does_not_hold_is_a_422(ann: httpx.Client, content: str) -> None:
    body = json.dumps(order(random.Random(3)) | {"data": "HERE"}).replace('"HERE"', content)
    answer = ann.post("/api/orders", content=body, headers={"Content-Type": "application/json"})
    assert_problem(answer, 422, "VALIDATION_ERROR")


KEYS: dict[str, Callable[[Any], Any]] = {
    "size": ["small", "medium", "large"].index,
    "price": Decimal,
    "size_or_null": ["small", "medium", "large"].index,
    "price_or_null": Decimal,
}


def test_every_sort_has_each_row_once_in_order_with_null_last_on_pages_of_every_size(ann: httpx.Client) -> None:
    choose = random.Random(4)
    rows = [post(ann, "orders", **order(choose)) for _ in range(40)]
    sorts = ann.get("/openapi.json").json()["components"]["schemas"]["ListOrdersSort"]["enum"]
    assert len(sorts) == 46
    for sort in sorts:
        found: list[dict[str, Any]] = []
        path = f"/api/orders?sort={sort}&limit={choose.choice([1, 7, 13])}"
        while path:
            answer = ann.get(path)
            assert answer.status_code == 200, (sort, answer.text)
            found += answer.json()
            path = answer.links.get("next", {}).get("url", "")
        assert sorted(row["id"] for row in found) == sorted(row["id"] for row in rows), sort
        name, key = sort.removeprefix("-"), KEYS.get(sort.removeprefix("-"), lambda value: value)
        values = [row[name] for row in found]
        there = [key(value) for value in values if value is not None]
        assert values[len(there) :] == [None] * (len(values) - len(there)), f"{sort}: null comes last"
        assert there == sorted(there, reverse=sort.startswith("-")), sort
        for one, other in pairwise(found):  # ties by id, in the same direction
            if one[name] == other[name]:
                assert (one["id"] > other["id"]) is sort.startswith("-"), sort


FILTERS: list[tuple[str, Callable[[dict[str, Any]], bool]]] = [
    ("name=aa&name=ab", lambda row: row["name"] in ("aa", "ab")),
    ("group=aa", lambda row: row["group"] == "aa"),
    ("size=small", lambda row: row["size"] == "small"),
    ("size=small&size=large", lambda row: row["size"] != "medium"),
    ("size_or_null=medium", lambda row: row["size_or_null"] == "medium"),
    ("flag=true", lambda row: row["flag"]),
    ("flag_or_null=false", lambda row: row["flag_or_null"] is False),
    ("number_min=0&number_max=5", lambda row: 0 <= row["number"] <= 5),
    ("number_min=0&number_below=5", lambda row: 0 <= row["number"] < 5),
    ("number_or_null=none", lambda row: row["number_or_null"] is None),
    ("ratio_or_null=none", lambda row: row["ratio_or_null"] is None),
    ("price_or_null=none", lambda row: row["price_or_null"] is None),
    ("day_or_null=none", lambda row: row["day_or_null"] is None),
    ("day_from=2030-01-31", lambda row: row["day"] >= "2030-01-31"),
    ("updated_from=2020-01-01T00:00:00Z", lambda row: True),
    ("number_or_null_max=2147483647", lambda row: row["number_or_null"] is not None),
    ("big_or_null_min=0", lambda row: row["big_or_null"] is not None and row["big_or_null"] >= 0),
    ("number_min=99999999999999999999999999", lambda row: False),
    ("ratio_min=0.1", lambda row: row["ratio"] >= 0.1),
    ("ratio_or_null_min=0.1", lambda row: row["ratio_or_null"] is not None and row["ratio_or_null"] >= 0.1),
    ("price_max=0", lambda row: Decimal(row["price"]) <= 0),
    ("price_or_null_min=0", lambda row: row["price_or_null"] is not None and Decimal(row["price_or_null"]) >= 0),
    ("day_before=2030-01-31", lambda row: row["day"] < "2030-01-31"),
    ("day_or_null_after=0001-01-01", lambda row: (row["day_or_null"] or "0001-01-01") > "0001-01-01"),
    ("moment_after=2030-01-31T08:00:00Z", lambda row: row["moment"] == "2030-01-31T08:00:00.000001+00:00"),
    ("moment_or_null_before=2031-01-01T00:00:00Z", lambda row: row["moment_or_null"] is not None),
    (f"other={UNKNOWN}", lambda row: row["other"] == UNKNOWN),
    ("word=a&word=b", lambda row: row["words"] == ["a", "b"]),
    ("words_or_null=a", lambda row: "a" in (row["words_or_null"] or [])),
    ("q=A", lambda row: "a" in row["name"] or "a" in (row["group"] or "")),
]


def test_every_kind_of_filter_finds_exactly_its_rows(ann: httpx.Client, bob: httpx.Client) -> None:
    choose = random.Random(5)
    rows = [post(ann, "orders", **order(choose)) for _ in range(40)]
    for query, holds in FILTERS:
        found = ann.get(f"/api/orders?{query}&limit=500")
        assert found.status_code == 200, (query, found.text)
        assert {row["id"] for row in found.json()} == {row["id"] for row in rows if holds(row)}, query
        assert bob.get(f"/api/orders?{query}").json() == []
    for query in (
        "number_min=x",
        "flag=perhaps",
        "ratio_min=nan",
        "price_max=Infinity",
        "day_before=1",
        "other=x",
        "size=x",
    ):
        assert_problem(ann.get(f"/api/orders?{query}"), 422, "VALIDATION_ERROR")


def test_nobody_has_more_rows_than_allowed_however_they_come(ann: httpx.Client, bob: httpx.Client) -> None:
    body = order(random.Random(6))
    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(lambda _: ann.post("/api/orders", json=body).status_code, range(397)))
    assert set(statuses) == {201}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ann.post("/api/orders", json=body), range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 5
    [refused, *_] = [answer for answer in answers if answer.status_code == 409]
    assert_problem(refused, 409, "LIMIT_REACHED")
    assert refused.json()["detail"] == "You have 400 orders, and may have no more."
    document = ann.get("/api/export").json()
    assert_problem(
        ann.post("/api/import", json={**document, "orders": [{**body, "id": UNKNOWN}]}), 409, "LIMIT_REACHED"
    )
    assert ann.post("/api/import", json=document).json()["orders"] == 0, "what is there already needs no room"
    post(bob, "orders", **body)
    assert_problem(bob.post("/api/import", json=document), 409, "LIMIT_REACHED")
    assert len(bob.get("/api/orders").json()) == 1
    again = ann.get("/api/orders?limit=1").json()[0]
    assert ann.delete(f"/api/orders/{again['id']}").status_code == 204
    post(ann, "orders", **body)


def test_the_description_says_the_limits_of_each_type(own: Own) -> None:
    body = httpx.get(f"{own.url}/openapi.json").json()["components"]["schemas"]["OrderCreate"]["properties"]
    assert body["data"]["description"] == "At most 100 bytes of JSON."
    assert (body["number"]["minimum"], body["number"]["maximum"]) == (-(2**31), 2**31 - 1)
    number, text = body["price"]["anyOf"]
    assert (number["exclusiveMinimum"], number["exclusiveMaximum"]) == (-(10**6), 10**6)
    assert re.fullmatch(text["pattern"], "-999999.99")
    assert not re.fullmatch(text["pattern"], "1.234")


def test_schemathesis_finds_nothing(own: Own, tmp_path: Path) -> None:
    """Not of children: what it makes up for the id of a parent is nobody's."""
    token = own.copy.run("main.py", "token", "--user", f"schemathesis-{uuid4()}").stdout.strip()
    chosen = ["--include-path-regex", "/api/orders", "--max-examples", "10"]
    assert_schemathesis_finds_nothing(f"{own.url}/openapi.json", token, tmp_path, *chosen)


def test_generators_make_whole_and_strict_clients_of_them(own: Own, tmp_path_factory: pytest.TempPathFactory) -> None:
    with ThreadPoolExecutor() as threads:
        for made in [
            threads.submit(make_a_client, generator, own.url, tmp_path_factory.mktemp("client"))
            for generator in GENERATORS
        ]:
            made.result()


def test_the_projects_own_tests_cover_the_tables_that_were_added(own: Own, root: Path) -> None:
    """The isolation of each, in both directions of each lock; that its indexes are used; no migration is missing."""
    own_tests = ("test_isolation", "test_migrations", "test_plans")
    (own.copy.folder / "tests").mkdir()
    for file in (root / "tests").glob("*.py"):
        if not file.name.startswith("test_") or file.stem in own_tests:
            shutil.copy(file, own.copy.folder / "tests")
    wanted = "declared or another_user or every_route or not_protected or same_user or say_the_same or up_down"
    ended = own.copy.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", "-k", wanted)
    assert ended.returncode == 0, "\n".join(line for line in ended.stdout.splitlines() if "[info" not in line)


# What the change log does for them, without a line in their files.


def changed(client: httpx.Client, method: str, path: str, **body: Any) -> int:
    """Send a write, and return its seq."""
    answer = client.request(method, f"/api/{path}", json=body or None)
    assert answer.is_success, answer.text
    return int(answer.headers["Change"])


def plain(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"version": 0, "updated_at": ""}


@pytest.mark.parametrize("number", range(10))
def test_a_row_with_every_type_comes_back_from_a_deletion_exactly_as_it_was(ann: httpx.Client, number: int) -> None:
    row = post(ann, "orders", **order(random.Random(number), nulls=number == 0))
    other = order(random.Random(number + 100))
    path = f"orders/{row['id']}"
    changes = [changed(ann, "PUT", path, **other), changed(ann, "DELETE", path)]
    replaced = {entry["field"]: entry["to"] for entry in ann.get(f"/api/{path}/history").json()[1]["changes"]}
    for seq in reversed(changes):
        undone = ann.post(f"/api/changes/{seq}/undo").json()["changes"]
        assert [change["id"] for change in undone] == [row["id"]]
        shown = ann.get(f"/api/{path}").json()
        assert undone[0]["row"] == shown
        assert ann.get(f"/api/changes?since={seq}").json()["changes"] == undone
        if seq == changes[1]:
            assert {field: shown[field] for field in replaced} == replaced, "as history said it"
    assert plain(shown) == plain(row)


def test_a_deletion_takes_the_children_into_the_log_and_undo_brings_them_back(ann: httpx.Client) -> None:
    rows = example_rows(ann)
    run, result = rows["test-executions"], rows["test-results"]
    second = post(ann, "test-results", execution_id=run["id"], case="logout", outcome="failed", duration_ms=1)
    seq = changed(ann, "DELETE", f"test-executions/{run['id']}")
    gone = ann.get(f"/api/changes?since={seq - 1}").json()["changes"]
    assert {(row["resource"], row["id"]) for row in gone if row["deleted"]} == {
        ("test-executions", run["id"]),
        ("test-results", result["id"]),
        ("test-results", second["id"]),
    }
    assert ann.get(f"/api/test-results/{result['id']}/history").json()[0]["action"] == "deleted"
    assert len(ann.post(f"/api/changes/{seq}/undo").json()["changes"]) == 3
    for path, row in (("test-executions", run), ("test-results", result), ("test-results", second)):
        assert plain(ann.get(f"/api/{path}/{row['id']}").json()) == plain(row)
    many = changed(ann, "DELETE", "test-executions?q=nightly&started_after=2030-01-01T00:00:00Z")
    assert len(ann.post(f"/api/changes/{many}/undo").json()["changes"]) == 3


@pytest.mark.parametrize(
    ("parent", "child", "body"),
    [
        ("test-executions", "test-results", {"case": "late", "outcome": "passed", "duration_ms": 1}),
        ("prompts", "analyses", {"document_name": "late.pdf", "model": "m"}),
    ],
)
def test_what_belongs_to_a_row_by_now_keeps_it_from_being_undone(
    ann: httpx.Client, parent: str, child: str, body: dict[str, Any]
) -> None:
    row = example_rows(ann)[parent]
    seq = ann.get(f"/api/{parent}/{row['id']}/history").json()[-1]["seq"]
    field = "execution_id" if parent == "test-executions" else "prompt_id"
    existing = ann.get(f"/api/{child}?{field}={row['id']}").json()
    late = post(ann, child, **{field: row["id"], **body})
    answer = ann.post(f"/api/changes/{seq}/undo")
    assert_problem(answer, 409, "CHANGED_SINCE")
    assert {each["id"] for each in answer.json()["rows"]} == {late["id"], *(each["id"] for each in existing)}
    assert ann.get(f"/api/{child}/{late['id']}").status_code == 200


def test_a_child_cannot_come_back_without_its_parent(ann: httpx.Client) -> None:
    rows = example_rows(ann)
    seq = changed(ann, "DELETE", f"test-results/{rows['test-results']['id']}")
    changed(ann, "DELETE", f"test-executions/{rows['test-executions']['id']}")
    answer = ann.post(f"/api/changes/{seq}/undo")
    assert_problem(answer, 409, "CHANGED_SINCE")
    assert answer.json()["rows"] == [{"resource": "test-results", "id": rows["test-results"]["id"]}]


def test_nobody_has_more_rows_than_allowed_by_an_undo(ann: httpx.Client) -> None:
    body = order(random.Random(7))
    first = post(ann, "orders", **body)
    seq = changed(ann, "DELETE", f"orders/{first['id']}")
    while (answer := ann.post("/api/orders", json=body)).status_code == 201:
        last = answer.json()
    assert_problem(answer, 409, "LIMIT_REACHED")
    assert_problem(ann.post(f"/api/changes/{seq}/undo"), 409, "LIMIT_REACHED")
    changed(ann, "DELETE", f"orders/{last['id']}")
    assert ann.post(f"/api/changes/{seq}/undo").status_code == 200
