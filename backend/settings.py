"""Every environment variable, typed, read once; each problem is one line that says what to do."""

import os
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import psycopg2
from jose.utils import is_pem_format, is_ssh_key
from psycopg2.extensions import parse_dsn
from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent
ENV_FILE = ROOT / ".env"
# Where a proxy puts the API: a path-absolute (RFC 3986, section 3.3) of unreserved and encoded characters, which need
# no escape in a header, in HTML and in JSON, and of no parts that are dots alone.
PREFIX = re.compile(r"(?=.{0,200}$)((?:/(?!\.\.?(?:/|$))(?:[A-Za-z0-9._~-]|%(?!2[EeFf])[0-9A-Fa-f]{2})+)*)/?")
LIMITS = ("rate_limit", "auth_failure_limit")
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'+.^_`|~-]+")  # a token (RFC 9110, section 5.6.2), but for *

# What Better Auth falls back to when it is given no secret: public, so anyone could sign with it.
BETTER_AUTH_DEFAULT_SECRET = "better-auth-secret-12345678901234567890"  # noqa: S105  # nosec B105
HOW_TO_MAKE_ONE = "make one with: openssl rand -base64 32"


class StartError(Exception):
    """Why the API cannot start: one line for each problem, in words for whoever runs it."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class DeclarationError(StartError):
    """A route or a table that cannot work as it is declared: raised at import, with what to do about it."""


def _http_url(value: str) -> SplitResult:
    """Return the parts of an http(s) URL, or raise ValueError with a sentence."""
    try:
        url = urlsplit(value)
        valid = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:  # a port that is no number, a bracket left open
        valid = False
    if not valid or re.search(r"[\s\x00-\x1f]", value):
        raise ValueError("is not a URL: expected http://host or https://host")
    return url


def origin(value: str) -> str:
    """Return scheme, host and port of a URL the way a browser's `URL.origin` writes them."""
    url = _http_url(value)
    port = "" if url.port in (None, {"http": 80, "https": 443}[url.scheme]) else f":{url.port}"
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    return f"{url.scheme}://{host}{port}"


def _mounted(url: str) -> str:
    """Return where Better Auth's routes are, by its base URL: at its path, or else at /api/auth."""
    return url if urlsplit(url).path else f"{url}/api/auth"


def prefix_of(value: str) -> str | None:
    """Return a prefix of paths without a slash at its end, `/backend`; None if the value is no such prefix."""
    found = PREFIX.fullmatch(value)
    return found and found[1]


def _split_commas(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class Limit(NamedTuple):
    """How often something may happen: `amount` times in `seconds`."""

    amount: int
    seconds: int


def _limit(value: object) -> object:
    """Parse a limit like `600/minute`; an empty text gives None, which turns the limit off."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    from limits import parse_many

    try:
        [limit] = parse_many(value)
    except ValueError:
        limit = None
    if limit is None or limit.amount < 1:
        raise ValueError("must be a number and a length of time, like 600/minute, or empty for no limit")
    return Limit(limit.amount, limit.get_expiry())


class DatabaseUrl(SecretStr):
    """A URL that libpq reads, and the names of the parameters that were left out of it."""

    passed_over: tuple[str, ...] = ()


# What Prisma adds to a URL (its PostgreSQL connector, "Arguments"), and libpq does not know. Its pool is not ours.
PRISMAS = (
    "connection_limit",
    "max_connection_lifetime",
    "max_idle_connection_lifetime",
    "pgbouncer",
    "pool_timeout",
    "schema",
    "socket_timeout",
    "sslaccept",
    "statement_cache_size",
)


def _without_prismas(url: str) -> DatabaseUrl:
    """Return a URL without Prisma's parameters; raise ValueError for one that cannot be passed over."""
    # A question mark may be in the password, as libpq reads it: everything as far as an @ before the first slash.
    parts = re.fullmatch(r"((?:[^@/]*@)?[^?]*)(?:\?(.*))?", url.removeprefix("postgresql://"), re.DOTALL)
    assert parts is not None
    each = parts[2].split("&") if parts[2] else []
    parameters = [(part, *map(unquote, part.partition("=")[::2])) for part in each]
    for _, name, value in parameters:
        if name == "schema" and value != "public":
            raise ValueError("names a schema, and this API's tables are in public: leave it out")
        if name == "sslaccept" and value != "accept_invalid_certs":
            raise ValueError("has sslaccept, which is Prisma's: write sslmode=verify-full&sslrootcert=system instead")
        if name == "sslidentity":
            raise ValueError("has sslidentity, which is Prisma's: write sslcert=…&sslkey=… instead, of PEM files")
    query = "&".join(part for part, name, _ in parameters if name not in PRISMAS)
    found = DatabaseUrl(f"postgresql://{parts[1]}{'?' if query else ''}{query}")
    found.passed_over = tuple(name for _, name, _ in parameters if name in PRISMAS)
    return found


class Settings(BaseSettings):
    """The settings, from the environment and `.env` (the environment wins).

    An empty variable counts as missing, except that it turns a limit off.
    """

    model_config = SettingsConfigDict(env_file=ENV_FILE, extra="ignore", frozen=True, hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[Any, ...]:
        def without_empty(source: PydanticBaseSettingsSource) -> Callable[[], dict[str, Any]]:
            return lambda: {name: value for name, value in source().items() if value != "" or name in LIMITS}

        return init_settings, without_empty(env_settings), without_empty(dotenv_settings)

    # In the order of the README. A validator sees only the settings above its own.
    environment: Literal["development", "staging", "production"] = "development"
    database_url: Annotated[DatabaseUrl | None, Field(validate_default=True)] = None
    better_auth_secret: SecretStr | None = None
    better_auth_url: str | None = None
    jwks_url: Annotated[str | None, Field(validate_default=True)] = None
    jwt_issuer: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)] = ()
    jwt_audience: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(_split_commas), Field(validate_default=True)
    ] = ()
    max_token_seconds: Annotated[int, Field(ge=60, le=10_000_000_000)] = 86400
    read_only_roles: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)] = ()
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)] = ()
    cors_headers: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)] = ()
    redis_url: SecretStr | None = None
    rate_limit: Annotated[Limit | None, NoDecode, BeforeValidator(_limit)] = Limit(600, 60)
    auth_failure_limit: Annotated[Limit | None, NoDecode, BeforeValidator(_limit)] = Limit(30, 60)
    db_pool_size: Annotated[int, Field(ge=1, le=1000)] = 10
    db_wait_seconds: Annotated[float, Field(gt=0, le=60)] = 5
    history_days: Annotated[int, Field(ge=0, le=36500)] = 90
    migrate_on_start: Annotated[bool | None, Field(validate_default=True)] = None
    max_body_bytes: Annotated[int, Field(ge=1024, le=100 * 1024 * 1024)] = 65536
    max_import_bytes: Annotated[int | None, Field(ge=1024)] = None
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    web_concurrency: Annotated[int, Field(ge=1, le=256)] = 1
    forwarded_allow_ips: str = "127.0.0.1"
    root_path: str = ""
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    log_format: Annotated[Literal["json", "console"] | None, Field(validate_default=True)] = None
    otel_exporter_otlp_endpoint: str | None = None

    @field_validator("log_level", "log_format", "environment", mode="before")
    @classmethod
    def _lower_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("database_url", mode="after")
    @classmethod
    def _database_url(cls, value: DatabaseUrl | None, info: ValidationInfo) -> DatabaseUrl | None:
        """Return the URL as libpq reads it: `postgresql://…`."""
        if value is None:
            if info.data.get("environment", "development") != "development":
                raise ValueError("is missing: set it to postgresql://user:password@host:5432/database")
            return None
        # As people copy it: in quotes, which Docker's env files keep, and after psql, as Neon's page shows it.
        text = re.sub(r"""^(["']?)(?:psql\s+)?(["']?)(\S+?)\2\s*\1$""", r"\3", value.get_secret_value().strip())
        scheme, separator, rest = text.partition("://")
        if separator and scheme in ("prisma", "prisma+postgres"):
            raise ValueError("is for Prisma's own client: set it to the database's own URL, postgresql://…")
        if not separator or scheme not in ("postgres", "postgresql", "postgresql+psycopg2"):
            raise ValueError("must begin with postgres://, postgresql:// or postgresql+psycopg2://")
        database_url = _without_prismas(f"postgresql://{rest}")
        url = database_url.get_secret_value()
        try:
            parse_dsn(url)
        except psycopg2.ProgrammingError as error:
            # libpq's message can quote part of the password; only the name of a bad parameter is safe to show.
            bad = re.search(r'invalid URI query parameter: "(\w+)"', str(error))
            names = {name for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)} if bad else set()
            if bad and bad[1] in names and "@" not in url.partition("?")[2]:  # or it may be of the password
                raise ValueError(f"has a parameter that PostgreSQL does not know: {bad[1]}") from None
            raise ValueError(
                "is not a PostgreSQL URL: expected postgresql://user:password@host:5432/database"
                " (percent-encode any of :/?#[]@% in the password)"
            ) from None
        return database_url

    @field_validator("better_auth_secret", mode="after")
    @classmethod
    def _better_auth_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        secret = value.get_secret_value()
        if len(secret) < 32:
            raise ValueError(f"must have at least 32 characters, this one has {len(secret)}: {HOW_TO_MAKE_ONE}")
        if secret == BETTER_AUTH_DEFAULT_SECRET:
            raise ValueError(f"is Better Auth's public default, which anyone can sign with: {HOW_TO_MAKE_ONE}")
        if is_pem_format(secret.encode()) or is_ssh_key(secret.encode()):
            raise ValueError(f"is a public or private key, not a shared secret: {HOW_TO_MAKE_ONE}")
        return value

    @field_validator("better_auth_url", mode="after")
    @classmethod
    def _better_auth_url(cls, value: str | None) -> str | None:
        return None if value is None else origin(value.strip()) + _http_url(value.strip()).path.rstrip("/")

    @field_validator("jwks_url", mode="after")
    @classmethod
    def _jwks_url(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None:
            return _http_url(value.strip()).geturl()
        # A setting that is missing from info.data is invalid, and is reported on its own line already.
        known = [info.data.get(name, "") for name in ("better_auth_secret", "better_auth_url")]
        if known == [None, None]:
            raise ValueError("BETTER_AUTH_SECRET, BETTER_AUTH_URL or JWKS_URL: one must say whose tokens count")
        url = info.data.get("better_auth_url")
        return f"{_mounted(url)}/jwks" if url else None

    @field_validator("jwt_audience", mode="after")
    @classmethod
    def _jwt_audience(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known = value or info.data.get("jwt_issuer", "") or info.data.get("better_auth_url", "")
        if info.data.get("jwks_url") and not known and info.data.get("environment", "development") != "development":
            raise ValueError(
                "JWT_ISSUER or JWT_AUDIENCE must be set beside JWKS_URL: else what its keys sign for others counts too"
            )
        return value

    @field_validator("cors_origins", mode="after")
    @classmethod
    def _cors_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            if entry != "*" and origin(entry) != entry:
                raise ValueError(
                    f"must list origins like {origin(entry)}, with commas between them and no path or slash"
                )
        return value

    @field_validator("cors_headers", mode="after")
    @classmethod
    def _cors_headers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(map(HEADER_NAME.fullmatch, value)):
            raise ValueError("must list names of headers like X-Tenant, with commas between them")
        return value

    @field_validator("redis_url", mode="after")
    @classmethod
    def _redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        from redis.asyncio import ConnectionPool

        url = value.get_secret_value().strip()
        try:
            valid = re.fullmatch(r"rediss?://[^\s/]+(/\d*)?(\?\S*)?", url) and urlsplit(url).hostname
            # This opens no connection, but checks the parameters.
            ConnectionPool.from_url(url).make_connection()  # type: ignore[no-untyped-call]
        except (ValueError, TypeError):
            valid = None
        if not valid:
            raise ValueError("is not a Redis URL: expected redis://user:password@host:6379/0, or rediss:// for TLS")
        return SecretStr(url)

    @field_validator("migrate_on_start", mode="after")
    @classmethod
    def _migrate_on_start(cls, value: bool | None, info: ValidationInfo) -> bool:
        return info.data.get("environment") == "development" if value is None else value

    @field_validator("log_format", mode="after")
    @classmethod
    def _log_format(cls, value: str | None, info: ValidationInfo) -> str:
        return value or ("console" if info.data.get("environment") == "development" else "json")

    @field_validator("root_path", mode="after")
    @classmethod
    def _root_path(cls, value: str) -> str:
        prefix = prefix_of(value.strip())
        if prefix is None:
            raise ValueError("must be a path like /backend, with one slash in front of each part")
        return prefix

    @field_validator("otel_exporter_otlp_endpoint", mode="after")
    @classmethod
    def _otel_exporter_otlp_endpoint(cls, value: str | None) -> str | None:
        return None if value is None else _http_url(value.strip()).geturl().rstrip("/")

    # Better Auth writes its origin into both claims, so either setting also serves as the other.
    @property
    def issuers(self) -> tuple[str, ...]:
        """What iss may be; empty if it is not checked."""
        return self.jwt_issuer or self._origin or self.jwt_audience

    @property
    def oauth_issuers(self) -> tuple[str, ...]:
        """What iss may be of Better Auth's OAuth provider, which is where it is mounted; empty if it is not checked."""
        return self.jwt_issuer or ((_mounted(self.better_auth_url),) if self.better_auth_url else self.jwt_audience)

    @property
    def audiences(self) -> tuple[str, ...]:
        """What aud must name one of; empty if it is not checked."""
        return self.jwt_audience or self._origin or self.jwt_issuer

    @property
    def _origin(self) -> tuple[str, ...]:
        return (origin(self.better_auth_url),) if self.better_auth_url else ()


def _problem(error: Mapping[str, Any]) -> str:
    """Return one line for one pydantic error, without the input, which may be a secret."""
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    if message.startswith(("BETTER_AUTH_SECRET", "JWT_ISSUER")):  # it is about several, and names them itself
        return message
    return f"{str(error['loc'][0]).upper()}: {message.replace('should be', 'must be')}"


def load_settings() -> Settings:
    """Return the settings; raise StartError with every problem at once."""
    try:
        return Settings()
    except ValidationError as error:
        raise StartError(*(_problem(e) for e in error.errors(include_url=False, include_input=False))) from None
    except UnicodeDecodeError:
        raise StartError(f"{ENV_FILE}: is not UTF-8 text") from None
    except OSError as error:
        raise StartError(f"{ENV_FILE}: cannot be read: {error.strerror}") from None


def write_env_file() -> bool:
    """Write `.env` with a new secret on a first run in development; return whether it was written.

    Safe if several processes start at once: the first file stays.
    """
    development = (os.environ.get("ENVIRONMENT") or "development").lower() == "development"
    if not development or ENV_FILE.exists() or os.environ.get("BETTER_AUTH_SECRET"):
        return False
    draft = ENV_FILE.with_name(f".env.{os.getpid()}")
    try:
        with open(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
            file.write("# Written by the first run. Every setting is explained in .env.example.\n")
            file.write(f"BETTER_AUTH_SECRET={secrets.token_urlsafe(32)}\n")
        try:
            os.link(draft, ENV_FILE)
        except FileExistsError:
            return False
        finally:
            draft.unlink()
    except OSError as error:
        raise StartError(f"{ENV_FILE}: cannot be written: {error.strerror}; set BETTER_AUTH_SECRET instead") from None
    return True
