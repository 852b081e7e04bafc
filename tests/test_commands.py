"""The commands as a user types them, in a fresh copy of the project."""

import json
import signal
import time
from typing import Any

import httpx
import pytest

from backend import migrations
from tests.conftest import SECRET, execute, sign
from tests.helpers import create
from tests.project import Copy, free_port, wait_until


def get_and_post_a_task(copy: Copy, url: str) -> None:
    token = copy.run("main.py", "token", "--user", "alice").stdout
    assert token.count("\n") == 1
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token.strip()}"}) as alice:
        assert create(alice)["user_id"] == "alice"


def test_the_first_run_needs_nothing_and_leaves_nothing_running(copy: Copy) -> None:
    with copy.serving("main.py") as (process, url):
        get_and_post_a_task(copy, url)
        assert (copy.folder / ".env").stat().st_mode & 0o777 == 0o600
        assert copy.postgres_processes()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
    assert process.returncode == 0
    assert copy.ends_postgres()
    for line in (f"http://localhost:{url.rpartition(':')[2]}", "/docs", ".data/", "just written", "token --user alice"):
        assert line in out
    assert "Traceback" not in err
    assert (copy.folder / ".env").read_text().partition("BETTER_AUTH_SECRET=")[2].strip() not in out + err

    with copy.serving("main.py") as (process, url):  # a second run has the first one's tasks and secret
        get_and_post_a_task(copy, url)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate()
    assert process.returncode == 0
    assert "just written" not in out


def test_a_second_run_beside_the_first_says_what_is_wrong(copy: Copy) -> None:
    with copy.serving("main.py") as (_, url):
        port = url.rpartition(":")[2]
        second = copy.run("main.py", "--port", port)
        assert second.returncode == 1
        assert second.stderr == (
            f"Cannot listen on 127.0.0.1 port {port}: Address already in use. Is another `uv run main.py` running? "
            f"End it, or take another port: uv run main.py --port {int(port) + 1}\n"
        )
        get_and_post_a_task(copy, url)


def test_two_on_two_ports_share_the_embedded_database_and_the_last_one_ends_it(copy: Copy) -> None:
    with copy.serving("main.py") as (_, first):
        with copy.serving("main.py") as (_, second):
            get_and_post_a_task(copy, second)
        get_and_post_a_task(copy, first)


@pytest.mark.parametrize("arguments", [("main.py", "--workers", "2"), ("main.py", "--reload")])
def test_workers_and_reload_serve_and_end_the_same_way(copy: Copy, arguments: tuple[str, ...]) -> None:
    with copy.serving(*arguments) as (process, url):
        get_and_post_a_task(copy, url)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
    assert process.returncode == 0
    assert "Traceback" not in err


@pytest.mark.parametrize("workers", ["1", "2"])
def test_uvicorn_itself_makes_the_same_start(copy: Copy, workers: str) -> None:
    with copy.serving("-m", "uvicorn", "main:app", "--workers", workers) as (_, url):
        get_and_post_a_task(copy, url)
        assert copy.postgres_processes()


def test_a_killed_server_leaves_a_database_that_the_next_run_takes_over_and_ends(copy: Copy) -> None:
    with copy.serving("main.py") as (process, url):
        get_and_post_a_task(copy, url)
        process.kill()
        process.communicate()
    assert copy.postgres_processes()
    with copy.serving("main.py") as (_, url):
        get_and_post_a_task(copy, url)


def test_a_start_that_is_ended_at_once_leaves_no_database(copy: Copy) -> None:
    process = copy.start("main.py", "--port", str(free_port()))
    wait_until(lambda: (copy.folder / ".data" / "postgres" / "postmaster.pid").exists())
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 0, err


@pytest.mark.parametrize("command", [("main.py",), ("-m", "uvicorn", "main:app"), ("main.py", "migrate")])
def test_a_production_without_settings_exits_with_1_and_names_all_that_is_missing(
    copy: Copy, command: tuple[str, ...]
) -> None:
    ended = copy.run(*command, ENVIRONMENT="production")
    assert ended.returncode == 1
    assert [line.partition(":")[0] for line in ended.stderr.splitlines()] == [
        "DATABASE_URL",
        "BETTER_AUTH_SECRET, BETTER_AUTH_URL or JWKS_URL",
    ]
    assert not (copy.folder / ".env").exists()
    assert not (copy.folder / ".data").exists()


def test_uvicorn_with_workers_and_without_settings_ends_too(copy: Copy) -> None:
    ended = copy.run(
        "-m", "uvicorn", "main:app", "--workers", "2", "--port", str(free_port()), ENVIRONMENT="production"
    )
    assert "failed to start, stopping the parent process" in ended.stderr
    assert "DATABASE_URL: is missing" in ended.stderr
    assert "Traceback" not in ended.stderr


NOWHERE = {
    "DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/d",
    "BETTER_AUTH_SECRET": SECRET,
    "DB_WAIT_SECONDS": "0.2",
}


@pytest.mark.parametrize(
    ("command", "code"), [(("main.py",), 1), (("main.py", "migrate"), 1), (("-m", "uvicorn", "main:app"), 3)]
)
def test_a_start_that_must_migrate_and_cannot_says_so_and_ends(copy: Copy, command: tuple[str, ...], code: int) -> None:
    port = ["--port", str(free_port())] if "migrate" not in command else []
    ended = copy.run(*command, *port, **NOWHERE)
    assert ended.returncode == code
    assert "DATABASE_URL: no connection within 0.2 s: " in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "hunter2" not in ended.stderr


def test_a_production_start_needs_no_database_yet(copy: Copy) -> None:
    port = free_port()
    process = copy.start("main.py", "--port", str(port), ENVIRONMENT="production", **NOWHERE)
    try:
        wait_until(lambda: "started" in str(process.stderr and process.stderr.readline()))
        url = f"http://127.0.0.1:{port}"
        assert httpx.get(f"{url}/health").status_code == 200
        assert httpx.get(f"{url}/ready").status_code == 503
        assert httpx.get(f"{url}/api/tasks").status_code == 401
    finally:
        process.terminate()
        out, _ = process.communicate()
    assert process.returncode == 0
    assert out == ""


@pytest.mark.parametrize(("trusted", "client"), [("127.0.0.1", "203.0.113.7"), ("10.0.0.1", "127.0.0.1")])
def test_a_clients_address_is_taken_from_trusted_proxies_only(copy: Copy, trusted: str, client: str) -> None:
    with copy.serving("main.py", FORWARDED_ALLOW_IPS=trusted, LOG_FORMAT="json") as (process, url):
        httpx.get(f"{url}/health", headers={"X-Forwarded-For": "203.0.113.7", "X-Request-ID": "forwarded"})
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
    [line] = [json.loads(line) for line in err.splitlines() if '"forwarded"' in line]
    assert line["client"] == client


def test_migrate_brings_a_database_to_head(copy: Copy, empty_database: str) -> None:
    migrated = copy.run("main.py", "migrate", DATABASE_URL=empty_database, BETTER_AUTH_SECRET=SECRET)
    said = f"The database is at revision {migrations.head()}.\n"
    assert (migrated.returncode, migrated.stdout) == (0, said), migrated.stderr
    checked = copy.run("-m", "alembic", "check", DATABASE_URL=empty_database, BETTER_AUTH_SECRET=SECRET)
    assert "No new upgrade operations detected." in checked.stdout + checked.stderr


def test_alembic_without_settings_is_told_what_is_missing(copy: Copy) -> None:
    ended = copy.run("-m", "alembic", "upgrade", "head", ENVIRONMENT="production")
    assert ended.returncode == 1
    assert ended.stderr.startswith("DATABASE_URL: is missing")
    assert "CREATE TABLE task" in copy.run("-m", "alembic", "upgrade", "head", "--sql").stdout


def test_a_token_has_the_user_the_lifetime_and_the_claims_that_were_asked_for(copy: Copy) -> None:
    from jose import jwt

    environment = {"BETTER_AUTH_SECRET": SECRET, "JWT_ISSUER": "https://app.example"}
    arguments = ("--user", "alice", "--ttl", "2h", "--claim", "role=admin", "--claim", "name=A=B")
    printed = copy.run("main.py", "token", *arguments, **environment)
    claims = jwt.get_unverified_claims(printed.stdout.strip())
    assert claims.pop("exp") - claims.pop("iat") == 7200
    issuer = "https://app.example"
    assert claims == {"sub": "alice", "iss": issuer, "aud": issuer, "role": "admin", "name": "A=B"}
    assert printed.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["token", "--user", "alice"], 1, "BETTER_AUTH_SECRET"),
        (["token"], 2, "--user"),
        (["token", "--user", "a", "--ttl", "soon"], 2, "'soon' is no length of time like 90s, 15m, 1h or 7d"),
        (["token", "--user", "a", "--claim", "admin"], 2, "'admin' is no claim like role=admin"),
        (["serve"], 2, "serve"),
        (["--port", "http"], 2, "http"),
    ],
)
def test_a_wrong_call_is_explained(copy: Copy, arguments: list[str], code: int, sentence: str) -> None:
    ended = copy.run("main.py", *arguments)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_address_that_is_not_ours_is_explained(copy: Copy) -> None:
    ended = copy.run("main.py", "--host", "192.0.2.1", BETTER_AUTH_SECRET=SECRET)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Cannot listen on 192.0.2.1 port 8000: ")


def test_doctor_finds_nothing_wrong_with_a_healthy_project(copy: Copy) -> None:
    with copy.serving("main.py"):
        token = copy.run("main.py", "token", "--user", "alice").stdout.strip()
        healthy = copy.run("main.py", "doctor", token)
    assert healthy.returncode == 0, healthy.stdout
    lines = healthy.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["ok", name] for name in ("settings", "database", "migrations", "isolation", "secret", "token")
    ]
    assert lines[-1].endswith("accepted: user 'alice'; it ends in 59 min")


def test_doctor_in_a_fresh_clone_says_what_to_run(copy: Copy) -> None:
    ended = copy.run("main.py", "doctor")
    assert ended.returncode == 1
    assert "The first `uv run main.py` writes one." in ended.stdout


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"ENVIRONMENT": "production"}, "FAIL  settings    DATABASE_URL: is missing"),
        (NOWHERE, "FAIL  database    no connection: "),
        ({"JWKS_URL": "http://127.0.0.1:1/jwks"}, "FAIL  jwks        http://127.0.0.1:1/jwks: no connection"),
        ({}, f"FAIL  migrations  at none, not {migrations.head()}. Run: uv run main.py migrate"),
    ],
)
def test_doctor_names_each_fault(copy: Copy, empty_database: str, variables: dict[str, str], sentence: str) -> None:
    defaults = {} if "ENVIRONMENT" in variables else {"DATABASE_URL": empty_database, "BETTER_AUTH_SECRET": SECRET}
    ended = copy.run("main.py", "doctor", **{**defaults, **variables})
    assert ended.returncode == 1
    assert sentence in ended.stdout
    assert "Traceback" not in ended.stderr
    assert "hunter2" not in ended.stdout + ended.stderr


ISSUER = "https://app.example"
NAMES = {"iss": ISSUER, "aud": ISSUER}


@pytest.mark.parametrize(
    ("token", "sentence"),
    [
        ("undefined", "this is 'undefined', not a token: the client had none yet."),
        ({"exp": -185, **NAMES}, "it expired 3 min ago"),
        ({"exp": -99999999999, **NAMES}, "it expired 1157407 days ago"),
        (
            {"iss": f"{ISSUER}/", "aud": ISSUER},
            "its iss is 'https://app.example/' and must be 'https://app.example'. That is one slash too many.",
        ),
        (
            {"iss": ISSUER, "aud": f"{ISSUER}/api/auth"},
            "its aud is 'https://app.example/api/auth' and must be 'https://app.example'. That has a path too many.",
        ),
        ({"iss": ISSUER}, "it has no aud claim, and must have 'https://app.example'"),
        ({"secret": "x" * 32, **NAMES}, "its signature is not one of BETTER_AUTH_SECRET: another secret, or"),
        ("eyJhbGciOiJub25lIn0.e30.AAAA", "its alg is 'none'"),
        ("eyJhbGciOiJFZERTQSIsImtpZCI6ImEifQ.e30.AAAA", "it is signed with EdDSA and no JWKS is known."),
        ({"sub": " ann", **NAMES}, "The sub claim is not 1 to 255 characters"),
        ({"exp": 4102444800000, **NAMES}, "its exp is 410"),
        ({"iat": 1700000000, **NAMES}, "it lives "),
        ({"at_hash": "x", **NAMES}, "this is an ID token of the OAuth provider, for its client."),
        ({"client_id": "ann", **NAMES}, "it is a client's own (client_credentials), and of no user."),
        ({"image": "data:" + "x" * 9000, **NAMES}, "it is longer than 8 KiB, most likely for a picture in it."),
    ],
)
def test_doctor_says_exactly_why_a_token_is_not_accepted(
    copy: Copy, token: str | dict[str, Any], sentence: str
) -> None:
    if isinstance(token, dict):
        claims = {"sub": "ann", **token, "exp": time.time() + token.get("exp", 900)}
        token = sign(claims, secret=claims.pop("secret", SECRET))
    ended = copy.run("main.py", "doctor", f"Bearer {token}", JWT_ISSUER=ISSUER, **NOWHERE)
    assert ended.returncode == 1
    assert ended.stdout.splitlines()[-1].startswith(f"FAIL  token       refused: {sentence}")


def test_doctor_names_all_that_is_amiss_at_once_and_what_to_set(copy: Copy, empty_database: str) -> None:
    other = "https://other.example"
    token = sign({"sub": "ann", "iss": other, "aud": [f"{other}/api"], "exp": time.time() + 899_000})
    ended = copy.run("main.py", "doctor", token, JWT_ISSUER=ISSUER, **NOWHERE)
    lifetime, issuer, audience = [line for line in ended.stdout.splitlines() if line.startswith("FAIL  token")]
    assert "it lives 10 days, and may live 24 h. Shorten" in lifetime
    assert issuer.endswith(f"must be '{ISSUER}'. If it is right, set JWT_ISSUER={ISSUER},{other}")
    assert audience.endswith(f"must be '{ISSUER}'. If it is right, set JWT_AUDIENCE={ISSUER},{other}/api")
    own = {
        "BETTER_AUTH_SECRET": SECRET,
        "DATABASE_URL": empty_database,
        "JWT_ISSUER": f"{ISSUER},{other}",
        "JWT_AUDIENCE": f"{ISSUER},{other}/api",
        "MAX_TOKEN_SECONDS": "900000",
    }
    ended = copy.run("main.py", "doctor", token, **own)
    assert "ok    token       accepted: user 'ann'" in ended.stdout


def test_doctor_says_what_a_token_may_do_and_that_it_was_revoked(copy: Copy, empty_database: str) -> None:
    migrations.upgrade(empty_database, wait_seconds=5)
    url = f"{empty_database}{'&' if '?' in empty_database else '?'}pgbouncer=true"
    own = {"BETTER_AUTH_SECRET": SECRET, "DATABASE_URL": url, "READ_ONLY_ROLES": "viewer"}
    token = sign({"sub": "ann", "sid": "phone", "scope": "tasks:read", "role": "viewer", "exp": time.time() + 900})
    ended = copy.run("main.py", "doctor", token, **own)
    assert ended.returncode == 0, ended.stdout
    assert "from DATABASE_URL without Prisma's pgbouncer\n" in ended.stdout
    assert "accepted: user 'ann', who may only read with the scope 'tasks:read'; it ends in 1" in ended.stdout
    execute(
        empty_database,
        "INSERT INTO revocation (issuer, jti, session_id, issued_before, ends_at, erases)"
        " VALUES ('x', 'x', 'phone', now(), now() + interval '1 day', false)",
    )
    ended = copy.run("main.py", "doctor", token, **own)
    assert "refused: its session, or its user's, has been ended (TOKEN_REVOKED)." in ended.stdout


def test_doctor_knows_where_a_key_set_may_be_and_that_anybody_may_use_it(copy: Copy, api: str) -> None:
    ended = copy.run("main.py", "doctor", JWKS_URL=f"{api}/no-keys", **NOWHERE)
    assert "the endpoint answered 404. Better Auth has it elsewhere, by its basePath or" in ended.stdout
    assert "jwksPath: set JWKS_URL to its baseURL + basePath + jwksPath." in ended.stdout
    assert "FAIL  issuer      JWT_ISSUER: is missing" in ended.stdout
