"""What an operator does to the database, and what nobody notices of it: no lost write, no double, no restart."""

import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psutil
import psycopg2
import pytest

from backend import database as module
from backend import migrations
from backend.embedded import EmbeddedServer
from backend.revocation import SECONDS_FRESH
from tests.conftest import execute, serving, settings, sign
from tests.helpers import assert_problem, create
from tests.project import PATIENCE_SECONDS, wait_until
from tests.streams import stream
from tests.wire import tapped

OTHERS = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


class Server(EmbeddedServer):
    """A PostgreSQL of a test's own, which can be killed, frozen and started again."""

    @property
    def postmaster(self) -> psutil.Process:
        return psutil.Process(int((self._data / "postmaster.pid").read_text().split()[0]))

    def crash(self) -> None:
        """Shut it down at once, as `pg_ctl stop -m immediate` does."""
        process = self.postmaster
        process.send_signal(signal.SIGQUIT)
        process.wait(PATIENCE_SECONDS)

    def start(self) -> None:
        self._start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let nothing of it run, as on a machine that is suspended."""
        processes = [self.postmaster, *self.postmaster.children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with TemporaryDirectory(prefix="better-tasks-") as folder:
        server = Server(Path(folder))
        with server.running() as url:
            migrations.upgrade(url, wait_seconds=5)
            yield server


@contextmanager
def api(server: Server, **values: Any) -> Iterator[httpx.Client]:
    """Run an API on that server and yield a client of a user."""
    token = {"Authorization": f"Bearer {sign({'sub': f'user-{uuid.uuid4()}'})}"}
    limits = httpx.Limits(max_connections=200)
    with (
        serving(settings(**{"database_url": server.url, "migrate_on_start": False, **values})) as url,
        httpx.Client(base_url=url, headers=token, timeout=PATIENCE_SECONDS, limits=limits) as client,
    ):
        yield client


def kill_backends(server: Server) -> None:
    with suppress(psycopg2.OperationalError):
        execute(server.url, f"SELECT pg_terminate_backend(pid) {OTHERS}")


def test_after_a_failover_to_other_numbers_no_revocation_is_missed(server: Server) -> None:
    issuer = "https://app.example.test"
    own = {"iss": issuer, "aud": issuer}

    def asked(client: httpx.Client, session_id: str) -> int:
        token = sign({"sub": "ann", "sid": session_id, **own})
        return client.get("/api/me", headers={"Authorization": f"Bearer {token}"}).status_code

    def ends(client: httpx.Client, session_id: str) -> bool:
        kind = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
        said = {"jti": session_id, "sub_id": {"format": "opaque", "id": session_id}, "events": {kind: {}}}
        event = sign({"exp": None, **own, **said}, headers={"typ": "secevent+jwt"})
        media_type = {"Content-Type": "application/secevent+jwt"}
        return client.post("/api/security-events", content=event, headers=media_type).status_code == 202

    with api(server, jwt_issuer=issuer) as here, api(server, jwt_issuer=issuer) as there:
        assert all(ends(here, f"before-{number}") for number in range(5))
        time.sleep(SECONDS_FRESH)
        assert (asked(there, "before-0"), asked(there, "after")) == (401, 200)
        execute(server.url, "DELETE FROM revocation")  # as a replica has it that was behind
        execute(server.url, "ALTER TABLE revocation ALTER number RESTART WITH 1")
        server.crash()
        server.start()
        wait_until(lambda: ends(here, "after"))
        time.sleep(SECONDS_FRESH)
        assert [asked(client, "after") for client in (here, there)] == [401, 401]
        assert [asked(client, "before-0") for client in (here, there)] == [401, 401]  # they still know


def at_once(times: int, request: Callable[[int], httpx.Response]) -> list[httpx.Response]:
    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(request, range(times)))


def test_connections_that_died_while_idle_cost_nobody_anything(server: Server) -> None:
    with api(server) as client:
        task = create(client)
        requests: list[Callable[[int], httpx.Response]] = [
            lambda _: client.get(f"/api/tasks/{task['id']}"),
            lambda n: client.post("/api/tasks", json={"title": str(n)}),
            lambda n: client.patch(f"/api/tasks/{task['id']}", json={"title": str(n)}),
        ]
        for request in requests:
            assert {answer.status_code for answer in at_once(10, request)} <= {200, 201}
            kill_backends(server)
            assert {answer.status_code for answer in at_once(10, request)} <= {200, 201}
        assert len(client.get("/api/tasks?limit=500").json()) == 21


class Load:
    """Creates, patches and deletes by several clients, with a ledger of what was acknowledged."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.ended = threading.Event()
        self.created: dict[str, str] = {}  # what must be there, by id, with its title
        self.deleted: set[str] = set()
        self.unsure: set[str] = set()  # of those a change was asked for and not acknowledged
        self.statuses: list[int] = []
        self.keys: list[str] = []

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        answer = self.client.request(method, path, **options)
        self.statuses.append(answer.status_code)
        return answer

    def work(self, _: int) -> None:
        while not self.ended.is_set():
            key = str(uuid.uuid4())
            self.keys.append(key)
            answer = self._send("POST", "/api/tasks", json={"title": key}, headers={"Idempotency-Key": key})
            while answer.status_code == 503:  # as a client does it: again with the same key
                answer = self._send("POST", "/api/tasks", json={"title": key}, headers={"Idempotency-Key": key})
            task_id = answer.json()["id"]
            self.created[task_id] = key
            answer = self._send("PATCH", f"/api/tasks/{task_id}", json={"title": f"{key} changed"})
            if answer.status_code == 200:
                self.created[task_id] = f"{key} changed"
            else:
                self.unsure.add(task_id)
            if len(self.created) % 3 == 0:
                answer = self._send("DELETE", f"/api/tasks/{task_id}")
                if answer.status_code == 204:
                    self.deleted.add(task_id)
                else:
                    self.unsure.add(task_id)

    def check(self) -> None:
        tasks = {task["id"]: task["title"] for task in self.client.get("/api/export").json()["tasks"]}
        assert 500 not in self.statuses
        assert set(self.statuses) <= {200, 201, 204, 503}
        assert len(tasks) == len({title.split()[0] for title in tasks.values()})  # none doubled
        for task_id, title in self.created.items():
            if task_id in self.deleted:
                assert task_id not in tasks
            elif task_id not in self.unsure:
                assert tasks[task_id] == title


@contextmanager
def under_load(client: httpx.Client, workers: int = 20) -> Iterator[Load]:
    load = Load(client)
    with ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(load.work, number) for number in range(workers)]
        try:
            yield load
        finally:
            load.ended.set()
        for each in running:
            each.result()
    load.check()


def test_backends_killed_again_and_again_under_load_lose_nothing_and_double_nothing(server: Server) -> None:
    with api(server) as client, under_load(client) as load:
        for number in range(1, 11):
            wait_until(lambda number=number: len(load.statuses) > 200 * number)  # type: ignore[misc]
            kill_backends(server)
        wait_until(lambda: len(load.statuses) > 2400)
    assert load.statuses.count(503) < len(load.statuses) / 100


def test_a_database_that_goes_and_comes_back_is_waited_for_and_needs_no_restart(server: Server) -> None:
    with api(server) as client, under_load(client, workers=5) as load:
        wait_until(lambda: len(load.statuses) > 50)
        server.crash()
        assert client.get("/health").status_code == 200
        assert client.get("/api/tasks", headers={"Authorization": "Bearer bad"}).status_code == 401
        server.start()
        seen = len(load.statuses)
        wait_until(lambda: len(load.statuses) > seen + 50)


def test_while_the_database_is_away_a_request_waits_so_long_and_is_then_told_when_to_come_back(server: Server) -> None:
    with api(server, db_wait_seconds=0.5) as client:
        task = create(client)
        server.crash()
        try:
            answers = at_once(20, lambda n: client.get(f"/api/tasks/{task['id']}"))
            for answer in answers:
                assert_problem(answer, 503, "DATABASE_UNAVAILABLE")
                assert int(answer.headers["Retry-After"]) > 0
            ready = client.get("/ready")
            assert (ready.status_code, ready.json()["checks"]["database"]["status"]) == (503, "unavailable")
            assert client.get("/health").status_code == 200
        finally:
            server.start()
        assert client.get(f"/api/tasks/{task['id']}").json() == task
        assert client.get("/ready").status_code == 200


def test_a_database_that_sleeps_for_a_while_delays_and_fails_nothing(server: Server) -> None:
    with api(server, db_wait_seconds=5) as client:
        task = create(client)
        with ThreadPoolExecutor(20) as pool:
            with server.frozen():
                asleep = [pool.submit(client.get, f"/api/tasks/{task['id']}") for _ in range(20)]
                started = time.monotonic()
                wait_until(lambda: time.monotonic() > started + 2)
                assert client.get("/health").status_code == 200
                assert not [each for each in asleep if each.done()]
            assert {each.result().status_code for each in asleep} == {200}


def test_a_database_that_answers_nothing_for_longer_is_a_503_and_then_forgotten(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.connection.STATEMENT_TIMEOUT_SECONDS", -4.5)  # the API gives up after half a second
    with api(server, db_wait_seconds=0.5) as client:
        task = create(client)
        with server.frozen():
            answers = at_once(20, lambda _: client.get(f"/api/tasks/{task['id']}"))
            assert {answer.status_code for answer in answers} == {503}
        assert client.get(f"/api/tasks/{task['id']}").status_code == 200


def test_a_network_that_carries_nothing_is_a_503_and_the_first_request_after_it_succeeds(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.connection.STATEMENT_TIMEOUT_SECONDS", -4.5)
    with tapped(server.url) as wire, api(server, database_url=wire.url, db_wait_seconds=0.5) as client:
        task = create(client)
        wire.unplug()
        for _ in range(2):  # on connections that are there, and then on none
            answers = at_once(20, lambda _: client.get(f"/api/tasks/{task['id']}"))
            assert {answer.status_code for answer in answers} == {503}
        assert client.get("/health").status_code == 200
        assert client.get("/ready").status_code == 503
        wire.plug_in()
        assert client.get(f"/api/tasks/{task['id']}").json() == task


def test_a_lock_that_holds_every_connection_is_a_503_for_those_and_no_harm_after(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PREFIX", module.PREFIX.replace("10s", "500ms"))
    with api(server, db_pool_size=5, db_wait_seconds=5) as client:
        task = create(client)
        connection = psycopg2.connect(server.url)
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE task")
            answers = at_once(10, lambda _: client.get(f"/api/tasks/{task['id']}"))
            assert {answer.status_code for answer in answers} == {503}
            assert client.get("/health").status_code == 200
        connection.rollback()
        connection.close()
        assert client.get(f"/api/tasks/{task['id']}").json() == task


def test_a_hundred_clients_share_two_connections(server: Server) -> None:
    with api(server, db_pool_size=2) as client:
        answers = at_once(100, lambda n: client.post("/api/tasks", json={"title": str(n)}))
        assert {answer.status_code for answer in answers} == {201}
        assert len(client.get("/api/tasks?limit=500").json()) == 100
        assert execute(server.url, f"SELECT count(*) {OTHERS}") <= [(2,)]


class Follower:
    """A client that keeps a copy of all tasks in step, through whatever happens to the database and to its stream."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.copy: dict[str, Any] = {}
        self.seq = 0

    def follow(self, ended: threading.Event) -> None:
        """Read events, and when the stream is lost, open it again where it was; at the end catch up."""
        while not ended.is_set():
            with suppress(EOFError, httpx.HTTPError, httpx.HTTPStatusError), stream(self.client, self.seq) as events:
                while events.answer.status_code == 200 and not ended.is_set():
                    self.apply(events.change()["data"])
        while (page := self.client.get("/api/changes", params={"since": self.seq}).json())["seq"] != self.seq:
            self.apply(page)

    def apply(self, page: dict[str, Any]) -> None:
        assert page["seq"] >= self.seq, "it never goes back"
        for change in page["changes"]:
            self.copy[change["id"]] = change.get("row")
        self.seq = page["seq"]

    def check(self) -> None:
        """Compare with the server, and the log with what it says was done."""
        tasks = {task["id"]: task for task in self.client.get("/api/export").json()["tasks"]}
        held = {task_id: task for task_id, task in self.copy.items() if task}
        shown = {name for task in held.values() for name in task}
        assert held == {task_id: {name: task[name] for name in shown} for task_id, task in tasks.items()}


def test_a_client_in_step_and_the_log_miss_nothing_when_the_database_is_killed(server: Server) -> None:
    ended = threading.Event()
    with api(server) as client, ThreadPoolExecutor(1) as pool:
        follower = Follower(client)
        following = pool.submit(follower.follow, ended)
        with under_load(client, workers=10) as load:
            for number in range(1, 4):
                wait_until(lambda number=number: len(load.statuses) > 150 * number)  # type: ignore[misc]
                kill_backends(server)
            server.crash()
            server.start()
            seen = len(load.statuses)
            wait_until(lambda: len(load.statuses) > seen + 200)
        ended.set()
        create(client)  # so that a stream that waits has something to read
        following.result()
        follower.check()
        user_id = client.get("/api/me").json()["user_id"]
    query = "SELECT seq, id, action, before->>'version' FROM change WHERE user_id = %s ORDER BY seq"
    log = execute(server.url, query, user_id)
    assert [seq for seq, *_ in log] == list(range(1, len(log) + 1)), "no number is missing, and none is there twice"
    # Each task was made once, and each change began where the one before it had ended.
    versions: dict[str, int] = {}
    for _, task_id, action, before in log:
        assert int(before or 0) == versions.get(task_id, 0), "no change is missing, and none is there twice"
        versions[task_id] = int(before or 0) + 1
        if action == "deleted":
            versions[task_id] = -1
    assert len(versions) == len(set(load.keys)) + 1
