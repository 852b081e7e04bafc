"""Completing tasks that recur: their next date, which python-dateutil finds, and the statements that make it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import cached_property, lru_cache
from typing import Any
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from sqlalchemy import (
    ColumnElement,
    Date,
    DateTime,
    Integer,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    literal_column,
    not_,
    null,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from backend.changelog import CREATED, DELETED, entry, logged, whole
from backend.database import Logged
from backend.fields import in_utc
from backend.problems import invalid
from backend.recurrence import Budget, Coming, TooManyError, next_occurrence
from backend.spelling import ADDED_TAGS, MAX_TAGS, TAGS, known, spelled, spelling
from backend.statements import KEPT, NOW, Statements, as_json, count

# For UUIDv5. Never change this: a task completed again would get a second next occurrence.
NEXT_NAMESPACE = UUID("c1a8f6cd-7a3e-53ae-9b0a-5f6c6f2a4c11")
COMPLETED = "completed"
# What a task hands on to its next occurrence, beside what the rule says of it.
HANDED_ON = ("user_id", "title", "description", "priority", "tags", "time_zone", "due_offset")
# What is seen of a recurring task before it is completed.
SEEN = ("id", "version", "status", "recurrence_rule", "due_date", "due_on", "due_offset", "time_zone")
# What `next_ones` finds out of each, in parameters of these names and types: its next occurrence, if there is one.
COMING: dict[str, Any] = {
    "id": Uuid,
    "version": Integer,
    "next_id": Uuid,
    "due_date": DateTime(timezone=True),
    "due_on": Date,
    "recurrence_rule": Text,
}


def completes(changes: dict[str, Any]) -> bool:
    """Return whether a change completes tasks that may recur."""
    return changes.get("status") == COMPLETED and changes.get("recurrence_rule", "") is not None


def local_due(due: datetime, offset: int | None, zone: str | None = None) -> datetime:
    """Return a due date in its zone, or at the offset from UTC, in seconds, that it was given in.

    Raises OverflowError.
    """
    return due.astimezone(ZoneInfo(zone) if zone else timezone(timedelta(seconds=offset or 0)))


def _coming(rule: str, changed: Mapping[str, Any], now: datetime, budget: Budget) -> Coming | None:
    """Return the next occurrence of a task as it is when it is completed. Of a whole day, midnight stands for it."""
    if not (day := changed["due_on"]):
        local = local_due(changed["due_date"], changed["due_offset"], changed["time_zone"])
        return next_occurrence(rule, local, now, budget)
    today = now.astimezone(ZoneInfo(changed["time_zone"] or "UTC")).date()
    due, now = (datetime.combine(one, time(), UTC) for one in (day, today))
    return next_occurrence(rule, due, now, budget)


def next_ones(changes: dict[str, Any], recurring: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Return the parameters of a completion: each recurring task as in SEEN, and its next occurrence if any.

    The next one's id is made of the task's and of the date that its rule has first, however late it is completed, so
    that a task completed again makes no second one. Raises Problem VALIDATION_ERROR where there is too much to count.
    """
    now, budget = datetime.now(UTC), Budget()
    found: dict[str, list[Any]] = {f"_coming_{name}": [] for name in COMING}
    for row in recurring:
        before = dict(zip(SEEN, row, strict=True))
        changed = before | {name: value for name, value in changes.items() if name in before}
        if changes.get("due_offset") == 0 and changed["due_date"] == before["due_date"]:
            changed["due_offset"] = before["due_offset"]  # as the update has it
        task_id, rule = before["id"], changed["recurrence_rule"]
        try:
            coming = _coming(rule, changed, now, budget) if changed["due_date"] or changed["due_on"] else None
        except OverflowError:
            coming = None
        except TooManyError:
            raise invalid(("query", "names tasks whose rules passed over a million times: complete fewer")) from None
        values: tuple[Any, ...] = (task_id, before["version"], None, None, None, None)
        if coming and not (changed["due_on"] and coming.due.date() == date.max):
            next_id = uuid5(NEXT_NAMESPACE, f"{task_id} {coming.first.timestamp()}")
            due, day = (None, coming.due.date()) if changed["due_on"] else (in_utc(coming.due), None)
            values = (task_id, before["version"], next_id, due, day, coming.rule)
        for name, value in zip(found, values, strict=True):
            found[name].append(value)
    return found


class TaskStatements(Statements):
    """The statements on tasks, with what follows from a status and a due date."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.complete_unless_recurring = lru_cache(KEPT)(self._complete_unless_recurring)
        self.complete_one = lru_cache(KEPT)(self._complete_one)
        self.complete_all_unless_recurring = lru_cache(KEPT)(self._complete_all_unless_recurring)
        self.complete_all = lru_cache(KEPT)(self._complete_all)
        self.where_tags_fit = lru_cache(KEPT)(self._where_tags_fit)

    @property
    def _completed(self) -> ColumnElement[Any]:
        return literal_column(f"'{COMPLETED}'", self.table.c.status.type)

    @property
    def _seen_columns(self) -> list[Any]:
        return [self.table.c[name] for name in SEEN]

    def given(self, fields: Iterable[str]) -> dict[str, Any]:
        """Return what a body sets, by column: its tags, where it names any, as the caller spells them."""
        names = {*fields}
        tags = {"tags": self._with_added_tags} if ADDED_TAGS in names else {}
        tags |= {"tags": spelling(TAGS).c.names} if TAGS in names else {}
        return super().given(names - {TAGS, ADDED_TAGS}) | tags

    @cached_property
    def _with_added_tags(self) -> ColumnElement[Any]:
        """Return the tags of a task, and after them those of `add_tags` that it has not."""
        tags = self.table.c.tags
        added = func.unnest(spelled(ADDED_TAGS)).column_valued("_added")
        new = select(added).where(added != func.all(tags)).correlate(self.table)
        return tags + func.array(new.scalar_subquery(), type_=tags.type)

    def _where_tags_fit(self, condition: ColumnElement[bool]) -> ColumnElement[bool]:
        """Return the condition for those of some tasks that have room for the tags of `add_tags`."""
        return and_(condition, func.cardinality(self._with_added_tags) <= literal_column(str(MAX_TAGS)))

    @cached_property
    def create_if_known(self) -> Logged:
        """Make a task, as `create` does, if its tags are known as they are given; else there is no answer."""
        return self._create(self.given(self.fields), known("tags"))

    @cached_property
    def create_spelled(self) -> Logged:
        """Make a task with its tags as the caller spells them."""
        # With a condition, if only that it is true, it is an INSERT ... SELECT, which can read the spelling.
        return self._create(self.given([*self.fields, TAGS]), true())

    def made(self) -> dict[str, Any]:
        """Return what a new task gets beside what its body says."""
        completes = bindparam("status", type_=self.table.c.status.type) == self._completed
        return {"due_offset": bindparam("due_offset"), "completed_at": case((completes, func.now()))}

    def values(self, fields: frozenset[str], now: ColumnElement[Any]) -> dict[str, Any]:
        """Return what an update of these fields sets."""
        values, task = super().values(fields, now), self.table.c
        if "status" in fields:
            completes = bindparam("status", type_=task.status.type) == self._completed
            values["completed_at"] = case((completes, func.coalesce(task.completed_at, now)), else_=null())
        if "due_offset" in fields:
            # Answers are in UTC: one that is sent back says nothing of the offset that was given.
            as_it_was = and_(bindparam("due_offset") == literal_column("0"), bindparam("due_date") == task.due_date)
            values["due_offset"] = case((as_it_was, task.due_offset), else_=cast(bindparam("due_offset"), Integer))
        return values

    def _reopened(self, condition: ColumnElement[bool]) -> tuple[dict[str, Any], Any, list[Any]]:
        """Return what else a new status changes in some tasks: their values, what goes, and what is logged of that.

        A task that is open again takes away the next occurrence that completing it made, if nobody has touched that.
        """
        table = self.table
        opens = bindparam("status", type_=table.c.status.type) != self._completed
        made = select(table.c.next_id).where(condition, opens, table.c.status == self._completed)
        untouched = [table.c.version == literal_column("1"), table.c.status != self._completed]
        for child, parent, _ in self.children:
            untouched.append(not_(exists(select(child.table.c.id).where(child.own, parent == table.c.id))))
        # Materialized, as the first CTE: Citus runs one after the other, and this one must see what was before.
        going = self.before(and_(self.own, table.c.id.in_(made), *untouched), name="_next").prefix_with("MATERIALIZED")
        deletion = delete(table).where(self.own, table.c.id == going.c.id)
        gone = deletion.returning(table.c.id, going.c["_row"]).cte("_gone")
        values = {"next_id": case((not_(opens), table.c.next_id))}
        return values, going, [entry(self.name, gone.c.id, DELETED, gone.c["_row"])]

    def _update_one(self, fields: frozenset[str]) -> str | Logged:
        """Change one task as any row, and with its status what follows from that."""
        condition = and_(self.this, self.matches)
        seen = [self.table.c.id, self.table.c.version]
        if "status" not in fields:
            return self.changing(fields, condition, seen)
        values, going, entries = self._reopened(condition)
        return self.changing(fields, condition, seen, values, [going], *entries)

    def _update_all(self, condition: ColumnElement[bool], fields: frozenset[str]) -> str | Logged:
        """Change tasks as any rows, and with their status what follows from that. The answer counts none that go."""
        if "status" not in fields:
            return super()._update_all(condition, fields)
        values, going, entries = self._reopened(condition)
        others = self.before(and_(condition, self.table.c.id.not_in(select(going.c.id))))
        changed = self.update(others, self.own, self.values(fields, others.c["_now"]) | values, self.table.c.id)
        query = select(func.count()).select_from(changed).add_cte(going)
        return logged(query, self.updated(changed), *entries)

    def _comes_again(self, fields: frozenset[str]) -> ColumnElement[bool]:
        """Return whether completing a task with these fields makes its next occurrence."""
        rule = bindparam("recurrence_rule") if "recurrence_rule" in fields else self.table.c.recurrence_rule
        return and_(self.table.c.status != self._completed, cast(rule, Text).is_not(None))

    @staticmethod
    def comes_again(before: Sequence[Any], changes: dict[str, Any]) -> bool:
        """Return the same of a task that was seen."""
        _, _, status, rule, *_ = before
        return status != COMPLETED and changes.get("recurrence_rule", rule) is not None

    def _complete_unless_recurring(self, fields: frozenset[str]) -> str | Logged:
        """Complete one task, unless it recurs (see complete_one). The answer: its JSON and version or nulls; SEEN."""
        return self.changing(fields, and_(self.this, self.matches, not_(self._comes_again(fields))), self._seen_columns)

    def _complete_one(self, fields: frozenset[str]) -> Logged:
        """Complete a recurring task that still has the version seen, and make its next occurrence.

        The answer: its JSON and version, and the id of the next one; nothing if it changed in between.
        """
        seen = self._seen()
        condition = and_(self.own, self.table.c.id == seen.c.id, self.table.c.version == seen.c.version)
        changed = self._changed(fields, self.before(condition, seen.c.next_id), self.own)
        shown = self.shown_of(changed).subquery("_shown")
        query = select(as_json(shown), shown.c.version, changed.c.next_id).select_from(changed.join(shown, true()))
        return logged(query, *self._completion(changed, seen), done=self._as_it_is(self.table.c.next_id))

    def _complete_all_unless_recurring(self, condition: ColumnElement[bool], fields: frozenset[str]) -> Logged:
        """Complete all, or none if one recurs (see complete_all). The answer: how many; SEEN of each that recurs."""
        # Locked first, so that whoever else changes them, they are seen as they are when they are changed.
        matching = self._locked(condition, fields)
        recurring = select(*(matching.c[name] for name in SEEN)).where(matching.c.comes_again).cte("_recurring")
        changed = self._changed(fields, matching, and_(self.own, not_(exists(select(recurring.c.id)))))
        one = select(literal_column("1")).subquery()
        query = select(count(changed), *recurring.c).select_from(one.outerjoin(recurring, true()))
        return logged(query, self.updated(changed))

    def _complete_all(self, condition: ColumnElement[bool], fields: frozenset[str]) -> Logged:
        """Complete all, and make the next occurrences of those seen. The answer: how many; 0 if one changed since."""
        seen = self._seen()
        matching = self._locked(condition, fields)
        same = and_(seen.c.id == matching.c.id, seen.c.version == matching.c.version, matching.c.comes_again)
        unseen = select(matching.c.id).where(matching.c.comes_again, not_(exists(select(seen.c.id).where(same))))
        gone = select(seen.c.id).where(not_(exists(select(matching.c.id).where(same))))
        # Not joined where the rows are locked: Citus takes no more there than tables.
        known = matching.outerjoin(seen, seen.c.id == matching.c.id)
        before = select(*matching.c, seen.c.next_id).select_from(known).cte("_before")
        changed = self._changed(fields, before, and_(self.own, not_(exists(unseen)), not_(exists(gone))))
        query = select(func.count()).select_from(changed)
        return logged(query, *self._completion(changed, seen))

    def _changed(self, fields: frozenset[str], before: Any, condition: ColumnElement[bool]) -> Any:
        values = self.values(fields, before.c["_now"])
        if "next_id" in before.c:
            values["next_id"] = func.coalesce(before.c.next_id, self.table.c.next_id)
        columns = [*self.columns, self.table.c.due_offset, self.table.c.next_id]
        return self.update(before, condition, values, *columns)

    def _locked(self, condition: ColumnElement[bool], fields: frozenset[str]) -> Any:
        comes_again = self._comes_again(fields).label("comes_again")
        columns = [*self._seen_columns, whole(self.table), NOW, comes_again]
        query = select(*columns).where(condition).order_by(self.table.c.id)
        return query.with_for_update(of=self.table).cte("_matching")

    def _completion(self, changed: Any, seen: Any) -> list[Any]:
        """Return what is logged of a completion: the tasks themselves, and the occurrences that it makes."""
        return [self.updated(changed), entry(self.name, self._made_next(changed, seen).c.id, CREATED)]

    def _seen(self) -> Any:
        """Return what `next_ones` found out, as a table."""
        arrays = [cast(bindparam(f"_coming_{name}"), ARRAY(type_)) for name, type_ in COMING.items()]
        return func.unnest(*arrays).table_valued(*COMING, name="_seen").render_derived()

    def _made_next(self, changed: Any, coming: Any) -> Any:
        """Return the insertion of the next occurrences of the tasks in `changed`; one that is there already stays."""
        values = {name: changed.c[name] for name in HANDED_ON} | {"status": literal_column("'pending'::task_status")}
        values |= {"id": coming.c.next_id, "recurrence_rule": coming.c.recurrence_rule}
        values |= {"due_date": coming.c.due_date, "due_on": coming.c.due_on}
        values |= dict.fromkeys(("created_at", "updated_at"), changed.c.updated_at)
        values |= self.made_of(values)
        rows = select(*values.values()).select_from(changed.join(coming, changed.c.id == coming.c.id))
        made = rows.where(coming.c.next_id.is_not(None))
        write = upsert(self.table).from_select(list(values), made, include_defaults=False).on_conflict_do_nothing()
        return write.returning(self.table.c.id).cte("_made")
