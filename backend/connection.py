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
        self.usable = True
        self._watch()

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
        for _ in range(2):  # a read takes 16 KiB: the rest of a long answer is there already
            self._advance()
            if not self.usable or (self._result and self._result.done()):
                break
        else:
            # uvloop stops watching a socket that has met an error, of which libpq may have read no more than what
            # came before it: the end would never be noticed, and the statement would wait for its time-out.
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
        # An error without a SQLSTATE is libpq's own: it could not write or read, and does not always say "closed".
        if self._raw.closed or not error.pgcode or error.pgcode.startswith(ENDED):
            self.close()

    def close(self) -> None:
        if not self.usable:
            return  # its socket's number is another connection's by now, which would wait for its answer in vain
        self.usable = False
        self._loop.remove_reader(self._fileno)
        self._loop.remove_writer(self._fileno)
        self._raw.close()
