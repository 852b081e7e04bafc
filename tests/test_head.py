"""HEAD wherever GET is: the same head, and no body."""

import uuid
from collections.abc import Iterator

import httpx
import pytest

from backend.live import MAX_STREAMS
from tests.conftest import Log, serving, settings, sign
from tests.helpers import assert_problem, create, path_of
from tests.project import wait_until

CHANGING = ("date", "x-request-id", "ratelimit", "transfer-encoding")
# Latencies and moments, and the request id of a problem, may have another length each time.
OF_ANOTHER_LENGTH = ("/ready", "/health/", "/nowhere", "/api/tasks?x", "/api/me")


@pytest.fixture(scope="module")
def client(database_url: str) -> Iterator[httpx.Client]:
    token = {"Authorization": f"Bearer {sign({'sub': f'user-{uuid.uuid4()}'})}"}
    with (
        serving(settings(database_url=database_url, rate_limit="1000/minute")) as url,
        httpx.Client(base_url=url, headers=token) as client,
    ):
        yield client


def head_of(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in CHANGING}


def test_every_get_has_a_head_with_the_same_headers_and_no_body(client: httpx.Client) -> None:
    task = create(client, tags=["home"])
    create(client)
    paths = client.get("/openapi.json").json()["paths"]
    gets = [path for path, operations in paths.items() if "get" in operations and path != "/api/events"]
    gets += ["/openapi.json", "/docs", "/redoc", "/nowhere", "/api/tasks?limit=1", "/api/tasks?x=1", "/api/v1/tasks"]
    assert len(gets) > 15
    for path in gets:
        path = path.replace("{id}", task["id"])
        got, head = client.get(path), client.head(path)
        assert head.status_code == got.status_code, path
        assert head.content == b""
        of_got, of_head = head_of(got), head_of(head)
        if path.startswith(OF_ANOTHER_LENGTH):
            assert all(int(headers.pop("content-length")) for headers in (of_got, of_head))
        assert of_head == of_got, path
    assert "head" not in {method for operations in paths.values() for method in operations}


def test_a_head_knows_conditions_and_refusals(client: httpx.Client, api: str) -> None:
    task = create(client)
    assert client.head(path_of(task), headers={"If-None-Match": '"1"'}).status_code == 304
    assert client.head(f"/api/tasks/{uuid.uuid4()}").status_code == 404
    assert httpx.head(f"{api}/api/tasks").status_code == 401


def test_a_connection_is_kept_after_a_head(client: httpx.Client) -> None:
    for _ in range(3):
        for path in ("/health", "/api/tasks", "/api/export", "/api/events", "/nowhere"):
            assert client.head(path).content == b""
            assert client.get("/health").json() == {"status": "ok"}


def test_a_head_of_events_starts_no_stream(client: httpx.Client) -> None:
    for _ in range(2 * MAX_STREAMS):
        answer = client.head("/api/events")
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")

    def open_streams() -> str:
        return next(line for line in client.get("/metrics").text.splitlines() if line.startswith("event_streams_open"))

    wait_until(lambda: open_streams() == "event_streams_open 0.0")


def test_where_no_get_is_there_is_no_head(client: httpx.Client) -> None:
    for path, allowed in (("/api/import", "POST"), ("/api/security-events", "POST")):
        answer = client.head(path)
        assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
    answer = client.post("/health")
    assert_problem(answer, 405, "METHOD_NOT_ALLOWED")
    assert answer.headers["Allow"] == "GET, HEAD"


def test_the_access_log_and_the_metrics_say_head(log: Log, database_url: str) -> None:
    with serving(settings(database_url=database_url)) as url:
        httpx.head(f"{url}/health/redis")
        [line] = [line for line in log.lines("request") if line["path"] == "/health/redis"]
        metrics = httpx.get(f"{url}/metrics").text
    assert (line["method"], line["status"]) == ("HEAD", 200)
    assert 'http_request_duration_seconds_count{method="HEAD",route="/health/redis",status="200"}' in metrics
