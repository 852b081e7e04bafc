"""The task routes: each is HTTP, one statement, and an answer that PostgreSQL has written as JSON."""

from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID, uuid5

from fastapi import APIRouter, Path, Query, Request, Response
from uuid_utils.compat import uuid7

from backend import preconditions, statements
from backend.auth import CurrentUser
from backend.completion import change, not_found
from backend.database import Db
from backend.models import Task, TaskCreate, TaskUpdate
from backend.preconditions import IDEMPOTENCY_KEY, IF_MATCH, IF_NONE_MATCH
from backend.problems import BODY_PROBLEMS, Problem, responses
from backend.queries import ListQuery, cursor_after, page, place_of
from backend.routing import UserRoute

router = APIRouter(prefix="/api/tasks", tags=["tasks"], route_class=UserRoute)

TaskId = Annotated[UUID, Path(description="The id of a task of yours.")]

# For UUIDv5: any constant, for good. Another one would make a second task of a repeated request.
IDEMPOTENCY_NAMESPACE = UUID("7e0cf24b-3c4e-5d2a-9a39-54f1a1fd2bb5")

HEADERS: dict[str, dict[str, Any]] = {
    "ETag": {"description": "The task's version, for `If-Match`.", "schema": {"type": "string"}, "example": '"1"'},
    "Location": {"description": "Where the task is.", "schema": {"type": "string"}},
    "Link": {
        "description": 'Where the next page is, as `<…>; rel="next"`; absent on the last one.',
        "schema": {"type": "string"},
    },
    "Idempotency-Replayed": {
        "description": "`true` if an earlier request with this key made the task.",
        "schema": {"type": "string", "enum": ["true"]},
    },
}


def _with_headers(*names: str) -> dict[str, Any]:
    return {"headers": {name: HEADERS[name] for name in names}}


def _answer(task_json: str, version: int, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(task_json, status, {"ETag": f'"{version}"', **(headers or {})}, "application/json")


@router.get(
    "",
    response_model=list[Task],
    responses={200: _with_headers("Link"), **responses("VALIDATION_ERROR", "INVALID_CURSOR")},
)
async def list_tasks(query: Annotated[ListQuery, Query()], request: Request, user: CurrentUser, db: Db) -> Response:
    """Your tasks, the newest first. `Link` leads to the next page, which stays right while tasks come and go."""
    filters, place = query.named(), place_of(query)
    statement = page(frozenset(filters), query.sort, bool(place))
    found = await db.run(statement, user.user_id, repeatable=True, limit=query.limit + 1, **filters, **place)
    rows = [row[0] for row in found]
    headers = {}
    if len(rows) > query.limit:
        rows.pop()
        same = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
        target = urlencode([*same, ("cursor", cursor_after(query, rows[-1]))])
        headers["Link"] = f'<{request.state.prefix}/tasks?{target}>; rel="next"'
    return Response(f"[{','.join(rows)}]", headers=headers, media_type="application/json")


@router.post(
    "",
    status_code=201,
    response_model=Task,
    openapi_extra=IDEMPOTENCY_KEY,
    responses={
        201: _with_headers("Location", "ETag", "Idempotency-Replayed"),
        **responses(*BODY_PROBLEMS, "INVALID_HEADER", "IDEMPOTENCY_KEY_REUSED"),
    },
)
async def create_task(body: TaskCreate, request: Request, user: CurrentUser, db: Db) -> Response:
    """Make a task. With an `Idempotency-Key`, a repeat answers with the task that the first request made."""
    key = preconditions.idempotency_key(request)
    task_id = uuid5(IDEMPOTENCY_NAMESPACE, f"{user.user_id}\0{key}") if key else uuid7()
    rows = await db.run(statements.CREATE, user.user_id, repeatable=True, id=task_id, **statements.columns(body))
    task_json, version, inserted, same = rows[0]
    if not inserted and not same and version == 1:
        raise Problem(
            "IDEMPOTENCY_KEY_REUSED", "This Idempotency-Key made another task. Take a new key for a new task."
        )
    headers = {"Location": f"{request.state.prefix}/tasks/{task_id}"}
    replayed = not inserted and not rows.repeated
    return _answer(task_json, version, 201, headers | ({"Idempotency-Replayed": "true"} if replayed else {}))


@router.get(
    "/{id}",
    response_model=Task,
    openapi_extra=IF_NONE_MATCH,
    responses={
        200: _with_headers("ETag"),
        304: {"description": "You have this version already (`If-None-Match`)."},
        **responses("TASK_NOT_FOUND", "VALIDATION_ERROR", "INVALID_HEADER"),
    },
)
async def read_task(id: TaskId, request: Request, user: CurrentUser, db: Db) -> Response:
    """One task of yours. `ETag` is its version."""
    known = preconditions.known(request)
    rows = await db.run(statements.READ, user.user_id, repeatable=True, id=id)
    if not rows:
        raise not_found()
    task_json, version = rows[0]
    if known is None or version in known:
        return Response(status_code=304, headers={"ETag": f'"{version}"'})
    return _answer(task_json, version)


CHANGED = {
    200: _with_headers("ETag"),
    **responses("TASK_NOT_FOUND", "PRECONDITION_FAILED", "INVALID_HEADER", *BODY_PROBLEMS),
}


@router.put("/{id}", response_model=Task, responses=CHANGED, openapi_extra=IF_MATCH)
async def replace_task(id: TaskId, body: TaskCreate, request: Request, user: CurrentUser, db: Db) -> Response:
    """Replace a task: what the body leaves out gets its default."""
    versions = preconditions.matching(request)
    return _answer(*await change(db, user.user_id, id, statements.columns(body), versions))


@router.patch("/{id}", response_model=Task, responses=CHANGED, openapi_extra=IF_MATCH)
async def update_task(id: TaskId, body: TaskUpdate, request: Request, user: CurrentUser, db: Db) -> Response:
    """Change what the body names; what it leaves out stays, and `null` clears what may be null.

    Completing a task that recurs makes its next occurrence, once.
    """
    versions = preconditions.matching(request)
    return _answer(*await change(db, user.user_id, id, statements.columns(body), versions))


@router.delete(
    "/{id}",
    status_code=204,
    responses=responses("TASK_NOT_FOUND", "VALIDATION_ERROR", "PRECONDITION_FAILED", "INVALID_HEADER"),
    openapi_extra=IF_MATCH,
)
async def delete_task(id: TaskId, request: Request, user: CurrentUser, db: Db) -> None:
    """Delete a task for good."""
    versions = preconditions.matching(request)
    rows = await db.run(statements.DELETE, user.user_id, repeatable=versions is None, id=id, versions=versions)
    if rows.repeated and not rows:
        return  # the first try did it, or it was not there: it is gone
    if not rows or (versions is None and not rows[0][0]):
        raise not_found()
    if not rows[0][0]:
        raise preconditions.failed()
