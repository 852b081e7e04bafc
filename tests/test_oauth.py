"""Tokens of Better Auth's OAuth provider: for whom, from whom and for what each is taken."""

from typing import Any

import httpx
import pytest

from tests.conftest import execute, serving, settings
from tests.helpers import assert_problem
from tests.plugins import RESOURCE, SCOPE, Client, Person, Plugins, add, bearer, claims, titles


def ways(url: str) -> dict[str, dict[str, Any]]:
    """Settings that a Better Auth's OAuth tokens are taken with, from the strictest to the most lenient."""
    return {
        "url": {"better_auth_url": url, "jwt_audience": RESOURCE},
        "both": {"better_auth_url": url, "jwt_audience": f"{RESOURCE},{url}"},
        "issuers": {
            "jwks_url": f"{url}/api/auth/jwks",
            "jwt_issuer": f"{url},{url}/api/auth",
            "jwt_audience": f"{RESOURCE}, {url}",
        },
    }


def refused(api: str, token: str) -> None:
    assert_problem(httpx.get(f"{api}/api/tasks", headers=bearer(token)), 401, "INVALID_TOKEN")


@pytest.mark.parametrize("way", ["both", "issuers"])
def test_an_api_takes_a_clients_tokens_beside_those_of_pages(
    plugins: Plugins, database_url: str, person: Person, oauth_client: Client, way: str
) -> None:
    with serving(settings(better_auth_secret=None, database_url=database_url, **ways(plugins.url)[way])) as api:
        add(api, person.token(), title="By a page")
        add(api, oauth_client.tokens(person)["access_token"], title="By a client")
        assert titles(api, person.token()) == ["By a client", "By a page"]


def test_a_token_is_taken_where_it_is_meant_for(
    plugins: Plugins, stock_api: str, database_url: str, person: Person, oauth_client: Client
) -> None:
    token = oauth_client.tokens(person)["access_token"]
    refused(stock_api, token)  # which is meant by the origin alone
    with serving(settings(better_auth_secret=None, database_url=database_url, **ways(plugins.url)["url"])) as api:
        assert titles(api, token) == []
        refused(api, person.token())


def test_a_client_may_do_what_the_scope_says_and_no_more(oauth_api: str, person: Person, oauth_client: Client) -> None:
    reads = bearer(oauth_client.tokens(person, "tasks:read")["access_token"])
    writes = bearer(oauth_client.tokens(person, SCOPE)["access_token"])
    nothing = bearer(oauth_client.tokens(person, "openid")["access_token"])
    with httpx.Client(base_url=oauth_api) as client:
        task = client.post("/api/tasks", json={"title": "A task"}, headers=writes).raise_for_status().json()
        path = f"/api/tasks/{task['id']}"
        assert client.get("/api/tasks", headers=reads).json() == [task]
        assert client.get("/api/export", headers=reads).json()["tasks"][0]["id"] == task["id"]
        for headers, method, where, needed in (
            (nothing, "GET", path, "tasks:read"),
            (nothing, "GET", "/api/export", "tasks:read"),
            (reads, "POST", "/api/tasks", "tasks:write"),
            (reads, "PATCH", path, "tasks:write"),
            (reads, "DELETE", path, "tasks:write"),
            (reads, "PUT", "/api/tags/home", "tasks:write"),
            (reads, "POST", "/api/import", "tasks:write"),
        ):
            answer = client.request(method, where, json={} if method != "GET" else None, headers=headers)
            assert_problem(answer, 403, "INSUFFICIENT_SCOPE")
            challenge = answer.headers["WWW-Authenticate"]
            assert 'error="insufficient_scope"' in challenge
            assert needed in challenge
        assert client.get("/api/me", headers=nothing).json()["user_id"] == person.user_id()
        assert client.delete(path, headers=writes).status_code == 204


@pytest.mark.parametrize("way", ["url", "both", "issuers", "lenient"])
def test_neither_a_clients_own_token_nor_an_id_token_is_taken_however_lenient_the_settings(
    plugins: Plugins, database_url: str, person: Person, administrator: Person, oauth_client: Client, way: str
) -> None:
    of_nobody = _client_credentials(plugins, administrator)
    id_token = oauth_client.tokens(person, f"openid {SCOPE}")["id_token"]
    lenient = {**ways(plugins.url), "lenient": {"jwks_url": f"{plugins.url}/api/auth/jwks"}}
    with serving(settings(better_auth_secret=None, database_url=database_url, **lenient[way])) as api:
        refused(api, of_nobody)
        refused(api, id_token)


def _client_credentials(plugins: Plugins, administrator: Person) -> str:
    """Return a token of a client that acts for itself."""
    wanted = {"token_endpoint_auth_method": "client_secret_post", "grant_types": ["client_credentials"]}
    made = administrator.post("/oauth2/create-client", json={**wanted, "response_types": [], "scope": SCOPE})
    client = made.raise_for_status().json()
    # Better Auth has no address for this; it is done on its server.
    allow = 'UPDATE "oauthClient" SET "clientCredentialsScopes" = \'["tasks:read"]\' WHERE "clientId" = %s'
    execute(plugins.database_url, allow, client["client_id"])
    known = {name: client[name] for name in ("client_id", "client_secret")}
    form = {"grant_type": "client_credentials", "resource": RESOURCE, **known}
    answer = httpx.post(f"{plugins.url}/api/auth/oauth2/token", data=form).raise_for_status()
    token = str(answer.json()["access_token"])
    assert claims(token)["sub"] == claims(token)["client_id"] == client["client_id"]
    return token
