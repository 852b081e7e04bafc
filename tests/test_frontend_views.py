"""The views: which tasks are in which, in the reader's own days, at addresses that can be kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from playwright.sync_api import Page, expect

from tests.frontend import Site, add, api_of, done, task

NOON = "2031-03-29T11:00:00Z"  # a Saturday at noon in Berlin, on the day before its clocks are put forward
DUE: dict[str, Any] = {
    "Late": "2031-03-28T09:00:00+01:00",
    "Late day": "2031-03-28",
    "Before breakfast": "2031-03-29T07:00:00+01:00",
    "Today": "2031-03-29",
    "Last minute": "2031-03-29T23:59:00+01:00",
    "Midnight": "2031-03-30T00:00:00+01:00",
    "Tomorrow": "2031-03-30",
    "In two weeks": "2031-04-13",
    "Whenever": None,
}


@contextmanager
def at_noon(site: Site) -> Iterator[tuple[Page, httpx.Client]]:
    """Yield the page of somebody whose browser has that noon, and the API, where they have these tasks."""
    with site.person() as page, api_of(page, site) as api:
        for title, due in DUE.items():
            # The last has no zone: its day ends in UTC, and is the reader's all the same.
            zone = None if title in ("Tomorrow", "Late day") else "Europe/Berlin"
            api.post("/api/tasks", json={"title": title, "due_date": due, "time_zone": zone}).raise_for_status()
        page.clock.set_fixed_time(NOON)
        page.goto(f"{site.url}/today")
        yield page, api


def shown(page: Page) -> Any:
    """Return the headings and titles of a list."""
    return page.locator(".tasks h2, .title")


def test_today_has_what_is_overdue_and_then_what_is_due_today(site: Site) -> None:
    with at_noon(site) as (page, _):
        expected = ["Overdue", "Late", "Late day", "Today", "Before breakfast", "Last minute", "Today"]
        expect(shown(page)).to_have_text(expected)
        expect(page.locator(".late")).to_have_count(3)
        expect(page.get_by_role("link", name="Today")).to_have_attribute("aria-current", "page")


def test_upcoming_goes_by_days(site: Site) -> None:
    with at_noon(site) as (page, _):
        page.get_by_role("link", name="Upcoming").click()
        expect(shown(page)).to_have_text(
            [
                "Today · 29 March",
                *("Before breakfast", "Last minute", "Today"),
                "Tomorrow · 30 March",
                *("Midnight", "Tomorrow"),
                "Sunday, 13 April 2031",
                "In two weeks",
            ]
        )


def test_at_midnight_today_is_another_day(site: Site) -> None:
    with at_noon(site) as (page, _):
        expect(shown(page)).to_have_count(7)
        page.clock.set_fixed_time("2031-03-29T23:00:30Z")
        page.evaluate("dispatchEvent(new Event('focus'))")
        expect(shown(page).last).to_have_text("Tomorrow")
        expect(page.get_by_role("heading", name="Today")).to_have_count(2)


def test_what_is_added_in_a_view_is_in_it(site: Site) -> None:
    with at_noon(site) as (page, api):
        add(page, "New")
        [made] = api.get("/api/tasks?q=New").json()
        assert (made["due_date"], made["time_zone"]) == ("2031-03-29", "Europe/Berlin")
        api.patch(f"/api/tasks/{made['id']}", json={"tags": ["home"]}).raise_for_status()
        page.get_by_role("link", name="home").click()
        expect(task(page, "New")).to_be_visible()
        add(page, "At home")
        [made] = api.get("/api/tasks?q=home").json()
        assert (made["due_date"], made["tags"]) == (None, ["home"])


def test_a_completed_task_is_where_completed_ones_are(site: Site) -> None:
    with at_noon(site) as (page, _):
        done(page, "Late").click()
        expect(task(page, "Late")).to_have_count(0)
        page.get_by_role("link", name="Completed").click()
        expect(page.locator(".title")).to_have_text(["Late"])
        expect(page.get_by_label("New task")).to_have_count(0)


def test_an_address_leads_to_its_view_and_back_to_the_one_before(site: Site) -> None:
    with at_noon(site) as (page, api):
        api.post("/api/tasks", json={"title": "Odd", "tags": ["a/b & ü"]}).raise_for_status()
        page.goto(f"{site.url}/tags/a%2Fb%20%26%20%C3%BC")
        expect(page.get_by_role("heading", name="a/b & ü")).to_be_visible()
        expect(page.locator(".title")).to_have_text(["Odd"])
        page.get_by_role("link", name="All", exact=True).click()
        expect(page.locator(".title")).to_have_count(10)
        page.go_back()
        expect(page.locator(".title")).to_have_text(["Odd"])
        assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
        answer = page.goto(f"{site.url}/tomorrow")
        assert answer
        assert answer.status == 404


def test_who_asks_for_the_view_that_is_there_keeps_what_it_shows(site: Site) -> None:
    with at_noon(site) as (page, _):
        done(page, "Late").click()
        page.goto(site.everything)
        expect(page.locator(".title")).to_have_count(9)
        page.get_by_role("link", name="All", exact=True).click()
        expect(page.get_by_label("Completed too")).to_be_checked()
        expect(page.locator(".title")).to_have_count(9)
        page.get_by_label("Completed too").uncheck()
        expect(page.locator(".title")).to_have_count(8)


def test_a_day_alone_and_a_day_with_an_hour_can_be_chosen(site: Site) -> None:
    with at_noon(site) as (page, api):
        page.get_by_role("link", name="All", exact=True).click()
        page.get_by_role("button", name="Whenever", exact=True).click()
        form = page.locator("li form")
        form.get_by_label("Due on").fill("2031-05-31")
        form.get_by_label("Repeats").select_option("every month")
        form.get_by_role("button", name="Save").click()
        expect(task(page, "Whenever")).to_contain_text("due 31 May")
        [seen] = api.get("/api/tasks?q=Whenever").json()
        said = ("2031-05-31", "Europe/Berlin", "FREQ=MONTHLY;SKIP=BACKWARD")
        assert (seen["due_date"], seen["time_zone"], seen["recurrence_rule"]) == said
        page.get_by_role("button", name="Whenever", exact=True).click()
        form.get_by_label("At", exact=True).fill("08:30")
        form.get_by_role("button", name="Save").click()
        expect(task(page, "Whenever")).to_contain_text("08:30")
        assert api.get("/api/tasks?q=Whenever").json()[0]["due_date"] == "2031-05-31T06:30:00+00:00"


def test_a_rule_without_a_day_asks_for_one(site: Site) -> None:
    with at_noon(site) as (page, api):
        page.get_by_role("link", name="All", exact=True).click()
        page.get_by_label("New task").fill("Water")
        page.get_by_role("button", name="More", exact=True).click()
        page.get_by_label("Repeats").select_option("every day")
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.get_by_label("Due on")).to_be_focused()
        page.get_by_label("Due on").fill("2031-03-29")
        page.get_by_role("button", name="Add", exact=True).click()
        expect(task(page, "Water")).to_be_visible()
        expect(page.get_by_label("Repeats")).to_be_hidden()
        expect(page.get_by_text("not sent yet")).to_have_count(0)
        assert api.get("/api/tasks?q=Water").json()[0]["due_date"] == "2031-03-29"


def test_tags_are_renamed_merged_and_deleted(site: Site) -> None:
    with site.person() as page, api_of(page, site) as api:
        for title, tags in (("One", ["home"]), ("Two", ["house", "home"]), ("Three", ["odd"])):
            api.post("/api/tasks", json={"title": title, "tags": tags}).raise_for_status()
        page.goto(f"{site.url}/tags")
        row = page.locator("main li").filter(has=page.get_by_label("Name of house"))
        expect(row).to_contain_text("1 task")
        row.get_by_label("Name of house").fill("home")
        row.get_by_role("button", name="Rename").click()
        expect(row).to_contain_text("There is a tag “home” already.")
        row.get_by_role("button", name="Merge").click()
        expect(page.get_by_label("Name of house")).to_have_count(0)
        expect(page.locator("main li").filter(has=page.get_by_label("Name of home"))).to_contain_text("2 tasks")
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_label("Name of house")).to_be_visible()
        page.get_by_label("Delete the tag odd").click()
        expect(page.get_by_label("Name of odd")).to_have_count(0)
        assert {tag["name"] for tag in api.get("/api/tags").json()} == {"home", "house"}


def test_one_line_is_a_task_whose_parts_are_seen_and_can_be_taken_for_text(site: Site) -> None:
    with at_noon(site) as (page, api):
        page.get_by_role("link", name="All", exact=True).click()
        field, chips = (
            page.get_by_label("New task"),
            page.get_by_role("status", name="Understood").get_by_role("button"),
        )
        field.fill("Pay rent tomorrow 9am every month #money !high")
        expect(chips).to_have_text(["Tomorrow, 9:00", "every month", "#money", "high"])
        page.keyboard.press("Enter")
        expect(task(page, "Pay rent")).to_be_visible()
        expect(page.get_by_text("not sent yet")).to_have_count(0)
        [made] = api.get("/api/tasks?q=rent").json()
        said = ("title", "due_date", "time_zone", "recurrence_rule", "tags", "priority")
        assert [made[name] for name in said] == [
            *("Pay rent", "2031-03-30T07:00:00+00:00", "Europe/Berlin", "FREQ=MONTHLY;SKIP=BACKWARD", ["money"], "high")
        ]
        field.fill("Read the book of #today tomorrow")
        expect(chips).to_have_text(["#today", "Tomorrow"])
        page.keyboard.press("Backspace")
        expect(chips).to_have_text(["#today"])
        expect(field).to_have_value("Read the book of #today tomorrow")
        chips.click()
        expect(chips).to_have_count(0)
        page.keyboard.press("Enter")
        expect(task(page, "Read the book of #today tomorrow")).to_be_visible()
        [made] = api.get("/api/tasks?q=book").json()
        assert (made["due_date"], made["tags"]) == (None, [])
