"""What a browser on the frontend's page may do and see."""

from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import serving, settings, sign

FRONTEND = "https://app.example"
HEADERS = "authorization,content-type,idempotency-key,if-match,if-none-match,x-request-id"
TRACING = "traceparent,tracestate,baggage,sentry-trace"
LOOPBACK = [
    "http://localhost:3000",
    "http://localhost",
    "https://localhost:8443",
    "http://127.0.0.1:3000",
    "https://127.0.0.1",
    "http://[::1]:5173",
    "https://[::1]",
]


@pytest.fixture
def browser(database_url: str) -> Iterator[httpx.Client]:
    with (
        serving(settings(database_url=database_url, cors_origins=FRONTEND, max_body_bytes=1024)) as url,
        httpx.Client(base_url=url, headers={"Origin": FRONTEND}) as client,
    ):
        yield client


def preflight(
    browser: httpx.Client, origin: str, method: str = "PATCH", headers: str = f"{HEADERS},{TRACING}"
) -> httpx.Response:
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return browser.options("/api/tasks", headers={"Origin": origin, **asked})


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_the_frontends_page_may_call_every_route(browser: httpx.Client, method: str) -> None:
    answer = preflight(browser, FRONTEND, method)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == FRONTEND


@pytest.mark.parametrize("own", [{}, {"cors_origins": FRONTEND}])
def test_in_development_every_loopback_origin_may(database_url: str, own: dict[str, str]) -> None:
    with serving(settings(database_url=database_url, **own)) as url, httpx.Client(base_url=url) as browser:
        for origin in LOOPBACK:
            for answer in (preflight(browser, origin), browser.get("/health", headers={"Origin": origin})):
                assert answer.status_code == 200, origin
                assert answer.headers["Access-Control-Allow-Origin"] == origin


def test_in_production_none_may_but_those_that_are_set(database_url: str) -> None:
    own = {"environment": "production", "cors_origins": "http://localhost:3000"}
    with serving(settings(database_url=database_url, **own)) as url, httpx.Client(base_url=url) as browser:
        assert [origin for origin in LOOPBACK if preflight(browser, origin).status_code == 200] == LOOPBACK[:1]


def test_a_page_may_send_the_headers_that_are_set(database_url: str) -> None:
    own = {"cors_origins": FRONTEND, "cors_headers": "X-Tenant, X-B3-TraceId"}
    with serving(settings(database_url=database_url, **own)) as url, httpx.Client(base_url=url) as browser:
        assert preflight(browser, FRONTEND, headers=f"{HEADERS},x-tenant,x-b3-traceid").status_code == 200
        assert preflight(browser, FRONTEND, headers=f"{HEADERS},x-other").status_code == 400


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://app.example",
        f"{FRONTEND}.evil.example",
        "null",
        "http://localhost.evil.example",
        "http://localhost:3000.evil.example",
        "http://127.0.0.1.evil.example",
        "http://[::1].evil.example",
        "ftp://localhost",
    ],
)
def test_no_other_page_may(browser: httpx.Client, origin: str) -> None:
    assert "Access-Control-Allow-Origin" not in preflight(browser, origin).headers
    assert "Access-Control-Allow-Origin" not in browser.get("/health", headers={"Origin": origin}).headers


def test_the_page_can_read_every_answer_and_its_headers(browser: httpx.Client) -> None:
    token = {"Authorization": f"Bearer {sign({'sub': 'ann'})}"}
    answers = [
        browser.post("/api/tasks", json={"title": "x"}, headers=token),
        browser.get("/api/tasks"),
        browser.get("/nowhere"),
        browser.post("/api/tasks", json={"title": "x" * 2000}, headers=token),
    ]
    assert [answer.status_code for answer in answers] == [201, 401, 404, 413]
    for answer in answers:
        assert answer.headers["Access-Control-Allow-Origin"] == FRONTEND
        exposed = set(answer.headers["Access-Control-Expose-Headers"].split(", "))
        assert {"ETag", "Link", "Location", "Next-Cursor", "Idempotency-Replayed", "Retry-After"} < exposed
        assert "X-Request-ID" in exposed


def test_the_page_can_read_an_internal_error(browser: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.health._check", None)
    answer = browser.get("/ready")
    assert answer.status_code == 500
    assert answer.headers["Access-Control-Allow-Origin"] == FRONTEND
