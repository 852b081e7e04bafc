"""The two tables, which are also the schemas of the API, and the request bodies they are made from."""

from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import (
    MISSING,
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    create_model,
)
from pydantic import Field as PydanticField
from sqlalchemy import CheckConstraint, Computed, DateTime, Enum, Index, SmallInteger, text
from sqlalchemy import Text as TextType
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel

from backend import recurrence

COLOR_PATTERN = r"^#[0-9A-Fa-f]{6}$"
MAX_USER_ID_LENGTH = 255


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


def _no_repeats(value: list[str]) -> list[str]:
    if len(set(value)) < len(value):
        raise ValueError("must not name a tag twice")
    return value


def _no_dots(value: str) -> str:
    if value in (".", ".."):
        raise ValueError("must not be . or .., which no URL can name")
    return value


def _iso_text(value: object) -> object:
    # pydantic also takes seconds since 1970, as a number or in digits; whoever sends those is mistaken.
    if isinstance(value, str) and "-" in value[1:]:
        return value
    raise ValueError("must be a date and time with an offset, like 2030-01-31T09:00:00Z")


def in_utc(value: datetime) -> datetime:
    """Return a moment in UTC; raise ValueError if its year there is none that a calendar has."""
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie between the years 1 and 9999 in UTC") from None


def local_due(due: datetime | None, offset: int | None) -> datetime | None:
    """Return a due date at the offset from UTC, in seconds, that it was given in; raise OverflowError."""
    return due and due.astimezone(timezone(timedelta(seconds=offset or 0)))


def _in_four_digit_years(value: datetime) -> datetime:
    in_utc(value)
    return value


# PostgreSQL's text cannot hold NUL; a pattern, so that the API's schema says so too.
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
# The patterns of what is trimmed ask for something other than white space.
TrimmedText = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[^\x00]*[^\s\x00][^\x00]*$")]
TagName = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        min_length=1,
        max_length=50,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
    ),
    AfterValidator(_no_dots),
]
Color = Annotated[str, StringConstraints(pattern=COLOR_PATTERN)]
DueDate = Annotated[AwareDatetime, BeforeValidator(_iso_text), AfterValidator(_in_four_digit_years)]
RecurrenceRule = Annotated[Text, AfterValidator(recurrence.check), PydanticField(json_schema_extra={"format": "rrule"})]


def _postgres_enum(values: type[StrEnum], name: str) -> Enum:
    return Enum(values, name=name, values_callable=lambda members: [member.value for member in members])


def _place_in(values: type[StrEnum], column: str) -> str:
    """Return the SQL for the place of a column's value among those of its enum, from 0; as PostgreSQL prints it."""
    cases = " ".join(f"WHEN '{value}'::task_{column} THEN {place}" for place, value in enumerate(values))
    return f"CASE {column} {cases} ELSE NULL::integer END"


def _computed(sql_type: Any, expression: str) -> Any:
    return Field(default=None, exclude=True, sa_type=sql_type, sa_column_args=[Computed(expression, persisted=True)])


def _server_default(sql: str) -> dict[str, Any]:
    return {"server_default": text(sql)}


class TaskCreate(SQLModel):
    """What a client says of a task. What it leaves out gets its default."""

    model_config = ConfigDict(extra="forbid", json_schema_serialization_defaults_required=True)  # type: ignore[assignment]

    title: TrimmedText = Field(
        min_length=1,
        max_length=200,
        description="What is to be done. White space around it is trimmed.",
        schema_extra={"examples": ["Buy milk"]},
    )
    description: Text | None = Field(default=None, max_length=1000, description="More about it.")
    status: Status = Field(default=Status.pending, sa_type=_postgres_enum(Status, "task_status"))
    priority: Priority = Field(default=Priority.medium, sa_type=_postgres_enum(Priority, "task_priority"))
    due_date: DueDate | None = Field(
        default=None,
        sa_type=DateTime(timezone=True),
        description="When it is due, with an offset from UTC.",
        schema_extra={"examples": ["2030-01-31T09:00:00+01:00"]},
    )
    recurrence_rule: RecurrenceRule | None = Field(
        default=None,
        max_length=500,
        description="An RFC 5545 RRULE. It needs a due date beside it.",
        schema_extra={"examples": ["FREQ=WEEKLY;BYDAY=MO"]},
    )
    tags: Annotated[list[TagName], AfterValidator(_no_repeats)] = Field(
        default_factory=list,
        max_length=20,
        sa_type=ARRAY(TextType),
        description="Names, without repeats.",
        schema_extra={"examples": [["home"]], "json_schema_extra": {"uniqueItems": True}},
    )


# PATCH: the same fields, each of which may be absent (pydantic's MISSING), which is not the same as null.
TaskUpdate: type[BaseModel] = create_model(
    "TaskUpdate",
    __config__=ConfigDict(extra="forbid"),
    __doc__="What a client changes of a task. What it leaves out stays; null clears what may be null.",
    **{
        name: (
            Annotated[(field.annotation | MISSING, *field.metadata)],
            Field(
                default=MISSING,
                description=field.description,
                schema_extra={"examples": field.examples, "json_schema_extra": field.json_schema_extra},
            ),
        )
        for name, field in TaskCreate.model_fields.items()
    },  # type: ignore[call-overload]
)


class Task(TaskCreate, table=True):
    """A task, as every answer shows it."""

    __tablename__ = "task"
    __table_args__ = (
        CheckConstraint("recurrence_rule IS NULL OR due_date IS NOT NULL", name="recurrence_needs_due_date"),
        Index("task_newest", "user_id", "created_at", "id"),
        Index("task_status", "user_id", "status_order", "created_at", "id"),
        Index("task_priority", "user_id", "priority_order", "id"),
        Index("task_due_date", "user_id", "due_order", "id"),
    )

    # The owner leads the key: no path to a row goes around the owner, and a user's rows lie together.
    user_id: str = Field(primary_key=True, max_length=MAX_USER_ID_LENGTH, description="The owner: the token's subject.")
    id: UUID = Field(primary_key=True, description="A UUIDv7: later tasks have greater ids.")
    version: int = Field(sa_column_kwargs=_server_default("1"), description="Goes up by one with every change.")
    created_at: AwareDatetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs=_server_default("now()"))
    updated_at: AwareDatetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs=_server_default("now()"))
    due_offset: int | None = Field(default=None, exclude=True)  # of due_date, in seconds east of UTC; for its rule
    completed_at: AwareDatetime | None = Field(
        sa_type=DateTime(timezone=True), description="When it was completed; null while it is not."
    )
    # What lists are looked up by. Under row-level security PostgreSQL looks up in an index only what is compared by
    # functions that it calls leakproof; those of enums and coalesce() are not (docs/decisions/0009).
    status_order: int = _computed(SmallInteger(), _place_in(Status, "status"))
    priority_order: int = _computed(SmallInteger(), _place_in(Priority, "priority"))
    due_order: datetime = _computed(DateTime(timezone=True), "COALESCE(due_date, 'infinity'::timestamp with time zone)")


class TagColor(SQLModel):
    """A tag's colour, as CSS writes it."""

    model_config = ConfigDict(extra="forbid")  # type: ignore[assignment]

    color: Color | None = Field(max_length=7, description="`#rrggbb`, or null for none.")


class TagRename(SQLModel):
    """A tag's name. Onto one that exists, the two become one."""

    model_config = ConfigDict(extra="forbid")  # type: ignore[assignment]

    name: TagName = Field(max_length=50)


class NamedTag(TagColor, TagRename):
    """A tag and its colour."""


class Tag(NamedTag, table=True):
    """What is known of a tag beside the tasks that name it."""

    __tablename__ = "tag"

    user_id: str = Field(primary_key=True, max_length=MAX_USER_ID_LENGTH)
    name: TagName = Field(primary_key=True, max_length=50)
