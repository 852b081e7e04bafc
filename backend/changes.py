"""What the change log answers: what is new since a seq, the history of a row, and taking back what a request did."""

import json
from functools import cache
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import Numeric, select

from backend.auth import Claims, CurrentUser, user_of
from backend.changelog import LOGGED, LoggedTable
from backend.crud import described
from backend.database import Db, Rows, quoted, sql
from backend.problems import Problem, responses
from backend.resources import Owned, Resource
from backend.routing import UserRoute, typed

router = APIRouter(prefix="/api/changes", tags=["changes"], route_class=UserRoute)

MAX_SEQ = 2**63 - 1
LOOKED_AT = 10_000
Seq = Annotated[int, Field(ge=0, le=MAX_SEQ)]
NEWEST = "coalesce((SELECT seq FROM change WHERE user_id = %(user_id)s ORDER BY seq DESC LIMIT 1), 0)"
OLDEST = "(SELECT seq FROM change WHERE user_id = %(user_id)s ORDER BY seq LIMIT 1)"


class ChangesQuery(BaseModel):
    """From where, and how many."""

    model_config = ConfigDict(extra="forbid")

    since: Annotated[Seq | None, Field(description="The `seq` of the last answer. Without it: the current one.")] = None
    limit: Annotated[int, Field(ge=1, le=500, description="About so many: one request's changes stay together.")] = 100


class ChangedRow(BaseModel):
    """A row that was changed, as it is now."""

    resource: str = Field(description="As in its path.", examples=["tasks"])
    id: str = Field(description="Its id; of a tag its name.", examples=["0199f2b6-6f0e-7c59-a4a5-2c1f3f0a9f5b"])
    row: dict[str, Any] = Field(description="As a GET shows it; of a tag its name and colour.")


class DeletedRow(BaseModel):
    """A row that is gone."""

    resource: str = Field(examples=["tasks"])
    id: str = Field(examples=["0199f2b6-6f0e-7c59-a4a5-2c1f3f0a9f5b"])
    deleted: Literal[True]


class ChangesPage(BaseModel):
    """What is now true of each row that was changed, each once, and the `seq` to go on from."""

    seq: int = Field(examples=[812])
    changes: list[ChangedRow | DeletedRow]


class FieldChange(BaseModel):
    """A field, and what it was before and after."""

    field: str = Field(examples=["title"])
    from_: Any = Field(alias="from", examples=["Buy milk"])
    to: Any = Field(examples=["Buy oat milk"])


class HistoryEntry(BaseModel):
    """What one request did to a row."""

    seq: int = Field(description="Of the request, for `POST /api/changes/{seq}/undo`.", examples=[812])
    action: Literal["created", "updated", "deleted"]
    at: AwareDatetime
    by: str = Field(description="The user, or who acted for the user.")
    request_id: str | None = Field(description="As `X-Request-ID` said it.")
    undoes: int | None = Field(description="The `seq` of the request that this one took back.")
    changes: list[FieldChange] | None = Field(description="Null where what was before is not kept any more.")


class HistoryQuery(BaseModel):
    """Which page."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=500, description="At most this many; `Link` leads to the rest.")] = 100
    cursor: Annotated[Seq | None, Field(description="Where a page begins: from `Next-Cursor`, as it is.")] = None


def not_kept() -> Problem:
    """Return the 410: what lies between there and now is not known any more, or never was."""
    return Problem("CHANGES_NOT_KEPT", "What was changed since then is not kept. Fetch everything again.")


@cache
def current() -> str:
    """Return what, of the rows that a query calls `_entry`, gives the JSON as they are now; null where one is gone."""
    cases = [
        f"""WHEN '{name}' THEN (SELECT row_to_json(_shown)::text FROM (
            {sql(select(*part.shown).where(part.own))} AND {part.key_is("_entry.id")}
        ) AS _shown)"""
        for name, part in LOGGED.items()
    ]
    return f"CASE _entry.resource {' '.join(cases)} END"


@cache
def names() -> str:
    """Return the resources that are declared: the log may know of others."""
    return ", ".join(f"'{name}'" for name in LOGGED)


@cache
def sync_statement() -> str:
    """Return the query for a page of what was changed after `_since`.

    Each row: the user's newest seq, the oldest that is kept, how far the page reaches, and of a changed row its seq,
    resource, id and JSON. A page looks at so many entries and no more, however often a few rows were changed. Whether
    one is the newest of its row is looked up for each: a join would be planned by statistics, which know of no entry
    just after a large import, and would compare each with each.
    """
    return f"""
        WITH _window AS MATERIALIZED (
            SELECT seq, resource, id FROM change WHERE user_id = %(user_id)s AND seq > %(_since)s
            ORDER BY seq FETCH FIRST {LOOKED_AT} ROWS WITH TIES
        ), _page AS (
            SELECT seq, resource, id FROM _window
            WHERE resource IN ({names()}) AND seq = (
                SELECT seq FROM change AS newer WHERE newer.user_id = %(user_id)s
                    AND newer.resource = _window.resource AND newer.id = _window.id
                ORDER BY resource DESC, id DESC, seq DESC LIMIT 1
            )
            ORDER BY seq FETCH FIRST %(_limit)s ROWS WITH TIES
        )
        SELECT
            {NEWEST}, {OLDEST}, (SELECT max(seq) FROM _window), _entry.seq, _entry.resource, _entry.id, {current()}
        FROM (SELECT) AS _one LEFT JOIN _page AS _entry ON true
        ORDER BY _entry.seq, _entry.resource, _entry.id
    """


def answer(seq: int, rows: Rows) -> Response:
    """Return an answer: of each row its resource, its id, and its JSON or None."""
    return Response(document(seq, rows), media_type="application/json")


def document(seq: int, rows: Rows) -> str:
    """Return the JSON of an answer."""
    changes = ",".join(
        f'{{"resource":"{name}","id":{json.dumps(row_id)},' + (f'"row":{row}}}' if row else '"deleted":true}')
        for name, row_id, row in rows
    )
    return f'{{"seq":{seq},"changes":[{changes}]}}'


def page_of(rows: Rows, since: int, limit: int) -> tuple[int, Rows]:
    """Return the seq to go on from, and the rows of an answer; raise Problem CHANGES_NOT_KEPT."""
    newest, oldest, reach, *_ = rows[0]
    if since > newest or since < (oldest or 1) - 1:
        raise not_kept()
    found = [row[3:] for row in rows if row[3] is not None]
    seq = found[-1][0] if len(found) >= limit else newest if reach is None else reach
    return seq, [row[1:] for row in found]


@router.get("", response_model=ChangesPage, responses=responses("VALIDATION_ERROR", "CHANGES_NOT_KEPT"))
async def list_changes(query: Annotated[ChangesQuery, Query()], user: CurrentUser, db: Db) -> Response:
    """What is now true of each row that was changed after `since`, in order.

    Go on from the `seq` of the answer, until it is the one that you asked with. To begin, ask without `since`, keep the
    `seq`, list everything, and go on from there.
    """
    since = MAX_SEQ if query.since is None else query.since
    rows = await db.run(sync_statement(), user.user_id, repeatable=True, _since=since, _limit=query.limit)
    return answer(rows[0][0], []) if query.since is None else answer(*page_of(rows, since, query.limit))


def _before(part: LoggedTable, name: str) -> str:
    """Return the SQL of a field as it was: from the JSON as it was kept, whatever the table is like by now."""
    if type(part.table.c[name].type) is Numeric:
        return f"_entry.before ->> '{name}'"  # as text, as answers have it
    before = f"_entry.before -> '{name}'"
    if part.statements and (day := part.statements.days.get(name)):
        return f"CASE WHEN _entry.before ->> '{day}' IS NULL THEN {before} ELSE _entry.before -> '{day}' END"
    return before


def _history_statement(name: str, part: LoggedTable) -> str:
    """Return the query for a page of a row's history, the newest first, from the entry `_cursor` on.

    Each row: the row as it is now, and of an entry what is said of it, and the row before; nulls where there is none.
    """
    before = ", ".join(f"{_before(part, column.name)} AS {quoted(column.name)}" for column in part.shown)
    return f"""
        WITH _page AS (
            SELECT * FROM change
            WHERE user_id = %(user_id)s AND resource = '{name}' AND id = %(id)s::text AND seq <= %(_cursor)s
            ORDER BY seq DESC LIMIT %(_limit)s
        )
        SELECT
            (SELECT row_to_json(_shown) FROM (
                {sql(select(*part.shown).where(part.own))} AND {part.key_is("%(id)s")}
            ) AS _shown),
            _entry.seq, _entry.action, _entry.at, coalesce(_entry.acted_by, _entry.user_id), _entry.request_id,
            _entry.undoes,
            CASE WHEN _entry.before IS NOT NULL THEN (SELECT row_to_json(_kept) FROM (SELECT {before}) AS _kept) END
        FROM (SELECT) AS _one LEFT JOIN _page AS _entry ON true
        ORDER BY _entry.seq DESC
    """


def _difference(fields: list[str], before: dict[str, Any] | None, after: dict[str, Any] | None) -> Any:
    """Return each field that is not the same; None where one side is not known."""
    if before is None or after is None:
        return None
    sides = [(name, before.get(name), after.get(name)) for name in fields]
    return [{"field": name, "from": was, "to": now} for name, was, now in sides if was != now]


def history_router(resource: Resource[Any]) -> APIRouter:
    """Return the route of a resource's histories."""
    name = resource.statements.name
    statement = _history_statement(name, LOGGED[name])
    shown = [column.name for column in LOGGED[name].shown]
    fields = [field for field in shown if field not in Owned.model_fields]
    routes = APIRouter(prefix=resource.path, tags=[resource.plural], route_class=UserRoute)
    row_id = Annotated[UUID, Path(description=f"The id of {resource.a_noun} of yours.")]
    reads, _ = user_of(name)

    async def list_history(id: UUID, query: Any, request: Request, user: Claims, db: Db) -> Response:
        cursor = MAX_SEQ if query.cursor is None else query.cursor
        # The entry of the cursor says what the first one of the page was changed to; one more, whether there is more.
        rows = await db.run(statement, user.user_id, repeatable=True, id=id, _cursor=cursor, _limit=query.limit + 2)
        after, *_ = rows[0]
        found = [row[1:] for row in rows if row[1] is not None]
        if query.cursor is None and not found and after is None:
            raise resource.not_found()
        if query.cursor is not None:
            after = found.pop(0)[-1] if found and found[0][0] == query.cursor else None
        entries = []
        for seq, action, at, by, request_id, undoes, kept in found[: query.limit]:
            before = {} if action == "created" else kept
            changes = _difference(fields, before, {} if action == "deleted" else after)
            said = {"seq": seq, "action": action, "at": at.isoformat(), "by": by, "request_id": request_id}
            entries.append({**said, "undoes": undoes, "changes": changes})
            after = kept
        headers = {}
        if len(found) > query.limit:
            target = f"{request.state.prefix}{resource.path.removeprefix('/api')}/{id}/history"
            following = str(entries[-1]["seq"])
            link = f'<{target}?limit={query.limit}&cursor={following}>; rel="next"'
            headers = {"Link": link, "Next-Cursor": following}
        listed = json.dumps(entries, ensure_ascii=False, separators=(",", ":"))
        return Response(listed, headers=headers, media_type="application/json")

    routes.get(
        "/{id}/history",
        name=f"list_{resource.noun.replace(' ', '_')}_history",
        description=f"What was done to {resource.a_noun}, the newest first; also to one that is deleted.",
        response_model=list[HistoryEntry],
        responses={
            200: described(resource.noun, "Link", "Next-Cursor"),
            **responses(resource.code, "VALIDATION_ERROR"),
        },
    )(typed(list_history, user=reads, id=row_id, query=Annotated[(HistoryQuery, Query())]))
    return routes
