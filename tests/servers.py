"""Servers of a test's own, beside the embedded PostgreSQL: each on a free port, ended with the test."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis as Client

from backend.bus import CHANNEL
from tests.project import free_port, wait_until


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def program(name: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/bin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@contextmanager
def running(command: list[str], port: int, user: int | str | None = None) -> Iterator[None]:
    process = subprocess.Popen(command, user=user, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_until(lambda: listens(port) or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        yield
    finally:
        process.terminate()
        process.communicate()


class Redis:
    """Debian's Redis, with a password, which can be stopped and started again; it keeps nothing."""

    def __init__(self) -> None:
        self._program = shutil.which("redis-server")
        if self._program is None:
            pytest.skip("Redis is not installed")
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://:hunter2@127.0.0.1:{self._port}/0"

    def start(self) -> None:
        options = ["--port", str(self._port), "--bind", "127.0.0.1", "--requirepass", "hunter2", "--save", ""]
        self._process = subprocess.Popen([str(self._program), *options], stdout=subprocess.DEVNULL)
        wait_until(lambda: listens(self._port))

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def subscribers(self) -> int:
        """Return how many processes hear what others say."""
        with Client.from_url(self.url) as client:
            [(_, number)] = client.pubsub_numsub(CHANNEL)
            return int(number)

    def freeze(self) -> None:
        """Let it accept connections and answer nothing, as a machine in trouble does."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)


class Debian15:
    """Debian's PostgreSQL 15, where it is installed."""

    def __init__(self, folder: Path, *, tls: bool = False) -> None:
        self.folder = folder
        self.tls = tls
        self.programs = Path("/usr/lib/postgresql/15/bin")

    @contextmanager
    def running(self) -> Iterator[str]:
        if not (self.programs / "initdb").exists():
            pytest.skip("PostgreSQL 15 is not installed")
        self.folder.chmod(0o755)
        data, port = self.folder / "data", free_port()
        data.mkdir()
        shutil.chown(data, "postgres")

        def run(program: str, *arguments: str, text: str | None = None) -> None:
            place = arguments if program == "postgres" else ("-D", str(data), *arguments)
            subprocess.run(
                [str(self.programs / program), *place],
                env={"PGDATA": str(data), "PATH": os.environ["PATH"]},
                user="postgres",
                check=True,
                input=text,
                text=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

        run("initdb", "--auth=trust", "--encoding=UTF8", "-U", "postgres")
        options = f"-h 127.0.0.1 -p {port} -k ''"
        if self.tls:
            options += " -c ssl=on"
            subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
            files = ["-keyout", str(data / "server.key"), "-out", str(data / "server.crt")]
            command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *files, *subject]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            for name in ("server.key", "server.crt"):
                shutil.chown(data / name, "postgres")
            (self.folder / "server.crt").write_bytes((data / "server.crt").read_bytes())
            # As on Neon: no way in but over TLS, with a password.
            (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
            run("postgres", "--single", "postgres", text="ALTER ROLE postgres PASSWORD 'hunter2'\n")
        run("pg_ctl", "start", "-w", "-l", str(data / "log"), "-o", options)
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "stop", "-w", "-m", "immediate")
