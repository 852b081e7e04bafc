"""The frontend without a network or its API: what can be read, what can be done, and that none of it is lost."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.frontend import LISTS, PASSWORD, Site, add, api_of, done, held, picture, session_of, task, write
from tests.project import wait_until


def waits(page: Page, count: int) -> None:
    """The status says how many changes wait to be sent."""
    words = "1 change waits to be sent." if count == 1 else f"{count} changes wait to be sent."
    expect(page.get_by_text(words) if count else page.get_by_text("to be sent.")).to_have_count(1 if count else 0)


@contextmanager
def installed(site: Site) -> Iterator[Page]:
    """The page of a person whose browser can start the app without a network."""
    with site.person() as page:
        page.wait_for_function("""async () => {
            const [pages, files] = [await caches.open("page"), await caches.open("files")];
            const used = performance.getEntriesByType("resource").map(({ name }) => name);
            const hashed = used.filter((name) => name.includes("/_next/static/"));
            const kept = await Promise.all(hashed.map((name) => files.match(name)));
            return navigator.serviceWorker.controller && kept.every(Boolean) && await pages.match("/");
        }""")
        yield page


def test_offline_the_list_is_there_after_a_reload_and_all_that_is_done_is_sent_in_order(site: Site) -> None:
    with installed(site) as page, api_of(page, site) as api:
        for title in ("Edited", "Completed", "Deleted"):
            add(page, title)
        page.context.set_offline(True)
        page.reload()
        expect(page.locator(".title")).to_have_text(["Deleted", "Completed", "Edited"])
        write(page, "New")
        page.get_by_role("button", name="New", exact=True).click()
        page.get_by_label("Title").fill("New and edited")
        page.get_by_role("button", name="Save").click()
        done(page, "New and edited").click()
        done(page, "Completed").click()
        for text in ("Edited once", "Edited twice"):
            page.get_by_role("button", name=re.compile("^Edited")).click()
            page.get_by_label("Title").fill(text)
            page.get_by_role("button", name="Save").click()
        page.get_by_label("Delete Deleted").click()
        waits(page, 7)
        page.reload()
        waits(page, 7)
        expect(page.locator(".title")).to_have_text(["New and edited", "Completed", "Edited twice"])
        expect(done(page, "New and edited")).to_be_checked()
        expect(task(page, "Edited twice")).to_contain_text("not sent yet")
        page.context.set_offline(False)
        waits(page, 0)
        expect(page.get_by_text("not sent yet")).to_have_count(0)
        found = {each["title"]: each["status"] for each in api.get("/api/tasks").json()}
        assert found == {"New and edited": "completed", "Completed": "completed", "Edited twice": "pending"}
        expect(page.get_by_role("alert").filter(has_text="meanwhile")).to_have_count(0)


def test_a_new_task_is_shown_at_once_and_marked_until_it_is_sent(site: Site) -> None:
    with site.person() as page:
        wait = held(page, LISTS, "POST")
        page.get_by_label("New task").fill("Slow")
        page.keyboard.press("Enter")
        go_on = wait()
        expect(task(page, "Slow")).to_contain_text("not sent yet")
        page.get_by_role("button", name="Slow", exact=True).click()
        page.get_by_label("Title").fill("Slow and edited")
        go_on()  # under the open form, which stays
        expect(page.get_by_text("History")).to_be_visible()
        page.get_by_role("button", name="Save").click()
        expect(task(page, "Slow and edited")).not_to_contain_text("not sent yet")
        expect(page.locator(".title")).to_have_count(1)


def test_what_an_api_that_is_away_was_not_sent_is_sent_once_it_is_back(stopped_site: Site) -> None:
    with stopped_site.start_api():
        person = stopped_site.person()
        page = person.__enter__()
        add(page, "Before")
    try:
        assert page.evaluate("navigator.onLine")
        write(page, "Meanwhile")
        done(page, "Before").click()
        waits(page, 2)
        picture(page, "app-unreachable")
        with stopped_site.start_api():
            waits(page, 0)
            expect(done(page, "Before")).to_be_checked()
            with api_of(page, stopped_site) as api:
                assert [each["title"] for each in api.get("/api/tasks").json()] == ["Meanwhile", "Before"]
    finally:
        person.__exit__(None, None, None)


def test_a_browser_that_thinks_it_is_offline_and_is_not_sends_at_once(site: Site) -> None:
    with site.person() as page, api_of(page, site) as api:
        page.evaluate("""() => {
            Object.defineProperty(navigator, "onLine", { get: () => false });
            dispatchEvent(new Event("offline"));
        }""")
        add(page, "Sent")
        expect(page.get_by_text("not sent yet")).to_have_count(0)
        assert [each["title"] for each in api.get("/api/tasks").json()] == ["Sent"]


def test_an_answer_that_is_lost_with_its_page_makes_no_second_task_and_no_conflict(site: Site) -> None:
    with site.person() as page, api_of(page, site) as api:
        lost: list[str] = []

        def lose(route: Route) -> None:
            if route.request.method in ("POST", "PATCH") and route.request.method not in lost:
                lost.append(route.request.method)
                route.fetch()
                page.context.set_offline(True)
                route.abort()
            else:
                route.fallback()

        page.route("**/api/tasks**", lose)
        for step in (lambda: write(page, "Once"), lambda: done(page, "Once").click()):
            step()
            waits(page, 1)
            page.context.set_offline(False)
            page.reload()
            expect(task(page, "Once")).to_have_count(1)
            waits(page, 0)
        expect(done(page, "Once")).to_be_checked()
        expect(page.get_by_role("alert").filter(has_text="meanwhile")).to_have_count(0)
        assert len(api.get("/api/tasks").json()) == 1
        assert lost == ["POST", "PATCH"]


@pytest.mark.parametrize("choice", ["Mine", "Theirs"])
def test_what_was_changed_offline_and_elsewhere_is_for_a_person_to_choose(site: Site, choice: str) -> None:
    with installed(site) as page, api_of(page, site) as other:
        add(page, "Draft")
        [seen] = other.get("/api/tasks").json()
        page.context.set_offline(True)
        for title in ("Written", "Written here"):
            page.locator(".title").click()
            page.get_by_label("Title").fill(title)
            page.get_by_role("button", name="Save").click()
            expect(task(page, title)).to_contain_text("not sent yet")
        other.patch(f"/api/tasks/{seen['id']}", json={"title": "Written elsewhere"}).raise_for_status()
        page.reload()
        expect(task(page, "Written here")).to_contain_text("not sent yet")
        page.context.set_offline(False)
        told = page.get_by_role("alert").filter(has_text="title is now “Written elsewhere”")
        expect(told).to_be_visible()
        page.reload()  # the question stays
        expect(told).to_be_visible()
        told.get_by_role("button", name=choice).click()
        title = {"Mine": "Written here", "Theirs": "Written elsewhere"}[choice]
        expect(task(page, title)).to_be_visible()
        expect(told).to_have_count(0)
        waits(page, 0)
        wait_until(lambda: [each["title"] for each in other.get("/api/tasks").json()] == [title])


def test_what_is_typed_survives_a_reload_until_it_is_sent(site: Site) -> None:
    with site.person() as page:
        add(page, "Draft")
        page.get_by_label("New task").fill("Half a task")
        page.get_by_role("button", name="Draft", exact=True).click()
        page.get_by_label("Title").fill("Half an edit")
        page.reload()
        expect(page.get_by_label("New task")).to_have_value("Half a task")
        expect(page.get_by_label("Title")).to_have_value("Half an edit")
        page.get_by_role("button", name="Save").click()
        expect(task(page, "Half an edit")).to_be_visible()
        page.get_by_role("button", name="Add", exact=True).click()
        expect(task(page, "Half a task")).to_be_visible()
        page.get_by_label("New task").fill("Private")
        page.reload()
        expect(page.get_by_label("New task")).to_have_value("Private")
        expect(page.get_by_label("Title")).to_have_count(0)
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert "Private" not in page.evaluate("JSON.stringify(sessionStorage)")


def add_unsent(page: Page, title: str) -> None:
    page.route(LISTS, lambda route: route.abort() if route.request.method == "POST" else route.fallback())
    write(page, title)
    waits(page, 1)


def kept(page: Page) -> Any:
    """Return all that is on disk of the app's users."""
    return page.evaluate("""async () => {
        const answer = (request) => new Promise((resolve) => { request.onsuccess = () => resolve(request.result); });
        const page = await (await caches.match("/", { cacheName: "page" }))?.text() ?? "";
        const store = (await answer(indexedDB.open("keyval-store"))).transaction("keyval").objectStore("keyval");
        return JSON.stringify([...await answer(store.getAll()), ...Object.values(localStorage)]) + page;
    }""")


def test_who_signs_out_leaves_nothing_and_is_out_in_every_tab(site: Site) -> None:
    with installed(site) as page:
        add(page, "Private")
        other = page.context.new_page()
        other.goto(site.everything)
        expect(task(other, "Private")).to_be_visible()
        assert "Private" in kept(page)
        page.get_by_role("button", name="Sign out").click()
        for each in (page, other):
            expect(each.get_by_role("heading", name="Sign in")).to_be_visible()
        wait_until(lambda: kept(page) == "[]")
        page.context.set_offline(True)
        for path in ("/today", "/"):
            page.goto(f"{site.url}{path}")
            expect(page.get_by_text("You are offline, and this page is not on this device.")).to_be_visible()


def test_nobody_sees_what_another_user_has_left(site: Site) -> None:
    with installed(site) as page, site.person() as other:
        add(page, "Of the first")
        add_unsent(page, "Unsent of the first")
        assert "Unsent of the first" in kept(page)
        page.context.clear_cookies()  # the session ends, and nobody signs out
        page.reload()
        page.unroute(LISTS)
        page.get_by_label("E-mail").fill(session_of(other)["user"]["email"])
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_text("Nothing to do today.")).to_be_visible()
        add(page, "Of the second")
        page.wait_for_function("caches.match('/', { cacheName: 'page' })")
        page.context.set_offline(True)
        page.reload()
        expect(page.locator(".title")).to_have_text(["Of the second"])
        assert "of the first" not in kept(page).lower()


def test_whoever_comes_back_finds_what_was_not_sent(site: Site) -> None:
    with site.person() as page:
        email = session_of(page)["user"]["email"]
        add_unsent(page, "Unsent")
        page.context.clear_cookies()
        page.reload()
        page.unroute(LISTS)
        page.get_by_label("E-mail").fill(email)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Today", level=1)).to_be_visible()
        page.goto(site.everything)
        expect(task(page, "Unsent")).to_be_visible()
        waits(page, 0)


def test_a_sign_out_that_would_lose_something_asks_first(site: Site) -> None:
    with site.person() as page:
        add_unsent(page, "Unsent")
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("button", name="Stay").click()
        expect(task(page, "Unsent")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        told = page.get_by_role("alert").filter(has_text="If you sign out now, that is lost.")
        told.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_the_app_is_installable_and_never_keeps_what_may_change(site: Site) -> None:
    with installed(site) as page:
        add(page, "There")
        manifest = page.evaluate("""async () => {
            const { href } = document.querySelector("link[rel=manifest]");
            const manifest = await (await fetch(href)).json();
            const icons = await Promise.all(manifest.icons.map(async ({ src, type }) => {
                const answer = await fetch(src);
                return answer.ok && answer.headers.get("Content-Type") === type;
            }));
            return { ...manifest, icons };
        }""")
        assert manifest["display"] == "standalone"
        assert manifest["icons"] == [True, True, True]
        page.reload()
        expect(task(page, "There")).to_be_visible()
        names = page.evaluate("""async () => (await Promise.all((await caches.keys()).map(async (name) =>
            (await (await caches.open(name)).keys()).map(({ url }) => new URL(url).pathname)))).flat()""")
        assert [name for name in names if not name.startswith("/_next/static/")] == ["/"]
        # The network's page, whatever the copy is.
        page.evaluate("""() => caches.open("page").then((pages) => pages.put("/", new Response("Yesterday's app")))""")
        page.goto(site.everything)
        expect(task(page, "There")).to_be_visible()
