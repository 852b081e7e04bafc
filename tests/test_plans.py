"""What noise cannot change of the speed: each list is read through an index of its user, in one pass."""

import json
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import psycopg2
import pytest
from sqlalchemy.sql.visitors import iterate

from backend import migrations
from backend.connection import Prepared
from backend.database import PREFIX, Logged, quoted
from backend.resources import RESOURCES, Resource
from backend.tasks import tasks
from tests.conftest import throwaway_database
from tests.samples import filters_of

# 200 users with 100 tasks each, and one with 20,000, of which one in a hundred is completed.
ROWS = """
INSERT INTO task (user_id, id, title, status, priority, tags, created_at, due_date)
SELECT 'user-' || u, gen_random_uuid(), 'Task ' || n,
  (ARRAY['pending', 'completed'])[1 + (n % 100 = 0)::int]::task_status,
  (ARRAY['low', 'medium', 'high'])[1 + n % 3]::task_priority, ARRAY['tag-' || n % 10],
  now() - n * interval '1 hour', now() + n * interval '1 day'
FROM generate_series(0, 200) u, generate_series(1, CASE u WHEN 0 THEN 20000 ELSE 100 END) n
"""
MANY = "user-0"
VALUES = {
    "user_id": "user-7",
    "id": "01980000-0000-7000-8000-000000000000",
    "_limit": 51,
    "_versions": None,
    "_attempt": 1,
    "_request_id": "request",
    "_acted_by": None,
    "_undoes": None,
    "_history": True,
    "_by_id": ["01980000-0000-7000-8000-000000000000"],
    "_by_one_status": 0,
    "_by_status": [0, 1],
    "_by_priority": [0, 1],
    "_by_one_priority": 0,
    "_by_tag": ["tag-1"],
    "_by_due_before": "2040-01-01T00:00:00Z",
    "_by_due_after": "2020-01-01T00:00:00Z",
    "_by_due_from": "2020-01-01T00:00:00Z",
    "_by_updated_from": "2020-01-01T00:00:00Z",
    "_by_updated_before": "2040-01-01T00:00:00Z",
    "_by_updated_after": "2020-01-01T00:00:00Z",
    "_by_completed_before": "2040-01-01T00:00:00Z",
    "_by_completed_after": "2020-01-01T00:00:00Z",
    "_by_completed_from": "2020-01-01T00:00:00Z",
    "_by_q": "task",
    "_after_id": "01980000-0000-7000-8000-000000000000",
    "_after_null": True,
}
AFTER = {"title": "Task 7", "priority": 1}
# The sorts that an index serves whole, so that a page costs the same wherever it begins and however many come after it.
INDEXED = {"created_at": "task_newest", "-created_at": "task_newest", "due_date": "task_due_date"}
INDEXED |= {"completed_at": "task_completed_at"}
INDEXED |= {"priority": "task_priority", "-priority": "task_priority", "title": "task_title", "-title": "task_title"}


@pytest.fixture(scope="module")
def cursor(postgres: str) -> Iterator[Any]:
    """A cursor on a table of 40,000 tasks."""
    with throwaway_database(postgres) as url:
        migrations.upgrade(url, wait_seconds=5)
        connection = psycopg2.connect(url)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(ROWS)
            cursor.execute("VACUUM ANALYZE task")
            yield cursor
        connection.close()


def nodes(cursor: Any, statement: str | Logged, **values: object) -> list[dict[str, Any]]:
    """Return the nodes of a statement's plan, as the API's role has it for a user: of a prepared one, the one kept."""
    if isinstance(statement, Logged):
        [statement] = statement.statements
    parts = [PREFIX, f"EXPLAIN (FORMAT JSON) {statement}"]
    if isinstance(statement, Prepared):
        keep = "SET LOCAL plan_cache_mode = force_generic_plan"
        parts = [PREFIX, keep, statement.prepare, f"EXPLAIN (FORMAT JSON) {statement.execute}"]
    cursor.execute("; ".join(parts), {**VALUES, **values})
    [(plans,)] = cursor.fetchall()
    found, waiting = [], [plan["Plan"] for plan in (json.loads(plans) if isinstance(plans, str) else plans)]
    while waiting:
        found.append(waiting.pop())
        waiting += found[-1].get("Plans", [])
    return found


statements, page = tasks.statements, tasks.listing.page
SORTS = [f"{sign}{name}" for name in tasks.listing.sorts for sign in ("", "-")]
FILTERS = list(tasks.listing._conditions)


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("after", [False, True], ids=["first page", "a later page"])
def test_no_list_reads_the_rows_of_others(cursor: Any, sort: Any, after: bool) -> None:
    shapes = [frozenset(names) for size in (0, 1, 2, len(FILTERS)) for names in combinations(FILTERS, size)]
    key = AFTER.get(sort.removeprefix("-"), "2030-01-01T00:00:00Z")
    for shape in shapes:
        plan = nodes(cursor, page(shape, sort, after), _after_key=key)
        assert not [node for node in plan if node["Node Type"] == "Seq Scan"], (sort, shape)
        for node in plan:
            if node.get("Index Name"):
                assert "= 'user-7'" in node["Index Cond"], (sort, shape, node)


@pytest.mark.parametrize("sort", INDEXED)
@pytest.mark.parametrize("after", [False, True], ids=["first page", "a later page"])
def test_a_page_of_an_indexed_sort_is_read_in_order_and_not_sorted(cursor: Any, sort: Any, after: bool) -> None:
    key = AFTER.get(sort.removeprefix("-"), "2026-01-01T00:00:00Z")
    plan = nodes(cursor, page(frozenset(), sort, after), user_id=MANY, _after_key=key)
    assert not [node for node in plan if "Sort" in node["Node Type"]]
    [index] = {node["Index Name"] for node in plan if "Index Name" in node}
    assert index == INDEXED[sort]
    if after:  # found in the index, not read from the beginning and passed over
        [condition] = [node["Index Cond"] for node in plan if "Index Name" in node]
        assert "ROW(" in condition


def test_one_task_is_read_by_its_key(cursor: Any) -> None:
    reopens = statements.update_one(frozenset({"status"}))
    for statement in (statements.read, statements.delete, statements.update_one(frozenset({"title"})), reopens):
        plan = nodes(cursor, statement, title="x", status="pending")
        used = {node["Index Name"] for node in plan if "Index Name" in node}
        assert used == ({"task_pkey"} if statement is statements.read else {"task_pkey", "change_pkey"})
        assert not [node for node in plan if node["Node Type"] == "Seq Scan"]


def test_every_index_serves_something(cursor: Any) -> None:
    used = {"task_pkey", "task_status", *INDEXED.values()}
    plan = nodes(cursor, page(frozenset({"_by_one_status"}), "-created_at", False), user_id=MANY, _by_one_status=2)
    assert "task_status" in {node.get("Index Name") for node in plan}
    assert {"task_pkey", *(index.name for index in statements.table.indexes)} == used


def single_filters(resource: Resource[Any]) -> Iterator[dict[str, Any]]:
    """Yield the parameters of each single filter of a resource, with one value, and with two where it may have them."""
    validate = resource.listing.filters.model_validate
    for name, value in filters_of(resource).items():
        for several in [value[:1], (value * 2)[:2]] if isinstance(value, list) else [value]:
            yield resource.listing.named(validate({name: several}))


@pytest.mark.parametrize("path", [resource.path for resource in RESOURCES])
def test_each_index_of_a_declared_table_is_looked_up_by_its_filters(postgres: str, path: str) -> None:
    [resource] = [one for one in RESOURCES if one.path == path]
    table, listing = resource.statements.table, resource.listing
    used = {f"{table.name}_newest"}
    texts = [name for name in listing.sorts if listing.types[name].python is str]
    by_text = {f"{table.name}_{name}" for name in texts if name not in listing.filters.model_fields}
    only_sorts = {index for index in table.indexes if index.name in by_text}
    with throwaway_database(postgres) as url:
        migrations.upgrade(url, wait_seconds=5)
        connection = psycopg2.connect(url)
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {quoted(table.name)} DROP CONSTRAINT {quoted(table.name + '_pkey')} CASCADE")
            cursor.execute("SET enable_seqscan = off; SET enable_bitmapscan = off; SAVEPOINT all_indexes")
            for index in table.indexes - only_sorts:
                cursor.execute("ROLLBACK TO all_indexes")
                for other in table.indexes - {index}:
                    cursor.execute(f"DROP INDEX {quoted(str(other.name))}")
                column = list(index.columns)[1]
                for named in single_filters(resource):
                    condition = listing.where(frozenset(named))
                    if "_by_q" in named or not any(part is column for part in iterate(condition)):
                        continue
                    found = nodes(cursor, listing.page(frozenset(named), "-created_at", False), **named)
                    conditions = [node["Index Cond"] for node in found if "Index Cond" in node]
                    assert conditions, (index.name, named)
                    assert quoted(column.name) in conditions[0], f"{index.name} is read, and not looked up by {named}"
                    used.add(str(index.name))
        connection.close()
    assert used == {str(index.name) for index in table.indexes - only_sorts}, "each index serves a filter"
