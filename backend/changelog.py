"""The change log: a row for each row that a request changed, written by the statement that changes it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ColumnElement,
    DateTime,
    Index,
    String,
    Table,
    Text,
    bindparam,
    cast,
    literal_column,
    null,
    select,
    text,
    union_all,
)
from sqlmodel import Field, SQLModel

from backend.database import DIALECT, MANY_ROWS, Logged, prepared, sql
from backend.fields import MAX_USER_ID_LENGTH
from backend.isolation import ADDED_TO

ACTIONS = ("created", "updated", "deleted")
AS_IS = cast(null(), BigInteger).label("as_of")
CREATED, UPDATED, DELETED = (literal_column(f"'{action}'", Text) for action in ACTIONS)


class Change(SQLModel, table=True):
    """What one request did to one row. All that a request did has one `seq`, counted for each user without gaps."""

    __tablename__ = "change"
    __table_args__ = (
        CheckConstraint(f"action IN {ACTIONS}", name="change_action"),
        Index("change_row", "user_id", "resource", "id", "seq"),
        Index("change_at", "at"),
        {"info": {"rights": ADDED_TO}},  # what was written stays as it is
    )

    user_id: str = Field(primary_key=True, sa_type=String(MAX_USER_ID_LENGTH))
    seq: int = Field(primary_key=True, sa_type=BigInteger)
    resource: str = Field(primary_key=True, sa_type=Text)
    id: str = Field(primary_key=True, sa_type=Text)
    action: str = Field(sa_type=Text)
    at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": text("now()")})
    attempt: int = Field(sa_type=BigInteger)  # of Database.run, which tries twice: by it a second try finds the first
    request_id: str | None = Field(sa_type=Text)
    acted_by: str | None = Field(sa_type=Text)  # who acts for the user, where somebody does
    undoes: int | None = Field(sa_type=BigInteger)  # the seq that this one took back
    as_of: int | None = Field(sa_type=BigInteger)  # after an undo: the seq after which the row was as it is again
    before: Any = Field(sa_type=JSON, nullable=True)  # the whole row


change: Table = Change.__table__  # type: ignore[attr-defined]
NEXT_SEQ = "coalesce((SELECT seq FROM change WHERE user_id = :user_id ORDER BY seq DESC LIMIT 1), 0) + 1"


def _log(seq: str) -> Any:
    return text(f"""
        INSERT INTO change (user_id, seq, resource, id, action, attempt, request_id, acted_by, undoes, as_of, before)
        SELECT
            CAST(:user_id AS text), {seq}, resource, id, action,
            CAST(:_attempt AS bigint), CAST(:_request_id AS text), CAST(:_acted_by AS text), CAST(:_undoes AS bigint),
            as_of, CASE WHEN CAST(:_history AS boolean) THEN before END
        FROM _entry
        RETURNING seq
    """)


# Logs what is in the CTE `_entry`, under the user's next seq; or under that of the write which goes on with it.
LOG = _log(NEXT_SEQ)
LOG_ON = _log(f"coalesce(CAST(:_seq AS bigint), {NEXT_SEQ})")


@dataclass(frozen=True)
class LoggedTable:
    """A table whose changes are logged: its key beside the owner, and the columns that answers show.

    `defaults` are those of its columns, in JSON: a row of long ago may not have had all of them. `statements` are those
    of a resource, which know its children and how many rows a user may have.
    """

    table: Table
    key: Any
    shown: tuple[Any, ...]
    defaults: str = "{}"
    statements: Any = None

    @property
    def own(self) -> ColumnElement[bool]:
        """Whether a row is the caller's."""
        own: ColumnElement[bool] = self.table.c.user_id == bindparam("user_id")
        return own

    def key_is(self, said: str) -> str:
        """Return the SQL of whether a row's key is what some SQL gives as text."""
        return f"{sql(self.key)} = {self.key_from(said)}"

    def key_from(self, said: str) -> str:
        """Return the SQL of a key from some SQL that gives it as text."""
        return f"({said})::{self.key.type.compile(DIALECT)}"

    @property
    def written(self) -> list[str]:
        """The columns beside the key that are not made from others."""
        columns = [column for column in self.table.columns if column.computed is None and not column.primary_key]
        return [column.name for column in columns]


LOGGED: dict[str, LoggedTable] = {}  # by the name of the resource, as in its path: test-executions


def whole(table: Table) -> ColumnElement[Any]:
    """Return a row of a table as the log keeps it: with every column that is not made from others, in JSON."""
    return literal_column(whole_sql(table), JSON).label("_row")


def whole_sql(table: Table) -> str:
    """Return the same as SQL, from a row of the table itself."""
    columns = ", ".join(str(sql(column)) for column in table.columns if column.computed is None)
    return f"(SELECT row_to_json(_whole) FROM (SELECT {columns}) AS _whole)"


def entry(resource: str, key: Any, action: ColumnElement[str], before: Any = None) -> Any:
    """Return a query for what is logged: of each row its id, what was done to it, and how it was before."""
    name = literal_column(f"'{resource}'", Text).label("resource")
    was = null() if before is None else before
    return select(name, cast(key, Text).label("id"), action.label("action"), cast(was, JSON).label("before"), AS_IS)


# CTEs and aliases begin with an underscore, as no table and no field does.
def logged(query: Any, *entries: Any, done: str | None = None, log: Any = LOG) -> Logged:
    """Return a statement that logs what its CTEs changed, under the next seq, if they changed anything.

    `log` is LOG_ON for one statement of Database.writing. `done` is for a write of one row: the query for what a repeat
    answers whose first try was done. Others, whose plan depends on how many rows there are, are neither repeated nor
    prepared.
    """
    made = log.columns(change.c.seq).add_cte(union_all(*entries).cte("_entry")).cte("_log")
    seq = select(made.c.seq).limit(literal_column("1")).scalar_subquery()
    statement = query.add_columns(seq)
    return Logged((prepared(statement),) if done else (MANY_ROWS, sql(statement)), done)
