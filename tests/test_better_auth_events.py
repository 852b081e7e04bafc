"""What Better Auth tells of its sessions and users, as docs/better-auth.md says: of which, to whom, and how often."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from jose import jwt

from backend.security_events import ACCOUNT_DISABLED, ACCOUNT_PURGED, MAX_AGE_SECONDS, SESSION_REVOKED, TYPE
from tests.conftest import SECRET, execute, serving, settings, throwaway_database
from tests.guide import ENDS, Recipe, better_auth, recipes, section, server_of, with_recipes
from tests.plugins import PASSWORD, Person, is_revoked, titles
from tests.project import free_port, wait_until
from tests.test_guide import MODES


@dataclass
class Receiver:
    """An address that takes events, like the API's, with the answers of a test."""

    url: str = ""
    answers: deque[tuple[int, bytes]] = field(default_factory=deque)  # the next ones; after them all are a 202
    received: list[str] = field(default_factory=list)
    takes_seconds: float = 0

    def about(self, issuer: str, *ids: str) -> set[tuple[str, str]]:
        """Return the events that came about these sessions and users of an issuer, each as its type and the id."""
        return {
            (kind, said["id"] if said["format"] == "opaque" else said["sub"])
            for token in self.received
            for claims in [jwt.get_unverified_claims(token)]
            for said in [claims["sub_id"]]
            for kind in claims["events"]
            if said in [{"format": "opaque", "id": one} for one in ids]
            or said in [{"format": "iss_sub", "iss": issuer, "sub": one} for one in ids]
        }


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/api/security-events"
            assert self.headers["Content-Type"] == f"application/{TYPE}"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, answer = receiver.answers.popleft() if receiver.answers else (202, b"")
            time.sleep(receiver.takes_seconds)
            receiver.received.append(body.decode())
            if status:  # else it ends without an answer
                self.send_response(status)
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield receiver
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@dataclass(frozen=True)
class Issuer:
    """A Better Auth that tells of ends, with the admin plugin beside it."""

    url: str
    database_url: str
    log: Path


@pytest.fixture(scope="module")
def issuer(
    guide: str, root: Path, postgres: str, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Issuer]:
    admin = Recipe('import { admin } from "better-auth/plugins";\n', "", "admin()")
    source = with_recipes(guide, *recipes(guide, ENDS), admin)
    options = "emailAndPassword: { enabled: true }"
    assert options in source
    source = source.replace(options, f"{options}, user: {{ deleteUser: {{ enabled: true }} }}")
    folder = tmp_path_factory.mktemp("events")
    path = folder / "log"
    with (
        throwaway_database(postgres) as database_url,
        path.open("w") as log,
        better_auth(root, folder, source, database_url, receiver.url, log) as url,
    ):
        yield Issuer(url, database_url, path)


@pytest.fixture
def people(issuer: Issuer) -> Iterator[dict[str, Person]]:
    """Somebody on two devices, and an administrator."""
    with Person(issuer.url) as phone, Person(issuer.url) as laptop, Person(issuer.url) as administrator:
        for person in (phone, administrator):
            person.sign_up().raise_for_status()
        laptop.account = phone.account
        laptop.sign_in().raise_for_status()
        execute(issuer.database_url, "UPDATE \"user\" SET role = 'admin' WHERE id = %s", administrator.user_id())
        yield {"phone": phone, "laptop": laptop, "administrator": administrator}


def session_id(person: Person) -> str:
    return str(person.get("/get-session").json()["session"]["id"])


NEW = {"newPassword": "another horse battery"}
CHANGED = {"currentPassword": PASSWORD, **NEW}
PHONE, LAPTOP, USER = (SESSION_REVOKED, "phone"), (SESSION_REVOKED, "laptop"), (SESSION_REVOKED, "user")
DISABLED, PURGED = (ACCOUNT_DISABLED, "user"), (ACCOUNT_PURGED, "user")
ENDS_BY: list[tuple[str, str, dict[str, Any], set[tuple[str, str]]]] = [
    ("phone", "/sign-out", {}, {PHONE}),
    ("phone", "/revoke-session", {"token": "laptop's token"}, {LAPTOP}),
    ("phone", "/revoke-other-sessions", {}, {LAPTOP}),
    ("phone", "/revoke-sessions", {}, {PHONE, LAPTOP}),
    ("phone", "/change-password", CHANGED, set()),
    ("phone", "/change-password", {**CHANGED, "revokeOtherSessions": True}, {PHONE, LAPTOP}),
    ("phone", "/delete-user", {"password": PASSWORD}, {PHONE, LAPTOP, PURGED}),
    ("administrator", "/admin/revoke-user-session", {"sessionToken": "laptop's token"}, {LAPTOP}),
    ("administrator", "/admin/revoke-user-sessions", {"userId": "user"}, {PHONE, LAPTOP}),
    ("administrator", "/admin/ban-user", {"userId": "user"}, {PHONE, LAPTOP, DISABLED}),
    ("administrator", "/admin/update-user", {"userId": "user", "data": {"banned": True}}, {PHONE, LAPTOP, DISABLED}),
    ("administrator", "/admin/update-user", {"userId": "user", "data": {"name": "Bob"}}, set()),
    ("administrator", "/admin/set-user-password", {"userId": "user", **NEW}, {PHONE, LAPTOP, USER}),
    ("administrator", "/admin/remove-user", {"userId": "user"}, {PHONE, LAPTOP, PURGED}),
]


@pytest.mark.parametrize(("by", "path", "body", "ends"), ENDS_BY)
def test_what_ends_is_told_one_by_one(
    issuer: Issuer,
    receiver: Receiver,
    people: dict[str, Person],
    by: str,
    path: str,
    body: dict[str, Any],
    ends: set[tuple[str, str]],
) -> None:
    phone, laptop = people["phone"], people["laptop"]
    ids = {"phone": session_id(phone), "laptop": session_id(laptop), "user": phone.user_id()}
    known = {**ids, "laptop's token": laptop.session_token()}
    sent = {name: known[value] if isinstance(value, str) and value in known else value for name, value in body.items()}
    people[by].post(path, json=sent).raise_for_status()
    expected = {(kind, ids[name]) for kind, name in ends}
    wait_until(lambda: receiver.about(issuer.url, *ids.values()) >= expected)
    assert receiver.about(issuer.url, *ids.values()) == expected


def test_the_end_of_an_impersonation_is_the_end_of_a_session(
    issuer: Issuer, receiver: Receiver, people: dict[str, Person]
) -> None:
    administrator = people["administrator"]
    administrator.post("/admin/impersonate-user", json={"userId": people["phone"].user_id()}).raise_for_status()
    ended = session_id(administrator)
    administrator.post("/admin/stop-impersonating", json={}).raise_for_status()
    wait_until(lambda: receiver.about(issuer.url, ended) == {(SESSION_REVOKED, ended)})


def test_who_may_not_set_a_password_ends_nothing(issuer: Issuer, receiver: Receiver, people: dict[str, Person]) -> None:
    user_id = people["administrator"].user_id()
    session = session_id(people["administrator"])
    refused = people["phone"].post("/admin/set-user-password", json={"userId": user_id, **NEW})
    assert refused.status_code == 403
    assert receiver.about(issuer.url, user_id, session) == set()
    assert session_id(people["administrator"]) == session


def test_a_sign_out_is_answered_when_the_api_knows(
    issuer: Issuer, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "takes_seconds", 0.3)

    def is_known_at_once() -> bool:  # unless this machine is so slow that the API takes two seconds
        with Person(issuer.url) as person:
            person.sign_up().raise_for_status()
            ended = session_id(person)
            person.post("/sign-out", json={}).raise_for_status()
            return receiver.about(issuer.url, ended) != set()

    wait_until(is_known_at_once)


def test_an_event_that_gets_no_good_answer_is_sent_again_as_it_was(
    receiver: Receiver, people: dict[str, Person]
) -> None:
    before = len(receiver.received)
    receiver.answers.extend([(503, b""), (429, b""), (0, b"")])
    people["phone"].post("/sign-out", json={}).raise_for_status()
    wait_until(lambda: len(receiver.received) == before + 4)
    [token] = set(receiver.received[before:])
    assert jwt.get_unverified_header(token)["typ"] == TYPE
    said = jwt.get_unverified_claims(token)
    assert said.keys() == {"iss", "aud", "iat", "exp", "jti", "sub_id", "events"}
    assert said["exp"] - said["iat"] == MAX_AGE_SECONDS


def test_an_event_that_is_refused_is_logged_and_not_sent_again(
    issuer: Issuer, receiver: Receiver, people: dict[str, Person]
) -> None:
    before = len(receiver.received)
    receiver.answers.append((400, b'{"err": "invalid_issuer", "description": "Said by the API"}'))
    ended = session_id(people["phone"])
    people["phone"].post("/sign-out", json={}).raise_for_status()
    receiver.answers.extend([(503, b"")] * 3)
    people["laptop"].post("/sign-out", json={}).raise_for_status()
    wait_until(lambda: len(receiver.received) == before + 5)
    refused, *others = receiver.received[before:]
    assert refused not in others
    [line] = [line for line in issuer.log.read_text().splitlines() if ended in line]
    assert "session-revoked" in line
    assert '400 {"err": "invalid_issuer", "description": "Said by the API"}' in line


def test_with_the_shared_secret_they_are_signed_with_it(
    guide: str, root: Path, tmp_path: Path, empty_database: str, receiver: Receiver
) -> None:
    [ends] = recipes(guide, ENDS)
    source = server_of(section(guide, MODES[1]))
    assert "  plugins: [\n" in source
    source = ends.imports + source.replace("  plugins: [\n", f"  plugins: [\n{ends.plugins.splitlines()[-1]},\n")
    with better_auth(root, tmp_path, source, empty_database, receiver.url) as url, Person(url) as person:
        person.sign_up().raise_for_status()
        ended = session_id(person)
        person.post("/sign-out", json={}).raise_for_status()
        wait_until(lambda: receiver.about(url, ended))
        header = jwt.get_unverified_header(receiver.received[-1])
        assert header == {"alg": "HS256", "typ": TYPE}
        claims = jwt.decode(receiver.received[-1], SECRET, "HS256", audience=url, issuer=url)
        assert claims["sub_id"]["id"] == ended


def test_with_a_cookie_cache_an_ended_session_still_gets_tokens_which_are_refused(
    guide: str, root: Path, tmp_path: Path, empty_database: str
) -> None:
    options = "emailAndPassword: { enabled: true }"
    source = with_recipes(guide, *recipes(guide, ENDS))
    source = source.replace(options, f"{options}, session: {{ cookieCache: {{ enabled: true }} }}")
    port = free_port()
    with better_auth(root, tmp_path, source, empty_database, f"http://127.0.0.1:{port}") as url:
        own = {"database_url": empty_database, "better_auth_secret": None, "better_auth_url": url}
        with serving(settings(**own), port) as api, Person(url) as phone, Person(url) as laptop:
            phone.sign_up().raise_for_status()
            laptop.account = phone.account
            laptop.sign_in().raise_for_status()
            old = laptop.token()
            assert titles(api, old) == []
            phone.post("/revoke-other-sessions", json={}).raise_for_status()
            for token in (old, laptop.token()):
                wait_until(lambda token=token: is_revoked(api, token))  # type: ignore[misc]
            assert laptop.get("/token", params={"disableCookieCache": "true"}).status_code == 401
