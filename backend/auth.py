"""Token to user: the strict verifier, and the dependency that gives a route its user."""

import json
import math
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Annotated, Any

import structlog
from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from jose import jws
from jose.exceptions import JOSEError

from backend.database import AUTHOR, Author
from backend.fields import MAX_USER_ID_LENGTH
from backend.keys import JWKS_ALGORITHMS, KeySet, VerificationKey, shared_secret
from backend.limits import Limits
from backend.metrics import AUTHENTICATION_FAILURES
from backend.problems import Problem
from backend.settings import Settings

MAX_TOKEN_BYTES = 8 * 1024
MAX_HEADER_BYTES = 1024
MAX_VERIFIED_TOKENS = 5000
LEEWAY_SECONDS = 30
# Real claims are shallow. Deep nesting could exhaust the stack, at a depth that differs between Python versions.
MAX_DEPTH = 32
# Header parameters that carry a key, point to one, or change how the token is read (RFC 7515, section 4.1;
# RFC 7797). A verifier must never take a key or a rule from the token that it checks.
FORBIDDEN_PARAMETERS = {"crit", "jwk", "jku", "x5u", "x5c", "zip", "b64"}

log = structlog.get_logger()


class TokenError(Exception):
    """The token is not an access token for this API.

    `reason` is a fixed word for the log; the message may quote the token, so only its holder may see it.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TokenExpiredError(TokenError):
    """The token is valid in every other way, but has expired."""


class UnknownKeyError(TokenError):
    """The token was signed with a key that is not in the key set, or not yet."""


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a verified token: `user_id` owns the rows, `expires_at` is in seconds since 1970.

    `acted_by` is who acts for the user: `act.sub` (RFC 8693, section 4.1), or Better Auth's `impersonatedBy`.
    """

    user_id: str
    expires_at: float
    email: str | None
    name: str | None
    role: str | None
    acted_by: str | None


class VerifiedTokens:
    """A cache of verified tokens, so that a token that is sent again costs one look-up.

    An entry counts until its exp; within the leeway after it, the token is verified again. New keys empty the cache.
    """

    def __init__(self) -> None:
        self._claims: dict[str, Claims] = {}
        self._keys: object = None

    def get(self, token: str, keys: object) -> Claims | None:
        if keys is not self._keys:
            self._claims.clear()
            self._keys = keys
        claims = self._claims.get(token)
        return claims if claims and time.time() < claims.expires_at else None

    def add(self, token: str, claims: Claims) -> None:
        if len(self._claims) >= MAX_VERIFIED_TOKENS:
            del self._claims[next(iter(self._claims))]  # the oldest
        self._claims[token] = claims


@dataclass(frozen=True, slots=True)
class Verifier:
    """The keys, issuer and audience that tokens are checked against."""

    secret: VerificationKey | None
    key_set: KeySet | None
    issuer: str | None
    audience: str | None
    verified: VerifiedTokens = field(default_factory=VerifiedTokens)

    @classmethod
    def of(cls, settings: Settings) -> "Verifier":
        secret = settings.better_auth_secret
        return cls(
            secret=shared_secret(secret.get_secret_value()) if secret else None,
            key_set=KeySet(settings.jwks_url) if settings.jwks_url else None,
            issuer=settings.issuer,
            audience=settings.audience,
        )


def _part(name: str, text: str) -> bytes:
    """Decode one part of a token: canonical base64url without padding (RFC 7515, section 2)."""
    try:
        decoded = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        decoded = b""
    if not decoded or urlsafe_b64encode(decoded).rstrip(b"=") != text.encode("ascii", "replace"):
        raise TokenError("encoding", f"The {name} of the token is not canonical base64url.")
    return decoded


def _is_deeper_than(levels: int, value: object) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    return isinstance(value, list) and (levels == 0 or any(_is_deeper_than(levels - 1, item) for item in value))


def _object(name: str, data: bytes) -> dict[str, Any]:
    """Parse one part of a token as a strict JSON object: UTF-8, no repeated names, no NaN or Infinity."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            raise ValueError("a name is repeated")
        return result

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        value = json.loads(data.decode(), object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError):
        raise TokenError("json", f"The {name} of the token is not strict JSON.") from None
    if not isinstance(value, dict):
        raise TokenError("json", f"The {name} of the token is not a JSON object.")
    return value


def _time(claims: dict[str, Any], name: str) -> float | None:
    """Return a NumericDate claim (RFC 7519, section 2) or None if it is absent."""
    if name not in claims:
        return None
    value = claims[name]
    # A bool is an int in Python, 1e400 parses as infinity, and an int may be too large for a float.
    if type(value) not in (int, float) or not -1e300 < value < 1e300:
        raise TokenError(name, f"The {name} claim is not a finite number.")
    return float(value)


def _user_id(claims: dict[str, Any]) -> str:
    """Return the user's id from `sub`, or else from `user_id`; no other claim counts.

    Better Auth signs mail links and cookies with the same secret; their `userId`, `email` and `user` are ignored.
    """
    subjects = [claims[name] for name in ("sub", "user_id") if name in claims]
    if not subjects:
        raise TokenError("subject_missing", "The token has no sub claim, so it is not an access token.")
    if any(subject != subjects[0] for subject in subjects):
        raise TokenError("subject_ambiguous", "The sub and user_id claims name different users.")
    if not _is_id(subjects[0]):
        raise TokenError("subject", "The sub claim is not 1 to 255 characters without control characters.")
    return str(subjects[0])


def _is_id(value: object) -> bool:
    return (
        isinstance(value, str)
        and 1 <= len(value) <= MAX_USER_ID_LENGTH
        and value == value.strip()
        and not re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", value)
    )


def _acted_by(claims: dict[str, Any]) -> str | None:
    """Return who acts for the user. A token that says it in a way that cannot be logged is refused."""
    act = claims.get("act")
    actor = act.get("sub") if isinstance(act, dict) else act
    if actor is None:
        actor = claims.get("impersonatedBy")
    if actor is not None and not _is_id(actor):
        raise TokenError("actor", "The act or impersonatedBy claim does not name who acts for the user.")
    return actor and str(actor)


def _text(claims: dict[str, Any], name: str) -> str | None:
    value = claims.get(name)
    return value if isinstance(value, str) and not re.search(r"[\ud800-\udfff]", value) else None


def verify(token: str, verifier: Verifier) -> Claims:
    """Return the claims of an access token, or raise TokenError. No other function decides.

    python-jose only checks the signature. Everything else is checked here, before and after it
    (docs/decisions/0004): RFC 7515 for the form, RFC 7519 for the claims, RFC 8725 for the rest.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise TokenError("size", "The token is longer than 8 KiB.")
    parts = token.split(".")
    if len(parts) != 3:
        raise TokenError("structure", "A JWT has three parts with dots between them.")
    header_bytes, payload, _ = map(_part, ("header", "payload", "signature"), parts)
    if len(header_bytes) > MAX_HEADER_BYTES:
        raise TokenError("header_size", "The header of the token is longer than 1 KiB.")

    header = _object("header", header_bytes)
    if any(isinstance(value, dict | list) for value in header.values()) or FORBIDDEN_PARAMETERS & header.keys():
        raise TokenError("header", "The header of the token has a parameter that no access token may have.")
    if header.get("typ", "JWT") not in ("JWT", "at+jwt"):
        raise TokenError("type", "The typ of the token says that it is not an access token.")
    kid = header.get("kid")
    if "kid" in header and not (isinstance(kid, str) and kid and kid.isprintable()):
        raise TokenError("kid", "The kid of the token is not a printable string.")

    # HS256 works only with the secret, and a JWKS key only with its own algorithm: a public key is never a secret.
    algorithm = header.get("alg")
    key = None
    if algorithm == "HS256":
        key = verifier.secret
    elif algorithm in JWKS_ALGORITHMS and verifier.key_set and kid:
        key = verifier.key_set.keys.get(kid)
        if key is None:
            raise UnknownKeyError("unknown_kid", "The key set holds no key with the kid of the token.")
    if key is None or key.algorithm != algorithm:
        raise TokenError("algorithm", "This API has no key for the alg of the token.")
    try:
        jws.verify(token, key.key, [key.algorithm])
    except JOSEError:
        raise TokenError("signature", "The signature does not match the key: the token was altered.") from None

    claims = _object("payload", payload)
    if _is_deeper_than(MAX_DEPTH, claims):
        raise TokenError("json", "The payload of the token is nested too deeply.")
    expires_at, not_before, issued_at = (_time(claims, name) for name in ("exp", "nbf", "iat"))
    now = time.time()
    if expires_at is None:
        raise TokenError("exp", "The token has no exp claim.")
    for name, value in (("nbf", not_before), ("iat", issued_at)):
        if value is not None and value > now + LEEWAY_SECONDS:
            raise TokenError(name, f"The {name} claim lies in the future.")
    if verifier.issuer is not None and claims.get("iss") != verifier.issuer:
        raise TokenError("issuer", f"The iss claim is {claims.get('iss')!r}, and must be {verifier.issuer!r}.")
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if verifier.audience is not None and verifier.audience not in audiences:
        raise TokenError("audience", f"The aud claim is {audience!r}, and must be {verifier.audience!r}.")
    if claims.get("type", "access") != "access":
        raise TokenError("type", "The type claim says that it is not an access token.")
    user_id, acted_by = _user_id(claims), _acted_by(claims)
    if expires_at + LEEWAY_SECONDS <= now:
        raise TokenExpiredError("expired", f"The token expired {math.ceil(now - expires_at)} s ago.")
    return Claims(user_id, expires_at, _text(claims, "email"), _text(claims, "name"), _text(claims, "role"), acted_by)


async def authenticate(token: str, verifier: Verifier) -> Claims:
    """Verify a token, fetching the key set again if its key is unknown; raise TokenError or Problem."""
    keys = verifier.key_set and verifier.key_set.keys
    claims = verifier.verified.get(token, keys)
    if claims is None:
        claims = await _verify_with_fresh_keys(token, verifier)
        verifier.verified.add(token, claims)
    return claims


async def _verify_with_fresh_keys(token: str, verifier: Verifier) -> Claims:
    try:
        return verify(token, verifier)
    except UnknownKeyError:
        assert verifier.key_set is not None
        await verifier.key_set.refresh()
        if not verifier.key_set.usable:
            raise Problem(
                "AUTH_KEYS_UNAVAILABLE",
                "The keys that verify tokens cannot be fetched. Try again in a moment.",
                headers={"Retry-After": "5"},
            ) from None
        return verify(token, verifier)


def _bearer(request: Request) -> str:
    """Return the bearer token from the only Authorization header (RFC 6750, section 2.1)."""
    values = request.headers.getlist("authorization")
    if not values:
        raise Problem(
            "MISSING_TOKEN", "Send a token: Authorization: Bearer <token>.", headers={"WWW-Authenticate": "Bearer"}
        )
    scheme, _, token = values[0].partition(" ")
    if len(values) > 1 or scheme.lower() != "bearer":
        raise TokenError("header_form", "There must be one Authorization header, and its scheme must be Bearer.")
    return token.strip(" ")


async def current_user(request: Request) -> Claims:
    """Return whose request it is, or raise the 401 (or 429); the caller gets one message, the log gets the reason."""
    limits: Limits = request.app.state.limits
    try:
        claims = await authenticate(_bearer(request), request.app.state.verifier)
    except TokenError as error:
        log.warning("authentication_failed", reason=error.reason, client=request.client and request.client.host)
        AUTHENTICATION_FAILURES.labels(error.reason).inc()
        expired = isinstance(error, TokenExpiredError)
        if not expired:  # expiry is routine, so it does not count as a failure
            await limits.count_failure(request)
        raise Problem(
            "TOKEN_EXPIRED" if expired else "INVALID_TOKEN",
            "The token has expired. Get a new one." if expired else "The token is not valid for this API.",
            headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
        ) from None
    request.state.user_id = claims.user_id
    request.state.claims = claims
    AUTHOR.set(Author(request.state.request_id, claims.acted_by, request.state.headers))
    await limits.count_request(request, claims.user_id)
    return claims


class UserScheme(SecurityBase):
    """The dependency behind CurrentUser. UserRoute has checked the token before; on any other route this checks it."""

    def __init__(self) -> None:
        self.scheme_name = "UserScheme"
        self.model = HTTPBearer(
            bearerFormat="JWT", description="A JWT of Better Auth, or of `uv run main.py token --user NAME`."
        )

    async def __call__(self, request: Request) -> Claims:
        claims: Claims | None = getattr(request.state, "claims", None)
        return claims or await current_user(request)


CurrentUser = Annotated[Claims, Depends(UserScheme())]
