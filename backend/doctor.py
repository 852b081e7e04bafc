"""What is wrong, one line each: settings, database, migrations, keys, and why a token is or is not accepted."""

import asyncio
import json
import math
import sys
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg2

from backend import isolation, migrations
from backend.auth import (
    ID_CLAIMS,
    OAUTH_TYPE,
    Claims,
    TokenError,
    TokenExpiredError,
    UnknownKeyError,
    Verifier,
    authenticate,
    verify,
)
from backend.database import Database
from backend.embedded import database_url
from backend.keys import JWKS_ALGORITHMS
from backend.limits import SharedCounts
from backend.problems import Problem
from backend.revocation import Revocations
from backend.security_events import TYPE as EVENT_TYPE
from backend.settings import ENV_FILE, Settings, StartError, load_settings
from backend.tables import METADATA

MILLISECONDS = 100_000_000_000  # as seconds that is the year 5138
SEND_THE_JWT = "Send the JWT of GET /api/auth/token (authClient.token())"


class _Report:
    def __init__(self) -> None:
        self.healthy = True

    def good(self, name: str, message: str) -> None:
        print(f"ok    {name:<12}{message}")

    def bad(self, name: str, message: str) -> None:
        self.healthy = False
        print(f"FAIL  {name:<12}{message}")


def examine(token: str | None) -> bool:
    """Print one line for each thing that the API needs, and for a token; return whether all is well."""
    report = _Report()
    try:
        settings = load_settings()
    except StartError as error:
        for problem in error.problems:
            report.bad("settings", problem)
        if not ENV_FILE.exists():
            report.bad("settings", "There is no .env yet. The first `uv run main.py` writes one.")
        return False
    report.good("settings", f"{settings.environment}, from {'.env and ' if ENV_FILE.exists() else ''}the environment")
    _examine_database(settings, report)
    asyncio.run(_examine_redis(settings, report))
    asyncio.run(_examine_keys_and_token(settings, report, token))
    return report.healthy


def _examine_database(settings: Settings, report: _Report) -> None:
    try:
        with database_url(settings) as url:
            connection = psycopg2.connect(url, connect_timeout=max(2, math.ceil(settings.db_wait_seconds)))
            where = "from DATABASE_URL" if settings.database_url else "embedded, in .data/"
            if settings.database_url and settings.database_url.passed_over:
                where += f" without Prisma's {', '.join(settings.database_url.passed_over)}"
            version = connection.server_version
            report.good("database", f"PostgreSQL {version // 10000}.{version % 10000}, {where}")
            connection.close()
            asyncio.run(_examine_schema(Database(url, pool_size=1, wait_seconds=settings.db_wait_seconds), report))
    except StartError as error:
        report.bad("database", str(error))
    except psycopg2.Error as error:
        report.bad("database", f"no connection: {' '.join(str(error).split())}")


async def _examine_schema(db: Database, report: _Report) -> None:
    found = await migrations.current(db)
    if found != migrations.head():
        report.bad("migrations", f"at {found or 'none'}, not {migrations.head()}. Run: uv run main.py migrate")
    else:
        report.good("migrations", f"{found}, the newest")
        faults = await isolation.faults(db)
        for fault in faults:
            report.bad("isolation", fault)
        if not faults:
            report.good("isolation", f"row-level security holds on {', '.join(sorted(METADATA.tables))}")
    db.close()


async def _examine_redis(settings: Settings, report: _Report) -> None:
    if settings.redis_url is None:
        return
    shared = SharedCounts(settings.redis_url.get_secret_value())
    try:
        await shared.ping()
    except shared.errors as error:
        report.bad("redis", f"{' '.join(str(error).split())} Without it, each process counts for itself.")
    else:
        report.good("redis", "answers: the limits are counted there, for all processes")
    await shared.close()


async def _examine_keys_and_token(settings: Settings, report: _Report, token: str | None) -> None:
    verifier = Verifier.of(settings)
    if verifier.secret:
        report.good("secret", "BETTER_AUTH_SECRET is set: HS256 tokens signed with it are accepted")
    if verifier.key_set:
        await verifier.key_set.refresh()
        if verifier.key_set.error:
            report.bad("jwks", f"{verifier.key_set.url}: {verifier.key_set.error}{_where_else(verifier.key_set.error)}")
        else:
            algorithms = ", ".join(sorted({key.algorithm for key in verifier.key_set.keys.values()})) or "none"
            report.good("jwks", f"{verifier.key_set.url}: {len(verifier.key_set.keys)} usable keys ({algorithms})")
        if not verifier.issuers:
            report.bad("issuer", "JWT_ISSUER: is missing: what the keys of JWKS_URL sign for others counts too.")
    if token is None:
        return
    token = token.strip().removeprefix("Bearer ").strip()
    try:
        claims = await authenticate(token, verifier)
    except Problem:
        report.bad("token", "Its key would be in the JWKS, and that cannot be fetched (see above).")
    except TokenError as error:
        for sentence in explain(token, error, verifier):
            report.bad("token", f"refused: {sentence}")
    else:
        if await _is_revoked(settings, claims):
            report.bad("token", "refused: its session, or its user's, has been ended (TOKEN_REVOKED). Sign in again.")
        else:
            report.good("token", _accepted(claims))


def _where_else(error: str) -> str:
    if not error.endswith("404"):
        return ""
    return (
        ". Better Auth has it elsewhere, by its basePath or by the jwt plugin's jwksPath: set JWKS_URL to"
        " its baseURL + basePath + jwksPath."
    )


async def _is_revoked(settings: Settings, claims: Claims) -> bool:
    with suppress(StartError, Problem), database_url(settings) as url:
        db = Database(url, pool_size=1, wait_seconds=settings.db_wait_seconds)
        revocations = Revocations(settings.max_token_seconds)
        async with revocations.running(db, None):
            try:
                await revocations.check(claims)
            except Problem as problem:
                return problem.code == "TOKEN_REVOKED"  # else the database is away, which has a line of its own
    return False


def _accepted(claims: Claims) -> str:
    left = claims.expires_at - time.time()
    ends = "just ended, and is still within the leeway" if left < 0 else f"ends in {_span(left)}"
    may = "" if claims.scopes is None else f" with the scope {' '.join(sorted(claims.scopes)) or 'of nothing'!r}"
    only = ", who may only read" if claims.read_only else ""
    return f"accepted: user {claims.user_id!r}{only}{may}; it {ends}"


def _span(seconds: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _peek(part: str) -> dict[str, Any]:
    """Return what a part of a token says, unverified and forgivingly; {} if it says nothing."""
    try:
        value = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def explain(token: str, error: TokenError, verifier: Verifier) -> list[str]:
    """Return all that a token is refused for and what to send or set instead, for its holder: it quotes the token."""
    parts = token.split(".")
    if len(parts) != 3:
        return [_what_is_no_jwt(token, parts)]
    header, claims = _peek(parts[0]), _peek(parts[1])
    if other := _what_is_no_access_token(header, claims):
        return [other]
    return [
        _what_is_amiss(header, claims, each, verifier) for each in _all_that_is_amiss(token, error, claims, verifier)
    ]


def _all_that_is_amiss(
    token: str, error: TokenError | None, claims: dict[str, Any], verifier: Verifier
) -> Iterator[TokenError]:
    """Yield why a token is refused, and why it would be next if the settings allowed that."""
    while error:
        yield error
        if error.reason == "issuer":
            verifier = replace(verifier, issuers=(), oauth_issuers=())
        elif error.reason == "audience" and (said := _texts(claims.get("aud"))):
            verifier = replace(verifier, audiences=said)
        elif error.reason == "lifetime":
            verifier = replace(verifier, max_seconds=sys.maxsize)
        else:
            return
        try:
            verify(token, verifier)
            error = None
        except TokenError as following:
            error = following


def _texts(value: object) -> tuple[str, ...]:
    return tuple(one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str))


def _what_is_no_jwt(token: str, parts: list[str]) -> str:
    if token in ("", "undefined", "null", "[object Object]"):
        return f"this is {token!r}, not a token: the client had none yet. {SEND_THE_JWT}."
    if len(parts) == 2:
        return f"this is the session cookie (token.signature), not a JWT. {SEND_THE_JWT}."
    if len(parts) == 5:
        return f"this is an encrypted token (a JWE), like Better Auth's session_data cookie. {SEND_THE_JWT}."
    if "session" in _peek(token):
        return f"this is Better Auth's session_data cookie, not a JWT. {SEND_THE_JWT}."
    return f"this is an opaque token, like the session token of the sign-in answer, not a JWT. {SEND_THE_JWT}."


def _what_is_no_access_token(header: dict[str, Any], claims: dict[str, Any]) -> str | None:
    """Return what else a Better Auth made this for, if it was for something else."""
    if header.get("typ") == "better-auth.session-cache+jwt" or {"session", "user"} <= claims.keys():
        return f"this is Better Auth's session_data cookie, not an access token. {SEND_THE_JWT}."
    if header.get("typ") == EVENT_TYPE:
        return "this is a security event, which goes to POST /api/security-events, and not an access token."
    if not ID_CLAIMS.isdisjoint(claims) and header.get("typ") != OAUTH_TYPE:
        return "this is an ID token of the OAuth provider, for its client. Send the access_token that came with it."
    if "email" in claims and not {"sub", "user_id"} & claims.keys():
        return f"this is the token of a mail link (e-mail verification or change), not an access token. {SEND_THE_JWT}."
    return None


def _what_is_amiss(header: dict[str, Any], claims: dict[str, Any], error: TokenError, verifier: Verifier) -> str:
    algorithm = header.get("alg")
    if isinstance(error, TokenExpiredError):
        ended = datetime.fromtimestamp(max(claims["exp"], 0), UTC)
        return f"it expired {_span(time.time() - claims['exp'])} ago ({ended:%Y-%m-%d %H:%M:%S} UTC). Get a new one."
    if isinstance(error, UnknownKeyError):
        known = ", ".join(map(repr, verifier.key_set.keys)) if verifier.key_set else ""
        return (
            f"its kid is {header.get('kid')!r}, and the JWKS has: {known or 'none'}."
            " Is JWKS_URL (or BETTER_AUTH_URL) that of the Better Auth which issued it?"
        )
    if error.reason == "algorithm" and algorithm == "HS256":
        return "it is signed with HS256 and BETTER_AUTH_SECRET is not set. Set it to Better Auth's own secret."
    if error.reason == "algorithm" and algorithm in JWKS_ALGORITHMS and not verifier.key_set:
        return f"it is signed with {algorithm} and no JWKS is known. Set BETTER_AUTH_URL (or JWKS_URL)."
    if error.reason == "algorithm":
        return f"its alg is {algorithm!r}: taken are HS256 with the secret, and for each key of the JWKS its own."
    if error.reason == "signature" and algorithm == "HS256":
        return "its signature is not one of BETTER_AUTH_SECRET: another secret, or an altered token."
    if error.reason == "issuer":
        issuers = verifier.oauth_issuers if header.get("typ") == OAUTH_TYPE else verifier.issuers
        every = (*verifier.issuers, *verifier.oauth_issuers)
        return _what_is_unlike("iss", "JWT_ISSUER", claims.get("iss"), issuers, every)
    if error.reason == "audience":
        return _what_is_unlike("aud", "JWT_AUDIENCE", claims.get("aud"), verifier.audiences, verifier.audiences)
    if error.reason == "lifetime" and claims["exp"] > MILLISECONDS:
        return (
            f"its exp is {claims['exp']}, in milliseconds. It must be in seconds: Math.floor(Date.now() / 1000) + 900."
        )
    if error.reason == "lifetime":
        lives = claims["exp"] - claims.get("iat", time.time())
        return (
            f"it lives {_span(lives)}, and may live {_span(verifier.max_seconds)}."
            f" Shorten the jwt plugin's expirationTime, or set MAX_TOKEN_SECONDS={math.ceil(lives)}."
        )
    if error.reason == "size":
        return "it is longer than 8 KiB, most likely for a picture in it. Leave that out with definePayload."
    if error.reason == "no_user":
        return (
            "it is a client's own (client_credentials), and of no user. Send one that a user has let the client have."
        )
    return str(error)


def _what_is_unlike(name: str, setting: str, found: object, expected: tuple[str, ...], known: tuple[str, ...]) -> str:
    must = f"must {'have' if found is None else 'be'} {' or '.join(map(repr, expected)) or 'one that is set here'}"
    if found is None:
        return f"it has no {name} claim, and {must} ({setting}, or else the origin of BETTER_AUTH_URL)."
    hint = ""
    for one in expected:
        if not isinstance(found, str):
            break
        if found.rstrip("/") == one.rstrip("/"):
            hint = " That is one slash too many." if found.endswith("/") else " The setting has one slash too many."
        elif found.startswith(f"{one}/"):
            hint = " That has a path too many."
    # Of an OAuth token's audiences the last can be Better Auth's own, for the user info.
    said = next((one for one in _texts(found) if not one.endswith("/oauth2/userinfo")), "")
    values = ",".join(dict.fromkeys([*known, said]))
    return f"its {name} is {found!r} and {must}.{hint} If it is right, set {setting}={values}"
