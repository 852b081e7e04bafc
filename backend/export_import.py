"""All of a user's data as one JSON document, and back."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from types import GenericAlias
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model
from sqlalchemy import (
    JSON,
    ColumnElement,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    exists,
    func,
    literal_column,
    not_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from backend.auth import CurrentUser
from backend.changelog import CREATED, entry, logged
from backend.database import Database, Db, Logged, Rows, quoted, sql
from backend.fields import Moment, in_utc
from backend.problems import BODY_PROBLEMS, Problem, responses
from backend.routing import UserRoute, require_json
from backend.statements import Statements, as_json, count

IMPORT_PATH = "/api/import"
PAGE = 500
MAX_ROWS = 50_000  # of one table in a document
MAX_ERRORS = 20


def no_bool(value: object) -> object:
    """Refuse true and false, which pydantic takes for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("must be an integer")
    return value


class Transferred(BaseModel):
    """The fields of an exported row that no other body has."""

    id: UUID
    user_id: str | None = Field(default=None, description="Ignored: the owner is always the caller.")
    version: Annotated[int, Field(ge=1, le=100_000_000), BeforeValidator(no_bool)] = 1  # with room for more changes
    created_at: Moment | None = None
    updated_at: Moment | None = None

    def row(self, now: datetime) -> dict[str, Any]:
        """Return it as a row of its table, in JSON; times that are missing are made up."""
        created = self.created_at or now
        updated = self.updated_at or created
        moments = {name: value for name, value in self if isinstance(value, datetime)}
        moments |= {"created_at": created, "updated_at": updated}
        return self.model_dump(mode="json", exclude={"user_id"}) | {
            name: in_utc(moment).isoformat() for name, moment in moments.items()
        }


@dataclass(frozen=True)
class Exported:
    """One table in an export: its name, the columns shown, the key to page by, and how rows come back."""

    name: str
    table: Table
    shown: tuple[Any, ...]
    key: Any
    given: type[BaseModel]
    row: Callable[[Any, datetime], dict[str, Any]]
    max_rows: int = MAX_ROWS
    only: ColumnElement[bool] | None = None
    limited: Statements | None = None  # where a user may have only so many rows

    @property
    def resource(self) -> str:
        """Its name in the change log, and in paths."""
        return self.name.replace("_", "-")

    def page(self, after: bool) -> str:
        """Return the statement for a page: for each row its JSON and its key as text."""
        conditions = [self.table.c.user_id == bindparam("user_id"), *([] if self.only is None else [self.only])]
        conditions += [self.key > bindparam("_after", type_=self.key.type)] if after else []
        query = select(*self.shown).where(and_(*conditions)).order_by(self.key).limit(literal_column(str(PAGE)))
        rows = query.subquery("_shown")
        return sql(select(as_json(rows), cast(rows.c[self.key.name], Text)))

    def _given(self) -> Any:
        columns = [column.name for column in self.shown if column.name != "user_id"]
        record: Any = literal_column(f"NULL::{quoted(self.table.name)}")
        rows = func.json_populate_recordset(record, cast(bindparam(f"_{self.name}"), JSON))
        return rows.table_valued(*columns, name=f"_given_{self.name}")

    def inserted(self, conditions: list[ColumnElement[bool]]) -> Any:
        """Return the insertion of the caller's rows from a JSON array. Rows that are there already stay as they are."""
        given = self._given()
        values = select(bindparam("user_id"), *given.c).where(*conditions)
        names = ["user_id", *(column.name for column in given.c)]
        write = upsert(self.table).from_select(names, values, include_defaults=False)
        return write.on_conflict_do_nothing().returning(self.key.label("key")).cte(f"_made_{self.name}")

    def room(self, limited: Statements) -> ColumnElement[bool]:
        """Return whether a user's rows and the new ones of the document are as many as the user may have."""
        given = self._given()
        known = exists(select(self.table.c.id).where(limited.own, self.table.c.id == given.c.id))
        return limited.room_for(count(select(given.c.id).where(not_(known)).subquery(f"_new_{self.name}")))


EXPORTED: list[Exported] = []  # in the order in which they are declared: a parent before its children


@cache
def document() -> type[BaseModel]:
    """Return the model of an export: all of a user's data. Once all tables are declared."""
    lists: dict[str, Any] = {
        part.name: (Annotated[(GenericAlias(list, (part.given,)), Field(max_length=part.max_rows))], [])
        for part in sorted(EXPORTED, key=lambda part: part.name)
    }
    return create_model(
        "Document",
        __config__=ConfigDict(extra="forbid", json_schema_serialization_defaults_required=True),
        __doc__="All of a user's data.",
        version=(Literal[1], Field(description="Of this format.")),
        exported_at=(Moment | None, None),
        **lists,
    )


def _import_statement() -> Logged:
    limited = [(part, part.limited) for part in EXPORTED if part.limited and part.limited.max_per_user is not None]
    room = [part.room(statements) for part, statements in limited]
    made = {part.resource: part.inserted(room) for part in EXPORTED}
    entries = [entry(name, new.c.key, CREATED) for name, new in made.items()]
    return logged(select(and_(true(), *room), *map(count, made.values())), *entries)


async def _export(db: Database, user_id: str, pages: dict[str, tuple[str, str]], first: Rows) -> AsyncIterator[str]:
    """Yield a document; `pages` has the statements for the first and for a later page of each list."""
    yield f'{{"version":1,"exported_at":"{datetime.now(UTC).isoformat()}"'
    for number, (name, (beginning, later)) in enumerate(pages.items()):
        page = first if number == 0 else await db.run(beginning, user_id, repeatable=True)
        yield f',"{name}":['
        separator = ""
        while page:
            yield separator + ",\n".join(row[0] for row in page)
            separator = ",\n"
            more = len(page) == PAGE
            page = await db.run(later, user_id, repeatable=True, _after=page[-1][1]) if more else []
        yield "]"
    yield "}"


def _parse(body: bytes) -> dict[str, Any]:
    """Return the parameters of an import; raise RequestValidationError."""
    try:
        given: Any = document().model_validate_json(body)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**e, "loc": ("body", *e["loc"])} for e in errors[:MAX_ERRORS]]) from None
    now = datetime.now(UTC)
    return {f"_{part.name}": json.dumps([part.row(one, now) for one in getattr(given, part.name)]) for part in EXPORTED}


def router() -> APIRouter:
    """Return the routes. Once all tables are declared."""
    routes = APIRouter(tags=["transfer"], route_class=UserRoute)
    pages = {part.name: (part.page(False), part.page(True)) for part in sorted(EXPORTED, key=lambda part: part.name)}
    first_page = next(iter(pages.values()))[0]
    statement = _import_statement()
    numbers: dict[str, Any] = {part.name: (int, ...) for part in EXPORTED}
    imported: type[BaseModel] = create_model(
        "Imported", __doc__="How many were new. What was there already is left alone.", **numbers
    )

    @routes.get("/api/export", response_model=document(), responses=responses())
    async def export_all(user: CurrentUser, db: Db) -> StreamingResponse:
        """All of your data. `POST /api/import` takes it back."""
        first = await db.run(first_page, user.user_id, repeatable=True)  # before the answer's status is sent
        return StreamingResponse(
            _export(db, user.user_id, pages, first),
            media_type="application/json",
            headers={"Content-Disposition": 'attachment; filename="tasks.json"'},
        )

    @routes.post(
        IMPORT_PATH,
        response_model=imported,
        responses=responses(*BODY_PROBLEMS, *(["LIMIT_REACHED"] if any(part.limited for part in EXPORTED) else [])),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/DocumentInput"}}},
            }
        },
    )
    async def import_all(request: Request, user: CurrentUser, db: Db) -> Response:
        """Take an export back. What is there already is left alone; all of it becomes yours."""
        require_json(request)
        # In a thread, because ten megabytes take a while and nobody else should wait for them.
        parameters = await asyncio.to_thread(_parse, await request.body())
        [(fits, *counts)] = await db.run(statement, user.user_id, **parameters)
        if not fits:
            raise Problem(
                "LIMIT_REACHED", "With this import you would have more rows than a user may. Nothing was done."
            )
        answer = {part.name: number for part, number in zip(EXPORTED, counts, strict=True)}
        return Response(json.dumps(answer, separators=(",", ":")), media_type="application/json")

    return routes
