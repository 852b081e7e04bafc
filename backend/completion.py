"""Completing tasks that recur: their next date, which python-dateutil finds, and the statements that make it."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import cached_property, lru_cache
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Integer,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
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

from backend.changelog import CREATED, entry, logged, whole
from backend.database import Logged
from backend.fields import in_utc
from backend.problems import invalid
from backend.recurrence import Budget, TooManyError, next_occurrence
from backend.spelling import TAGS, known, spelled
from backend.statements import KEPT, Statements, as_json, count

# For UUIDv5. Never change this: a task completed again would get a second next occurrence.
NEXT_NAMESPACE = UUID("c1a8f6cd-7a3e-53ae-9b0a-5f6c6f2a4c11")
COMPLETED = "completed"
# What a task hands on to its next occurrence, beside what the rule says of it.
HANDED_ON = ("user_id", "title", "description", "priority", "tags", "due_offset")
# What is seen of a recurring task before it is completed.
SEEN = ("id", "version", "status", "recurrence_rule", "due_date", "due_offset")


def completes(changes: dict[str, Any]) -> bool:
    """Return whether a change completes tasks that may recur."""
    return changes.get("status") == COMPLETED and changes.get("recurrence_rule", "") is not None


def local_due(due: datetime | None, offset: int | None) -> datetime | None:
    """Return a due date at the offset from UTC, in seconds, that it was given in; raise OverflowError."""
    return due and due.astimezone(timezone(timedelta(seconds=offset or 0)))


def next_ones(changes: dict[str, Any], recurring: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Return the parameters of a completion: each recurring task as in SEEN, and its next occurrence if any.

    The next one's id is made of the task's and of the date that its rule has first, however late it is completed, so
    that a task completed again makes no second one. Raises Problem VALIDATION_ERROR where there is too much to count.
    """
    now, budget = datetime.now(UTC), Budget()
    found: dict[str, list[Any]] = {name: [] for name in ("_ids", "_seen", "_next_ids", "_next_dues", "_next_rules")}
    for task_id, version, _, rule, due, offset in recurring:
        rule, due = changes.get("recurrence_rule", rule), changes.get("due_date", due)
        local = local_due(due, changes.get("due_offset", offset))
        try:
            coming = local and next_occurrence(rule, local, now, budget)
        except TooManyError:
            raise invalid(("query", "names tasks whose rules passed over a million times: complete fewer")) from None
        values: tuple[Any, ...] = (task_id, version, None, None, None)
        if coming:
            next_id = uuid5(NEXT_NAMESPACE, f"{task_id} {coming.first.timestamp()}")
            values = (task_id, version, next_id, in_utc(coming.due), coming.rule)
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

    @property
    def _completed(self) -> ColumnElement[Any]:
        return literal_column(f"'{COMPLETED}'", self.table.c.status.type)

    @property
    def _seen_columns(self) -> list[Any]:
        return [self.table.c[name] for name in SEEN]

    def given(self, fields: Iterable[str]) -> dict[str, Any]:
        """Return what a body sets, by column: its tags, where it names any, as the caller spells them."""
        given: dict[str, Any] = {name: bindparam(name) for name in fields}
        return given | ({"tags": spelled(TAGS)} if given.pop(TAGS, None) is not None else {})

    @cached_property
    def create_if_known(self) -> Logged:
        """Make a task, as `create` does, if its tags are known as they are given; else there is no answer."""
        return self._create(self.given(self.fields), known("tags"))

    @cached_property
    def create_spelled(self) -> Logged:
        """Make a task with its tags as the caller spells them."""
        return self._create(self.given([*self.fields, TAGS]))

    def made(self) -> dict[str, Any]:
        """Return what a new task gets beside what its body says."""
        completes = bindparam("status", type_=self.table.c.status.type) == self._completed
        return {"due_offset": bindparam("due_offset"), "completed_at": case((completes, func.now()))}

    def values(self, fields: frozenset[str]) -> dict[str, Any]:
        """Return what an update of these fields sets."""
        values = super().values(fields)
        if "status" in fields:
            completes = bindparam("status", type_=self.table.c.status.type) == self._completed
            kept = func.coalesce(self.table.c.completed_at, func.now())
            values["completed_at"] = case((completes, kept), else_=null())
        return values

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

        The answer: its JSON and version; nothing if it changed in between.
        """
        seen = self._seen()
        condition = and_(self.own, self.table.c.id == seen.c.id, self.table.c.version == seen.c.version)
        changed = self._changed(fields, self.before(condition), self.own)
        shown = self.shown_of(changed)
        query = select(as_json(shown), shown.c.version)
        return logged(query, *self._completion(changed, seen), done=self._as_it_is())

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
        seen, matching = self._seen(), self._locked(condition, fields)
        same = and_(seen.c.id == matching.c.id, seen.c.version == matching.c.version, matching.c.comes_again)
        unseen = select(matching.c.id).where(matching.c.comes_again, not_(exists(select(seen.c.id).where(same))))
        gone = select(seen.c.id).where(not_(exists(select(matching.c.id).where(same))))
        changed = self._changed(fields, matching, and_(self.own, not_(exists(unseen)), not_(exists(gone))))
        query = select(func.count()).select_from(changed)
        return logged(query, *self._completion(changed, seen))

    def _changed(self, fields: frozenset[str], before: Any, condition: ColumnElement[bool]) -> Any:
        return self.update(before, condition, self.values(fields), *self.shown, self.table.c.due_offset)

    def _locked(self, condition: ColumnElement[bool], fields: frozenset[str]) -> Any:
        comes_again = self._comes_again(fields).label("comes_again")
        query = select(*self._seen_columns, whole(self.table), comes_again).where(condition).order_by(self.table.c.id)
        return query.with_for_update(of=self.table).cte("_matching")

    def _completion(self, changed: Any, seen: Any) -> list[Any]:
        """Return what is logged of a completion: the tasks themselves, and the occurrences that it makes."""
        return [self.updated(changed), entry(self.name, self._made_next(changed, seen).c.id, CREATED)]

    def _seen(self) -> Any:
        """Return what `next_ones` found out, as a table."""
        return (
            func.unnest(
                cast(bindparam("_ids"), ARRAY(Uuid)),
                cast(bindparam("_seen"), ARRAY(Integer)),
                cast(bindparam("_next_ids"), ARRAY(Uuid)),
                cast(bindparam("_next_dues"), ARRAY(DateTime(timezone=True))),
                cast(bindparam("_next_rules"), ARRAY(Text)),
            )
            .table_valued("id", "version", "next_id", "next_due", "next_rule", name="_seen")
            .render_derived()
        )

    def _made_next(self, changed: Any, coming: Any) -> Any:
        """Return the insertion of the next occurrences of the tasks in `changed`; one that is there already stays."""
        columns = [*HANDED_ON, "status", "id", "due_date", "recurrence_rule"]
        values = select(
            *(changed.c[name] for name in HANDED_ON),
            literal_column("'pending'::task_status"),
            coming.c.next_id,
            coming.c.next_due,
            coming.c.next_rule,
        )
        rows = values.select_from(changed.join(coming, changed.c.id == coming.c.id)).where(
            coming.c.next_id.is_not(None)
        )
        write = upsert(self.table).from_select(columns, rows, include_defaults=False).on_conflict_do_nothing()
        return write.returning(self.table.c.id).cte("_made")
