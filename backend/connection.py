"""One connection to PostgreSQL: psycopg2's own asynchronous kind, for which the event loop waits."""

import asyncio
from typing import Any

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ, POLL_WRITE

STATEMENT_TIMEOUT_SECONDS = 10
ENDED = "57P"  # SQLSTATEs: by an administrator, by a crash, by a database that is starting or was dropped


async def _ready(fileno: int, state: int) -> None:
    """Wait until a socket can be read, or written, as a poll of its connection asked."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    add, remove = (loop.add_reader, loop.remove_reader) if state == POLL_READ else (loop.add_writer, loop.remove_writer)
    add(fileno, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        remove(fileno)


class Connection:
    """A psycopg2 connection in its asynchronous mode, which the event loop waits for; it is in autocommit.

    Its socket is watched while it is idle too, so that one which the server closed is never handed out.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._fileno = raw.fileno()
        self._loop = asyncio.get_running_loop()
        self._result: asyncio.Future[None] | None = None
        self._loop.add_reader(self._fileno, self._advance)

    @classmethod
    async def open(cls, url: str) -> "Connection":
        """Connect; raise psycopg2.OperationalError."""
        # In a thread, because libpq looks the host's name up as its first step and blocks while it does.
        raw: Any = await asyncio.to_thread(psycopg2.connect, url, async_=True, client_encoding="UTF8")
        try:
            while (state := raw.poll()) != POLL_OK:
                await _ready(raw.fileno(), state)
        except BaseException:
            raw.close()
            raise
        return cls(raw)

    @property
    def usable(self) -> bool:
        return not self._raw.closed

    async def execute(self, text: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Send one message and return the rows of its last statement; raise psycopg2.Error or TimeoutError."""
        cursor = self._raw.cursor()
        self._result = self._loop.create_future()
        # Not asyncio.timeout(), which takes a tenth of the time that a statement does.
        timer = self._loop.call_later(STATEMENT_TIMEOUT_SECONDS + 1, self._fail, TimeoutError())
        try:
            cursor.execute(text, values)
            self._advance()
            await self._result
        except (asyncio.CancelledError, TimeoutError):
            self.close()  # its answer is still to come, and would be taken for the next statement's
            raise
        finally:
            timer.cancel()
            self._result = None
        return cursor.fetchall() if cursor.description else []

    def _fail(self, error: Exception) -> None:
        if self._result and not self._result.done():
            self._result.set_exception(error)

    def _advance(self) -> None:
        """Let libpq read or write what it can, now that the socket is ready."""
        try:
            state = self._raw.poll()
        except psycopg2.Error as error:
            if self._raw.closed or (error.pgcode or "").startswith(ENDED):
                self.close()
            self._fail(error)
            return
        if state == POLL_WRITE:
            self._loop.add_writer(self._fileno, self._advance)
            return
        self._loop.remove_writer(self._fileno)
        if state == POLL_OK and self._result and not self._result.done():
            self._result.set_result(None)

    def close(self) -> None:
        self._loop.remove_reader(self._fileno)
        self._loop.remove_writer(self._fileno)
        self._raw.close()
