"""What of each table is in an export: all of a user's data as one JSON document, and how rows come back from it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from types import GenericAlias
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model
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

from backend.changelog import CREATED, LOG_ON, entry, logged
from backend.database import Logged, quoted, sql
from backend.fields import Moment, in_utc
from backend.statements import Statements, as_json, count

PAGE = 500


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
    only: ColumnElement[bool] | None = None
    limited: Statements | None = None  # where a user may have only so many rows
    made: Callable[[Any], dict[str, Any]] = lambda given: {}  # what a row gets beside what it says
    has_objects: bool = False  # whether one of its fields holds JSON objects
    # Where not all is kept as it is given. Asked once for each import, by what runs its statements: what makes of some
    # rows, a JSON array, those that are inserted.
    kept: Callable[[Callable[..., Awaitable[Any]]], Awaitable[Callable[[str], str]]] | None = None

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

    @cached_property
    def insertion(self) -> Logged:
        """The insertion of some rows of a JSON array: whether the user may have so many, and how many are new."""
        room = [self.room(self.limited)] if self.limited and self.limited.max_per_user is not None else []
        made = self.inserted(room)
        return logged(select(and_(true(), *room), count(made)), entry(self.resource, made.c.key, CREATED), log=LOG_ON)

    def _given(self) -> Any:
        columns = [column.name for column in self.table.c if column.computed is None and column.name != "user_id"]
        record: Any = literal_column(f"NULL::{quoted(self.table.name)}")
        rows = func.json_populate_recordset(record, cast(bindparam("_rows"), JSON))
        return rows.table_valued(*columns, name=f"_given_{self.name}")

    def inserted(self, conditions: list[ColumnElement[bool]]) -> Any:
        """Return the insertion of the caller's rows from a JSON array. Rows that are there already stay as they are."""
        given = self._given()
        columns = {"user_id": bindparam("user_id"), **given.c} | self.made(given.c)
        values = select(*columns.values()).where(*conditions)
        names = list(columns)
        write = upsert(self.table).from_select(names, values, include_defaults=False)
        return write.on_conflict_do_nothing().returning(self.key.label("key")).cte(f"_made_{self.name}")

    def room(self, limited: Statements) -> ColumnElement[bool]:
        """Return whether a user's rows and the new ones of the array are as many as the user may have."""
        given = self._given()
        known = exists(select(self.table.c.id).where(limited.own, self.table.c.id == given.c.id))
        return limited.room_for(count(select(given.c.id).where(not_(known)).subquery(f"_new_{self.name}")))


EXPORTED: list[Exported] = []  # in the order in which they are declared: a parent before its children


@cache
def document() -> type[BaseModel]:
    """Return the model of an export: all of a user's data. Once all tables are declared."""
    lists: dict[str, Any] = {
        part.name: (GenericAlias(list, (part.given,)), []) for part in sorted(EXPORTED, key=lambda part: part.name)
    }
    return create_model(
        "Document",
        __config__=ConfigDict(extra="forbid", json_schema_serialization_defaults_required=True),
        __doc__="All of a user's data.",
        version=(Annotated[Literal[1], BeforeValidator(no_bool)], Field(description="Of this format.")),
        exported_at=(Moment | None, None),
        **lists,
    )
