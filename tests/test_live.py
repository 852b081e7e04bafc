"""Server-Sent Events: what is changed arrives as it happens, and a stream costs and keeps little."""

import signal
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from redis import Redis as Client

from backend import bus, live, server
from tests.conftest import SECRET, execute, overheard, serving, settings, sign
from tests.helpers import assert_problem, create, path_of
from tests.project import Copy, wait_until
from tests.servers import Redis
from tests.streams import stream


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let other processes be looked for, and comments be sent, twenty times a second."""
    monkeypatch.setattr(live, "SECONDS_BETWEEN_LOOKS", 0.05)
    monkeypatch.setattr(live, "SECONDS_BETWEEN_COMMENTS", 0.05)


def test_a_change_arrives_as_changes_would_answer_it(ann: httpx.Client) -> None:
    create(ann)
    with stream(ann) as events:
        assert events.answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert events.answer.headers["X-Accel-Buffering"] == "no"
        assert events.next() == {"id": "1", "event": "change", "data": {"seq": 1, "changes": []}}
        task = create(ann, title="now")
        assert events.change() == {"id": "2", "event": "change", "data": ann.get("/api/changes?since=1").json()}
        ann.delete(path_of(task)).raise_for_status()
        gone = {"resource": "tasks", "id": task["id"], "deleted": True}
        assert events.change() == {"id": "3", "event": "change", "data": {"seq": 3, "changes": [gone]}}


def test_a_stream_goes_on_from_the_last_event_that_was_read(ann: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PAGE", 2)
    for number in range(5):
        create(ann, title=str(number))
    with stream(ann, last=1) as events:
        assert [len(events.change()["data"]["changes"]) for _ in range(2)] == [2, 2]
        create(ann, title="now")
        assert events.change()["data"]["changes"][0]["row"]["title"] == "now"
    with stream(ann, last=6) as events:
        assert events.next() == {"id": "6", "event": "change", "data": {"seq": 6, "changes": []}}


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "1, 2", str(2**63 - 1), str(2**63), "9" * 30, "¹"])
def test_a_last_event_id_that_is_none_is_a_400(ann: httpx.Client, last: str) -> None:
    answer = ann.get("/api/events", headers=httpx.Headers({b"Last-Event-ID": last.encode()}))
    assert_problem(answer, 400, "INVALID_HEADER")


def test_a_last_event_id_that_is_not_kept_is_a_410(ann: httpx.Client) -> None:
    assert_problem(ann.get("/api/events", headers={"Last-Event-ID": "7"}), 410, "CHANGES_NOT_KEPT")


def test_another_users_changes_never_arrive(ann: httpx.Client, bob: httpx.Client) -> None:
    with stream(ann) as events:
        events.next()
        create(bob, title="bob's")
        create(ann, title="ann's")
        [change] = events.change()["data"]["changes"]
        assert change["row"]["title"] == "ann's"


def test_a_comment_keeps_a_stream_awake(ann: httpx.Client, often: None) -> None:
    with stream(ann) as events:
        events.next()
        assert [events.next() for _ in range(3)] == [{}, {}, {}]
        create(ann)
        assert events.change()["id"] == "1"


def test_the_end_of_the_token_ends_the_stream_with_an_event_that_says_so(api: str) -> None:
    token = sign({"sub": f"user-{uuid.uuid4()}", "exp": int(time.time()) + 2})
    with httpx.Client(base_url=api, headers={"Authorization": f"Bearer {token}"}) as client, stream(client) as events:
        events.next()
        assert events.change() == {"event": "end", "data": {"reason": "token_expired"}}
        assert events.ends()


def test_a_user_has_twenty_streams_and_no_more(ann: httpx.Client, bob: httpx.Client) -> None:
    with ExitStack() as stack:
        opened = [stack.enter_context(stream(ann)) for _ in range(20)]
        assert [events.answer.status_code for events in opened] == [200] * 20
        answer = ann.get("/api/events")
        assert_problem(answer, 429, "TOO_MANY_STREAMS")
        assert int(answer.headers["Retry-After"]) > 0
        with stream(bob) as events:
            assert events.answer.status_code == 200
        opened[3].answer.close()
        wait_until(lambda: opens(ann))
    wait_until(lambda: opens(ann))


def opens(client: httpx.Client) -> bool:
    with stream(client) as events:
        return events.answer.status_code == 200


def test_a_stream_that_is_refused_takes_no_place(ann: httpx.Client) -> None:
    for _ in range(25):
        assert_problem(ann.get("/api/events", headers={"Last-Event-ID": "7"}), 410, "CHANGES_NOT_KEPT")
    assert opens(ann)


def test_opening_a_stream_counts_as_one_request(database_url: str) -> None:
    with serving(settings(database_url=database_url, rate_limit="3 per 100 years")) as url:
        headers = {"Authorization": f"Bearer {sign({'sub': f'user-{uuid.uuid4()}'})}"}
        with httpx.Client(base_url=url, headers=headers) as client, stream(client) as events:
            events.next()
            for number in ("1", "2"):  # one after the other: what is changed at once may arrive together
                create(client)
                assert events.change()["id"] == number
            assert_problem(client.get("/api/events"), 429, "RATE_LIMIT_EXCEEDED")


def test_streams_of_one_user_share_a_statement_and_nobody_is_asked_for_when_nobody_listens(
    database_url: str, often: None
) -> None:
    with overheard(database_url) as (wire, client):
        with ExitStack() as stack:
            opened = [stack.enter_context(stream(client)) for _ in range(10)]
            for events in opened:
                events.next()
            wait_until(lambda: len(looks(wire.queries)) > 3)
            wire.queries.clear()
            create(client)
            for events in opened:
                events.change()
            # One, and one more where the process saw the change in the database, too, before it had read it.
            assert len([query for query in wire.queries if "WITH page" in query]) <= 2
        wait_until(lambda: open_streams(client) == 0)
        wire.queries.clear()
        for _ in range(20):
            create(client)
        assert looks(wire.queries) == []


def looks(queries: list[str]) -> list[str]:
    return [query for query in queries if "task_keeper" in query]


def open_streams(client: httpx.Client) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("event_streams_open"))


@contextmanager
def two_processes(database_url: str, **values: Any) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Yield two clients of one user, of two APIs on one database."""
    headers = {"Authorization": f"Bearer {sign({'sub': f'user-{uuid.uuid4()}'})}"}
    with ExitStack() as stack:
        clients = []
        for _ in range(2):
            url = stack.enter_context(serving(settings(database_url=database_url, **values)))
            clients.append(stack.enter_context(httpx.Client(base_url=url, headers=headers)))
        yield clients[0], clients[1]


def test_a_change_by_another_process_arrives_from_the_database(database_url: str, often: None) -> None:
    with two_processes(database_url) as (here, there), stream(here) as events:
        events.next()
        for number in range(1, 4):
            create(there, title=str(number))
            assert events.change()["id"] == str(number)


def test_a_stream_that_is_opened_later_takes_no_change_from_an_earlier_one(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "SECONDS_BETWEEN_LOOKS", 0.5)
    with two_processes(database_url) as (here, there), stream(here) as first:
        first.next()
        create(there, title="while nobody looks")
        with stream(here) as second:
            assert second.next()["id"] == "1"
            assert first.change()["id"] == "1"


def test_a_change_by_another_process_arrives_by_redis_and_without_it_from_the_database(
    database_url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "SECONDS_BETWEEN_LOOKS", 3600)
    with two_processes(database_url, redis_url=redis.url) as (here, there):
        with stream(here) as events:
            events.next()
            wait_until(lambda: redis.subscribers() == 2)
            for said in ("7", "[[], {}]", '[["unknown", "x"]]', '[["changed", {}]]'):
                publish(redis, f'{{"from": 1, "said": {said}}}')
            for nonsense in ("x", "[]", "null", "\xff", "[" * 100_000):
                publish(redis, nonsense)
            for number in range(1, 4):
                create(there, title=str(number))
                assert events.change()["id"] == str(number)
        redis.stop()
        monkeypatch.setattr(live, "SECONDS_BETWEEN_LOOKS", 0.05)
        wait_until(lambda: open_streams(here) == 0)
        with stream(here) as events:
            events.next()
            create(there, title="without Redis")
            assert events.change()["id"] == "4"


def publish(server: Redis, message: str) -> None:
    with Client.from_url(server.url) as client:
        client.publish(bus.CHANNEL, message.encode("latin-1"))


def test_a_reader_that_is_too_slow_is_cut_off_and_goes_on_where_it_was(
    ann: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "SECONDS_TO_SEND", 0.2)
    start = ann.get("/api/changes").json()["seq"]
    place = urlsplit(str(ann.base_url))
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect((place.hostname, place.port))
        raw.sendall(
            f"GET /api/events HTTP/1.1\r\nHost: x\r\nAuthorization: {ann.headers['Authorization']}\r\n\r\n".encode()
        )
        wait_until(lambda: open_streams(ann) > 0)
        number = 0
        while open_streams(ann) > 0:
            number += 1
            tasks = [{"id": str(uuid.uuid4()), "title": "x", "description": "y" * 1000} for _ in range(100)]
            ann.post("/api/import", json={"version": 1, "tasks": tasks}).raise_for_status()
            assert number < 500, "it is never cut off"
        received = b""
        while data := raw.recv(65536):
            received += data
    seqs = [int(line[4:]) for line in received.split(b"\n") if line.startswith(b"id: ")]
    assert start <= seqs[-1] < number
    with stream(ann, last=seqs[-1]) as events:
        assert events.next()["id"] > str(seqs[-1])


def test_a_reader_that_never_reads_is_not_waited_for(ann: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SECONDS_TO_SEND", 0.1)
    monkeypatch.setattr(server, "SECONDS_TO_READ", 0.1)
    place = urlsplit(str(ann.base_url))
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect((place.hostname, place.port))
        request = f"GET /api/events HTTP/1.1\r\nHost: x\r\nAuthorization: {ann.headers['Authorization']}\r\n\r\n"
        raw.sendall(request.encode())
        wait_until(lambda: open_streams(ann) > 0)
        while open_streams(ann) > 0:
            tasks = [{"id": str(uuid.uuid4()), "title": "x", "description": "y" * 1000} for _ in range(500)]
            ann.post("/api/import", json={"version": 1, "tasks": tasks}).raise_for_status()
        wait_until(lambda: is_reset(raw))


def is_reset(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"\r\n")
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False


@pytest.mark.parametrize("arguments", [("main.py",), ("main.py", "--workers", "2"), ("-m", "uvicorn", "main:app")])
def test_a_process_that_is_told_to_end_ends_its_streams(
    copy: Copy, database_url: str, arguments: tuple[str, ...]
) -> None:
    environment = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "LOG_LEVEL": "warning"}
    headers = {"Authorization": f"Bearer {sign({'sub': f'user-{uuid.uuid4()}'})}"}
    with copy.serving(*arguments, **environment) as (process, url), ExitStack() as stack:
        client = stack.enter_context(httpx.Client(base_url=url, headers=headers))
        opened = [stack.enter_context(stream(client)) for _ in range(5)]
        for events in opened:
            events.next()
        told = time.monotonic()
        process.send_signal(signal.SIGTERM)
        for events in opened:
            assert events.change() == {"event": "end", "data": {"reason": "shutdown"}}
        out, err = process.communicate()
        assert time.monotonic() - told < 10
    assert (process.returncode in (0, -signal.SIGTERM), err) == (True, ""), (out, err)


def test_a_stream_outlives_a_log_that_was_shortened_only_if_it_has_read_it(
    ann: httpx.Client, database_url: str, often: None
) -> None:
    user_id = create(ann)["user_id"]
    with stream(ann) as events:
        events.next()
        # As if what came between had been removed before this stream could read it.
        execute(
            database_url,
            "SET app.user_id = %s; INSERT INTO change (user_id, seq, resource, id, action, attempt)"
            " VALUES (%s, 9, 'tags', 'x', 'deleted', 1); DELETE FROM change WHERE user_id = %s AND seq < 9",
            *[user_id] * 3,
        )
        assert events.change() == {"event": "end", "data": {"reason": "changes_not_kept"}}
