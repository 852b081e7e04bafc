"""Every setting, from the environment to the line that says what is wrong with it."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend import settings as module
from backend.app import create_app
from backend.settings import LIMITS, Settings, StartError, load_settings, write_env_file
from tests.conftest import Log, serving, settings

SECRET = "x" * 32
PRODUCTION = {"ENVIRONMENT": "production", "DATABASE_URL": "postgres://u:p@h/d", "BETTER_AUTH_SECRET": SECRET}


@pytest.fixture(autouse=True)
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of a `.env` that is not there yet."""
    path = tmp_path / ".env"
    monkeypatch.setattr(module, "ENV_FILE", path)
    monkeypatch.setitem(Settings.model_config, "env_file", path)
    return path


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def problems(monkeypatch: pytest.MonkeyPatch, **variables: str) -> list[str]:
    with pytest.raises(StartError) as caught:
        load(monkeypatch, **variables)
    return str(caught.value).splitlines()


def test_a_development_needs_a_secret_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(monkeypatch, BETTER_AUTH_SECRET=SECRET)
    assert loaded.model_dump(exclude={"better_auth_secret"}) == {
        "environment": "development",
        "database_url": None,
        "better_auth_url": None,
        "jwks_url": None,
        "jwt_issuer": (),
        "jwt_audience": (),
        "max_token_seconds": 86400,
        "read_only_roles": (),
        "cors_origins": (),
        "cors_headers": (),
        "redis_url": None,
        "rate_limit": (600, 60),
        "auth_failure_limit": (30, 60),
        "db_pool_size": 10,
        "db_wait_seconds": 5,
        "history_days": 90,
        "migrate_on_start": True,
        "max_body_bytes": 65536,
        "max_import_bytes": None,
        "host": "127.0.0.1",
        "port": 8000,
        "web_concurrency": 1,
        "forwarded_allow_ips": "127.0.0.1",
        "root_path": "",
        "log_level": "info",
        "log_format": "console",
        "otel_exporter_otlp_endpoint": None,
    }


@pytest.mark.parametrize("environment", ["production", "staging"])
def test_production_and_staging_have_stricter_defaults(monkeypatch: pytest.MonkeyPatch, environment: str) -> None:
    loaded = load(monkeypatch, **{**PRODUCTION, "ENVIRONMENT": environment})
    assert (loaded.cors_origins, loaded.migrate_on_start, loaded.log_format) == ((), False, "json")


def test_a_production_without_settings_is_told_all_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    database, keys = problems(monkeypatch, ENVIRONMENT="production")
    assert database == "DATABASE_URL: is missing: set it to postgresql://user:password@host:5432/database"
    assert keys == "BETTER_AUTH_SECRET, BETTER_AUTH_URL or JWKS_URL: one must say whose tokens count"


def test_every_problem_is_named_at_once_without_a_secret_or_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = problems(
        monkeypatch,
        ENVIRONMENT="prod",
        DATABASE_URL="mysql://u:hunter2@h/d",
        BETTER_AUTH_SECRET="too-short-hunter2",
        BETTER_AUTH_URL="app.example",
        CORS_ORIGINS="https://app.example/",
        CORS_HEADERS="X Tenant",
        REDIS_URL="hunter2",
        RATE_LIMIT="many",
        AUTH_FAILURE_LIMIT="few",
        DB_POOL_SIZE="many",
        DB_WAIT_SECONDS="0",
        MIGRATE_ON_START="perhaps",
        MAX_BODY_BYTES="1",
        MAX_IMPORT_BYTES="1",
        PORT="65536",
        WEB_CONCURRENCY="0",
        ROOT_PATH="hunter2",
        LOG_LEVEL="loud",
        LOG_FORMAT="xml",
    )
    assert [line.partition(":")[0] for line in lines] == [
        "ENVIRONMENT",
        "DATABASE_URL",
        "BETTER_AUTH_SECRET",
        "BETTER_AUTH_URL",
        "CORS_ORIGINS",
        "CORS_HEADERS",
        "REDIS_URL",
        "RATE_LIMIT",
        "AUTH_FAILURE_LIMIT",
        "DB_POOL_SIZE",
        "DB_WAIT_SECONDS",
        "MIGRATE_ON_START",
        "MAX_BODY_BYTES",
        "MAX_IMPORT_BYTES",
        "PORT",
        "WEB_CONCURRENCY",
        "ROOT_PATH",
        "LOG_LEVEL",
        "LOG_FORMAT",
    ]
    assert "hunter2" not in "\n".join(lines)


@pytest.mark.parametrize(
    "url", ["postgres://u:p@h:5432/d", "postgresql://u:p@h:5432/d", "postgresql+psycopg2://u:p@h:5432/d"]
)
def test_every_spelling_of_a_postgresql_url_means_the_same(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    loaded = load(monkeypatch, DATABASE_URL=url, BETTER_AUTH_SECRET=SECRET)
    assert loaded.database_url is not None
    assert loaded.database_url.get_secret_value() == "postgresql://u:p@h:5432/d"
    assert "u:p" not in repr(loaded)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("postgresql://u:hunter2@h/d?pool=9", "has a parameter that PostgreSQL does not know: pool"),
        ("postgresql://u:hunter2@h/d?schema=hunter", "names a schema, and this API's tables are in public"),
        ("postgresql://u:hunter2@h/d?sslaccept=strict", "write sslmode=verify-full&sslrootcert=system instead"),
        ("postgresql://u:hunter2@h/d?sslidentity=x.p12", "write sslcert=…&sslkey=… instead"),
        ("prisma+postgres://h/?api_key=hunter2", "is for Prisma's own client: set it to the database's own URL"),
        ("'postgresql://u:hunter2@h/d", "must begin with postgres://"),
        ("psql -h hunter2", "must begin with postgres://"),
        ("postgresql://u:hunter2@[h/d", "is not a PostgreSQL URL: expected postgresql://user:password@host"),
        ("postgresql://u:hunter%2@h/d", "percent-encode any of :/?#[]@% in the password"),
        ("postgresql+asyncpg://u:hunter2@h/d", "must begin with postgres://"),
        ("host=h password=hunter2", "must begin with postgres://"),
    ],
)
def test_a_bad_database_url_is_explained_without_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str, sentence: str
) -> None:
    [line] = problems(monkeypatch, DATABASE_URL=url, BETTER_AUTH_SECRET=SECRET)
    assert sentence in line
    assert "hunter" not in line


PRISMAS = "pgbouncer=true&schema=public&connection_limit=1&pool_timeout=0&socket_timeout=9&statement_cache_size=0"


@pytest.mark.parametrize(
    ("value", "url"),
    [
        (f"postgres://u:p@h/d?{PRISMAS}", "postgresql://u:p@h/d"),
        (
            "postgres://u:p@h/d?sslmode=require&schema=public&connect_timeout=9",
            "postgresql://u:p@h/d?sslmode=require&connect_timeout=9",
        ),
        ("postgres://u:p@h/d?sslaccept=accept_invalid_certs&sslmode=require", "postgresql://u:p@h/d?sslmode=require"),
        ("postgres://u:p?schema=x@h/d?%73chema=public", "postgresql://u:p?schema=x@h/d"),
        ("postgres://u:p@h?schema=public", "postgresql://u:p@h"),
        ('"postgres://u:p@h/d"', "postgresql://u:p@h/d"),
        (" 'postgres://u:p@h/d' ", "postgresql://u:p@h/d"),
        ("psql 'postgres://u:p@h/d?sslmode=require'", "postgresql://u:p@h/d?sslmode=require"),
        ("\"psql 'postgres://u:p@h/d'\"", "postgresql://u:p@h/d"),
        ("psql postgres://u:p@h/d", "postgresql://u:p@h/d"),
    ],
)
@pytest.mark.parametrize("place", ["the environment", "the file"])
def test_a_database_url_is_taken_as_other_programs_have_it(
    monkeypatch: pytest.MonkeyPatch, env_file: Path, value: str, url: str, place: str
) -> None:
    if place == "the file":
        env_file.write_text(f"DATABASE_URL={value}\n")
    else:
        monkeypatch.setenv("DATABASE_URL", value)
    loaded = load(monkeypatch, BETTER_AUTH_SECRET=SECRET)
    assert loaded.database_url is not None
    assert loaded.database_url.get_secret_value() == url


def test_what_only_prisma_knows_is_named_in_the_log_without_its_values(log: Log, database_url: str) -> None:
    separator = "&" if "?" in database_url else "?"
    with serving(settings(database_url=f"{database_url}{separator}{PRISMAS}")) as url:
        assert httpx.get(f"{url}/ready").status_code == 200
    [line] = log.lines("database_url_parameters_passed_over")
    assert line["names"] == [part.partition("=")[0] for part in PRISMAS.split("&")]
    assert database_url not in log.getvalue()
    with serving(settings(database_url=database_url)) as url:
        assert httpx.get(f"{url}/health").status_code == 200
    assert len(log.lines("database_url_parameters_passed_over")) == 1


@pytest.mark.parametrize(
    ("secret", "sentence"),
    [
        ("short", "must have at least 32 characters, this one has 5"),
        ("better-auth-secret-12345678901234567890", "public default"),
        ("-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n", "not a shared secret"),
        ("ssh-ed25519 " + "x" * 32, "not a shared secret"),
        ("x" * 32 + "-ssh-rsa", "not a shared secret"),
    ],
)
def test_a_secret_that_protects_nothing_is_refused(monkeypatch: pytest.MonkeyPatch, secret: str, sentence: str) -> None:
    [line] = problems(monkeypatch, BETTER_AUTH_SECRET=secret)
    assert line.startswith("BETTER_AUTH_SECRET: ")
    assert sentence in line
    assert secret not in line


@pytest.mark.parametrize(
    ("url", "origin", "path"),
    [
        ("https://app.example", "https://app.example", "/api/auth"),
        ("https://App.Example/", "https://app.example", "/api/auth"),
        ("https://app.example:443/api/auth", "https://app.example", "/api/auth"),
        ("https://app.example/api/auth/", "https://app.example", "/api/auth"),
        ("https://app.example/shop/Auth", "https://app.example", "/shop/Auth"),
        ("http://localhost:3000/x?y#z", "http://localhost:3000", "/x"),
        ("http://[::1]:3000", "http://[::1]:3000", "/api/auth"),
    ],
)
def test_issuers_audience_and_jwks_come_from_where_better_auth_is(
    monkeypatch: pytest.MonkeyPatch, url: str, origin: str, path: str
) -> None:
    loaded = load(monkeypatch, BETTER_AUTH_URL=url)
    assert (loaded.issuers, loaded.audiences) == ((origin,), (origin,))
    assert (loaded.oauth_issuers, loaded.jwks_url) == ((f"{origin}{path}",), f"{origin}{path}/jwks")


def test_each_of_them_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"JWKS_URL": "https://keys.example/.well-known/jwks.json", "JWT_ISSUER": "me", "JWT_AUDIENCE": "you"}
    loaded = load(monkeypatch, BETTER_AUTH_URL="https://app.example", **own)
    assert (loaded.jwks_url, loaded.issuers, loaded.audiences) == (own["JWKS_URL"], ("me",), ("you",))


def test_issuers_audiences_and_roles_are_lists_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(
        monkeypatch,
        BETTER_AUTH_URL="https://app.example",
        JWT_ISSUER="https://app.example, https://app.example/api/auth",
        JWT_AUDIENCE="https://app.example,https://api.example",
        READ_ONLY_ROLES="viewer, guest",
    )
    assert loaded.issuers == loaded.oauth_issuers == ("https://app.example", "https://app.example/api/auth")
    assert loaded.audiences == ("https://app.example", "https://api.example")
    assert loaded.read_only_roles == ("viewer", "guest")


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_a_key_set_that_anybody_may_use_does_not_start_in_production(
    monkeypatch: pytest.MonkeyPatch, environment: str
) -> None:
    own = {"JWKS_URL": "https://keys.example/jwks", "DATABASE_URL": "postgresql://h/d"}
    [line] = problems(monkeypatch, ENVIRONMENT=environment, **own)
    assert line.startswith("JWT_ISSUER or JWT_AUDIENCE must be set beside JWKS_URL: ")
    for name in ("JWT_ISSUER", "JWT_AUDIENCE", "BETTER_AUTH_URL"):
        with monkeypatch.context() as patch:
            assert load(patch, ENVIRONMENT=environment, **own, **{name: "https://app.example"}).issuers


def test_a_key_set_that_anybody_may_use_is_a_warning_in_development(log: Log) -> None:
    create_app(settings(better_auth_secret=None, jwks_url="http://127.0.0.1:9/jwks"))
    [line] = log.lines("issuer_unknown")
    assert line["level"] == "warning"
    create_app(settings(better_auth_secret=None, jwks_url="http://127.0.0.1:9/jwks", jwt_issuer="me"))
    assert len(log.lines("issuer_unknown")) == 1


@pytest.mark.parametrize("name", ["JWT_ISSUER", "JWT_AUDIENCE"])
def test_where_one_of_issuer_and_audience_is_set_the_other_is_checked_too(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    loaded = load(monkeypatch, BETTER_AUTH_SECRET=SECRET, **{name: "https://app.example"})
    assert (loaded.issuers, loaded.audiences) == (("https://app.example",), ("https://app.example",))


@pytest.mark.parametrize("url", ["app.example", "ftp://app.example", "https://", "https://h:port", "https://h h"])
@pytest.mark.parametrize("name", ["BETTER_AUTH_URL", "JWKS_URL", "OTEL_EXPORTER_OTLP_ENDPOINT"])
def test_what_is_no_http_url_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, url: str) -> None:
    [line] = problems(monkeypatch, BETTER_AUTH_SECRET=SECRET, **{name: url})
    assert line == f"{name}: is not a URL: expected http://host or https://host"


def test_cors_origins_are_a_list_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(monkeypatch, BETTER_AUTH_SECRET=SECRET, CORS_ORIGINS="https://a.example, http://b.example:81")
    assert loaded.cors_origins == ("https://a.example", "http://b.example:81")
    [line] = problems(monkeypatch, CORS_ORIGINS="https://a.example/path")
    assert (
        line == "CORS_ORIGINS: must list origins like https://a.example, with commas between them and no path or slash"
    )


def test_cors_headers_are_names_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(monkeypatch, BETTER_AUTH_SECRET=SECRET, CORS_HEADERS="X-Tenant, x-b3-traceid")
    assert loaded.cors_headers == ("X-Tenant", "x-b3-traceid")
    for text in ("X Tenant", "X-Tenant: a", "*", "X-Ä", "X-Tenant\r\nX-Evil"):
        [line] = problems(monkeypatch, CORS_HEADERS=text)
        assert line == "CORS_HEADERS: must list names of headers like X-Tenant, with commas between them"


@pytest.mark.parametrize("text", ["backend", "//backend", "https://h/backend", "/a b", "/a?b", "/a/../b", "/a//b"])
def test_what_is_no_prefix_of_paths_is_told_what_one_looks_like(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    [line] = problems(monkeypatch, BETTER_AUTH_SECRET=SECRET, ROOT_PATH=text)
    assert line == "ROOT_PATH: must be a path like /backend, with one slash in front of each part"


def test_the_rest_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    values: dict[str, Any] = {
        "db_pool_size": 3,
        "db_wait_seconds": 1.5,
        "migrate_on_start": False,
        "max_token_seconds": 3600,
        "max_body_bytes": 2048,
        "max_import_bytes": 4096,
        "host": "0.0.0.0",  # noqa: S104
        "port": 81,
        "web_concurrency": 2,
        "forwarded_allow_ips": "10.0.0.1",
        "log_level": "debug",
        "log_format": "json",
    }
    loaded = load(monkeypatch, BETTER_AUTH_SECRET=SECRET, **{name.upper(): str(v) for name, v in values.items()})
    assert values.items() <= loaded.model_dump().items()
    assert load(monkeypatch, LOG_LEVEL="WARNING").log_level == "warning"


def test_an_empty_variable_is_a_missing_one(monkeypatch: pytest.MonkeyPatch, env_file: Path) -> None:
    env_file.write_text(f"BETTER_AUTH_SECRET={SECRET}\nPORT=\n")
    loaded = load(monkeypatch, BETTER_AUTH_SECRET="", DATABASE_URL="", PORT="", CORS_ORIGINS="", JWT_ISSUER="")
    assert loaded.better_auth_secret is not None
    assert (loaded.port, loaded.database_url, loaded.cors_origins, loaded.issuers) == (8000, None, (), ())


@pytest.mark.parametrize("name", LIMITS)
def test_an_empty_limit_turns_it_off_in_the_environment_and_in_the_file(
    monkeypatch: pytest.MonkeyPatch, env_file: Path, name: str
) -> None:
    env_file.write_text(f"BETTER_AUTH_SECRET={SECRET}\n{name.upper()}=\n")
    assert getattr(load(monkeypatch), name) is None
    assert getattr(load(monkeypatch, **{name.upper(): "5/hour"}), name) == (5, 3600)
    assert getattr(load(monkeypatch, **{name.upper(): ""}), name) is None


@pytest.mark.parametrize("text", ["many", "600", "0/minute", "-1/minute", "1/fortnight", "1/second;2/minute", "1/0"])
def test_what_is_no_limit_is_told_what_one_looks_like(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    [line] = problems(monkeypatch, BETTER_AUTH_SECRET=SECRET, RATE_LIMIT=text)
    assert line == "RATE_LIMIT: must be a number and a length of time, like 600/minute, or empty for no limit"


@pytest.mark.parametrize("url", ["redis://localhost", "rediss://u:p@h:6380/3", "redis://h/0?socket_keepalive=true"])
def test_a_redis_url_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    loaded = load(monkeypatch, BETTER_AUTH_SECRET=SECRET, REDIS_URL=url)
    assert loaded.redis_url is not None
    assert loaded.redis_url.get_secret_value() == url


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379",
        "http://:hunter2@h",
        "redis://:hunter2@/0",
        "redis://:hunter2@h:port",
        "redis://:hunter2@h/zero",
        "redis://:hunter2@h/0?unknown=1",
        "redis://:hunter2@h/0?socket_timeout=soon",
    ],
)
def test_a_bad_redis_url_is_explained_without_its_password(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    [line] = problems(monkeypatch, BETTER_AUTH_SECRET=SECRET, REDIS_URL=url)
    assert line.startswith("REDIS_URL: is not a Redis URL: expected redis://user:password@host:6379/0")
    assert "hunter" not in line


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, env_file: Path) -> None:
    env_file.write_text(f"BETTER_AUTH_SECRET={SECRET}\nPORT=1\nLOG_LEVEL=error\nUNKNOWN=1\n")
    loaded = load(monkeypatch, PORT="2")
    assert (loaded.port, loaded.log_level) == (2, "error")


def test_a_file_that_is_no_text_is_named(monkeypatch: pytest.MonkeyPatch, env_file: Path) -> None:
    env_file.write_bytes(b"\xff\xfe")
    assert problems(monkeypatch) == [f"{env_file}: is not UTF-8 text"]


def test_the_first_run_writes_a_secret_that_only_its_owner_can_read(
    monkeypatch: pytest.MonkeyPatch, env_file: Path
) -> None:
    assert write_env_file()
    assert env_file.stat().st_mode & 0o777 == 0o600
    assert list(env_file.parent.iterdir()) == [env_file]
    written = env_file.read_text()
    assert len(load(monkeypatch).better_auth_secret.get_secret_value()) >= 32  # type: ignore[union-attr]
    assert not write_env_file()
    assert env_file.read_text() == written


@pytest.mark.parametrize("variables", [{"ENVIRONMENT": "production"}, {"BETTER_AUTH_SECRET": SECRET}])
def test_no_file_is_written_in_production_or_beside_a_secret(
    monkeypatch: pytest.MonkeyPatch, env_file: Path, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert not write_env_file()
    assert not env_file.exists()


def test_a_folder_that_cannot_be_written_to_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "ENV_FILE", tmp_path / "missing" / ".env")
    with pytest.raises(StartError, match="cannot be written: No such file or directory; set BETTER_AUTH_SECRET"):
        write_env_file()


@pytest.mark.parametrize("document", ["README.md", ".env.example"])
def test_every_setting_is_documented_and_every_documented_one_exists(root: Path, document: str) -> None:
    text = (root / document).read_text()
    pattern = r"^\| `([A-Z_]+)` \|" if document == "README.md" else r"^#? ?([A-Z_]+)="
    assert re.findall(pattern, text, re.MULTILINE) == [name.upper() for name in Settings.model_fields]
