"""The files in deploy/ run together: nginx, three processes of the API, the app, PgBouncer, Redis and PostgreSQL."""

import os
import re
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

import httpx
import pytest
import yaml

from backend.embedded import EmbeddedServer
from tests import frontend as app
from tests.conftest import SECRET, execute, sign
from tests.helpers import THREE
from tests.project import Copy, answers, free_port, wait_until
from tests.servers import Debian15, Redis, program, running
from tests.streams import Reader

PASSWORD = "hunter2"


@dataclass
class Site:
    """What a client sees, and the processes behind it."""

    url: str
    start: Callable[[int], "subprocess.Popen[str]"]
    ports: list[int]
    processes: list["subprocess.Popen[str]"] = field(default_factory=list)

    def begin(self, number: int) -> None:
        """Start one process of the API, and wait until it is ready."""
        process = self.start(self.ports[number])
        wait_until(lambda: answers(f"http://127.0.0.1:{self.ports[number]}") or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        self.processes[number : number + 1] = [process]

    def end(self, number: int) -> int:
        """End it as an operator does; return its exit code."""
        self.processes[number].terminate()
        self.processes[number].communicate()
        return self.processes[number].returncode


def user(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {sign({'sub': name})}"}


@dataclass
class Place:
    """A server with a database whose owner, `tasks`, may create roles; and where PgBouncer finds it."""

    superuser: str
    host: str
    port: int
    user: int | str | None  # who may use its socket


@pytest.fixture(params=["a socket", "TLS"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with ExitStack() as stack:
        # Not in pytest's own folder, into which only its own user can look.
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="better-tasks-")))
        if request.param == "TLS":
            url = stack.enter_context(Debian15(folder, tls=True).running())
            url = url.replace("postgres@", f"postgres:{PASSWORD}@")
        else:
            url = stack.enter_context(EmbeddedServer(folder).running())
        execute(url, f"CREATE ROLE tasks LOGIN CREATEROLE PASSWORD '{PASSWORD}'")
        execute(url, "CREATE DATABASE tasks OWNER tasks")
        parts = httpx.URL(url)
        host = parts.params.get("host") or parts.host
        owner = os.stat(host).st_uid if host.startswith("/") else "nobody"
        yield Place(url, host, parts.port or 5432, owner if os.getuid() == 0 else None)


@contextmanager
def deployed(
    root: Path, copy: Copy, folder: Path, place: Place, frontend: Path | None = None, /, **settings: str
) -> Iterator[Site]:
    """Run what compose.yaml runs, of the same files: their names and ports changed, and nothing else."""
    folder.chmod(0o755)
    front, pages, pooler, ports = free_port(), free_port(), free_port(), [free_port() for _ in range(3)]
    direct = str(httpx.URL(place.superuser).copy_with(username="tasks", password=PASSWORD, path="/tasks"))
    pooled = f"postgresql://tasks:{PASSWORD}@127.0.0.1:{pooler}/tasks"

    users = folder / "userlist.txt"
    users.write_text(f'"tasks" "{PASSWORD}"\n')
    bouncer = (root / "deploy" / "pgbouncer.ini").read_text()
    for old, new in (
        ("host=postgres port=5432", f"host={place.host} port={place.port}"),
        ("listen_addr = 0.0.0.0", "listen_addr = 127.0.0.1"),
        ("listen_port = 6432", f"listen_port = {pooler}\nunix_socket_dir ="),
        ("/etc/pgbouncer/userlist.txt", str(users)),
        ("default_pool_size = 20", "default_pool_size = 4"),
        ("; server_tls_sslmode = verify-full", "server_tls_sslmode = require" if place.host[0] != "/" else ""),
    ):
        assert old in bouncer
        bouncer = bouncer.replace(old, new)
    (folder / "pgbouncer.ini").write_text(bouncer)

    proxy = (root / "deploy" / "nginx.conf").read_text().replace("/tmp/", f"{folder}/")  # noqa: S108
    proxy = proxy.replace("listen 8080", f"listen 127.0.0.1:{front}")
    for number, port in enumerate(ports, 1):
        proxy = proxy.replace(f"api{number}:8000", f"127.0.0.1:{port}")
    proxy = proxy.replace("frontend:3000", f"127.0.0.1:{pages}")
    assert "api1" not in proxy
    (folder / "nginx.conf").write_text(proxy)

    redis = Redis()
    environment = {
        "ENVIRONMENT": "production",
        "DATABASE_URL": pooled,
        "BETTER_AUTH_SECRET": SECRET,
        "REDIS_URL": redis.url,
        "LOG_LEVEL": "warning",
        **settings,
    }
    if frontend:
        keys = f"http://127.0.0.1:{pages}/api/auth/jwks"
        environment |= {"BETTER_AUTH_URL": f"http://127.0.0.1:{front}", "JWKS_URL": keys, "BETTER_AUTH_SECRET": ""}
    with ExitStack() as stack:
        redis.start()
        stack.callback(redis.stop)
        migrated = copy.run("main.py", "migrate", **{**environment, "DATABASE_URL": direct})
        assert migrated.returncode == 0, migrated.stderr
        stack.enter_context(running([program("pgbouncer"), str(folder / "pgbouncer.ini")], pooler, place.user))
        site = Site(
            f"http://127.0.0.1:{front}",
            lambda port: copy.start("main.py", "--port", str(port), **environment),
            ports,
        )
        if frontend:
            said = yaml.safe_load((root / "deploy" / "compose.yaml").read_text())["services"]["frontend"]["environment"]
            known = {"DATABASE_URL": pooled, "BETTER_AUTH_SECRET": SECRET}
            urls = {name: "" if value.endswith(":-}") else site.url for name, value in said.items()}
            server = app.start(frontend, pages, urls | known)
            stack.callback(server.wait)
            stack.callback(server.terminate)
            wait_until(lambda: app.answers(f"http://localhost:{pages}/api/auth/ok") or server.poll() is not None)
            assert server.poll() is None
        for number in range(3):
            site.begin(number)
            stack.callback(site.end, number)
        nginx = [program("nginx"), "-c", str(folder / "nginx.conf"), "-p", str(folder), "-g", "daemon off;"]
        stack.enter_context(running(nginx, front))
        yield site


@contextmanager
def load(site: Site, request: Callable[[httpx.Client], httpx.Response], clients: int = 10) -> Iterator[list[int]]:
    """Send requests by several clients meanwhile; yield the statuses of their answers."""
    statuses: list[int] = []
    ended = Event()

    def work(number: int) -> None:
        with httpx.Client(base_url=site.url, headers=user(f"client-{number}"), timeout=30) as client:
            while not ended.is_set():
                statuses.append(request(client).status_code)

    with ThreadPoolExecutor(clients) as pool:
        working = [pool.submit(work, number) for number in range(clients)]
        try:
            yield statuses
        finally:
            ended.set()
        for each in working:
            each.result()


def test_three_processes_behind_nginx_are_one_api(root: Path, copy: Copy, place: Place) -> None:
    own = {"FORWARDED_ALLOW_IPS": "127.0.0.1", "RATE_LIMIT": "", "AUTH_FAILURE_LIMIT": THREE}
    with (
        TemporaryDirectory(prefix="better-tasks-") as folder,
        deployed(root, copy, Path(folder), place, **own) as site,
    ):
        assert_users_are_apart_on_four_connections(site, place.superuser)
        if place.host.startswith("/"):
            return  # all else is the same, however PgBouncer reaches the server
        assert_a_limit_counts_for_all_processes(site)
        assert_a_killed_process_costs_no_request_that_can_be_repeated(site)
        assert_a_rolling_restart_costs_no_request(site)
        assert_changes_arrive_through_nginx_as_they_happen(site)
        assert_slow_clients_are_closed_while_others_are_served_and_idle_connections_kept(site)
        assert httpx.get(f"{site.url}/metrics").status_code == 403
        assert_a_token_of_any_length_is_told_the_cure(site)


@pytest.mark.parametrize("place", ["a socket"], indirect=True)
def test_the_app_and_the_api_are_one_site(root: Path, copy: Copy, place: Place, frontend: Path) -> None:
    with (
        TemporaryDirectory(prefix="better-tasks-") as folder,
        deployed(root, copy, Path(folder), place, frontend) as site,
        httpx.Client(base_url=site.url, headers={"Origin": site.url}, timeout=30) as ann,
    ):
        assert ann.get("/").headers["Location"] == "/sign-in"
        account = {"name": "Ann", "email": "ann@example.test", "password": app.PASSWORD}
        assert ann.post("/api/auth/sign-up/email", json=account).status_code == 200
        page = ann.get("/today")
        assert f"connect-src 'self' {site.url};" in page.headers["Content-Security-Policy"]
        for asset in set(re.findall(r"/_next/static/[^\"\\]+\.(?:js|css)", page.text)):
            assert "immutable" in ann.get(asset).headers["Cache-Control"], asset
        assert "Sign out" in page.text

        token = {"Authorization": f"Bearer {ann.get('/api/auth/token').json()['token']}"}
        task = ann.post("/api/tasks", json={"title": "x"}, headers=token).json()
        assert ann.get("/api/v1/tasks", headers=token).json() == [task]
        for path in ("/docs", "/redoc", "/openapi.json", "/health", "/ready", "/health/database"):
            assert ann.get(path).headers["API-Version"] == "1", path
        assert ann.get("/nowhere").status_code == 404
        assert ann.get("/metrics").status_code == 403

        assert ann.post("/api/auth/sign-out", json={}).status_code == 200
        wait_until(lambda: ann.get("/api/tasks", headers=token).json()["code"] == "TOKEN_REVOKED")


def assert_a_token_of_any_length_is_told_the_cure(site: Site) -> None:
    for size in (9_000, 20_000, 300_000):  # the API's answer, and nginx's own
        answer = httpx.get(f"{site.url}/api/me", headers={"Authorization": f"Bearer {'x' * size}"})
        assert (answer.status_code, answer.json()["code"]) == (431, "TOKEN_TOO_LARGE")
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert "definePayload" in answer.json()["detail"]


def assert_users_are_apart_on_four_connections(site: Site, superuser: str) -> None:
    names = [f"user-{uuid.uuid4()}" for _ in range(90)]

    def use(name: str) -> list[str]:
        with httpx.Client(base_url=site.url, headers=user(name), timeout=30) as client:
            for number in range(5):
                assert client.post("/api/tasks", json={"title": f"{name} {number}"}).status_code == 201
            return [task["title"] for task in client.get("/api/tasks").json()]

    with ThreadPoolExecutor(30) as pool:
        for name, titles in zip(names, pool.map(use, names), strict=True):
            assert titles == [f"{name} {number}" for number in (4, 3, 2, 1, 0)]
    backends = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'tasks' AND backend_type = 'client backend'"
    assert execute(superuser, backends) <= [(4,)]


def assert_a_limit_counts_for_all_processes(site: Site) -> None:
    bad = {"Authorization": "Bearer bad", "X-Forwarded-For": "203.0.113.1"}
    for n in range(9):  # each by a connection of its own, so that nginx takes one process after the other
        answer = httpx.get(f"{site.url}/api/me", headers={**bad, "X-Forwarded-For": f"203.0.113.{n}"})
        assert answer.status_code == (401 if n < 3 else 429)


def assert_a_killed_process_costs_no_request_that_can_be_repeated(site: Site) -> None:
    with load(site, lambda client: client.get("/api/tasks")) as statuses:
        wait_until(lambda: len(statuses) > 100)
        site.processes[0].kill()
        site.processes[0].communicate()
        wait_until(lambda: len(statuses) > 400)
        site.begin(0)
        wait_until(lambda: len(statuses) > 600)
    assert set(statuses) == {200}


def assert_a_rolling_restart_costs_no_request(site: Site) -> None:
    with load(site, lambda client: client.post("/api/tasks", json={"title": "x"})) as statuses:
        for number in range(3):
            seen = len(statuses)
            wait_until(lambda seen=seen: len(statuses) > seen + 100)  # type: ignore[misc]
            assert site.end(number) == 0
            site.begin(number)
    assert set(statuses) == {201}


def assert_changes_arrive_through_nginx_as_they_happen(site: Site) -> None:
    """Each event is read before the next change is made, so that a buffer anywhere would hold it back for good."""
    with httpx.Client(base_url=site.url, headers=user("live"), timeout=30) as client:
        for path in ("/api/events", "/api/v1/events"):
            with client.stream("GET", path) as answer:
                events = Reader(answer)
                seq = int(events.next()["id"])
                for number in range(6):  # by each of the three processes
                    task = client.post("/api/tasks", json={"title": str(number)}).json()
                    event = events.change()
                    assert event["id"] == str(seq + number + 1)
                    assert event["data"]["changes"] == [{"resource": "tasks", "id": task["id"], "row": task}]


def assert_slow_clients_are_closed_while_others_are_served_and_idle_connections_kept(site: Site) -> None:
    idle = HTTPConnection("127.0.0.1", site.ports[0])
    assert health(idle) == 200
    port = int(re.findall(r":(\d+)$", site.url)[0])
    headers = f"POST /api/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: {user('slow')['Authorization']}\r\n"
    body = f"{headers}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    for number, connection in enumerate(slow):
        connection.sendall((headers, body)[number % 2].encode())
    started = time.monotonic()
    for connection in slow:
        connection.settimeout(30)
        with suppress(ConnectionResetError):  # which is how nginx closes what took too long
            while connection.recv(1000):
                pass
        connection.close()
        assert httpx.get(f"{site.url}/api/tasks", headers=user("quick")).status_code == 200
    assert 5 < time.monotonic() - started < 20
    assert health(idle) == 200
    idle.close()


def health(connection: HTTPConnection) -> int:
    connection.request("GET", "/health")
    answer = connection.getresponse()
    answer.read()
    return answer.status
