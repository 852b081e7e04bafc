"""One connection to PostgreSQL: psycopg2's asynchronous mode, driven by the event loop."""

import asyncio
import re
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import POLL_OK, POLL_READ, POLL_WRITE

STATEMENT_TIMEOUT_SECONDS = 10
LOCK_TIMEOUT_SECONDS = 4
ENDED = "57P"  # SQLSTATEs: an administrator, a crash, or a database that is starting or was dropped
MAX_PREPARED = 100  # on one connection: clients choose which fields a PATCH names, so there can be many


class Prepared(str):
    """A statement that PostgreSQL parses and plans once on each connection, and not each time (docs/decisions/0015)."""

    def __init__(self, text: str) -> None:
        parameters: list[str] = []

        def numbered(match: re.Match[str]) -> str:
            if match[0] == "%%":
                return match[0]
            # A number for each place: the same value may have another type in another.
            parameters.append(match[0])
            return f"${len(parameters)}"

        body = re.sub(r"%%|%\(\w+\)s", numbered, text)
        # Made of the text, so that one name never means two statements, whoever else uses the connection.
        self.name = f"s_{blake2b(text.encode(), digest_size=8).hexdigest()}"
        self.prepare = f"PREPARE {self.name} AS {body}"
        self.execute = f"EXECUTE {self.name}({', '.join(parameters)})"


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

    def __init__(self, raw: Any, statement_seconds: float) -> None:
        self._raw = raw
        self._statement_seconds = statement_seconds
        self._fileno = raw.fileno()
        self._loop = asyncio.get_running_loop()
        self._result: asyncio.Future[None] | None = None
        self._prepared: dict[Prepared, None] = {}  # the one used last at the end
        self.usable = True
        self._watch()

    @classmethod
    async def open(cls, url: str, statement_seconds: float = STATEMENT_TIMEOUT_SECONDS) -> "Connection":
        """Connect; raise psycopg2.OperationalError. A statement that takes longer is given up."""
        # In a thread, because libpq first looks up the host name, and blocks meanwhile.
        raw: Any = await asyncio.to_thread(psycopg2.connect, url, async_=True, client_encoding="UTF8")
        try:
            while (state := raw.poll()) != POLL_OK:
                await _ready(raw.fileno(), state)
        except BaseException:
            raw.close()
            raise
        return cls(raw, statement_seconds)

    @property
    def backend_pid(self) -> int:
        """The process that serves this connection, as it was told when it connected: a pooler tells another number."""
        return int(self._raw.info.backend_pid)

    async def execute(
        self, *parts: str, values: dict[str, Any] | None = None, prepare: bool = False
    ) -> list[tuple[Any, ...]]:
        """Send statements as one message, and return the rows of the last; raise psycopg2.Error or TimeoutError.

        With `prepare`, each that is `Prepared` is prepared on this connection when it is first used.
        """
        if not prepare:
            return await self._send("; ".join(parts), values)
        message, new = self._message(parts)
        try:
            rows = await self._send(message, values)
        except psycopg2.Error as error:
            there = [statement for statement in new if statement.name in str(error)]
            if isinstance(error, errors.DuplicatePreparedStatement) and there:
                # From a message that failed after its PREPARE, which no rollback takes back.
                self._prepared |= dict.fromkeys(there)
            elif isinstance(error, errors.FeatureNotSupported) and any(part in self._prepared for part in parts):
                # "cached plan must not change result type": a migration changed a column of its answer.
                await self._send("DEALLOCATE ALL")
                self._prepared.clear()
            else:
                raise
            return await self.execute(*parts, values=values, prepare=True)  # nothing of the message was done
        self._prepared |= dict.fromkeys(new)
        return rows

    def _message(self, parts: Iterable[str]) -> tuple[str, list[Prepared]]:
        """Return the parts as one message, and those that it prepares."""
        texts: list[str] = []
        new: list[Prepared] = []
        for part in parts:
            if not isinstance(part, Prepared):
                texts.append(part)
                continue
            if part in self._prepared:
                self._prepared[part] = self._prepared.pop(part)
            else:
                if len(self._prepared) + len(new) >= MAX_PREPARED:
                    oldest = next(iter(self._prepared))
                    del self._prepared[oldest]
                    texts.append(f"DEALLOCATE {oldest.name}")
                texts.append(part.prepare)
                new.append(part)
            texts.append(part.execute)
        return "; ".join(texts), new

    async def _send(self, text: str, values: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        cursor = self._raw.cursor()
        self._result = self._loop.create_future()
        # Not asyncio.timeout(), which costs a tenth of the time of a statement.
        longest = self._statement_seconds + LOCK_TIMEOUT_SECONDS + 1  # of a write that first waits for another one
        timer = self._loop.call_later(longest, self._fail, TimeoutError())
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
