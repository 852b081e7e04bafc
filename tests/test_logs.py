"""What the log holds: one line for each request, a reason for each failure, and never a token."""

import io

import httpx
import pytest

from backend import logs, middleware
from tests.conftest import Log, execute, serving, settings, sign
from tests.helpers import assert_problem, create


def client(url: str, token: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"})


def test_each_request_is_one_line_with_its_duration(logged_api: str, log: Log) -> None:
    with client(logged_api, sign({"sub": "ann"})) as ann:
        answer = ann.get("/api/v1/tasks?limit=3", headers={"X-Request-ID": "the-id"})
    [line] = log.lines("request")
    assert line.pop("duration_ms") > 0
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "request",
        "level": "info",
        "request_id": "the-id",
        "method": "GET",
        "path": "/api/v1/tasks",
        "status": 200,
        "client": "127.0.0.1",
        "user_id": "ann",
    }
    assert answer.headers["API-Version"] == "1"


def test_the_line_of_a_request_names_who_acts_for_its_user(logged_api: str, log: Log) -> None:
    for claims in ({"act": {"sub": "support"}}, {"impersonatedBy": "support"}):
        with client(logged_api, sign({"sub": "ann", **claims})) as acting:
            acting.get("/api/me")
    assert [(line["user_id"], line["acted_by"]) for line in log.lines("request")] == [("ann", "support")] * 2


@pytest.mark.parametrize("request_id", ["x" * 128, "A-Za-z0-9._-", "1"])
def test_a_callers_request_id_is_kept(api: str, request_id: str) -> None:
    assert httpx.get(f"{api}/health", headers={"X-Request-ID": request_id}).headers["X-Request-ID"] == request_id


@pytest.mark.parametrize(
    "request_id", ["", "x" * 129, "two words", "semi;colon", "<b>", "ü".encode().decode("latin-1")]
)
def test_any_other_request_id_is_replaced(api: str, request_id: str) -> None:
    headers = {b"X-Request-ID": request_id.encode("latin-1")}
    ids = [httpx.get(f"{api}/health", headers=headers).headers["X-Request-ID"] for _ in range(2)]
    assert ids[0] != ids[1]
    assert request_id not in ids


def test_an_authentication_failure_is_logged_with_its_reason_and_without_the_token(logged_api: str, log: Log) -> None:
    tokens = {
        "expired": sign({"sub": "ann", "exp": 1}),
        "subject_missing": sign({"email": "ann@example.test"}),
        "signature": sign({"sub": "ann"}, secret="another secret of 32 characters!"),
        "structure": "opaque-session-token-of-32-chars",
    }
    for reason, token in tokens.items():
        with client(logged_api, token) as caller:
            answer = caller.get("/api/tasks")
        [line] = [line for line in log.lines("authentication_failed") if line["reason"] == reason]
        assert line["request_id"] == answer.json()["request_id"]
        assert not [part for part in token.split(".") if part in log.getvalue()]
    assert httpx.get(f"{logged_api}/api/tasks").status_code == 401
    assert len(log.lines("authentication_failed")) == len(tokens)


def test_a_database_error_is_logged_with_its_sqlstate_and_without_data(log: Log, empty_database: str) -> None:
    with (
        serving(settings(database_url=empty_database)) as url,
        client(url, sign({"sub": "ann"})) as ann,
    ):
        task = create(ann)
        execute(empty_database, "ALTER TABLE task ADD CONSTRAINT no_secrets CHECK (title <> 'hunter2')")
        answer = ann.patch(f"/api/tasks/{task['id']}", json={"title": "hunter2"})
    assert_problem(answer, 500, "INTERNAL_ERROR")
    [line] = log.lines("database_error")
    assert (line["sqlstate"], line["constraint"]) == ("23514", "no_secrets")
    assert line["request_id"] == answer.json()["request_id"]
    assert "hunter2" not in log.getvalue() + answer.text


def test_a_fault_in_the_code_is_a_500_and_a_line_that_says_where(
    log: Log, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: object) -> None:
        raise RuntimeError("hunter2")

    monkeypatch.setattr("backend.crud._answer", fault)
    with serving(settings(database_url=database_url)) as url, client(url, sign({"sub": "ann"})) as ann:
        answer = ann.post("/api/tasks", json={"title": "x"})
        assert ann.get("/api/tasks").status_code == 200
    assert_problem(answer, 500, "INTERNAL_ERROR")
    [line] = log.lines("internal_error")
    assert line["error"] == "RuntimeError"
    assert "test_logs.py" in line["where"][-1]
    assert line["request_id"] == answer.json()["request_id"] == answer.headers["X-Request-ID"]
    assert "hunter2" not in log.getvalue() + answer.text
    assert [line["status"] for line in log.lines("request")] == [500, 200]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_what_a_caller_sends_stays_on_its_line(log_format: str) -> None:
    stream = io.StringIO()
    logs.configure("info", log_format, stream)
    try:
        middleware.log.info("request", path="/x\n2030-01-01 [info] forged", user_id="\x1b[2K\x9b2K\r\u2028\u202e")
    finally:
        logs.configure("info", "console")
    [line] = stream.getvalue().splitlines()
    assert line.isprintable()


def test_what_libraries_log_is_structured_too(log: Log) -> None:
    import logging

    logs.configure("debug", "json")
    logging.getLogger("some.library").warning("a %s", "warning")
    [line] = log.lines("a warning")
    assert (line["level"], line["logger"]) == ("warning", "some.library")


def test_the_console_format_is_for_reading() -> None:
    stream = io.StringIO()
    logs.configure("warning", "console", stream)
    try:
        middleware.log.info("hidden")
        middleware.log.warning("shown", number=1)
    finally:
        logs.configure("info", "console")
    assert "hidden" not in stream.getvalue()
    assert "number=1" in stream.getvalue()
    assert "\x1b[" not in stream.getvalue()
