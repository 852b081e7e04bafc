"""Which tasks a list or a bulk change is about, in which order, and where a page ends."""

import hashlib
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)
from sqlalchemy import (
    ColumnElement,
    DateTime,
    SmallInteger,
    Text,
    and_,
    bindparam,
    cast,
    func,
    literal_column,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY

from backend.database import sql
from backend.models import DueDate, Priority, Status, TagName, TaskCreate, in_utc
from backend.models import Text as PlainText
from backend.problems import Problem
from backend.statements import KEPT, OWN, SHOWN, as_json, task

CURSOR_CHECK_BYTES = 9


def _plus_that_became_a_space(value: object) -> object:
    # An offset's "+" that was not percent-encoded arrives as a space.
    return re.sub(r" (\d\d:?\d\d)$", r"+\1", value) if isinstance(value, str) else value


# PostgreSQL takes no offset over 16 hours, as ISO 8601 does; the moment is all that counts here.
QueryDate = Annotated[DueDate, BeforeValidator(_plus_that_became_a_space), AfterValidator(in_utc)]
NOT_GIVEN: Any = None  # which no sender can say, so the types do not have it


class Filters(BaseModel):
    """Which tasks. A parameter that is not known here is refused: a typo never answers with everything."""

    model_config = ConfigDict(extra="forbid")

    status: list[Status] = Field(default=[], description="Any of these.")
    priority: list[Priority] = Field(default=[], description="Any of these.")
    tag: list[TagName] = Field(default=[], description="All of these.")
    due_before: QueryDate = Field(default=NOT_GIVEN, description="Due before this moment.")
    due_after: QueryDate = Field(default=NOT_GIVEN, description="Due after this moment.")
    q: Annotated[PlainText, StringConstraints(min_length=1, max_length=200)] = Field(
        default=NOT_GIVEN, description="Part of the title or the description, in any case."
    )

    def named(self) -> dict[str, Any]:
        """Return the filters that are set, as the parameters of the statements made for them."""
        found = {name: value for name in Filters.model_fields if (value := getattr(self, name)) not in (NOT_GIVEN, [])}
        if "q" in found:
            found["q"] = "%" + re.sub(r"([\\%_])", r"\\\1", found["q"]) + "%"
        for name, values in (("status", Status), ("priority", Priority)):
            if name in found:
                found[name] = sorted({list(values).index(value) for value in found[name]})
        if len(found.get("status", ())) == 1:  # of which an index has the tasks in their order
            [found["one_status"]] = found.pop("status")
        return {f"by_{name}": value for name, value in found.items()}


# A field to sort by, "-" in front for descending. Ties are sorted by id in the same direction, and tasks without a
# due date come last, both ways.
Sort = Literal[
    "created_at",
    "-created_at",
    "updated_at",
    "-updated_at",
    "due_date",
    "-due_date",
    "priority",
    "-priority",
    "title",
    "-title",
]


class ListQuery(Filters):
    """Which tasks, in which order, and how many."""

    sort: Sort = Field(default="-created_at", description="`-` in front means descending.")
    limit: int = Field(default=100, ge=1, le=500, description="At most this many; `Link` leads to the rest.")
    cursor: str = Field(default=NOT_GIVEN, max_length=2000, description="Where a page begins: from `Link`, as it is.")


BY: dict[str, ColumnElement[bool]] = {
    "by_one_status": task.c.status_order == bindparam("by_one_status"),
    "by_status": task.c.status_order == func.any(cast(bindparam("by_status"), ARRAY(SmallInteger))),
    "by_priority": task.c.priority_order == func.any(cast(bindparam("by_priority"), ARRAY(SmallInteger))),
    "by_tag": task.c.tags.contains(cast(bindparam("by_tag"), ARRAY(Text))),
    "by_due_before": task.c.due_order < bindparam("by_due_before"),
    "by_due_after": and_(
        task.c.due_order > bindparam("by_due_after"),
        task.c.due_order < literal_column("'infinity'", DateTime(timezone=True)),
    ),
    "by_q": or_(task.c.title.ilike(bindparam("by_q")), task.c.description.ilike(bindparam("by_q"))),
}


@lru_cache(KEPT)  # also so that one condition is one object, by which the statements made of it are kept
def where(filters: frozenset[str]) -> ColumnElement[bool]:
    """Return the condition for the caller's tasks that these filters (names of `Filters.named`) are about."""
    return and_(OWN, *(BY[name] for name in sorted(filters)))


@lru_cache(KEPT)
def page(filters: frozenset[str], sort: Sort, after: bool) -> str:
    """Return the statement for a page of `limit` tasks, the first or the one after a key and an id."""
    field, descending = sort.removeprefix("-"), sort.startswith("-")
    key = task.c[{"due_date": "due_order", "priority": "priority_order"}.get(field, field)]
    if sort == "-due_date":  # what has no due date comes last, both ways
        key = func.coalesce(task.c.due_date, literal_column("'-infinity'::timestamptz", key.type))
    condition = where(filters)
    if after:
        last = tuple_(bindparam("after_key", type_=key.type), bindparam("after_id", type_=task.c.id.type))
        place = tuple_(key, task.c.id)
        condition = and_(condition, place < last if descending else place > last)
    order = (key.desc(), task.c.id.desc()) if descending else (key, task.c.id)
    rows = select(*SHOWN).where(condition).order_by(*order).limit(bindparam("limit")).subquery("shown")
    return sql(select(as_json(rows)))


Moment = Annotated[AwareDatetime, AfterValidator(in_utc)]
# What a cursor holds of each sort, beside the id.
KEYS: dict[str, TypeAdapter[Any]] = {
    "created_at": TypeAdapter(Moment),
    "updated_at": TypeAdapter(Moment),
    "due_date": TypeAdapter(Moment | None),
    "priority": TypeAdapter(Priority),
    "title": TypeAdapter(TaskCreate.model_fields["title"].rebuild_annotation()),
}


def _check(query: ListQuery, place: bytes) -> bytes:
    # Not a secret: a cursor only says where its holder's own list goes on. It is bound to its sort and filters so
    # that one used with others is an error, and not a page from the middle of another list.
    bound_to = query.model_dump_json(exclude={"limit", "cursor"}).encode()
    return hashlib.blake2b(
        place, digest_size=CURSOR_CHECK_BYTES, person=hashlib.blake2b(bound_to, digest_size=16).digest()
    ).digest()


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def cursor_after(query: ListQuery, last: str) -> str:
    """Return the cursor for the page after the task whose JSON is `last`."""
    fields = json.loads(last)
    place = json.dumps([fields[query.sort.removeprefix("-")], fields["id"]], ensure_ascii=False).encode()
    return _encoded(_check(query, place) + place)


def place_of(query: ListQuery) -> dict[str, Any]:
    """Return the key and id after which the page of a query begins; raise Problem INVALID_CURSOR."""
    if query.cursor is None:
        return {}
    try:
        data = urlsafe_b64decode(query.cursor + "=" * (-len(query.cursor) % 4))
        if _encoded(data) != query.cursor:
            raise ValueError("not as it was given out")
        check, place = data[:CURSOR_CHECK_BYTES], data[CURSOR_CHECK_BYTES:]
        key, task_id = json.loads(place.decode())
        key = KEYS[query.sort.removeprefix("-")].validate_python(key)
        if check != _check(query, place):
            raise ValueError("made for another list")
        after_id = UUID(task_id)
    except (ValueError, TypeError, AttributeError, RecursionError, ValidationError):
        raise Problem(
            "INVALID_CURSOR",
            "The cursor is not one of this list. Take it from the Link header, with the same sort and filters.",
        ) from None
    if isinstance(key, Priority):
        key = list(Priority).index(key)
    if key is None:
        key = "-infinity" if query.sort.startswith("-") else "infinity"
    return {"after_key": key, "after_id": after_id}
