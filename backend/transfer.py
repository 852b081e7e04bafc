"""All of a user's data as one JSON document, and back."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from sqlalchemy import JSON, Text, and_, bindparam, cast, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert as upsert

from backend.auth import CurrentUser
from backend.database import Database, Db, Rows, sql
from backend.models import DueDate, NamedTag, Status, TaskCreate, in_utc, local_due
from backend.problems import BODY_PROBLEMS, responses
from backend.routing import UserRoute, require_json
from backend.statements import OWN, SHOWN, as_json, task
from backend.tags import OWN_TAG, tag

IMPORT_PATH = "/api/import"
PAGE = 500
MAX_TASKS = 50_000
MAX_TAGS = 10_000
MAX_ERRORS = 20
FIRST_ID = UUID(int=0)

router = APIRouter(tags=["transfer"], route_class=UserRoute)


def _no_bool(value: object) -> object:
    if isinstance(value, bool):  # which pydantic takes for 0 or 1
        raise ValueError("must be an integer")
    return value


Version = Annotated[int, Field(ge=1, le=100_000_000), BeforeValidator(_no_bool)]  # with room for more changes
Offset = Annotated[int, Field(gt=-86400, lt=86400), BeforeValidator(_no_bool)]


class TransferredTask(TaskCreate):
    """A task of an export: what it says, and its history."""

    id: UUID
    user_id: str | None = Field(default=None, description="Passed over: the owner is always the caller.")
    version: Version = 1
    created_at: DueDate | None = None
    updated_at: DueDate | None = None
    completed_at: DueDate | None = None
    due_offset: Offset | None = Field(
        default=None, description="The offset from UTC that the due date was given in, in seconds."
    )

    @model_validator(mode="after")
    def _offset_within_the_calendar(self) -> "TransferredTask":
        try:
            local_due(self.due_date, self.due_offset)
        except OverflowError:
            raise ValueError("due_offset must leave the due date between the years 1 and 9999") from None
        return self


class Document(BaseModel):
    """All of a user's data."""

    model_config = ConfigDict(extra="forbid", json_schema_serialization_defaults_required=True)

    version: Literal[1] = Field(description="Of this format.")
    exported_at: DueDate | None = None
    tags: Annotated[list[NamedTag], Field(max_length=MAX_TAGS)] = []
    tasks: Annotated[list[TransferredTask], Field(max_length=MAX_TASKS)] = []


class Imported(BaseModel):
    """How much was new. What was there already is left alone."""

    tasks: int
    tags: int


_rows = (
    select(*SHOWN, task.c.due_offset)
    .where(and_(OWN, task.c.id >= bindparam("first", type_=task.c.id.type)))
    .order_by(task.c.id)
    .limit(literal_column(str(PAGE)))
    .subquery("shown")
)
EXPORT_TASKS = sql(select(as_json(_rows), cast(_rows.c.id, Text)))
_tags = select(tag.c.name, tag.c.color).where(OWN_TAG, tag.c.color.is_not(None)).order_by(tag.c.name).subquery("shown")
EXPORT_TAGS = sql(select(as_json(_tags)))


def _inserted(table: Any, columns: list[str], parameter: str, name: str) -> Any:
    """Return the insertion of the caller's rows from a JSON array; rows that are there already stay as they are."""
    given = func.json_populate_recordset(literal_column(f"NULL::{table.name}"), cast(bindparam(parameter), JSON))
    rows = given.table_valued(*columns, name=f"given_{name}")
    values = select(bindparam("user_id"), *(rows.c[column] for column in columns))
    write = upsert(table).from_select(["user_id", *columns], values, include_defaults=False)
    return write.on_conflict_do_nothing().returning(table.c.user_id).cte(name)


def _import() -> str:
    task_columns = [column.name for column in [*SHOWN, task.c.due_offset] if column.name != "user_id"]
    made_tasks = _inserted(task, task_columns, "tasks", "made_tasks")
    made_tags = _inserted(tag, ["name", "color"], "tags", "made_tags")
    counts = (select(func.count()).select_from(made).scalar_subquery() for made in (made_tasks, made_tags))
    return sql(select(*counts))


IMPORT = _import()


async def _export(db: Database, user_id: str, tags: str, page: Rows) -> AsyncIterator[str]:
    yield f'{{"version":1,"exported_at":"{datetime.now(UTC).isoformat()}","tags":[{tags}],"tasks":['
    separator = ""
    while page:
        yield separator + ",\n".join(row[0] for row in page)
        separator = ",\n"
        after = UUID(page[-1][1]).int + 1
        more = len(page) == PAGE and after < 2**128
        page = await db.run(EXPORT_TASKS, user_id, repeatable=True, first=UUID(int=after)) if more else Rows([])
    yield "]}"


@router.get("/api/export", response_model=Document, responses=responses())
async def export_all(user: CurrentUser, db: Db) -> StreamingResponse:
    """All of your tasks and the colours of your tags. `POST /api/import` takes it back."""
    tags = ",".join(row[0] for row in await db.run(EXPORT_TAGS, user.user_id, repeatable=True))
    # Before the answer's status is sent.
    first_page = await db.run(EXPORT_TASKS, user.user_id, repeatable=True, first=FIRST_ID)
    return StreamingResponse(
        _export(db, user.user_id, tags, first_page),
        media_type="application/json",
        headers={"Content-Disposition": 'attachment; filename="tasks.json"'},
    )


def _row(given: TransferredTask, now: datetime) -> dict[str, Any]:
    """Return a task as a row: its history made up where it is missing, and never at odds with its status."""
    row = given.model_dump(mode="json", exclude={"user_id"})
    created = given.created_at or now
    updated = given.updated_at or created
    completed = (given.completed_at or updated) if given.status == Status.completed else None
    if given.due_offset is None and given.due_date is not None:
        row["due_offset"] = int((given.due_date.utcoffset() or timedelta()).total_seconds())
    moments = {"due_date": given.due_date, "created_at": created, "updated_at": updated, "completed_at": completed}
    return row | {name: moment and in_utc(moment).isoformat() for name, moment in moments.items()}


def _parse(body: bytes) -> dict[str, Any]:
    """Return the parameters of IMPORT for a document; raise RequestValidationError."""
    try:
        document = Document.model_validate_json(body)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**e, "loc": ("body", *e["loc"])} for e in errors[:MAX_ERRORS]]) from None
    now = datetime.now(UTC)
    return {
        "tasks": json.dumps([_row(given, now) for given in document.tasks]),
        "tags": json.dumps([given.model_dump() for given in document.tags]),
    }


@router.post(
    IMPORT_PATH,
    responses=responses(*BODY_PROBLEMS),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Document-Input"}}},
        }
    },
)
async def import_all(request: Request, user: CurrentUser, db: Db) -> Imported:
    """Take an export back. Tasks and tags that are there already are left alone; all of it becomes yours."""
    require_json(request)
    # In a thread, because ten megabytes take a while and nobody else should wait for them.
    parameters = await asyncio.to_thread(_parse, await request.body())
    [(tasks, tags)] = await db.run(IMPORT, user.user_id, **parameters)
    return Imported(tasks=tasks, tags=tags)
