"""Every error has one shape, names what to do, and gives nothing away."""

import json
from typing import Any

import httpx
import pytest

from backend.problems import CODES
from tests.conftest import serving, settings, sign
from tests.helpers import assert_problem, create

# The last one takes tokens of its own kind, in its body.
PUBLIC = {"/health", "/health/database", "/health/redis", "/ready", "/api/security-events"}
JSON = {"Content-Type": "application/json"}


def test_a_problem_is_an_rfc_9457_document(ann: httpx.Client) -> None:
    answer = ann.post("/api/tasks", json={"title": ""}, headers={"X-Request-ID": "my-id.1"})
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Validation error",
        "status": 422,
        "detail": "title must have at least 1 character.",
        "code": "VALIDATION_ERROR",
        "request_id": "my-id.1",
        "field": "title",
        "errors": [{"field": "title", "message": "must have at least 1 character"}],
    }


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "INVALID_JSON"),
        (b"", 422, "VALIDATION_ERROR"),
        (b"\xff\xfe", 400, "INVALID_JSON"),
        (b'{"title": "\xff"}', 400, "INVALID_JSON"),
        (b"[" * 20_000, 400, "INVALID_JSON"),
        (b'{"title": ' + b"9" * 5000 + b"}", 400, "INVALID_JSON"),
        (b"[]", 422, "VALIDATION_ERROR"),
        (b"null", 422, "VALIDATION_ERROR"),
        (b'"title"', 422, "VALIDATION_ERROR"),
        (b'{"title": NaN}', 422, "VALIDATION_ERROR"),
        (b'{"title": "x", "due_date": Infinity}', 422, "VALIDATION_ERROR"),
    ],
)
def test_a_body_that_is_no_task_is_a_4xx(ann: httpx.Client, body: bytes, status: int, code: str) -> None:
    for method, path in (("POST", "/api/tasks"), ("PATCH", f"/api/tasks/{create(ann)['id']}")):
        assert_problem(ann.request(method, path, content=body, headers=JSON), status, code)


@pytest.mark.parametrize("media_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
def test_a_body_that_is_not_said_to_be_json_is_a_415_that_says_so(ann: httpx.Client, media_type: str | None) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    answer = ann.post("/api/tasks", content=b'{"title": "x"}', headers=headers)
    assert_problem(answer, 415, "UNSUPPORTED_MEDIA_TYPE")
    assert "Content-Type: application/json" in answer.json()["detail"]


def test_a_body_in_a_coding_is_a_415_that_says_so(ann: httpx.Client) -> None:
    for coding, status in (("gzip", 415), ("br", 415), ("identity", 201)):
        headers = {**JSON, "Content-Encoding": coding}
        answer = ann.post("/api/tasks", content=b'{"title": "x"}', headers=headers)
        assert answer.status_code == status
    assert "Content-Encoding" in ann.post("/api/tasks", headers={**JSON, "Content-Encoding": "gzip"}).json()["detail"]


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=utf-8", "application/ld+json"])
def test_json_may_be_named_in_any_of_its_ways(ann: httpx.Client, media_type: str) -> None:
    answer = ann.post("/api/tasks", content=b'{"title": "x"}', headers={"Content-Type": media_type})
    assert answer.status_code == 201


def test_a_body_over_the_limit_is_a_413_whether_or_not_its_length_is_told(database_url: str) -> None:
    headers = {"Authorization": f"Bearer {sign({'sub': 'eve'})}", **JSON}
    fits = json.dumps({"title": "x", "description": "y" * 900}).encode()
    large = fits + b" " * 2000
    with (
        serving(settings(database_url=database_url, max_body_bytes=2000)) as url,
        httpx.Client(base_url=url, headers=headers) as client,
    ):
        assert client.post("/api/tasks", content=fits).status_code == 201
        assert client.post("/api/tasks", content=iter([fits])).status_code == 201
        assert_problem(client.post("/api/tasks", content=large), 413, "BODY_TOO_LARGE")
        assert_problem(client.post("/api/tasks", content=iter([large[:1500], large[1500:]])), 413, "BODY_TOO_LARGE")


@pytest.mark.parametrize("path", ["/", "/api", "/api/", "/api/task", "/api/tasks/", "/api/v1", "/api/v2/tasks", "/%ff"])
def test_an_unknown_path_is_a_404_with_a_way_on(api: str, path: str) -> None:
    answer = httpx.get(f"{api}{path}")
    assert_problem(answer, 404, "NOT_FOUND")
    assert "/docs" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/tasks", {"GET", "HEAD", "POST", "PATCH", "DELETE"}),
        ("POST", "/api/tasks/01980000-0000-7000-8000-000000000000", {"GET", "HEAD", "PUT", "PATCH", "DELETE"}),
        ("POST", "/api/v1/me", {"GET", "HEAD", "DELETE"}),
        ("POST", "/docs", {"GET", "HEAD"}),
    ],
)
def test_a_405_names_every_method_of_the_path(api: str, method: str, path: str, allowed: set[str]) -> None:
    answer = httpx.request(method, f"{api}{path}")
    assert_problem(answer, 405, "METHOD_NOT_ALLOWED")
    assert set(answer.headers["Allow"].split(", ")) == allowed


def operations(api: str) -> list[tuple[str, str, dict[str, Any]]]:
    paths = httpx.get(f"{api}/openapi.json").json()["paths"]
    return [(method, path, operation) for path, methods in paths.items() for method, operation in methods.items()]


def test_every_route_but_the_public_ones_wants_a_token_before_anything_else(api: str) -> None:
    described = operations(api)
    assert {path for _, path, _ in described} > PUBLIC
    for method, path, operation in described:
        answer = httpx.request(method, f"{api}{path.replace('{id}', 'no-uuid')}", content=b"{", headers=JSON)
        assert (answer.status_code == 401) is (path not in PUBLIC), (method, path)
        assert ("security" in operation) is (path not in PUBLIC), (method, path)


def test_every_route_of_a_user_describes_its_errors(api: str) -> None:
    for method, path, operation in operations(api):
        if path in PUBLIC:
            continue
        documented = operation["responses"]
        assert {"401", "500", "503"} <= documented.keys(), (method, path)
        assert "HTTPValidationError" not in json.dumps(documented)
        for status, response in documented.items():
            if int(status) >= 400:
                assert list(response["content"]) == ["application/problem+json"]


def test_a_documented_code_is_a_code_of_the_table(api: str) -> None:
    schemas = httpx.get(f"{api}/openapi.json").json()["components"]["schemas"]
    assert schemas["ProblemDetailsCode"]["enum"] == list(CODES)


def test_the_docs_page_offers_authorize(api: str) -> None:
    page = httpx.get(f"{api}/docs")
    assert page.status_code == 200
    assert "/openapi.json" in page.text
    schemes = httpx.get(f"{api}/openapi.json").json()["components"]["securitySchemes"]
    assert [(scheme["type"], scheme["scheme"]) for scheme in schemes.values()] == [("http", "bearer")]
