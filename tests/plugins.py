"""A Better Auth with the plugins of docs/better-auth.md, the API beside it, and people, keys and clients there."""

import hashlib
import os
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from jose import jwt

from tests.conftest import execute, serving, settings, throwaway_database
from tests.guide import ENDS, RECIPES, better_auth, recipes, section, snippets, variables, with_recipes
from tests.project import PATIENCE_SECONDS, free_port

PASSWORD = "correct horse battery"
OAUTH = "OAuth clients"
RESOURCE = "http://localhost:8000"
SCOPE = "tasks:read tasks:write"
REDIRECT_URI = "http://127.0.0.1:9000/callback"
VERIFIER = "a-verifier-of-the-tests-which-has-more-than-43-characters"
CHALLENGE = urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


class Person(httpx.Client):
    """A browser at a Better Auth, of somebody whom no other test knows."""

    def __init__(self, url: str) -> None:
        super().__init__(base_url=f"{url}/api/auth", headers={"Origin": url}, timeout=PATIENCE_SECONDS)
        self.account = {"email": f"{uuid.uuid4()}@example.test", "password": PASSWORD}

    def sign_up(self) -> httpx.Response:
        return self.post("/sign-up/email", json={"name": "Ann", **self.account})

    def sign_in(self) -> httpx.Response:
        return self.post("/sign-in/email", json=self.account)

    def user_id(self) -> str:
        return str(self.get("/get-session").json()["user"]["id"])

    def session_token(self) -> str:
        return str(self.get("/get-session").json()["session"]["token"])

    def token(self) -> str:
        return str(self.get("/token").raise_for_status().json()["token"])


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def claims(token: str) -> dict[str, Any]:
    return dict(jwt.get_unverified_claims(token))


def titles(api: str, token: str) -> list[str]:
    answer = httpx.get(f"{api}/api/tasks", headers=bearer(token))
    assert answer.status_code == 200, answer.text
    return [task["title"] for task in answer.json()]


def is_revoked(api: str, token: str) -> bool:
    answer = httpx.get(f"{api}/api/me", headers=bearer(token))
    return answer.status_code == 401 and '"TOKEN_REVOKED"' in answer.text


def add(api: str, token: str, **fields: Any) -> dict[str, Any]:
    answer = httpx.post(f"{api}/api/tasks", json={"title": "A task", **fields}, headers=bearer(token))
    assert answer.status_code == 201, answer.text
    task: dict[str, Any] = answer.json()
    return task


@dataclass(frozen=True)
class Plugins:
    """A Better Auth with every recipe of docs/better-auth.md, which tells the API of what ends.

    `page` is the part that shows the recipes.
    """

    url: str
    api: str  # where it finds the API
    database_url: str
    page: str

    def commands(self, title: str) -> list[str]:
        return snippets(section(self.page, title), "bash")

    def run(self, commands: str, folder: Path, **variables: str) -> str:
        """Run commands of the page in bash, after those that all of them use; return what they print."""
        first = snippets(self.page, "bash")[0]
        first = first.replace("http://localhost:3000", self.url).replace("http://localhost:8000", self.api)
        environment = {"PATH": os.environ["PATH"], **variables}
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", first + commands],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout


@pytest.fixture(scope="session")
def plugins(guide: str, root: Path, postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plugins]:
    api = f"http://127.0.0.1:{free_port()}"
    [ends] = recipes(guide, ENDS)
    ends = replace(ends, plugins=ends.plugins.splitlines()[-1])  # the payload is that of another recipe
    source = with_recipes(guide, *recipes(guide), ends)
    folder = tmp_path_factory.mktemp("plugins")
    with (
        throwaway_database(postgres) as database_url,
        better_auth(root, folder, source, database_url, api) as url,
    ):
        yield Plugins(url, api, database_url, section(guide, RECIPES))


@pytest.fixture(scope="session")
def stock_api(plugins: Plugins, database_url: str) -> Iterator[str]:
    """The URL of the API that is beside it, with the settings of the stock way."""
    own = {"better_auth_secret": None, "better_auth_url": plugins.url, "max_import_bytes": 20_000}
    with serving(settings(database_url=database_url, **own), port=httpx.URL(plugins.api).port or 0):
        yield plugins.api


@pytest.fixture(scope="session")
def oauth_api(plugins: Plugins, database_url: str) -> Iterator[str]:
    """The URL of an API on the same database, with the settings that the page shows for OAuth clients."""
    shown = variables(section(plugins.page, OAUTH), plugins.url)
    with serving(settings(better_auth_secret=None, database_url=database_url, **shown)) as url:
        yield url


@pytest.fixture
def browser(plugins: Plugins) -> Iterator[Callable[[], Person]]:
    """Makes browsers, which are closed at the end."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(Person(plugins.url))


@pytest.fixture
def person(browser: Callable[[], Person]) -> Person:
    """Somebody who has signed up."""
    made = browser()
    made.sign_up().raise_for_status()
    return made


@pytest.fixture
def administrator(browser: Callable[[], Person], plugins: Plugins) -> Person:
    made = browser()
    made.sign_up().raise_for_status()
    execute(plugins.database_url, "UPDATE \"user\" SET role = 'admin' WHERE id = %s", made.user_id())
    return made


@dataclass(frozen=True)
class Client:
    """An OAuth client that was registered as the page says."""

    plugins: Plugins
    id: str
    folder: Path

    def code(self, person: Person, scope: str = SCOPE, resource: str | None = RESOURCE) -> str:
        """Return what the client gets once a person who is signed in has agreed."""
        show = self.plugins.commands(OAUTH)[2]
        shown = self.plugins.run(show, self.folder, CLIENT_ID=self.id, CHALLENGE=CHALLENGE, STATE="xyz").strip()
        parameters = httpx.URL(shown).params.set("scope", scope).remove("resource")
        parameters = parameters if resource is None else parameters.set("resource", resource)
        location = person.get("/oauth2/authorize", params=parameters).headers["Location"]
        if location.startswith("/consent"):
            agreed = {"accept": True, "oauth_query": httpx.URL(location).query.decode()}
            location = person.post("/oauth2/consent", json=agreed).raise_for_status().json()["url"]
        return str(httpx.URL(location).params["code"])

    def tokens(self, person: Person, scope: str = SCOPE, resource: str | None = RESOURCE) -> dict[str, str]:
        form = {"code": self.code(person, scope, resource), "code_verifier": VERIFIER, "redirect_uri": REDIRECT_URI}
        form |= {} if resource is None else {"resource": resource}
        given: dict[str, str] = self.exchange(grant_type="authorization_code", **form).raise_for_status().json()
        return given

    def refresh(self, token: str) -> httpx.Response:
        return self.exchange(grant_type="refresh_token", refresh_token=token, resource=RESOURCE)

    def exchange(self, **form: str) -> httpx.Response:
        return httpx.post(f"{self.plugins.url}/api/auth/oauth2/token", data={"client_id": self.id, **form})


@pytest.fixture
def oauth_client(plugins: Plugins, administrator: Person, tmp_path: Path) -> Client:
    register = plugins.commands(OAUTH)[1]
    client_id = plugins.run(register, tmp_path, SESSION_TOKEN=administrator.session_token()).strip()
    return Client(plugins, client_id, tmp_path)
