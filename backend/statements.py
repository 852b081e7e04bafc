"""The statements on tasks: built from the models, once for each shape, and kept as SQL text."""

from functools import lru_cache
from typing import Any

from pydantic import BaseModel
from sqlalchemy import (
    ColumnElement,
    DateTime,
    Integer,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    false,
    func,
    literal_column,
    not_,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from backend.database import sql
from backend.models import Task, TaskCreate, in_utc

task: Any = Task.__table__  # type: ignore[attr-defined]
# How many shapes of one statement are kept: more than clients use, and few enough for one who tries them all.
KEPT = 500
# The fields of a task's JSON, in the order of its documentation.
SHOWN = [
    task.c[name]
    for name in ("id", "user_id", *TaskCreate.model_fields, "version", "created_at", "updated_at", "completed_at")
]
# What a task hands on to its next occurrence, beside what the rule says of it.
HANDED_ON = ("user_id", "title", "description", "priority", "tags", "due_offset")

OWN = task.c.user_id == bindparam("user_id")
THIS = and_(OWN, task.c.id == bindparam("id"))
COMPLETED = literal_column("'completed'", task.c.status.type)
# If-Match: any of these versions, or no condition at all.
VERSIONS = cast(bindparam("versions"), ARRAY(Integer))
MATCHES = or_(VERSIONS.is_(None), task.c.version == func.any(VERSIONS))


def as_json(rows: Any) -> ColumnElement[str]:
    """Return the JSON of a row of `rows`, a query with the columns to show, as text."""
    return cast(func.row_to_json(rows.table_valued()), Text)


def _shown(rows: Any) -> Any:
    return select(*(rows.c[column.name] for column in SHOWN)).subquery("shown")


READ = sql(select(as_json(shown := select(*SHOWN).where(THIS).subquery("shown")), shown.c.version))


# Creation. A key of the client's makes the id, so that a repeat meets the row that it made before: `inserted` tells
# the two apart, and `same` whether the row is still as the body says. DO UPDATE, because DO NOTHING returns no row.
_new = (
    upsert(task)
    .values(
        {name: bindparam(name) for name in ("user_id", "id", "due_offset", *TaskCreate.model_fields)}
        | {"completed_at": case((bindparam("status", type_=task.c.status.type) == COMPLETED, func.now()))}
    )
    .on_conflict_do_update(index_elements=["user_id", "id"], set_={"id": task.c.id})
    .returning(*SHOWN, literal_column("xmax = 0").label("inserted"))
    .cte("changed")
)
_made = _shown(_new)
CREATE = sql(
    select(
        as_json(_made),
        _made.c.version,
        _new.c.inserted,
        and_(*(_new.c[name].is_not_distinct_from(bindparam(name)) for name in TaskCreate.model_fields)),
    ).select_from(_new.join(_made, true()))
)


def _values(fields: frozenset[str]) -> dict[str, Any]:
    """Return what an update of these fields sets. Naming none changes nothing, and is no new version."""
    values: dict[str, Any] = {name: bindparam(name) for name in sorted(fields)}
    if "due_date" in fields:
        values["due_offset"] = bindparam("due_offset")
    if "status" in fields:
        completes = bindparam("status", type_=task.c.status.type) == COMPLETED
        values["completed_at"] = case((completes, func.coalesce(task.c.completed_at, func.now())), else_=null())
    if fields:
        values["updated_at"] = func.now()
    return values | {"version": task.c.version + literal_column("1" if fields else "0")}


def _comes_again(fields: frozenset[str]) -> ColumnElement[bool]:
    """Return whether completing a task with these fields makes its next occurrence, which takes python-dateutil."""
    rule = bindparam("recurrence_rule") if "recurrence_rule" in fields else task.c.recurrence_rule
    return and_(task.c.status != COMPLETED, cast(rule, Text).is_not(None))


RULE = (task.c.id, task.c.version, task.c.status, task.c.recurrence_rule, task.c.due_date, task.c.due_offset)


@lru_cache(KEPT)
def update_one(fields: frozenset[str], completes: bool) -> str:
    """Change one task, if its version matches and, where it is being completed, if it does not come again.

    A row: its JSON and version, both null if it was left as it is; then the columns of RULE as they were before.
    """
    condition = and_(THIS, MATCHES, not_(_comes_again(fields)) if completes else true())
    before = select(*RULE).where(THIS).cte("before")
    changed = update(task).where(condition).values(_values(fields)).returning(*SHOWN).cte("changed")
    return sql(select(as_json(changed), changed.c.version, *before.c).select_from(before.outerjoin(changed, true())))


def _made_next(changed: Any, coming: Any, rows: Any) -> Any:
    """Return the insertion of the next occurrences of the tasks in `changed`; one that is there already stays."""
    columns = [*HANDED_ON, "status", "id", "due_date", "recurrence_rule"]
    values = select(
        *(changed.c[name] for name in HANDED_ON),
        literal_column("'pending'::task_status"),
        coming.c.next_id,
        coming.c.next_due,
        coming.c.next_rule,
    )
    coming_ones = values.select_from(rows).where(coming.c.next_id.is_not(None))
    return upsert(task).from_select(columns, coming_ones, include_defaults=False).on_conflict_do_nothing().cte("made")


def _seen() -> Any:
    """Return what `completion` found out: for each recurring task its version then, and its next occurrence."""
    return (
        func.unnest(
            cast(bindparam("ids"), ARRAY(Uuid)),
            cast(bindparam("seen"), ARRAY(Integer)),
            cast(bindparam("next_ids"), ARRAY(Uuid)),
            cast(bindparam("next_dues"), ARRAY(DateTime(timezone=True))),
            cast(bindparam("next_rules"), ARRAY(Text)),
        )
        .table_valued("id", "version", "next_id", "next_due", "next_rule", name="seen")
        .render_derived()
    )


@lru_cache(KEPT)
def complete_one(fields: frozenset[str]) -> str:
    """Change a recurring task that still has the version seen, and make its next occurrence, in one.

    A row: its JSON and version; none if it changed in between.
    """
    seen = _seen()
    condition = and_(OWN, task.c.id == seen.c.id, task.c.version == seen.c.version)
    changed = update(task).where(condition).values(_values(fields)).returning(*SHOWN, task.c.due_offset).cte("changed")
    made = _made_next(changed, seen, changed.join(seen, changed.c.id == seen.c.id))
    shown = _shown(changed)
    return sql(select(as_json(shown), shown.c.version).add_cte(made))


DELETE = sql(
    select(
        (_gone := delete(task).where(and_(THIS, MATCHES)).returning(task.c.id).cte("changed")).c.id.is_not(None)
    ).select_from(select(task.c.id).where(THIS).cte("before").outerjoin(_gone, true()))
)


# Of many tasks. The conditions come from queries.where().


def _locked(condition: ColumnElement[bool], fields: frozenset[str]) -> Any:
    comes_again = _comes_again(fields).label("comes_again")
    return select(*RULE, comes_again).where(condition).order_by(task.c.id).with_for_update(of=task).cte("matching")


@lru_cache(KEPT)
def update_all(condition: ColumnElement[bool], fields: frozenset[str], completes: bool) -> str:
    """Change tasks, unless one of them comes again by it: then none. A row: how many; RULE of those that do."""
    if completes:  # locked first, and so seen as they are when they are changed, whoever changes them meanwhile
        matching = _locked(condition, fields)
        recurring = select(*(matching.c[column.name] for column in RULE)).where(matching.c.comes_again).cte("recurring")
    else:
        recurring = select(*RULE).where(false()).cte("recurring")
    changed = (
        update(task)
        .where(condition, not_(exists(select(recurring.c.id))))
        .values(_values(fields))
        .returning(task.c.id)
        .cte("changed")
    )
    count = select(func.count()).select_from(changed).scalar_subquery()
    return sql(
        select(count, *recurring.c).select_from(select(literal_column("1")).subquery().outerjoin(recurring, true()))
    )


@lru_cache(KEPT)
def complete_all(condition: ColumnElement[bool], fields: frozenset[str]) -> str:
    """Change tasks, and make the next occurrences of those seen to recur. A row: how many; 0 if one changed since."""
    seen, matching = _seen(), _locked(condition, fields)
    same = and_(seen.c.id == matching.c.id, seen.c.version == matching.c.version, matching.c.comes_again)
    unseen = select(matching.c.id).where(matching.c.comes_again, not_(exists(select(seen.c.id).where(same))))
    gone = select(seen.c.id).where(not_(exists(select(matching.c.id).where(same))))
    changed = (
        update(task)
        .where(condition, not_(exists(unseen)), not_(exists(gone)))
        .values(_values(fields))
        .returning(*SHOWN, task.c.due_offset)
        .cte("changed")
    )
    made = _made_next(changed, seen, changed.join(seen, changed.c.id == seen.c.id))
    return sql(select(func.count()).select_from(changed).add_cte(made))


@lru_cache(KEPT)
def delete_all(condition: ColumnElement[bool]) -> str:
    """Delete tasks. A row: how many."""
    gone = delete(task).where(condition).returning(task.c.id).cte("changed")
    return sql(select(func.count()).select_from(gone))


def columns(body: BaseModel) -> dict[str, Any]:
    """Return what a body sets, by column: its fields, and with a due date, the offset that it was given in."""
    values = body.model_dump()
    if "due_date" in values:
        due = values["due_date"]
        values["due_offset"] = due.utcoffset().total_seconds() if due else None
        values["due_date"] = in_utc(due) if due else None
    return values
