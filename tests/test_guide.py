"""docs/better-auth.md is true: what it tells people to write works, and doctor says what it quotes."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from backend import doctor
from backend.settings import Settings
from tests.conftest import SECRET, serving, settings, sign
from tests.project import free_port, installed

MODES = ("1. Let Better Auth sign tokens", "Instead: the shared secret")
SETTINGS_OF = {MODES[0]: "2. Tell the API where Better Auth is", MODES[1]: MODES[1]}


@pytest.fixture(scope="module")
def guide(root: Path) -> str:
    return (root / "docs" / "better-auth.md").read_text()


def snippets(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def section(guide: str, title: str) -> str:
    return guide.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def variables(text: str, url: str) -> dict[str, str]:
    """The settings that the first snippet of a section gives, with the real URL and secret in them."""
    pairs = [line.split("=", 1) for line in snippets(text, "bash")[0].splitlines()]
    changed = {"http://localhost:3000": url, "the-same-secret-as-in-better-auth-s-own-env": SECRET}
    return {name: changed.get(value, value) for name, value in pairs}


@contextmanager
def better_auth(module: Path, folder: Path, url: str, database_url: str) -> Iterator[None]:
    environment = {"PATH": str(Path(shutil.which("node") or "").parent), "DATABASE_URL": database_url}
    environment |= {"BETTER_AUTH_URL": url, "BETTER_AUTH_SECRET": SECRET}
    with subprocess.Popen(
        ["node", "serve.mjs", str(module)], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "listening\n"
            yield
        finally:
            process.terminate()


@pytest.mark.parametrize("mode", MODES)
def test_an_app_that_is_connected_as_it_says_has_its_users_tasks(
    guide: str, root: Path, tmp_path: Path, empty_database: str, mode: str
) -> None:
    [source] = [each for each in snippets(section(guide, mode), "ts") if each.startswith("// auth.ts")]
    packages = installed(root / "frontend") / "node_modules"
    (tmp_path / "node_modules").symlink_to(packages)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "auth.ts").write_text(source)
    shutil.copy(root / "tests" / "better_auth" / "serve.mjs", tmp_path)
    strict = {"strict": True, "skipLibCheck": True, "target": "es2022", "module": "esnext", "types": ["node"]}
    options = {"files": ["auth.ts"], "compilerOptions": {**strict, "moduleResolution": "bundler"}}
    (tmp_path / "tsconfig.json").write_text(json.dumps(options))
    compiled = subprocess.run([packages / ".bin" / "tsc"], cwd=tmp_path, capture_output=True, text=True)
    assert compiled.returncode == 0, compiled.stdout

    url = f"http://localhost:{free_port()}"
    values = {name.lower(): value for name, value in variables(section(guide, SETTINGS_OF[mode]), url).items()}
    own = {"better_auth_secret": None, "database_url": empty_database, **values}
    with better_auth(tmp_path / "auth.js", tmp_path, url, empty_database), serving(settings(**own)) as api:
        tokens = []
        for name in ("Ann", "Bob"):
            with httpx.Client(base_url=url, headers={"Origin": url}) as person:
                account = {"name": name, "email": f"{name}@example.test", "password": "correct horse battery"}
                person.post("/api/auth/sign-up/email", json=account).raise_for_status()
                tokens.append(person.get("/api/auth/token").json()["token"])
        for token, name in zip(tokens, ("Ann", "Bob"), strict=True):
            with httpx.Client(base_url=api, headers={"Authorization": f"Bearer {token}", "Origin": url}) as client:
                answer = client.post("/api/tasks", json={"title": f"{name}'s"})
                assert answer.status_code == 201, answer.text
                assert answer.headers["Access-Control-Allow-Origin"] == url
                assert [task["title"] for task in client.get("/api/tasks").json()] == [f"{name}'s"]


def test_what_it_shows_of_the_frontend_is_what_the_frontend_has(guide: str, root: Path) -> None:
    shown = [each for each in snippets(guide, "ts") if each.startswith("// frontend/")]
    assert len(shown) == 4
    for each in shown:
        path, _, text = each.removeprefix("// ").partition("\n")
        assert text in (root / path).read_text(), path


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
    ]
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    for name, value in {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "JWT_ISSUER": issuer}.items():
        monkeypatch.setenv(name, value)
    said = []
    for token in tokens:
        assert not doctor.examine(token)
        said.append(capsys.readouterr().out)
    monkeypatch.setenv("JWKS_URL", "http://127.0.0.1:1/jwks")
    assert not doctor.examine(None)
    said.append(capsys.readouterr().out)
    for quote, report in zip(quotes, said, strict=True):
        assert quote in report, (quote, report)
