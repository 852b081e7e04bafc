"""A fresh copy of the project, and its commands as a user types them."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

import httpx
import psutil
import pytest

PATIENCE_SECONDS = 60  # after which what should have answered has hung


class Copy:
    """A copy of what git would clone, with no `.env` and no `.data`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Only what a shell has: no setting of whoever runs the tests.
        self.environment = {
            name: os.environ[name] for name in ("PATH", "HOME", "COVERAGE_PROCESS_CONFIG") if name in os.environ
        }
        # A run of its tests lets nobody else look into pytest's folder, where this run's PostgreSQL has its files.
        self.environment["PYTEST_DEBUG_TEMPROOT"] = str(self.folder.parent)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **environment)
        out, err = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def bash(self, commands: str, **environment: str) -> str:
        """Run a page's commands as they stand, with the packages that the tests run with; return what they print."""
        packages = {"UV_PROJECT_ENVIRONMENT": sys.prefix, "UV_NO_SYNC": "1"}
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=self.folder,
            env={**self.environment, **packages, **environment},
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def postgres_processes(self) -> list[psutil.Process]:
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if str(self.folder) in " ".join(process.info["cmdline"] or [])
            and "postgres" in " ".join(process.info["cmdline"] or [])
            and process.status() != psutil.STATUS_ZOMBIE
        ]

    def ends_postgres(self) -> bool:
        """Return whether its PostgreSQL ends: pg_ctl waits until it has stopped, a moment before its last process."""
        last = time.monotonic() + PATIENCE_SECONDS
        wait_until(lambda: not self.postgres_processes() or time.monotonic() > last)
        return not self.postgres_processes()

    @contextmanager
    def serving(self, *arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
        """Run a server, wait until it is ready, and end it with SIGTERM if it has not ended by itself."""
        port = free_port()
        process = self.start(*arguments, "--port", str(port), **environment)
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: answers(url) or process.poll() is not None)
            assert process.poll() is None, process.communicate()
            yield process, url
        finally:
            process.terminate()
            process.communicate()


def installed(folder: Path) -> Path:
    """Return a folder once it has the Node packages of its package-lock.json; skip the test without Node."""
    npm = shutil.which("npm")
    if not npm:
        pytest.skip("Node is not installed")
    with (folder / "package-lock.json").open() as lock:
        flock(lock, LOCK_EX)  # tests of two files may run at once
        marker = folder / "node_modules" / ".package-lock.json"
        if not marker.exists() or marker.stat().st_mtime < os.fstat(lock.fileno()).st_mtime:
            subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=folder, check=True, capture_output=True)
    return folder


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready", timeout=30).status_code == 200
    except httpx.TransportError:
        return False


def wait_until(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.02)
