"""The statements on one owned table: built once for each shape, and kept as SQL text."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Numeric,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    delete,
    exists,
    func,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from backend.connection import Prepared
from backend.database import prepared, sql

# How many shapes of one statement are kept: more than clients use, few enough for one who tries them all.
KEPT = 500
VERSIONS = cast(bindparam("_versions"), ARRAY(Integer))


def as_json(rows: Any) -> ColumnElement[str]:
    """Return the JSON of a row of `rows`, a query with the columns to show, as text."""
    return cast(func.row_to_json(rows.table_valued()), Text)


def count(rows: Any) -> Any:
    """Return how many rows a CTE has, as a value."""
    return select(func.count()).select_from(rows).scalar_subquery()


def _shown(column: Any) -> Any:
    # A decimal as text: most clients read JSON's numbers as floats.
    return cast(column, Text).label(column.name) if type(column.type) is Numeric else column


class Statements:
    """The statements on one table.

    `fields` are the columns that a request's body sets; `shown` are those of a row's JSON, in its order. Parameters are
    called as the columns are; the others begin with an underscore, as no field does.
    """

    def __init__(self, table: Table, fields: Iterable[str], shown: Iterable[str], max_per_user: int | None) -> None:
        self.table = table
        self.fields = tuple(fields)
        self.shown = [_shown(table.c[name]) for name in shown]
        self.max_per_user = max_per_user
        self.own: ColumnElement[bool] = table.c.user_id == bindparam("user_id")
        self.this = and_(self.own, table.c.id == bindparam("id"))
        # If-Match: any of these versions, or no condition at all.
        self.matches = or_(VERSIONS.is_(None), table.c.version == func.any(VERSIONS))
        one = select(*self.shown).where(self.this).subquery("shown")
        self.read = prepared(select(as_json(one), one.c.version))
        self.create = (*self.in_turn(), self._create())
        gone = delete(table).where(and_(self.this, self.matches)).returning(table.c.id).cte("changed")
        before = select(table.c.id).where(self.this).cte("before")
        self.delete = prepared(select(gone.c.id.is_not(None)).select_from(before.outerjoin(gone, true())))
        self.update_one = lru_cache(KEPT)(self._update_one)
        self.update_all = lru_cache(KEPT)(self._update_all)
        self.delete_all = lru_cache(KEPT)(self._delete_all)

    def made(self) -> dict[str, Any]:
        """Return what a new row gets beside what its body says."""
        return {}

    def values(self, fields: frozenset[str]) -> dict[str, Any]:
        """Return what an update of these fields sets. Naming none changes nothing, and is no new version."""
        values: dict[str, Any] = {name: bindparam(name) for name in sorted(fields)}
        if fields:
            values["updated_at"] = func.now()
        return values | {"version": self.table.c.version + literal_column("1" if fields else "0")}

    def in_turn(self) -> tuple[str, ...]:
        """Return what goes before a statement that counts a user's rows, so that two of them do not count at once."""
        if self.max_per_user is None:
            return ()
        whose = func.concat(cast(bindparam("user_id"), Text), literal_column(f"' {self.table.name}'"))
        key = func.hashtextextended(whose, literal_column("0"))
        return (prepared(select(func.pg_advisory_xact_lock(key))),)

    def room_for(self, more: Any) -> ColumnElement[bool]:
        """Return whether the user may have so many rows more."""
        if self.max_per_user is None:
            return true()
        own = count(select(self.table.c.id).where(self.own).subquery("own"))
        room: ColumnElement[bool] = own + more <= literal_column(str(self.max_per_user))
        return room

    def _create(self) -> Prepared:
        """Make a row. The answer: its JSON and version, whether it is new, and whether it is as the body says.

        An Idempotency-Key makes the id, so that a repeat meets the row that the first request made. DO UPDATE, because
        DO NOTHING would return no row. There is none only where the user has `max_per_user` already.
        """
        values = {name: bindparam(name) for name in ("user_id", "id", *self.fields)} | self.made()
        insert = upsert(self.table)
        if self.max_per_user is None:
            insert = insert.values(values)
        else:
            known = exists(select(self.table.c.id).where(self.this))
            row = select(*(cast(value, self.table.c[name].type) for name, value in values.items()))
            room = or_(known, self.room_for(literal_column("1")))
            insert = insert.from_select(list(values), row.where(room), include_defaults=False)
        new = (
            insert.on_conflict_do_update(index_elements=["user_id", "id"], set_={"id": self.table.c.id})
            .returning(*self.shown, literal_column("xmax = 0").label("_inserted"))
            .cte("changed")
        )
        shown = self.shown_of(new)
        given = [(cast(new.c[name], self.table.c[name].type), name) for name in self.fields]
        same = and_(*(column.is_not_distinct_from(bindparam(name)) for column, name in given))
        query = select(as_json(shown), shown.c.version, new.c["_inserted"], same).select_from(new.join(shown, true()))
        return prepared(query)

    def shown_of(self, rows: Any) -> Any:
        """Return the columns of a row's JSON from a CTE that has more."""
        return select(*(rows.c[column.name] for column in self.shown)).subquery("shown")

    def changing(self, fields: frozenset[str], condition: ColumnElement[bool], before: Sequence[Any]) -> Prepared:
        """Change one row if the condition holds. The answer: its JSON and version, or nulls; then columns as before."""
        seen = select(*before).where(self.this).cte("before")
        changed = update(self.table).where(condition).values(self.values(fields)).returning(*self.shown).cte("changed")
        query = select(as_json(changed), changed.c.version, *seen.c)
        return prepared(query.select_from(seen.outerjoin(changed, true())))

    def _update_one(self, fields: frozenset[str]) -> Prepared:
        """Change one row, if its version matches. The answer: its JSON and version or nulls; id and version before."""
        return self.changing(fields, and_(self.this, self.matches), (self.table.c.id, self.table.c.version))

    def _update_all(self, condition: ColumnElement[bool], fields: frozenset[str]) -> str:
        """Change rows. The answer: how many. The condition is one of `Listing.where`."""
        changed = update(self.table).where(condition).values(self.values(fields)).returning(self.table.c.id)
        return sql(select(func.count()).select_from(changed.cte("changed")))

    def _delete_all(self, condition: ColumnElement[bool]) -> str:
        """Delete rows. The answer: how many."""
        gone = delete(self.table).where(condition).returning(self.table.c.id).cte("changed")
        return sql(select(func.count()).select_from(gone))
