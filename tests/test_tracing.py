"""What a receiver of OpenTelemetry gets: requests and their statements, in the caller's trace, and nobody's data."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from backend.app import create_app
from backend.settings import StartError
from tests.conftest import SECRET, Log, execute, serving, settings, sign
from tests.helpers import user
from tests.project import Copy, free_port

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{CALLER}-01"}


class Receiver:
    """An OTLP receiver over HTTP, which keeps what it gets as it came."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []

    @property
    def spans(self) -> list[Any]:
        return [span for _, span in self._each()]

    @property
    def services(self) -> set[str]:
        return {attributes(resource)["service.name"] for resource, _ in self._each()}

    def named(self, name: str) -> Any:
        [found] = [span for span in self.spans if span.name == name]
        return found

    def _each(self) -> Iterator[tuple[Any, Any]]:
        for body in self.bodies:
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in group.scope_spans:
                    yield from ((group.resource, span) for span in scope.spans)


def attributes(of: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in of.attributes}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert (self.path, self.headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
            kept.headers.append(dict(self.headers))
            kept.bodies.append(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        kept = Receiver(server.server_address[1])
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield kept
        server.shutdown()
        thread.join()


@pytest.fixture
def traced(database_url: str, receiver: Receiver) -> Callable[..., Any]:
    """Runs an API that sends its traces. At its end the receiver has all of them."""

    @contextmanager
    def run(**more: Any) -> Iterator[str]:
        own = {"database_url": database_url, "otel_exporter_otlp_endpoint": receiver.url, **more}
        with serving(settings(**own)) as url:
            yield url

    return run


def test_a_request_and_its_statement_are_spans_of_the_callers_trace(
    traced: Callable[..., Any], receiver: Receiver
) -> None:
    with traced() as url:
        made = httpx.post(f"{url}/api/v1/tasks", json={"title": "x"}, headers=user() | TRACEPARENT)
        assert made.status_code == 201
    request, statement = receiver.named("POST /api/tasks"), receiver.named("INSERT INTO task")
    assert {span.trace_id.hex() for span in (request, statement)} == {TRACE}
    assert request.parent_span_id.hex() == CALLER
    assert statement.parent_span_id == request.span_id
    assert (request.kind, statement.kind) == (request.SPAN_KIND_SERVER, request.SPAN_KIND_CLIENT)
    assert request.start_time_unix_nano <= statement.start_time_unix_nano
    assert statement.end_time_unix_nano <= request.end_time_unix_nano
    port = int(url.rpartition(":")[2])
    assert attributes(request) == {
        "http.request.method": "POST",
        "http.route": "/api/tasks",
        "http.response.status_code": 201,
        "network.protocol.version": "1.1",
        "server.address": "127.0.0.1",
        "server.port": port,
        "url.scheme": "http",
    }
    told = attributes(statement)
    assert told.pop("db.query.text").count("%(title)s")
    assert told == {"db.system.name": "postgresql"}
    assert receiver.services == {"better-tasks"}


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/api/tasks/01980000-0000-7000-8000-000000000000", "GET /api/tasks/{id}"),
        ("HEAD", "/api/v1/tasks", "HEAD /api/tasks"),
        ("DELETE", "/api/tags/hunter2", "DELETE /api/tags/{name}"),
        ("GET", "/nowhere/hunter2", "GET"),
        ("PROPFIND", "/api/tasks", "HTTP /api/tasks"),
    ],
)
def test_a_span_is_called_as_its_route_is_declared(
    traced: Callable[..., Any], receiver: Receiver, method: str, path: str, name: str
) -> None:
    with traced() as url:
        httpx.request(method, f"{url}{path}", headers=user())
    assert [span.name for span in receiver.spans if span.kind == span.SPAN_KIND_SERVER] == [name]


def test_nothing_of_a_user_is_sent(traced: Callable[..., Any], receiver: Receiver) -> None:
    ann = {"Authorization": f"Bearer {sign({'sub': 'hunter2'})}", "User-Agent": "hunter2"}
    with traced() as url, httpx.Client(base_url=f"{url}/api", headers=ann) as client:
        body = {"title": "hunter2", "description": "hunter2", "tags": ["hunter2"]}
        task = client.post("/tasks", json=body, headers={"Idempotency-Key": "hunter2"}).json()
        assert client.get("/tasks", params={"q": "hunter2", "tag": "hunter2"}).json() == [task]
        assert client.patch("/tasks?tag=hunter2", json={"title": "hunter2!"}).json() == {"updated": 1}
        for path in ("/tags/hunter2", f"/tasks/{task['id']}", "/export", "/changes?since=0", "/hunter2?hunter2=1"):
            client.get(path)
        client.put("/tags/hunter2", json={"color": "#3366ff"})
        client.post("/tasks", json={"title": 1, "hunter2": "hunter2"})
        client.post("/import", json={"tasks": [body]})
    assert len(receiver.spans) > 15
    sent = b"".join(receiver.bodies)
    assert b"hunter2" not in sent.lower()
    assert task["id"].encode() not in sent


def test_what_fails_is_marked_with_its_sqlstate_and_without_the_value(
    traced: Callable[..., Any], receiver: Receiver, empty_database: str
) -> None:
    with traced(database_url=empty_database) as url:
        execute(empty_database, "ALTER TABLE task ADD CONSTRAINT no_secrets CHECK (title <> 'hunter2')")
        assert httpx.post(f"{url}/api/tasks", json={"title": "hunter2"}, headers=user()).status_code == 500
        assert httpx.get(f"{url}/api/tasks").status_code == 401
    request, statement = receiver.named("POST /api/tasks"), receiver.named("INSERT INTO task")
    assert attributes(statement)["db.response.status_code"] == "23514"
    assert (request.status.code, statement.status.code) == (2, 2)
    assert receiver.named("GET /api/tasks").status.code == 0  # refused, as it should be
    assert not any(span.events or span.status.message for span in receiver.spans)


def test_the_lines_of_a_request_in_the_log_have_its_trace_id(traced: Callable[..., Any], log: Log) -> None:
    with traced() as url:
        httpx.get(f"{url}/api/tasks", headers={"Authorization": "Bearer bad"} | TRACEPARENT)
        httpx.get(f"{url}/health")
    [refused] = log.lines("authentication_failed")
    first, second = log.lines("request")
    assert refused["trace_id"] == first["trace_id"] == TRACE
    assert second["trace_id"] != TRACE
    assert "trace_id" not in log.lines("started")[0]


def test_a_trace_that_its_caller_does_not_record_is_not_sent(traced: Callable[..., Any], receiver: Receiver) -> None:
    with traced() as url:
        httpx.get(f"{url}/api/tasks", headers=user() | {"traceparent": f"00-{TRACE}-{CALLER}-00"})
        httpx.get(f"{url}/api/tags", headers=user())
    assert {span.trace_id.hex() for span in receiver.spans} - {TRACE} != set()
    assert "GET /api/tasks" not in {span.name for span in receiver.spans}


def test_the_standard_variables_count_from_the_environment_and_from_dotenv(
    copy: Copy, database_url: str, receiver: Receiver
) -> None:
    (copy.folder / ".env").write_text(
        f"BETTER_AUTH_SECRET='{SECRET}'\nOTEL_EXPORTER_OTLP_ENDPOINT={receiver.url}/\nOTEL_SERVICE_NAME=from-dotenv\n"
        "OTEL_EXPORTER_OTLP_HEADERS=x-of=dotenv\n"
    )
    with copy.serving("main.py", "--workers", "2", DATABASE_URL=database_url, OTEL_SERVICE_NAME="ours") as (_, url):
        for _ in range(20):
            httpx.get(f"{url}/api/tasks", headers=user())
    assert receiver.services == {"ours"}
    assert len([span for span in receiver.spans if span.name == "GET /api/tasks"]) == 20
    assert {headers["x-of"] for headers in receiver.headers} == {"dotenv"}


def test_a_receiver_that_is_away_costs_no_request_and_holds_no_shutdown_up(copy: Copy, database_url: str) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    own = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "OTEL_EXPORTER_OTLP_ENDPOINT": away}
    with copy.serving("main.py", **own) as (process, url):
        assert httpx.get(f"{url}/api/tasks", headers=user()).status_code == 200
        process.terminate()
        assert process.wait(timeout=60) == 0


def test_without_the_setting_nothing_of_it_is_imported(copy: Copy, database_url: str) -> None:
    own = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET}
    ours = "[m for m in sys.modules if m.startswith(('opentelemetry.sdk', 'opentelemetry.exporter', 'google'))]"
    ended = copy.run("-c", f"import main, sys; print({ours}, 'backend.tracing' in sys.modules)", **own)
    assert ended.stdout == "[] False\n", ended.stderr


def test_a_start_without_the_packages_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "backend.tracing", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(StartError, match="Install them with: uv sync --no-dev --group tracing"):
        create_app(settings(otel_exporter_otlp_endpoint="http://localhost:4318"))


def test_a_protocol_that_is_not_spoken_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(StartError, match="must be http/protobuf"):
        create_app(settings(otel_exporter_otlp_endpoint="http://localhost:4317"))
