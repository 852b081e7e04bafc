"""With SMTP_URL the app confirms addresses and helps who forgot a password, by mail to a real SMTP server."""

import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from queue import Queue
from subprocess import PIPE
from typing import Any

import httpx
import pytest
from aiosmtpd.controller import Controller
from playwright.sync_api import Browser, Page, expect

from tests.conftest import SECRET
from tests.frontend import PASSWORD, Site, answers, ask, assert_accessible, running, session_of, start
from tests.project import PATIENCE_SECONDS, free_port, wait_until

NEW_PASSWORD = "quite another horse"


class Mailbox:
    """What an SMTP server was given, in order."""

    def __init__(self) -> None:
        self._mails: Queue[EmailMessage] = Queue()
        self.url = ""

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self._mails.put(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"

    def link_of(self, address: str, subject: str) -> str:
        """Wait for the next mail; return the link in it."""
        mail = self._mails.get(timeout=PATIENCE_SECONDS)
        assert (mail["To"], mail["Subject"], mail["From"]) == (address, subject, "tasks@example.test")
        [link] = re.findall(r"http://\S+", mail.get_content())
        return str(link)


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=free_port())
    controller.start()
    box.url = f"smtp://127.0.0.1:{controller.port}"
    yield box
    controller.stop()


@pytest.fixture(scope="module")
def stopped_site(frontend: Path, chromium: Browser, postgres: str, mailbox: Mailbox) -> Iterator[Site]:
    own = {"SMTP_URL": mailbox.url, "MAIL_FROM": "tasks@example.test"}
    with running(frontend, chromium, postgres, "EdDSA", **own) as site:
        yield site


@pytest.fixture
def page(site: Site) -> Iterator[Page]:
    context = site.browser.new_context()
    yield context.new_page()
    context.close()


def fill_in(page: Page, button: str, **fields: str) -> None:
    for label, value in fields.items():
        page.get_by_label(label.replace("_", "-")).fill(value)
    page.get_by_role("button", name=button, exact=True).click()


def test_an_address_is_confirmed_and_a_forgotten_password_set_anew(site: Site, page: Page, mailbox: Mailbox) -> None:
    address = "ann@example.test"
    page.goto(site.url)
    page.get_by_role("button", name="I am new here").click()
    fill_in(page, "Sign up", Name="Ann", E_mail=address, Password=PASSWORD)
    expect(page.get_by_role("status")).to_contain_text(f"If {address} can have one, a link is on its way")
    assert_accessible(page, site)
    mailbox.link_of(address, "Confirm your address")

    page.get_by_role("button", name="I have an account").click()
    fill_in(page, "Sign in", E_mail=address, Password=PASSWORD)
    expect(page.get_by_text("Open the link that we have just sent you first.")).to_be_visible()
    page.goto(mailbox.link_of(address, "Confirm your address"))
    expect(page.get_by_text("Nothing to do")).to_be_visible()
    assert session_of(page)["user"]["emailVerified"]

    with site.browser.new_context() as context:
        other = context.new_page()
        other.goto(site.url)
        other.get_by_role("button", name="I forgot my password").click()
        fill_in(other, "Send me a link", E_mail=address)
        link = mailbox.link_of(address, "Set a new password")
        other.goto(link)
        assert_accessible(other, site)
        fill_in(other, "Set password", Password=NEW_PASSWORD)
        fill_in(other, "Sign in", E_mail=address, Password=NEW_PASSWORD)
        expect(other.get_by_text("Nothing to do")).to_be_visible()
        other.goto(link)  # it works once
        expect(other.get_by_text("This link has expired. Ask for a new one.")).to_be_visible()

    page.reload()  # its session ended with the old password
    fill_in(page, "Sign in", E_mail=address, Password=PASSWORD)
    expect(page.get_by_text("Invalid email or password")).to_be_visible()


def test_nobody_learns_whose_address_is_known(site: Site, page: Page) -> None:
    page.goto(site.url)
    page.get_by_role("button", name="I forgot my password").click()
    fill_in(page, "Send me a link", E_mail="nobody@example.test")
    expect(page.get_by_role("status")).to_contain_text("If nobody@example.test can have one, a link is on its way")
    account = {"name": "Bob", "email": "bob@example.test", "password": PASSWORD}
    first, again = (ask(page.context, site, "/sign-up/email", account) for _ in range(2))
    assert first.keys() == again.keys()


def test_a_mail_that_cannot_be_sent_keeps_nobody_waiting_and_is_a_line_in_the_log(
    frontend: Path, empty_database: str
) -> None:
    port = free_port()
    url = f"http://localhost:{port}"
    own = {"SMTP_URL": f"smtp://127.0.0.1:{free_port()}", "MAIL_FROM": "tasks@example.test", "BETTER_AUTH_URL": url}
    with start(frontend, port, {"DATABASE_URL": empty_database, "BETTER_AUTH_SECRET": SECRET, **own}, PIPE) as server:
        try:
            wait_until(lambda: answers(f"{url}/sign-in") or server.poll() is not None)
            account = {"name": "Ann", "email": "ann@example.test", "password": PASSWORD}
            answer = httpx.post(f"{url}/api/auth/sign-up/email", json=account, headers={"Origin": url})
            assert answer.status_code == 200
            assert server.stderr is not None
            line = next(line for line in server.stderr if "could not be sent" in line)
            assert "Confirm your address" in line
            assert "ECONNREFUSED" in line
        finally:
            server.terminate()
