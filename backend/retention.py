"""Lets go what is kept long enough: of the change log after HISTORY_DAYS, and revocations that nobody needs."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from backend.database import Database
from backend.erasure import erase
from backend.problems import Problem

# So long a client may be away and still catch up by GET /api/changes, whatever HISTORY_DAYS says.
SYNC_DAYS = 7
BATCH = 500
SECONDS_BETWEEN_BATCHES = 0.1
SECONDS_BEFORE_FIRST_PASS = 60
SECONDS_BETWEEN_PASSES = 3600
SECONDS_WITHOUT_REQUESTS = 86400  # so long a database that nobody uses may sleep
LOCK = 7_302_544_002  # any number that is the same in every process

FIND = """
    SELECT max(at) FROM (
        SELECT at FROM change WHERE at > %(after)s::timestamptz AND at < %(until)s
        ORDER BY at FETCH FIRST %(batch)s ROWS WITH TIES
    ) AS found
"""
# All that one request did goes at once, and of each user what is oldest, so that what is left has no gap. The newest
# stays: the next one counts on from it. Whoever does not get the lock does nothing.
SHORTEN = """
    DELETE FROM change USING (
        SELECT user_id, max(seq) AS seq FROM change
        WHERE at > %(after)s::timestamptz AND at <= %(upto)s AND at < %(gone)s
            AND (SELECT pg_try_advisory_xact_lock(%(lock)s))
        GROUP BY user_id
    ) AS old
    WHERE change.user_id = old.user_id AND change.seq <= old.seq
        AND change.seq < (SELECT seq FROM change WHERE user_id = old.user_id ORDER BY seq DESC LIMIT 1);
    UPDATE change SET before = NULL
    WHERE at > %(after)s::timestamptz AND at <= %(upto)s AND before IS NOT NULL
        AND (SELECT pg_try_advisory_xact_lock(%(lock)s));
    SELECT pg_try_advisory_xact_lock(%(lock)s)
"""

# Of revocations that are about no token that can be alive.
FORGET = """
    WITH gone AS (
        DELETE FROM revocation USING (
            SELECT issuer, jti FROM revocation WHERE ends_at < now() AND NOT erases LIMIT %(batch)s
        ) AS old
        WHERE revocation.issuer = old.issuer AND revocation.jti = old.jti RETURNING 1
    )
    SELECT count(*) FROM gone
"""
# Of users whose account was purged, and whose erasure has not been done when that was told.
LEFT = """
    SELECT DISTINCT user_id FROM revocation WHERE erases AND issued_before < now() - interval '5 minutes'
"""

log = structlog.get_logger()


async def keep_short(requests: Database, erasing: Database, history_days: int) -> None:
    """Let go what is old every hour while requests come, and else once a day; never returns."""
    await asyncio.sleep(SECONDS_BEFORE_FIRST_PASS)
    while True:
        started = time.monotonic()
        # On a connection of its own: no request waits for one because of it.
        database = requests.apart()
        try:
            for let_go in (partial(shorten, database, history_days), partial(forget, database, erasing)):
                try:
                    await let_go()
                except Problem as problem:  # which must not keep the other from being done
                    log.warning("old_rows_stay", error=problem.code)
        finally:
            database.close()
        await asyncio.sleep(SECONDS_BETWEEN_PASSES)
        while requests.last_used < started and time.monotonic() - started < SECONDS_WITHOUT_REQUESTS:
            await asyncio.sleep(SECONDS_BETWEEN_PASSES)


async def shorten(db: Database, history_days: int) -> None:
    """Go once through all that is old, in small statements. Ends when another process is at it. Raises Problem."""
    now = datetime.now(UTC)
    until = now - timedelta(days=history_days)
    gone = now - timedelta(days=max(history_days, SYNC_DAYS))
    after: datetime | str = "-infinity"
    while True:
        [(upto,)] = await db.run_as_keeper(FIND, repeatable=True, after=after, until=until, batch=BATCH)
        if upto is None:
            return
        [(mine,)] = await db.run_as_keeper(SHORTEN, repeatable=True, after=after, upto=upto, gone=gone, lock=LOCK)
        if not mine:
            return
        after = upto
        await asyncio.sleep(SECONDS_BETWEEN_BATCHES)


async def forget(db: Database, erasing: Database) -> None:
    """Delete the revocations that have ended, and erase what was to be erased with one. Raises Problem."""
    while (await db.run_as_keeper(FORGET, repeatable=True, batch=BATCH))[0][0] == BATCH:
        await asyncio.sleep(SECONDS_BETWEEN_BATCHES)
    for (user_id,) in await db.run_as_keeper(LEFT, repeatable=True):
        try:
            await erase(erasing, user_id, purged=True)
        except Problem as problem:  # which must not keep the others from being erased
            log.warning("user_not_erased", error=problem.code)
