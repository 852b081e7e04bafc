"""Changing tasks: one statement, or two where one that recurs is completed, whose next date python-dateutil finds."""

from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import ColumnElement

from backend import preconditions, statements
from backend.database import Database
from backend.models import Status, in_utc, local_due
from backend.problems import Problem
from backend.recurrence import next_occurrence

# For UUIDv5: any constant, for good. Another one would make a second next occurrence of a task completed again.
NEXT_NAMESPACE = UUID("c1a8f6cd-7a3e-53ae-9b0a-5f6c6f2a4c11")


def not_found() -> Problem:
    """Return the 404: the same whether a task is missing or another user's."""
    return Problem("TASK_NOT_FOUND", "There is no such task.")


def _completes(changes: dict[str, Any]) -> bool:
    return changes.get("status") == Status.completed and changes.get("recurrence_rule", "") is not None


def _next(changes: dict[str, Any], recurring: list[tuple[Any, ...]]) -> dict[str, Any]:
    """Return the parameters of a completion: each recurring task as it was seen, and its next occurrence if any.

    The next one's id is made of the task's and of its date, so that a task completed again makes no second one.
    """
    found: dict[str, list[Any]] = {name: [] for name in ("ids", "seen", "next_ids", "next_dues", "next_rules")}
    for task_id, version, _, rule, due, offset in recurring:
        rule, due = changes.get("recurrence_rule", rule), changes.get("due_date", due)
        offset = changes.get("due_offset", offset)
        local = local_due(due, offset)
        coming = local and next_occurrence(rule, local)
        next_due, next_rule = coming or (None, None)
        next_id = uuid5(NEXT_NAMESPACE, f"{task_id} {next_due.timestamp()}") if next_due else None
        values = (task_id, version, next_id, next_due and in_utc(next_due), next_rule)
        for name, value in zip(found, values, strict=True):
            found[name].append(value)
    return found


async def change(
    db: Database, user_id: str, task_id: UUID, changes: dict[str, Any], versions: list[int] | None
) -> tuple[str, int]:
    """Change one task and return its JSON and version; raise Problem TASK_NOT_FOUND or PRECONDITION_FAILED."""
    fields = frozenset(changes) - {"due_offset"}
    completes = _completes(changes)
    while True:
        statement = statements.update_one(fields, completes)
        # Without a condition, done twice is as good as done once.
        rows = await db.run(statement, user_id, repeatable=versions is None, id=task_id, versions=versions, **changes)
        if not rows:
            raise not_found()
        task_json, version, *before = rows[0]
        if task_json is not None:
            return task_json, version
        _, seen, status, rule, *_ = before
        if versions is not None and seen not in versions:
            raise preconditions.failed()
        if completes and status != Status.completed and changes.get("recurrence_rule", rule) is not None:
            completion = statements.complete_one(fields)
            parameters = changes | _next(changes, [tuple(before)])
            rows = await db.run(completion, user_id, repeatable=versions is None, **parameters)
            if rows:
                task_json, version = rows[0]
                return task_json, version
        # Somebody changed or deleted it meanwhile: look again.


async def change_all(
    db: Database, user_id: str, condition: ColumnElement[bool], filters: dict[str, Any], changes: dict[str, Any]
) -> int:
    """Change all of a user's tasks that the filters name, and return how many."""
    fields = frozenset(changes) - {"due_offset"}
    statement = statements.update_all(condition, fields, _completes(changes))
    while True:
        rows = await db.run(statement, user_id, **filters, **changes)
        recurring = [row[1:] for row in rows if row[1] is not None]
        if not recurring:
            return int(rows[0][0])
        completion = statements.complete_all(condition, fields)
        [(count,)] = await db.run(completion, user_id, **filters, **changes, **_next(changes, recurring))
        if count:
            return int(count)
        # Somebody changed one of them between the two statements: look again.
