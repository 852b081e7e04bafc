"""Changing and deleting many tasks at once: all of the caller's that at least one filter names."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from backend import statements
from backend.auth import CurrentUser
from backend.completion import change_all
from backend.database import Db
from backend.models import TaskUpdate
from backend.problems import BODY_PROBLEMS, Problem, responses
from backend.queries import Filters, where
from backend.routing import UserRoute

router = APIRouter(prefix="/api/tasks", tags=["tasks"], route_class=UserRoute)

FilterQuery = Annotated[Filters, Query()]


class Updated(BaseModel):
    """How many tasks were changed."""

    updated: int


class Deleted(BaseModel):
    """How many tasks were deleted."""

    deleted: int


def _named(filters: Filters) -> dict[str, Any]:
    named = filters.named()
    if not named:
        raise Problem("VALIDATION_ERROR", "Name at least one filter: this is about many tasks, and never about all.")
    return named


@router.patch("", responses=responses(*BODY_PROBLEMS))
async def update_tasks(filters: FilterQuery, body: TaskUpdate, user: CurrentUser, db: Db) -> Updated:
    """Change all tasks that the filters name, as `PATCH` of one does; completing those that recur, too."""
    named = _named(filters)
    condition = where(frozenset(named))
    return Updated(updated=await change_all(db, user.user_id, condition, named, statements.columns(body)))


@router.delete("", responses=responses("VALIDATION_ERROR"))
async def delete_tasks(filters: FilterQuery, user: CurrentUser, db: Db) -> Deleted:
    """Delete all tasks that the filters name, for good."""
    named = _named(filters)
    [(count,)] = await db.run(statements.delete_all(where(frozenset(named))), user.user_id, **named)
    return Deleted(deleted=count)
