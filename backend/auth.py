"""Token to user: the strict verifier, and the dependency that gives a route its user."""

import json
import math
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import structlog
from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from jose import jws
from jose.exceptions import JOSEError

from backend.changelog import LOGGED
from backend.database import AUTHOR, Author
from backend.fields import MAX_USER_ID_LENGTH
from backend.keys import JWKS_ALGORITHMS, KeySet, VerificationKey, shared_secret
from backend.limits import Limits
from backend.metrics import AUTHENTICATION_FAILURES
from backend.problems import Problem
from backend.settings import Settings

if TYPE_CHECKING:
    from backend.revocation import Revocations

MAX_TOKEN_BYTES = 8 * 1024
MAX_HEADER_BYTES = 1024
MAX_VERIFIED_TOKENS = 5000
LEEWAY_SECONDS = 30
# Real claims are shallow. Deep nesting could exhaust the stack, at a depth that differs between Python versions.
MAX_DEPTH = 32
# Header parameters that carry a key, point to one, or change how the token is read (RFC 7515, section 4.1;
# RFC 7797). A verifier must never take a key or a rule from the token that it checks.
FORBIDDEN_PARAMETERS = {"crit", "jwk", "jku", "x5u", "x5c", "zip", "b64"}
ID_CLAIMS = {"at_hash", "c_hash", "nonce"}  # OpenID Connect Core, sections 2 and 3.3.2.11
OAUTH_TYPE = "at+jwt"  # of an OAuth provider's access tokens (RFC 9068, section 2.1)
SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*")  # RFC 6749, section 3.3

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
    `session_id` is `sid`; `scopes` are what the token may be used for, or None for all that its user may do.
    """

    user_id: str
    expires_at: float
    email: str | None = None
    name: str | None = None
    role: str | None = None
    acted_by: str | None = None
    issued_at: float | None = None
    session_id: str | None = None
    scopes: frozenset[str] | None = None
    read_only: bool = False


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
    """The keys, issuers and audiences that tokens are checked against; an empty tuple is not checked.

    `oauth_issuers` are those of at+jwt tokens. `max_seconds` is how long a token may live.
    """

    secret: VerificationKey | None
    key_set: KeySet | None
    issuers: tuple[str, ...]
    oauth_issuers: tuple[str, ...]
    audiences: tuple[str, ...]
    max_seconds: int
    read_only_roles: frozenset[str] = frozenset()
    verified: VerifiedTokens = field(default_factory=VerifiedTokens)

    @classmethod
    def of(cls, settings: Settings) -> "Verifier":
        secret = settings.better_auth_secret
        return cls(
            secret=shared_secret(secret.get_secret_value()) if secret else None,
            key_set=KeySet(settings.jwks_url) if settings.jwks_url else None,
            issuers=settings.issuers,
            oauth_issuers=settings.oauth_issuers,
            audiences=settings.audiences,
            max_seconds=settings.max_token_seconds,
            read_only_roles=frozenset(settings.read_only_roles),
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


def moment(claims: dict[str, Any], name: str) -> float | None:
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
    if not is_id(subjects[0]):
        raise TokenError("subject", "The sub claim is not 1 to 255 characters without control characters.")
    return str(subjects[0])


def is_meant_for(audiences: tuple[str, ...], audience: object) -> bool:
    """Return whether an aud claim, one or a list, names one of these (RFC 7519, section 4.1.3)."""
    return any(one in audiences for one in (audience if isinstance(audience, list) else [audience]))


def is_id(value: object) -> bool:
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
    if actor is not None and not is_id(actor):
        raise TokenError("actor", "The act or impersonatedBy claim does not name who acts for the user.")
    return actor and str(actor)


def _session_id(claims: dict[str, Any]) -> str | None:
    """Return the session that the token was issued in, so that it can end with it."""
    session_id = claims.get("sid")
    if session_id is not None and not is_id(session_id):
        raise TokenError("session", "The sid claim is not 1 to 255 characters without control characters.")
    return session_id and str(session_id)


def _scopes(claims: dict[str, Any], *, is_oauth: bool) -> frozenset[str] | None:
    """Return what the token may be used for: None is all, and so an OAuth token that says nothing may nothing."""
    if "scope" not in claims:
        return frozenset() if is_oauth else None
    scope = claims["scope"]
    if not isinstance(scope, str) or not (scope == "" or SCOPE.fullmatch(scope)):
        raise TokenError("scope", "The scope claim is not a list of words with one space between them.")
    return frozenset(scope.split())


def _is_read_only(claims: dict[str, Any], read_only_roles: frozenset[str]) -> bool:
    """Return whether one of the user's roles may only read. A role that cannot be read counts as one."""
    role = claims.get("role")
    if role is None or not read_only_roles:
        return False
    roles = role.split(",") if isinstance(role, str) else role  # Better Auth's admin plugin writes them with commas
    if not isinstance(roles, list) or not all(isinstance(one, str) for one in roles):
        return True
    return not read_only_roles.isdisjoint(one.strip() for one in roles)


def _text(claims: dict[str, Any], name: str) -> str | None:
    value = claims.get(name)
    return value if isinstance(value, str) and not re.search(r"[\ud800-\udfff]", value) else None


def opened(token: str, verifier: Verifier, types: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """Return the type and the claims of what is signed with a key of ours, or raise TokenError.

    python-jose only checks the signature. Everything else is checked here, before and after it
    (docs/decisions/0004): RFC 7515 for the form, RFC 8725 for the rest. `types` says which kinds of token may come
    here (RFC 8725, section 3.11), so that one kind is never taken for another.
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
    typ = header.get("typ", "JWT")
    if typ not in types:
        raise TokenError("type", f"The typ of the token is {typ!r}, and must be {' or '.join(types)}.")
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
    if key is None or algorithm not in key.names:
        raise TokenError("algorithm", "This API has no key for the alg of the token.")
    try:
        jws.verify(token, key.key, key.names)
    except JOSEError:
        raise TokenError("signature", "The signature does not match the key: the token was altered.") from None

    claims = _object("payload", payload)
    if _is_deeper_than(MAX_DEPTH, claims):
        raise TokenError("json", "The payload of the token is nested too deeply.")
    return typ, claims


def verify(token: str, verifier: Verifier) -> Claims:
    """Return the claims of an access token, or raise TokenError. No other function decides.

    RFC 7519 says what the claims mean, and RFC 9068 what they must be in an OAuth provider's token (at+jwt).
    """
    typ, claims = opened(token, verifier, ("JWT", OAUTH_TYPE))
    is_oauth = typ == OAUTH_TYPE
    expires_at, not_before, issued_at = (moment(claims, name) for name in ("exp", "nbf", "iat"))
    now = time.time()
    if expires_at is None:
        raise TokenError("exp", "The token has no exp claim.")
    for name, value in (("nbf", not_before), ("iat", issued_at)):
        if value is not None and value > now + LEEWAY_SECONDS:
            raise TokenError(name, f"The {name} claim lies in the future.")
    since = now + LEEWAY_SECONDS if issued_at is None else min(issued_at, now + LEEWAY_SECONDS)
    if expires_at - since > verifier.max_seconds:
        raise TokenError("lifetime", f"The token lives longer than {verifier.max_seconds} s.")
    issuers = verifier.oauth_issuers if is_oauth else verifier.issuers
    if issuers and claims.get("iss") not in issuers:
        raise TokenError("issuer", f"The iss claim is {claims.get('iss')!r}, and must be {' or '.join(issuers)}.")
    audience = claims.get("aud")
    if not is_meant_for(verifier.audiences, audience) and (is_oauth or verifier.audiences):
        expected = " or ".join(verifier.audiences) or "known here, by JWT_AUDIENCE"
        raise TokenError("audience", f"The aud claim is {audience!r}, and must be {expected}.")
    if claims.get("type", "access") != "access":
        raise TokenError("type", "The type claim says that it is not an access token.")
    if not is_oauth and not ID_CLAIMS.isdisjoint(claims):
        raise TokenError("type", f"Only an ID token has {' or '.join(sorted(ID_CLAIMS))}.")
    user_id, client_id = _user_id(claims), claims.get("client_id")
    if is_oauth and issued_at is None:
        raise TokenError("iat", "The token has no iat claim, which an at+jwt must have.")
    if is_oauth and not is_id(client_id):
        raise TokenError("client", "The token has no client_id claim, which an at+jwt must have.")
    if user_id == client_id:
        raise TokenError("no_user", "The token is a client's own (client_credentials), and of no user.")
    taken = Claims(
        user_id,
        expires_at,
        email=_text(claims, "email"),
        name=_text(claims, "name"),
        role=_text(claims, "role"),
        acted_by=_acted_by(claims),
        issued_at=issued_at,
        session_id=_session_id(claims),
        scopes=_scopes(claims, is_oauth=is_oauth),
        read_only=_is_read_only(claims, verifier.read_only_roles),
    )
    if expires_at + LEEWAY_SECONDS <= now:  # last: a token that is good but for its age is told so
        raise TokenExpiredError("expired", f"The token expired {math.ceil(now - expires_at)} s ago.")
    return taken


async def authenticate(token: str, verifier: Verifier) -> Claims:
    """Return the claims of an access token, from the cache if it was verified before; raise TokenError or Problem."""
    keys = verifier.key_set and verifier.key_set.keys
    claims = verifier.verified.get(token, keys)
    if claims is None:
        claims = await with_fresh_keys(verify, token, verifier)
        verifier.verified.add(token, claims)
    return claims


Verified = TypeVar("Verified")


async def with_fresh_keys(verifying: Callable[[str, Verifier], Verified], token: str, verifier: Verifier) -> Verified:
    """Verify a token, fetching the key set again if its key is unknown; raise TokenError or Problem."""
    try:
        return verifying(token, verifier)
    except UnknownKeyError:
        assert verifier.key_set is not None
        kid = _object("header", _part("header", token.partition(".")[0]))["kid"]
        if not await verifier.key_set.refresh(kid):
            raise Problem(
                "AUTH_KEYS_UNAVAILABLE",
                "The keys that verify tokens cannot be fetched. Try again in a moment.",
                headers={"Retry-After": "5"},
            ) from None
        return verifying(token, verifier)


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


def needed(scopes: Sequence[str] | None, method: str) -> list[str]:
    """Return the scopes that a route needs. One that names none needs every table's: it may show or change any."""
    if scopes is not None:
        return list(scopes)
    right = "read" if method in ("GET", "HEAD") else "write"
    return [f"{name}:{right}" for name, table in LOGGED.items() if table.statements]


def authorize(claims: Claims, scopes: Sequence[str]) -> None:
    """Raise Problem unless the token and the roles of its user allow a route that needs these scopes."""
    if claims.scopes is not None and not claims.scopes.issuperset(scopes):
        needs = " ".join(scopes)
        raise Problem(
            "INSUFFICIENT_SCOPE",
            f"The token's scope does not allow this. It needs: {needs}.",
            headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{needs}"'},
        )
    if claims.read_only and any(not scope.endswith(":read") for scope in scopes):
        raise Problem("READ_ONLY", "Your role may read, and change nothing.")


def _log_refusal(request: Request, reason: str) -> None:
    log.warning("authentication_failed", reason=reason, client=request.client and request.client.host)
    AUTHENTICATION_FAILURES.labels(reason).inc()


async def current_user(request: Request, scopes: Sequence[str] | None = None) -> Claims:
    """Return whose request it is, or raise the 401 (or 403, 429).

    The caller gets one message, the log gets the reason. `scopes` are what the route needs; None is for every table.
    """
    limits: Limits = request.app.state.limits
    try:
        claims = await authenticate(_bearer(request), request.app.state.verifier)
    except TokenError as error:
        _log_refusal(request, error.reason)
        if error.reason == "size":
            raise Problem(
                "TOKEN_TOO_LARGE",
                "The token is longer than 8 KiB, most likely for a picture in it. Leave that out with Better Auth's "
                "definePayload (docs/better-auth.md).",
            ) from None
        expired = isinstance(error, TokenExpiredError)
        if not expired:  # expiry is routine, so it does not count as a failure
            await limits.count_failure(request)
        raise Problem(
            "TOKEN_EXPIRED" if expired else "INVALID_TOKEN",
            "The token has expired. Get a new one." if expired else "The token is not valid for this API.",
            headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
        ) from None
    request.state.user_id = claims.user_id
    await limits.count_request(request, claims.user_id)
    revocations: Revocations = request.app.state.revocations
    try:
        await revocations.check(claims)
    except Problem as problem:
        if problem.code == "TOKEN_REVOKED":
            _log_refusal(request, "revoked")
        raise
    request.state.claims = claims
    check = partial(revocations.check, claims)
    AUTHOR.set(Author(request.state.request_id, claims.acted_by, request.state.headers, check))
    if claims.scopes is not None or claims.read_only:
        authorize(claims, needed(scopes, request.method))
    return claims


class UserScheme(SecurityBase):
    """The dependency behind CurrentUser. UserRoute has checked the token before; on any other route this checks it.

    `scopes` are what the route needs of a token that has a scope; None is every table's, by the method.
    """

    def __init__(self, scopes: Sequence[str] | None = None) -> None:
        self.scheme_name = "UserScheme"
        self.model = HTTPBearer(
            bearerFormat="JWT",
            description="A JWT of Better Auth, or of `uv run main.py token --user NAME`. One that has a `scope` may do "
            "no more than it says: each operation names what it needs.",
        )
        self.scopes = scopes

    async def __call__(self, request: Request) -> Claims:
        claims: Claims | None = getattr(request.state, "claims", None)
        return claims or await current_user(request, self.scopes)


CurrentUser = Annotated[Claims, Depends(UserScheme())]
AnyUser = Annotated[Claims, Depends(UserScheme(()))]  # whatever the token's scope is


def user_of(name: str) -> tuple[Any, Any]:
    """Return the types of a user who may read one resource, and of one who may write it."""
    reads, writes = (Annotated[Claims, Depends(UserScheme([f"{name}:{right}"]))] for right in ("read", "write"))
    return reads, writes
