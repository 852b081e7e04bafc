"""Makes the pictures of each view for docs/images, by `npm --prefix frontend run pictures`; no test of its own."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.frontend import PHONE, Site, api_of, picture

SIZES: dict[int, dict[str, Any]] = {1280: {"viewport": {"width": 1280, "height": 800}}, 390: PHONE}
VIEWS = ("today", "upcoming", "all", "completed", "tags", "tags/home", "account")
COLORS = {"home": "#2b8a3e", "work": "#1971c2", "family": "#d9480f"}


def days(count: int) -> str:
    return str((datetime.now(UTC) + timedelta(days=count)).date())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", SIZES)
def test_pictures_of_every_view(site: Site, width: int, scheme: str) -> None:
    tasks = [
        {"title": "Send the invoice", "due_date": days(-2), "tags": ["work"], "priority": "high"},
        {"title": "Water the plants", "due_date": days(0), "tags": ["home"], "recurrence_rule": "FREQ=DAILY"},
        {"title": "Call the dentist", "due_date": f"{days(0)}T15:30:00+01:00", "time_zone": "Europe/Berlin"},
        {"title": "Review the release notes", "due_date": days(0), "tags": ["work"], "status": "in_progress"},
        {"title": "Buy a present for Zoë", "due_date": days(1), "tags": ["family"], "priority": "high"},
        {
            "title": "Pay the rent",
            "due_date": days(3),
            "recurrence_rule": "FREQ=MONTHLY;SKIP=BACKWARD",
            "tags": ["home"],
        },
        {"title": "Book the train", "due_date": days(9), "tags": ["family"]},
        {"title": "Plan the summer", "description": "Ask everybody for their dates first.", "tags": ["family"]},
        {"title": "Repair the gate", "tags": ["home"], "priority": "low"},
        {"title": "Read the changelog", "status": "completed", "tags": ["work"]},
        {"title": "Bring the bottles back", "status": "completed", "tags": ["home"]},
    ]
    with site.person(color_scheme=scheme, **SIZES[width]) as page:
        with api_of(page, site) as api:
            for task in tasks:
                api.post("/api/tasks", json=task).raise_for_status()
            for name, color in COLORS.items():
                api.put(f"/api/tags/{name}", json={"color": color}).raise_for_status()
        for view in VIEWS:
            page.goto(f"{site.url}/{view}")
            expect(page.get_by_role("link", name="family")).to_be_attached()
            expect(page.locator("[aria-busy=true]")).to_have_count(0)
            expect(page.get_by_text("this one")).to_be_visible() if view == "account" else None
            picture(page, f"{view.replace('/', '-')}-{width}-{scheme}")
        if (width, scheme) not in ((1280, "light"), (390, "dark")):
            return
        page.goto(f"{site.url}/today")
        expect(page.locator(".title").first).to_be_visible()
        page.keyboard.press("?")
        picture(page, f"keys-{width}-{scheme}")
        page.keyboard.press("Escape")
        page.keyboard.press("Control+k")
        expect(page.get_by_role("dialog")).to_be_visible()
        picture(page, f"find-{width}-{scheme}")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Select").click()
        for box in page.get_by_role("checkbox", name="Select ").all()[:2]:
            box.check()
        picture(page, f"selected-{width}-{scheme}")
