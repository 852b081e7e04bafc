"""Revocations: good tokens that no longer count. Rows that each process reads once a second, not once a request."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING

from backend.auth import LEEWAY_SECONDS, Claims
from backend.database import Database
from backend.problems import Problem

if TYPE_CHECKING:
    from backend.bus import Bus

SECONDS_BETWEEN_READS = 1
SECONDS_FRESH = 1.5  # what was read longer ago is read again before a token counts
SECONDS_UNTIL_ALL_KNOW = 15  # that, and as long as a statement waits for a connection and for its turn
SECONDS_BETWEEN_SWEEPS = 60
MAX_CACHE_SECONDS = 10 * 60  # so long a Better Auth may give tokens of a session that has ended (its cookieCache)
SECONDS_AWAKE = 60  # so long after the last request they are read all the same: then a database may sleep
LOCK = 7_302_544_003  # any number that is the same in every process

# With the start of the server: after a fail-over or a restore it is another one, whose numbers may be others, too.
READ = """
    SELECT
        pg_postmaster_start_time(), number, user_id, session_id,
        extract(epoch FROM issued_before)::float8, extract(epoch FROM ends_at)::float8
    FROM (SELECT) AS one LEFT JOIN revocation ON number > %(after)s AND ends_at > now()
    ORDER BY number
"""
# Numbered in the order in which they are committed, by the lock: who reads on from a number misses none. An event that
# comes again finds its row. The answer: whether all that the user has is still to be erased.
WRITE = """
    SELECT pg_advisory_xact_lock(%(lock)s);
    INSERT INTO revocation (issuer, jti, user_id, session_id, erases, issued_before, ends_at)
    VALUES (%(issuer)s, %(jti)s, %(user_id)s, %(session_id)s, %(erases)s,
        to_timestamp(%(issued_before)s), to_timestamp(%(ends_at)s))
    ON CONFLICT DO NOTHING;
    SELECT erases FROM revocation WHERE issuer = %(issuer)s AND jti = %(jti)s
"""


class Revocations:
    """What one process knows of them: sessions that have ended, and users whose tokens from before a moment have.

    `on_news` is called after each read that found something.
    """

    def __init__(self, max_token_seconds: int) -> None:
        self._max_token_seconds = max_token_seconds
        # By the session, and by the user: up to when tokens were issued that no longer count, and from when on none of
        # them can be alive, both in seconds since 1970.
        self._sessions: dict[str, tuple[float, float]] = {}
        self._users: dict[str, tuple[float, float]] = {}
        self._sweep_at = 0.0
        self._after = 0
        self._server: datetime | None = None  # when the one was started that the numbers are of
        self._read_at = self._asked_at = -float("inf")
        self._reading: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_news: Callable[[], None] = lambda: None

    @asynccontextmanager
    async def running(self, db: Database, bus: "Bus | None") -> AsyncIterator[None]:
        """Keep reading with this database, whose one connection nothing else waits for."""
        self._db, self._bus, self._reading = db, bus, None
        if bus:
            bus.hears["revoked"] = lambda _: self._begin(self._read_anew)
        self._tasks = {asyncio.create_task(self._keep_reading())}
        try:
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            db.close()

    def once_all_know(self, do: Callable[[], Awaitable[None]]) -> None:
        """Do something once no request can be under way any more that was let in before its process knew."""

        async def later() -> None:
            await asyncio.sleep(SECONDS_UNTIL_ALL_KNOW)
            await do()

        self._begin(later)

    def _begin(self, do: Callable[[], Awaitable[None]]) -> None:
        """Do something that nobody waits for: if the database is away, it is not done."""

        async def quietly() -> None:
            with suppress(Problem):
                await do()

        self._tasks.add(task := asyncio.create_task(quietly()))
        task.add_done_callback(self._tasks.discard)

    def revokes(self, claims: Claims) -> bool:
        """Return whether a token counts no longer, as far as this process has read.

        One that does not say when it was issued was issued before.
        """
        if claims.session_id in self._sessions:
            return True
        if claims.user_id not in self._users:
            return False
        before, _ = self._users[claims.user_id]
        return claims.issued_at is None or claims.issued_at <= before

    async def check(self, claims: Claims) -> None:
        """Raise Problem TOKEN_REVOKED, or DATABASE_UNAVAILABLE where nobody can know."""
        self.stay_awake()
        asked_at = self._asked_at
        while asked_at - self._read_at > SECONDS_FRESH:  # a read that has begun long before will not do
            await self._read()
        if self.revokes(claims):
            raise Problem(
                "TOKEN_REVOKED",
                "The token's session has ended. Sign in again.",
                headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
            )

    def stay_awake(self) -> None:
        """Go on reading: somebody is there."""
        self._asked_at = time.monotonic()

    async def _keep_reading(self) -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_READS)
            if time.monotonic() - self._asked_at < SECONDS_AWAKE:
                with suppress(Problem):  # the database is away: who asks now is told so
                    await self._read()

    async def _read_anew(self) -> None:
        """Read what is there by now, and not join a read that has begun; raise Problem."""
        if self._reading and not self._reading.done():
            with suppress(Problem):
                await asyncio.shield(self._reading)
        await self._read()

    async def _read(self) -> None:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_once())
            self._reading.add_done_callback(lambda reading: reading.cancelled() or reading.exception())
        await asyncio.shield(self._reading)

    async def _read_once(self) -> None:
        began = time.monotonic()
        rows = await self._db.run_as_keeper(READ, repeatable=True, after=self._after)
        server = rows[0][0]
        if self._after and server != self._server:
            self._after = 0
            rows = await self._db.run_as_keeper(READ, repeatable=True, after=0)
        self._server = server
        news = [row[1:] for row in rows if row[1] is not None]
        for self._after, user_id, session_id, before, ends_at in news:
            known, name = (self._users, user_id) if session_id is None else (self._sessions, session_id)
            known[name] = max((before, ends_at), known.get(name, (before, ends_at)))
        self._read_at = began
        if began > self._sweep_at:
            self._sweep_at, now = began + SECONDS_BETWEEN_SWEEPS, time.time()
            self._sessions = {name: each for name, each in self._sessions.items() if each[1] > now}
            self._users = {name: each for name, each in self._users.items() if each[1] > now}
        if news:
            self.on_news()

    async def add(
        self,
        db: Database,
        *,
        issuer: str,
        jti: str,
        issued_at: float,
        user_id: str | None = None,
        session_id: str | None = None,
        erases: bool = False,
    ) -> bool:
        """Revoke a session's tokens, or those that a user was issued until then; once for each `jti` of an issuer.

        When it returns, this process knows. Returns whether all that the user has is to be erased yet. Raises Problem.
        """
        # When the last of the tokens is issued, by the issuer's clock. Of a session that can be later, by a Better Auth
        # that does not know of it yet (cookieCache).
        last = issued_at if session_id is None else max(issued_at, time.time()) + MAX_CACHE_SECONDS
        rows = await db.run_as_keeper(
            WRITE,
            repeatable=True,
            lock=LOCK,
            issuer=issuer,
            jti=jti,
            user_id=user_id,
            session_id=session_id,
            issued_before=math.ceil(issued_at * 1e6) / 1e6,  # PostgreSQL counts in microseconds
            ends_at=last + self._max_token_seconds + 2 * LEEWAY_SECONDS,
            erases=erases,
        )
        await self._read_anew()
        if self._bus:
            self._bus.say("revoked")
        return bool(rows[0][0])
