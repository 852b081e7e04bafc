"""What every answer tells a browser, and how much a request may say in its headers."""

import socket
from contextlib import suppress

import httpx
import pytest

from backend.limits import MAX_HEADER_BYTES
from tests.conftest import sign
from tests.helpers import assert_problem, create
from tests.project import PATIENCE_SECONDS

POLICY = "default-src 'none'; frame-ancestors 'none'"


@pytest.mark.parametrize(
    "path", ["/api/tasks", "/api/me", "/api/export", "/api/tasks/x", "/nowhere", "/health", "/openapi.json"]
)
def test_no_answer_may_be_kept_sniffed_or_framed(ann: httpx.Client, path: str) -> None:
    create(ann)
    for headers in ({}, {"Authorization": "Bearer x"}):
        answer = ann.get(path, headers=headers)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Security-Policy"] == POLICY
        assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_headers_have_a_limit_that_is_told_before_anything_is_read(api: str) -> None:
    token = {"Authorization": f"Bearer {sign({'sub': 'ann'})}"}
    assert httpx.get(f"{api}/api/me", headers={**token, "X-Large": "x" * 20_000}).status_code == 200
    for headers in ({"X-Large": "x" * MAX_HEADER_BYTES}, {f"X-{n}": "x" * 100 for n in range(400)}):
        answer = httpx.get(f"{api}/api/me", headers={**token, **headers})
        assert_problem(answer, 400, "INVALID_HEADER")
        assert answer.headers["X-Request-ID"] == answer.json()["request_id"]


def test_a_head_that_does_not_end_is_cut_off(api: str) -> None:
    with socket.create_connection((httpx.URL(api).host, httpx.URL(api).port)) as connection:
        sent = 0
        with suppress(OSError):  # which is how the server closes what it does not read to its end
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ")
            while sent < 64 * 1024 * 1024:
                connection.sendall(b"x" * 65536)
                sent += 65536
    assert sent < 64 * 1024 * 1024
    head = {"Authorization": f"Bearer {'x' * 900_000}"}
    assert httpx.get(f"{api}/api/me", headers=head, timeout=PATIENCE_SECONDS).status_code == 431


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Request-ID": "a\tb"},
        {"X-Request-ID": "a b: c"},
        {"If-None-Match": '"1"\t,x'},
    ],
)
def test_what_a_header_holds_never_becomes_a_header_of_the_answer(ann: httpx.Client, headers: dict[str, str]) -> None:
    answer = ann.get(f"/api/tasks/{create(ann)['id']}", headers=headers)
    assert answer.status_code < 500
    assert not [value for value in headers.values() if value in answer.headers.values()]


def test_an_answer_is_sent_in_one_go(api: str) -> None:
    with socket.create_connection((httpx.URL(api).host, httpx.URL(api).port)) as connection:
        for _ in range(20):
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(65536).endswith(b'\r\n\r\n{"status":"ok"}')
