"""docs/better-auth.md is true: what it tells people to write works, and doctor says what it quotes."""

import re
import time
from pathlib import Path

import httpx
import pytest

from backend import doctor
from backend.settings import Settings
from tests.conftest import SECRET, serving, settings, sign
from tests.guide import STOCK, assert_strict, better_auth, section, server_of, snippets, variables
from tests.plugins import Person, bearer

MODES = (STOCK, "Instead: the shared secret")
SETTINGS_OF = {MODES[0]: "2. Tell the API where Better Auth is", MODES[1]: MODES[1]}


@pytest.mark.parametrize("mode", MODES)
def test_an_app_that_is_connected_as_it_says_has_its_users_tasks(
    guide: str, root: Path, tmp_path: Path, empty_database: str, mode: str
) -> None:
    source = server_of(section(guide, mode))
    assert_strict(root, tmp_path, source)
    with better_auth(root, tmp_path, source, empty_database) as url:
        values = variables(section(guide, SETTINGS_OF[mode]), url)
        with serving(settings(**{"better_auth_secret": None, "database_url": empty_database, **values})) as api:
            for name in ("Ann", "Bob"):
                with Person(url) as person:
                    person.sign_up().raise_for_status()
                    headers = {**bearer(person.token()), "Origin": url}
                with httpx.Client(base_url=api, headers=headers) as client:
                    answer = client.post("/api/tasks", json={"title": f"{name}'s"})
                    assert answer.status_code == 201, answer.text
                    assert answer.headers["Access-Control-Allow-Origin"] == url
                    assert [task["title"] for task in client.get("/api/tasks").json()] == [f"{name}'s"]


def test_what_it_shows_of_the_frontend_is_what_the_frontend_has(guide: str, root: Path) -> None:
    shown = [each for each in snippets(guide, "ts") if each.startswith("// frontend/")]
    assert len(shown) == 3
    for each in shown:
        path, _, text = each.removeprefix("// ").partition("\n")
        assert text in (root / path).read_text(), path


def test_each_module_that_it_shows_of_the_client_compiles_strictly_as_pasted(guide: str, pasted: Path) -> None:
    shown = [each for each in snippets(guide, "tsx?") if "better-tasks-client" in each]
    assert len(shown) == 4
    for each in shown:
        name, _, text = each.removeprefix("// ").partition("\n")
        assert (pasted / name).read_text() == text


def test_the_settings_for_neon_auth_are_taken(guide: str) -> None:
    pairs = (line.split("=", 1) for line in snippets(section(guide, "Neon Auth"), "bash")[0].splitlines())
    taken = settings(**{name.lower(): value for name, value in pairs})
    assert taken.issuers == taken.audiences == ("https://ep-example.neonauth.eu-central-1.aws.neon.tech",)


def test_doctor_says_what_it_quotes(
    guide: str, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quotes = re.findall(r"^\|[^|]*\| `([^|]*)` \|", section(guide, "When it does not work"), re.MULTILINE)
    issuer = "http://localhost:3000"
    good = {"sub": "ann", "iss": issuer, "aud": issuer}
    tokens = [
        "undefined",
        sign({**good, "iat": int(time.time()) - 1200, "exp": int(time.time()) - 300}),
        "PFwpqsfgwPadNlQ3IdsvJs3z2vLhocyF",
        sign({**good, "iss": "http://localhost:3001"}),
        "eyJhbGciOiJFZERTQSIsImtpZCI6ImsifQ.eyJzdWIiOiJhbm4ifQ.c2ln",
        sign({**good, "scope": "openid"}),
        sign({**good, "image": "x" * 9000}),
    ]
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    for name, value in {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "JWT_ISSUER": issuer}.items():
        monkeypatch.setenv(name, value)
    said = []
    for token in tokens:
        is_well = doctor.examine(token)
        said.append(capsys.readouterr().out)
        assert is_well is ("accepted: " in said[-1])  # one that is accepted, and may do too little
    monkeypatch.setenv("JWKS_URL", "http://127.0.0.1:1/jwks")
    assert not doctor.examine(None)
    said.append(capsys.readouterr().out)
    for quote, report in zip(quotes, said, strict=True):
        assert quote in report, (quote, report)
