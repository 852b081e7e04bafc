"""Erasure: all that a user has goes, in one transaction, and nobody else waits for it."""

from functools import cache

from backend.database import Database, Logged, quoted
from backend.isolation import ADDED_TO
from backend.tables import METADATA

SECONDS = 120  # that it may take
# Of a user who goes on: a number that no client has, so that each finds that its own is not kept, and starts over.
MARK = """
    INSERT INTO change (user_id, seq, resource, id, action, attempt)
    SELECT %(user_id)s, _newest.seq + 2, '', '', 'deleted', %(_attempt)s
    FROM (SELECT coalesce(max(seq), 0) AS seq FROM change WHERE user_id = %(user_id)s) AS _newest
"""
# What an account-purged event asked for is done then.
DONE = "UPDATE revocation SET erases = false WHERE user_id = %(user_id)s AND erases"


@cache
def _statement(*, purged: bool) -> Logged:
    """Return the deletion of a user's rows: children first, as the user, and then the log, which no user deletes."""
    every = [table for table in reversed(METADATA.sorted_tables) if "user_id" in table.c]
    log = [table for table in every if table.info.get("rights") == ADDED_TO]
    mine = "DELETE FROM {} WHERE user_id = %(user_id)s"
    before = "" if purged else " AND seq < (SELECT max(seq) FROM change WHERE user_id = %(user_id)s)"
    return Logged(
        (
            f"SET LOCAL statement_timeout = '{SECONDS}s'",
            *(mine.format(quoted(table.name)) for table in every if table not in log),
            *(() if purged else (MARK,)),
            "SET LOCAL ROLE task_keeper",
            *(mine.format(quoted(table.name)) + before for table in log),
            *((DONE,) if purged else ()),
            "SELECT NULL::bigint",
        ),
        "SELECT NULL::bigint",
    )


async def erase(erasing: Database, user_id: str, *, purged: bool = False) -> None:
    """Erase all rows of a user and their history; that there are none is fine. Raises Problem.

    `erasing` is one connection for all erasures of this process, because each may take a minute. Of a user whose
    account was purged nothing stays at all.
    """
    await erasing.run(_statement(purged=purged), user_id)
    erasing.on_change(user_id)
