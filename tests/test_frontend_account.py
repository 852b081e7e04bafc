"""My account, in a real browser: the name, the password, sessions, API keys, files of all tasks, and the end of it."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.conftest import execute
from tests.frontend import (
    ADDRESSES,
    PASSWORD,
    PHONE,
    Site,
    add,
    api_of,
    assert_accessible,
    either_kind_of_token,
    session_of,
    task,
)
from tests.plugins import Person
from tests.project import wait_until
from tests.test_frontend_live import requests, streams
from tests.test_frontend_sessions import NEW_PASSWORD, are_out, are_revoked, two_devices


def part(page: Page, title: str) -> Locator:
    return page.get_by_role("region", name=title, exact=True)


def says(page: Page, title: str, words: str | re.Pattern[str]) -> None:
    expect(part(page, title).get_by_role("status")).to_have_text(words)


def refuses(page: Page, title: str, words: str | re.Pattern[str]) -> None:
    """It says why, and the focus is in the field to fill in anew."""
    expect(part(page, title).get_by_role("alert")).to_have_text(words)
    expect(part(page, title).locator("input").first).to_be_focused()


def press(page: Page, title: str, button: str) -> None:
    part(page, title).get_by_role("button", name=button).click()


def open_account(page: Page) -> None:
    # Better Auth lets a password be changed three times in ten seconds from one address.
    address = str(next(ADDRESSES))
    page.route(
        "**/api/auth/**", lambda route: route.continue_(headers={**route.request.headers, "x-forwarded-for": address})
    )
    page.get_by_role("link", name="Ann").click()
    expect(page.get_by_role("heading", name="My account")).to_be_visible()
    expect(part(page, "Where you are signed in").get_by_text("this one")).to_be_visible()


@contextmanager
def account(site: Site, **options: Any) -> Iterator[Page]:
    with site.person(**options) as page:
        open_account(page)
        yield page


def test_the_account_is_one_click_away_and_has_an_address(site: Site) -> None:
    with account(site) as page:
        assert page.url == f"{site.url}/account"
        expect(page.get_by_role("link", name="Ann")).to_have_attribute("aria-current", "page")
        page.reload()
        expect(part(page, "Name").get_by_label("Name")).to_have_value("Ann")
        page.go_back()
        expect(page.get_by_label("New task")).to_be_visible()


def test_beside_the_account_the_tags_are_those_of_now(site: Site) -> None:
    with account(site) as page, api_of(page, site) as api:
        sent = requests(page)
        api.post("/api/tasks", json={"title": "Weed", "tags": ["garden"]}).raise_for_status()
        expect(page.get_by_role("link", name="garden")).to_be_visible()
        assert streams(sent) == []  # the one that was open goes on


def test_a_new_name_is_shown_at_once_and_kept(site: Site) -> None:
    with account(site) as page:
        part(page, "Name").get_by_label("Name").fill("Anna Lena")
        press(page, "Name", "Save")
        says(page, "Name", "Your name is Anna Lena now.")
        expect(page.get_by_role("link", name="Anna Lena")).to_be_visible()
        page.reload()
        expect(part(page, "Name").get_by_label("Name")).to_have_value("Anna Lena")


@either_kind_of_token
def test_a_new_password_needs_the_present_one_and_ends_the_other_sessions(site: Site) -> None:
    with two_devices(site) as (page, api, other, other_api), site.another_browser_of(page) as copy:
        tab = page.context.new_page()
        tab.goto(site.everything)
        open_account(page)
        for each in (page, tab):
            each.evaluate("window.isSamePage = true")
        part(page, "Password").get_by_label("Present password").fill("not my password")
        part(page, "Password").get_by_label("New password").fill(NEW_PASSWORD)
        press(page, "Password", "Change password")
        refuses(page, "Password", "That is not your password.")
        part(page, "Password").get_by_label("Present password").fill(PASSWORD)
        press(page, "Password", "Change password")
        says(page, "Password", "Your password is changed, and you are signed out everywhere else.")
        expect(part(page, "Password").get_by_label("New password")).to_have_value("")
        are_out(other, copy)
        are_revoked(api, other_api)
        page.get_by_role("link", name="All", exact=True).click()
        for each, title in ((page, "Still here"), (tab, "Here, too")):  # all of this browser has the new session
            add(each, title)
            assert each.evaluate("window.isSamePage")
        with Person(site.url) as person:
            person.account = {"email": session_of(page)["user"]["email"], "password": NEW_PASSWORD}
            person.headers["X-Forwarded-For"] = str(next(ADDRESSES))
            assert person.sign_in().status_code == 200


def test_a_password_can_be_changed_without_signing_out_elsewhere(site: Site) -> None:
    with two_devices(site) as (page, _, other, other_api):
        open_account(page)
        part(page, "Password").get_by_label("Present password").fill(PASSWORD)
        part(page, "Password").get_by_label("New password").fill(NEW_PASSWORD)
        part(page, "Password").get_by_label("Sign out everywhere else").uncheck()
        press(page, "Password", "Change password")
        says(page, "Password", "Your password is changed.")
        assert other_api.get("/api/me").status_code == 200
        add(other, "Here, too")


def test_a_session_is_shown_with_its_browser_and_can_be_ended(site: Site) -> None:
    with two_devices(site) as (page, api, other, other_api):
        agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
        other_id = session_of(other)["session"]["id"]
        execute(site.database_url, 'UPDATE session SET "userAgent" = %s WHERE id = %s', agent, other_id)
        open_account(page)
        rows = part(page, "Where you are signed in").get_by_role("listitem")
        expect(rows).to_have_text([re.compile("Chrom.* on Linux.*this one"), re.compile("Firefox on Linux.*today, ")])
        press(page, "Where you are signed in", "Sign out: Firefox on Linux")
        says(page, "Where you are signed in", "It is signed out.")
        expect(rows).to_have_count(1)
        expect(part(page, "Where you are signed in").get_by_role("status")).to_be_focused()
        are_out(other)
        are_revoked(other_api)
        assert api.get("/api/me").status_code == 200


def test_all_other_sessions_can_be_ended(site: Site) -> None:
    with two_devices(site) as (page, api, other, other_api), site.second_device_of(page) as third:
        open_account(page)
        press(page, "Where you are signed in", "Sign out everywhere else")
        says(page, "Where you are signed in", "You are signed out everywhere else.")
        are_out(other, third)
        are_revoked(other_api)
        assert api.get("/api/me").status_code == 200
        expect(part(page, "Where you are signed in").get_by_role("listitem")).to_have_count(1)


def test_who_signed_in_long_ago_signs_in_again_to_see_the_sessions(site: Site) -> None:
    with site.person() as page:
        session = session_of(page)["session"]["id"]
        age = timedelta(days=2)
        execute(site.database_url, 'UPDATE session SET "createdAt" = "createdAt" - %s WHERE id = %s', age, session)
        page.goto(f"{site.url}/account")
        notice = part(page, "Where you are signed in").get_by_role("alert")
        expect(notice).to_have_text("You signed in more than a day ago. Sign out and in again to see this.")
        press(page, "Where you are signed in", "Sign out everywhere else")
        says(page, "Where you are signed in", "You are signed out everywhere else.")


@either_kind_of_token
def test_a_key_that_is_made_here_gets_the_tasks_by_the_line_that_is_shown_until_it_is_deleted(site: Site) -> None:
    with account(site) as page, api_of(page, site) as api:
        api.post("/api/tasks", json={"title": "By a program"}).raise_for_status()
        part(page, "API keys").get_by_label("What it is for").fill("backup")
        press(page, "API keys", "Make a key")
        says(page, "API keys", "Copy the key now, below. It is not shown again.")
        expect(page.get_by_role("button", name="Copy").first).to_be_focused()
        key = page.get_by_label("Your key").input_value()
        line = page.get_by_label("How to use it").input_value()
        row = part(page, "API keys").get_by_role("listitem")
        expect(row).to_contain_text(f"backup {key[:6]}… · never used · ends ")
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == key
        used = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
        assert [task["title"] for task in json.loads(used.stdout)] == ["By a program"]
        token = httpx.get(f"{site.url}/api/auth/token", headers={"x-api-key": key}).json()["token"]
        page.reload()
        expect(row).to_contain_text("last used today")
        assert key not in page.content()
        press(page, "API keys", "Delete: backup")
        says(page, "API keys", "The key is deleted. Programs that have it are out.")
        expect(row).to_have_count(0)
        assert httpx.get(f"{site.url}/api/auth/token", headers={"x-api-key": key}).status_code == 401
        with httpx.Client(base_url=site.api_url, headers={"Authorization": f"Bearer {token}"}) as program:
            are_revoked(program)


def test_who_is_banned_gets_nothing_by_a_key(site: Site) -> None:
    with account(site) as page:
        part(page, "API keys").get_by_label("What it is for").fill("backup")
        part(page, "API keys").get_by_label("Ends").select_option("never")
        press(page, "API keys", "Make a key")
        expect(part(page, "API keys").get_by_role("listitem")).to_have_text(re.compile("never usedDelete$"))
        key = page.get_by_label("Your key").input_value()
        execute(site.database_url, 'UPDATE "user" SET banned = true WHERE id = %s', session_of(page)["user"]["id"])
        assert httpx.get(f"{site.url}/api/auth/token", headers={"x-api-key": key}).status_code == 403


def test_an_export_comes_back_by_an_import(site: Site, tmp_path: Path) -> None:
    with account(site) as page, api_of(page, site) as api:
        for title in ("First", "Second"):
            api.post("/api/tasks", json={"title": title, "tags": ["home"]}).raise_for_status()
        api.put("/api/tags/home", json={"color": "#336699"}).raise_for_status()
        for kind in ("csv", "ics", "json"):
            part(page, "Export").get_by_label("Format").select_option(kind)
            with page.expect_download() as download:
                press(page, "Export", "Export")
            assert download.value.suggested_filename == f"tasks.{kind}"
            download.value.save_as(tmp_path / f"tasks.{kind}")
            assert "Second" in (tmp_path / f"tasks.{kind}").read_text()
            size = (tmp_path / f"tasks.{kind}").stat().st_size
            says(page, "Export", f"tasks.{kind} is made: {round(size / 1000, 1):g} kB.")
        part(page, "Import").get_by_label("An export").set_input_files(tmp_path / "tasks.json")
        press(page, "Import", "Import")
        says(page, "Import", "New tasks: 0. New colours of tags: 0. All else was there already.")
    with account(site) as page:
        part(page, "Import").get_by_label("An export").set_input_files(tmp_path / "tasks.json")
        press(page, "Import", "Import")
        says(page, "Import", "New tasks: 2. New colours of tags: 1. All else was there already.")
        page.get_by_role("link", name="All", exact=True).click()
        expect(task(page, "First")).to_be_visible()


def test_a_file_that_cannot_be_imported_is_refused_in_words(site: Site, tmp_path: Path) -> None:
    rows = [{"id": "0199f2b6-6f0e-7c59-a4a5-2c1f3f0a9f5b", "title": "Good"}, {"id": "no", "title": "Bad"}]
    files: dict[str, str | re.Pattern[str]] = {
        "{": "This file is no JSON export.",
        '{"version": 2}': "This file is no JSON export.",
        json.dumps({"version": 1, "tasks": rows}): re.compile("In task 2, the id must be .*"),
        json.dumps({"version": 1, "tasks": [{**rows[0], "due_date": "x"}]}): re.compile("In task 1, the due date .*"),
    }
    with account(site) as page:
        for text, words in files.items():
            (tmp_path / "tasks.json").write_text(text)
            part(page, "Import").get_by_label("An export").set_input_files(tmp_path / "tasks.json")
            press(page, "Import", "Import")
            said = f"Nothing is imported. {words}" if isinstance(words, str) else words
            refuses(page, "Import", said)
            part(page, "Import").locator("input").blur()


def test_a_large_file_says_how_far_it_is(site: Site, tmp_path: Path) -> None:
    with account(site) as page:
        count = 3000
        page.evaluate("""() => {
            window.said = [];
            new MutationObserver(() => {
                for (const words of document.querySelectorAll(".part > p")) window.said.push(words.textContent);
            }).observe(document.querySelector("main"), { subtree: true, childList: true, characterData: true });
        }""")
        rows = [{"id": f"00000000-0000-4000-8000-{number:012}", "title": "x" * 200} for number in range(count)]
        (tmp_path / "tasks.json").write_text(json.dumps({"version": 1, "tasks": rows}))
        part(page, "Import").get_by_label("An export").set_input_files(tmp_path / "tasks.json")
        press(page, "Import", "Import")
        says(page, "Import", f"New tasks: {count}. New colours of tags: 0. All else was there already.")
        with page.expect_download():
            press(page, "Export", "Export")
        says(page, "Export", re.compile("tasks.json is made: .* MB."))
        said = set(page.evaluate("window.said"))
        assert [words for words in said if words.endswith("are sent. Please wait.")], said
        assert [words for words in said if words.endswith("so far.")], said


def test_a_deleted_account_asks_for_the_password_and_takes_its_tasks_along(site: Site) -> None:
    with two_devices(site) as (page, api, other, other_api):
        add(page, "Private")
        user_id = session_of(page)["user"]["id"]
        open_account(page)
        press(page, "Delete the account", "Delete my account")
        expect(part(page, "Delete the account").get_by_label("Your password")).to_be_focused()
        page.keyboard.type("not my password")
        page.keyboard.press("Enter")
        refuses(page, "Delete the account", "That is not your password.")
        part(page, "Delete the account").get_by_label("Your password").fill(PASSWORD)
        page.keyboard.press("Enter")
        expect(page.get_by_text("Your account and all your tasks are deleted.")).to_be_visible()
        are_out(page, other)
        are_revoked(api, other_api)
        for table, column in {"task": "user_id", "session": '"userId"', "account": '"userId"', "user": "id"}.items():
            query = f'SELECT 1 FROM "{table}" WHERE {column} = %s'
            wait_until(lambda query=query: execute(site.database_url, query, user_id) == [])  # type: ignore[misc]


def test_what_gets_no_answer_says_so_and_can_be_done_again(site: Site) -> None:
    with account(site) as page:
        routes: list[Route] = []

        def drop(route: Route) -> None:
            routes.append(route)
            route.abort()

        page.route(re.compile("/api/(export|auth/update-user)"), drop)
        press(page, "Name", "Save")
        refuses(page, "Name", "The server cannot be reached. Try again in a moment.")
        press(page, "Export", "Export")
        expect(part(page, "Export").get_by_role("alert")).to_have_text(re.compile("The server cannot be reached"))
        page.unroute(re.compile("/api/(export|auth/update-user)"), drop)
        press(page, "Name", "Save")
        says(page, "Name", "Your name is Ann now.")
        expect(part(page, "Name").get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_account_is_accessible_and_fits_a_phone(site: Site, theme: str) -> None:
    screens: list[dict[str, Any]] = [{"viewport": {"width": 1280, "height": 800}}, PHONE]
    for options in screens:
        with account(site, color_scheme=theme, **options) as page:
            press(page, "Export", "Export")
            part(page, "API keys").get_by_label("What it is for").fill("backup")
            press(page, "API keys", "Make a key")
            expect(page.get_by_label("Your key")).to_be_visible()
            part(page, "Delete the account").get_by_label("Your password").fill("not my password")
            press(page, "Delete the account", "Delete my account")
            refuses(page, "Delete the account", "That is not your password.")
            assert_accessible(page, site)
            assert page.evaluate("document.documentElement.scrollWidth") <= options["viewport"]["width"]
