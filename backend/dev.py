"""`main.py dev`: starts and stops the database, the API and the frontend together, with one log."""

import os
import shutil
import signal
import subprocess  # nosec B404
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import httpx

from backend.embedded import database_url
from backend.settings import ENV_FILE, ROOT, Settings, StartError

FRONTEND = ROOT / "frontend"
END_SECONDS = 15


class _Program:
    """A process and its children; each line of their output is printed after the program's name."""

    def __init__(self, name: str, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.name = name
        self._process = subprocess.Popen(  # nosec B603
            command,
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            # Ctrl-C must reach only the parent, which then stops its programs in order.
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._show, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def _show(self, output: IO[str]) -> None:
        for line in output:
            print(f"{self.name} | {line}", end="", flush=True)

    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> int:
        """Wait until it has exited and all its output is shown; return its exit code."""
        self._reader.join()
        return self._process.wait()

    def end(self) -> None:
        """Stop it and its children: with SIGTERM, then by force."""
        for name in ("SIGTERM", "SIGKILL"):
            try:
                if hasattr(os, "killpg"):
                    os.killpg(self._process.pid, getattr(signal, name))
                else:
                    self._process.terminate()
            except ProcessLookupError:
                break
            try:
                self._process.wait(END_SECONDS)  # SIGKILL follows in any case, for children left behind
            except subprocess.TimeoutExpired:
                continue
        self._reader.join(END_SECONDS)


def _is_installed() -> bool:
    """Whether the frontend's packages are at least as new as its lock file."""
    lock, installed = FRONTEND / "package-lock.json", FRONTEND / "node_modules" / ".package-lock.json"
    return installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).is_success
    except httpx.TransportError:
        return False


def run(settings: Settings, port: int, web_port: int) -> int:
    """Run everything until Ctrl-C, SIGTERM or the exit of one program; return the exit code. Raises StartError."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        raise StartError("The frontend needs Node 20.9 or newer (nodejs.org). `uv run main.py` runs the API without it")
    if settings.environment != "development":
        raise StartError(f"ENVIRONMENT: is {settings.environment}, but `dev` is for development")
    if settings.better_auth_secret is None:
        # Without a secret Better Auth uses a default that everybody knows.
        raise StartError(f"BETTER_AUTH_SECRET: is missing in the environment and in {ENV_FILE}: Better Auth needs it")
    by_secret = os.environ.get("JWT_SIGNING") == "secret"
    if by_secret and settings.jwks_url:
        raise StartError("JWT_SIGNING=secret: then there is no JWKS. Unset BETTER_AUTH_URL and JWKS_URL (see .env)")
    web, api = f"http://localhost:{web_port}", f"http://localhost:{port}"
    programs: list[_Program] = []
    told = False

    def tell(*_: object) -> None:
        nonlocal told
        told = True

    def start(name: str, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        if not told:
            programs.append(_Program(name, command, folder, environment))

    def wait_until(condition: Callable[[], bool]) -> bool:
        """Wait until the condition is true; return False if a program exits or the shutdown begins first."""
        while not told and all(program.is_running() for program in programs):
            if condition():
                return True
            time.sleep(0.2)
        return False

    def install() -> None:
        print("web | installing its packages, only this once: npm ci", flush=True)
        start("web", [npm, "ci", "--no-audit", "--no-fund"], FRONTEND, {})
        wait_until(lambda: False)
        if not told and programs.pop().wait():
            raise StartError(f"`npm ci` in {FRONTEND} failed; see its output above")

    with database_url(settings) as url:
        secret = settings.better_auth_secret.get_secret_value()
        frontend = {"DATABASE_URL": url, "BETTER_AUTH_URL": web, "BETTER_AUTH_SECRET": secret, "API_URL": api}
        # The API must accept the frontend's tokens, even if .env names another Better Auth.
        issuer = {"JWT_ISSUER": web, "JWT_AUDIENCE": web}
        if not by_secret:
            issuer |= {"BETTER_AUTH_URL": web, "JWKS_URL": f"{web}/api/auth/jwks"}
        # Raise nothing here: one Ctrl-C can arrive as two signals, and the second would interrupt the shutdown.
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), tell)
        try:
            if not _is_installed():
                install()
            next_js = str(FRONTEND / "node_modules" / "next" / "dist" / "bin" / "next")
            command = [node, next_js, "dev", "--hostname", "localhost", "--port", str(web_port)]
            start("web", command, FRONTEND, {**frontend, "NEXT_TELEMETRY_DISABLED": "1"})
            # Better Auth comes first, because the API fetches the key set when it starts.
            if wait_until(lambda: _answers(f"{web}/api/auth/ok")):
                command = [sys.executable, "main.py", "--reload", "--port", str(port)]
                start("api", command, ROOT, {**issuer, "CORS_ORIGINS": web})
            if wait_until(lambda: _answers(f"{api}/ready")):
                print(f"Better Tasks   {web}\n  its API      {api}/docs\n  to end all   Ctrl-C", flush=True)
            wait_until(lambda: False)
            ended = [program.name for program in programs if not program.is_running()]
        finally:
            for program in reversed(programs):
                program.end()
    if told:
        return 0
    print(f"{ended[0]} has ended, and so all of it has; see its output above.", file=sys.stderr)
    return 1
