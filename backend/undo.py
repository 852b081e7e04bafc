"""Taking back what a request did: one statement undoes it and logs that, a second one says how it went."""

from functools import cache
from typing import Annotated

from fastapi import APIRouter, Path, Response

from backend.auth import CurrentUser
from backend.changelog import LOG, LOGGED, LoggedTable, whole_sql
from backend.changes import OLDEST, ChangesPage, Seq, answer, current, names, not_kept
from backend.database import MANY_ROWS, Db, Logged, quoted, sql
from backend.problems import Problem, responses
from backend.routing import UserRoute

router = APIRouter(prefix="/api/changes", tags=["changes"], route_class=UserRoute)

# The rows of the request: what was done to each, and whether it is as the request left it, still or again (where all
# that came after was taken back).
TARGET = """
    SELECT
        entry.resource, entry.id, entry.action, entry.before, newest.seq AS newest, newest.undoes,
        entry.action = 'created' OR entry.before IS NOT NULL AS kept,
        coalesce(newest.as_of, newest.seq) = coalesce(entry.as_of, entry.seq) AS stands
    FROM change AS entry, LATERAL (
        SELECT seq, undoes, as_of FROM change
        WHERE user_id = entry.user_id AND resource = entry.resource AND id = entry.id
        ORDER BY seq DESC LIMIT 1
    ) AS newest
    WHERE entry.user_id = %(user_id)s AND entry.seq = %(_undoes)s
"""
# After which seq a row was as it was before the request. Where that is not kept, a negative number stands for it.
AS_OF = """
    coalesce((
        SELECT coalesce(as_of, seq) FROM change
        WHERE user_id = %(user_id)s AND resource = _undone.resource AND id = _undone.id AND seq < %(_undoes)s
        ORDER BY seq DESC LIMIT 1
    ), -%(_undoes)s)
"""


def _blocking() -> str:
    """Return the query for rows of which the request made the parents, and which others made since then."""
    queries = ["SELECT NULL AS resource, NULL AS id WHERE false"]
    for name, part in LOGGED.items():
        for child, parent, _ in part.statements.children if part.statements else ():
            table = quoted(child.table.name)
            queries.append(f"""
                SELECT '{child.name}', {table}.id::text FROM {table}
                JOIN _target ON _target.resource = '{name}' AND _target.action = 'created'
                    AND {sql(parent)} = {part.key_from("_target.id")}
                WHERE {table}.user_id = %(user_id)s
                    AND {table}.id::text NOT IN (SELECT id FROM _target WHERE resource = '{child.name}')
            """)
    return " UNION ALL ".join(queries)


def _room() -> str:
    """Return whether the user may have the deleted rows back, where a user may have only so many."""
    conditions = ["true"]
    for name, part in LOGGED.items():
        if part.statements and part.statements.max_per_user is not None:
            back = f"(SELECT count(*) FROM _target WHERE resource = '{name}' AND action = 'deleted')"
            own = f"(SELECT count(*) FROM {quoted(part.table.name)} WHERE user_id = %(user_id)s)"
            conditions.append(f"({back} = 0 OR {own} + {back} <= {part.statements.max_per_user})")
    return " AND ".join(conditions)


def _taking_back(number: int, name: str, part: LoggedTable) -> str:
    """Return the CTEs that take back what a request did to the rows of one table."""
    table, key = quoted(part.table.name), quoted(part.key.name)
    mine = f"(SELECT may FROM _verdict) AND _target.resource = '{name}' AND _target.action"
    written = [quoted(column) for column in part.written]
    versioned = "version" in written

    def values(old: str, counted: str) -> dict[str, str]:
        """Return the SQL of each column: as in the old row, but for the version and the moment of this change."""
        found = {column: f"{old}.{column}" for column in written}
        return found | ({"version": f"{counted}.version + 1", "updated_at": "now()"} if versioned else {})

    back, again = values("_old", "_old"), values("_seen", table)
    old = ", ".join(f"_old.{column}" for column in written)
    defaults = part.defaults.replace("'", "''").replace("%", "%%")
    return f"""
        _seen_{number} AS (
            SELECT
                {table}.{key} AS _key, _target.id AS _id, _target.action AS _action,
                {whole_sql(part.table)} AS _row, {old}
            FROM {table}, _target, json_populate_record({table}.*, _target.before) AS _old
            WHERE {table}.user_id = %(user_id)s AND {part.key_is("_target.id")} AND {mine} IN ('created', 'updated')
        ), _gone_{number} AS (
            DELETE FROM {table} USING _seen_{number} AS _seen
            WHERE {table}.user_id = %(user_id)s AND {table}.{key} = _seen._key AND _seen._action = 'created'
            RETURNING _seen._id AS id, _seen._row AS before
        ), _back_{number} AS (
            INSERT INTO {table} (user_id, {key}, {", ".join(back)})
            SELECT %(user_id)s, _old.{key}, {", ".join(back.values())}
            FROM _target, json_populate_record(
                json_populate_record(NULL::{table}, '{defaults}'), _target.before
            ) AS _old
            WHERE {mine} = 'deleted'
            RETURNING {key}::text AS id
        ), _again_{number} AS (
            UPDATE {table} SET {", ".join(f"{column} = {value}" for column, value in again.items())}
            FROM _seen_{number} AS _seen
            WHERE {table}.user_id = %(user_id)s AND {table}.{key} = _seen._key AND _seen._action = 'updated'
            RETURNING _seen._id AS id, _seen._row AS before
        ),
    """


@cache
def _statement() -> Logged:
    """Return the statement that takes back the request `_undoes`, unless one of its rows has changed since.

    Each row: the oldest seq that is kept, the seq of what took it all back (null if nothing did), and of a row of the
    request (or one that is in the way) its resource, id, JSON, whether it still stands, and whether it is kept how it
    was.
    """
    parts = list(enumerate(LOGGED.items()))
    undone = " UNION ALL ".join(
        f"""
            SELECT '{name}' AS resource, id, 'deleted' AS action, before FROM _gone_{number}
            UNION ALL SELECT '{name}', id, 'created', NULL FROM _back_{number}
            UNION ALL SELECT '{name}', id, 'updated', before FROM _again_{number}
        """
        for number, (name, _) in parts
    )
    undo = f"""
        WITH _target AS ({TARGET}), _blocking AS ({_blocking()}), _verdict AS (
            SELECT {_room()} AND NOT EXISTS (SELECT FROM _blocking) AND NOT EXISTS (
                SELECT FROM _target WHERE NOT stands OR NOT kept OR resource NOT IN ({names()})
            ) AS may
        ),
        {"".join(_taking_back(number, name, part) for number, (name, part) in parts)}
        _undone AS ({undone}), _entry AS (SELECT _undone.*, {AS_OF} AS as_of FROM _undone), _log AS ({sql(LOG)})
        SELECT 1 FROM _log
    """
    outcome = f"""
        WITH _target AS ({TARGET}), _blocking AS ({_blocking()}), _done AS (
            SELECT CASE WHEN bool_and(undoes IS NOT DISTINCT FROM %(_undoes)s) THEN max(newest) END AS seq FROM _target
        )
        SELECT
            {OLDEST}, (SELECT seq FROM _done), _entry.resource, _entry.id, {current()}, _entry.stands, _entry.kept,
            (SELECT seq FROM _done)
        FROM (SELECT) AS _one LEFT JOIN (
            SELECT resource, id, kept AND resource IN ({names()}) AS kept, stands FROM _target
            UNION ALL SELECT resource, id, true, false FROM _blocking
        ) AS _entry ON true
        ORDER BY _entry.resource, _entry.id
    """
    return Logged((MANY_ROWS, undo, outcome), outcome)


def _since(rows: list[tuple[str, str]]) -> Problem:
    """Return the 409: these rows are not as the request left them, or belong to what it made."""
    problem = Problem("CHANGED_SINCE", "Nothing was undone, because rows have changed since.")
    problem.rows = [{"resource": name, "id": row_id} for name, row_id in rows]
    return problem


@router.post(
    "/{seq}/undo",
    response_model=ChangesPage,
    responses=responses("CHANGE_NOT_FOUND", "VALIDATION_ERROR", "CHANGED_SINCE", "LIMIT_REACHED", "CHANGES_NOT_KEPT"),
)
async def undo_change(
    seq: Annotated[Seq, Path(description="The `seq` of what is to be undone: `Change` of its answer.")],
    user: CurrentUser,
    db: Db,
) -> Response:
    """Take back all that one request did: what it deleted comes back, what it made goes, what it changed is as before.

    Nothing is done if one of the rows has changed since. It is a change itself, and can be undone; to undo the same one
    twice does nothing more.
    """
    undo = _statement()
    try:
        rows = await db.run(undo, user.user_id, _undoes=seq)
    except Problem as problem:
        # Of a row that one of these belongs to, which is gone; or of a table that takes other values by now.
        if not problem.is_about_values:
            raise
        assert undo.done is not None
        rows = await db.run(undo.done, user.user_id, repeatable=True, _undoes=seq)
        raise _since([(row[2], row[3]) for row in rows]) from None
    oldest, undone_by, name, *_ = rows[0]
    if undone_by is not None:
        return answer(undone_by, [(row[2], row[3], row[4]) for row in rows])
    if name is None:
        raise not_kept() if 0 < seq < (oldest or 1) else Problem("CHANGE_NOT_FOUND", "There is no such change.")
    if changed := [(row[2], row[3]) for row in rows if not row[5]]:
        raise _since(changed)
    if not all(row[6] for row in rows):
        raise not_kept()
    raise Problem("LIMIT_REACHED", "With these rows back you would have more than a user may. Nothing was undone.")
