"""The task routes: each is HTTP, one statement, and an answer that PostgreSQL has written as JSON."""

from functools import cache
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import (
    ColumnElement,
    Insert,
    Text,
    Update,
    bindparam,
    case,
    cast,
    delete,
    desc,
    func,
    insert,
    literal_column,
    null,
    select,
    update,
)
from uuid_utils.compat import uuid7

from backend.auth import CurrentUser, UserRoute
from backend.database import Db, sql
from backend.models import Task, TaskCreate, TaskUpdate
from backend.problems import Problem, responses

router = APIRouter(prefix="/api/tasks", tags=["tasks"], route_class=UserRoute)

TaskId = Annotated[UUID, Path(description="The id of a task of yours.")]

task: Any = Task.__table__  # type: ignore[attr-defined]
OWN = task.c.user_id == bindparam("user_id")
THIS = OWN & (task.c.id == bindparam("id"))
FIELDS = frozenset(TaskCreate.model_fields)
BODY_PROBLEMS = ("VALIDATION_ERROR", "INVALID_JSON", "BODY_TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE")


def _json(row: Any) -> ColumnElement[str]:
    return cast(func.row_to_json(row.table_valued()), Text)


def _changed(write: Insert | Update) -> str:
    """Return a write that answers with its row. RETURNING * and not row_to_json, which Citus refuses there."""
    row = write.returning(literal_column("*")).cte("changed")
    return sql(select(_json(row), literal_column("version")).select_from(row))


COMPLETES = bindparam("status", type_=task.c.status.type) == literal_column("'completed'")

LIST = sql(select(_json(task)).where(OWN).order_by(desc(task.c.created_at), desc(task.c.id)).limit(bindparam("limit")))
READ = sql(select(_json(task), task.c.version).where(THIS))
CREATE = _changed(
    insert(task).values(
        {name: bindparam(name) for name in ("user_id", "id", *TaskCreate.model_fields)}
        | {"completed_at": case((COMPLETES, func.now()))}
    )
)
DELETE = sql(delete(task).where(THIS).returning(task.c.id))


@cache  # one text for each set of fields that clients change together
def _update(fields: frozenset[str]) -> str:
    values: dict[str, Any] = {name: bindparam(name) for name in sorted(fields)}
    values |= {"version": task.c.version + literal_column("1"), "updated_at": func.now()}
    if "status" in fields:
        values["completed_at"] = case((COMPLETES, func.coalesce(task.c.completed_at, func.now())), else_=null())
    return _changed(update(task).where(THIS).values(values))


class ListQuery(BaseModel):
    """How much to list. A parameter that is not known here is refused: a typo never answers with everything."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=100, ge=1, le=500, description="At most this many tasks.")


def _answer(rows: list[tuple[Any, ...]], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return the one task of `rows`, or the 404: the same whether it is missing or another user's."""
    if not rows:
        raise Problem("TASK_NOT_FOUND", "There is no such task.")
    task_json, version = rows[0]
    return Response(task_json, status, {"ETag": f'"{version}"', **(headers or {})}, "application/json")


@router.get("", response_model=list[Task], responses=responses("VALIDATION_ERROR"))
async def list_tasks(query: Annotated[ListQuery, Query()], user: CurrentUser, db: Db) -> Response:
    """Your tasks, the newest first."""
    rows = await db.run(LIST, user.user_id, limit=query.limit)
    return Response(f"[{','.join(row[0] for row in rows)}]", media_type="application/json")


@router.post("", status_code=201, response_model=Task, responses=responses(*BODY_PROBLEMS))
async def create_task(body: TaskCreate, user: CurrentUser, db: Db, request: Request) -> Response:
    """Make a task. `Location` is where it can be read, `ETag` its version."""
    task_id = uuid7()
    rows = await db.run(CREATE, user.user_id, id=task_id, **body.model_dump())
    return _answer(rows, 201, {"Location": f"{request.state.prefix}/tasks/{task_id}"})


@router.get("/{id}", response_model=Task, responses=responses("TASK_NOT_FOUND", "VALIDATION_ERROR"))
async def read_task(id: TaskId, user: CurrentUser, db: Db) -> Response:
    """One task of yours. `ETag` is its version."""
    return _answer(await db.run(READ, user.user_id, id=id))


@router.put("/{id}", response_model=Task, responses=responses("TASK_NOT_FOUND", *BODY_PROBLEMS))
async def replace_task(id: TaskId, body: TaskCreate, user: CurrentUser, db: Db) -> Response:
    """Replace a task: what the body leaves out gets its default."""
    return _answer(await db.run(_update(FIELDS), user.user_id, id=id, **body.model_dump()))


@router.patch("/{id}", response_model=Task, responses=responses("TASK_NOT_FOUND", *BODY_PROBLEMS))
async def update_task(id: TaskId, body: TaskUpdate, user: CurrentUser, db: Db) -> Response:
    """Change what the body names; what it leaves out stays, and `null` clears what may be null."""
    changes = body.model_dump()
    return _answer(await db.run(_update(frozenset(changes)), user.user_id, id=id, **changes))


@router.delete("/{id}", status_code=204, responses=responses("TASK_NOT_FOUND", "VALIDATION_ERROR"))
async def delete_task(id: TaskId, user: CurrentUser, db: Db) -> None:
    """Delete a task for good."""
    if not await db.run(DELETE, user.user_id, id=id):
        raise Problem("TASK_NOT_FOUND", "There is no such task.")
