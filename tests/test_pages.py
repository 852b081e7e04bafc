"""The pages that describe the API, in a real browser that reaches nothing but the API."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from backend import pages
from tests.conftest import serving, settings, sign
from tests.helpers import assert_problem
from tests.test_prefix import behind_nginx

# Of npm: swagger-ui-dist 5.33.1 and redoc 2.5.4.
DIGESTS = {
    "swagger-ui-bundle.js": "050bc415ee7048dcd881682678f720264e7da5e373f7461d7c58c755305255f7",
    "redoc.standalone.js": "dcaf76612bc4a3fbcc923a8966dee2f6146a5f32e5ce1b6f02dd60cbbf89500b",
}
VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", e => violations.push(`${e.effectiveDirective} ${e.blockedURI}`));
"""


@contextmanager
def page_of(chromium: Browser, url: str) -> Iterator[Page]:
    """Yield a page of a browser without the internet; nothing on it may be missed, refused or wrong."""
    context = chromium.new_context()
    elsewhere: list[str] = []
    wrong: list[str] = []

    def only_the_api(route: Route) -> None:
        if urlsplit(route.request.url).netloc == urlsplit(url).netloc:
            route.continue_()
        else:
            elsewhere.append(route.request.url)
            route.abort()

    context.route(re.compile("^(?!data:|blob:)"), only_the_api)
    context.add_init_script(VIOLATIONS)
    page = context.new_page()
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    yield page
    assert page.evaluate("violations") == []
    assert (elsewhere, wrong) == ([], [])
    context.close()


def test_docs_show_every_route_and_try_it_out_without_the_internet(chromium: Browser, api: str) -> None:
    token = sign({"sub": "somebody who reads"})
    with page_of(chromium, api) as page:
        page.goto(f"{api}/docs")
        expect(page.get_by_role("heading", name="Better Tasks")).to_be_visible()
        page.get_by_role("button", name="Authorize").click()
        page.get_by_label("auth-bearer-value").fill(token)
        page.get_by_role("button", name="Apply credentials").click()
        page.get_by_role("button", name="Close").click()
        operation = page.locator(".opblock").filter(has=page.get_by_text("/api/me", exact=True)).first
        operation.locator(".opblock-summary-control").click()
        operation.get_by_role("button", name="Try it out").click()
        operation.get_by_role("button", name="Execute").click()
        expect(operation.locator(".live-responses-table")).to_contain_text("somebody who reads")


def test_redoc_shows_every_route_and_searches_without_the_internet(chromium: Browser, api: str) -> None:
    with page_of(chromium, api) as page:
        page.goto(f"{api}/redoc")
        expect(page.get_by_role("heading", name="Better Tasks")).to_be_visible()
        expect(page.get_by_role("button", name="get /api/me")).to_be_attached()
        page.get_by_placeholder("Search...").fill("history")
        expect(page.locator("[data-role='search:results']")).to_contain_text(re.compile("history", re.IGNORECASE))


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_both_have_the_prefix_of_a_proxy(chromium: Browser, database_url: str, path: str) -> None:
    with behind_nginx(database_url) as url, page_of(chromium, url) as page:
        page.goto(f"{url}/backend{path}")
        expect(page.get_by_role("heading", name="Better Tasks")).to_be_visible()


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_a_page_runs_and_loads_nothing_but_what_the_api_serves(api: str, path: str) -> None:
    answer = httpx.get(f"{api}{path}")
    directives = dict(part.strip().partition(" ")[::2] for part in answer.headers["Content-Security-Policy"].split(";"))
    assert directives["default-src"] == "'self'"
    assert "script-src" not in directives
    assert (directives["frame-ancestors"], directives["object-src"], directives["base-uri"]) == ("'none'",) * 3
    assert ("unsafe-inline" in answer.headers["Content-Security-Policy"]) == (path == "/redoc")  # for its style sheet
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"<script>|<style|https?:|//", answer.text)


def test_a_file_may_be_kept_for_good_and_counts_for_nobody(database_url: str) -> None:
    with serving(settings(database_url=database_url, rate_limit="1/hour", auth_failure_limit="1/hour")) as url:
        files = [f"{pages.BELOW}/{name}" for name in (*pages.FILES, *pages.OWN)]
        for path in files * 2:
            answer = httpx.get(f"{url}{path}")
            assert answer.status_code == 200, path
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "RateLimit" not in answer.headers
            head = httpx.head(f"{url}{path}")
            assert (head.content, head.headers["Content-Length"]) == (b"", answer.headers["Content-Length"])
        for page in ("/docs", "/redoc"):
            named = re.findall(r'(?:href|src)="(/[^"]+)"', httpx.get(f"{url}{page}").text)
            assert len(named) > 1
            assert set(named) <= set(files)
        elsewhere = httpx.get(f"{url}/docs/000000000000/swagger-ui.css")
        assert_problem(elsewhere, 404, "NOT_FOUND")
        assert elsewhere.headers["Cache-Control"] == "no-store"


def test_the_files_are_as_they_were_published_with_their_licences(api: str) -> None:
    for name, digest in DIGESTS.items():
        served = httpx.get(f"{api}{pages.BELOW}/{name}").content
        assert sha256(served.replace(pages.NO_LOGO, pages.LOGO)).hexdigest() == digest, name
        assert f"see {name}.LICENSE.txt".encode() in served[:200]
    for name, said in (
        ("swagger-ui-bundle.js.LICENSE.txt", "Apache License"),
        ("redoc.standalone.js.LICENSE.txt", "DOMPurify"),
        ("redoc.LICENSE.txt", "The MIT License"),
    ):
        assert said in httpx.get(f"{api}{pages.BELOW}/{name}").text


def test_an_error_at_the_address_of_a_file_is_not_kept(api: str) -> None:
    path = next(iter(pages.headers()))
    for answer in (httpx.post(f"{api}{path}"), httpx.get(f"{api}{path}", headers={"X-Big": "a" * 33000})):
        assert answer.status_code in (400, 405)
        assert answer.headers["Cache-Control"] == "no-store"
