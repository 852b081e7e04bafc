"""Erasure: all that a user has goes, in one transaction, and nobody else waits for it."""

from functools import cache

from backend.database import Database, Logged, quoted
from backend.isolation import ADDED_TO
from backend.tables import METADATA

SECONDS = 120  # that it may take
# What an account-purged event asked for is done then.
DONE = "UPDATE revocation SET erases = false WHERE user_id = %(user_id)s AND erases"


@cache
def _statement() -> Logged:
    """Return the deletion of a user's rows: children first, as the user, and then the log, which no user deletes."""
    every = [table for table in reversed(METADATA.sorted_tables) if "user_id" in table.c]
    log = [table for table in every if table.info.get("rights") == ADDED_TO]
    mine = "DELETE FROM {} WHERE user_id = %(user_id)s"
    return Logged(
        (
            f"SET LOCAL statement_timeout = '{SECONDS}s'",
            *(mine.format(quoted(table.name)) for table in every if table not in log),
            "SET LOCAL ROLE task_keeper",
            *(mine.format(quoted(table.name)) for table in log),
            DONE,
            "SELECT NULL::bigint",
        ),
        "SELECT NULL::bigint",
    )


async def erase(db: Database, user_id: str) -> None:
    """Erase all rows of a user and their history; that there are none is fine. Raises Problem.

    On a connection of its own, because it may take a minute.
    """
    own = db.apart(SECONDS)
    try:
        await own.run(_statement(), user_id)
    finally:
        own.close()
    db.on_change(user_id)
