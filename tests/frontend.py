"""The frontend in a real browser: the app and its API running, people on their pages, and the steps that they take."""

import json
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, flock
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright

from backend.settings import Settings
from tests.conftest import SECRET, serving, settings, throwaway_database
from tests.project import free_port, installed, wait_until

PASSWORD = "correct horse battery"
ADDRESSES = map(ip_address, count(int(ip_address("198.18.0.1"))))
CHROMIUM_OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
# A run with this set makes the pictures of the documentation.
PICTURES = Path("docs/images") if os.environ.get("PICTURES") else None
LISTS = re.compile(r"/api/tasks(\?|$)")
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}

# Cold, the first page of a server on a busy machine takes seconds.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="session")
def frontend(root: Path) -> Path:
    """The folder of the frontend, with its packages installed and itself built, once for all that test it at a time."""
    folder = installed(root / "frontend")
    listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=folder, text=True)
    sources = [folder / name for name in listed.splitlines() if (folder / name).exists()]
    marker = folder / ".next" / "built"
    with (folder / "package.json").open() as lock:
        flock(lock, LOCK_EX)  # tests of two files may run at once
        if not marker.exists() or marker.stat().st_mtime < max(source.stat().st_mtime for source in sources):
            environment = {**os.environ, "BETTER_AUTH_SECRET": SECRET, "NEXT_TELEMETRY_DISABLED": "1"}
            built = subprocess.run(["npm", "run", "build"], cwd=folder, env=environment, capture_output=True, text=True)
            assert built.returncode == 0, built.stdout + built.stderr
            marker.touch()
    return folder


def program_of_chromium() -> str:
    # The headless shell first: the same engine, without what only people look at.
    names = ("chromium-headless-shell", "chromium", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    return program or pytest.skip("Chromium is not installed")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program_of_chromium(), args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()


@dataclass
class Site:
    """The app, its API, which can be stopped and started, and a browser."""

    url: str
    api_port: int
    configuration: Settings  # of the API
    frontend: Path
    browser: Browser
    database_url: str
    algorithm: str

    @property
    def everything(self) -> str:
        """Where a list shows all tasks, also without a date and completed."""
        return f"{self.url}/all?completed=1"

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    def start_api(self) -> AbstractContextManager[str]:
        return serving(self.configuration, self.api_port)

    @contextmanager
    def person(self, **options: Any) -> Iterator[Page]:
        """Yield the page of tasks of somebody who has just signed up, in a browser of their own."""
        context = self.browser.new_context(locale="en-GB", timezone_id="Europe/Berlin", **options)
        account = {"name": "Ann", "email": f"{uuid.uuid4().hex}@example.test", "password": PASSWORD}
        ask(context, self, "/sign-up/email", account)
        page = context.new_page()
        page.goto(self.everything)
        expect(page.get_by_text("Nothing to do")).to_be_visible()
        yield page
        context.close()

    @contextmanager
    def another_browser_of(self, page: Page) -> Iterator[Page]:
        """Yield the page of tasks of the same person in a second browser."""
        context = self.browser.new_context(
            storage_state=page.context.storage_state(), locale="en-GB", timezone_id="Europe/Berlin"
        )
        other = context.new_page()
        other.goto(self.everything)
        expect(other.get_by_role("region", name="Tasks")).to_have_attribute("aria-busy", "false")
        yield other
        context.close()

    @contextmanager
    def second_device_of(self, page: Page) -> Iterator[Page]:
        """Yield the page of tasks of the same person, who has signed in on another device: a session of its own."""
        context = self.browser.new_context(locale="en-GB", timezone_id="Europe/Berlin")
        account = {"email": session_of(page)["user"]["email"], "password": PASSWORD}
        ask(context, self, "/sign-in/email", account)
        other = context.new_page()
        other.goto(self.everything)
        expect(other.get_by_role("region", name="Tasks")).to_have_attribute("aria-busy", "false")
        yield other
        context.close()

    @contextmanager
    def newcomer(self, name: str) -> Iterator[Page]:
        """Sign somebody up by the form, and yield their page of tasks."""
        context = self.browser.new_context()
        page = context.new_page()
        page.goto(self.url)
        page.get_by_role("button", name="I am new here").click()
        page.get_by_label("Name").fill(name)
        page.get_by_label("E-mail").fill(f"{name}@example.test")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign up").click()
        expect(page.get_by_text("Nothing to do")).to_be_visible()
        page.goto(self.everything)
        yield page
        context.close()


@contextmanager
def running(frontend: Path, chromium: Browser, postgres: str, algorithm: str, **more: str) -> Iterator[Site]:
    port, api_port = free_port(), free_port()
    url = f"http://localhost:{port}"
    with ExitStack() as stack:
        database_url = stack.enter_context(throwaway_database(postgres))
        environment = {
            "BETTER_AUTH_URL": url,
            "BETTER_AUTH_SECRET": SECRET,
            "DATABASE_URL": database_url,
            "API_URL": f"http://127.0.0.1:{api_port}",
            "JWT_SIGNING": "secret" if algorithm == "HS256" else "",
            **more,
        }
        server = start(frontend, port, environment)
        stack.callback(server.wait)
        stack.callback(server.terminate)
        wait_until(lambda: answers(f"{url}/sign-in") or server.poll() is not None)
        assert server.poll() is None
        # As docs/better-auth.md says: the one or the other, and never both.
        own = {"better_auth_url": url, "better_auth_secret": None}
        if algorithm == "HS256":
            own = {"jwt_issuer": url, "better_auth_secret": SECRET}
        configuration = settings(database_url=database_url, cors_origins=url, db_wait_seconds=1, **own)
        yield Site(url, api_port, configuration, frontend, chromium, database_url, algorithm)


def start(frontend: Path, port: int, environment: dict[str, str], stderr: int | None = None) -> "subprocess.Popen[str]":
    command = ["node", ".next/standalone/server.js"]
    every = {**os.environ, "HOSTNAME": "localhost", "PORT": str(port), **environment}
    return subprocess.Popen(command, cwd=frontend, env=every, stdout=subprocess.DEVNULL, stderr=stderr, text=True)


def answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module", params=["EdDSA"])
def stopped_site(request: pytest.FixtureRequest, frontend: Path, chromium: Browser, postgres: str) -> Iterator[Site]:
    with running(frontend, chromium, postgres, request.param) as site:
        yield site


# For what tokens have a part in: with tokens of either kind. The rest is the same for both.
either_kind_of_token = pytest.mark.parametrize("stopped_site", ["EdDSA", "HS256"], indirect=True)


@pytest.fixture
def site(stopped_site: Site) -> Iterator[Site]:
    with stopped_site.start_api():
        yield stopped_site


def ask(person: BrowserContext, site: Site, path: str, body: dict[str, Any] | None = None, status: int = 200) -> Any:
    """Ask Better Auth for something that the app has no form for; return the answer."""
    # It lets three sign up or in in ten seconds from one address, so each has one.
    headers = {"Origin": site.url, "X-Forwarded-For": str(next(ADDRESSES))}
    answer = person.request.post(f"{site.url}/api/auth{path}", data=body or {}, headers=headers)
    assert answer.status == status, answer.text()
    return answer.json()


def session_of(page: Page) -> Any:
    """Return the session of who is signed in on a page, and its user."""
    return page.evaluate("fetch('/api/auth/get-session').then(answer => answer.json())")


def write(page: Page, title: str) -> None:
    """Add a task, which is shown before it is sent."""
    page.get_by_label("New task").fill(title)
    page.get_by_role("button", name="Add", exact=True).click()
    expect(task(page, title)).to_be_visible()


def add(page: Page, title: str) -> None:
    write(page, title)
    expect(task(page, title)).not_to_contain_text("not sent yet")


def task(page: Page, title: str) -> Any:
    return page.get_by_role("listitem").filter(has=page.get_by_role("button", name=title, exact=True))


def done(page: Page, title: str) -> Any:
    return page.get_by_label(f"{title} is completed")


def api_of(page: Page, site: Site, url: str | None = None) -> httpx.Client:
    """The API, or another process of it, as another program of the same person uses it."""
    found: list[str] = []

    def ask() -> bool:  # again if Better Auth has been asked too often by the pages of all tests
        answer = page.evaluate("fetch('/api/auth/token').then(answer => answer.json())")
        found.extend([answer["token"]] if "token" in answer else [])
        return bool(found)

    wait_until(ask)
    return httpx.Client(base_url=url or site.api_url, headers={"Authorization": f"Bearer {found[0]}"})


def held(page: Page, url: str | re.Pattern[str], method: str) -> Callable[[], Callable[[], None]]:
    """Keep the first such request back; return a function that waits for it, and returns one that lets it go."""
    routes: list[Route] = []

    def keep(route: Route) -> None:
        if route.request.method == method and not routes:
            routes.append(route)
        else:
            route.fallback()

    page.route(url, keep)

    def wait() -> Callable[[], None]:
        while not routes:
            page.wait_for_timeout(20)
        return routes[0].continue_

    return wait


def without_events(page: Page) -> None:
    """Load the page anew, and let it learn of nothing that happens elsewhere until it asks."""
    page.route("**/api/events", lambda route: route.abort())
    page.reload()


def picture(page: Page, name: str) -> None:
    if PICTURES:
        page.mouse.move(0, 0)
        page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


def assert_accessible(page: Page, site: Site) -> None:
    page.evaluate((site.frontend / "node_modules" / "axe-core" / "axe.min.js").read_text())
    found = page.evaluate("axe.run().then(results => results.violations)")
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert serious == [], json.dumps([(each["id"], [node["html"] for node in each["nodes"]]) for each in serious])
