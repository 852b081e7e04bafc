"""PostgreSQL: a pool of connections, and one way to run one statement as one user in one message."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from secrets import randbits
from typing import Annotated, Any

import psycopg2
import structlog
from fastapi import Depends, Request
from psycopg2 import errors
from psycopg2.extras import register_uuid
from sqlalchemy import ClauseElement
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

from backend.connection import LOCK_TIMEOUT_SECONDS, STATEMENT_TIMEOUT_SECONDS, Connection, Prepared
from backend.metrics import RETRIES, STATEMENTS, WAITS
from backend.problems import Problem, internal_error, invalid

# psycopg2 sends this and the statement as one message, which PostgreSQL runs as one transaction: one
# round trip, and SET LOCAL leaves nothing behind on the connection (docs/decisions/0002).
PREFIX = (
    "SET LOCAL ROLE task_api; "  # which row-level security binds, whatever the connection's own role may do
    "SET LOCAL app.user_id = %(user_id)s; "
    f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_SECONDS}s'; "
    "SET LOCAL TimeZone = 'UTC'"
)
# What is asked once of a database. A pooler hands out process numbers of its own, so that another one is its sign.
SERVER = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus'), pg_backend_pid()"
# Goes before a statement on Citus, after the settings, and hands on those that its shards need. Citus hands a SET on as
# the whole message that it came in, so these are in a block: there each is a message of its own.
HAND_ON = """
    DO $$ BEGIN
        SET LOCAL citus.propagate_set_commands = 'local';
        EXECUTE format('SET LOCAL app.user_id = %%L', current_setting('app.user_id'));
        SET LOCAL TimeZone = 'UTC';
        SET LOCAL citus.propagate_set_commands = 'none';
    END $$
"""
# Goes before each write that is logged: a user's writes are done one after the other. So what a statement sees is what
# it changes, and changes are numbered in the order in which they are committed (docs/decisions/0016).
# A snapshot from before the lock would not do, so the isolation is this one, whatever the database's own is.
BEFORE_WRITES = (
    f"SET LOCAL transaction_isolation = 'read committed'; SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'"
)
# Goes before a write of several messages: where a process stops in the middle of one, its user's writes go on after it.
IDLE = "SET LOCAL idle_in_transaction_session_timeout = '10s'"
# Goes before a write of many rows. The planner takes what the write has seen for one row, and after an ANALYZE that saw
# few rows of the user it would look through all that was seen for each row: the square of ten thousand.
MANY_ROWS = "SET LOCAL enable_nestloop = off"
IN_TURN = Prepared("SELECT pg_advisory_xact_lock(hashtextextended(%(user_id)s, 0))")
# Goes before the second try of such a write: it fails, as the logarithm of 0, if the first one was done after all. The
# first one is among the user's last: nobody waits for a thousand others.
FIRST_TRY = """
    FROM change WHERE user_id = %(user_id)s AND attempt = %(_attempt)s
    AND seq > (SELECT seq FROM change WHERE user_id = %(user_id)s ORDER BY seq DESC LIMIT 1) - 1000
"""
ONCE = f"SELECT ln((count(*) = 0)::int) {FIRST_TRY}"
WAS_DONE = "2201E"
SEQ_OF_FIRST_TRY = f"SELECT max(seq) {FIRST_TRY}"
# Of what is prepared the best plan is the same whatever its parameters are. Where one for those at hand looks cheaper
# by a little, PostgreSQL would plan each time anew, which can take longer than the statement itself.
PLANNED_ONCE = "SET plan_cache_mode = force_generic_plan"
AS_KEEPER = (
    "SET LOCAL ROLE task_keeper; "
    f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'; SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_SECONDS}s'"
)
MAX_WAITING = 1000
RETRY_CONNECT_SECONDS = 0.2

DIALECT = PGDialect_psycopg2()  # type: ignore[no-untyped-call]

log = structlog.get_logger()
register_uuid()  # type: ignore[no-untyped-call]


# What it means to the caller that a constraint refused a statement: the field, and what is wrong with it.
CONSTRAINTS: dict[str, tuple[str, str]] = {}
TRY_AGAIN = ("08", "40", "53", "55", "57")  # lost, deadlocked, out of resources, locked, cancelled or shutting down
UNKNOWN_ZONE = "22023"
VALUES = ("22", "23")  # a value that its type does not take, or a row that a constraint does not


def _unavailable() -> Problem:
    return Problem(
        "DATABASE_UNAVAILABLE", "The database does not answer. Try again in a moment.", headers={"Retry-After": "2"}
    )


def _problem(error: psycopg2.Error) -> Problem:
    """Return what the caller is told of a database error. The log gets its SQLSTATE, not its message, which
    can quote the caller's data."""
    state, constraint = error.pgcode, error.diag.constraint_name or _named_in(error)
    problem = internal_error()
    if constraint is None and state == UNKNOWN_ZONE:
        problem = invalid(("time_zone", "is not known to the database, whose list of zones is older"))
    elif constraint in CONSTRAINTS:
        problem = invalid(CONSTRAINTS[constraint])
        problem.constraint = constraint
    else:
        log.error("database_error", sqlstate=state, error=type(error).__name__, constraint=constraint)
        if state is None or state.startswith(TRY_AGAIN):  # a lost connection comes without a state
            problem = _unavailable()
    problem.is_about_values = state is not None and state.startswith(VALUES)
    return problem


def _named_in(error: psycopg2.Error) -> str | None:
    """Return the constraint that a message names: Citus hands on no more of what a shard refuses."""
    message = error.diag.message_primary or ""
    return next((name for name in CONSTRAINTS if f'"{name}"' in message), None)


def sql(statement: ClauseElement) -> str:
    """Return a statement as the text that psycopg2 takes, its bind parameters as `%(name)s`."""
    return str(statement.compile(dialect=DIALECT))


def prepared(statement: ClauseElement) -> Prepared:
    """Return the same of a statement whose best plan is the same whatever its parameters are."""
    return Prepared(sql(statement))


def quoted(name: str) -> str:
    """Return the name of a table or column as SQL takes it: a reserved word such as "order" with its quotes."""
    return str(DIALECT.identifier_preparer.quote(name))


Rows = list[tuple[Any, ...]]


class LostConnectionError(Exception):
    """A connection that ended under a statement, of which nobody knows whether it was done."""

    def __init__(self, error: psycopg2.Error) -> None:
        super().__init__(str(error))
        self.error = error


class WasDoneError(Exception):
    """The second try of a write found that the first had been done."""


@dataclass(frozen=True, eq=False)
class Logged:
    """A write that logs what it changes (changelog.py), of one statement or several in one message.

    The last column of its rows is the seq of it, or null. `done` is the query for what its repeat answers where the
    first try was done; without one it is not repeated.
    """

    statements: tuple[str, ...]
    done: str | None = None


@dataclass(frozen=True, slots=True)
class Author:
    """What the log says of a request beside its changes, the headers of its answer, and whether its token still counts.

    `check` raises Problem if it does not: a body can come, or a turn, long after the token was checked.
    """

    request_id: str | None = None
    acted_by: str | None = None
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    check: Callable[[], Awaitable[None]] | None = None


@dataclass(slots=True)
class Turn:
    """Whose turn it is, of a user's writes in this process."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


AUTHOR: ContextVar[Author] = ContextVar("author")


class Database:
    """A pool of at most `pool_size` connections, the one used last first; it belongs to one event loop."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int,
        wait_seconds: float,
        keeps_history: bool = True,
        statement_seconds: float = STATEMENT_TIMEOUT_SECONDS,
    ) -> None:
        self._url = url
        self._statement_seconds = statement_seconds
        self._wait_seconds = wait_seconds
        self._keeps_history = keeps_history
        self.on_change: Callable[[str], None] = lambda _user_id: None  # is told whose rows were changed
        self._free = asyncio.Semaphore(pool_size)
        self._idle: list[Connection] = []
        self.pool_size = pool_size
        self.in_use = 0
        self.last_used = time.monotonic()  # for a user
        self.distributed: bool | None = None  # by Citus; looked up with the first connection
        self.prepares = False  # whether a connection keeps its prepared statements, which one of a pooler does not
        self._turns: dict[str, Turn] = {}
        self._connecting = asyncio.Lock()
        self._waiting = 0
        self._large = asyncio.Semaphore(max(1, pool_size // 2))

    def apart(self, statement_seconds: float = STATEMENT_TIMEOUT_SECONDS) -> "Database":
        """Return one connection to the same database, which no request waits for. Whoever asks closes it."""
        return Database(self._url, pool_size=1, wait_seconds=self._wait_seconds, statement_seconds=statement_seconds)

    async def run(
        self, statement: str | Logged, user_id: str | None = None, /, *, repeatable: bool = False, **values: Any
    ) -> Rows:
        """Run one statement as one user, in one message, and return its rows.

        A repeatable one is run again, once, on a fresh connection, if its connection was lost before it answered: then
        nobody knows whether it was done. A write that is logged is never done twice; the header `Change` of the answer
        says under which seq. Without a user it runs as the connection's own role: that is for checks, never for a
        user's data. Raises Problem: DATABASE_UNAVAILABLE, OVERLOADED, INTERNAL_ERROR, or what a constraint means.
        """
        if user_id is not None:
            values["user_id"] = user_id
        if isinstance(statement, Logged):
            return await self._write(statement, user_id, values)
        return await self._run((statement,), (statement,) if repeatable else None, user_id, values)

    async def run_as_keeper(self, statement: str, /, *, repeatable: bool = False, **values: Any) -> Rows:
        """Run a statement for no user, as the role that sees the log of every user, and the revocations."""
        parts = (AS_KEEPER, statement)
        return await self._run(parts, parts if repeatable else None, None, values)

    @asynccontextmanager
    async def writing(self, user_id: str) -> AsyncIterator[Callable[..., Awaitable[Rows]]]:
        """Yield `run(statement, **values)`, for a write that is too large for one message: all of it or nothing.

        Its statements are one transaction, and are logged under one seq (changelog.LOG_ON). None of them is repeated.
        At most half of the connections are taken so at a time. Raises Problem as `run` does.
        """
        author = AUTHOR.get(None) or Author()
        values = self._values_of(author) | {"user_id": user_id, "_seq": None}
        ends = asyncio.get_running_loop().time() + self._wait_seconds
        try:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self._turn_of(user_id))
                async with asyncio.timeout_at(ends):
                    await stack.enter_async_context(self._large)
                connection = await self._take(ends)
                stack.callback(self._give_back, connection)

                async def send(*parts: str, **more: Any) -> Rows:
                    return await self._send(connection, parts, user_id, values | more, within=True)

                async def run(write: Logged, **more: Any) -> Rows:
                    rows = await send(*write.statements, **more)
                    values["_seq"] = rows[0][-1] or values["_seq"]
                    return [row[:-1] for row in rows]

                try:
                    hand_on = (HAND_ON,) if self.distributed else ()
                    await send("BEGIN", PREFIX, IDLE, BEFORE_WRITES, *hand_on, IN_TURN)
                    yield run
                    await send("COMMIT")
                except BaseException:
                    await self._take_back(connection)
                    raise
        except TimeoutError:  # in the queue
            raise _unavailable() from None
        except LostConnectionError as lost:
            raise _problem(lost.error) from None
        self._changed(author, user_id, values["_seq"])

    @staticmethod
    async def _take_back(connection: Connection) -> None:
        """Undo the transaction of a connection, by its end if there is no other way."""
        try:
            if connection.usable:
                await connection.execute("ROLLBACK")
        except (psycopg2.Error, TimeoutError):
            connection.close()

    def _values_of(self, author: Author) -> dict[str, Any]:
        """Return what the log is told of a write."""
        said = {"_attempt": randbits(63), "_request_id": author.request_id, "_acted_by": author.acted_by}
        return {"_history": self._keeps_history, "_undoes": None} | said

    def _changed(self, author: Author, user_id: str, seq: int | None) -> None:
        """Tell the caller, and whoever follows, under which seq a write was logged."""
        if seq is not None:
            author.headers[:] = [header for header in author.headers if header[0] != b"change"]  # the last one counts
            author.headers.append((b"change", str(seq).encode()))
            self.on_change(user_id)

    async def _write(self, write: Logged, user_id: str | None, values: dict[str, Any]) -> Rows:
        author = AUTHOR.get(None) or Author()
        values = self._values_of(author) | values
        again = None if write.done is None else (BEFORE_WRITES, IN_TURN, ONCE, *write.statements)
        try:
            async with self._turn_of(values["user_id"]):
                rows = await self._run((BEFORE_WRITES, IN_TURN, *write.statements), again, user_id, values)
            seq = rows[0][-1] if rows else None
            rows = [row[:-1] for row in rows]
        except TimeoutError:  # in the queue
            raise _unavailable() from None
        except WasDoneError:
            assert write.done is not None
            rows = await self._run((write.done,), (write.done,), user_id, values)
            [(seq,)] = await self._run((SEQ_OF_FIRST_TRY,), (SEQ_OF_FIRST_TRY,), user_id, values)
        self._changed(author, values["user_id"], seq)
        return rows

    @asynccontextmanager
    async def _turn_of(self, user_id: str) -> AsyncIterator[None]:
        """Let a user's writes wait for each other here, and not each with a connection that others could use."""
        turn = self._turns.setdefault(user_id, Turn())
        turn.waiting += 1
        try:
            async with asyncio.timeout(self._wait_seconds) if turn.lock.locked() else nullcontext():
                await turn.lock.acquire()
            try:
                yield
            finally:
                turn.lock.release()
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self._turns[user_id]

    async def _run(
        self, parts: tuple[str, ...], again: tuple[str, ...] | None, user_id: str | None, values: dict[str, Any]
    ) -> Rows:
        """Run a message, and if its connection is lost, run `again` once."""
        ends = asyncio.get_running_loop().time() + self._wait_seconds
        try:
            return await self._run_on(await self._take(ends), parts, user_id, values)
        except LostConnectionError as lost:
            if again is None:
                raise _problem(lost.error) from None
            log.warning("database_connection_lost", sqlstate=lost.error.pgcode, effect="the statement is run again")
            RETRIES.inc()
        self._drop_idle()  # what one of them met, the others have most likely met too
        try:
            return await self._run_on(await self._take(ends), again, user_id, values)
        except LostConnectionError as lost:
            raise _problem(lost.error) from None

    async def _run_on(
        self, connection: Connection, parts: tuple[str, ...], user_id: str | None, values: dict[str, Any]
    ) -> Rows:
        try:
            return await self._send(connection, parts, user_id, values)
        finally:
            self._give_back(connection)

    async def _send(
        self,
        connection: Connection,
        parts: tuple[str, ...],
        user_id: str | None,
        values: dict[str, Any],
        *,
        within: bool = False,
    ) -> Rows:
        """Send a message, or `within` a transaction a part of one, and return the rows of its last statement."""
        self.in_use += 1
        started = time.perf_counter()
        try:
            if user_id is None:
                return await connection.execute(*parts, values=values)
            author = AUTHOR.get(None)
            if author and author.check:
                await author.check()
            self.last_used = time.monotonic()
            if within:
                return await connection.execute(*parts, values=values)
            if self.distributed:
                return await self._run_in_two_messages(connection, parts, values)
            return await self._run_in_one_message(connection, parts, values)
        except TimeoutError:
            log.error("database_error", error="no answer within the statement timeout")
            raise _unavailable() from None
        except psycopg2.Error as error:
            if not connection.usable:
                raise LostConnectionError(error) from None
            if error.pgcode == WAS_DONE:
                raise WasDoneError from None
            raise _problem(error) from None
        finally:
            STATEMENTS.observe(time.perf_counter() - started)
            self.in_use -= 1

    async def _run_in_one_message(self, connection: Connection, parts: tuple[str, ...], values: dict[str, Any]) -> Rows:
        try:
            return await connection.execute(PREFIX, *parts, values=values, prepare=self.prepares)
        except errors.InvalidSqlStatementName:  # a prepared statement is gone, and nothing of the message was done
            if self.prepares:
                log.warning("prepared_statement_lost", effect="no statement is prepared any more")
            self.prepares = False
            return await connection.execute(PREFIX, *parts, values=values)

    @staticmethod
    async def _run_in_two_messages(connection: Connection, parts: tuple[str, ...], values: dict[str, Any]) -> Rows:
        """Run a statement in a transaction, as Citus needs it to hand its settings on, and end that."""
        settings = 1 if parts[0] == BEFORE_WRITES else 0
        try:
            rows = await connection.execute(
                "BEGIN", PREFIX, *parts[:settings], HAND_ON, *parts[settings:], values=values
            )
            await connection.execute("COMMIT")
        except psycopg2.Error:
            if connection.usable:
                await connection.execute("ROLLBACK")
            raise
        return rows

    async def _take(self, ends: float) -> Connection:
        """Return a connection by then, in seconds of the event loop's clock."""
        if not self._free.locked() and (connection := self._idle_one()):
            await self._free.acquire()  # at once
            return connection
        if self._waiting >= MAX_WAITING:
            raise Problem(
                "OVERLOADED",
                "Too many requests are waiting for the database. Try again in a moment.",
                headers={"Retry-After": "1"},
            )
        self._waiting += 1
        started = time.perf_counter()
        try:
            async with asyncio.timeout_at(ends):
                await self._free.acquire()
                try:
                    return await self._connection()
                except BaseException:
                    self._free.release()
                    raise
        except TimeoutError:
            raise _unavailable() from None
        finally:
            WAITS.observe(time.perf_counter() - started)
            self._waiting -= 1

    def _idle_one(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    async def _connection(self) -> Connection:
        if connection := self._idle_one():
            return connection
        async with self._connecting:  # one attempt at a time: a database that comes back is not stormed
            while True:
                try:
                    connection = await Connection.open(self._url, self._statement_seconds)
                    if self.distributed is None:
                        [(self.distributed, pid)] = await connection.execute(SERVER)
                        self.prepares = pid == connection.backend_pid
                    if self.prepares:
                        await connection.execute(PLANNED_ONCE)
                    return connection
                except psycopg2.OperationalError as error:
                    log.warning("database_unreachable", error=str(error).strip().splitlines()[0])
                    await asyncio.sleep(RETRY_CONNECT_SECONDS)

    def _give_back(self, connection: Connection) -> None:
        if connection.usable:
            self._idle.append(connection)
        self._free.release()

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    close = _drop_idle


async def get_database(request: Request) -> Database:
    """Return the application's database, for routes; UserRoute looks it up itself."""
    database: Database = request.app.state.database
    return database


Db = Annotated[Database, Depends(get_database)]
