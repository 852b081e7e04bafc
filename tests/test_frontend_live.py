"""The frontend and the change log, in a real browser: undo, what comes from elsewhere, lost connections, histories."""

import re
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.conftest import serving
from tests.frontend import LISTS, Site, add, api_of, assert_accessible, done, held, task
from tests.project import Copy, wait_until

LOST = "Connection lost. Changes will appear when it is back."
CARET = "[document.activeElement.name, document.activeElement.selectionStart, document.activeElement.selectionEnd]"


def offer(page: Page) -> Any:
    """The notice of what was just done."""
    return page.get_by_role("group", name="Undo")


def take_back(page: Page, how: str) -> None:
    if how == "button":
        offer(page).get_by_role("button", name="Undo").click()
    else:
        page.keyboard.press(how)
    expect(offer(page)).to_contain_text("Undone.")


@pytest.mark.parametrize("how", ["button", "Control+z", "Meta+z"])
def test_a_task_that_was_deleted_comes_back_with_all_that_it_had(site: Site, how: str) -> None:
    with site.person() as page, api_of(page, site) as api:
        body = {"title": "Weed", "priority": "high", "tags": ["garden"], "due_date": "2030-01-14T09:00:00+01:00"}
        api.post("/api/tasks", json=body).raise_for_status()
        page.reload()
        [before] = api.get("/api/tasks").json()
        page.get_by_label("Delete Weed").click()
        expect(page.get_by_text("Nothing to do")).to_be_visible()
        expect(offer(page)).to_contain_text("“Weed” was deleted.")
        take_back(page, how)
        expect(task(page, "Weed")).to_contain_text("garden")
        [after] = api.get("/api/tasks").json()
        assert {name for name in before if before[name] != after[name]} == {"version", "updated_at"}
        offer(page).get_by_role("button", name="Close").click()
        expect(offer(page)).to_have_count(0)


@pytest.mark.parametrize("how", ["button", "Control+z"])
def test_a_task_that_was_completed_is_open_again_and_its_next_occurrence_goes(site: Site, how: str) -> None:
    with site.person() as page, api_of(page, site) as api:
        body = {"title": "Rent", "due_date": "2030-01-31T09:00:00+01:00", "recurrence_rule": "FREQ=MONTHLY"}
        api.post("/api/tasks", json=body).raise_for_status()
        page.reload()
        done(page, "Rent").click()
        expect(task(page, "Rent")).to_have_count(2)
        expect(offer(page)).to_contain_text("“Rent” was completed.")
        take_back(page, how)
        expect(task(page, "Rent")).to_have_count(1)
        expect(done(page, "Rent")).not_to_be_checked()
        [now] = api.get("/api/tasks").json()
        assert (now["status"], now["due_date"]) == ("pending", "2030-01-31T08:00:00+00:00")


def test_all_that_were_deleted_at_once_come_back_at_once(site: Site) -> None:
    with site.person() as page, api_of(page, site) as api:
        for number in range(3):
            body = {"title": f"Done {number}", "status": "completed"}
            api.post("/api/tasks", json=body).raise_for_status()
        page.get_by_role("link", name="Completed").click()
        for how in ("button", "Control+z"):
            page.get_by_role("button", name="Delete completed").click()
            page.get_by_role("button", name="Delete", exact=True).click()
            expect(page.get_by_text("Nothing is completed yet.")).to_be_visible()
            expect(offer(page)).to_contain_text("3 completed tasks were deleted.")
            take_back(page, how)
            expect(page.locator(".title")).to_have_text(["Done 2", "Done 1", "Done 0"])


def test_in_a_text_field_ctrl_z_belongs_to_the_text(site: Site) -> None:
    with site.person() as page, api_of(page, site) as api:
        add(page, "Deleted")
        page.get_by_label("Delete Deleted").click()
        expect(offer(page)).to_be_visible()
        page.get_by_label("New task").click()
        page.keyboard.type("Milk")
        page.keyboard.press("Control+z")
        expect(page.get_by_label("New task")).not_to_have_value("Milk")
        expect(offer(page)).to_contain_text("“Deleted” was deleted.")
        assert api.get("/api/tasks").json() == []


def test_what_was_changed_since_is_not_undone_and_the_notice_says_so(site: Site) -> None:
    with site.person() as page, api_of(page, site) as other:
        add(page, "Shared")
        done(page, "Shared").click()
        expect(offer(page)).to_contain_text("“Shared” was completed.")
        [seen] = other.get("/api/tasks").json()
        other.patch(f"/api/tasks/{seen['id']}", json={"priority": "high"}).raise_for_status()
        offer(page).get_by_role("button", name="Undo").click()
        expect(offer(page)).to_contain_text("Something has changed since then. Nothing was undone.")
        assert_accessible(page, site)
        [now] = other.get("/api/tasks").json()
        assert (now["status"], now["priority"]) == ("completed", "high")
        offer(page).get_by_role("button", name="Close").click()
        expect(offer(page)).to_have_count(0)


def test_an_undo_that_got_no_answer_can_be_tried_again(site: Site) -> None:
    with site.person() as page:
        add(page, "Deleted")
        page.get_by_label("Delete Deleted").click()
        page.route("**/undo", lambda route: (route.fetch(), route.abort()), times=1)
        offer(page).get_by_role("button", name="Undo").click()
        expect(offer(page)).to_contain_text("Not undone. The server cannot be reached.")
        offer(page).get_by_role("button", name="Try again").click()
        expect(offer(page)).to_contain_text("Undone.")
        expect(task(page, "Deleted")).to_have_count(1)


def test_only_the_newest_can_be_undone_for_eight_seconds_or_while_it_is_looked_at(site: Site) -> None:
    with site.person() as page:
        for title in ("First", "Second"):
            add(page, title)
        page.clock.install()
        for title in ("First", "Second"):
            page.get_by_label(f"Delete {title}").click()
            expect(offer(page)).to_have_text(re.compile(f"“{title}” was deleted."))
        page.clock.fast_forward(7000)
        expect(offer(page)).to_be_visible()
        offer(page).get_by_role("button", name="Undo").focus()
        page.clock.fast_forward(60_000)
        expect(offer(page)).to_be_visible()
        page.get_by_role("link", name="Tags").focus()
        offer(page).hover()
        page.clock.fast_forward(60_000)
        expect(offer(page)).to_be_visible()
        page.mouse.move(0, 0)
        page.clock.fast_forward(8000)
        expect(offer(page)).to_have_count(0)
        page.keyboard.press("Control+z")
        expect(page.get_by_text("Nothing to do")).to_be_visible()


def test_the_notice_gives_the_focus_back(site: Site) -> None:
    with site.person() as page:
        add(page, "Deleted")
        page.get_by_label("Delete Deleted").click()
        page.get_by_role("link", name="Tags").focus()
        offer(page).get_by_role("button", name="Undo").focus()
        page.keyboard.press("Enter")
        expect(offer(page)).to_contain_text("Undone.")
        expect(offer(page).get_by_role("button", name="Close")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("link", name="Tags")).to_be_focused()


def change(api: Any, title: str, body: dict[str, Any]) -> None:
    """Change the task with this title, as another program."""
    [seen] = [each for each in api.get("/api/tasks").json() if each["title"] == title]
    api.patch(f"/api/tasks/{seen['id']}", json=body).raise_for_status()


def requests(page: Page) -> list[Request]:
    """The requests to the API that the page makes from now on, in a list that grows."""
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request) if "/api/auth/" not in request.url else None)
    return sent


def lists(sent: list[Request]) -> list[str]:
    return [request.url for request in sent if request.method == "GET" and LISTS.search(request.url)]


def streams(sent: list[Request]) -> list[Request]:
    return [request for request in sent if request.method == "GET" and request.url.endswith("/api/events")]


def test_what_is_done_in_one_browser_appears_in_the_other_and_leaves_alone_what_is_typed_there(site: Site) -> None:
    with site.person() as page:
        for title in ("Below", "Draft", "Above", "Gone"):
            add(page, title)
        with site.another_browser_of(page) as other:
            page.evaluate("window.isSamePage = true")
            page.get_by_role("button", name="Draft", exact=True).click()
            page.get_by_label("Title").fill("Half a sentence")
            for _ in range(9):
                page.keyboard.press("ArrowLeft")
            caret = page.evaluate(CARET)
            assert caret == ["title", 6, 6]
            add(other, "New")
            expect(task(page, "New")).to_be_visible()
            done(other, "Below").click()
            expect(done(page, "Below")).to_be_checked()
            other.get_by_label("Delete Gone").click()
            expect(task(page, "Gone")).to_have_count(0)
            other.get_by_role("button", name="Draft", exact=True).click()
            other.get_by_label("Description").nth(1).fill("Written elsewhere")
            other.get_by_role("button", name="Save").click()
            other.get_by_role("button", name="Above", exact=True).click()
            other.get_by_label("Title").fill("Last")
            other.get_by_role("button", name="Save").click()
            expect(task(page, "Last")).to_be_visible()
            assert page.evaluate(CARET) == caret
            page.keyboard.type(" new")
            expect(page.get_by_label("Title")).to_have_value("Half a new sentence")
            page.keyboard.press("Enter")
            expect(page.get_by_text("description is now “Written elsewhere”")).to_be_visible()
            page.get_by_role("button", name="Keep mine").click()
            expect(task(other, "Half a new sentence")).to_contain_text("Written elsewhere")
            assert page.evaluate("window.isSamePage")


def test_a_form_stays_where_it_is_when_its_task_leaves_the_list(site: Site) -> None:
    with site.person() as page, api_of(page, site) as other:
        for title in ("Below", "Draft", "Above"):
            add(page, title)
        page.get_by_label("Completed too").uncheck()
        page.get_by_role("button", name="Draft", exact=True).click()
        page.get_by_label("Title").fill("Half a sentence")
        change(other, "Draft", {"status": "completed"})
        change(other, "Above", {"title": "First"})
        expect(page.locator(".title")).to_have_text(["First", "Below"])
        expect(page.locator(".tasks > li").nth(1).get_by_label("Title")).to_have_value("Half a sentence")
        expect(page.get_by_label("Title")).to_be_focused()


def test_a_change_of_one_s_own_that_comes_back_as_an_event_has_nothing_fetched_twice(site: Site) -> None:
    with site.person() as page, api_of(page, site) as other:
        add(page, "Own")
        change(other, "Own", {"title": "Renamed"})  # in place: needs no list
        expect(task(page, "Renamed")).to_be_visible()
        sent = requests(page)
        done(page, "Renamed").click()
        while not lists(sent):
            page.wait_for_timeout(20)
        change(other, "Renamed", {"title": "Renamed again"})
        expect(task(page, "Renamed again")).to_be_visible()
        assert len(lists(sent)) == 1


def test_only_a_list_that_may_have_it_elsewhere_is_fetched_after_a_change(site: Site) -> None:
    with site.person() as page, api_of(page, site) as other:
        for title in ("B", "A"):
            other.post("/api/tasks", json={"title": title}).raise_for_status()
        page.goto(f"{site.everything}&sort=title")
        expect(page.locator(".title")).to_have_text(["A", "B"])
        sent = requests(page)
        change(other, "A", {"priority": "high"})
        expect(task(page, "A")).to_contain_text("high priority")
        assert lists(sent) == []
        change(other, "A", {"title": "C"})
        expect(page.locator(".title")).to_have_text(["B", "C"])
        assert {urlsplit(url).query for url in lists(sent)} == {"sort=title&limit=50"}


def test_an_api_that_is_killed_is_told_of_and_what_happened_meanwhile_appears_without_fetching_all(
    stopped_site: Site, copy: Copy
) -> None:
    site = stopped_site
    environment = {
        "DATABASE_URL": site.database_url,
        "BETTER_AUTH_URL": site.url,
        "CORS_ORIGINS": site.url,
        "ENVIRONMENT": "staging",
        "MIGRATE_ON_START": "true",
    }
    with ExitStack() as stack:

        def api() -> Any:
            process = copy.start("main.py", "--port", str(site.api_port), **environment)
            stack.callback(process.communicate)
            stack.callback(process.kill)
            return process

        process = api()
        page = stack.enter_context(site.person())
        for title in ("Gone", "Draft", "Edited"):
            add(page, title)
        page.get_by_role("button", name="Edited", exact=True).click()
        page.get_by_label("Title").fill("Half a sentence")
        page.evaluate("window.isSamePage = true")
        sent = requests(page)
        process.kill()
        expect(page.get_by_text(LOST)).to_be_visible()
        assert_accessible(page, site)
        with serving(site.configuration) as url, api_of(page, site, url) as other:
            change(other, "Draft", {"title": "Changed meanwhile", "priority": "high"})
            [gone] = other.get("/api/tasks", params={"q": "Gone"}).json()
            other.delete(f"/api/tasks/{gone['id']}").raise_for_status()
        api()
        expect(task(page, "Changed meanwhile")).to_contain_text("high priority")
        expect(page.get_by_text(LOST)).to_have_count(0)
        expect(page.locator(".title")).to_have_text(["Changed meanwhile"])
        expect(page.get_by_label("Title")).to_have_value("Half a sentence")
        expect(page.get_by_label("Title")).to_be_focused()
        assert page.evaluate("window.isSamePage")
        assert lists(sent) == []


def test_a_list_does_not_wait_for_the_stream_and_nothing_between_the_two_is_missed(site: Site) -> None:
    with site.person() as page, api_of(page, site) as api:
        page.goto("about:blank")
        api.post("/api/tasks", json={"title": "Before"}).raise_for_status()
        opened = held(page, re.compile("/api/events"), "GET")
        page.goto(site.everything)
        open_it = opened()
        expect(task(page, "Before")).to_be_visible()
        api.post("/api/tasks", json={"title": "Between"}).raise_for_status()
        open_it()
        expect(task(page, "Between")).to_be_visible()


def test_a_browser_that_is_online_again_catches_up_at_once(site: Site) -> None:
    with site.person() as page, api_of(page, site) as other:
        add(page, "There")
        page.context.set_offline(True)
        expect(page.get_by_text(LOST)).to_be_visible()
        other.post("/api/tasks", json={"title": "Made meanwhile"}).raise_for_status()
        page.context.set_offline(False)
        expect(page.locator(".title")).to_have_text(["Made meanwhile", "There"])
        expect(page.get_by_text(LOST)).to_have_count(0)


@pytest.mark.parametrize("last", ["shown", "never there"])
def test_a_stream_that_ends_goes_on_and_what_is_not_kept_is_fetched_anew(site: Site, last: str) -> None:
    with site.person() as page, api_of(page, site) as other:
        add(page, "There")
        made = other.post("/api/tasks", json={"title": "Made meanwhile"})
        made.raise_for_status()
        seq = int(made.headers["Change"]) if last == "shown" else 10**9

        def end(route: Route) -> None:
            events = f'id: {seq}\nevent: change\ndata: {{"seq": {seq}, "changes": []}}\n\n'
            ending = 'event: end\ndata: {"reason": "token_expired"}\n\n'
            headers = {"Content-Type": "text/event-stream", "Access-Control-Allow-Origin": site.url}
            route.fulfill(status=200, headers=headers, body=events + ending)

        page.route("**/api/events", end, times=1)
        sent = requests(page)
        page.reload()
        expect(page.locator(".title")).to_have_text(["Made meanwhile", "There"])
        expected = [None, str(seq)] if last == "shown" else [None, str(seq), None]
        while len(streams(sent)) < len(expected):
            page.wait_for_timeout(20)
        assert [request.headers.get("last-event-id") for request in streams(sent)] == expected
        change(other, "There", {"title": "Changed"})
        expect(task(page, "Changed")).to_be_visible()


def test_a_page_that_is_hidden_or_left_has_no_stream_open(site: Site) -> None:
    with site.person() as page, api_of(page, site) as other:
        add(page, "There")

        def open_streams() -> float:
            [line] = [each for each in other.get("/metrics").text.splitlines() if each.startswith("event_streams_open")]
            return float(line.split()[-1])

        def show(hidden: str) -> None:
            page.evaluate(f"Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }})")
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

        wait_until(lambda: open_streams() == 1)
        show("true")
        wait_until(lambda: open_streams() == 0)
        change(other, "There", {"title": "Changed"})
        show("false")
        expect(task(page, "Changed")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        wait_until(lambda: open_streams() == 0)


def task_history(page: Page) -> Any:
    return page.get_by_role("group").filter(has_text="History")


def test_a_task_has_its_history_in_people_s_words(site: Site) -> None:
    with site.person() as page, api_of(page, site) as api:
        body = {"title": "Rent", "due_date": "2030-01-31T09:00:00+01:00", "tags": ["money"]}
        made = api.post("/api/tasks", json=body)
        path = f"/api/tasks/{made.json()['id']}"
        for values in (
            {"title": "Pay the rent", "due_date": "2030-01-30T09:00:00+01:00"},
            {"tags": [], "description": "To the new account"},
            {"recurrence_rule": "FREQ=MONTHLY", "priority": "high"},
            {"status": "in_progress"},
            {"status": "completed"},
        ):
            answer = api.patch(path, json=values)
            answer.raise_for_status()
        api.post(f"/api/changes/{answer.headers['Change']}/undo").raise_for_status()
        deleted = api.delete(path)
        api.post(f"/api/changes/{deleted.headers['Change']}/undo").raise_for_status()
        page.reload()
        sent = requests(page)
        page.get_by_role("button", name="Pay the rent", exact=True).click()
        history = task_history(page)
        assert not [request for request in sent if "history" in request.url]
        history.get_by_text("History").click()
        expect(history.locator("li > span")).to_have_text(
            [
                "Restored (undone)",
                "Deleted",
                "Reopened (undone)",
                "Completed",
                "Status changed from “to do” to “in progress”",
                "Priority changed from “medium” to “high”, recurrence set to “every month”",
                "Description set to “To the new account”, tags removed",
                "Title changed from “Rent” to “Pay the rent”, "
                "due date changed from “31 Jan 2030, 09:00” to “30 Jan 2030, 09:00”",
                "Created",
            ]
        )
        expect(history.locator("small").first).to_have_text(re.compile(r"^today, \d\d:\d\d$"))
        assert_accessible(page, site)


def test_a_long_history_is_shown_in_parts_and_goes_on_by_itself(site: Site) -> None:
    with site.person() as page, api_of(page, site) as api:
        add(page, "Draft")
        [made] = api.get("/api/tasks").json()
        for number in range(12):
            api.patch(f"/api/tasks/{made['id']}", json={"description": str(number)}).raise_for_status()
        page.get_by_role("button", name="Draft", exact=True).click()
        page.get_by_text("History").press("Enter")
        entries = task_history(page).get_by_role("listitem")
        expect(entries).to_have_count(10)
        page.get_by_role("button", name="Show more").press("Enter")
        expect(entries).to_have_count(13)
        expect(entries.last).to_contain_text("Created")
        expect(page.get_by_role("button", name="Show more")).to_have_count(0)
        api.patch(f"/api/tasks/{made['id']}", json={"priority": "high"}).raise_for_status()
        expect(entries.first).to_contain_text("Priority changed from “medium” to “high”")


def test_a_history_says_who_acted_for_the_user(site: Site) -> None:
    with site.person() as page:
        add(page, "Draft")

        def by_support(route: Route) -> None:
            answer = route.fetch()
            route.fulfill(response=answer, json=[{**entry, "by": "support-7"} for entry in answer.json()])

        page.route("**/history*", by_support)
        page.get_by_role("button", name="Draft", exact=True).click()
        page.get_by_text("History").click()
        expect(task_history(page).get_by_role("listitem")).to_contain_text("by support-7")
