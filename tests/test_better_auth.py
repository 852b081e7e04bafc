"""The API with a real Better Auth: it takes every access token, and nothing else that Better Auth hands out."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend import doctor
from backend import settings as settings_module
from tests.conftest import SECRET, serving, settings
from tests.helpers import assert_problem, create
from tests.project import installed

ALGORITHMS = ["EdDSA", "ES256", "ES512", "RS256", "PS256", "HS256"]
KINDS = {
    "session_token": "this is an opaque token, like the session token of the sign-in answer, not a JWT.",
    "session_cookie": "this is the session cookie (token.signature), not a JWT.",
    "session_data_cookie": "this is Better Auth's session_data cookie, not an access token.",
    "session_data_cookie_compact": "this is Better Auth's session_data cookie, not a JWT.",
    "session_data_cookie_jwe": "this is an encrypted token (a JWE), like Better Auth's session_data cookie.",
    "session_data_cookie_jwks": "this is Better Auth's session_data cookie, not an access token.",
    "verification_link": "this is the token of a mail link (e-mail verification or change), not an access token.",
    "change_email_link": "this is the token of a mail link (e-mail verification or change), not an access token.",
    "password_reset": "this is an opaque token, like the session token of the sign-in answer, not a JWT.",
    "server_signed": "The token has no sub claim, so it is not an access token.",
    "server_signed_jwks": "The token has no sub claim, so it is not an access token.",
}


class BetterAuth:
    """tests/better_auth/issuer.mjs, running."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        issued = self.read()
        self.issuers: dict[str, dict[str, Any]] = issued["issuers"]
        self.refused: dict[str, str] = issued["refused"]

    def read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line: dict[str, Any] = json.loads(self._process.stdout.readline())
        return line

    def rotate(self) -> dict[str, str]:
        """Make the issuer `rotation` sign with a new key; return a token of its first user and its kid."""
        assert self._process.stdin is not None
        self._process.stdin.write("rotate\n")
        self._process.stdin.flush()
        return self.read()


@pytest.fixture(scope="session")
def better_auth(root: Path) -> Iterator[BetterAuth]:
    folder = installed(root / "tests" / "better_auth")
    process = subprocess.Popen(
        ["node", "issuer.mjs"],
        cwd=folder,
        env={**os.environ, "BETTER_AUTH_SECRET": SECRET},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield BetterAuth(process)


def variables(better_auth: BetterAuth, algorithm: str) -> dict[str, str]:
    """The settings that the README gives for this way of signing."""
    url = better_auth.issuers[algorithm]["url"]
    if algorithm == "HS256":
        return {"BETTER_AUTH_SECRET": SECRET, "JWT_ISSUER": url}
    return {"BETTER_AUTH_URL": url}


def api_settings(database_url: str, variables: dict[str, str]) -> settings_module.Settings:
    values = {"better_auth_secret": None, **{name.lower(): value for name, value in variables.items()}}
    return settings(database_url=database_url, **values)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_user_of_better_auth_has_their_own_tasks(better_auth: BetterAuth, database_url: str, algorithm: str) -> None:
    users = better_auth.issuers[algorithm]["users"]
    with serving(api_settings(database_url, variables(better_auth, algorithm))) as url:
        for user in users:
            with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {user['token']}"}) as client:
                me = client.get("/api/me").json()
                assert {name: user[name] for name in ("email", "name")}.items() <= me.items()
                task = create(client, title=f"{user['name']}'s own")
                assert task["user_id"] == me["user_id"] == user["id"]
                assert client.get("/api/tasks").json() == [task]
    assert len({user["id"] for user in users}) == len(users) > 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keys", ["secret", "jwks", "both"])
def test_what_is_no_access_token_is_refused_however_lenient_the_settings(
    better_auth: BetterAuth, database_url: str, kind: str, keys: str
) -> None:
    # Neither issuer nor audience is checked here: the token's own form and claims must be enough.
    lenient = {"BETTER_AUTH_SECRET": SECRET, "JWKS_URL": better_auth.issuers["EdDSA"]["jwks_url"]}
    if keys != "both":
        lenient.pop({"secret": "JWKS_URL", "jwks": "BETTER_AUTH_SECRET"}[keys])
    with serving(api_settings(database_url, lenient)) as url:
        answer = httpx.get(f"{url}/api/tasks", headers={"Authorization": f"Bearer {better_auth.refused[kind]}"})
    assert_problem(answer, 401, "INVALID_TOKEN")
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def test_every_kind_of_token_that_better_auth_made_was_tried(better_auth: BetterAuth) -> None:
    assert better_auth.refused.keys() == KINDS.keys()
    assert better_auth.issuers.keys() == {*ALGORITHMS, "rotation"}


@pytest.mark.parametrize("kind", KINDS)
def test_doctor_knows_what_it_is(
    better_auth: BetterAuth,
    database_url: str,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    algorithm = "EdDSA" if kind.endswith("_jwks") else "HS256"
    for name, value in {"DATABASE_URL": database_url, **variables(better_auth, algorithm)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(settings_module.Settings.model_config, "env_file", None)
    assert not doctor.examine(better_auth.refused[kind])
    *healthy, last = capsys.readouterr().out.splitlines()
    assert all(line.startswith("ok") for line in healthy)
    assert last.startswith(f"FAIL  token       refused: {KINDS[kind]}")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_doctor_accepts_what_the_api_accepts(
    better_auth: BetterAuth,
    database_url: str,
    algorithm: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in {"DATABASE_URL": database_url, **variables(better_auth, algorithm)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(settings_module.Settings.model_config, "env_file", None)
    user = better_auth.issuers[algorithm]["users"][0]
    assert doctor.examine(user["token"])
    assert f"accepted: user '{user['id']}'" in capsys.readouterr().out
    other = better_auth.issuers["ES256" if algorithm != "ES256" else "RS256"]["users"][0]
    assert not doctor.examine(other["token"])
    report = capsys.readouterr().out
    assert ("Set BETTER_AUTH_URL" if algorithm == "HS256" else "Is JWKS_URL (or BETTER_AUTH_URL) that of") in report


def test_a_token_of_a_key_that_was_made_just_now_is_taken_at_once(
    better_auth: BetterAuth, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.keys.SECONDS_BETWEEN_FETCHES", 0)
    old = better_auth.issuers["rotation"]["users"][0]
    with serving(api_settings(database_url, variables(better_auth, "rotation"))) as url:
        for token in (old["token"], better_auth.rotate()["token"], better_auth.rotate()["token"], old["token"]):
            answer = httpx.get(f"{url}/api/me", headers={"Authorization": f"Bearer {token}"})
            assert answer.json()["user_id"] == old["id"], answer.text
