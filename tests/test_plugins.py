"""The recipes of docs/better-auth.md: what Better Auth's plugins give works with the API, as the page says."""

import os
import re
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from jose import jwt

from tests.conftest import execute
from tests.guide import ENDS, RECIPES, Recipe, assert_strict, better_auth, recipes, section, with_recipes
from tests.helpers import assert_problem
from tests.plugins import (
    OAUTH,
    RESOURCE,
    SCOPE,
    VERIFIER,
    Client,
    Person,
    Plugins,
    add,
    bearer,
    claims,
    is_revoked,
    titles,
)
from tests.project import wait_until


def key_of(person: Person) -> dict[str, str]:
    made: dict[str, str] = person.post("/api-key/create", json={"name": "backup"}).raise_for_status().json()
    return made


def exchanged(url: str, key: str) -> httpx.Response:
    return httpx.get(f"{url}/api/auth/token", headers={"x-api-key": key})


CLIENT = """
import { apiKeyClient } from "@better-auth/api-key/client";
import { oauthProviderClient } from "@better-auth/oauth-provider/client";
import { deviceAuthorizationClient } from "better-auth/client/plugins";
import { createAuthClient } from "better-auth/react";

const authClient = createAuthClient({ plugins: [deviceAuthorizationClient(), apiKeyClient(), oauthProviderClient()] });
export const calls = (user_code: string, userCode: string, name: string) => [CALLS];
"""


def test_each_recipe_is_strict_typescript_alone_and_with_the_others(guide: str, root: Path, tmp_path: Path) -> None:
    each = recipes(guide)
    calls = re.findall(r"`(authClient\.[^`]*\))`", section(guide, RECIPES))
    assert (len(each), len(calls)) == (6, 4)
    ends = recipes(guide, ENDS)
    modules = [with_recipes(guide, *each), *(with_recipes(guide, one) for one in (*each, *ends))]
    assert_strict(root, tmp_path, CLIENT.replace("CALLS", ", ".join(calls)), *modules)


def test_the_token_of_a_mobile_apps_session_becomes_a_jwt(
    plugins: Plugins, stock_api: str, person: Person, tmp_path: Path
) -> None:
    add(stock_api, person.token(), title="Mine")
    [exchange] = plugins.commands("Mobile apps")
    signed_in = person.sign_in()
    for token in (signed_in.headers["set-auth-token"], signed_in.json()["token"]):
        assert '"title":"Mine"' in plugins.run(exchange, tmp_path, SESSION_TOKEN=token)


PHONE = """
import { authClient, newApi } from "./js/api.js";
const account = { name: "Ann", email: process.env.EMAIL, password: "correct horse battery" };
const { error } = await authClient.signUp.email(account);
if (error) throw new Error(error.message);
await newApi().add({ title: "From the phone" });
for await (const task of newApi().all()) console.log(task.title);
"""


def ran(folder: Path, program: str, **environment: str) -> str:
    """Return what a program of the page prints in Node."""
    every = {"PATH": os.environ["PATH"], **environment}
    ended = subprocess.run(["node", program], cwd=folder, env=every, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_client_of_a_mobile_app_signs_up_and_has_its_tasks(plugins: Plugins, stock_api: str, pasted: Path) -> None:
    (pasted / "phone.js").write_text(PHONE)
    urls = {"EXPO_PUBLIC_APP_URL": plugins.url, "EXPO_PUBLIC_API_URL": stock_api}
    assert ran(pasted, "phone.js", **urls, EMAIL=f"{uuid.uuid4()}@example.test") == "From the phone\n"


def test_the_script_with_a_key_changes_what_is_overdue(
    plugins: Plugins, stock_api: str, person: Person, pasted: Path
) -> None:
    for title, due in (("Late", "2020-01-31"), ("Early", "2090-01-31")):
        add(stock_api, person.token(), title=title, due_date=due)
    variables = {"AUTH": f"{plugins.url}/api/auth", "API_URL": stock_api, "KEY": key_of(person)["key"]}
    assert ran(pasted, "js/overdue.js", **variables) == "Late was due on 2020-01-31\n"
    with pytest.raises(AssertionError, match=r"Better Auth answered 403\."):
        ran(pasted, "js/overdue.js", **variables | {"KEY": "of-nobody"})


def test_a_device_has_the_tasks_of_the_person_who_agreed(
    plugins: Plugins, stock_api: str, person: Person, tmp_path: Path
) -> None:
    add(stock_api, person.token(), title="Mine")
    ask, wait = plugins.commands("Command lines and other devices")
    address = plugins.run(ask, tmp_path).removeprefix("Open ").strip()
    assert address.startswith(f"{plugins.url}/device?user_code=")
    code = httpx.URL(address).params["user_code"]
    person.get("/device", params={"user_code": code}).raise_for_status()
    person.post("/device/approve", json={"userCode": code}).raise_for_status()
    [exchange] = plugins.commands("Mobile apps")
    assert '"title":"Mine"' in plugins.run(wait + exchange, tmp_path)


def test_a_device_that_was_denied_stops_asking(plugins: Plugins, person: Person, tmp_path: Path) -> None:
    ask, wait = plugins.commands("Command lines and other devices")
    code = httpx.URL(plugins.run(ask, tmp_path).split()[1]).params["user_code"]
    person.get("/device", params={"user_code": code}).raise_for_status()
    person.post("/device/deny", json={"userCode": code}).raise_for_status()
    plugins.run(wait, tmp_path)
    assert "access_denied" in (tmp_path / "session.json").read_text()


def test_a_key_gives_tokens_until_it_is_disabled_and_the_last_one_lives_on(
    plugins: Plugins, stock_api: str, person: Person, tmp_path: Path
) -> None:
    add(stock_api, person.token(), title="Mine")
    key = key_of(person)
    [exchange] = plugins.commands("API keys")
    assert '"title":"Mine"' in plugins.run(exchange, tmp_path, KEY=key["key"])
    last = exchanged(plugins.url, key["key"]).json()["token"]
    person.post("/api-key/update", json={"keyId": key["id"], "enabled": False}).raise_for_status()
    assert exchanged(plugins.url, key["key"]).status_code == 401
    assert titles(stock_api, last) == ["Mine"]


def test_a_key_gives_ten_tokens_unless_the_limit_is_set_when_it_is_made(
    plugins: Plugins, guide: str, root: Path, tmp_path: Path, person: Person
) -> None:
    recipe = next(each for each in recipes(guide) if each.plugins.startswith("apiKey("))
    [limit] = [line for line in recipe.plugins.splitlines() if "rateLimit" in line]
    stock = Recipe(recipe.imports, recipe.code, recipe.plugins.replace(limit, ""))
    with (
        better_auth(root, tmp_path, with_recipes(guide, stock), plugins.database_url) as url,
        Person(url) as other,
    ):
        other.sign_up().raise_for_status()
        limited = key_of(other)["key"]
        given = [exchanged(url, limited).status_code for _ in range(11)]
    assert given == [200] * 10 + [429]
    assert exchanged(plugins.url, limited).status_code == 429
    key = key_of(person)["key"]
    assert {exchanged(plugins.url, key).status_code for _ in range(11)} == {200}


def test_a_key_is_as_good_as_a_session_to_better_auth(plugins: Plugins, person: Person) -> None:
    headers = {"x-api-key": key_of(person)["key"]}
    made = httpx.post(f"{plugins.url}/api/auth/api-key/create", json={"name": "another"}, headers=headers)
    assert made.status_code == 200, made.text


def test_while_an_admin_impersonates_the_token_and_the_history_say_so(
    stock_api: str, person: Person, administrator: Person
) -> None:
    user_id, admin_id = person.user_id(), administrator.user_id()
    task = add(stock_api, person.token())
    administrator.post("/admin/impersonate-user", json={"userId": user_id}).raise_for_status()
    token = administrator.token()
    assert (claims(token)["sub"], claims(token)["act"]) == (user_id, {"sub": admin_id})
    path = f"{stock_api}/api/tasks/{task['id']}"
    httpx.patch(path, json={"title": "Changed for you"}, headers=bearer(token)).raise_for_status()
    history = httpx.get(f"{path}/history", headers=bearer(person.token())).json()
    assert [(entry["action"], entry["by"]) for entry in history] == [("updated", admin_id), ("created", user_id)]
    administrator.post("/admin/stop-impersonating", json={}).raise_for_status()
    assert "act" not in claims(administrator.token())


def test_keys_and_clients_of_an_impersonation_are_the_users_own(
    plugins: Plugins, person: Person, administrator: Person, oauth_client: Client
) -> None:
    administrator.post("/admin/impersonate-user", json={"userId": person.user_id()}).raise_for_status()
    of_key = exchanged(plugins.url, key_of(administrator)["key"]).json()["token"]
    of_client = oauth_client.tokens(administrator)["access_token"]
    for token in (of_key, of_client):
        assert claims(token)["sub"] == person.user_id()
        assert "act" not in claims(token)


def test_a_token_says_its_session_and_organization_and_no_more_of_the_user(stock_api: str, person: Person) -> None:
    made = person.post("/organization/create", json={"name": "Acme", "slug": person.user_id()}).raise_for_status()
    token = person.token()
    session = person.get("/get-session").json()["session"]
    said = claims(token)
    assert (said["sid"], said["activeOrganizationId"]) == (session["id"], made.json()["id"])
    assert said.keys() == {"iat", "exp", "iss", "aud", "sub", "email", "name", "role", "sid", "activeOrganizationId"}
    assert session["token"] not in said.values()
    assert httpx.get(f"{stock_api}/api/me", headers=bearer(token)).json()["role"] == "user"
    add(stock_api, token)


def test_the_tasks_of_an_anonymous_user_go_along_to_their_account(
    stock_api: str, browser: Callable[[], Person], database_url: str
) -> None:
    person = browser()
    person.post("/sign-in/anonymous", json={}).raise_for_status()
    before, anonymous = person.user_id(), person.token()
    tasks = [add(stock_api, anonymous, title=title, tags=["home"]) for title in ("First", "Second")]
    person.sign_up().raise_for_status()
    assert person.user_id() != before
    moved = httpx.get(f"{stock_api}/api/tasks", headers=bearer(person.token())).json()
    assert moved == [{**task, "user_id": person.user_id()} for task in reversed(tasks)]
    wait_until(lambda: execute(database_url, "SELECT 1 FROM task WHERE user_id = %s", before) == [])


def test_who_has_an_account_keeps_its_tasks_beside_those_from_before_signing_in(
    stock_api: str, person: Person, browser: Callable[[], Person]
) -> None:
    add(stock_api, person.token(), title="Old")
    elsewhere = browser()
    elsewhere.account = person.account
    elsewhere.post("/sign-in/anonymous", json={}).raise_for_status()
    add(stock_api, elsewhere.token(), title="New")
    elsewhere.sign_in().raise_for_status()
    assert elsewhere.user_id() == person.user_id()
    assert titles(stock_api, person.token()) == ["New", "Old"]


def test_who_cannot_take_their_tasks_along_stays_who_they_were_and_can_try_again(
    stock_api: str, browser: Callable[[], Person]
) -> None:
    person = browser()
    person.post("/sign-in/anonymous", json={}).raise_for_status()
    before = person.user_id()
    tasks = [add(stock_api, person.token(), title="Long", description="x" * 1000) for _ in range(20)]
    assert person.sign_up().status_code == 503
    assert person.user_id() == before
    assert len(titles(stock_api, person.token())) == 20
    for task in tasks[1:]:  # until it is no longer larger than an import may be
        httpx.delete(f"{stock_api}/api/tasks/{task['id']}", headers=bearer(person.token())).raise_for_status()
    person.sign_in().raise_for_status()
    assert person.user_id() != before
    assert titles(stock_api, person.token()) == ["Long"]


def test_an_oauth_client_has_the_tasks_of_who_let_it_in(
    plugins: Plugins, stock_api: str, oauth_api: str, person: Person, oauth_client: Client, tmp_path: Path
) -> None:
    add(stock_api, person.token(), title="Mine")
    exchange = plugins.commands(OAUTH)[3]
    known = {"CLIENT_ID": oauth_client.id, "CODE": oauth_client.code(person), "VERIFIER": VERIFIER}
    assert '"title":"Mine"' in replace(plugins, api=oauth_api).run(exchange, tmp_path, **known)


def test_an_oauth_token_says_whom_it_is_for_and_what_it_may_do(person: Person, oauth_client: Client) -> None:
    token = oauth_client.tokens(person)["access_token"]
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    said = claims(token)
    assert said.keys() == {"iss", "aud", "sub", "client_id", "azp", "scope", "sid", "jti", "iat", "exp"}
    assert (said["iss"], said["aud"]) == (f"{oauth_client.plugins.url}/api/auth", RESOURCE)
    assert (said["sub"], said["client_id"], said["scope"]) == (person.user_id(), oauth_client.id, SCOPE)


def test_neither_an_opaque_token_nor_an_id_token_is_taken(oauth_api: str, person: Person, oauth_client: Client) -> None:
    opaque = oauth_client.tokens(person, resource=None)["access_token"]
    tokens = oauth_client.tokens(person, f"openid {SCOPE}")
    assert titles(oauth_api, tokens["access_token"]) == []
    for refused in (opaque, tokens["id_token"]):
        assert_problem(httpx.get(f"{oauth_api}/api/tasks", headers=bearer(refused)), 401, "INVALID_TOKEN")


def test_a_refresh_token_outlives_the_session_of_who_let_the_client_in(
    stock_api: str, oauth_api: str, person: Person, oauth_client: Client
) -> None:
    tokens = oauth_client.tokens(person, f"offline_access {SCOPE}")
    person.post("/sign-out", json={}).raise_for_status()
    wait_until(lambda: is_revoked(oauth_api, tokens["access_token"]))
    renewed = oauth_client.refresh(tokens["refresh_token"]).raise_for_status().json()["access_token"]
    assert claims(renewed)["sid"] is None
    assert titles(oauth_api, renewed) == []


def test_who_is_banned_gets_no_new_token_in_any_way_and_the_old_ones_end(
    plugins: Plugins, stock_api: str, oauth_api: str, person: Person, administrator: Person, oauth_client: Client
) -> None:
    user_id, session_token, last = person.user_id(), person.session_token(), person.token()
    key = key_of(person)["key"]
    of_key = exchanged(plugins.url, key).json()["token"]
    of_client = oauth_client.tokens(person, f"offline_access {SCOPE}")
    administrator.post("/admin/ban-user", json={"userId": user_id}).raise_for_status()
    assert person.get("/token").status_code == 401
    assert httpx.get(f"{plugins.url}/api/auth/token", headers=bearer(session_token)).status_code == 401
    assert exchanged(plugins.url, key).status_code == 403
    assert oauth_client.refresh(of_client["refresh_token"]).status_code == 403
    assert person.sign_in().status_code == 403
    for api, token in ((stock_api, last), (stock_api, of_key), (oauth_api, of_client["access_token"])):
        wait_until(lambda api=api, token=token: is_revoked(api, token))  # type: ignore[misc]
    administrator.post("/admin/unban-user", json={"userId": user_id}).raise_for_status()
    assert exchanged(plugins.url, key).status_code == 200


def test_only_an_admin_registers_clients(person: Person) -> None:
    client = {"client_name": "Planner", "redirect_uris": ["http://127.0.0.1:9000/callback"]}
    assert person.post("/oauth2/create-client", json={**client, "application_type": "native"}).status_code == 401
