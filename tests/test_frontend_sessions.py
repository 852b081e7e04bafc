"""The frontend and the end of sessions, in a real browser: what ends with them, on which device, and what does not."""

import json
import socket
import time
import uuid
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.conftest import SECRET, execute, serving
from tests.frontend import PASSWORD, Site, add, answers, api_of, ask, either_kind_of_token, session_of, start
from tests.guide import STOCK, better_auth, section, server_of
from tests.plugins import Person
from tests.project import free_port, wait_until
from tests.test_frontend_live import LOST, requests, streams

NEW_PASSWORD = "another horse battery"


def are_out(*pages: Page) -> None:
    """They show the sign-in page, which nothing but the end of their stream led them to: they ask for nothing else."""
    for page in pages:
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def are_revoked(*apis: httpx.Client) -> None:
    for api in apis:
        wait_until(lambda api=api: api.get("/api/me").json().get("code") == "TOKEN_REVOKED")  # type: ignore[misc]


@contextmanager
def administrator(site: Site) -> Iterator[Page]:
    with site.person() as page:
        execute(site.database_url, "UPDATE \"user\" SET role = 'admin' WHERE id = %s", session_of(page)["user"]["id"])
        yield page


@contextmanager
def two_devices(site: Site) -> Iterator[tuple[Page, httpx.Client, Page, httpx.Client]]:
    """Yield the pages of one person on two devices, with a program that has the token of each."""
    with site.person() as page, site.second_device_of(page) as other, api_of(page, site) as api:
        for each in (page, other):
            each.evaluate("window.isSamePage = true")
        with api_of(other, site) as other_api:
            assert [each.get("/api/me").status_code for each in (api, other_api)] == [200, 200]
            yield page, api, other, other_api


@either_kind_of_token
def test_a_token_says_its_session_and_no_more_of_its_user_than_is_needed(site: Site) -> None:
    with site.person() as page, api_of(page, site) as api:
        ask(page.context, site, "/update-user", {"image": f"data:image/png;base64,{'A' * 20_000}"})
        session = session_of(page)
        payload = api.headers["Authorization"].split(".")[1]
        claims = json.loads(urlsafe_b64decode(payload + "=="))
        assert claims["sid"] == session["session"]["id"]
        assert claims.keys() == {"iss", "aud", "sub", "iat", "exp", "email", "name", "role", "sid"}
        page.reload()
        add(page, "With a picture")


@pytest.mark.parametrize("process", ["the same", "another"])
def test_who_signs_out_everywhere_else_is_out_there_at_once(site: Site, process: str) -> None:
    with ExitStack() as stack:
        page, api, other, other_api = stack.enter_context(two_devices(site))
        if process == "another":
            url = stack.enter_context(serving(site.configuration))
            other.route(
                f"{site.api_url}/**", lambda route: route.continue_(url=f"{url}{urlsplit(route.request.url).path}")
            )
            other.reload()
            add(other, "By way of the other process")
            other.evaluate("window.isSamePage = true")
        ask(page.context, site, "/revoke-other-sessions")
        are_out(other)
        assert other.evaluate("window.isSamePage")
        are_revoked(other_api)
        assert api.get("/api/me").status_code == 200
        add(page, "Still here")


@either_kind_of_token
def test_who_signs_out_on_one_device_stays_on_the_other(site: Site) -> None:
    with two_devices(site) as (page, api, other, other_api):
        sent = requests(other)
        page.get_by_role("button", name="Sign out").click()
        are_out(page)
        are_revoked(api)
        assert other_api.get("/api/me").status_code == 200
        add(other, "Still here")
        assert streams(sent) == []  # the one that was open goes on
        assert other.evaluate("window.isSamePage")


def test_two_browsers_of_one_session_are_out_together(site: Site) -> None:
    with site.person() as page, site.another_browser_of(page) as other:
        page.get_by_role("button", name="Sign out").click()
        are_out(other)


def test_a_page_whose_token_alone_has_ended_goes_on_with_another(site: Site) -> None:
    with site.person() as page:
        add(page, "There")

        def end(route: Route) -> None:
            events = 'id: 1\nevent: change\ndata: {"seq": 1, "changes": []}\n\n'
            ending = 'event: end\ndata: {"reason": "token_revoked"}\n\n'
            headers = {"Content-Type": "text/event-stream", "Access-Control-Allow-Origin": site.url}
            route.fulfill(status=200, headers=headers, body=events + ending)

        page.route("**/api/events", end, times=1)
        sent: list[Request] = []
        page.on("request", lambda request: sent.append(request))
        page.reload()
        while len(streams(sent)) < 2:
            page.wait_for_timeout(20)
        assert len([request for request in sent if request.url.endswith("/api/auth/token")]) == 2
        add(page, "Another")
        expect(page.get_by_text(LOST)).to_have_count(0)


def test_a_ban_ends_all_that_a_person_has_and_they_do_not_come_back(site: Site) -> None:
    with two_devices(site) as (page, api, other, other_api), administrator(site) as admin:
        user = session_of(page)["user"]
        ask(admin.context, site, "/admin/ban-user", {"userId": user["id"]})
        are_out(page, other)
        are_revoked(api, other_api)
        ask(page.context, site, "/sign-in/email", {"email": user["email"], "password": PASSWORD}, 403)
        add(admin, "Not banned")


def test_a_deleted_account_takes_its_tasks_along(site: Site) -> None:
    with two_devices(site) as (page, api, other, other_api):
        add(page, "Private")
        user_id = session_of(page)["user"]["id"]
        ask(page.context, site, "/delete-user", {"password": PASSWORD})
        are_out(page, other)
        are_revoked(api, other_api)
        wait_until(lambda: execute(site.database_url, "SELECT 1 FROM task WHERE user_id = %s", user_id) == [])


def test_a_password_that_an_admin_sets_ends_what_was_there_before_it(site: Site) -> None:
    with two_devices(site) as (page, api, other, other_api), administrator(site) as admin:
        user = session_of(page)["user"]
        ask(admin.context, site, "/admin/set-user-password", {"userId": user["id"], "newPassword": NEW_PASSWORD})
        are_out(page, other)
        are_revoked(api, other_api)
        second = int(time.time())
        wait_until(lambda: time.time() >= second + 1)  # a token of the same second would count as one from before
        page.get_by_label("E-mail").fill(user["email"])
        page.get_by_label("Password").fill(NEW_PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_text("Nothing to do")).to_be_visible()
        add(admin, "Not out")


def test_a_forgotten_password_that_is_set_anew_ends_what_was_there_before_it(site: Site) -> None:
    with two_devices(site) as (page, api, other, other_api):
        token = uuid.uuid4().hex  # as it would be mailed
        mailed = (uuid.uuid4().hex, f"reset-password:{token}", session_of(page)["user"]["id"])
        values = "(%s, %s, %s, now() + interval '1 hour', now(), now())"
        columns = '(id, identifier, value, "expiresAt", "createdAt", "updatedAt")'
        execute(site.database_url, f"INSERT INTO verification {columns} VALUES {values}", *mailed)
        ask(page.context, site, "/reset-password", {"token": token, "newPassword": NEW_PASSWORD})
        are_out(page, other)
        are_revoked(api, other_api)


def test_a_person_who_changes_the_password_goes_on_with_a_new_session(site: Site) -> None:
    with two_devices(site) as (page, api, other, other_api):
        passwords = {"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD}
        ask(page.context, site, "/change-password", {**passwords, "revokeOtherSessions": True})
        are_out(other)
        are_revoked(api, other_api)
        page.goto(site.everything)
        add(page, "Still here")


@pytest.mark.parametrize("api_is", ["away", "silent"])
def test_an_api_that_does_not_answer_stops_nobody_from_signing_out_and_is_told_later(
    stopped_site: Site, api_is: str
) -> None:
    site = stopped_site
    with ExitStack() as stack:
        with site.start_api():
            page = stack.enter_context(site.person())
            api = stack.enter_context(api_of(page, site))
        with ExitStack() as silence:
            if api_is == "silent":
                silence.enter_context(socket.create_server(("127.0.0.1", site.api_port)))
            page.get_by_role("button", name="Sign out").click()
            are_out(page)
        with site.start_api():
            are_revoked(api)


def test_a_database_from_before_gets_what_is_new(
    guide: str, root: Path, tmp_path: Path, frontend: Path, empty_database: str
) -> None:
    source = server_of(section(guide, STOCK))
    with better_auth(root, tmp_path, source, empty_database) as url, Person(url) as person:
        person.sign_up().raise_for_status()
        account = person.account
    url = f"http://localhost:{free_port()}"
    environment = {"DATABASE_URL": empty_database, "BETTER_AUTH_SECRET": SECRET, "BETTER_AUTH_URL": url}
    server = start(frontend, httpx.URL(url).port or 0, environment)
    try:
        wait_until(lambda: answers(f"{url}/sign-in") or server.poll() is not None)
        with Person(url) as person:
            person.account = account
            person.sign_in().raise_for_status()
            assert person.token()
    finally:
        server.terminate()
        server.wait()
    columns = {name for (name,) in execute(empty_database, "SELECT column_name FROM information_schema.columns")}
    assert {"role", "banned", "banReason", "banExpires", "impersonatedBy", "lastRequest"} <= columns
