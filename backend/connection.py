"""One connection to PostgreSQL: psycopg2's asynchronous mode, driven by the event loop."""

import asyncio
from typing import Any

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ, POLL_WRITE

STATEMENT_TIMEOUT_SECONDS = 10
ENDED = "57P"  # SQLSTATEs: an administrator, a crash, or a database that is starting or was dropped


async def _ready(fileno: int, state: int) -> None:
    """Wait until the socket can be read or written, whichever `poll()` asked for."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    add, remove = (loop.add_reader, loop.remove_reader) if state == POLL_READ else (loop.add_writer, loop.remove_writer)
    add(fileno, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        remove(fileno)


class Connection:
    """A psycopg2 connection in asynchronous mode (and so in autocommit), driven by the event loop.

    Its socket is watched even while idle, so that a connection closed by the server is never handed out.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._fileno = raw.fileno()
        self._loop = asyncio.get_running_loop()
        self._result: asyncio.Future[None] | None = None
        self.usable = True
        self._watch()

    @classmethod
    async def open(cls, url: str) -> "Connection":
        """Connect; raise psycopg2.OperationalError."""
        # In a thread, because libpq first looks up the host name, and blocks meanwhile.
        raw: Any = await asyncio.to_thread(psycopg2.connect, url, async_=True, client_encoding="UTF8")
        try:
            while (state := raw.poll()) != POLL_OK:
                await _ready(raw.fileno(), state)
        except BaseException:
            raw.close()
            raise
        return cls(raw)

    async def execute(self, text: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Send one message and return the rows of its last statement; raise psycopg2.Error or TimeoutError."""
        cursor = self._raw.cursor()
        self._result = self._loop.create_future()
        # Not asyncio.timeout(), which costs a tenth of the time of a statement.
        timer = self._loop.call_later(STATEMENT_TIMEOUT_SECONDS + 1, self._fail, TimeoutError())
        try:
            cursor.execute(text, values)
            self._advance()
            await self._result
        except (asyncio.CancelledError, TimeoutError):
            self.close()  # the answer is still to come, and would be taken for that of the next statement
            raise
        except psycopg2.Error as error:
            self._close_if_ended(error)
            raise
        finally:
            timer.cancel()
            self._result = None
        return cursor.fetchall() if cursor.description else []

    def _fail(self, error: Exception) -> None:
        if self._result and not self._result.done():
            self._result.set_exception(error)

    def _watch(self) -> None:
        self._loop.add_reader(self._fileno, self._on_readable)

    def _on_readable(self) -> None:
        for _ in range(2):  # one read takes 16 KiB, and the rest of a long answer is there already
            self._advance()
            if not self.usable or (self._result and self._result.done()):
                break
        else:
            # uvloop stops watching a socket after an error, though libpq may have read only what came before it.
            # Unless it is watched again, the end goes unnoticed, and the statement waits for its time-out.
            self._loop.remove_reader(self._fileno)
            self._watch()

    def _advance(self) -> None:
        """Let libpq read or write what it can."""
        try:
            state = self._raw.poll()
        except psycopg2.Error as error:
            self._close_if_ended(error)
            self._fail(error)
            return
        if state == POLL_WRITE:
            self._loop.add_writer(self._fileno, self._advance)
            return
        self._loop.remove_writer(self._fileno)
        if state == POLL_OK and self._result and not self._result.done():
            self._result.set_result(None)

    def _close_if_ended(self, error: psycopg2.Error) -> None:
        # An error without a SQLSTATE is libpq's own: it could not read or write. It does not always set `closed`.
        if self._raw.closed or not error.pgcode or error.pgcode.startswith(ENDED):
            self.close()

    def close(self) -> None:
        if not self.usable:
            return  # the fd may belong to a new connection by now: leave its reader alone
        self.usable = False
        self._loop.remove_reader(self._fileno)
        self._loop.remove_writer(self._fileno)
        self._raw.close()
