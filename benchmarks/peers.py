"""The programs that the benchmarks run: PostgreSQL with tasks in it, the API, and its peers."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg2
from jose import jws

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from backend import migrations  # noqa: E402
from backend.embedded import EmbeddedServer  # noqa: E402

SECRET = "a secret of the benchmarks, which protects nothing"  # noqa: S105
# The API has its own core; PostgreSQL and the load share the other. With only one core, nothing is pinned.
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
API_CORE, OTHER_CORE = ([CORES[0]], CORES[1:2]) if len(CORES) > 1 else (CORES, CORES)

TASKS = """
INSERT INTO {table} (user_id, id, title, description, status, priority, tags, version, created_at, updated_at, due_date)
SELECT 'user-' || u, md5(u || '-' || n)::uuid, 'Task ' || n || ' of user ' || u, repeat('What there is to do. ', 4),
  (ARRAY['pending', 'in_progress', 'completed'])[1 + n %% 3]::{status},
  (ARRAY['low', 'medium', 'high'])[1 + n %% 3]::{priority},
  ARRAY['tag-' || n %% 10], 1, now() - n * interval '1 hour', now() - n * interval '1 hour',
  CASE WHEN n %% 2 = 0 THEN now() + n * interval '1 day' END
FROM generate_series(%(first_user)s, %(last_user)s) u, generate_series(1, %(each)s) n
"""


def pin(process: psutil.Process, cores: list[int]) -> None:
    if cores and hasattr(process, "cpu_affinity"):
        process.cpu_affinity(cores)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def token(user: int) -> str:
    """Return a user's HS256 token, valid for a day."""
    now = int(time.time())
    return str(jws.sign({"sub": f"user-{user}", "iat": now, "exp": now + 86400}, SECRET, algorithm="HS256"))


def task_id(user: int, number: int) -> str:
    """Return the id that TASKS gives to a task."""
    return str(uuid.UUID(hashlib.md5(f"{user}-{number}".encode(), usedforsecurity=False).hexdigest()))


def execute(url: str, *statements: str, **values: Any) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement, values or None)
        rows = cursor.fetchall() if cursor.description else []
    connection.close()
    return rows


@contextmanager
def database() -> Iterator[str]:
    """Yield the URL of an empty, migrated database on its own server."""
    with tempfile.TemporaryDirectory(prefix="better-tasks-") as folder, EmbeddedServer(Path(folder)).running() as url:
        [pid_file] = Path(folder).rglob("postmaster.pid")
        pin(psutil.Process(int(pid_file.read_text().split()[0])), OTHER_CORE)
        migrations.upgrade(url, 5)
        yield url


def fill(url: str, *, users: int, each: int, first_user: int = 1, usual: bool = False) -> None:
    """Create tasks for users: rows for the API and, with `usual`, the same rows for `usual.py`."""
    values = {"first_user": first_user, "last_user": first_user + users - 1, "each": each}
    execute(url, TASKS.format(table="task", status="task_status", priority="task_priority"), **values)
    if usual:
        environment = {**os.environ, "DATABASE_URL": url, "BETTER_AUTH_SECRET": SECRET}
        program = "import usual; usual.SQLModel.metadata.create_all(usual.engine)"
        subprocess.run([sys.executable, "-c", program], cwd=HERE, env=environment, check=True)
        execute(url, TASKS.format(table="usual_task", status="text", priority="text"), **values)
    execute(url, "VACUUM ANALYZE")


@contextmanager
def serving(command: list[str], environment: dict[str, str], cwd: Path = ROOT) -> Iterator[tuple[str, psutil.Process]]:
    """Run a server with PORT in its environment; once it answers, yield its URL and its process."""
    port = free_port()
    own = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    process = psutil.Popen(
        command,
        cwd=cwd,
        env={**own, "PORT": str(port), "BETTER_AUTH_SECRET": SECRET, **environment},
        stdout=subprocess.DEVNULL,
    )
    pin(process, API_CORE)
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                httpx.get(f"{url}/health").raise_for_status()
                break
            except httpx.HTTPError:
                if process.poll() is not None:
                    raise SystemExit(f"{command} ended with {process.returncode}") from None
                time.sleep(0.02)
        yield url, process
    finally:
        process.terminate()
        process.wait()


def api(database_url: str, root: Path = ROOT, **environment: str) -> Any:
    """Run the API itself, or that of another folder, with logs at warning and limits off."""
    settings = {
        "ENVIRONMENT": "production",
        "LOG_LEVEL": "warning",
        "RATE_LIMIT": "",
        "AUTH_FAILURE_LIMIT": "",
        "DATABASE_URL": database_url,
        **environment,
    }
    return serving([sys.executable, "main.py"], settings, root)


EXECUTIONS = """
INSERT INTO test_execution (user_id, id, name, status, started_at, finished_at, environment, created_at, updated_at)
SELECT 'user-' || u, md5(u || '-' || n)::uuid, 'Run ' || n || ' of user ' || u,
  (ARRAY['pending', 'running', 'passed', 'failed'])[1 + n %% 4]::test_execution_status,
  now() - n * interval '1 hour', CASE WHEN n %% 2 = 0 THEN now() END, '{"os": "linux", "python": "3.13"}',
  now() - n * interval '1 hour', now() - n * interval '1 hour'
FROM generate_series(1, %(users)s) u, generate_series(1, %(each)s) n
"""


@contextmanager
def api_with_test_runs(database_url: str, *, users: int, each: int) -> Iterator[tuple[str, psutil.Process]]:
    """Run a copy of the API with examples/test_runs.py in it, as docs/resources.md says, and rows in its table."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("backend", "migrations"):
            shutil.copytree(ROOT / part, copy / part)
        for part in ("main.py", "pyproject.toml", "examples/test_runs.py"):
            shutil.copy(ROOT / part, copy / "backend" if part.startswith("examples/") else copy)
        tables = copy / "backend" / "tables.py"
        text = tables.read_text().replace("import tags, tasks", "import tags, tasks, test_runs")
        tables.write_text(text.replace("(tasks, tags)", "(tasks, tags, test_runs)"))
        environment = {**os.environ, "DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET}
        for command in (["migration", "add test runs"], ["migrate"]):
            subprocess.run([sys.executable, "main.py", *command], cwd=copy, env=environment, check=True)
        execute(database_url, EXECUTIONS, users=users, each=each)
        execute(database_url, "VACUUM ANALYZE")
        with api(database_url, copy) as served:
            yield served


@contextmanager
def redis() -> Iterator[str]:
    """Run a Redis that keeps nothing, and yield its URL."""
    program, port = shutil.which("redis-server"), free_port()
    if program is None:
        raise SystemExit("Events across processes need Redis: apt-get install redis-server, or brew install redis")
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    process = psutil.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


def usual(database_url: str) -> Any:
    """Run the same API written the usual way (usual.py)."""
    command = ["from os import environ as e; import uvicorn; uvicorn.run('usual:app', port=int(e['PORT']),"]
    command[0] += " log_level='warning', access_log=False)"
    return serving([sys.executable, "-c", *command], {"DATABASE_URL": database_url}, HERE)


def fastify(database_url: str) -> Any:
    """Run Fastify 5 with pg and @fastify/jwt (fastify/); the first run installs its packages."""
    folder = HERE / "fastify"
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        raise SystemExit("Fastify needs Node.js with npm. Leave it out with: --without fastify")
    if not (folder / "node_modules" / ".package-lock.json").exists():
        subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    # pg does not support libpq's `?host=` for the folder of a socket.
    parts = httpx.URL(database_url)
    where = f"postgresql://{parts.username}@{parts.params['host'].replace('/', '%2F')}{parts.path}"
    database_url = where if "host" in parts.params else database_url
    return serving([node, "server.mjs"], {"DATABASE_URL": database_url}, folder)


def load(url: str, requests: list[tuple[str, str, str, str]], *, seconds: int, connections: int) -> dict[str, Any]:
    """Send requests (method, path, token, body) with wrk; return its figures, or exit if a request failed."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("The load comes from wrk: apt-get install wrk, or brew install wrk")
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as file:
        file.writelines("\t".join(request) + "\n" for request in requests)
        file.flush()
        command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(HERE / "load.lua"), url]
        process = psutil.Popen([*command, "--", file.name], stdout=subprocess.PIPE, text=True)
        pin(process, OTHER_CORE)
        out, _ = process.communicate()
    figures: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    if figures["failed"]:
        raise SystemExit(f"{figures['failed']} of {figures['requests']} requests to {url} failed")
    return figures
