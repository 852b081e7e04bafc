"""The frontend and the change log, in a real browser: undo, what comes from elsewhere, lost connections, histories."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.frontend import Site, add, api_of, assert_accessible, done, task


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
        page.reload()
        for how in ("button", "Control+z"):
            page.get_by_role("button", name="Delete completed").click()
            page.get_by_role("button", name="Delete", exact=True).click()
            expect(page.get_by_text("Nothing to do")).to_be_visible()
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
        page.get_by_role("button", name="Delete completed").focus()
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
        page.get_by_role("button", name="Delete completed").focus()
        offer(page).get_by_role("button", name="Undo").focus()
        page.keyboard.press("Enter")
        expect(offer(page)).to_contain_text("Undone.")
        expect(offer(page).get_by_role("button", name="Close")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Delete completed")).to_be_focused()
