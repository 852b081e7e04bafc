"""One real PostgreSQL, one running API and clients with real tokens, for every test."""

import io
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest
import uvicorn
from fastapi import APIRouter
from jose import jws

from backend import logs, migrations
from backend.app import create_app, routes_of
from backend.database import Database
from backend.embedded import EmbeddedServer
from backend.server import KEEP_ALIVE_SECONDS, Protocol
from backend.settings import Settings
from tests.project import PATIENCE_SECONDS, Copy
from tests.servers import Redis
from tests.wire import Wire, tapped

# A developer's own settings must not decide what the tests see.
TEST_DATABASE_URL = os.environ.get("TEST_DATABASE_URL")
for name in Settings.model_fields:
    os.environ.pop(name.upper(), None)

pytest_plugins = ["tests.frontend", "tests.guide", "tests.plugins", "tests.typescript"]
SECRET = "a secret of the tests, with more than 32 characters"


# The files that take longest: first, so that side by side with the others they are not what is waited for at the end.
LONGEST = (
    "test_deploy",
    "test_resources",
    "test_dev",
    "test_frontend",
    "test_frontend_live",
    "test_frontend_sessions",
    "test_commands",
    "test_openapi",
    "test_faults",
    "test_revocation",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


def settings(**values: Any) -> Settings:
    """Return settings for a test: a development's, from these values alone, and without limits."""
    return Settings(
        _env_file=None, **{"better_auth_secret": SECRET, "rate_limit": "", "auth_failure_limit": "", **values}
    )


def sign(claims: dict[str, Any], *, secret: str = SECRET, headers: dict[str, Any] | None = None) -> str:
    """Return an HS256 token with these claims; a claim that is None is left out."""
    now = int(time.time())
    claims = {"iat": now, "exp": now + 900, **claims}
    kept = {name: value for name, value in claims.items() if value is not None}
    return str(jws.sign(kept, secret, headers=headers, algorithm="HS256"))


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Where `async def` tests run: the event loop that the API runs on."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a server on which databases can be made: TEST_DATABASE_URL, or an embedded one."""
    if TEST_DATABASE_URL:
        yield str(settings(database_url=TEST_DATABASE_URL).database_url.get_secret_value())  # type: ignore[union-attr]
        return
    # Not in pytest's own folder, which a second run beside this one closes to the user that the server runs as.
    with tempfile.TemporaryDirectory(prefix="better-tasks-") as folder, EmbeddedServer(Path(folder)).running() as url:
        yield url


def execute(url: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Run one statement, outside the API, and return its rows."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def workers(server: str) -> list[str]:
    """Return the URLs of the workers of a Citus coordinator; none of any other server."""
    if not execute(server, "SELECT 1 FROM pg_extension WHERE extname = 'citus'"):
        return []
    rows = execute(server, "SELECT nodename, nodeport FROM pg_dist_node WHERE noderole = 'primary' AND groupid <> 0")
    return [str(httpx.URL(server).copy_with(host=host, port=port)) for host, port in rows]


def spread(coordinator: str, others: list[httpx.URL]) -> None:
    """Install Citus in a database that is on each of these nodes, and make the first one the coordinator."""
    for node in (httpx.URL(coordinator), *others):
        execute(str(node), "CREATE EXTENSION citus")
    own = httpx.URL(coordinator)
    execute(coordinator, "SELECT citus_set_coordinator_host(%s, %s)", own.host, own.port or 5432)
    for node in others:
        execute(coordinator, "SELECT citus_add_node(%s, %s)", node.host, node.port or 5432)


@contextmanager
def throwaway_database(server: str) -> Iterator[str]:
    """Yield the URL of a new and empty database, which is dropped at the end."""
    name = f"better_tasks_test_{uuid.uuid4().hex[:12]}"
    url = str(httpx.URL(server).copy_with(path=f"/{name}"))
    nodes = [httpx.URL(node) for node in (server, *workers(server))]
    try:
        for node in nodes:
            execute(str(node), f"CREATE DATABASE {name}")
        if nodes[1:]:
            spread(url, [node.copy_with(path=f"/{name}") for node in nodes[1:]])
        yield url
    finally:
        for node in nodes:
            execute(str(node), f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def empty_database(postgres: str) -> Iterator[str]:
    with throwaway_database(postgres) as url:
        yield url


@pytest.fixture(scope="session")
def database_url(postgres: str) -> Iterator[str]:
    """The URL of the database of most tests, at the newest revision."""
    with throwaway_database(postgres) as url:
        migrations.upgrade(url, wait_seconds=5)
        yield url


@pytest.fixture
def wire(database_url: str) -> Iterator[Wire]:
    """The way to the database of most tests, on which every message can be read."""
    if TEST_DATABASE_URL and "sslmode" in TEST_DATABASE_URL:
        pytest.skip("what passes over TLS cannot be read")
    with tapped(database_url) as wire:
        yield wire


@asynccontextmanager
async def database(url: str, *, pool_size: int = 2, wait_seconds: float = 5) -> AsyncIterator[Database]:
    """Yield a pool of connections, which are closed at the end."""
    db = Database(url, pool_size=pool_size, wait_seconds=wait_seconds)
    try:
        yield db
    finally:
        db.close()


@contextmanager
def serving(
    configuration: Settings, port: int = 0, router: APIRouter | None = None, root_path: str = ""
) -> Iterator[str]:
    """Run the API with these settings, in a thread, on this or any free port, with a router more, and yield its URL."""
    app = create_app(configuration)
    app.router.routes += routes_of(router) if router else []
    config = uvicorn.Config(app, port=port, log_config=None, access_log=False, root_path=root_path)
    config.http, config.timeout_keep_alive = Protocol, KEEP_ALIVE_SECONDS  # as main.py has them
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the API did not start"
            time.sleep(0.005)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        app.state.live.end()
        server.should_exit = True
        thread.join()


@pytest.fixture
def redis() -> Iterator[Redis]:
    server = Redis()
    server.start()
    yield server
    server.stop()


class Log(io.StringIO):
    def lines(self, event: str) -> list[dict[str, Any]]:
        parsed = [json.loads(line) for line in self.getvalue().splitlines()]
        return [line for line in parsed if line["event"] == event]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """What the API of this test logs, as JSON at every level."""
    stream = Log()
    configure = logs.configure
    monkeypatch.setattr(logs, "configure", lambda *_: configure("debug", "json", stream))
    yield stream
    configure("info", "console")


@pytest.fixture
def logged_api(log: Log, database_url: str) -> Iterator[str]:
    with serving(settings(database_url=database_url)) as url:
        yield url


@pytest.fixture(scope="session")
def api(database_url: str) -> Iterator[str]:
    """The URL of the API that most tests talk to."""
    with serving(settings(database_url=database_url)) as url:
        yield url


@contextmanager
def overheard(database_url: str) -> Iterator[tuple[Wire, httpx.Client]]:
    """Yield what passes between an API with one connection and the database, and a client of that API."""
    if TEST_DATABASE_URL and "sslmode" in TEST_DATABASE_URL:
        pytest.skip("what passes over TLS cannot be read")
    token = {"Authorization": f"Bearer {sign({'sub': f'user-{uuid.uuid4()}'})}"}
    with (
        tapped(database_url) as wire,
        serving(settings(database_url=wire.url, migrate_on_start=False, db_pool_size=1)) as url,
        httpx.Client(base_url=url, headers=token, timeout=PATIENCE_SECONDS) as client,
    ):
        yield wire, client


@pytest.fixture
def client_of(api: str) -> Iterator[Callable[..., httpx.Client]]:
    """Makes HTTP clients with the token of a user, by default of one that no other test knows."""
    clients: list[httpx.Client] = []

    def make(user_id: str | None = None) -> httpx.Client:
        token = sign({"sub": user_id or f"user-{uuid.uuid4()}"})
        clients.append(
            httpx.Client(base_url=api, headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE_SECONDS)
        )
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def ann(client_of: Callable[..., httpx.Client]) -> httpx.Client:
    return client_of()


@pytest.fixture
def bob(client_of: Callable[..., httpx.Client]) -> httpx.Client:
    return client_of()


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(__file__).parent.parent


@contextmanager
def fresh_copy(root: Path, parent: Path) -> Iterator[Copy]:
    """Yield a copy of what git would clone, without the tests."""
    folder = parent / "better tasks"  # a path with a space in it, as people have them
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (root / name).is_file() and not name.startswith("tests/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, folder / name)
    made = Copy(folder)
    yield made
    assert made.ends_postgres()


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Iterator[Copy]:
    with fresh_copy(root, tmp_path) as made:
        yield made
