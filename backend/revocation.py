"""Revocations: good tokens that no longer count. Rows that each process reads once a second, not once a request."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from backend.auth import LEEWAY_SECONDS, Claims
from backend.database import Database
from backend.problems import Problem

if TYPE_CHECKING:
    from backend.bus import Bus

SECONDS_BETWEEN_READS = 1
SECONDS_FRESH = 1.5  # what was read longer ago is read again before a token counts
SECONDS_UNTIL_ALL_KNOW = 15  # that, and as long as a statement waits for a connection and for its turn
SECONDS_AWAKE = 60  # so long after the last request they are read all the same: then a database may sleep
LOCK = 7_302_544_003  # any number that is the same in every process

READ = """
    SET LOCAL ROLE task_keeper;
    SELECT number, user_id, session_id, extract(epoch FROM issued_before)::float8, extract(epoch FROM ends_at)::float8
    FROM revocation WHERE number > %(after)s AND ends_at > now() ORDER BY number
"""
# Numbered in the order in which they are committed, by the lock: who reads on from a number misses none. An event that
# comes again finds its row. The answer: whether all that the user has is still to be erased.
WRITE = """
    SET LOCAL ROLE task_keeper;
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
        self._sessions: dict[str, float] = {}  # when no token of it can be alive, in seconds since 1970
        self._users: dict[str, float] = {}  # until when they count no longer, in seconds since 1970
        self._ending: list[tuple[float, float, str, str | None]] = []  # a heap: what can be forgotten, and when
        self._after = 0
        self._read_at = self._asked_at = -float("inf")
        self._reading: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_news: Callable[[], None] = lambda: None

    @asynccontextmanager
    async def running(self, db: Database, bus: "Bus | None") -> AsyncIterator[None]:
        """Keep reading with this database, whose one connection nothing else waits for."""
        self._db, self._bus, self._reading = db, bus, None
        if bus:
            bus.hears["revoked"] = self._hear
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
            with suppress(Problem):
                await do()

        self._tasks.add(task := asyncio.create_task(later()))
        task.add_done_callback(self._tasks.discard)

    def revokes(self, claims: Claims) -> bool:
        """Return whether a token counts no longer, as far as this process has read.

        One that does not say when it was issued was issued before.
        """
        if claims.session_id in self._sessions:
            return True
        before = self._users.get(claims.user_id)
        return before is not None and (claims.issued_at is None or claims.issued_at <= before)

    async def check(self, claims: Claims) -> None:
        """Raise Problem TOKEN_REVOKED, or DATABASE_UNAVAILABLE where nobody can know."""
        self.stay_awake()
        if self._asked_at - self._read_at > SECONDS_FRESH:
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

    def _hear(self, _: str) -> None:
        self._tasks.add(task := asyncio.create_task(self._read_when_told()))
        task.add_done_callback(self._tasks.discard)

    async def _read_when_told(self) -> None:
        with suppress(Problem):
            await self._read_anew()

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
        try:
            rows = await self._db.run(READ, repeatable=True, after=self._after)
        except Problem:
            self._after = 0  # it may come back as of an earlier moment, with other numbers
            raise
        self._forget_ended()
        for self._after, user_id, session_id, before, ends_at in rows:
            if session_id is not None:
                self._sessions[session_id] = max(ends_at, self._sessions.get(session_id, ends_at))
            else:
                self._users[user_id] = max(before, self._users.get(user_id, before))
            heappush(self._ending, (ends_at, before, user_id or "", session_id))
        self._read_at = began
        if rows:
            self.on_news()

    def _forget_ended(self) -> None:
        while self._ending and self._ending[0][0] < time.time():
            ended, before, user_id, session_id = heappop(self._ending)
            if session_id is not None and self._sessions.get(session_id) == ended:  # else a later one is about it too
                del self._sessions[session_id]
            elif session_id is None and self._users.get(user_id) == before:
                del self._users[user_id]

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
        rows = await db.run(
            WRITE,
            repeatable=True,
            lock=LOCK,
            issuer=issuer,
            jti=jti,
            user_id=user_id,
            session_id=session_id,
            issued_before=issued_at,
            # Then the last token is dead that was issued before, by the clock of whoever issued it.
            ends_at=issued_at + self._max_token_seconds + 2 * LEEWAY_SECONDS,
            erases=erases,
        )
        await self._read_anew()
        if self._bus:
            self._bus.say("revoked")
        return bool(rows[0][0])
