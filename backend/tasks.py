"""Tasks: a resource, and what is special about them: due dates with an offset, recurrence, completion."""

import asyncio
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import (
    MISSING,
    AfterValidator,
    BaseModel,
    BeforeValidator,
    StringConstraints,
    create_model,
    model_validator,
)
from pydantic import Field as PydanticField
from sqlalchemy import CheckConstraint, ColumnElement
from sqlmodel import Field

from backend import recurrence
from backend.completion import TaskStatements, completes, local_due, next_ones
from backend.database import CONSTRAINTS, Database, Rows
from backend.export_import import Transferred, no_bool
from backend.fields import COMPOSED, INVISIBLE, VISIBLE, Moment, MomentOrDay, Text, TimeZone, TrimmedText
from backend.problems import PATTERN_MESSAGES, invalid
from backend.resources import Changed, Owned, ReadOnly, Resource
from backend.spelling import ADDED_TAGS, MAX_TAGS, SPELL, TAGS, kept, patterns


class Status(StrEnum):
    """How far a task is."""

    pending = "pending"
    in_progress = "in_progress"
    completed = "completed"


class Priority(StrEnum):
    """How much a task matters, the least first."""

    low = "low"
    medium = "medium"
    high = "high"


def _no_repeats(value: object) -> object:
    names = [one.strip() for one in value if isinstance(one, str)] if isinstance(value, list) else []
    if len(set(names)) < len(names):
        raise ValueError("must not name a tag twice")
    return value


def _one_of_each(value: list[str]) -> list[str]:
    return list(dict.fromkeys(value))


def _no_dots(value: str) -> str:
    if value in (".", ".."):
        raise ValueError("must not be . or .., which no URL can name")
    return value


TAG_PATTERN = rf"^[^\x00-\x1f\x7f-\x9f]*[^{INVISIBLE}][^\x00-\x1f\x7f-\x9f]*$"
PATTERN_MESSAGES[TAG_PATTERN] = "must have a character that shows, and no control characters"
TagName = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        min_length=1,
        max_length=50,
        pattern=TAG_PATTERN,
    ),
    VISIBLE,
    AfterValidator(_no_dots),
    COMPOSED,
]
RecurrenceRule = Annotated[
    Text,
    StringConstraints(max_length=500),  # before the check, which takes its time
    AfterValidator(recurrence.check),
    PydanticField(json_schema_extra={"format": "rrule"}),
]


class Task(Owned, table=True):
    """A task, as every answer shows it."""

    __table_args__ = (
        CheckConstraint("recurrence_rule IS NULL OR due_date IS NOT NULL", name="recurrence_needs_due_date"),
        CheckConstraint("due_on IS NULL OR recurrence_rule !~ 'BY(HOUR|MINUTE|SECOND)'", name="whole_day_has_no_hours"),
    )

    title: TrimmedText = Field(
        min_length=1,
        max_length=200,
        description="What is to be done. White space around it is trimmed.",
        schema_extra={"examples": ["Buy milk"]},
    )
    description: Text | None = Field(default=None, max_length=1000, description="More about it.")
    status: Status = Status.pending
    priority: Priority = Priority.medium
    due_date: MomentOrDay | None = Field(
        default=None,
        description="When it is due: a moment with an offset from UTC, or a whole day like 2030-01-31.",
        schema_extra={"examples": ["2030-01-31T09:00:00+01:00"]},
    )
    time_zone: TimeZone | None = Field(
        default=None,
        max_length=64,
        description="The IANA name of the zone in which it comes again at its hour, and in which a whole day ends.",
        schema_extra={"examples": ["Europe/Berlin"]},
    )
    recurrence_rule: RecurrenceRule | None = Field(
        default=None,
        description="An RFC 5545 RRULE. It needs a due date beside it.",
        schema_extra={"examples": ["FREQ=WEEKLY;BYDAY=MO"]},
    )
    tags: Annotated[list[TagName], BeforeValidator(_no_repeats), AfterValidator(_one_of_each)] = Field(
        default_factory=list,
        max_length=MAX_TAGS,
        description="Names, without repeats.",
        schema_extra={"examples": [["home"]], "json_schema_extra": {"uniqueItems": True}},
    )
    due_offset: int | None = Field(default=None, exclude=True)  # of due_date, in seconds east of UTC; for its rule
    next_id: UUID | None = Field(default=None, exclude=True)  # of the next occurrence that completing it made
    completed_at: Annotated[datetime | None, ReadOnly()] = Field(
        description="When it was completed; null while it is not."
    )


CONSTRAINTS["recurrence_needs_due_date"] = ("recurrence_rule", "needs a due_date beside it")
CONSTRAINTS["whole_day_has_no_hours"] = (
    "recurrence_rule",
    "must not name hours, minutes or seconds of a whole day",
)


class TransferredTask(Transferred):
    """What a task of an export has beside what it says."""

    completed_at: Moment | None = None
    due_offset: Annotated[int, PydanticField(gt=-86400, lt=86400), BeforeValidator(no_bool)] | None = PydanticField(
        default=None, description="The offset from UTC that the due date was given in, in seconds."
    )
    next_id: UUID | None = PydanticField(default=None, description="The next occurrence that completing it made.")

    @model_validator(mode="after")
    def _offset_within_the_calendar(self) -> "TransferredTask":
        due = getattr(self, "due_date", None)
        try:
            if isinstance(due, datetime):
                local_due(due, self.due_offset)
        except OverflowError:
            raise ValueError("due_offset must leave the due date between the years 1 and 9999") from None
        return self

    def row(self, now: datetime) -> dict[str, Any]:
        """Return it as a row, whose completed_at and due_offset are never at odds with its status and due date."""
        task: Any = self
        row, due = super().row(now), task.due_date
        completed = row["completed_at"] or row["updated_at"]
        row["completed_at"] = completed if task.status == Status.completed else None
        if task.status != Status.completed or self.next_id == self.id:
            row["next_id"] = None
        if due is not None and not isinstance(due, datetime):
            row |= {"due_date": None, "due_on": due.isoformat(), "due_offset": None}
        elif due is not None and self.due_offset is None:
            row["due_offset"] = int((due.utcoffset() or timedelta()).total_seconds())
        return row


class Tasks(Resource[Task]):
    """What tasks do beside: a due date remembers its offset, and completing one that recurs makes the next."""

    statements: TaskStatements
    statements_of = TaskStatements
    transferred = TransferredTask
    kept = staticmethod(kept("tags"))
    links: ClassVar = {"next-occurrence": "the next occurrence, where completing a task made one"}
    on_update = (
        "\n\nCompleting a task that recurs makes its next occurrence, once. Reopening it takes that one away again, "
        "unless it was changed since."
    )
    on_update_all = "; completing those that recur, and reopening them, too"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        described: Any = PydanticField(
            default=MISSING,
            max_length=MAX_TAGS,
            description=f"Tags to add to those that each has. A task that would have over {MAX_TAGS} stays as it is.",
            examples=[["home"]],
        )
        body = self.update_many_body
        self.update_many_body = create_model(
            body.__name__, __base__=body, __doc__=body.__doc__, add_tags=(list[TagName] | MISSING, described)
        )
        self.update_many_body.model_config["json_schema_extra"] = {"not": {"required": ["tags", "add_tags"]}}

    def values(self, body: BaseModel) -> dict[str, Any]:
        """Return what a body sets: with a due date its offset from UTC, and with tags the parameter of `spelled`."""
        values = super().values(body)
        added = values.pop("add_tags", None)
        if added is not None and "tags" in values:
            raise invalid(("add_tags", "must not be beside tags"))
        if added:
            values[ADDED_TAGS] = patterns(added)
        if "due_date" in values:
            given = getattr(body, "due_date", None)
            offset = given.utcoffset() if isinstance(given, datetime) else None
            values["due_offset"] = None if offset is None else offset.total_seconds()
        if values.get("tags"):
            values[TAGS] = patterns(values["tags"])
        return values

    async def meant(self, db: Database, user_id: str, named: dict[str, Any]) -> dict[str, Any] | None:
        """Return the filters with the tags as the caller spells them, if that is another way."""
        if "_by_tag" not in named:
            return None
        [(names,)] = await db.run(SPELL, user_id, repeatable=True, **{TAGS: patterns(named["_by_tag"])})
        return named | {"_by_tag": names} if {*names} != {*named["_by_tag"]} else None

    async def create(self, db: Database, user_id: str, row_id: UUID, values: dict[str, Any]) -> Rows:
        """Make a task: one statement, or two where a tag is not known as it is given."""
        if TAGS not in values:
            return await super().create(db, user_id, row_id, values)
        rows = await db.run(self.statements.create_if_known, user_id, id=row_id, **values)
        return rows or await db.run(self.statements.create_spelled, user_id, id=row_id, **values)

    async def change(
        self, db: Database, user_id: str, row_id: UUID, changes: dict[str, Any], versions: list[int] | None
    ) -> Changed:
        """Change one task: one statement, or two where one that recurs is completed."""
        if not completes(changes):
            return await super().change(db, user_id, row_id, changes, versions)
        fields = frozenset(changes)
        statement = self.statements.complete_unless_recurring(fields)
        while True:
            rows = await db.run(statement, user_id, id=row_id, _versions=versions, **changes)
            if changed := self.changed(rows, versions):
                return changed
            before = rows[0][2:]
            if self.statements.comes_again(before, changes):
                parameters = changes | await asyncio.to_thread(next_ones, changes, [before])
                completion = self.statements.complete_one(fields)
                if rows := await db.run(completion, user_id, id=row_id, **parameters):
                    row_json, version, next_id = rows[0]
                    return Changed(row_json, version, {"next-occurrence": next_id} if next_id else {})
            # Somebody changed or deleted it meanwhile: look again.

    async def change_all(
        self, db: Database, user_id: str, condition: ColumnElement[bool], named: dict[str, Any], changes: dict[str, Any]
    ) -> int:
        """Change all of a user's tasks that the filters name, and return how many: one statement, or two as above."""
        if ADDED_TAGS in changes:
            condition = self.statements.where_tags_fit(condition)
        if not completes(changes):
            return await super().change_all(db, user_id, condition, named, changes)
        fields = frozenset(changes)
        statement = self.statements.complete_all_unless_recurring(condition, fields)
        while True:
            rows = await db.run(statement, user_id, **named, **changes)
            recurring = [row[1:] for row in rows if row[1] is not None]
            if not recurring:
                return int(rows[0][0])
            completion = self.statements.complete_all(condition, fields)
            coming = await asyncio.to_thread(next_ones, changes, recurring)  # which may take a while
            [(count,)] = await db.run(completion, user_id, **named, **changes, **coming)
            if count:
                return int(count)
            # Somebody changed one of them between the two statements: look again.


tasks = Tasks(
    Task,
    "/api/tasks",
    filters=["status", "priority", "tags", "due_date", "completed_at"],
    sorts=["due_date", "priority", "title", "completed_at"],
    search=["title", "description"],
)
