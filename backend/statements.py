"""The statements on one owned table: built once for each shape, and kept as SQL text."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Date,
    DateTime,
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
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from backend.changelog import CREATED, DELETED, UPDATED, entry, logged, whole
from backend.database import Logged, prepared, sql

# How many shapes of one statement are kept: more than clients use, few enough for one who tries them all.
KEPT = 500
VERSIONS = cast(bindparam("_versions"), ARRAY(Integer))
NOW = func.now().label("_now")  # is seen with the rows before a change, because Citus takes no now() in a CASE of it


def as_json(rows: Any) -> ColumnElement[str]:
    """Return the JSON of a row of `rows`, a query with the columns to show, as text."""
    return cast(func.row_to_json(rows.table_valued()), Text)


def count(rows: Any) -> Any:
    """Return how many rows a CTE has, as a value."""
    return select(func.count()).select_from(rows).scalar_subquery()


def end_of(day: Any, zone: Any) -> Any:
    """Return the last microsecond of a day in a time zone, or in UTC; null for no day."""
    # Taken away before the zone is given: what depends on a session's time zone may not be in every clause on Citus.
    last = cast(cast(day, Date) + literal_column("1"), DateTime) - literal_column("interval '1 microsecond'")
    return func.timezone(func.coalesce(cast(zone, Text), literal_column("'UTC'")), last)


class Statements:
    """The statements on one table.

    `name` is the resource's in the change log; `fields` are the columns that a request's body sets; `shown` are those
    of a row's JSON, in its order; `days` are the columns of whole days, by the moments that they stand for. Parameters
    are called as the columns are; the others begin with an underscore, as no field does. Each write logs what it
    changes.
    """

    def __init__(
        self,
        name: str,
        table: Table,
        fields: Iterable[str],
        shown: Sequence[str],
        days: Mapping[str, str],
        max_per_user: int | None,
    ) -> None:
        self.name, self.table = name, table
        self.days = days
        self.fields = (*fields, *days.values())
        self.columns = [table.c[name] for name in (*shown, *days.values())]
        self._names = tuple(shown)
        self.shown = self._shown(table)
        self.max_per_user = max_per_user
        # Of each child: its statements, the column that names one of these rows, and whether it goes with that one.
        self.children: list[tuple[Statements, Any, bool]] = []
        self.own: ColumnElement[bool] = table.c.user_id == bindparam("user_id")
        self.this = and_(self.own, table.c.id == bindparam("id"))
        # If-Match: any of these versions, or no condition at all.
        self.matches = or_(VERSIONS.is_(None), table.c.version == func.any(VERSIONS))
        one = select(*self.shown).where(self.this).subquery("_shown")
        self.read = prepared(select(as_json(one), one.c.version))
        self.create = self._create(self.given(self.fields))
        self.update_one = lru_cache(KEPT)(self._update_one)
        self.update_all = lru_cache(KEPT)(self._update_all)
        self.delete_all = lru_cache(KEPT)(self._delete_all)

    def _shown(self, rows: Any) -> list[Any]:
        """Return the columns of a row's JSON from those of `columns`."""
        shown = []
        for column in (rows.c[name] for name in self._names):
            if type(column.type) is Numeric:  # as text: most clients read JSON's numbers as floats
                shown.append(cast(column, Text).label(column.name))
            elif column.name in self.days:
                day = rows.c[self.days[column.name]]
                shown.append(func.coalesce(func.to_json(day), func.to_json(column)).label(column.name))
            else:
                shown.append(column)
        return shown

    def shown_of(self, rows: Any) -> Any:
        """Return the query for the columns of a row's JSON from a CTE or a subquery with those of `columns`."""
        return select(*self._shown(rows))

    def made(self) -> dict[str, Any]:
        """Return what a new row gets beside what its body says."""
        return {}

    def made_of(self, given: Any) -> dict[str, Any]:
        """Return what a row gets beside what some rows, or parameters, say: the moments at which whole days end."""
        zone = given["time_zone"] if "time_zone" in self.table.c else null()
        return {name: func.coalesce(end_of(given[day], zone), given[name]) for name, day in self.days.items()}

    def given(self, fields: Iterable[str]) -> dict[str, Any]:
        """Return what a body that has these fields sets, by column."""
        said = {name: bindparam(name, type_=self.table.c[name].type) for name in sorted(fields)}
        zone_alone = "time_zone" in said and self.days
        row = {column.name: said.get(column.name, column) for column in self.table.c}
        moments = self.made_of(row)
        return said | {name: moment for name, moment in moments.items() if name in said or zone_alone}

    def values(self, fields: frozenset[str], now: ColumnElement[Any]) -> dict[str, Any]:
        """Return what an update of these fields sets. Naming none changes nothing, and is no new version."""
        values = self.given(fields)
        if fields:
            values["updated_at"] = now
        return values | {"version": self.table.c.version + literal_column("1" if fields else "0")}

    def room_for(self, more: Any) -> ColumnElement[bool]:
        """Return whether the user may have so many rows more."""
        if self.max_per_user is None:
            return true()
        own = count(select(self.table.c.id).where(self.own).subquery("_own"))
        room: ColumnElement[bool] = own + more <= literal_column(str(self.max_per_user))
        return room

    def _as_it_is(self, *columns: Any) -> str:
        """Return the query for what a write of one row answers that was done before: its JSON, then these columns."""
        one = select(*self.shown).where(self.this).subquery("_shown")
        return sql(select(as_json(one), one.c.version, *columns).select_from(self.table.join(one, self.this)))

    def _create(self, given: dict[str, Any], *conditions: ColumnElement[bool]) -> Logged:
        """Make a row. The answer: its JSON and version, whether it is new, and whether it is as the body says.

        An Idempotency-Key makes the id, so that a repeat meets the row that the first request made. DO UPDATE, because
        DO NOTHING would return no row. There is none only where the user has `max_per_user` already, or one of the
        conditions does not hold.
        """
        values = {name: bindparam(name) for name in ("user_id", "id")} | given | self.made()
        insert = upsert(self.table)
        if self.max_per_user is None and not conditions:
            insert = insert.values(values)
        else:
            known = exists(select(self.table.c.id).where(self.this))
            room = or_(known, self.room_for(literal_column("1")))
            # In a CTE, because Citus takes no subquery in an INSERT.
            may = select(and_(room, *conditions).label("may")).cte("_may")
            row = select(*(cast(value, self.table.c[name].type) for name, value in values.items())).where(may.c.may)
            insert = insert.from_select(list(values), row, include_defaults=False)
        new = (
            insert.on_conflict_do_update(index_elements=["user_id", "id"], set_={"id": self.table.c.id})
            .returning(*self.columns, literal_column("xmax = 0").label("_inserted"))
            .cte("_changed")
        )
        shown = self.shown_of(new).subquery("_shown")
        same = and_(*(new.c[name].is_not_distinct_from(value) for name, value in given.items()))
        found = [as_json(shown), shown.c.version, new.c["_inserted"], same]
        query = select(*found).select_from(new.join(shown, true()))
        made = entry(self.name, new.c.id, CREATED).where(new.c["_inserted"])
        return logged(query, made, done=self._as_it_is(true(), true()))

    def before(self, condition: ColumnElement[bool], *columns: Any, name: str = "_before") -> Any:
        """Return the rows as they are before a change: the id, the row for the log, and these columns.

        They stay so until the change is done: the user's other writes wait for it (Database.run).
        """
        return select(self.table.c.id, whole(self.table), NOW, *columns).where(condition).cte(name)

    def update(self, before: Any, condition: ColumnElement[bool], values: dict[str, Any], *columns: Any) -> Any:
        """Return the update of rows that were seen before: these columns of them, and the row for the log."""
        write = update(self.table).where(condition, self.table.c.id == before.c.id).values(values)
        return write.returning(*columns, before.c["_row"]).cte("_changed")

    def updated(self, changed: Any) -> Any:
        """Return what is logged of an update."""
        return entry(self.name, changed.c.id, UPDATED, changed.c["_row"])

    def changing(
        self,
        fields: frozenset[str],
        condition: ColumnElement[bool],
        seen: Sequence[Any],
        more: dict[str, Any] | None = None,
        first: Sequence[Any] = (),
        *entries: Any,
    ) -> str | Logged:
        """Change one row if the condition holds. The answer: its JSON and version, or nulls; then columns as before.

        `more` is what it sets beside the fields, `first` the CTEs that read before it, and `entries` what is logged.
        """
        before = self.before(self.this, *(column.label(f"_{column.name}") for column in seen))
        values = self.values(fields, before.c["_now"]) | (more or {})
        changed = self.update(before, and_(self.own, condition), values, *self.columns)
        shown = self.shown_of(changed).subquery("_shown")
        as_before = [before.c[f"_{column.name}"] for column in seen]
        query = select(as_json(shown), shown.c.version, *as_before).select_from(before.outerjoin(shown, true()))
        query = query.add_cte(*first)
        if not fields:
            return prepared(query)
        return logged(query, self.updated(changed), *entries, done=self._as_it_is(*seen))

    def _update_one(self, fields: frozenset[str]) -> str | Logged:
        """Change one row, if its version matches. The answer: its JSON and version or nulls; id and version before."""
        return self.changing(fields, and_(self.this, self.matches), [self.table.c.id, self.table.c.version])

    def _update_all(self, condition: ColumnElement[bool], fields: frozenset[str]) -> str | Logged:
        """Change rows. The answer: how many. The condition is one of `Listing.where`."""
        before = self.before(condition)
        changed = self.update(before, self.own, self.values(fields, before.c["_now"]), self.table.c.id)
        query = select(func.count()).select_from(changed)
        return logged(query, self.updated(changed)) if fields else sql(query)

    def _gone(self, before: Any, condition: ColumnElement[bool], name: str = "_changed") -> Iterator[Any]:
        """Yield the deletion of rows, and of all that go with them: named one by one, so that all are logged."""
        # The row for the log from before, because Citus takes no row_to_json() in a RETURNING.
        row = delete(self.table).where(self.own, condition, self.table.c.id == before.c.id)
        gone = row.returning(self.table.c.id, before.c["_row"]).cte(name)
        yield self, gone
        for number, (child, parent, goes_too) in enumerate(self.children):
            if goes_too:
                theirs = child.before(and_(child.own, parent.in_(select(gone.c.id))), name=f"{name}_before_{number}")
                yield from child._gone(theirs, true(), f"{name}_{number}")

    def _deleting(self, before: Any, condition: ColumnElement[bool]) -> tuple[Any, list[Any]]:
        """Return the deletion of rows, and what is logged of it."""
        every = list(self._gone(before, condition))
        return every[0][1], [entry(of.name, gone.c.id, DELETED, gone.c["_row"]) for of, gone in every]

    @cached_property
    def delete(self) -> Logged:
        """Delete one row, if its version matches. The answer: if it did, and the version; nothing if none is there."""
        before = self.before(self.this, self.table.c.version)
        gone, entries = self._deleting(before, self.matches)
        query = select(gone.c.id.is_not(None), before.c.version).select_from(before.outerjoin(gone, true()))
        return logged(query, *entries, done=sql(select(true())))

    def _delete_all(self, condition: ColumnElement[bool]) -> Logged:
        """Delete rows. The answer: how many."""
        gone, entries = self._deleting(self.before(condition), true())
        return logged(select(func.count()).select_from(gone), *entries)
