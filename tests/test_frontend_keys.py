"""The keys, several tasks at once, and what is heard: all that needs no mouse, and what needs only a thumb."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from playwright.sync_api import Page, expect

from tests.frontend import LISTS, PHONE, Site, add, api_of, assert_accessible, done, task

TITLES = ["One", "Two", "Three", "Four"]


@contextmanager
def four(site: Site, **options: Any) -> Iterator[tuple[Page, httpx.Client]]:
    """Yield the page of somebody with four tasks, the fourth the newest and so the first, and the API."""
    with site.person(**options) as page, api_of(page, site) as api:
        for title in TITLES:
            api.post("/api/tasks", json={"title": title, "tags": ["old"]}).raise_for_status()
        page.reload()
        expect(page.locator(".title")).to_have_text(TITLES[::-1])
        yield page, api


def title(page: Page, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)


def seen(api: httpx.Client, name: str) -> Any:
    """Return the task of this title as the API has it."""
    [found] = [each for each in api.get("/api/tasks").json() if each["title"] == name]
    return found


def heard(page: Page, words: str) -> None:
    """Wait until a live region says this."""
    expect(page.get_by_role("status").filter(has_text=words)).to_have_count(1)


def test_arrows_and_letters_lead_through_the_list_to_which_tab_leads_once(site: Site) -> None:
    with four(site) as (page, _):
        keys = page.keyboard
        keys.press("j")
        expect(title(page, "Four")).to_be_focused()
        keys.press("ArrowDown")
        keys.press("j")
        expect(title(page, "Two")).to_be_focused()
        keys.press("k")
        keys.press("ArrowUp")
        expect(title(page, "Four")).to_be_focused()
        keys.press("j")
        page.get_by_label("Sort").focus()
        keys.press("Tab")  # priority
        keys.press("Tab")  # completed too
        keys.press("Tab")
        expect(done(page, "Three")).to_be_focused()  # where the focus was last
        for _ in range(3):
            keys.press("Tab")
        assert page.evaluate("document.activeElement.closest('.task')") is None
        title(page, "One").focus()
        keys.press("j")
        expect(title(page, "One")).to_be_focused()
        keys.press("Enter")
        expect(page.get_by_label("Title")).to_be_focused()


def test_a_task_is_completed_ranked_and_deleted_by_a_key(site: Site) -> None:
    with four(site) as (page, api):
        keys = page.keyboard
        title(page, "Three").focus()
        keys.press("e")
        expect(done(page, "Three")).to_be_checked()
        keys.press("e")
        expect(done(page, "Three")).not_to_be_checked()
        heard(page, "“Three” was reopened.")
        keys.press("1")
        expect(task(page, "Three")).to_contain_text("high priority")
        expect(title(page, "Three")).to_be_focused()
        keys.press("3")
        expect(task(page, "Three")).to_contain_text("low priority")
        keys.press("2")
        expect(task(page, "Three")).not_to_contain_text("priority")
        keys.press("Delete")
        expect(task(page, "Three")).to_have_count(0)
        expect(page.get_by_text("“Three” was deleted.")).to_be_visible()
        expect(title(page, "Two")).to_be_focused()
        assert seen(api, "Two")["priority"] == "medium"


def test_a_day_and_tags_are_asked_for_by_a_key(site: Site) -> None:
    with four(site) as (page, api):
        keys = page.keyboard
        api.patch(f"/api/tasks?id={seen(api, 'Two')['id']}", json={"due_date": "2030-01-31T08:00:00Z"})
        expect(task(page, "Two")).to_contain_text("09:00")
        title(page, "Two").focus()
        keys.press("d")
        expect(page.get_by_label("Move to")).to_be_focused()
        page.get_by_label("Move to").fill("2030-07-01")
        keys.press("Enter")
        expect(task(page, "Two")).to_contain_text("1 Jul 2030, 09:00")  # its hour stays
        expect(title(page, "Two")).to_be_focused()
        keys.press("t")
        expect(page.get_by_label("Add tags")).to_be_focused()
        keys.type("new, old")
        keys.press("Enter")
        expect(task(page, "Two").locator(".tag")).to_have_text(["old", "new"])
        assert seen(api, "Two")["due_date"] == "2030-07-01T07:00:00+00:00"
        keys.press("t")
        keys.press("Escape")
        expect(page.get_by_role("form", name="Selected")).to_have_count(0)
        expect(title(page, "Two")).to_be_focused()


def test_no_key_acts_while_text_is_typed_or_with_another_key(site: Site) -> None:
    with four(site) as (page, api):
        page.get_by_label("New task").click()
        page.keyboard.type("jex123?n/")
        expect(page.get_by_label("New task")).to_have_value("jex123?n/")
        page.keyboard.press("Escape")
        expect(page.get_by_label("New task")).not_to_be_focused()
        expect(page.get_by_label("New task")).to_have_value("jex123?n/")
        title(page, "Two").focus()
        for key in ("Control+e", "Alt+1", "Shift+e", "Meta+x", "Control+Delete"):
            page.keyboard.press(key)
        page.keyboard.press("x")
        expect(page.get_by_text("1 selected")).to_be_visible()
        assert {each["version"] for each in api.get("/api/tasks").json()} == {1}


def test_several_are_changed_completed_and_deleted_each_in_one_request_that_can_be_undone(site: Site) -> None:
    with four(site) as (page, api):
        sent: list[str] = []
        page.on("request", lambda it: sent.append(it.method) if it.method in ("PATCH", "DELETE") else None)
        keys = page.keyboard

        def pick() -> None:
            title(page, "Three").focus()
            keys.press("x")
            keys.press("j")
            keys.press("x")
            expect(page.get_by_text("2 selected")).to_be_visible()

        pick()
        assert_accessible(page, site)
        page.get_by_label("Move to").fill("2030-01-31")
        page.get_by_label("Add tags").fill("trip")
        page.get_by_label("Set priority").select_option("High")
        page.get_by_role("button", name="Change").click()
        expect(page.get_by_text("2 tasks were changed.")).to_be_visible()
        for name in ("Three", "Two"):
            now = seen(api, name)
            assert (now["due_date"], now["time_zone"]) == ("2030-01-31", "Europe/Berlin")
            assert (now["tags"], now["priority"]) == (["old", "trip"], "high")
        assert seen(api, "One")["version"] == 1
        page.get_by_role("button", name="Undo").click()
        expect(page.locator(".high")).to_have_count(0)
        pick()
        keys.press("e")
        expect(page.get_by_text("2 tasks were completed.")).to_be_visible()
        expect(done(page, "Two")).to_be_checked()
        keys.press("Control+z")
        expect(done(page, "Two")).not_to_be_checked()
        pick()
        keys.press("Delete")
        expect(page.get_by_text("2 tasks were deleted.")).to_be_visible()
        expect(page.locator(".title")).to_have_text(["Four", "One"])
        keys.press("Control+z")
        expect(page.locator(".title")).to_have_text(TITLES[::-1])
        assert sent == ["PATCH", "PATCH", "DELETE"]


def test_several_are_selected_by_hand(site: Site) -> None:
    with four(site, **PHONE) as (page, api):
        page.get_by_role("button", name="Select", exact=True).tap()
        task(page, "Three").tap()
        page.get_by_label("Select Two").tap()
        task(page, "Three").tap()
        expect(page.get_by_text("1 selected")).to_be_visible()
        page.get_by_role("button", name="All", exact=True).tap()
        expect(page.get_by_text("4 selected")).to_be_visible()
        assert_accessible(page, site)
        width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1]
        page.get_by_role("button", name="Complete", exact=True).tap()
        expect(page.get_by_text("4 tasks were completed.")).to_be_visible()
        assert {each["status"] for each in api.get("/api/tasks").json()} == {"completed"}
        page.get_by_role("button", name="Select", exact=True).tap()
        page.get_by_role("button", name="Select none").tap()
        expect(done(page, "Two")).to_be_checked()


def test_what_cannot_be_done_with_several_is_said_and_can_be_closed(site: Site) -> None:
    with four(site) as (page, api):
        title(page, "Two").focus()
        page.route(LISTS, lambda it: it.abort() if it.request.method == "DELETE" else it.fallback())
        page.keyboard.press("x")
        page.keyboard.press("Delete")
        problem = page.get_by_role("alert").filter(has_text="cannot be reached")
        expect(problem).to_be_visible()
        expect(page.get_by_text("1 selected")).to_be_visible()
        problem.get_by_role("button", name="Close").click()
        expect(problem).to_have_count(0)
        assert len(api.get("/api/tasks").json()) == 4


def test_all_keys_are_shown(site: Site) -> None:
    with four(site) as (page, _):
        title(page, "Two").focus()
        page.keyboard.press("?")
        dialog = page.get_by_role("dialog", name="Keys")
        expect(dialog).to_contain_text("High, medium or low priority")
        assert_accessible(page, site)
        page.keyboard.press("e")  # belongs to the dialog
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        expect(title(page, "Two")).to_be_focused()
        expect(done(page, "Two")).not_to_be_checked()
        page.get_by_role("button", name="all keys").click()
        expect(dialog).to_be_visible()


def test_a_command_a_view_and_a_task_are_found(site: Site) -> None:
    with four(site) as (page, api):
        refused: list[str] = []
        page.on("console", lambda it: refused.append(it.text) if "Content Security" in it.text else None)
        api.post("/api/tasks", json={"title": "Éclair & more", "status": "completed"}).raise_for_status()
        field = page.get_by_role("combobox", name="Find")

        def find(words: str) -> None:
            page.keyboard.press("Control+k")
            expect(field).to_be_focused()
            field.fill(words)

        find("upco")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Upcoming", exact=True)).to_be_visible()
        find("old")
        expect(page.get_by_role("option", name="#old")).to_be_visible()
        assert_accessible(page, site)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="old", exact=True)).to_be_visible()
        find("eclair")
        page.get_by_role("option", name="Éclair & more").click()
        expect(page.locator(".title")).to_have_text(["Éclair & more"])
        find("new ta")
        page.keyboard.press("Enter")
        expect(page.get_by_label("New task")).to_be_focused()
        page.keyboard.press("Control+k")  # also while text is typed
        expect(field).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.get_by_label("New task")).to_be_focused()
        assert refused == []


def test_on_a_phone_the_first_task_is_high_up_and_the_filters_are_behind_a_button(site: Site) -> None:
    with four(site, **PHONE) as (page, _):
        page.goto(f"{site.url}/all")
        expect(page.locator(".title")).to_have_count(4)
        box = page.locator(".task").first.bounding_box()
        assert box
        assert box["y"] < 260
        expect(page.get_by_label("Search")).to_be_hidden()
        page.get_by_role("button", name="Filter").tap()
        page.get_by_label("Search").fill("Tw")
        expect(page.locator(".title")).to_have_text(["Two"])
        page.reload()
        expect(page.get_by_label("Search")).to_be_visible()  # what hides tasks is not hidden


def test_what_was_typed_before_escape_is_kept(site: Site) -> None:
    with four(site) as (page, api):
        title(page, "Two").focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Escape")  # nothing was typed: nothing is said
        expect(page.get_by_text("What you typed is not saved yet.")).to_have_count(0)
        page.keyboard.press("Enter")
        page.get_by_label("Title").fill("Two and a half")
        page.locator("li form").get_by_label("Due on").fill("2030-01-31")
        page.keyboard.press("Escape")
        expect(page.get_by_text("What you typed is not saved yet.")).to_be_visible()
        expect(title(page, "Two")).to_be_focused()
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_label("Title")).to_have_value("Two and a half")
        expect(page.locator("li form").get_by_label("Due on")).to_have_value("2030-01-31")
        page.get_by_role("button", name="Save").click()
        expect(task(page, "Two and a half")).to_contain_text("31 Jan 2030")
        assert seen(api, "Two and a half")["due_date"] == "2030-01-31"
        title(page, "One").click()
        page.get_by_label("Title").fill("Nothing")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Discard").click()
        title(page, "One").click()
        expect(page.get_by_label("Title")).to_have_value("One")


def test_a_conflict_comes_into_view_and_has_the_focus(site: Site) -> None:
    with four(site, viewport={"width": 900, "height": 500}) as (page, api):
        title(page, "Two").click()
        page.get_by_label("Title").fill("Mine")
        api.patch(f"/api/tasks/{seen(api, 'Two')['id']}", json={"title": "Theirs"}).raise_for_status()
        page.get_by_label("Title").press("Enter")
        question = page.get_by_role("alert").filter(has_text="Which one shall it be?")
        expect(question).to_be_focused()
        expect(question.get_by_role("button", name="Keep mine")).to_be_in_viewport(ratio=1)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(title(page, "Theirs")).to_be_focused()


def test_what_is_done_and_found_is_heard(site: Site) -> None:
    with four(site) as (page, _):
        add(page, "Five")
        heard(page, "“Five” was added.")
        page.get_by_label("Search").fill("t")
        heard(page, "2 tasks found.")
        page.get_by_label("Search").fill("two")
        heard(page, "1 task found.")
        page.get_by_label("Search").fill("nothing like it")
        heard(page, "0 tasks found.")
        page.get_by_label("Search").fill("")
        done(page, "Two").click()
        heard(page, "“Two” was completed.")
        page.get_by_label("Delete One").click()
        heard(page, "“One” was deleted.")


def test_only_completed_tasks_can_be_deleted_as_such(site: Site) -> None:
    with four(site) as (page, _):
        page.get_by_role("link", name="Completed").click()
        expect(page.get_by_text("Nothing is completed yet.")).to_be_visible()
        expect(page.get_by_role("button", name="Delete completed")).to_have_count(0)
        page.go_back()
        done(page, "Two").click()
        page.get_by_role("link", name="Completed").click()
        expect(page.get_by_role("button", name="Delete completed")).to_be_visible()


def test_a_problem_is_said_in_words_of_people_and_can_be_closed(site: Site) -> None:
    with four(site) as (page, _):

        def refuse(route: Any) -> None:
            detail = "recurrence_rule needs a due_date beside it."
            route.fulfill(status=422, json={"detail": detail, "code": "VALIDATION_ERROR"})

        page.route("**/api/tasks/*", refuse)
        done(page, "Two").click()
        problem = page.get_by_role("alert").filter(has_text="Recurrence needs a due date beside it.")
        expect(problem).to_be_visible()
        problem.get_by_role("button", name="Close").click()
        expect(problem).to_have_count(0)
        expect(page.get_by_text(re.compile("[a-z]_[a-z]"))).to_have_count(0)
