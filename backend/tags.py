"""The tag routes. A tag lives in the tasks that name it; a row of its own only holds its colour."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Response
from pydantic import MISSING, ConfigDict, StringConstraints
from pydantic import Field as PydanticField
from sqlalchemy import (
    ColumnElement,
    String,
    Text,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    literal_column,
    not_,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlmodel import Field, SQLModel

from backend.auth import Claims, UserScheme
from backend.changelog import CREATED, DELETED, LOGGED, UPDATED, LoggedTable, entry, logged, whole
from backend.database import Db, Logged, sql
from backend.export_import import EXPORTED, Exported
from backend.fields import MAX_USER_ID_LENGTH
from backend.problems import BODY_PROBLEMS, CODES, PATTERN_MESSAGES, Problem, invalid, responses
from backend.routing import UserRoute
from backend.spelling import kept, letters, patterns, spelled
from backend.statements import as_json, count
from backend.tasks import TagName, tasks

# Tags are in tasks, and so need no scope of their own.
Reader = Annotated[Claims, Depends(UserScheme(["tasks:read"]))]
Writer = Annotated[Claims, Depends(UserScheme(["tasks:write"]))]
router = APIRouter(prefix="/api/tags", tags=["tags"], route_class=UserRoute)

CODES.setdefault("TAG_NOT_FOUND", (404, "Tag not found"))
COLOR_PATTERN = r"^#[0-9A-Fa-f]{6}$"
PATTERN_MESSAGES[COLOR_PATTERN] = "must be a colour like #3366ff"
Color = Annotated[str, StringConstraints(pattern=COLOR_PATTERN)]


class TagColor(SQLModel):
    """A tag's colour, as CSS writes it."""

    model_config = ConfigDict(extra="forbid")  # type: ignore[assignment]

    color: Color | None = Field(max_length=7, description="`#rrggbb`, or null for none.")


class TagReplace(TagColor):
    """A tag's colour. A tag of an answer can be sent back: its name is checked, the rest is passed over."""

    name: TagName | MISSING = PydanticField(default=MISSING, description="If it is there: that of the path.")
    tasks: Any = PydanticField(default=MISSING, description="Counted by the API. What is sent is passed over.")


class TagRename(SQLModel):
    """A tag's name. Onto one that exists, the two become one."""

    model_config = ConfigDict(extra="forbid")  # type: ignore[assignment]

    name: TagName


class NamedTag(TagColor, TagRename):
    """A tag and its colour."""


class Tag(NamedTag, table=True):
    """What is known of a tag beside the tasks that name it."""

    __tablename__ = "tag"

    user_id: str = Field(primary_key=True, max_length=MAX_USER_ID_LENGTH, sa_type=String(MAX_USER_ID_LENGTH))
    name: TagName = Field(primary_key=True, max_length=50)


# Names are percent-encoded in the path, a slash as %2F.
NamePath = Annotated[TagName, Path(description="The tag's name, percent-encoded.", examples=["home"])]

tag: Any = Tag.__table__  # type: ignore[attr-defined]
task, OWN = tasks.statements.table, tasks.statements.own
GIVEN, AS_IS = cast(bindparam("name"), Text), cast(bindparam("_as_is"), Text)
NAME = spelled("_name")[literal_column("1")]
# A tag is renamed to one that there is as it is spelled; but to its own letters as they are given.
NEW_NAME = func.coalesce(AS_IS, spelled("_new_name")[literal_column("1")])
OWN_TAG = tag.c.user_id == bindparam("user_id")

LOGGED["tags"] = LoggedTable(tag, tag.c.name, (tag.c.name, tag.c.color))
EXPORTED.append(
    Exported(
        name="tags",
        table=tag,
        shown=(tag.c.name, tag.c.color),
        key=tag.c.name,
        given=NamedTag,
        row=lambda given, _: given.model_dump(),
        only=tag.c.color.is_not(None),
        kept=kept("name"),
    )
)


class ListedTag(NamedTag):
    """A tag, its colour, and how many tasks have it."""

    tasks: int = PydanticField(examples=[3])


def _used(name: ColumnElement[str]) -> Any:
    return task.c.tags.contains(array([name]))


def _exists(name: ColumnElement[str]) -> ColumnElement[bool]:
    return or_(exists().where(OWN, _used(name)), exists().where(OWN_TAG, tag.c.name == name))


def _list() -> str:
    uses = select(func.unnest(task.c.tags).label("name"), func.count().label("tasks")).where(OWN)
    used = uses.group_by(literal_column("1")).subquery("_used")
    coloured = select(tag.c.name, tag.c.color).where(OWN_TAG, tag.c.color.is_not(None)).subquery("_coloured")
    listed = (
        select(
            func.coalesce(used.c.name, coloured.c.name).label("name"),
            coloured.c.color,
            func.coalesce(used.c.tasks, literal_column("0")).label("tasks"),
        )
        .select_from(used.outerjoin(coloured, used.c.name == coloured.c.name, full=True))
        .order_by(literal_column("1"))
        .subquery("_listed")
    )
    return sql(select(as_json(listed)))


def _first(query: Any, name: str) -> Any:
    """Return a CTE that is read before a change, if it is added first: Citus runs one after the other."""
    return query.cte(name).prefix_with("MATERIALIZED")


def _before(name: ColumnElement[str]) -> Any:
    """Return the row of a tag as it is before a change."""
    return _first(select(tag.c.color, whole(tag)).where(OWN_TAG, tag.c.name == name), "_tag_before")


def _coloured(before: Any, changed: Any) -> Any:
    """Return what is logged of a tag's row in `changed`, which is made or gets a colour."""
    was = select(before.c["_row"]).scalar_subquery()
    same = exists().where(before.c.color.is_not_distinct_from(changed.c.color))
    return entry("tags", changed.c.name, case((was.is_(None), CREATED), else_=UPDATED), was).where(not_(same))


def _color() -> Logged:
    color = cast(bindparam("color"), tag.c.color.type)
    write = upsert(tag).from_select(["user_id", "name", "color"], select(bindparam("user_id"), NAME, color))
    changed = (
        write.on_conflict_do_update(index_elements=["user_id", "name"], set_={"color": write.excluded.color})
        .returning(tag.c.name, tag.c.color)
        .cte("_changed")
    )
    before = _before(NAME)
    known = _first(select(_exists(NAME).label("existed")), "_known")
    query = select(as_json(changed), known.c.existed).select_from(changed.join(known, true())).add_cte(before, known)
    return logged(query, _coloured(before, changed))


def _retag(tags: ColumnElement[Any]) -> tuple[Any, Any]:
    """Return the change of every task that has the tag, and what is logged of it."""
    values = {"tags": tags, "version": task.c.version + literal_column("1"), "updated_at": func.now()}
    statements = tasks.statements
    retagged = statements.update(statements.before(and_(OWN, _used(NAME))), OWN, values, task.c.id)
    return retagged, statements.updated(retagged)


def _forget(name: str) -> tuple[Any, Any]:
    """Return the deletion of the tag's row, and what is logged of it."""
    seen = select(tag.c.name, whole(tag)).where(OWN_TAG, tag.c.name == NAME).cte(f"{name}_before")
    gone = delete(tag).where(OWN_TAG, tag.c.name == seen.c.name).returning(*tag.c, seen.c["_row"]).cte(name)
    return gone, entry("tags", gone.c.name, DELETED, gone.c["_row"])


REMOVED = func.array_remove(task.c.tags, NAME)


def _rename() -> Logged:
    moved, forgotten = _forget("_moved")
    retagged, updated = _retag(case((_used(NEW_NAME), REMOVED), else_=func.array_replace(task.c.tags, NAME, NEW_NAME)))
    write = upsert(tag).from_select(["user_id", "name", "color"], select(moved.c.user_id, NEW_NAME, moved.c.color))
    merged = (
        write.on_conflict_do_update(
            index_elements=["user_id", "name"], set_={"color": func.coalesce(tag.c.color, write.excluded.color)}
        )
        .returning(tag.c.name, tag.c.color)
        .cte("_merged")
    )
    before = _before(NEW_NAME)
    color = func.coalesce(select(merged.c.color).scalar_subquery(), select(before.c.color).scalar_subquery())
    query = select(NEW_NAME, color, count(moved) + count(retagged)).add_cte(before)
    return logged(query, forgotten, updated, _coloured(before, merged))


def _delete() -> Logged:
    gone, forgotten = _forget("_gone")
    retagged, updated = _retag(REMOVED)
    return logged(select(count(gone) + count(retagged)), forgotten, updated)


LIST, COLOR, RENAME, DELETE = _list(), _color(), _rename(), _delete()
READ = sql(select(select(tag.c.color).where(OWN_TAG, tag.c.name == GIVEN).scalar_subquery(), _exists(GIVEN)))


def _not_found() -> Problem:
    return Problem("TAG_NOT_FOUND", "There is no such tag.")


@router.get("", response_model=list[ListedTag], responses=responses())
async def list_tags(user: Reader, db: Db) -> Response:
    """Your tags by name: every one in use or with a colour."""
    rows = await db.run(LIST, user.user_id, repeatable=True)
    return Response(f"[{','.join(row[0] for row in rows)}]", media_type="application/json")


@router.put(
    "/{name:path}",
    response_model=NamedTag,
    responses={201: {"model": NamedTag, "description": "The tag is new."}, **responses(*BODY_PROBLEMS)},
)
async def color_tag(name: NamePath, body: TagReplace, user: Writer, db: Db) -> Response:
    """Set a tag's colour; a tag that is in no task yet is made."""
    if body.name is not MISSING and letters(body.name) != letters(name):
        raise invalid(("name", "must be that of the path"))
    [(tag_json, existed)] = await db.run(COLOR, user.user_id, _name=patterns([name]), color=body.color)
    return Response(tag_json, 200 if existed else 201, media_type="application/json")


@router.patch("/{name:path}", responses=responses("TAG_NOT_FOUND", *BODY_PROBLEMS))
async def rename_tag(name: NamePath, body: TagRename, user: Writer, db: Db) -> NamedTag:
    """Rename a tag on every task. Onto one that exists, the two become one, and its colour wins."""
    if body.name == name:
        [(color, found)] = await db.run(READ, user.user_id, repeatable=True, name=name)
        if found:
            return NamedTag(name=name, color=color)
    as_is = body.name if letters(body.name) == letters(name) else None
    names: dict[str, Any] = {"_name": patterns([name]), "_new_name": patterns([body.name]), "_as_is": as_is}
    [(new_name, color, found)] = await db.run(RENAME, user.user_id, **names)
    if not found:
        raise _not_found()
    return NamedTag(name=new_name, color=color)


@router.delete("/{name:path}", status_code=204, responses=responses("TAG_NOT_FOUND", "VALIDATION_ERROR"))
async def delete_tag(name: NamePath, user: Writer, db: Db) -> None:
    """Take a tag off every task, and forget its colour."""
    [(found,)] = await db.run(DELETE, user.user_id, _name=patterns([name]))
    if not found:
        raise _not_found()
